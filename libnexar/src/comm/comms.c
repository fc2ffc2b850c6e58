/* comm/comms.c - opens and closes the communicators of a node.
 *
 * Owner: any thread, under the lock.  Events of the network reach communicators on the engine, so there they leave the
 * list and lose their place in the lanes; who waits for the end of operations is the thread that closes. */
#include "comm/comms.h"

#include "base/call.h"
#include "coll/exec.h"
#include "coll/near.h"
#include "rpc/rpc.h"

void nx_comms_init(struct nx_comms *comms)
{
    nx_mutex_init(&comms->lock, NX_LOCK_NODE);
    nx_mutex_init(&comms->near_lock, NX_LOCK_QUEUE);
    nx_list_init(&comms->nears);
    nx_list_init(&comms->all);
    comms->open = 0;
    comms->proposed = 0;
}

/* Engine, or after it has nothing to do with the node any more. */
static void detach(nexar_comm *comm)
{
    struct nx_comms *comms = comm->comms;

    nx_lock(&comms->lock);
    nx_list_remove(&comm->link);
    nx_unlock(&comms->lock);
    nx_comm_detach(comm);
    nx_comm_drop(comm);
}

void nx_comms_fini(struct nx_comms *comms)
{
    nexar_comm *comm;

    while ((comm = nx_comms_first(comms)) != NULL)
        detach(comm);
    nx_mutex_fini(&comms->near_lock);
    nx_mutex_fini(&comms->lock);
}

uint64_t nx_comms_propose(struct nx_comms *comms)
{
    uint64_t proposal;

    nx_lock(&comms->lock);
    /* 2^40 communicators would take years. */
    proposal = ++comms->proposed & NX_PROPOSAL_MAX;
    nx_unlock(&comms->lock);
    return proposal;
}

/* Who was lost before the list had this communicator is known to the lanes. */
static void note_lost(nexar_comm *comm)
{
    for (uint32_t rank = 0; rank < comm->size; rank++) {
        uint32_t world = nx_comm_world(comm, rank);

        if (rank != comm->rank && nx_lane_peer_status(&comm->net->lanes, world) == NEXAR_EPEER)
            atomic_store(&comm->lost, world + 1);
    }
}

nexar_status nx_comms_open(struct nx_comms *comms, uint64_t id, uint32_t rank, uint32_t size, uint32_t *world,
                           nexar_comm **comm)
{
    nexar_status st = nx_comm_new(comms->net, id, rank, size, world, comms->hosts, comms->timeout, comms->select, comm);

    if (st == NEXAR_OK) {
        (*comm)->comms = comms;
        st = nx_rpc_comm_open(*comm);
        if (st != NEXAR_OK) {
            nx_comm_detach(*comm);
            nx_comm_drop(*comm);
            *comm = NULL;
        }
    }
    if (st != NEXAR_OK)
        return st;
    nx_lock(&comms->lock);
    nx_list_push_back(&comms->all, &(*comm)->link);
    comms->open++;
    nx_unlock(&comms->lock);
    note_lost(*comm);
    if (rank == 0) { /* the others look for it when all have agreed that the communicator is there */
        nx_lock(&(*comm)->lock);
        nx_near_of(*comm, true);
        nx_unlock(&(*comm)->lock);
    }
    return NEXAR_OK;
}

static void detach_on_engine(void *arg)
{
    detach(arg);
}

/* Others stay: ends what is in flight in this one, and waits for that. */
static void leave(nexar_comm *comm)
{
    struct nx_comms *comms = comm->comms;
    struct nx_net *net = comm->net;
    nexar_error error;

    nx_net_close_ops(net, comm->id, NEXAR_ECLOSED);
    nx_coll_closing(comm);
    if (nx_net_wait_ops(net, comm->id, nx_after(nx_now(), comms->linger)) == NEXAR_EAGAIN) {
        /* Messages on their way that nobody takes. */
        nx_error_set(&error, NEXAR_ECLOSED, NEXAR_NO_RANK, "the communicator was closed before it was taken");
        error.comm = comm->id;
        nx_net_condemn_ops(net, comm->id, &error, NEXAR_ECANCELLED);
        nx_net_wait_ops(net, comm->id, NX_NEVER);
    }
    nx_call(detach_on_engine, comm);
}

void nx_comms_close(nexar_comm *comm)
{
    struct nx_comms *comms = comm->comms;
    bool last;

    if (nx_engine_may_block() != NEXAR_OK)
        return; /* in a forked child, or in a callback: what is open stays open until the process ends */
    nx_rpc_comm_close(comm, nx_after(nx_now(), comms->linger));
    nx_lock(&comms->lock);
    last = comms->open == 1;
    nx_unlock(&comms->lock);
    if (!last) {
        leave(comm);
        nx_lock(&comms->lock);
        last = --comms->open == 0; /* they may all be closed at once */
        nx_unlock(&comms->lock);
    }
    if (last)
        comms->last(comms->owner);
}

nexar_comm *nx_comms_first(struct nx_comms *comms)
{
    nexar_comm *first = NULL;

    nx_lock(&comms->lock);
    if (!nx_list_empty(&comms->all))
        first = nx_container_of(comms->all.next, nexar_comm, link);
    nx_unlock(&comms->lock);
    return first;
}

nexar_comm *nx_comms_next(const nexar_comm *comm)
{
    struct nx_comms *comms = comm->comms;
    nexar_comm *next = NULL;

    nx_lock(&comms->lock);
    if (comm->link.next != &comms->all)
        next = nx_container_of(comm->link.next, nexar_comm, link);
    nx_unlock(&comms->lock);
    return next;
}
