/* net/way.h - the ways that messages can take beside QUIC: modules of nexar/ext.h, at each connection a link.
 *
 * A node opens its modules once.  When all ranks are connected, both ends of each connection say which of them they
 * offer; what both have is attached, and its two halves agree between themselves.  A link that is ready carries
 * messages; one that breaks tells the other end how far it had come, what has not arrived goes by QUIC, and the link is
 * tried again later.
 *
 * way.c: modules and links of a node, settling.  link.c: one link's life.  carry.c: sending.  kept.c: what is kept
 * until it has arrived.  dock.c, arrival.c: arriving.  host.c: what the library lends to modules. */
#ifndef NX_NET_WAY_H
#define NX_NET_WAY_H

#include "nexar/ext.h"

#include "net/arrive.h"
#include "net/send.h"

/* Each message on a way that can fail carries these behind its head: its number, and the peer's last that has arrived
 * whole.  A head of the second part alone is such an answer and no message. */
#define NX_WAY_TAIL 16
#define NX_WAY_URGENT (UINT64_C(1) << 63) /* in the number: the sender's memory waits for the answer */

/* A large message is promised first: its head with the number of the promise, and no payload.  Whoever receives it asks
 * for it, by that number and NX_WAY_GO; then it comes, its head with the number and NX_WAY_DATA.  So it lies nowhere
 * but in its sender's memory until somebody wants it, and holds up nothing on a way that others share. */
#define NX_WAY_DATA (UINT64_C(1) << 63)
#define NX_WAY_GO UINT64_C(1)

enum {
    NX_WAY_ANSWER = 8, /* lengths of heads without a message, and with: */
    NX_WAY_ASKS = 16,
    NX_WAY_PLAIN = NX_HEAD_MAX,
    NX_WAY_PROMISE = NX_HEAD_MAX + 8,
};

enum { NX_WAYS_MAX = 8, NX_WAY_NAME = 16 };

struct nx_way_stats {
    _Atomic uint64_t bytes_sent, bytes_received; /* payload */
    _Atomic uint64_t messages_sent, messages_received;
    _Atomic uint64_t links;  /* ready now */
    _Atomic uint64_t lost;   /* times that one broke */
    _Atomic uint64_t resent; /* messages that QUIC carried in its place */
};

/* A module of this node. */
struct nx_way {
    const nexar_module *module;
    void *self; /* the module's */
    void *library;
    struct nexar_node *node;
    bool named;   /* by the user: that it cannot be had is an error */
    bool foreign; /* a file of the user's: it says itself what it is for */
    struct nx_way_stats stats;
};

enum nx_link_state {
    NX_LINK_NONE,     /* not offered by both ends */
    NX_LINK_ATTACHED, /* its halves talk */
    NX_LINK_READY,
    NX_LINK_ENDING, /* broken here; the other end's account has not come */
    NX_LINK_BROKEN, /* to be tried again */
    NX_LINK_USELESS,
};

