/* net/send.c - which way a message takes, and sending it that way.
 *
 * Owner: any thread; calls into QUIC come without the peer's lock.  A message gets its order number when it leaves, so
 * that one that waits holds back nobody else.  Which messages must wait, outflow.c knows. */
#include "net/send.h"

#include "base/slab.h"
#include "net/outflow.h"
#include "net/way.h"

#include <string.h>

/* A copy on its way. */
struct eager {
    struct nx_quic_send send;
    nexar_conn *conn;
    struct nx_buffer *buf;
};

enum {
    BACKLOG_MAX = 4 << 20,   /* of small messages; what comes then waits for its acknowledgement */
    GATHERED_STEP = 4 << 10, /* of gathered bytes, after which acknowledgements are looked for */
};

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

static nexar_status send_small(nexar_conn *conn, struct nx_send_req *req)
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
static nexar_status send_eager(nexar_conn *conn, struct nx_send_req *req)
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

static void pump(struct nx_peer *peer, const struct nx_key *key);

/* No longer in flight; what waited behind it may leave. */
static void land(struct nx_send_req *req)
{
    struct nx_peer *peer = req->peer;
    struct nx_key key = nx_outflow_key(req);

    nx_lock(&peer->lock);
    nx_outflow_land(req);
    nx_unlock(&peer->lock);
    pump(peer, &key);
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

void nx_send_landed(struct nx_send_req *req, nexar_status status)
{
    nx_conn_drop(req->conn);
    land(req);
    req->done(req, status == NEXAR_OK ? req->recalled : status);
}

/* In flight already, by its flow.  NEXAR_EAGAIN: `done` follows; else it does not. */
static nexar_status send_large(nexar_conn *conn, struct nx_send_req *req)
{
    nexar_status st = nx_carry(conn, req, false);

    if (st == NEXAR_OK || st == NEXAR_EAGAIN)
        return st;
    st = nx_send_encode(req, atomic_load(&conn->own));
    if (st != NEXAR_OK)
        return st;
    count(conn, req->payload_len, false);
    req->conn = conn;
    nx_conn_hold(conn);
    nx_send_again(req);
    return NEXAR_EAGAIN;
}

void nx_send_again(struct nx_send_req *req)
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

void nx_send_buffer(nexar_conn *conn, struct nx_buffer *buf)
{
    if (send_copy(conn, buf) != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED); /* others would wait for its number */
}

static bool is_small(nexar_conn *conn, const struct nx_send_req *req)
{
    return req->payload_len <= conn->net->config.small_bytes && req->pieces == NULL && atomic_load(&conn->own);
}

/* The peer does not keep up: no more copies for it. */
static bool congested(nexar_conn *conn)
{
    return nx_outbox_backlog(&conn->small) + atomic_load(&conn->eager_bytes) + nx_carry_backlog(conn) > BACKLOG_MAX;
}

/* From a copy, so that its memory is free. */
static nexar_status send_copied(nexar_conn *conn, struct nx_send_req *req)
{
    req->gathered = false;
    if (nx_carry(conn, req, true) == NEXAR_OK)
        return NEXAR_OK;
    return is_small(conn, req) ? send_small(conn, req) : send_eager(conn, req);
}

/* Sends what may leave of a flow. */
static void pump(struct nx_peer *peer, const struct nx_key *key)
{
    for (;;) {
        struct nx_send_req *req = NULL;
        struct nx_outflow *flow;
        nexar_conn *conn;
        nexar_status st;
        bool small = false;

        nx_lock(&peer->lock);
        flow = nx_outflow_find(peer, key);
        if (flow != NULL)
            req = nx_outflow_next(peer, flow);
        if (flow != NULL && req == NULL)
            nx_outflow_tidy(peer, flow);
        nx_unlock(&peer->lock);
        if (req == NULL)
            return;
        conn = nx_peer_conn(peer, &st);
        if (conn != NULL) {
            small = is_small(conn, req) && !congested(conn);
            st = small ? send_copied(conn, req) : send_large(conn, req);
            nx_conn_drop(conn);
        }
        if (st != NEXAR_EAGAIN) {
            nx_lock(&peer->lock);
            nx_outflow_land(req);
            nx_unlock(&peer->lock);
            req->done(req, st);
        }
    }
}

/* ---- calls ---- */

/* Queues behind others of its key if it must, else counts it as in flight if it will be. */
static nexar_status take_place(struct nx_peer *peer, struct nx_send_req *req, bool large)
{
    struct nx_key key = nx_outflow_key(req);
    struct nx_outflow *flow;
    nexar_status st = NEXAR_OK;

    nx_lock(&peer->lock);
    flow = large ? nx_outflow_get(peer, &key) : nx_outflow_find(peer, &key);
    if (peer->state != NX_PEER_UP) {
        st = NEXAR_EPEER;
        if (flow != NULL)
            nx_outflow_tidy(peer, flow);
    } else if (large && flow == NULL) {
        st = NEXAR_ENOMEM;
    } else if (flow != NULL && (nx_outflow_stops(flow) || (large && !nx_outflow_may_leave(peer, flow, req))) &&
               !(req->head.lane == NX_LANE_COLL && !large)) {
        nx_outflow_enqueue(peer, flow, req);
        st = NEXAR_EAGAIN;
    } else if (large) {
        nx_outflow_leave(flow, req);
    }
    nx_unlock(&peer->lock);
    if (st == NEXAR_EPEER)
        return nx_peer_fail(peer);
    return st == NEXAR_ENOMEM ? nx_fail(st, "no memory to send") : st;
}

/* NEXAR_EAGAIN: it waits, or it is on its way. */
static nexar_status leave(nexar_conn *conn, struct nx_send_req *req, bool large)
{
    nexar_status st;

    if (!large)
        return send_copied(conn, req);
    st = send_large(conn, req);
    if (st != NEXAR_EAGAIN)
        land(req);
    return st;
}

static void prepare(struct nx_peer *peer, struct nx_send_req *req)
{
    req->peer = peer;
    req->waiting = false;
    req->numbered = false;
    req->gathered = false;
    req->head.len = req->payload_len + req->prefix_len;
    nx_list_init(&req->link);
}

bool nx_send_now(struct nx_peer *peer, struct nx_send_req *req)
{
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(peer, &st);
    bool sent = false;

    if (conn == NULL)
        return false;
    prepare(peer, req);
    if (is_small(conn, req) && atomic_load(&peer->stopped) == 0 && !congested(conn))
        sent = send_copied(conn, req) == NEXAR_OK;
    nx_conn_drop(conn);
    return sent;
}

nexar_status nx_send(struct nx_peer *peer, struct nx_send_req *req)
{
    bool large = req->payload_len > NX_EAGER_BYTES;
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(peer, &st);

    if (conn == NULL)
        return st;
    prepare(peer, req);
    large = large || congested(conn);
    if (large || atomic_load(&peer->stopped) != 0)
        st = take_place(peer, req, large);
    if (st == NEXAR_OK)
        st = leave(conn, req, large);
    nx_conn_drop(conn);
    return st;
}

/* With the lock: a message on its way is to be taken back; false if it cannot be. */
static bool recall(struct nx_send_req *req, nexar_status why, struct nx_msg_recall *out)
{
    if (!req->numbered || nx_list_empty(&req->link) || req->recalled != NEXAR_OK)
        return false;
    req->recalled = why;
    *out = (struct nx_msg_recall){
        .lane = req->head.lane, .scope = req->head.scope, .id = req->head.id, .order = req->head.order};
    return true;
}

void nx_send_cancel(struct nx_send_req *req, nexar_status why)
{
    struct nx_peer *peer = req->peer;
    struct nx_message m = {.kind = NX_KIND_RECALL};
    bool waited, recalled = false;
    nexar_conn *conn;
    nexar_status st;

    if (peer == NULL)
        return; /* not sent yet */
    conn = nx_peer_conn(peer, &st);
    nx_lock(&peer->lock);
    waited = nx_outflow_withdraw(peer, req);
    /* When the communicator is closed, what is on its way is given the time to arrive. */
    if (!waited && why != NEXAR_ECLOSED && conn != NULL && atomic_load(&conn->own))
        recalled = recall(req, why, &m.recall);
    nx_unlock(&peer->lock);
    if (waited)
        req->done(req, why);
    if (recalled && nx_conn_control(conn, &m, false) == NEXAR_ENOMEM)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED); /* rather lose it than wait for it without end */
    nx_conn_drop(conn);
}

