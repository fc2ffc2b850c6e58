/* cluster/relay_parts.h - what the files of the relay machine know of each other: packets, links, pairs.
 *
 * relay.c          packets in, the way on, what is refused
 * relay_packet.c   what a packet looks like
 * relay_link.c     what waits for a neighbour: fair between destinations, and bounded
 * relay_send.c     to a destination: numbers, credit, sending again
 * relay_receive.c  from a source: order, once, credit, acknowledgements */
#ifndef NX_CLUSTER_RELAY_PARTS_H
#define NX_CLUSTER_RELAY_PARTS_H

#include "cluster/relay.h"

#define NX_RELAY_ACK_BODY 24             /* next u64, limit u64, bits u64: bit i, next + 1 + i is here */
#define NX_RELAY_TAKEN NX_RELAY_REFUSALS /* not refused */

/* In a packet, little-endian: version u8, kind u8, hops u16, source u32, destination u32, world u64, number u64. */
struct nx_relay_head {
    uint8_t version, kind;
    uint16_t hops; /* that are left; changes on the way, and is in no seal */
    uint32_t source, destination;
    uint64_t world, number; /* messages: 1, 2, 3 ...; ACK and PROBE of a pair share another row */
};

void nx_relay_write_head(const struct nx_relay_head *head, uint8_t out[NX_RELAY_HEADER]);
struct nx_relay_head nx_relay_read_head(const uint8_t bytes[NX_RELAY_HEADER]);
void nx_relay_write_hops(uint8_t bytes[NX_RELAY_HEADER], uint16_t hops);
/* What the seal covers beside the text, the nonce first: number, kind. */
void nx_relay_sealed_head(const struct nx_relay_head *head, uint8_t out[NX_RELAY_HEADER]);

struct nx_relay_packet {
    struct nx_list link; /* of its flow */
    uint32_t refs, source, destination;
    uint8_t kind;
    bool queued;
    uint32_t times; /* our own message: how often it was given to a link */
    nx_time sent;   /* the last time */
    size_t n;
    uint8_t bytes[];
};

struct nx_relay_link {
    uint32_t rank;
    bool up, blocked;
    size_t bytes;
    struct nx_list flows; /* each has packets; who is first is served next */
};

struct nx_relay_pair {
    uint32_t rank;
    struct nx_heap_node timer;
    struct nx_list wanting; /* in it: for the room of `wants` bytes */
    size_t wants;
    /* to it */
    uint64_t next, acked, limit; /* numbers: of the next message; below: have an ACK; below: may be sent */
    struct nx_relay_packet *sent[NX_RELAY_WINDOW]; /* by number; NULL: has an ACK */
    uint32_t open;                                 /* of these */
    size_t bytes;
    bool stranded;                           /* `bytes` is in that of the relay */
    nx_time resend_at, wait, smooth, varies; /* wait: from smooth and varies, the round trip and its variation */
    uint32_t patience;                       /* doublings of wait */
    uint64_t control;                        /* number of my last ACK or PROBE */
    /* from it */
    uint64_t expected, taken, told; /* numbers: next in order; below: taken; below: it knows that it may send */
    uint64_t heard_ack, heard_probe;
    struct nx_relay_message *early[NX_RELAY_WINDOW]; /* by number */
    struct nx_list ready;                            /* in order */
    uint32_t new_ones;                               /* since my last ACK */
    nx_time ack_at;
};

/* relay_packet.c */
/* Sealed.  NULL with the reason in the thread's last error. */
struct nx_relay_packet *nx_relay_packet_new(struct nx_relay *r, const struct nx_relay_head *head, const uint8_t *text,
                                            size_t n);
void nx_relay_packet_drop(struct nx_relay_packet *p);

/* relay.c */
enum nx_relay_refusal nx_relay_dispatch(struct nx_relay *r, struct nx_relay_packet *p, uint32_t from);
void nx_relay_say(struct nx_relay *r, enum nx_relay_event_kind kind, uint32_t rank, uint32_t count);
/* The pair, made if there is none; NULL: no memory. */
struct nx_relay_pair *nx_relay_pair(struct nx_relay *r, uint32_t rank);
void nx_relay_arm(struct nx_relay *r, struct nx_relay_pair *pair);
/* An ACK or a PROBE; lost if there is no memory, or no room on the way. */
void nx_relay_control(struct nx_relay *r, struct nx_relay_pair *pair, enum nx_relay_kind kind, const uint8_t *text,
                      size_t n);

/* relay_link.c */
struct nx_relay_link *nx_relay_find_link(struct nx_relay *r, uint32_t rank);
/* Holds the packet if it must wait. */
enum nx_relay_refusal nx_relay_link_send(struct nx_relay *r, struct nx_relay_link *l, struct nx_relay_packet *p);
void nx_relay_link_pump(struct nx_relay *r, struct nx_relay_link *l);
/* All that waits, each with the queue's reference to it. */
void nx_relay_link_empty(struct nx_relay *r, struct nx_relay_link *l, struct nx_list *out);

/* relay_send.c */
void nx_relay_on_resend(struct nx_relay *r, struct nx_relay_pair *pair, nx_time now);
enum nx_relay_refusal nx_relay_on_ack(struct nx_relay *r, struct nx_relay_pair *pair, uint64_t number,
                                      const uint8_t text[NX_RELAY_ACK_BODY], nx_time now);
/* After a change of the ways. */
void nx_relay_send_again(struct nx_relay *r, struct nx_relay_pair *pair, nx_time now);
/* To all who wait for it and have it now. */
void nx_relay_tell_room(struct nx_relay *r);
/* Returns how many there were. */
uint32_t nx_relay_forget_sent(struct nx_relay *r, struct nx_relay_pair *pair);

/* relay_receive.c */
enum nx_relay_refusal nx_relay_on_packet(struct nx_relay *r, const struct nx_relay_head *head, const uint8_t *bytes,
                                         size_t n, nx_time now);
void nx_relay_send_ack(struct nx_relay *r, struct nx_relay_pair *pair);
void nx_relay_forget_early(struct nx_relay *r, struct nx_relay_pair *pair);

#endif