struct nexar_link {
    /* const after init */
    struct nx_way *way;
    nexar_conn *conn; /* which it is part of */
    /* engine */
    enum nx_link_state state;
    void *half; /* the module's, while attached */
    uint32_t generation;
    bool offered;            /* by the other end */
    bool refused;            /* by the other end, before it was attached here */
    struct nx_buffer *early; /* what it was told before that, the first first */
    uint32_t early_count;
    bool accounted; /* the other end's account of this generation has come */
    bool settled;   /* it has been ready, or useless */
    char why[160];  /* it is useless, or broke */
    struct nx_timer again;
    nx_time pause;
    struct nx_list open;    /* nexar_arrival, in the order in which they began */
    struct nx_list cut;     /* those of a link that broke; their rest comes by QUIC */
    struct nx_list asked;   /* those that were promised */
    nexar_arrival *gate;    /* owned; for messages that are here in one piece */
    nexar_arrival *waiting; /* could not begin; the gate, or owned */
    struct nx_task wake;    /* arrivals that can go on.  Both hold the connection while they are queued */
    struct nx_task talk;    /* answers: heard, and owed */
    uint64_t begun;         /* messages that have begun to arrive */
    uint64_t heard, done;   /* the peer's answer, and how much of it has been looked at */
    uint64_t owed_messages, owed_bytes;
    /* atomic */
    _Atomic bool ready; /* messages may be sent; then, while `users`, it stays attached */
    _Atomic uint32_t users;
    _Atomic(const nexar_bulk_ops *) ops;
    _Atomic(void *) ops_self;
    _Atomic uint64_t arrived;  /* all up to this number have, whole */
    _Atomic uint64_t answered; /* and the peer was told so */
    _Atomic uint32_t borrowed; /* messages among `kept` whose sender waits */
    /* lock */
    struct nx_mutex lock;
    uint64_t sent;           /* number of the last message */
    struct nx_list kept;     /* struct nx_kept, by number */
    uint64_t promises;       /* number of the last */
    struct nx_list promised; /* struct nx_kept, that nobody has asked for */
    uint64_t kept_bytes;     /* copies among them */
};

/* Engine. */
struct nx_way_events {
    /* Whether a rank runs on this host. */
    bool (*near)(void *arg, uint32_t rank);
    /* This rank's credentials, and the name in those of the node with this id. */
    nexar_status (*identity)(void *arg, const uint8_t node[16], nexar_tls_identity *out);
    /* Each link is ready or will not be: once.  NEXAR_ECONFIG if a rank cannot be reached by any that was named. */
    void (*settled)(void *arg, const nexar_error *error);
};

/* The node as modules see it. */
struct nexar_node {
    struct nx_net *net;
    struct nx_way way[NX_WAYS_MAX];
    uint32_t count;
    bool strict; /* QUIC was not named: each link needs one of those that were */
    /* engine */
    uint32_t unsettled; /* links */
    bool begun, agreed;
    bool done; /* `settled` was called */
    struct nx_way_events events;
    void *arg;
    struct nx_timer patience;
    struct nx_list watches; /* nexar_watch, see host.c */
};

/* ---- way.c: engine ---- */

struct nx_way_options {
    const char *transports;         /* "auto", or names, best first */
    const char *modules;            /* paths of others, separated by colons, or NULL */
    const nexar_module *const *own; /* those of the library, ended by NULL */
};

/* Opens the modules that are wanted.  NEXAR_ECONFIG: one that is named is not there, NEXAR_ENOTSUP: cannot be used. */
nexar_status nx_ways_open(struct nx_net *net, const struct nx_way_options *options);
/* All are connected: agrees with each of them.  `settled` follows, maybe at once. */
void nx_ways_begin(struct nx_net *net, const struct nx_way_events *events, void *arg);
/* A link is ready, or will not be. */
void nx_ways_settled_one(struct nexar_node *node);
/* After all connections have ended.  NULL is legal. */
void nx_ways_close(struct nx_net *net);

/* A module's own object on this node, or NULL. */
void *nx_way_self(struct nx_net *net, const char *name);
/* Its counters, likewise. */
struct nx_way_stats *nx_way_stats_of(struct nx_net *net, const char *name);

/* The links of a connection that has just been bound to its peer. */
nexar_status nx_links_init(nexar_conn *conn);
/* The connection has ended. */
void nx_links_end(nexar_conn *conn, bool left);
void nx_links_free(nexar_conn *conn);
/* A control message of ours; false: it makes no sense. */
bool nx_links_handle(nexar_conn *conn, const struct nx_message *message);

/* ---- link.c: engine ---- */

