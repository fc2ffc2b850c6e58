/* net/by_quic.c - the three ways that QUIC has for a message: with others on one stream, alone from a copy, alone from
 * where it lies.
 *
 * Owner: any thread; completions come on the engine.  Which messages may leave, and by what, is send.c's. */
#include "net/send.h"

#include "base/slab.h"
#include "net/outflow.h"

#include <string.h>

/* A copy on its way. */
struct eager {
    struct nx_quic_send send;
    nexar_conn *conn;
    struct nx_buffer *buf;
};

enum { GATHERED_STEP = 4 << 10 }; /* of gathered bytes, after which acknowledgements are looked for */

static struct nx_slab eager_slab = NX_SLAB_INIT(struct eager, 256);

/* ---- heads ---- */

nexar_status nx_send_encode(struct nx_send_req *req, bool own)
{
    struct nx_head head = req->head;

    if (!own && head.len > NX_MESSAGE_MAX)
        return nx_fail(NEXAR_EMSGSIZE, "rank %u speaks nexar/1, whose messages have at most %llu bytes",
                       req->peer->rank, (unsigned long long)NX_MESSAGE_MAX);
    if (own) {
        nx_outflow_number(req);
        head.tag = NX_TAG_MESSAGE;
        head.order = req->head.order;
    } else if (nx_lane_framed(head.lane)) {
        head.tag = NX_TAG_FRAMED;
    } else if (head.lane == NX_LANE_RAW) {
        head.tag = NX_TAG_RAW;
    } else if (head.lane == NX_LANE_RAW_COMM) {
        head.tag = NX_TAG_RAW_COMM;
    } else if (head.lane == NX_LANE_RAW_TAGGED) {
        head.tag = NX_TAG_RAW_TAGGED;
    } else {
        return nx_fail(NEXAR_ENOTSUP,
                       "rank %u speaks nexar/1, which has no such messages; use the lanes of its connection",
                       req->peer->rank);
    }
    req->bytes_len = (uint8_t)nx_head_encode(&head, req->bytes);
    if (req->prefix_len != 0)
        memcpy(req->bytes + req->bytes_len, req->prefix, req->prefix_len);
    req->bytes_len = (uint8_t)(req->bytes_len + req->prefix_len);
    return NEXAR_OK;
}

/* ---- the three ways ---- */

