/* cluster/gone_io.c - which ranks of a communicator are gone, and waiting for the next one: the public calls.
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

/* ---- the next one ---- */

static void look(struct nx_view *v)
{
    const nexar_comm *comm = v->comm;
    uint64_t gone = 0;

    for (uint32_t i = 0; i < comm->size; i++)
        gone += i != comm->rank && nx_lane_peer_status(&comm->net->lanes, nx_comm_world(comm, i)) != NEXAR_OK;
    if (gone > v->flag)
        nx_view_finish(v, NEXAR_OK, NULL);
}

static nexar_status begin(struct nx_view *v)
{
    (void)v;
    return NEXAR_OK;
}

static void late(const struct nx_view *v, double seconds, nexar_error *error)
{
    (void)v;
    nx_error_set(error, NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "failure: nobody more is gone after %.3g s", seconds);
}

static const struct nx_view_kind kind = {.name = "failure", .begin = begin, .look = look, .late = late};

nexar_status nexar_failure_start(nexar_comm *comm, uint32_t known, const nexar_call_opts *opts, nexar_op **op_out)
{
    static const nexar_call_opts forever = {.size = sizeof(forever), .timeout_ns = NEXAR_FOREVER};

    return nx_view_start(comm, &kind, known, opts == NULL ? &forever : opts, op_out);
}
