/* cluster/relay.h - messages between ranks that have no connection: sealed by the source, passed on by ranks in
 * between, opened by the destination; each once and in order, whatever dies on the way.  docs/TOPOLOGY.md has the
 * rules.
 *
 * A pure machine, one for each rank: packets, time and tables of next hops in; packets and events out through `struct
 * nx_relay_ops`.  One thread at a time; the ops may not call the machine.  It knows nothing of connections and keys.
 *
 * Ranks are those of the entry (cluster/entry.h) that the graph was made for, whose epoch is `world`: deaths change no
 * number, and another graph has another machine. */
#ifndef NX_CLUSTER_RELAY_H
#define NX_CLUSTER_RELAY_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "cluster/topology.h"

#define NX_RELAY_VERSION_1 1
#define NX_RELAY_HEADER 28
#define NX_RELAY_TAG 16                      /* by which a seal is longer than what is in it */
#define NX_RELAY_BODY_MAX ((size_t)64 << 10) /* of a message; who has more cuts it up */
#define NX_RELAY_PACKET_MAX (NX_RELAY_HEADER + NX_RELAY_BODY_MAX + NX_RELAY_TAG)
#define NX_RELAY_WINDOW 64 /* messages of one source that may be on their way, or wait, at most */

enum nx_relay_kind {
    NX_RELAY_MESSAGE = 1,
    NX_RELAY_ACK,   /* what has arrived, and the credit */
    NX_RELAY_PROBE, /* asks for an ACK: the last may be lost */
};

/* Why a packet was not taken, or not passed on.  What is lost by any of them is sent again by its source. */
enum nx_relay_refusal {
    NX_RELAY_MALFORMED, /* too short, too long, or of no kind */
    NX_RELAY_VERSION,
    NX_RELAY_WORLD,   /* of another world */
    NX_RELAY_UNKNOWN, /* the source or the destination is no rank here, or the source is gone */
    NX_RELAY_FORGED,  /* its source has not sealed it like this */
    NX_RELAY_OLD,     /* taken already, or older than what was: sent again, overtaken, or replayed */
    NX_RELAY_CREDIT,  /* beyond what its source was told that it may send */
    NX_RELAY_LIE,     /* acknowledges what was never sent */
    NX_RELAY_HOPS,    /* it has used up its hops */
    NX_RELAY_NO_ROUTE,
    NX_RELAY_FULL,
    NX_RELAY_MEMORY,
    NX_RELAY_REFUSALS
};

const char *nx_relay_refusal_name(enum nx_relay_refusal why);

struct nx_relay_config {
    uint64_t world;
    uint32_t window;      /* the same on all ranks; up to NX_RELAY_WINDOW */
    size_t link_limit;    /* bytes that wait for one neighbour */
    size_t flow_limit;    /* of these, for one destination */
    size_t send_limit;    /* own bytes without an ACK; an 8th for one destination */
    size_t receive_limit; /* bytes that have arrived and were not taken */
    nx_time ack_delay, resend_first, resend_least, resend_most; /* resend: of the time until a message is sent again */
};

struct nx_relay_config nx_relay_defaults(uint64_t world);

enum nx_relay_event_kind {
    NX_RELAY_ARRIVED, /* there is something to take from `rank` */
    NX_RELAY_ROOM,    /* what was NEXAR_EAGAIN for `rank` may be tried again */
    NX_RELAY_LOST,    /* `count` messages to `rank`, which is gone, have no ACK: they may have arrived or not */
    NX_RELAY_REFUSED, /* a packet that came from the neighbour `from` */
};

struct nx_relay_event {
    enum nx_relay_event_kind kind;
    uint32_t rank, count;
    enum nx_relay_refusal why;
    uint32_t from, source, destination; /* the latter two as the packet says: nobody has proved them, but where `why` is
                                           OLD, CREDIT or LIE */
};

/* Keys belong to a world, a source and a destination; only these two have it, and the other direction has another.
 * `head` is what else is to be authenticated.  It begins with a nonce: NX_RELAY_NONCE bytes that never come twice with
 * different text for one key (a message that is sent again is the same bytes). */
#define NX_RELAY_NONCE 12

