/* net/lane.h - the lane table of a node: receives that wait for messages, and messages that wait for receives.
 *
 * Everything that can arrive has a key (peer, lane, scope, id).  A message goes to the receive that was posted first
 * for its key; a message for which nobody waits is kept, up to limits, in the order in which it was sent.  One
 * mechanism for collectives, messages between two ranks, and the raw and framed lanes; it knows no transport.
 *
 * Any thread, under the table's lock; payloads are copied and callbacks run without it. */
#ifndef NX_NET_LANE_H
#define NX_NET_LANE_H

#include "base/engine.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/status.h"
#include "base/thread.h"
#include "math/reduce.h"
#include "wire/lane.h"

#define NX_ANY_PEER UINT32_MAX
/* Of P2P: an id is `space << 32 | tag`, and any tag means any of one space. */
#define NX_ANY_ID ((uint64_t)UINT32_MAX)

struct nx_key {
    uint32_t peer; /* rank in the world */
    uint8_t lane;
    uint64_t scope; /* communicator, or 0 */
    uint64_t id;    /* space and tag; for collectives see wire/tag.h */
};

static inline bool nx_id_any(uint64_t id)
{
    return (uint32_t)id == UINT32_MAX;
}

/* A receive's key that more than one sender, or more than one tag, fits. */
static inline bool nx_key_any(const struct nx_key *key)
{
    return key->lane == NX_LANE_P2P && (key->peer == NX_ANY_PEER || nx_id_any(key->id));
}

struct nx_lanes;
struct nx_msg;

enum nx_recv_state {
    NX_RECV_IDLE,
    NX_RECV_POSTED,
    NX_RECV_MATCHED, /* its message is on the way */
    NX_RECV_BUSY,    /* its memory is being written, or read */
};

/* A receive.  Embedded in an op or in a step; owned by the table from nx_lane_post until `done`. */
struct nx_recv {
    /* set by the poster */
    struct nx_key key; /* P2P: peer and tag may be NX_ANY_* */
    uint8_t *dst;
    const nexar_iov *pieces; /* P2P, if not NULL: instead of dst, `cap` bytes in all; the poster's until `done` */
    bool own; /* P2P: dst is allocated, once it is known how large the message is; the poster's to free */
    size_t cap;
    uint64_t call, count; /* COLL: what the poster called; a message with other values is a mismatch */
    nx_reduce_fn fn;      /* COLL: reduce into dst instead of copying; NULL: copy */
    size_t element;       /* COLL: bytes of an element */
    uint8_t skip;         /* the first bytes of the payload go to `prefix` (framed lanes: 8) */
    /* Exactly once, on the engine or on the posting or cancelling thread, no lock held. */
    void (*done)(struct nx_recv *recv, nexar_status status);
    /* filled in before done */
    uint32_t from;
    uint64_t id, len; /* of the message, prefix not counted */
    uint8_t prefix[8];
    uint64_t their_call, their_count; /* NEXAR_EMISMATCH: what the sender called */
    bool spoilt;                      /* ended early with a message that is lost by that */
    /* lock */
    struct nx_list link;
    uint64_t number;
    struct nx_msg *msg;
    enum nx_recv_state state;
    nexar_status status; /* of a receive that is about to be done, or was cancelled while busy */
};

/* A collective that runs: arrivals for it are compared with what was called. */
struct nx_coll_call {
    struct nx_list link;
    uint64_t sequence, call, count;
};

struct nx_probe {
    struct nx_list link;
    struct nx_key key;
    struct nx_waiter waiter;
};

/* What was called here, from this sequence on until the next of these. */
struct nx_coll_run {
    uint64_t from, call, count;
};

/* How many of them a communicator remembers, and how many collectives that failed. */
enum { NX_COLL_RUNS = 64, NX_COLL_FAILED = 64 };

/* A message of a collective that is for another call than the one that was made here. */
struct nx_misfit {
    uint32_t peer;
    uint64_t sequence, call, count;
    bool known; /* what was called here; else it was too long ago */
    uint64_t our_call, our_count;
};

struct nx_scope_events {
    /* The table's lock is held: takes a reference to the owner, and no more. */
    void (*hold)(void *owner);
    /* No lock held; it gives the reference back.  The collective may run, or have ended well. */
    void (*misfit)(void *owner, const struct nx_misfit *misfit);
};

/* What a communicator has in the table. */
struct nx_scope_peer {
    _Atomic uint32_t send_order; /* of the next message to it */
    uint32_t recv_order;         /* of the next message from it */
    bool stranger;               /* no member */
};

