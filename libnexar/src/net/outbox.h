/* net/outbox.h - many messages back to back on one persistent stream.
 *
 * A message that finds the stream idle leaves at once; while several writes are unacknowledged, messages gather in a
 * buffer and leave together when one of them is acknowledged.  So one message costs no delay, and a million cost few
 * packets. */
#ifndef NX_NET_OUTBOX_H
#define NX_NET_OUTBOX_H

#include "base/pool.h"
#include "base/thread.h"
#include "quic/quic.h"

enum { NX_OUTBOX_FLYING = 4 }; /* writes that may be unacknowledged */

struct nx_outbox;

struct nx_outbox_write {
    struct nx_quic_send send;
    struct nx_outbox *box;
    struct nx_buffer *buf; /* NULL: idle */
};

struct nx_outbox {
    struct nx_mutex lock;
    /* lock */
    struct nx_quic_stream *stream;  /* NULL until open */
    struct nx_buffer *first, *last; /* gathered, not yet handed to QUIC */
    struct nx_outbox_write write[NX_OUTBOX_FLYING];
    bool writing; /* a thread is handing a buffer over */
    bool closed;
    /* atomic */
    _Atomic uint64_t gathered; /* bytes that were not handed to QUIC */
    _Atomic uint64_t backlog;  /* bytes that are not acknowledged */
};

void nx_outbox_init(struct nx_outbox *box);
/* After the stream's last completion. */
void nx_outbox_fini(struct nx_outbox *box);

/* Engine.  From now on what is gathered can leave. */
void nx_outbox_open(struct nx_outbox *box, struct nx_quic_stream *stream);
/* Nothing more will leave. */
void nx_outbox_close(struct nx_outbox *box);

/* Appends head and payload, copied, and hands over what may leave if `flush`; without it no call is made into QUIC.
 * NEXAR_ENOMEM: the box is closed, since half a message must never leave: end the connection.  NEXAR_EPEER: it is
 * closed. */
nexar_status nx_outbox_put(struct nx_outbox *box, const void *head, size_t head_len, const void *payload, size_t len,
                           bool flush);
/* Hands over what may leave now. */
void nx_outbox_flush(struct nx_outbox *box);

/* Bytes that wait until one of the writes under way is acknowledged. */
static inline uint64_t nx_outbox_gathered(struct nx_outbox *box)
{
    return atomic_load_explicit(&box->gathered, memory_order_relaxed);
}

/* Bytes that the peer has not acknowledged. */
static inline uint64_t nx_outbox_backlog(struct nx_outbox *box)
{
    return atomic_load_explicit(&box->backlog, memory_order_relaxed);
}

#endif
