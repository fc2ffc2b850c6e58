/* node/env.c - decides which launcher counts, and what follows from it.
 *
 * Owner: none, no state; everything is a parameter.  It resolves no names, opens no files, and makes no connection. */
#include "node/env.h"

#include "base/process.h"
#include "base/status.h"
#include "node/env_look.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_PORT = 20000, PORTS = 40000 };

/* ---- the host ---- */

static void full_name(char *out, size_t cap)
{
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_DGRAM}, *list = NULL;
    char name[NX_ENV_HOST] = "";

    gethostname(name, sizeof(name) - 1);
    if (getaddrinfo(name, NULL, &hints, &list) == 0 && list->ai_canonname != NULL)
        snprintf(out, cap, "%s", list->ai_canonname);
    else
        snprintf(out, cap, "%s", name);
    if (list != NULL)
        freeaddrinfo(list);
}

const struct nx_env_host nx_env_this_host = {.starter = nx_process_starter, .full_name = full_name};

/* ---- who started this process ---- */

/* The caller, or NEXAR_RANK. */
static nexar_status take_explicit(struct nx_look *look)
{
    const struct nx_config *c = look->config;
    bool by_caller = nx_config_source(c, &c->rank_plus_one) == NX_BY_CALLER;

    look->env->launcher = by_caller ? "config" : "nexar";
    look->env->rank = c->rank_plus_one - 1;
    look->env->size = c->world_size;
    look->rank_name = nx_config_name(c, &c->rank_plus_one);
    look->starter_variable = by_caller ? NULL : "NEXAR_RANK";
    if (c->world_size != 0)
        look->size_name = nx_config_name(c, &c->world_size);
    else if (c->join == NULL)
        return nx_fail(NEXAR_ECONFIG,
                       "%s is set, but not NEXAR_WORLD_SIZE, nor a join string (NEXAR_JOIN), whose seed knows "
                       "the size",
                       look->rank_name);
    snprintf(look->env->job, sizeof(look->env->job), "nexar");
    return NEXAR_OK;
}

/* What a launcher that is not taken has left behind. */
static void forget(struct nx_look *look)
{
    const char *launcher = look->env->launcher;

    *look->env = (struct nx_env){.launcher = launcher};
    look->rank_name = look->size_name = look->local_rank_name = look->local_size_name = NULL;
    look->starter_variable = NULL;
    look->unique = false;
}

static nexar_status take_launcher(struct nx_look *look)
{
    enum nx_detect wanted = (enum nx_detect)look->config->detect;
    nexar_error incomplete = {.status = NEXAR_OK};

    look->forced = wanted != NX_DETECT_AUTO;
    for (size_t i = 0; i < nx_launcher_count && wanted != NX_DETECT_NONE; i++) {
        enum nx_verdict verdict;

        if (look->forced && nx_launchers[i].detect != wanted)
            continue;
        verdict = nx_launchers[i].look(look);
        if (verdict == NX_FOUND) {
            look->env->launcher = nx_launchers[i].name;
            return NEXAR_OK;
        }
        forget(look);
        if (verdict == NX_WRONG)
            return NEXAR_ECONFIG;
        /* Half of one launcher's variables are no fault where another has all of its own. */
        if (verdict == NX_HALF && incomplete.status == NEXAR_OK)
            incomplete = *nx_last_error();
    }
    return incomplete.status == NEXAR_OK ? NEXAR_OK : nx_fail_with(&incomplete);
}

/* Nobody: one rank, or any rank of a job that has a join string. */
static nexar_status take_nobody(struct nx_look *look)
{
    const struct nx_config *c = look->config;

    if (c->join != NULL) {
        look->env->size = c->world_size;
        look->size_name = c->world_size == 0 ? NULL : nx_config_name(c, &c->world_size);
        return NEXAR_OK;
    }
    if (c->world_size > 1)
        return nx_fail(NEXAR_ECONFIG,
                       "%s is %u, but nothing says which rank this process is: set NEXAR_RANK, or a join "
                       "string (NEXAR_JOIN) whose seed gives out ranks",
                       nx_config_name(c, &c->world_size), (unsigned)c->world_size);
    look->env->size = 1;
    look->env->local_size = 1;
    look->env->have_local_rank = look->env->have_local_size = true;
    look->rank_name = look->local_rank_name = "the rank";
    look->size_name = look->local_size_name = "the size of the job";
    return NEXAR_OK;
}

/* ---- what overrules it, and what cannot be ---- */

static void overrule(struct nx_look *look)
{
    const struct nx_config *c = look->config;
    struct nx_env *env = look->env;

    if (c->local_rank_plus_one != 0) {
        env->local_rank = c->local_rank_plus_one - 1;
        env->have_local_rank = true;
        look->local_rank_name = nx_config_name(c, &c->local_rank_plus_one);
    }
    if (c->local_size != 0) {
        env->local_size = c->local_size;
        env->have_local_size = true;
        look->local_size_name = nx_config_name(c, &c->local_size);
    }
}

