/* net/match.h - inside the lane table: flows, messages, and the rules by which they meet.  For the files of net/ that
 * work under the table's lock. */
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

/* Payloads up to this size that are here in one piece are kept in the message itself, and copied with the lock held:
 * that takes less time than to give it up and take it again. */
enum { NX_MSG_SMALL = 128 };

struct nx_msg {
    struct nx_key key;
    uint64_t len, call, count;
    uint32_t order;
    struct nx_source *source; /* NULL once complete */
    struct nx_hash_node early_node;
    struct nx_list link, scope_link; /* flow->unread; scope->unread or coll_unread */
    uint64_t number;                 /* of its turn, among all messages and receives */
    struct nx_flow *flow;            /* while it counts as unread */
    struct nx_recv *recv;            /* matched */
    struct nx_buffer *first, *last;  /* what came before a receive did; engine until complete */
    struct nx_reduce_stream reduce;  /* of the receive */
    uint64_t got, buffered, delivered;
    bool ordered, early, complete, parked, discard;
    bool recalled;  /* its sender has taken it back: dropped when it is its turn */
    bool keeping;   /* the engine is at its chunks */
    bool returning; /* a cancelled receive gives back what it got; the engine keeps away */
    bool cut;       /* its end came meanwhile, and was not good */
    bool small;     /* complete, and its payload is here: */
    uint8_t bytes[NX_MSG_SMALL];
};

/* What is to be done after the lock is released. */
struct nx_todo {
    struct nx_list done;                     /* receives with their status */
    struct nx_list deliver;                  /* complete messages with a receive (msg->link) */
    struct nx_list drop;                     /* messages to free (msg->link) */
    const struct nx_scope_events *misfit_to; /* NULL: there is none */
    void *misfit_owner;                      /* held */
    struct nx_misfit misfit;
};

void nx_todo_init(struct nx_todo *todo);
/* No lock held. */
void nx_todo_run(struct nx_lanes *lanes, struct nx_todo *todo);

/* ---- match.c, with the lock ---- */

struct nx_flow *nx_flow_find(struct nx_lanes *lanes, const struct nx_key *key);
/* NULL when memory is short. */
struct nx_flow *nx_flow_get(struct nx_lanes *lanes, const struct nx_key *key);
/* Forgets that the sender was told to stop. */
void nx_flow_unhold(struct nx_lanes *lanes, struct nx_flow *flow);
/* Frees a flow of which nothing is left. */
void nx_flow_tidy(struct nx_lanes *lanes, struct nx_flow *flow);

/* A message counts with its flow until it has a receive.  False when memory is short. */
bool nx_msg_enter(struct nx_lanes *lanes, struct nx_msg *msg);
/* The message has its turn: to a receive, or among the unread. */
void nx_msg_admit(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo);
/* The receive that was posted first among those that a message of this key fits; NULL if there is none. */
struct nx_recv *nx_recv_for(struct nx_lanes *lanes, const struct nx_key *key, struct nx_scope *scope);
/* The message that a new receive gets, in order of arrival; NULL if there is none. */
struct nx_msg *nx_msg_unread(struct nx_lanes *lanes, const struct nx_key *key);
/* Gives the message to the receive, if it fits; else ends the receive. True if they are together now. */
bool nx_msg_match(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_recv *recv, struct nx_todo *todo);
/* Out of the lists and the accounts. */
void nx_msg_leave(struct nx_lanes *lanes, struct nx_msg *msg);
/* Nobody wants it: what has come is freed after the lock, what still comes is thrown away. */
void nx_msg_discard(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_todo *todo);
/* Bytes are buffered, or (negative) are not after all, for a message without a receive. */
void nx_msg_account(struct nx_lanes *lanes, struct nx_msg *msg, int64_t bytes);
void nx_recv_end(struct nx_recv *recv, nexar_status status, struct nx_todo *todo);

/* Lets the message's stream go on if it waits. */
void nx_msg_unpark(struct nx_msg *msg);
/* Lets streams go on that wait for room, the first first. */
void nx_lanes_unstall(struct nx_lanes *lanes, uint32_t peer, uint32_t most);
static inline bool nx_lanes_full(const struct nx_lanes *lanes, uint32_t peer)
{
    return lanes->peer[peer].unread_bytes >= lanes->limits.unread_bytes && !lanes->peer[peer].draining;
}

/* ---- cancel.c, with the lock, which it gives up for a while ---- */

/* Takes the message from its receive, which ends with the status that it has; the message goes back among the unread,
 * or to another receive, or is lost. */
void nx_msg_withdraw(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_todo *todo);

/* ---- order.c, with the lock ---- */

/* A message that carries a number: admitted with all whose turn it makes, or kept until its turn.  False if it repeats
 * another or is too far ahead. */
bool nx_order_take(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo);
/* True if it is this message's turn. */
bool nx_order_next(struct nx_lanes *lanes, const struct nx_msg *msg, struct nx_scope *scope);
/* True if others wait for nothing but this message. */
bool nx_order_holds_up(struct nx_lanes *lanes, const struct nx_msg *msg, struct nx_scope *scope);
/* One that waits for its turn, or NULL. */
struct nx_msg *nx_order_early(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order);
/* True if this number has had its turn. */
bool nx_order_passed(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order, struct nx_scope *scope);
/* Drops those that wait for their turn: of a scope, or (NULL) all. */
void nx_order_drop(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_todo *todo);

/* ---- recall.c, with the lock ---- */

/* Whether a message was taken back before it came; `forget`: it has come. */
bool nx_recalled(struct nx_lanes *lanes, const struct nx_msg *msg, bool forget);
void nx_recall_forget(struct nx_lanes *lanes, uint32_t peer);

/* ---- scope.c, with the lock ---- */

struct nx_scope *nx_scope_find(struct nx_lanes *lanes, uint64_t id);
/* For an arrival: makes one that no communicator has claimed yet.  NULL with NEXAR_ENOMEM; with NEXAR_EPROTO if this
 * peer has made too many; with NEXAR_ECLOSED if it was closed. */
struct nx_scope *nx_scope_for_arrival(struct nx_lanes *lanes, uint32_t peer, uint64_t id, nexar_status *st);
/* COLL without a receive: true if it is for a collective that has ended, or for another call than was made here. */
bool nx_scope_unwanted(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo);

/* ---- msg.c, without the lock, by whoever owns the message ---- */

/* NULL when memory is short. */
struct nx_msg *nx_msg_new(uint32_t peer, const struct nx_head *head, struct nx_source *source);
void nx_msg_free(struct nx_msg *msg);
/* Keeps bytes until a receive comes. NEXAR_ENOMEM: some may have been kept. */
nexar_status nx_msg_append(struct nx_msg *msg, const uint8_t *bytes, size_t n);
/* Gives the receive what is buffered. */
void nx_msg_flush(struct nx_lanes *lanes, struct nx_msg *msg);
/* Gives it the next bytes. */
void nx_msg_put(struct nx_msg *msg, const uint8_t *bytes, size_t n);
/* Takes back what the receive got: it is buffered again, before what is.  NEXAR_ENOMEM: nothing has changed. */
nexar_status nx_msg_take_back(struct nx_msg *msg);

#endif