struct nx_scope {
    struct nx_hash_node node;
    uint64_t id;
    bool claimed;               /* a communicator has it; else only arrivals know it */
    bool stopped;               /* it was aborted: nobody waits for messages any more */
    uint64_t last;              /* sequence of the last collective that may begin; 0: any may */
    uint32_t maker;             /* while it is not claimed: the peer whose message made it */
    struct nx_list wildcards;   /* posted receives with ANY */
    struct nx_list unread;      /* P2P, in the order of arrival */
    struct nx_list coll_unread; /* COLL */
    struct nx_list probes;      /* struct nx_probe: threads that wait for a message to be unread */
    struct nx_list running;     /* struct nx_coll_call */
    struct nx_list dropped;     /* struct nx_coll_call: ended by others before they began here */
    uint64_t started;           /* sequence of the last collective that began here */
    struct nx_coll_run runs[NX_COLL_RUNS];
    uint64_t failed[NX_COLL_FAILED];
    uint32_t run_count, failed_count;     /* ever; rings */
    uint64_t forgotten;                   /* the last one that failed and is not among them */
    const struct nx_scope_events *events; /* NULL: nobody asks */
    void *owner;
    struct nx_scope_peer peer[];
};

/* What is kept of messages that nobody waits for.  The sender of a key is told to stop at half of the first two.
 * Beyond lane_bytes or lane_messages the streams of that key wait, beyond unread_bytes all streams of that peer do;
 * those that carry one message stop at three quarters of it, so that they never hold up the small ones. */
struct nx_lane_limits {
    uint64_t lane_bytes, lane_messages; /* per key */
    uint64_t unread_bytes;              /* per peer; each message costs NX_MSG_COST more than its payload */
};

/* Records and slack of one unread message, about. */
#define NX_MSG_COST ((uint64_t)768)

struct nx_lane_stats {
    _Atomic uint64_t copies;     /* payload bytes copied once more than needed: they arrived before their receive */
    _Atomic uint64_t unexpected; /* messages that arrived before their receive */
    _Atomic uint64_t stale;      /* messages for operations that had ended */
    _Atomic uint64_t held;       /* times that a sender was held back */
    _Atomic uint64_t parked;     /* times that a stream was paused */
    _Atomic uint64_t unread_bytes;
};

/* What the table asks of connections. */
struct nx_lane_events {
    /* The sender shall stop, or may go on, with this key.  The table's lock is held, which keeps these notices in
     * order: it may only put the notice into a queue. */
    void (*hold)(void *owner, const struct nx_key *key, bool hold);
};

/* Per peer. */
struct nx_lane_peer {
    uint32_t recv_order[NX_LANE_RELAY + 1]; /* of the next message, by lane */
    uint64_t unread_bytes;                  /* as limited */
    struct nx_list stalled;                 /* struct nx_source: streams that wait for room */
    uint32_t orphans;                       /* communicators that only its messages know */
    uint32_t held;                          /* keys that it was told to stop with; NX_HELD_MAX */
    struct nx_list recalled;                /* struct nx_recall: messages that it took back before they came */
    uint32_t recalls;
    bool draining;     /* it wants to leave: what is on its way is taken in, whatever the limits say */
    nexar_status gone; /* not NEXAR_OK: nothing more will come from it */
};

/* Communicators that were closed lately: what still comes for them is dropped. */
enum { NX_CLOSED_SCOPES = 256 };

struct nx_lanes {
    struct nx_mutex lock;
    /* const after init */
    uint32_t size; /* peers */
    struct nx_lane_limits limits;
    struct nx_lane_events events;
    void *owner;
    struct nx_lane_stats stats;
    /* lock */
    struct nx_hash flows, scopes;
    struct nx_hash early; /* struct nx_msg: those that came before their turn */
    uint64_t number;      /* of the next receive, or message */
    uint64_t closed[NX_CLOSED_SCOPES];
    uint32_t closed_count; /* ever; a ring */
    struct nx_lane_peer *peer;
    /* engine */
    struct nx_recv *expected; /* see nx_expect, or NULL */
    struct nx_scope *expected_scope;
};

nexar_status nx_lanes_init(struct nx_lanes *lanes, uint32_t size, const struct nx_lane_limits *limits,
                           const struct nx_lane_events *events, void *owner);
/* After all connections have ended and all receives are done. */
void nx_lanes_fini(struct nx_lanes *lanes);

/* "When it comes, put it here."  `done` may run before this returns. */
void nx_lane_post(struct nx_lanes *lanes, struct nx_recv *recv);

/* If a message for it is here that is very small, it gets it now, and `done` is not called.  False: post it. */
bool nx_lane_take(struct nx_lanes *lanes, struct nx_recv *recv);

