/* net/send.h - messages on their way out.
 *
 * Small ones are copied and share a stream; larger ones get a stream each, up to EAGER bytes with a copy, above from
 * the caller's memory.  Messages of one key leave in order; a key that its receiver holds back waits here, alone. */
#ifndef NX_NET_SEND_H
#define NX_NET_SEND_H

#include "base/pool.h"
#include "net/conn.h"

/* Messages up to this size are copied, so that the caller's memory is free at once. */
#define NX_EAGER_BYTES ((uint64_t)64 * 1024)

enum { NX_SEND_PIECES = NX_QUIC_BUFS - 1 };

struct nexar_link;
struct nx_send_req;

/* A message that left by a way that can fail, until it is known that it has arrived (kept.c). */
struct nx_kept {
    struct nx_list link; /* nexar_link.kept */
    struct nexar_link *way;
    uint64_t number;
    struct nx_buffer *copy;  /* head and payload as QUIC would send them, or NULL: */
    struct nx_send_req *req; /* whose memory is borrowed */
    bool released;           /* the module does not need the memory any more */
    bool arrived;
};

/* A message.  Embedded in an op or in a step; belongs to net/ from a nx_send that returns NEXAR_EAGAIN until `done`. */
struct nx_send_req {
    /* set by the caller */
    struct nx_head head;   /* tag, order and len are filled in here */
    const uint8_t *prefix; /* before the payload (framed lanes: 8 bytes); copied */
    uint8_t prefix_len;
    const void *payload;
    const nexar_iov
        *pieces; /* if not NULL: instead of payload, at most NX_SEND_PIECES, none empty; only what is large */
    uint64_t payload_len;
    _Atomic uint32_t *order; /* counter of the order of messages; NULL for collectives */
    /* Once, on the engine or on a thread that calls in, no lock held. */
    void (*done)(struct nx_send_req *req, nexar_status status);
    /* net/ */
    _Atomic(struct nx_peer *) peer; /* NULL: not sent yet */
    struct nx_outflow *flow;
    struct nx_list link; /* waiting, or in flight, in its flow */
    nexar_conn *conn;    /* a reference while in flight */
    struct nx_kept kept;
    struct nx_quic_send quic;
    struct nx_quic_stream *stream;
    uint64_t sent; /* bytes of the payload that were handed over */
    uint8_t bytes[NX_HEAD_MAX + NX_FRAME_HEADER];
    uint8_t bytes_len;
    nexar_status recalled; /* lock: why it was taken back */
    bool waiting, started;
    bool numbered; /* head.order is set */
    bool gathered; /* leaves with others, when the peer has acknowledged some: there is nothing to hurry for */
};

/* NEXAR_OK: taken, the memory is free, `done` is not called.  NEXAR_EAGAIN: `done` follows.  Else nothing was sent. */
nexar_status nx_send(struct nx_peer *peer, struct nx_send_req *req);

/* Sends it if it is small and need not wait.  False: it was not sent, whatever the reason; nx_send. */
bool nx_send_now(struct nx_peer *peer, struct nx_send_req *req);

/* A message that still waits ends with `why`.  One that is on its way is taken back: it ends with `why` when the peer
 * has it, who has thrown it away unless somebody was receiving it already; `done` follows in any case. */
void nx_send_cancel(struct nx_send_req *req, nexar_status why);

/* Engine.  The receiver holds a key back, or lets it go on.  NEXAR_EPROTO: there are too many of them. */
nexar_status nx_send_hold(struct nx_peer *peer, const struct nx_key *key, bool hold);

/* Engine.  Whatever waits for this peer ends with `why`. */
void nx_send_peer_gone(struct nx_peer *peer, nexar_status why);

/* Engine.  A message that was borrowed, with a reference in req->conn, has arrived or never will. */
void nx_send_landed(struct nx_send_req *req, nexar_status status);

/* ---- by_quic.c ---- */

/* The bytes before the payload, and the order number, once.  NEXAR_ENOTSUP, NEXAR_EMSGSIZE. */
nexar_status nx_send_encode(struct nx_send_req *req, bool own);
/* With other small ones, or on a stream of its own; from a copy. */
nexar_status nx_quic_small(nexar_conn *conn, struct nx_send_req *req);
nexar_status nx_quic_eager(nexar_conn *conn, struct nx_send_req *req);
/* From where it lies.  NEXAR_EAGAIN: nx_send_landed follows; else it does not. */
nexar_status nx_quic_large(nexar_conn *conn, struct nx_send_req *req);
/* Engine.  One that another way has lost: from where it lies, with a reference in req->conn; or from a copy, which is
 * given away. */
void nx_quic_again(struct nx_send_req *req);
void nx_quic_buffer(nexar_conn *conn, struct nx_buffer *buf);

/* Bytes handed to the connection that the peer has not acknowledged; 0: everything has arrived. */
uint64_t nx_send_backlog(struct nx_peer *peer);

#endif