static nexar_status contradiction(const char *name, uint32_t value, const char *bound_name, uint32_t bound,
                                  const char *what)
{
    return nx_fail(NEXAR_ECONFIG, "%s is %u, but %s is %u: %s", name, (unsigned)value, bound_name, (unsigned)bound,
                   what);
}

static nexar_status check(const struct nx_look *look)
{
    const struct nx_config *c = look->config;
    const struct nx_env *env = look->env;

    if (c->world_size != 0 && env->have_size && c->world_size != env->size)
        return contradiction(nx_config_name(c, &c->world_size), c->world_size, look->size_name, env->size,
                             "they must be equal");
    if (env->have_size && env->size == 0)
        return nx_fail(NEXAR_ECONFIG, "%s is 0: a job has at least one rank", look->size_name);
    if (env->have_rank && env->have_size && env->rank >= env->size)
        return contradiction(look->rank_name, env->rank, look->size_name, env->size, "ranks are counted from 0");
    if (env->have_local_size && env->local_size == 0)
        return nx_fail(NEXAR_ECONFIG, "%s is 0: this host has at least one rank", look->local_size_name);
    if (env->have_local_rank && env->have_local_size && env->local_rank >= env->local_size)
        return contradiction(look->local_rank_name, env->local_rank, look->local_size_name, env->local_size,
                             "ranks are counted from 0");
    if (env->have_local_size && env->have_size && env->local_size > env->size)
        return contradiction(look->local_size_name, env->local_size, look->size_name, env->size,
                             "a host has no more ranks than the job");
    if (env->have_local_rank && env->have_rank && env->local_rank > env->rank)
        return contradiction(look->local_rank_name, env->local_rank, look->rank_name, env->rank,
                             "ranks of a host are counted in the order of all ranks");
    return NEXAR_OK;
}

/* ---- where to meet ---- */

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || strcmp(host, "127.0.0.1") == 0;
}

static bool is_any(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0 || strcmp(address, "[::]") == 0;
}

/* The hash of Fowler, Noll and Vo (FNV-1a, 64 bits): the same everywhere, for ever. */
static uint64_t hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return h;
}

static nexar_status take_port(struct nx_env *env, const char *name, const char *text)
{
    unsigned port;
    char rest;

    if (sscanf(text, "%5u%c", &port, &rest) != 1 || text[0] < '0' || text[0] > '9' || port == 0 || port > 65535)
        return nx_fail(NEXAR_ECONFIG, "%s is \"%.64s\", which is no port", name, text);
    env->port = (uint16_t)port;
    env->port_given = true;
    return NEXAR_OK;
}

static nexar_status take_host(struct nx_env *env, const char *name, const char *text)
{
    size_t n = strlen(text);
    bool brackets = text[0] == '[' && text[n - 1] == ']';

    if (n >= sizeof(env->host))
        return nx_fail(NEXAR_ECONFIG, "%s has %zu characters, which is no name of a host", name, n);
    snprintf(env->host, sizeof(env->host), "%.*s", (int)(brackets ? n - 2 : n), text + (brackets ? 1 : 0));
    return NEXAR_OK;
}

static nexar_status find_place(struct nx_look *look)
{
    const char *host = nx_look_variable(look, "MASTER_ADDR"), *port = nx_look_variable(look, "MASTER_PORT");
    const struct nx_config *c = look->config;
    struct nx_env *env = look->env;
    nexar_status status = NEXAR_OK;

    /* Slurm knows better; a MASTER_ADDR beside it is often that of another job of the same shell. */
    bool theirs = host != NULL && strcmp(env->launcher, "slurm") != 0;

    if (c->master_addr != NULL)
        status = take_host(env, "NEXAR_MASTER_ADDR", c->master_addr);
    else if (theirs)
        status = take_host(env, "MASTER_ADDR", host);
    if (status != NEXAR_OK)
        return status;
    if (c->job_id != NULL && snprintf(env->job, sizeof(env->job), "id/%s", c->job_id) >= NX_ENV_JOB)
        return nx_fail(NEXAR_ECONFIG, "NEXAR_JOB_ID has more than %d characters", NX_ENV_JOB - 4);
    if (c->master_port != 0) {
        env->port = (uint16_t)c->master_port;
        env->port_given = true;
    } else if (theirs && port != NULL) {
        return take_port(env, "MASTER_PORT", port);
    }
    return NEXAR_OK;
}

