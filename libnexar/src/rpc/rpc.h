/* rpc/rpc.h - the calls of a node: those that it makes, those that have come, and the receives by which all come.
 *
 * One lock for all of it, held for look-ups and list operations alone.  Requests and desks may outlive the node: they
 * hold a reference, and find that the network is gone. */
#ifndef NX_RPC_RPC_H
#define NX_RPC_RPC_H

#include "base/hash.h"
#include "base/list.h"
#include "comm/comm.h"
#include "net/xfer.h"
#include "rpc/frame.h"

/* How many receives wait at the same time: so many large messages can arrive beside each other. */
enum { NX_RPC_SLOTS = 8 };

/* A receive for any message of a flow, posted again when it has got one. */
struct nx_rpc_slot {
    struct nx_recv recv;
    struct nx_rpc *rpc;
    struct nx_list link;    /* rpc->resting */
    _Atomic uint32_t state; /* whether it is being posted right now */
};

struct nx_rpc {
    /* const after init */
    struct nx_net *net;
    struct nx_scope *scope;
    uint32_t threads, queue; /* handlers per desk; requests that wait before their senders are held back */
    /* atomic */
    _Atomic uint32_t refs;
    _Atomic bool closing;
    /* lock */
    struct nx_mutex lock;
    bool shut;             /* the network is about to go: no more users of it */
    uint32_t users;        /* threads that are sending an answer */
    uint32_t posted;       /* slots that are in the lane table */
    _Atomic uint32_t word; /* of those who wait for the end of users and slots */
    uint64_t next_id;
    struct nx_hash calls;    /* struct nx_call.node, by id */
    struct nx_hash requests; /* struct nexar_request.node, by id */
    struct nx_list desks;    /* nexar_desk.link; of communicators that are open */
    uint32_t waiting;        /* requests in queues */
    uint64_t waiting_bytes;
    struct nx_list resting; /* slots that wait for room in the queues */
    struct nx_rpc_slot slot[NX_RPC_FLOWS][NX_RPC_SLOTS];
};

/* Receives from now on.  NEXAR_ENOMEM. */
nexar_status nx_rpc_open(struct nx_net *net, uint32_t threads, uint32_t queue);
/* After the connections: ends what there is, and waits for those who use the network.  net->rpc NULL is legal. */
void nx_rpc_close(struct nx_net *net);
void nx_rpc_hold(struct nx_rpc *rpc);
void nx_rpc_drop(struct nx_rpc *rpc);

/* A thread wants to send: false if there is no network any more. */
bool nx_rpc_enter(struct nx_rpc *rpc);
void nx_rpc_leave(struct nx_rpc *rpc);

/* Any thread that has entered, or the engine.  A message without payload, or a very short one, for which nobody
 * waits. */
void nx_rpc_notice(struct nx_rpc *rpc, uint32_t peer, const struct nx_rpc_tail *tail, const void *payload, size_t n);

/* After some requests were taken out of a queue: room for others. */
void nx_rpc_room(struct nx_rpc *rpc);

/* ---- comm/ and node/ ---- */

/* Engine. */
void nx_rpc_peer_gone(struct nx_net *net, uint32_t peer, nexar_status why);
/* A communicator is there from now on.  NEXAR_ENOMEM. */
nexar_status nx_rpc_comm_open(nexar_comm *comm);
/* It is about to close: waits for its functions in C that run, which have been told, until the deadline. */
void nx_rpc_comm_close(nexar_comm *comm, nx_time deadline);

/* ---- call.c ---- */

/* An answer has come; `bytes` is taken over. */
void nx_call_answered(struct nx_rpc *rpc, uint32_t peer, const struct nx_rpc_tail *tail, uint8_t *bytes, size_t n);
void nx_calls_peer_gone(struct nx_rpc *rpc, uint32_t peer, nexar_status why);

/* ---- request.c ---- */

enum nx_request_state { NX_REQUEST_QUEUED, NX_REQUEST_TAKEN };

struct nexar_request {
    struct nx_hash_node node;
    struct nx_list link; /* queued */
    struct nx_rpc *rpc;  /* a reference */
    uint32_t peer;       /* world rank */
    uint32_t caller;     /* in the communicator */
    uint64_t id, comm;
    nx_time deadline;
    uint8_t *bytes; /* owned */
    uint64_t len;   /* of the payload */
    uint16_t name_len, number;
    enum nx_request_state state; /* lock */
    nexar_function fn;           /* NULL: by cookie */
    void *arg;
    uint64_t cookie;
    _Atomic int unwanted; /* nexar_status: why nobody waits for the answer any more; 0: somebody does */
};

/* A request has come; `bytes` is taken over. */
void nx_request_come(struct nx_rpc *rpc, uint32_t peer, const struct nx_rpc_tail *tail, uint8_t *bytes, uint64_t len);
void nx_request_cancelled(struct nx_rpc *rpc, uint32_t peer, uint64_t id);
void nx_requests_peer_gone(struct nx_rpc *rpc, uint32_t peer);
/* All of them, or those of one communicator (not 0), are unwanted; callers of the latter are told. */
void nx_requests_end(struct nx_rpc *rpc, uint64_t comm);
/* Answers with a code and frees it.  Engine, or a thread that has entered. */
void nx_request_refuse(struct nexar_request *request, enum nx_rpc_code code);
/* Without an answer. */
void nx_request_free(struct nexar_request *request);

/* ---- desk.c ---- */

/* Lock.  Gives a request to the desk of its communicator; else the code of why not. */
enum nx_rpc_code nx_desk_put(struct nx_rpc *rpc, struct nexar_request *request);
/* The desks of communicators that were never closed go. */
void nx_desks_end(struct nx_rpc *rpc);
/* Lock.  It is in a queue and leaves it. */
void nx_rpc_unqueue(struct nexar_request *request);

#endif