nexar_status nx_link_init(nexar_link *link, struct nx_way *way, nexar_conn *conn);
/* Accepts half-built. */
void nx_link_fini(nexar_link *link);
void nx_link_attach(nexar_link *link, uint32_t generation);
/* Broken, or of no use at all.  The other end is told. */
void nx_link_break(nexar_link *link, bool useless, const char *why);
void nx_link_settle(nexar_link *link);
/* The connection has ended; `left`: the peer has all that was sent. */
void nx_link_end(nexar_link *link, bool left);
bool nx_link_handle(nexar_link *link, const struct nx_message *message);
void nx_link_ready(nexar_link *link, const nexar_bulk_ops *ops, void *self);
nexar_status nx_link_tell(nexar_link *link, const void *bytes, size_t n);

/* ---- carry.c ---- */

/* Any thread.  Sends it by the best way there is.  NEXAR_OK: taken, its memory is free.  NEXAR_EAGAIN: nx_send_landed
 * follows (not with `copy`).  NEXAR_ENOTSUP: there is no such way now, take QUIC. */
nexar_status nx_carry(nexar_conn *conn, struct nx_send_req *req, bool copy);
/* Any thread.  The same for a small message to a peer with a way that cannot fail, from a copy.  False: it has not
 * left. */
bool nx_carry_now(struct nx_peer *peer, struct nx_send_req *req, uint64_t backlog_max);
/* Any thread.  Bytes that have not left. */
uint64_t nx_carry_backlog(nexar_conn *conn);
/* Engine.  The peer asks for what was promised.  NEXAR_EPROTO: it was not; NEXAR_ENOMEM. */
nexar_status nx_carry_go(nexar_link *link, uint64_t promise);
/* Engine.  Asks for it.  False: later. */
bool nx_carry_ask(nexar_link *link, uint64_t promise);
/* ---- kept.c ---- */

/* Engine.  All up to `number` have arrived.  NEXAR_EPROTO: so many were not sent. */
nexar_status nx_carry_arrived(nexar_link *link, uint64_t number);
/* Engine.  Tells the peer what has arrived, if no message has. */
void nx_carry_answer(nexar_link *link);
/* Engine.  The link is gone, and the peer has begun to receive `begun`, of which `open` (numbers) are not whole: the
 * rest by QUIC. */
void nx_carry_resend(nexar_link *link, uint64_t begun, const uint64_t *open, size_t count);
/* Engine.  The connection is gone, too. */
void nx_carry_end(nexar_link *link, bool arrived);

/* ---- dock.c: engine ---- */

extern const nexar_host nx_host;

nexar_status nx_dock_begin(nexar_link *link, const void *head, uint32_t head_nbytes, uint64_t nbytes, int alone,
                           void (*resume)(void *arg), void *arg, nexar_arrival **out);
nexar_status nx_dock_whole(nexar_link *link, const void *head, uint32_t head_nbytes, const void *payload,
                           uint64_t nbytes, void (*resume)(void *arg), void *arg);
nexar_status nx_dock_memory(nexar_arrival *arrival, void **p, uint64_t *n);
void nx_dock_filled(nexar_arrival *arrival, uint64_t n);
nexar_status nx_dock_write(nexar_arrival *arrival, const void *bytes, size_t n, size_t *taken);
void nx_dock_end(nexar_arrival *arrival);
/* Engine.  Answers that could not leave may leave now. */
void nx_dock_ready(nexar_link *link);
/* NEXAR_ENOMEM. */
nexar_status nx_dock_init(nexar_link *link);
void nx_dock_fini(nexar_link *link);
/* The link is broken: what is open waits for its rest.  Fills in an account of it, `cap` entries of number and bytes;
 * returns how many. */
size_t nx_dock_cut(nexar_link *link, uint64_t (*account)[2], size_t cap);
/* Nothing more will come. */
void nx_dock_drop(nexar_link *link);
/* A message begins that QUIC carries: if it is the rest of one that was cut, that one and how much of it has come. */
struct nx_msg *nx_dock_claim(nexar_conn *conn, const struct nx_head *head, struct nx_source *source, uint64_t *have);

#endif
