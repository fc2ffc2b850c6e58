/* comm/comm.h - a communicator: members, id, order of collectives, and what is wrong with it.
 *
 * The public object.  Ops hold a reference, so it may be closed while they end. */
#ifndef NX_COMM_COMM_H
#define NX_COMM_COMM_H

#include "coll/plan.h"
#include "net/xfer.h"
#include "nexar/comm.h"

struct nx_coll_op;
struct nx_comms;
struct nx_near;

struct nx_comm_stats {
    _Atomic uint64_t finished[NX_COLLS];
    _Atomic uint64_t failed;
};

/* An operation that another rank ended before it began here. */
struct nx_aborted {
    struct nx_list link;
    struct nx_coll_call call; /* in the lanes, so that what comes for it is dropped */
    nexar_error error;
};

enum { NX_ABORTED_MAX = 1024 };

struct nexar_comm {
    /* const after init */
    struct nx_net *net;
    uint64_t id;
    uint64_t root; /* id of the one that it was shrunk from, step by step; else its own */
    uint32_t rank, size;
    const uint32_t *world; /* owned; world rank of each rank; NULL: the same */
    nx_time timeout;
    const struct nx_select *select; /* borrowed */
    const uint32_t
        *hosts;     /* owned; of each rank, its host, counted from 0 by its lowest rank; NULL: it does not matter */
    unsigned where; /* enum nx_where */
    struct nx_scope *scope;
    struct nx_comms *comms; /* of the node */
    struct nx_list link;    /* comms->all; its lock */
    /* atomic */
    _Atomic uint32_t refs;
    _Atomic bool closed;
    _Atomic uint32_t lost; /* a member that was lost, world rank + 1; 0: none */
    _Atomic bool stopped;  /* a member has aborted it; broken_error says who, and why */
    struct nx_comm_stats stats;
    /* lock */
    struct nx_mutex lock;
    uint64_t sequence; /* of the last collective */
    struct nx_plans plans;
    struct nx_list running; /* struct nx_coll_op.link */
    struct nx_list idle;    /* finished ones, kept for the next call of the same plan */
    uint32_t idle_count;
    size_t idle_bytes;
    bool broken; /* by a mismatch or an abort: no collectives from this one on */
    nexar_error broken_error;
    struct nx_list aborted; /* struct nx_aborted */
    uint32_t aborted_count;
    bool watching;
    struct nx_list inquiries; /* struct nx_inquiry */
    _Atomic bool near_known;  /* const from then on: */
    struct nx_near *near;     /* owned; operations in shared memory; NULL: none */
    /* engine */
    struct nx_timer watch; /* for collectives that wait for long; has a reference while it is set */
};

/* For comm/comms.c, which sets `comms`.  Takes over `world` (allocated, or NULL for all ranks).  `hosts`: those of the
 * job's ranks, or NULL if they are not known yet.  The caller gets the only reference. */
nexar_status nx_comm_new(struct nx_net *net, uint64_t id, uint32_t rank, uint32_t size, uint32_t *world,
                         const uint32_t *hosts, nx_time timeout, const struct nx_select *select, nexar_comm **comm);
/* Nothing runs any more, and nothing will: before the network goes, which ops that the user still has may outlive. */
void nx_comm_detach(nexar_comm *comm);
/* For one that was made before the hosts were known, and its first collective.  NEXAR_OK, NEXAR_ENOMEM. */
nexar_status nx_comm_place(nexar_comm *comm, const uint32_t *hosts);
void nx_comm_hold(nexar_comm *comm);
void nx_comm_drop(nexar_comm *comm);

static inline uint32_t nx_comm_world(const nexar_comm *comm, uint32_t rank)
{
    return comm->world == NULL ? rank : comm->world[rank];
}

/* Rank in the communicator of a world rank; NEXAR_NO_RANK if it is no member. */
uint32_t nx_comm_rank_of(const nexar_comm *comm, uint32_t world);

/* With the lock: what is known of an operation that has not begun here, or NULL. */
struct nx_aborted *nx_aborted_find(nexar_comm *comm, uint64_t sequence);
void nx_aborted_free(nexar_comm *comm, struct nx_aborted *aborted);

/* NEXAR_OK, or NEXAR_EINVAL, NEXAR_ECLOSED, NEXAR_EFORK, NEXAR_EDEADLK (if the call would block). */
nexar_status nx_comm_check(const nexar_comm *comm, const char *call, bool blocks);

#endif
