/* net/outbox.c - gathers messages into buffers and writes them to one stream.
 *
 * Owner: any thread under the box's lock; one thread at a time hands buffers to QUIC, without the lock, in order.  It
 * knows nothing of messages: what it gets is already framed. */
#include "net/outbox.h"

#include <string.h>

enum {
    BUFFER = 64 * 1024,
    FIRST_BUFFER = 4 * 1024, /* a lone message does not take a large one */
};

void nx_outbox_init(struct nx_outbox *box)
{
    *box = (struct nx_outbox){.stream = NULL};
    nx_mutex_init(&box->lock, NX_LOCK_CONN);
    for (int i = 0; i < NX_OUTBOX_FLYING; i++)
        box->write[i].box = box;
}

void nx_outbox_fini(struct nx_outbox *box)
{
    while (box->first != NULL) {
        struct nx_buffer *next = box->first->next;

        nx_buffer_put(box->first);
        box->first = next;
    }
    nx_mutex_fini(&box->lock);
}

/* With the lock. */
static struct nx_outbox_write *idle_write(struct nx_outbox *box)
{
    for (int i = 0; i < NX_OUTBOX_FLYING; i++) {
        if (box->write[i].buf == NULL)
            return &box->write[i];
    }
    return NULL;
}

static void finish(struct nx_outbox *box, struct nx_outbox_write *w)
{
    atomic_fetch_sub_explicit(&box->backlog, w->buf->used, memory_order_relaxed);
    nx_buffer_put(w->buf);
    w->buf = NULL;
}

/* With the lock, which it gives up while it hands a buffer over. */
static void pump(struct nx_outbox *box)
{
    struct nx_outbox_write *w;

    while (!box->writing && !box->closed && box->stream != NULL && box->first != NULL &&
           (w = idle_write(box)) != NULL) {
        nexar_status st;

        w->buf = box->first;
        box->first = w->buf->next;
        if (box->first == NULL)
            box->last = NULL;
        atomic_fetch_sub_explicit(&box->gathered, w->buf->used, memory_order_relaxed);
        w->send.buf[0] = (struct nx_quic_buf){.len = (uint32_t)w->buf->used, .base = w->buf->data};
        box->writing = true;
        nx_unlock(&box->lock);
        st = nx_quic_stream_send(box->stream, &w->send, false);
        nx_lock(&box->lock);
        box->writing = false;
        if (st != NEXAR_OK) {
            box->closed = true;
            finish(box, w);
        }
    }
}

static void written(struct nx_quic_send *send, nexar_status status)
{
    struct nx_outbox_write *w = nx_container_of(send, struct nx_outbox_write, send);
    struct nx_outbox *box = w->box;

    nx_lock(&box->lock);
    finish(box, w);
    if (status != NEXAR_OK)
        box->closed = true;
    pump(box);
    nx_unlock(&box->lock);
}

void nx_outbox_open(struct nx_outbox *box, struct nx_quic_stream *stream)
{
    nx_lock(&box->lock);
    box->stream = stream;
    for (int i = 0; i < NX_OUTBOX_FLYING; i++) {
        box->write[i].send.bufs = 1;
        box->write[i].send.done = written;
    }
    pump(box);
    nx_unlock(&box->lock);
}

void nx_outbox_close(struct nx_outbox *box)
{
    nx_lock(&box->lock);
    box->closed = true;
    nx_unlock(&box->lock);
}

void nx_outbox_flush(struct nx_outbox *box)
{
    nx_lock(&box->lock);
    pump(box);
    nx_unlock(&box->lock);
}

static nexar_status gather(struct nx_outbox *box, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        size_t take;

        if (box->last == NULL || box->last->used == box->last->room) {
            struct nx_buffer *buf = nx_buffer_get(box->first == NULL && n <= FIRST_BUFFER ? FIRST_BUFFER : BUFFER);

            if (buf == NULL)
                return NEXAR_ENOMEM;
            if (box->last == NULL)
                box->first = buf;
            else
                box->last->next = buf;
            box->last = buf;
        }
        take = box->last->room - box->last->used;
        if (take > n)
            take = n;
        memcpy(box->last->data + box->last->used, bytes, take);
        box->last->used += take;
        atomic_fetch_add_explicit(&box->gathered, take, memory_order_relaxed);
        atomic_fetch_add_explicit(&box->backlog, take, memory_order_relaxed);
        bytes += take;
        n -= take;
    }
    return NEXAR_OK;
}

nexar_status nx_outbox_put(struct nx_outbox *box, const void *head, size_t head_len, const void *payload, size_t len,
                           bool flush)
{
    nexar_status st = NEXAR_EPEER;

    nx_lock(&box->lock);
    if (!box->closed) {
        st = gather(box, head, head_len);
        if (st == NEXAR_OK && len > 0)
            st = gather(box, payload, len);
        if (st != NEXAR_OK)
            box->closed = true;
        else if (flush)
            pump(box);
    }
    nx_unlock(&box->lock);
    if (st != NEXAR_OK)
        return nx_fail(st, st == NEXAR_ENOMEM ? "no memory to send" : "the connection is gone");
    return NEXAR_OK;
}
