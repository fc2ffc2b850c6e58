/* net/peer.h - another rank: whether it is there, the connection to it, and what waits to be sent to it.
 *
 * Peers live as long as the node; connections come and go. */
#ifndef NX_NET_PEER_H
#define NX_NET_PEER_H

#include "net/net.h"
#include "wire/stream.h"

enum nx_peer_state {
    NX_PEER_AWAITED, /* not connected yet */
    NX_PEER_UP,
    NX_PEER_LEFT, /* in good order */
    NX_PEER_LOST,
};

struct nx_peer {
    /* const after init */
    struct nx_net *net;
    uint32_t rank;
    /* lock */
    struct nx_mutex lock;
    enum nx_peer_state state;
    nexar_conn *conn;     /* a reference; the one of the mesh, also after its end, for its texts */
    char why[160];        /* it is gone */
    struct nx_hash flows; /* struct nx_outflow, see outflow.h */
    uint32_t held;        /* of these, by the receiver */
    /* atomic */
    _Atomic(struct nexar_link *) sure; /* ready, and cannot fail; it stays, while `sure_users`.  See nx_carry_now */
    _Atomic uint32_t sure_users;
    _Atomic bool ended;       /* the kernel of this host says that its process has */
    _Atomic uint32_t stopped; /* flows whose messages wait */
    _Atomic uint32_t order[NX_LANE_RELAY + 1];
};

nexar_status nx_peer_new(struct nx_net *net, uint32_t rank, struct nx_peer **peer);
/* NULL is legal. */
void nx_peer_free(struct nx_peer *peer);

/* The connection is ready for messages. */
void nx_peer_up(struct nx_peer *peer, nexar_conn *conn);

/* Engine.  Ends everything that waits for this peer; the first reason counts.  True if it was not gone before. */
bool nx_peer_gone(struct nx_peer *peer, bool left, const char *why);

/* The connection with a reference, or NULL with the status and the sentence of why there is none. */
nexar_conn *nx_peer_conn(struct nx_peer *peer, nexar_status *st);

/* Why it is gone, in words; empty while it is not. */
void nx_peer_why(struct nx_peer *peer, char *text, size_t cap);

/* Puts "rank 3 (10.0.0.7:41234) is gone: it does not answer any more" into this thread's last error. */
nexar_status nx_peer_fail(struct nx_peer *peer);
/* The same under the number that it has in a communicator. */
nexar_status nx_peer_fail_as(struct nx_peer *peer, uint32_t rank);

#endif