nexar_status nx_send_hold(struct nx_peer *peer, const struct nx_key *key, bool hold)
{
    nexar_status st = NEXAR_OK;

    nx_lock(&peer->lock);
    if (peer->state == NX_PEER_UP)
        st = nx_outflow_hold(peer, key, hold);
    nx_unlock(&peer->lock);
    if (!hold)
        pump(peer, key);
    return st;
}

void nx_send_peer_gone(struct nx_peer *peer, nexar_status why)
{
    struct nx_list ended, *pos;

    nx_list_init(&ended);
    nx_lock(&peer->lock);
    nx_outflow_end(peer, &ended);
    nx_unlock(&peer->lock);
    while ((pos = nx_list_pop(&ended)) != NULL) {
        struct nx_send_req *req = nx_container_of(pos, struct nx_send_req, link);

        req->done(req, why);
    }
}

uint64_t nx_send_backlog(struct nx_peer *peer)
{
    nexar_conn *conn;
    nexar_status st;
    uint64_t bytes;

    nx_lock(&peer->lock);
    bytes = nx_outflow_backlog(peer);
    nx_unlock(&peer->lock);
    conn = nx_peer_conn(peer, &st);
    if (conn != NULL) {
        bytes += nx_outbox_backlog(&conn->small) + nx_outbox_backlog(&conn->control) + atomic_load(&conn->eager_bytes);
        nx_conn_drop(conn);
    }
    return bytes;
}
