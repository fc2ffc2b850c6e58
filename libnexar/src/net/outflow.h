/* net/outflow.h - what is under way to a peer with one key: messages that wait for their turn, messages in flight.
 *
 * All with the peer's lock.  Collectives of a communicator count as one key. */
#ifndef NX_NET_OUTFLOW_H
#define NX_NET_OUTFLOW_H

#include "net/send.h"

struct nx_outflow {
    struct nx_hash_node node; /* peer->flows */
    struct nx_key key;
    struct nx_list waiting;  /* struct nx_send_req.link */
    struct nx_list inflight; /* on streams of their own */
    uint64_t bytes;          /* in flight */
    bool held;               /* by the receiver */
};

struct nx_key nx_outflow_key(const struct nx_send_req *req);
/* NULL: there is none. */
struct nx_outflow *nx_outflow_find(struct nx_peer *peer, const struct nx_key *key);
/* NULL when memory is short. */
struct nx_outflow *nx_outflow_get(struct nx_peer *peer, const struct nx_key *key);
/* Frees one of which nothing is left. */
void nx_outflow_tidy(struct nx_peer *peer, struct nx_outflow *flow);

/* Whether a message must queue behind others, or because it is held back. */
bool nx_outflow_stops(const struct nx_outflow *flow);
/* Whether this one may be in flight beside those that are. */
bool nx_outflow_may_leave(struct nx_peer *peer, const struct nx_outflow *flow, const struct nx_send_req *req);

/* Waits: by order of the call; collectives by order of the operation. */
void nx_outflow_enqueue(struct nx_peer *peer, struct nx_outflow *flow, struct nx_send_req *req);
/* One that waits gives up; false if it does not wait. */
bool nx_outflow_withdraw(struct nx_peer *peer, struct nx_send_req *req);
/* The next that may leave, counted as in flight and with its order number; NULL if there is none. */
struct nx_send_req *nx_outflow_next(struct nx_peer *peer, struct nx_outflow *flow);
/* Is in flight; is no longer. */
void nx_outflow_leave(struct nx_outflow *flow, struct nx_send_req *req);
void nx_outflow_land(struct nx_send_req *req);

/* Takes the next order number, once. */
void nx_outflow_number(struct nx_send_req *req);
/* It has not left: gives the number back, if it has one.  False: others follow it. */
bool nx_outflow_unnumber(struct nx_send_req *req);

/* The receiver holds the key back, or lets it go on.  NEXAR_EPROTO: there are too many of them. */
nexar_status nx_outflow_hold(struct nx_peer *peer, const struct nx_key *key, bool hold);
/* Nothing is held back any more; all that waits is moved to `ended`. */
void nx_outflow_end(struct nx_peer *peer, struct nx_list *ended);
/* Bytes that have not arrived; 0: nothing waits, nothing is in flight. */
uint64_t nx_outflow_backlog(struct nx_peer *peer);

#endif
