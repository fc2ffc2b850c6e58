/* net/net.h - what the connections of one node share: lanes, peers, limits, counters. */
#ifndef NX_NET_NET_H
#define NX_NET_NET_H

#include "base/completion.h"
#include "base/engine.h"
#include "base/record.h"
#include "net/lane.h"
#include "nexar/comm.h"
#include "wire/message.h"

struct nexar_node;
struct nx_peer;
struct nx_rpc;
struct nx_shm;

struct nx_net_config {
    uint32_t rank, size;
    uint64_t small_bytes;    /* payloads up to this size share one stream */
    uint64_t inflight_bytes; /* per peer, of large messages that are not acknowledged, before more of them wait */
    struct nx_lane_limits limits;
};

struct nx_net_stats {
    _Atomic uint64_t bytes_sent, bytes_received; /* payload */
    _Atomic uint64_t messages_sent, messages_received;
    _Atomic uint64_t streams; /* that peers have opened */
    _Atomic uint64_t copies;  /* payload bytes copied before sending */
    _Atomic uint64_t waited;  /* sends that had to wait for their turn */
};

/* Upwards.  On the engine, no lock held. */
struct nx_net_events {
    /* A peer is gone: lost (NEXAR_EPEER), or it has left in good order (NEXAR_ECLOSED). */
    void (*gone)(void *owner, uint32_t peer, nexar_status why);
    /* A rank has ended an operation early. */
    void (*aborted)(void *owner, uint32_t peer, const struct nx_msg_op_aborted *aborted);
    /* It says something about a communicator: NX_KIND_ASK, NX_KIND_TELL, NX_KIND_COMM_ABORTED or
     * NX_KIND_COMM_SHRINKS. */
    void (*word)(void *owner, uint32_t peer, const struct nx_message *message);
    /* It says something about its process, or about the membership.  False: that makes no sense. */
    bool (*member)(void *owner, uint32_t peer, const struct nx_message *message);
    /* Any thread.  A message to or from `peer` has run out of time.  True: it is ended later (nx_op_condemn), when more
     * is known. */
    bool (*late)(void *owner, uint64_t comm, struct nexar_op *op, uint32_t peer);
};

struct nx_net {
    /* const after init */
    struct nx_net_config config;
    struct nx_net_events events;
    void *owner;
    struct nx_peer **peer;   /* by rank; NULL for oneself */
    struct nexar_node *ways; /* owned; other ways than QUIC, or NULL */
    struct nx_shm *shm;      /* the segment that all ranks of this host share, or NULL */
    struct nx_rpc *rpc;      /* owned; rpc/rpc.h's */
    /* own locks */
    struct nx_lanes lanes;
    struct nx_completions *completions;
    struct nx_recorder *recorder;
    char *dump_folder; /* owned; NULL: none; comm/dump.h's */
    struct nx_list dump_link;
    _Atomic nx_time dumped_at; /* because of an error; 0: never */
    struct nx_net_stats stats;
    /* lock: ops in flight, of all kinds */
    struct nx_mutex lock;
    struct nx_list ops;  /* struct nx_inflight */
    _Atomic bool closed; /* no more of them */
    struct nx_list idle; /* struct nx_idle: threads that wait for their end */
};

/* An op's place among all that are in flight. */
struct nx_inflight {
    struct nx_list link;
    struct nexar_op *op;
    uint64_t comm; /* id of its communicator; 0: none's */
    bool cancelled;
    bool condemned;
};

nexar_status nx_net_init(struct nx_net *net, const struct nx_net_config *config, const struct nx_net_events *events,
                         void *owner);
/* Accepts half-built.  After all connections have ended. */
void nx_net_fini(struct nx_net *net);

/* An op begins.  NEXAR_ECLOSED. */
nexar_status nx_net_op_begin(struct nx_net *net, struct nx_inflight *inflight, struct nexar_op *op, uint64_t comm);
/* It has ended: call before nx_op_finish. */
void nx_net_op_end(struct nx_net *net, struct nx_inflight *inflight);
/* Those in flight are told to end with `why`: of one communicator, or (0) all, and then no more begin.  A send on its
 * way ends when it has arrived, or with its connection. */
void nx_net_close_ops(struct nx_net *net, uint64_t comm, nexar_status why);
/* Any thread.  The ops in flight that have said what they are, held, oldest first; at most `max`.  Returns how many
 * there are. */
uint32_t nx_net_list_ops(struct nx_net *net, struct nexar_op **ops, uint32_t max);
/* Condemns those of one communicator that move messages; see nx_op_condemn. */
void nx_net_condemn_ops(struct nx_net *net, uint64_t comm, const nexar_error *error, nexar_status why);
/* Blocks until the last op of a communicator, or (0) of all, has ended.  NEXAR_EAGAIN at the deadline. */
nexar_status nx_net_wait_ops(struct nx_net *net, uint64_t comm, nx_time deadline);

#endif