/* The name by which ranks of one host find each other, and whether all of them are on it. */
static void find_company(struct nx_look *look)
{
    const struct nx_config *c = look->config;
    struct nx_env *env = look->env;
    char starter[48] = "", value[16];

    if (env->have_size && env->have_local_size)
        env->one_host = env->local_size == env->size ? NX_YES : NX_NO;
    if (is_loopback(env->host))
        env->one_host = NX_YES;
    /* Then nobody goes through a network, whatever rank 0's host is called in it. */
    if (env->one_host == NX_YES)
        snprintf(env->host, sizeof(env->host), "%s", c->bind == NULL || is_any(c->bind) ? "localhost" : c->bind);
    if (!look->unique && c->job_id == NULL && env->have_rank && env->size > 1 && env->one_host != NX_NO) {
        snprintf(value, sizeof(value), "%u", (unsigned)env->rank);
        look->host->starter(look->starter_variable, value, starter, sizeof(starter));
    }
    snprintf(env->here, sizeof(env->here), "%s/%u@%s", env->job, env->port_given ? env->port : 0u, starter);
    if (!env->port_given)
        env->port = (uint16_t)(FIRST_PORT + hash(env->one_host == NX_YES ? env->here : env->job) % PORTS);
}

/* ---- in words ---- */

static void explain(const struct nx_look *look)
{
    const struct {
        bool have;
        const char *name;
        uint32_t value;
    } numbers[] = {
        {look->env->have_rank, look->rank_name, look->env->rank},
        {look->env->have_size, look->size_name, look->env->size},
        {look->env->have_local_rank, look->local_rank_name, look->env->local_rank},
        {look->env->have_local_size, look->local_size_name, look->env->local_size},
    };
    struct nx_env *env = look->env;
    bool found = strcmp(env->launcher, "none") != 0;

    nx_append(env->why, sizeof(env->why), "%s",
              found            ? env->launcher
              : env->have_rank ? "no launcher was found: one rank"
                               : "no launcher was found: the seed gives out ranks");
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (found && numbers[i].have)
            nx_append(env->why, sizeof(env->why), "%s %s %u", i == 0 ? ":" : ",", numbers[i].name,
                      (unsigned)numbers[i].value);
    }
    nx_append(env->why, sizeof(env->why), "%s", look->notes);
}

nexar_status nx_env_detect(const struct nx_config *config, char *const *environment, const struct nx_env_host *host,
                           struct nx_env *out)
{
    struct nx_look look = {.config = config, .environment = environment, .host = host, .env = out};
    nexar_status status;

    *out = (struct nx_env){.launcher = "none"};
    status = config->rank_plus_one != 0 ? take_explicit(&look) : take_launcher(&look);
    if (status == NEXAR_OK && strcmp(out->launcher, "none") == 0)
        status = take_nobody(&look);
    out->have_rank = look.rank_name != NULL;
    out->have_size = look.size_name != NULL;
    if (status == NEXAR_OK)
        overrule(&look);
    if (status == NEXAR_OK)
        status = check(&look);
    if (status == NEXAR_OK)
        status = find_place(&look);
    if (status != NEXAR_OK)
        return status;
    find_company(&look);
    explain(&look);
    return NEXAR_OK;
}

/* ---- how to meet ---- */

static const char *const way_names[] = {
    [NX_WAY_ALONE] = "alone",
    [NX_WAY_JOIN] = "join",
    [NX_WAY_SECRET] = "secret",
    [NX_WAY_FILE] = "file",
};

const char *nx_way_name(enum nx_way way)
{
    return way_names[way];
}

nexar_status nx_env_way(const struct nx_config *config, const struct nx_env *env, enum nx_way *way)
{
    bool secret = config->secret != NULL || config->secret_file != NULL;
    /* A secret that the caller gives counts more than a join string that was left in the environment. */
    bool join = config->join != NULL && !(nx_config_source(config, &config->secret) == NX_BY_CALLER);

    *way = NX_WAY_ALONE;
    if (join)
        *way = NX_WAY_JOIN;
    else if (env->size <= 1)
        *way = NX_WAY_ALONE;
    else if (secret)
        *way = NX_WAY_SECRET;
    else if (env->one_host != NX_NO)
        *way = NX_WAY_FILE;
    else
        return nx_fail(
            NEXAR_ECONFIG,
            "the ranks are on several hosts (%u of %u on this one), and nothing lets them trust each other: set "
            "NEXAR_SECRET (or NEXAR_SECRET_FILE) to the same secret for all, or NEXAR_JOIN to the join string "
            "of a seed (nexar seed)",
            (unsigned)env->local_size, (unsigned)env->size);
    if (*way == NX_WAY_SECRET && env->host[0] == '\0')
        return nx_fail(NEXAR_ECONFIG,
                       "there is a secret, but nothing says on which host rank 0 is: set NEXAR_MASTER_ADDR (%s)",
                       env->why);
    return NEXAR_OK;
}