/* Engine.  From now on, until nx_expect_no_more, `recv` is looked out for by the caller, who holds the turn: P2P,
 * without pieces, of a communicator that is not closed meanwhile.  A message for it that comes in one piece goes
 * straight to its memory; then it is not expected any more, and `done` is not called. */
void nx_expect(struct nx_lanes *lanes, struct nx_recv *recv, struct nx_scope *scope);
bool nx_expected(const struct nx_lanes *lanes);
void nx_expect_no_more(struct nx_lanes *lanes);

/* The first unread message of this key, whoever may receive it, goes. */
void nx_lane_discard(struct nx_lanes *lanes, const struct nx_key *key);

/* Asks for a receive to end with `why`.  `done` runs now, or as soon as the memory is free; not at all if it has run.
 * A message that was being written into it goes back among the unread, unless it is one of a collective or so much of
 * it has come that it does not fit there: then recv->spoilt says that it is lost. */
void nx_lane_cancel(struct nx_lanes *lanes, struct nx_recv *recv, nexar_status why);

/* Waits until there is an unread message of a P2P key (ANY allowed), without taking it.  NEXAR_OK, NEXAR_EAGAIN at the
 * deadline, NEXAR_EPEER if none can come any more, and as nx_waiter_wait. */
nexar_status nx_lane_probe(struct nx_lanes *lanes, const struct nx_key *key, nx_time deadline, uint32_t *from,
                           uint64_t *id, uint64_t *len);

/* NEXAR_OK while messages of this peer can come; NX_ANY_PEER is always fine. */
nexar_status nx_lane_peer_status(struct nx_lanes *lanes, uint32_t peer);

/* Engine.  The peer takes back the message with this key and number: unless a receive has it, or it is whole, it is
 * thrown away when it has come.  NEXAR_EPROTO: it cannot have sent that many. */
nexar_status nx_lanes_recall(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order);

/* The peer wants to leave: messages that wait in QUIC are taken in. */
void nx_lanes_drain(struct nx_lanes *lanes, uint32_t peer);

/* Nothing more will come from this peer.  Its posted receives end with `why`; so do those with ANY source if it was
 * lost.  What is complete and unread stays receivable. */
void nx_lanes_peer_gone(struct nx_lanes *lanes, uint32_t peer, nexar_status why);

/* ---- communicators ---- */

/* Makes or takes over the scope of a communicator.  NEXAR_ENOMEM; NEXAR_EINVAL if it has one. */
nexar_status nx_scope_open(struct nx_lanes *lanes, uint64_t id, void *owner, const struct nx_scope_events *events,
                           struct nx_scope **scope);
/* Its members by world rank; NULL, or never said: all.  What others send is a breach of the protocol, and their end
 * nobody's business. */
void nx_scope_members(struct nx_lanes *lanes, struct nx_scope *scope, const uint32_t *world, uint32_t size);
/* The owner of a communicator's scope, held by its events; NULL if there is none. */
void *nx_scope_owner(struct nx_lanes *lanes, uint64_t id);
/* All owners, held; at most `max`.  Returns how many. */
uint32_t nx_scope_list(struct nx_lanes *lanes, void **owners, uint32_t max);
/* Ends those who probe, now and later, with NEXAR_ECLOSED. */
void nx_scope_stop(struct nx_lanes *lanes, struct nx_scope *scope);
/* Drops what is unread.  All its receives are done. */
void nx_scope_close(struct nx_lanes *lanes, struct nx_scope *scope);

/* A collective begins; if messages for it are there already and do not fit, the first of them is given. */
bool nx_scope_begin(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_coll_call *call, uint32_t *peer,
                    uint64_t *their_call, uint64_t *their_count);
/* The two in one, for one that ended well without a message. */
void nx_scope_passed(struct nx_lanes *lanes, struct nx_scope *scope, const struct nx_coll_call *call);
/* Another rank has ended a collective that has not begun here: what has come for it is dropped, and what comes.  `call`
 * stays in the table until nx_scope_undrop. */
void nx_scope_drop(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_coll_call *call);
void nx_scope_undrop(struct nx_lanes *lanes, struct nx_coll_call *call);
/* No collective after this one will begin: what has come for them is dropped, and what comes. */
void nx_scope_break(struct nx_lanes *lanes, struct nx_scope *scope, uint64_t last);
/* It has ended.  What has come for it and what still comes is dropped; but if it ended `well`, each of its messages had
 * a receive, and what still comes with another call is a misfit. */
void nx_scope_end(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_coll_call *call, bool well);
/* Whether it has ended well here, as far as that is remembered.  False if the communicator is closed. */
bool nx_scope_ended_well(struct nx_lanes *lanes, uint64_t id, uint64_t sequence);

#endif
