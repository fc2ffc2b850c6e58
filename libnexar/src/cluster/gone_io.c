/* cluster/gone_io.c - which ranks of a communicator are gone: the public call.
 *
 * Owner: it looks on the engine, and keeps nothing. */
#include "cluster/view_io.h"

#include "base/call.h"
#include "net/peer.h"

struct gone {
    const nexar_comm *comm;
    uint32_t index;
    nexar_failure *out;
    bool found;
};

static void find_gone(void *arg)
{
    struct gone *g = arg;
    const nexar_comm *comm = g->comm;
    struct nx_members *members = comm->comms->members;
    uint32_t index = 0;

    for (uint32_t i = 0; i < comm->size && !g->found; i++) {
        uint32_t world = nx_comm_world(comm, i);
        nexar_status st = i == comm->rank ? NEXAR_OK : nx_lane_peer_status(&comm->net->lanes, world);

        if (st == NEXAR_OK || index++ != g->index)
            continue;
        g->found = true;
        g->out->rank = i;
        g->out->left = st == NEXAR_ECLOSED;
        g->out->out = !nx_members_has(members, world);
        nx_peer_why(comm->net->peer[world], g->out->why, sizeof(g->out->why));
    }
}

nexar_status nexar_comm_failure(nexar_comm *comm, uint32_t index, nexar_failure *out)
{
    nexar_status st = nx_comm_check(comm, "failures", false);
    struct gone g = {.comm = comm, .index = index, .out = out};

    if (out == NULL || out->size < sizeof(*out))
        return nx_fail(NEXAR_EINVAL, "failures: there is no place for the result, or its size is not set");
    *out = (nexar_failure){.size = sizeof(*out)};
    if (st == NEXAR_OK)
        st = nx_call(find_gone, &g);
    return st != NEXAR_OK ? st : g.found ? NEXAR_OK : NEXAR_EAGAIN;
}
