/* node/environment.c - all that the environment of this process says about the job, for people and for the launcher.
 *
 * Owner: none, no state; it reads the process's own environment.  It joins nothing, and shows no secret. */
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "identity/join_string.h"
#include "node/config.h"
#include "node/env.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct report {
    struct nx_config config;
    struct nx_env env;
    struct nx_join_string join;
    struct nx_proof_key key;
    nexar_error faults[4];
    size_t fault_count;
    enum nx_way way;
    bool have_way, have_join;
};

static bool keep(struct report *r, nexar_status status)
{
    if (status != NEXAR_OK)
        r->faults[r->fault_count++] = *nx_last_error();
    return status == NEXAR_OK;
}

static void look(struct report *r, char *const *environment)
{
    bool have, loaded = keep(r, nx_config_load(NULL, environment, &r->config));

    if (r->config.join != NULL)
        r->have_join = keep(r, nx_join_string_parse(r->config.join, &r->join));
    if (loaded)
        keep(r, nx_config_secret(&r->config, &r->key, &have));
    if (keep(r, nx_env_detect(&r->config, environment, &nx_env_this_host, &r->env)) && r->fault_count == 0)
        r->have_way = keep(r, nx_env_way(&r->config, &r->env, &r->way));
}

static void number_json(struct nx_json *json, const char *key, bool have, uint32_t value)
{
    if (have)
        nx_json_uint(json, key, value);
    else
        nx_json_null(json, key);
}

static void meeting_json(const struct report *r, struct nx_json *json)
{
    const struct nx_env *env = &r->env;

    nx_json_object(json, "meeting");
    nx_json_text(json, "way", r->have_way ? nx_way_name(r->way) : NULL);
    nx_json_text(json, "host", env->host[0] == '\0' ? NULL : env->host);
    number_json(json, "port", env->port != 0, env->port);
    nx_json_bool(json, "port_given", env->port_given);
    nx_json_text(json, "job", env->job[0] == '\0' ? NULL : env->job);
    nx_json_list(json, "seed");
    for (size_t i = 0; r->have_join && i < r->join.host_count; i++) {
        nx_json_object(json, NULL);
        nx_json_text(json, "host", r->join.hosts[i].name);
        nx_json_uint(json, "port", r->join.hosts[i].port);
        nx_json_close(json);
    }
    nx_json_close(json);
    nx_json_close(json);
}

static void unknown_json(char *const *environment, struct nx_json *json)
{
    const char *nearest;
    char name[64];
    size_t at = 0;

    nx_json_list(json, "unknown");
    while (nx_config_unknown(environment, &at, name, &nearest) != NULL) {
        nx_json_object(json, NULL);
        nx_json_text(json, "variable", name);
        nx_json_text(json, "nearest", nearest);
        nx_json_close(json);
    }
    nx_json_close(json);
}

static void report_json(const struct report *r, char *const *environment, struct nx_json *json)
{
    static const char *const answers[] = {[NX_UNKNOWN] = NULL, [NX_NO] = "no", [NX_YES] = "yes"};
    const struct nx_env *env = &r->env;

    nx_json_object(json, NULL);
    nx_json_text(json, "launcher", env->launcher);
    nx_json_text(json, "why", env->why);
    number_json(json, "rank", env->have_rank, env->rank);
    number_json(json, "size", env->have_size, env->size);
    number_json(json, "local_rank", env->have_local_rank, env->local_rank);
    number_json(json, "local_size", env->have_local_size, env->local_size);
    nx_json_text(json, "one_host", answers[env->one_host]);
    meeting_json(r, json);
    nx_json_list(json, "errors");
    for (size_t i = 0; i < r->fault_count; i++)
        nx_json_text(json, NULL, r->faults[i].text);
    nx_json_close(json);
    nx_config_json(&r->config, environment, json, "settings");
    unknown_json(environment, json);
    nx_json_close(json);
}

nexar_status nexar_environment(char *json, size_t cap, size_t *need)
{
    struct nx_json out;
    struct report *r;
    nexar_status status = NEXAR_OK;

    if (need == NULL || (json == NULL && cap != 0))
        return nx_fail(NEXAR_EINVAL, "environment: %s is NULL", need == NULL ? "need" : "json");
    *need = 0;
    r = nx_calloc(1, sizeof(*r));
    if (r == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to describe the environment");
    look(r, environ);
    nx_json_begin_text(&out, json, cap);
    report_json(r, environ, &out);
    *need = nx_json_end_text(&out);
    if (r->fault_count > 0)
        status = nx_fail_with(&r->faults[0]);
    nx_config_free(&r->config);
    nx_free_secret(r); /* join string and key are in it */
    return status;
}
