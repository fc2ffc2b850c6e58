/* comm/comms.h - the communicators of a node: those that are open, ids for new ones, and who is told of the last.
 *
 * All share the node's connections, so one costs memory and nothing else.  The world is one of them and may be closed
 * before the others: the node is taken apart when the last one is closed. */
#ifndef NX_COMM_COMMS_H
#define NX_COMM_COMMS_H

#include "comm/comm.h"

#define NX_HOST_SIZE 16

struct nx_members;

struct nx_comms {
    /* const after init */
    struct nx_net *net;
    const struct nx_select *select; /* borrowed */
    nx_time timeout, linger;
    uint8_t host[NX_HOST_SIZE]; /* equal for ranks that share a host */
    const uint32_t *hosts;      /* borrowed; of each rank of the job, once they are known: before there are others */
    void (*last)(void *owner);  /* blocks; the last one was closed */
    void *owner;
    struct nx_members *members; /* borrowed; once the job has formed, before it is used */
    /* lock */
    struct nx_mutex lock;
    struct nx_list all; /* nexar_comm.link, a reference each; items are removed on the engine alone */
    uint32_t open;      /* those that are not closed */
    uint64_t proposed;  /* the last number that was proposed for an id */
    /* for coll/near_run.c */
    struct nx_mutex near_lock;
    struct nx_list nears;          /* struct nx_near.link: those that have an operation for the engine */
    _Atomic uint32_t near_waiting; /* how many */
    struct nx_poller near_poller;
    bool near_polled; /* engine */
};

/* An id is the world rank + 1 of a communicator's rank 0, and a number that this one has never proposed before: no two
 * are equal, and none is the world's. */
#define NX_PROPOSAL_BITS 40
#define NX_PROPOSAL_MAX ((UINT64_C(1) << NX_PROPOSAL_BITS) - 1)

static inline uint64_t nx_comm_id_make(uint32_t world, uint64_t proposal)
{
    return ((uint64_t)world + 1) << NX_PROPOSAL_BITS | proposal;
}

/* All but the lock and what it guards is set by the caller. */
void nx_comms_init(struct nx_comms *comms);
/* After the connections: detaches what is still open. */
void nx_comms_fini(struct nx_comms *comms);

/* A number for the id of a new communicator, never the same. */
uint64_t nx_comms_propose(struct nx_comms *comms);

/* Makes a communicator, which is open from now on.  Takes over `world` (allocated, or NULL for all ranks of the job).
 * NEXAR_OK: it is to be closed by nexar_comm_close.  NEXAR_ENOMEM; NEXAR_EINVAL if the id is taken. */
nexar_status nx_comms_open(struct nx_comms *comms, uint64_t id, uint32_t rank, uint32_t size, uint32_t *world,
                           nexar_comm **comm);
/* The end of nexar_comm_close. */
void nx_comms_close(nexar_comm *comm);

/* Engine.  The first, and the one after `comm`, or NULL; for as long as this turn lasts. */
nexar_comm *nx_comms_first(struct nx_comms *comms);
nexar_comm *nx_comms_next(const nexar_comm *comm);

#endif
