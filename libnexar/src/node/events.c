/* node/events.c - what connections and the membership tell a node, given on to those whom it concerns.
 *
 * Owner: the engine.  It keeps nothing and decides nothing. */
#include "bulk/shm.h"
#include "coll/exec.h"
#include "coll/near.h"
#include "comm/abort.h"
#include "comm/inquiry.h"
#include "node/node_parts.h"
#include "rpc/rpc.h"

#include <string.h>

/* Of a job that forms anew: it does not. */
static void disturb(struct nx_node *node, uint32_t peer, const char *what)
{
    nexar_error error;

    nx_error_set(&error, NEXAR_EPEER, peer, "rank %u %s", peer, what);
    nx_elastic_disturbed(node, &error);
}

static void peer_gone(void *owner, uint32_t peer, nexar_status why)
{
    struct nx_node *node = owner;

    nx_rpc_peer_gone(&node->net, peer, why);
    for (nexar_comm *comm = nx_comms_first(&node->comms); comm != NULL; comm = nx_comms_next(comm)) {
        if (why == NEXAR_EPEER)
            nx_coll_peer_lost(comm, peer);
        else
            nx_near_peer_left(comm, peer);
    }
    nx_members_gone(node->members, peer, why != NEXAR_EPEER);
    if (why == NEXAR_EPEER)
        disturb(node, peer, "was lost");
}

static void op_aborted(void *owner, uint32_t peer, const struct nx_msg_op_aborted *aborted)
{
    struct nx_node *node = owner;
    nexar_comm *comm = nx_scope_owner(&node->net.lanes, aborted->comm);

    if (comm != NULL && aborted->status == (uint16_t)-NEXAR_EPEER && aborted->rank < comm->size)
        nx_members_blamed(node->members, peer, nx_comm_world(comm, aborted->rank));
    if (comm != NULL)
        nx_coll_aborted(comm, peer, aborted);
    nx_comm_drop(comm);
}

static void word(void *owner, uint32_t peer, const struct nx_message *m)
{
    struct nx_node *node = owner;
    nexar_comm *comm;

    switch ((int)m->kind) {
    case NX_KIND_ASK:
        comm = nx_scope_owner(&node->net.lanes, m->ask.comm);
        nx_inquiry_asked(&node->net, comm, peer, &m->ask);
        break;
    case NX_KIND_TELL:
        comm = nx_scope_owner(&node->net.lanes, m->tell.comm);
        if (comm != NULL)
            nx_inquiry_told(comm, peer, &m->tell);
        break;
    case NX_KIND_COMM_SHRINKS:
        comm = nx_scope_owner(&node->net.lanes, m->comm_shrinks.comm);
        if (comm != NULL && m->comm_shrinks.lost < comm->size)
            nx_members_blamed(node->members, peer, nx_comm_world(comm, m->comm_shrinks.lost));
        if (comm != NULL)
            nx_comm_given_up(comm, peer, &m->comm_shrinks);
        disturb(node, peer, "has lost another");
        break;
    default:
        comm = nx_scope_owner(&node->net.lanes, m->comm_aborted.comm);
        if (comm != NULL)
            nx_comm_aborted(comm, peer, &m->comm_aborted);
    }
    nx_comm_drop(comm);
}

static bool late(void *owner, uint64_t id, struct nexar_op *op, uint32_t peer)
{
    struct nx_node *node = owner;
    nexar_comm *comm = nx_scope_owner(&node->net.lanes, id);
    bool asked = comm != NULL && nx_inquiry_message(comm, op, nx_comm_rank_of(comm, peer));

    nx_comm_drop(comm);
    return asked;
}

static bool member(void *owner, uint32_t peer, const struct nx_message *m)
{
    struct nx_node *node = owner;

    if (m->kind == NX_KIND_PROCESS)
        return nx_kin_told(node->kin, peer, m->process.process);
    if (m->kind != NX_KIND_SHRUNK)
        return nx_members_said(node->members, peer, m);
    nx_members_shrunk(node->members, peer, m->shrunk.comm);
    return true;
}

const struct nx_net_events nx_node_events = {
    .gone = peer_gone, .aborted = op_aborted, .word = word, .member = member, .late = late};

/* ---- the membership ---- */

bool nx_node_is_near(void *arg, uint32_t rank)
{
    struct nx_node *node = arg;

    return node->hosts[rank] == node->hosts[node->net.config.rank];
}

static void member_out(void *owner, uint32_t rank, const char *why)
{
    struct nx_node *node = owner;
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(node->net.peer[rank], &st);

    if (conn != NULL)
        nx_conn_lost(conn, why);
    nx_conn_drop(conn);
}

static bool member_dead(void *owner, uint32_t rank)
{
    struct nx_node *node = owner;
    const struct nx_shm *shm = node->net.shm;
    uint32_t index = shm == NULL ? UINT32_MAX : nx_shm_index(shm, rank);

    return nx_kin_ended(node->kin, rank) || (index != UINT32_MAX && (nx_shm_dead(shm) >> index & 1) != 0);
}

static struct nx_record *member_record(void *owner, uint32_t rank)
{
    struct nx_node *node = owner;
    uint32_t index = node->records == NULL ? UINT32_MAX : nx_shm_index(node->net.shm, rank);

    return index == UINT32_MAX
               ? NULL
               : (struct nx_record *)(void *)(node->records + index * nx_record_bytes(node->net.config.size));
}

/* The lowest rank of the host makes them before the job has formed, and all find them after it. */
void nx_node_find_records(struct nx_node *node, bool make)
{
    struct nx_shm *shm = node->net.shm;
    size_t nbytes = nx_node_local_ranks(node) * nx_record_bytes(node->net.config.size);

    if (shm != NULL && (make ? nx_shm_self(shm) == 0 : node->records == NULL))
        node->records =
            make ? nx_shm_area_make(shm, NX_SHM_RECORDS, nbytes) : nx_shm_area_find(shm, NX_SHM_RECORDS, nbytes);
}

nexar_status nx_node_open_members(struct nx_node *node)
{
    static const struct nx_members_owner owner = {.out = member_out, .dead = member_dead, .record = member_record};
    uint32_t size = node->net.config.size;
    struct nx_uid *uid = nx_calloc(size, sizeof(*uid));
    nexar_status st;

    if (uid == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the membership of %u ranks", size);
    nx_node_find_records(node, false);
    for (uint32_t i = 0; node->mesh != NULL && i < size; i++) {
        if (i != node->net.config.rank && nx_node_is_near(node, i))
            nx_kin_tell(node->kin, i);
        memcpy(uid[i].bytes, nx_mesh_node(node->mesh, i), sizeof(uid[i].bytes));
    }
    st = nx_members_open(&node->net, uid, &node->options.member, &owner, node, &node->members);
    node->comms.members = node->members;
    return st;
}
