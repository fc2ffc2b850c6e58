/* node/options.c - turns settings, environment and join string into the options of a node.
 *
 * Owner: the calling thread; it may block on a name server.  It opens nothing but the seed that rank 0 runs. */
#include "node/options.h"

#include "base/engine.h"
#include "base/log.h"
#include "base/process.h"
#include "identity/digest.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* Engine: names others can reach this rank by. */
static nexar_status tell_addresses(void *arg, const struct sockaddr *seed, uint16_t port,
                                   char addresses[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count)
{
    const struct nx_setup *setup = arg;
    struct sockaddr_storage near;
    char told[NX_TELL_MAX][NX_ADDRESS_TEXT];
    bool routed = nx_route(seed, &near);
    size_t n = 0;
    nexar_status st = nx_reach_tell(&setup->reach, &setup->there, routed ? &near : NULL, port, told, &n);

    for (size_t i = 0; i < n; i++)
        snprintf(addresses[i], NX_ADDRESS_SIZE, "%s", told[i]);
    *count = (uint32_t)n;
    return st;
}

/* Who runs on one kernel, sees one /dev/shm and can be reached by local sockets, which a network namespace has of its
 * own, can share memory, whatever the names of the containers are; others cannot, and are different hosts. */
static void host_text(char *text, size_t cap)
{
    struct nx_process self = {0};
    char kernel[128] = "";
    struct stat shm = {0}, net = {0};

    if (nx_process_self(&self) == NEXAR_OK)
        snprintf(kernel, sizeof(kernel), "%s", self.boot);
    else
        gethostname(kernel, sizeof(kernel) - 1);
    if (stat("/dev/shm", &shm) != 0)
        stat("/proc/self/ns/mnt", &shm);
    stat("/proc/self/ns/net", &net); /* where there is none, all have the same */
    snprintf(text, cap, "host %s %llx:%llx %llx", kernel, (unsigned long long)shm.st_dev,
             (unsigned long long)shm.st_ino, (unsigned long long)net.st_ino);
}

/* What ranks of one launcher, or else of one host, have in common. */
static nexar_status fill_group(struct nx_setup *setup)
{
    char text[256] = "";
    uint8_t digest[NX_SHA256_SIZE];
    nexar_status st;

    if (setup->config.group != NULL) {
        snprintf(text, sizeof(text), "group %s", setup->config.group);
    } else {
        host_text(text, sizeof(text));
    }
    st = nx_sha256(text, strlen(text), digest);
    memcpy(setup->options.join.group, digest, NX_ID_SIZE);
    return st;
}

/* A misspelt setting would be one that silently does nothing. */
static void warn_unknown(void)
{
    const char *nearest;
    char name[64];
    size_t at = 0;

    while (nx_config_unknown(environ, &at, name, &nearest) != NULL)
        nx_warn("%s is set, but there is no such setting%s%s%s", name, nearest == NULL ? "" : "; is ",
                nearest == NULL ? "" : nearest, nearest == NULL ? "" : " meant?");
}

/* Who is new waits for a checkpoint of those who are there. */
#define ELASTIC_JOIN_TIMEOUT (600 * NX_S)

/* Connections notice silence; what the membership hears of its own is a second opinion, which may come later. */
static void set_membership(struct nx_member_config *m, const struct nx_config *c)
{
    nx_time slow = 4 * c->heartbeat_ns > 2 * c->peer_timeout_ns ? 4 * c->heartbeat_ns : 2 * c->peer_timeout_ns;

    *m = nx_member_defaults();
    m->beat = c->heartbeat_ns;
    m->timeout = slow > m->timeout ? slow : m->timeout;
    m->quorum_wait = c->recovery_timeout_ns;
}

static nexar_status fill(struct nx_setup *setup)
{
    const struct nx_config *c = &setup->config;
    const struct nx_env *env = &setup->env;
    struct nx_node_options *o = &setup->options;
    nexar_status st;

    o->alone = setup->way == NX_WAY_ALONE && c->elastic == 0;
    if (c->elastic != 0 && nx_config_source(c, &c->join_timeout_ns) == NX_BY_DEFAULT)
        setup->config.join_timeout_ns = ELASTIC_JOIN_TIMEOUT;
    o->join_timeout = c->join_timeout_ns;
    o->min_world = c->min_world;
    o->max_world = c->max_world;
    o->join.formation = c->elastic;
    o->join.keep_alive = c->heartbeat_ns;
    o->join.disconnect = c->peer_timeout_ns;
    o->timeout = c->timeout_ns;
    o->linger = c->linger_ns;
    set_membership(&o->member, c);
    o->small_bytes = c->small_bytes;
    o->limits = (struct nx_lane_limits){
        .lane_bytes = c->lane_bytes, .lane_messages = c->lane_messages, .unread_bytes = c->unread_bytes};
    o->tune = c->coll_tune;
    o->reproducible = c->reproducible != 0;
    o->dump_folder = c->dump_dir;
    o->transports = c->transports;
    o->modules = c->modules;
    o->rpc_threads = (uint32_t)c->rpc_threads;
    o->rpc_queue = (uint32_t)c->rpc_queue;
    o->mesh.connection_window = c->connection_window;
    o->mesh.stream_window = c->stream_window;
    o->mesh.keep_alive = c->heartbeat_ns;
    o->mesh.disconnect = c->peer_timeout_ns;
    o->join.rank_plus_one = env->have_rank ? env->rank + 1 : 0;
    o->join.size = env->have_size ? env->size : 0;
    o->join.local_rank_plus_one = env->have_local_rank ? env->local_rank + 1 : 0;
    o->join.local_size = env->have_local_size ? env->local_size : 0;
    o->addresses = tell_addresses;
    o->addresses_arg = setup;
    st = fill_group(setup);
    if (st == NEXAR_OK)
        st = nx_interfaces_get(&setup->there);
    return st;
}

/* More ranks on this host than cores: while they form, whoever polls keeps a core from who has something to do. */
static void choose_spinning(const struct nx_setup *setup)
{
    bool crowded = setup->env.have_local_size && nx_node_crowded(setup->env.local_size);

    nx_engine_set_spin(crowded ? 0 : setup->config.spin_ns, crowded);
}

nexar_status nx_setup_load(const nexar_config *caller, bool alone, struct nx_setup *setup)
{
    nexar_status st;

    *setup = (struct nx_setup){.way = NX_WAY_ALONE};
    st = nx_config_load(caller, environ, &setup->config);
    if (st == NEXAR_OK && !alone)
        st = nx_env_detect(&setup->config, environ, &nx_env_this_host, &setup->env);
    if (st == NEXAR_OK && !alone)
        st = nx_env_way(&setup->config, &setup->env, &setup->way);
    if (st == NEXAR_OK && !alone)
        nx_info("environment: %s; the ranks meet %s", setup->env.why, nx_way_name(setup->way));
    if (st == NEXAR_OK)
        st = fill(setup);
    if (st == NEXAR_OK) {
        warn_unknown();
        choose_spinning(setup);
    }
    return st;
}

void nx_setup_free(struct nx_setup *setup)
{
    nx_interfaces_free(&setup->there);
    nx_config_free(&setup->config);
    explicit_bzero(&setup->options.join.proof, sizeof(setup->options.join.proof));
    explicit_bzero(setup->options.join.token, sizeof(setup->options.join.token));
}

/* ---- where the seed is ---- */

/* Appends the addresses of a host; `*loopback` stays true while all are loopback. */
static nexar_status add_seed(struct nx_setup *setup, const char *host, uint16_t port, bool *loopback)
{
    struct nx_join_options *j = &setup->options.join;
    struct nx_resolved found;
    nexar_status st = nx_resolve(host, port, &setup->there, &found);

    /* A pod's name is known some time after the pod has started. */
    if (st == NEXAR_ECONFIG && setup->way == NX_WAY_SECRET && strcmp(setup->env.launcher, "kubernetes") == 0)
        return NEXAR_EAGAIN;
    if (st != NEXAR_OK)
        return st;
    *loopback = *loopback && (found.loopback || setup->env.one_host == NX_YES);
    for (size_t i = 0; i < found.count && j->seed_count < NX_JOIN_HOSTS; i++)
        j->seeds[j->seed_count++] = found.address[i];
    return NEXAR_OK;
}

/* Listening and advertising depend on whether the job stays on this host. */
static nexar_status settle_reach(struct nx_setup *setup, bool loopback)
{
    nexar_status st = nx_reach_init(&setup->config, loopback, &setup->there, &setup->reach);

    return st == NEXAR_OK ? nx_reach_listen(&setup->reach, &setup->there, &setup->options.mesh.listen) : st;
}

nexar_status nx_setup_by_join_string(struct nx_setup *setup, const char *text, const char *name)
{
    struct nx_join_options *j = &setup->options.join;
    struct nx_join_string join;
    bool loopback = true;
    nexar_status st = nx_join_string_parse(text, &join);

    if (st != NEXAR_OK) {
        char why[400];

        snprintf(why, sizeof(why), "%s", nexar_last_error());
        return nx_fail(st, "%s: %s", name, why);
    }
    j->by_fingerprint = true;
    memcpy(j->ca_sha256, join.ca_sha256, NX_SHA256_SIZE);
    j->seed_count = 0;
    snprintf(j->seed_text, sizeof(j->seed_text), strchr(join.hosts[0].name, ':') != NULL ? "[%.100s]:%u" : "%.100s:%u",
             join.hosts[0].name, join.hosts[0].port);
    for (size_t i = 0; st == NEXAR_OK && i < join.host_count; i++)
        st = add_seed(setup, join.hosts[i].name, join.hosts[i].port, &loopback);
    if (st == NEXAR_OK)
        st = nx_proof_key_from_token(join.token, &j->proof);
    j->has_token = st == NEXAR_OK && setup->config.elastic != 0;
    if (j->has_token)
        memcpy(j->token, join.token, NX_TOKEN_SIZE);
    explicit_bzero(&join, sizeof(join));
    return st == NEXAR_OK ? settle_reach(setup, loopback) : st;
}

nexar_status nx_setup_by_secret(struct nx_setup *setup)
{
    struct nx_join_options *j = &setup->options.join;
    bool have, loopback = true;
    nexar_status st = nx_config_secret(&setup->config, &j->proof, &have);

    j->by_fingerprint = false;
    j->patient = true; /* the port is the same for every job of these processes */
    j->seed_count = 0;
    snprintf(j->seed_text, sizeof(j->seed_text), "%.100s:%u", setup->env.host, setup->env.port);
    if (st == NEXAR_OK)
        st = add_seed(setup, setup->env.host, setup->env.port, &loopback);
    return st == NEXAR_OK ? settle_reach(setup, loopback) : st;
}

/* ---- the seed that rank 0 runs ---- */

nexar_status nx_setup_serve(struct nx_setup *setup, void (*full)(void *arg), void *arg, struct nx_seed **seed)
{
    struct nx_seed_options o = {.size = setup->env.size != 0 ? setup->env.size : 1,
                                .timeout = setup->config.join_timeout_ns,
                                .full = full,
                                .full_arg = arg,
                                .grows = setup->config.elastic != 0};
    struct sockaddr_in *local = (struct sockaddr_in *)(void *)&o.listen;

    if (setup->way == NX_WAY_SECRET) {
        /* Where the others look for it, on all addresses: which of them a name means elsewhere is not known here. */
        o.secret = &setup->options.join.proof;
        o.listen = setup->options.mesh.listen;
        nx_address_set_port(&o.listen, setup->env.port);
        return nx_seed_serve(&o, seed);
    }
    local->sin_family = AF_INET;
    local->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    o.host_count = 1;
    snprintf(o.hosts[0].name, sizeof(o.hosts[0].name), "127.0.0.1");
    return nx_seed_serve(&o, seed);
}
