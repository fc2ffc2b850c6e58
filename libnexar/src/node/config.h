/* node/config.h - all settings, resolved: from the caller's nexar_config, else the environment, else the default.
 *
 * One table (config_table.c) has everything that is known about a setting; reading, checking, describing and listing
 * follow from it. */
#ifndef NX_NODE_CONFIG_H
#define NX_NODE_CONFIG_H

#include "base/clock.h"
#include "identity/proof.h"
#include "nexar/config.h"

#include <stdbool.h>

enum nx_source {
    NX_BY_DEFAULT,
    NX_BY_ENVIRONMENT,
    NX_BY_CALLER,
    NX_BY_MISTAKE, /* the environment has a value that is wrong; the default holds */
};

/* How the environment is searched for a launcher (NEXAR_DETECT). */
enum nx_detect {
    NX_DETECT_AUTO,
    NX_DETECT_NONE,
    NX_DETECT_TORCHRUN,
    NX_DETECT_OPENMPI,
    NX_DETECT_PMI,
    NX_DETECT_PMIX,
    NX_DETECT_SLURM,
    NX_DETECT_KUBERNETES,
};

#define NX_SETTINGS_MAX 64

/* Fields are named as in nexar_config; those that it lacks can be set by the environment alone.  Texts are NULL if they
 * are not set. */
struct nx_config {
    uint32_t rank_plus_one, world_size, local_rank_plus_one, local_size; /* 0: not set */
    char *join, *secret, *bind, *interface_, *advertise, *transports, *modules, *dump_dir;
    nx_time timeout_ns, join_timeout_ns, heartbeat_ns, peer_timeout_ns, linger_ns, spin_ns, recovery_timeout_ns;
    uint64_t small_bytes, lane_bytes, lane_messages, unread_bytes, connection_window, stream_window;
    uint64_t rpc_threads, rpc_queue;
    uint32_t elastic, min_world, max_world; /* 0: not set */
    /* environment alone */
    char *secret_file, *master_addr, *job_id, *coll_tune, *group;
    uint32_t master_port; /* 0: not set */
    uint32_t detect;      /* enum nx_detect */
    uint32_t reproducible;
    uint8_t source[NX_SETTINGS_MAX]; /* enum nx_source, by row of the table */
};

/* The environment as it is in `environ`: "NAME=value" texts and a NULL at the end.  NULL if `name` is not in it. */
const char *nx_variable(char *const *environment, const char *name);

/* Fills *out in any case; free it with nx_config_free.  `caller` may be NULL.
 * NEXAR_EINVAL: the caller's struct is wrong.  NEXAR_ECONFIG: a variable is; the text names the first one, with its
 * value and what is allowed, and the default holds for it.  NEXAR_ENOMEM. */
nexar_status nx_config_load(const nexar_config *caller, char *const *environment, struct nx_config *out);
void nx_config_free(struct nx_config *config);

/* Where a field has its value from: nx_config_source(c, &c->join). */
enum nx_source nx_config_source(const struct nx_config *config, const void *field);

/* What to call a field in a sentence about its value: "NEXAR_JOIN", or "config.join" if the caller gave it. */
const char *nx_config_name(const struct nx_config *config, const void *field);

/* The key of NEXAR_SECRET or NEXAR_SECRET_FILE.  *have is false, and that is no error, if neither is set.
 * As nx_secret_from_bytes and nx_secret_from_file. */
nexar_status nx_config_secret(const struct nx_config *config, struct nx_proof_key *key, bool *have);

struct nx_json;
/* A list of all settings with value and source.  Secrets are "set" or null. */
void nx_config_json(const struct nx_config *config, char *const *environment, struct nx_json *json, const char *key);

/* The next variable that begins with NEXAR_ and is none of ours, or NULL; *at is 0 at first.  *nearest is the variable
 * that was probably meant (a slip of the pen, or what took its place), or NULL. */
const char *nx_config_unknown(char *const *environment, size_t *at, char name[64], const char **nearest);

#endif
