/* node/local.c - a job of several ranks in one process, for notebooks and tests.
 *
 * Owner: the calling thread.  Nothing is short-cut: seed, certificates and QUIC are those of any job. */
#include "base/mem.h"
#include "nexar/node.h"
#include "node/options.h"

enum { LOCAL_MAX = 256 };

static nexar_status join_all(struct nx_setup *setup, uint32_t n, struct nx_seed *seed, struct nx_node **nodes,
                             nexar_comm **comms)
{
    nexar_status st = nx_setup_by_join_string(setup, nx_seed_text(seed), "the local seed");

    setup->options.join.size = n;
    for (uint32_t i = 0; st == NEXAR_OK && i < n; i++) {
        setup->options.join.rank_plus_one = i + 1;
        st = nx_node_start(&setup->options, &nodes[i]);
    }
    for (uint32_t i = 0; st == NEXAR_OK && i < n; i++) {
        do
            st = nx_node_wait(nodes[i], NX_NEVER, &comms[i]);
        while (st == NEXAR_EINTR);
    }
    return st;
}

/* What has joined leaves again; what has not, gives up. */
static void undo(uint32_t n, struct nx_node **nodes, nexar_comm **comms)
{
    for (uint32_t i = 0; i < n; i++) {
        if (comms[i] != NULL)
            nexar_comm_close(comms[i]);
        else
            nx_node_free(nodes[i]);
        comms[i] = NULL;
    }
}

nexar_status nexar_local_cluster(uint32_t n, const nexar_config *config, nexar_comm **comms)
{
    struct nx_node **nodes;
    struct nx_seed *seed = NULL;
    struct nx_setup setup;
    nexar_status st;

    if (comms == NULL || n == 0 || n > LOCAL_MAX)
        return nx_fail(NEXAR_EINVAL, "local_cluster: it takes 1 to %d ranks, and a place for each", LOCAL_MAX);
    for (uint32_t i = 0; i < n; i++)
        comms[i] = NULL;
    st = nx_engine_may_block();
    if (st != NEXAR_OK)
        return st;
    nodes = nx_calloc(n, sizeof(struct nx_node *));
    if (nodes == NULL)
        return nx_fail(NEXAR_ENOMEM, "local_cluster: no memory");
    st = nx_setup_load(config, true, &setup);
    if (st == NEXAR_OK && setup.config.elastic != 0 &&
        nx_config_source(&setup.config, &setup.config.elastic) == NX_BY_CALLER)
        st = nx_fail(NEXAR_ENOTSUP, "local_cluster: nobody can join a job that is inside of one process");
    setup.config.elastic = 0;
    setup.options.join.formation = 0;
    setup.options.alone = false;
    setup.env.size = n;
    setup.env.one_host = NX_YES;
    if (st == NEXAR_OK)
        st = nx_setup_serve(&setup, NULL, NULL, &seed);
    if (st == NEXAR_OK)
        st = join_all(&setup, n, seed, nodes, comms);
    if (st != NEXAR_OK) {
        nexar_error error = *nx_last_error();

        undo(n, nodes, comms);
        st = nx_fail_with(&error);
    }
    nx_seed_end(seed);
    nx_setup_free(&setup);
    nx_free(nodes);
    return st;
}