struct nx_relay_ops {
    /* Writes n + NX_RELAY_TAG bytes.  False: it could not; nothing is sent. */
    bool (*seal)(void *arg, uint32_t destination, const uint8_t head[NX_RELAY_HEADER], const uint8_t *text, size_t n,
                 uint8_t *out);
    /* Writes n - NX_RELAY_TAG bytes; false: `source` has not sealed this. */
    bool (*open)(void *arg, uint32_t source, const uint8_t head[NX_RELAY_HEADER], const uint8_t *sealed, size_t n,
                 uint8_t *out);
    /* Whether the connection has taken it; the bytes are the machine's again.  Until nx_relay_writable nothing more is
     * given to a neighbour whose connection has not. */
    bool (*send)(void *arg, uint32_t neighbour, const uint8_t *bytes, size_t n);
    void (*event)(void *arg, const struct nx_relay_event *event);
};

struct nx_relay_stats {
    uint64_t sent, resent, acks, probes; /* of our own: messages, how often again, and the others */
    uint64_t arrived, passed_on;         /* messages for us, packets for others */
    uint64_t refused[NX_RELAY_REFUSALS];
    size_t waiting, unacknowledged, received; /* bytes now: for links, of our own, not taken */
};

struct nx_relay {
    /* const after init */
    uint32_t n, rank, n_links;
    struct nx_relay_config config;
    const struct nx_relay_ops *ops;
    void *arg;
    struct nx_relay_link *link; /* by rank of the neighbour, ascending */
    /* the machine's */
    const struct nx_routes *routes;
    struct nx_relay_pair **pair; /* by rank; NULL: never heard of */
    bool *gone;                  /* by rank */
    struct nx_heap_node *timers;
    struct nx_list wanting; /* pairs that wait for room */
    bool tight;             /* one of them because of send_limit */
    struct nx_hash flows;   /* by neighbour and destination */
    size_t stranded;        /* of stats.unacknowledged: there is no path */
    size_t early;           /* of stats.received: cannot be taken yet */
    struct nx_relay_stats stats;
};

/* A message that was taken: the caller's, to be freed by nx_free. */
struct nx_relay_message {
    struct nx_list link;
    uint64_t number; /* 1, 2, 3 ... of its source */
    size_t n;
    uint8_t body[];
};

/* The machine of `routes->rank`; all links to its neighbours in `t` are up.  `routes` stays the caller's, and must be
 * there until others are given; `r` must not move.  NEXAR_EINVAL, NEXAR_ENOMEM. */
nexar_status nx_relay_init(struct nx_relay *r, const struct nx_topology *t, const struct nx_routes *routes,
                           const struct nx_relay_config *config, const struct nx_relay_ops *ops, void *arg);
void nx_relay_fini(struct nx_relay *r);

/* Copies the body.  NEXAR_EAGAIN: later, NX_RELAY_ROOM says when; NEXAR_EMSGSIZE, NEXAR_EINVAL, NEXAR_EPEER (gone),
 * NEXAR_ENOMEM, NEXAR_ESYSTEM (the seal). */
nexar_status nx_relay_send(struct nx_relay *r, uint32_t destination, const void *body, size_t n, nx_time now);
/* The next message of `source`, in its order; NULL: none.  Taking is what gives its source credit. */
struct nx_relay_message *nx_relay_take(struct nx_relay *r, uint32_t source, nx_time now);

/* A packet from a neighbour. */
void nx_relay_arrive(struct nx_relay *r, uint32_t from, const uint8_t *bytes, size_t n, nx_time now);
void nx_relay_writable(struct nx_relay *r, uint32_t neighbour);
/* A connection has broken, or is there again: what waits for it goes by another if there is one. */
void nx_relay_connected(struct nx_relay *r, uint32_t neighbour, bool up);
/* Other tables: what has no ACK is sent again. */
void nx_relay_reroute(struct nx_relay *r, const struct nx_routes *routes, nx_time now);
/* It is out of the job for good; what it sent and was acknowledged can still be taken. */
void nx_relay_gone(struct nx_relay *r, uint32_t rank);

/* When nx_relay_tick has something to do; NX_NEVER. */
nx_time nx_relay_due(const struct nx_relay *r);
void nx_relay_tick(struct nx_relay *r, nx_time now);

/* Bytes of packets and bodies that a machine with so many neighbours holds at most, whatever others do;
 * docs/TOPOLOGY.md says what each of them takes beside. */
size_t nx_relay_bound(const struct nx_relay_config *config, uint32_t neighbours);

#endif
