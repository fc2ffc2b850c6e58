/* bulk/shm_link.h - one pair of rings, seen from one end: messages out and in. */
#ifndef NX_BULK_SHM_LINK_H
#define NX_BULK_SHM_LINK_H

#include "bulk/shm_group.h"

/* A message of which some is not in the ring yet. */
struct nx_shm_out;

struct nx_shm_half {
    struct nx_shm *shm;
    nexar_link *link;
    uint32_t index; /* of the peer */
    /* engine: in */
    struct nx_shm_rx rx;
    nexar_arrival *arrival;
    uint32_t at;  /* bytes of the piece that were taken */
    bool stalled; /* until it is resumed */
    /* lock: out */
    struct nx_mutex lock;
    struct nx_shm_tx tx;
    struct nx_list queue; /* struct nx_shm_out */
    /* atomic */
    _Atomic uint32_t queued;
    _Atomic uint64_t backlog;
    _Atomic uint64_t copied; /* bytes of it */
};

extern const nexar_bulk_ops nx_shm_ops;

/* Engine, from here on. */
void nx_shm_link_begin(struct nx_shm_half *half);
void nx_shm_link_end(struct nx_shm_half *half);
/* Takes some of what has come.  True: there was something.  NEXAR_EPROTO in *st: the peer makes no sense. */
bool nx_shm_link_receive(struct nx_shm_half *half, nexar_status *st);
/* Goes on with what waits for room.  True: some of it has left. */
bool nx_shm_link_push(struct nx_shm_half *half);
/* Whether either would do something. */
bool nx_shm_link_ready(struct nx_shm_half *half);

#endif