/* A message that has its order number and does not leave would hold up all that follow. */
static nexar_status cut(nexar_conn *conn, nexar_status st)
{
    if (st != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
    return st;
}

/* QUIC carries it. */
static void count(nexar_conn *conn, uint64_t len, bool copied)
{
    struct nx_net_stats *stats = &conn->net->stats;

    if (copied)
        atomic_fetch_add_explicit(&stats->copies, len, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->messages_sent, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->bytes_sent, len, memory_order_relaxed);
    atomic_fetch_add_explicit(&conn->messages, 1, memory_order_relaxed);
}

nexar_status nx_quic_small(nexar_conn *conn, struct nx_send_req *req)
{
    nexar_status st = nx_send_encode(req, true);
    uint64_t before = nx_outbox_gathered(&conn->small), after;

    if (st != NEXAR_OK)
        return st;
    count(conn, req->payload_len, true);
    st = nx_outbox_put(&conn->small, req->bytes, req->bytes_len, req->payload, req->payload_len, true);
    after = nx_outbox_gathered(&conn->small);
    req->gathered = after != 0 && after / GATHERED_STEP == before / GATHERED_STEP;
    return cut(conn, st);
}

static void eager_done(struct nx_quic_send *send, nexar_status status)
{
    struct eager *e = nx_container_of(send, struct eager, send);

    (void)status; /* the connection's end tells everybody */
    atomic_fetch_sub(&e->conn->eager_bytes, e->buf->used);
    nx_buffer_put(e->buf);
    nx_conn_drop(e->conn);
    nx_slab_put(&eager_slab, e);
}

/* A stream of its own for a message that is in `buf`, which is given away. */
static nexar_status send_copy(nexar_conn *conn, struct nx_buffer *buf)
{
    struct eager *e = nx_slab_get(&eager_slab);
    nexar_status st;

    if (e == NULL) {
        nx_buffer_put(buf);
        return nx_fail(NEXAR_ENOMEM, "no memory to send");
    }
    *e = (struct eager){.conn = conn, .buf = buf};
    e->send.buf[0] = (struct nx_quic_buf){.len = (uint32_t)e->buf->used, .base = e->buf->data};
    e->send.bufs = 1;
    e->send.done = eager_done;
    nx_conn_hold(conn);
    atomic_fetch_add(&conn->eager_bytes, e->buf->used);
    st = nx_quic_message_send(conn->quic, &e->send, true, NULL);
    if (st != NEXAR_OK)
        eager_done(&e->send, st);
    return st;
}

/* A stream of its own, from a copy. */
nexar_status nx_quic_eager(nexar_conn *conn, struct nx_send_req *req)
{
    struct nx_buffer *buf = nx_buffer_get(sizeof(req->bytes) + req->payload_len);
    nexar_status st;

    if (buf == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to send");
    st = nx_send_encode(req, atomic_load(&conn->own));
    if (st != NEXAR_OK) {
        nx_buffer_put(buf);
        return st;
    }
    memcpy(buf->data, req->bytes, req->bytes_len);
    if (req->payload_len != 0)
        memcpy(buf->data + req->bytes_len, req->payload, req->payload_len);
    buf->used = req->bytes_len + req->payload_len;
    count(conn, req->payload_len, true);
    return cut(conn, send_copy(conn, buf));
}

static void large_done(struct nx_quic_send *send, nexar_status status);

/* `take` bytes of the payload from `sent` on. */
static uint32_t fill(const struct nx_send_req *req, uint64_t take, struct nx_quic_buf *buf)
{
    const nexar_iov whole = {.base = (void *)(uintptr_t)req->payload, .nbytes = req->payload_len};
    const nexar_iov *piece = req->pieces == NULL ? &whole : req->pieces;
    uint64_t at = req->sent;
    uint32_t n = 0;

    for (; take != 0 && at >= piece->nbytes; piece++)
        at -= piece->nbytes;
    for (; take != 0; piece++, at = 0) {
        uint64_t len = piece->nbytes - at < take ? piece->nbytes - at : take;

        buf[n++] = (struct nx_quic_buf){.len = (uint32_t)len, .base = (uint8_t *)piece->base + at};
        take -= len;
    }
    return n;
}

/* The next part of a large message; parts are as large as QUIC takes at once. */
static nexar_status send_part(struct nx_send_req *req)
{
    uint64_t left = req->payload_len - req->sent;
    uint64_t take = left < NX_QUIC_SEND_MAX ? left : NX_QUIC_SEND_MAX;
    bool first = !req->started, last = take == left;
    uint32_t n = 0;

    if (first)
        req->quic.buf[n++] = (struct nx_quic_buf){.len = req->bytes_len, .base = req->bytes};
    req->quic.bufs = n + fill(req, take, req->quic.buf + n);
    req->quic.done = large_done;
    req->sent += take;
    req->started = true;
    if (first)
        return nx_quic_message_send(req->conn->quic, &req->quic, last, last ? NULL : &req->stream);
    return nx_quic_stream_send(req->stream, &req->quic, last);
}

static void large_done(struct nx_quic_send *send, nexar_status status)
{
    struct nx_send_req *req = nx_container_of(send, struct nx_send_req, quic);

    if (status == NEXAR_OK && req->sent < req->payload_len) {
        status = send_part(req);
        if (status == NEXAR_OK)
            return;
        cut(req->conn, status); /* the rest will never come */
    }
    nx_send_landed(req, status);
}

nexar_status nx_quic_large(nexar_conn *conn, struct nx_send_req *req)
{
    nexar_status st = nx_send_encode(req, atomic_load(&conn->own));

    if (st != NEXAR_OK)
        return st;
    count(conn, req->payload_len, false);
    req->conn = conn;
    nx_conn_hold(conn);
    nx_quic_again(req);
    return NEXAR_EAGAIN;
}

void nx_quic_again(struct nx_send_req *req)
{
    nexar_status st;

    req->sent = 0;
    req->started = false;
    st = send_part(req);
    if (st == NEXAR_OK)
        return;
    cut(req->conn, st);
    nx_send_landed(req, st);
}

void nx_quic_buffer(nexar_conn *conn, struct nx_buffer *buf)
{
    if (send_copy(conn, buf) != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED); /* others would wait for its number */
}
