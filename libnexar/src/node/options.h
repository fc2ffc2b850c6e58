/* node/options.h - from settings and environment to what a node needs. */
#ifndef NX_NODE_OPTIONS_H
#define NX_NODE_OPTIONS_H

#include "cluster/seed_io.h"
#include "node/env.h"
#include "node/node.h"
#include "node/reach.h"

/* All that was read, and what follows from it. */
struct nx_setup {
    struct nx_config config;
    struct nx_env env;
    enum nx_way way;
    struct nx_interfaces there;
    struct nx_reach reach;
    struct nx_node_options options;
};

/* Reads the caller's settings and the environment, and fills in the options, but for where the seed is.  `alone`:
 * whatever the environment says about launchers, this process makes its own job (nexar_local_cluster, nexar_seed_open).
 *  Free it in any case. */
nexar_status nx_setup_load(const nexar_config *caller, bool alone, struct nx_setup *setup);
void nx_setup_free(struct nx_setup *setup);

/* Where the seed is.  NEXAR_EAGAIN: names are not known yet, try again. */
nexar_status nx_setup_by_join_string(struct nx_setup *setup, const char *text, const char *name);
nexar_status nx_setup_by_secret(struct nx_setup *setup);

/* A seed that serves from here: by secret at its agreed port, else at any port of this host for a job of this host.
 * `full` as in struct nx_seed_options. */
nexar_status nx_setup_serve(struct nx_setup *setup, void (*full)(void *arg), void *arg, struct nx_seed **seed);

#endif
