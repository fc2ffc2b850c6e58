/* net/match.h - inside the lane table: flows, messages, and the rules by which they meet.  For lane.c, arrive.c,
 * scope.c, match.c. */
#ifndef NX_NET_MATCH_H
#define NX_NET_MATCH_H

#include "net/arrive.h"

/* All that has one key. */
struct nx_flow {
    struct nx_hash_node node;
    struct nx_key key;
    struct nx_list posted; /* struct nx_recv.link */
    struct nx_list unread; /* struct nx_msg.link, whole or not, in order */
    uint64_t bytes, count; /* messages that have no receive, before their turn or after, and their bytes */
    bool held;             /* the sender was told to stop */
};

struct nx_msg {
    struct nx_key key;
    uint64_t len, call, count;
    uint32_t order;
    struct nx_source *source;        /* NULL once complete */
    struct nx_list link, scope_link; /* flow->unread or early; scope->unread or coll_unread */
    struct nx_flow *flow;            /* while it counts as unread */
    struct nx_recv *recv;            /* matched */
    struct nx_buffer *first, *last;  /* what came before a receive did; engine until complete */
    struct nx_reduce_stream reduce;  /* of the receive */
    uint64_t got, buffered, delivered;
    bool ordered, early, complete, parked, discard;
};

/* What is to be done after the lock is released. */
struct nx_todo {
    struct nx_list done;    /* receives with their status */
    struct nx_list deliver; /* complete messages with a receive (msg->link) */
    struct nx_list drop;    /* messages to free (msg->link) */
    struct nx_scope *mismatch;
    uint32_t mismatch_peer;
    uint64_t mismatch_sequence, mismatch_call, mismatch_count;
};

void nx_todo_init(struct nx_todo *todo);
/* No lock held. */
void nx_todo_run(struct nx_lanes *lanes, struct nx_todo *todo);

/* ---- with the lock ---- */

struct nx_flow *nx_flow_find(struct nx_lanes *lanes, const struct nx_key *key);
/* NULL when memory is short. */
struct nx_flow *nx_flow_get(struct nx_lanes *lanes, const struct nx_key *key);
/* Frees a flow of which nothing is left. */
void nx_flow_tidy(struct nx_lanes *lanes, struct nx_flow *flow);

struct nx_scope *nx_scope_find(struct nx_lanes *lanes, uint64_t id);
/* For an arrival: makes one that no communicator has claimed yet.  NULL when memory is short or there are too many. */
struct nx_scope *nx_scope_for_arrival(struct nx_lanes *lanes, uint64_t id);

/* A message counts with its flow until it has a receive.  False when memory is short. */
bool nx_msg_enter(struct nx_lanes *lanes, struct nx_msg *msg);
/* The message has its turn: to a receive, or among the unread. */
void nx_msg_admit(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo);
/* The message that a new receive gets, in order of arrival; NULL if there is none. */
struct nx_msg *nx_msg_unread(struct nx_lanes *lanes, const struct nx_key *key);
/* Gives the message to the receive, if it fits; else ends the receive. True if they are together now. */
bool nx_msg_match(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_recv *recv, struct nx_todo *todo);
/* Out of the lists and the accounts. */
void nx_msg_leave(struct nx_lanes *lanes, struct nx_msg *msg);
/* Nobody wants it: what has come is freed after the lock, what still comes is thrown away. */
void nx_msg_discard(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_todo *todo);
/* Bytes were buffered for a message without a receive. */
void nx_msg_account(struct nx_lanes *lanes, struct nx_msg *msg, uint64_t bytes);
/* Tells the sender to stop when a flow has reached its limits. */
void nx_flow_check(struct nx_lanes *lanes, struct nx_flow *flow);
void nx_recv_end(struct nx_recv *recv, nexar_status status, struct nx_todo *todo);

/* ---- without the lock, by whoever owns the message ---- */

void nx_msg_free(struct nx_msg *msg);
/* Gives the receive what is buffered. */
void nx_msg_flush(struct nx_lanes *lanes, struct nx_msg *msg);
void nx_msg_put(struct nx_msg *msg, const uint8_t *bytes, size_t n);

#endif
