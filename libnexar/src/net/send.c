/* net/send.c - which way a message takes, and whether it may leave now.
 *
 * Owner: flows under the peer's lock; calls into QUIC without it.  Order within a key: messages that must wait are
 * queued by key, and a message gets its order number when it leaves, so that one that waits holds back nobody else. */
#include "net/send.h"

#include "base/slab.h"
#include "wire/tag.h"

#include <string.h>

/* What is under way to a peer with one key.  Collectives of a communicator count as one. */
struct nx_outflow {
    struct nx_hash_node node;
    struct nx_key key;
    struct nx_list waiting;  /* struct nx_send_req.link */
    struct nx_list inflight; /* on streams of their own */
    uint64_t bytes;          /* in flight */
    bool held;
};

/* A copy on its way. */
struct eager {
    struct nx_quic_send send;
    nexar_conn *conn;
    struct nx_buffer *buf;
};

enum { BACKLOG_MAX = 4 << 20 }; /* of small messages; what comes then waits for its acknowledgement */

static struct nx_slab flow_slab = NX_SLAB_INIT(struct nx_outflow, 256);
static struct nx_slab eager_slab = NX_SLAB_INIT(struct eager, 256);

/* ---- flows: with the peer's lock ---- */

static struct nx_key key_of(const struct nx_send_req *req)
{
    struct nx_key key = {.lane = req->head.lane, .scope = req->head.scope, .id = req->head.id};

    if (req->head.lane == NX_LANE_COLL)
        key.id = 0;
    return key;
}

static uint64_t key_hash(const struct nx_key *key)
{
    return nx_hash_mix(nx_hash_mix(nx_hash_mix(0, key->lane), key->scope), key->id);
}

static struct nx_outflow *find_flow(struct nx_peer *peer, const struct nx_key *key)
{
    for (struct nx_hash_node *n = nx_hash_first(&peer->flows, key_hash(key)); n != NULL; n = nx_hash_next(n)) {
        struct nx_outflow *flow = nx_container_of(n, struct nx_outflow, node);

        if (flow->key.lane == key->lane && flow->key.scope == key->scope && flow->key.id == key->id)
            return flow;
    }
    return NULL;
}

static struct nx_outflow *get_flow(struct nx_peer *peer, const struct nx_key *key)
{
    struct nx_outflow *flow = find_flow(peer, key);

    if (flow != NULL)
        return flow;
    flow = nx_slab_get(&flow_slab);
    if (flow == NULL)
        return NULL;
    *flow = (struct nx_outflow){.key = *key};
    nx_list_init(&flow->waiting);
    nx_list_init(&flow->inflight);
    nx_hash_insert(&peer->flows, &flow->node, key_hash(key));
    return flow;
}

static bool stops(const struct nx_outflow *flow)
{
    return flow->held || !nx_list_empty(&flow->waiting);
}

static void tidy(struct nx_peer *peer, struct nx_outflow *flow)
{
    if (stops(flow) || !nx_list_empty(&flow->inflight))
        return;
    nx_hash_remove(&peer->flows, &flow->node);
    nx_slab_put(&flow_slab, flow);
}

/* Collectives: the oldest operation may always go, since the receiver may be waiting for it before it takes any other.
 * */
static bool is_oldest(const struct nx_outflow *flow, const struct nx_send_req *req)
{
    if (req->head.lane != NX_LANE_COLL)
        return false;
    for (struct nx_list *pos = flow->inflight.next; pos != &flow->inflight; pos = pos->next) {
        struct nx_send_req *other = nx_container_of(pos, struct nx_send_req, link);

        if (nx_tag_sequence(other->head.id) < nx_tag_sequence(req->head.id))
            return false;
    }
    return true;
}

static bool may_leave(struct nx_peer *peer, const struct nx_outflow *flow, const struct nx_send_req *req)
{
    const struct nx_net_config *c = &peer->net->config;
    uint64_t limit = req->head.lane == NX_LANE_COLL ? c->inflight_bytes : c->limits.lane_bytes;

    if (flow->held)
        return false;
    return flow->bytes == 0 || flow->bytes + req->head.len <= limit || is_oldest(flow, req);
}

/* By order of the call; collectives by order of the operation. */
static void enqueue(struct nx_peer *peer, struct nx_outflow *flow, struct nx_send_req *req)
{
    struct nx_list *at = flow->waiting.prev;

    if (!stops(flow))
        atomic_fetch_add(&peer->stopped, 1);
    if (req->head.lane == NX_LANE_COLL) {
        while (at != &flow->waiting && nx_container_of(at, struct nx_send_req, link)->head.id > req->head.id)
            at = at->prev;
    }
    nx_list_insert_before(at->next, &req->link);
    req->waiting = true;
    atomic_fetch_add_explicit(&peer->net->stats.waited, 1, memory_order_relaxed);
}

static void leave(struct nx_outflow *flow, struct nx_send_req *req)
{
    nx_list_push_back(&flow->inflight, &req->link);
    flow->bytes += req->head.len;
}

/* The next that may leave, moved to those in flight; NULL if there is none. */
static struct nx_send_req *dequeue(struct nx_peer *peer, struct nx_outflow *flow)
{
    struct nx_send_req *req;

    if (nx_list_empty(&flow->waiting))
        return NULL;
    req = nx_container_of(flow->waiting.next, struct nx_send_req, link);
    if (!may_leave(peer, flow, req))
        return NULL;
    nx_list_remove(&req->link);
    req->waiting = false;
    if (!stops(flow))
        atomic_fetch_sub(&peer->stopped, 1);
    leave(flow, req);
    return req;
}

/* ---- heads ---- */

/* The bytes before the payload, as the connection's protocol wants them. */
static nexar_status encode(struct nx_send_req *req, bool own)
{
    struct nx_head head = req->head;

    if (own) {
        head.tag = NX_TAG_MESSAGE;
        if (req->order != NULL)
            head.order = atomic_fetch_add_explicit(req->order, 1, memory_order_relaxed);
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
    if (st == NEXAR_OK)
        atomic_fetch_add_explicit(&conn->messages, 1, memory_order_relaxed);
    else
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
    return st;
}

static nexar_status send_small(nexar_conn *conn, struct nx_send_req *req)
{
    nexar_status st = encode(req, true);

    if (st != NEXAR_OK)
        return st;
    return cut(conn, nx_outbox_put(&conn->small, req->bytes, req->bytes_len, req->payload, req->payload_len, true));
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

/* A stream of its own, from a copy. */
static nexar_status send_eager(nexar_conn *conn, struct nx_send_req *req)
{
    struct eager *e = nx_slab_get(&eager_slab);
    nexar_status st;

    if (e == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to send");
    *e = (struct eager){.conn = conn, .buf = nx_buffer_get(sizeof(req->bytes) + req->payload_len)};
    if (e->buf == NULL)
        st = nx_fail(NEXAR_ENOMEM, "no memory to send");
    else
        st = encode(req, atomic_load(&conn->own));
    if (st != NEXAR_OK) {
        nx_buffer_put(e->buf);
        nx_slab_put(&eager_slab, e);
        return st;
    }
    memcpy(e->buf->data, req->bytes, req->bytes_len);
    if (req->payload_len != 0)
        memcpy(e->buf->data + req->bytes_len, req->payload, req->payload_len);
    e->buf->used = req->bytes_len + req->payload_len;
    e->send.buf[0] = (struct nx_quic_buf){.len = (uint32_t)e->buf->used, .base = e->buf->data};
    e->send.bufs = 1;
    e->send.done = eager_done;
    nx_conn_hold(conn);
    atomic_fetch_add(&conn->eager_bytes, e->buf->used);
    st = nx_quic_message_send(conn->quic, &e->send, true, NULL);
    if (st != NEXAR_OK)
        eager_done(&e->send, st);
    return cut(conn, st);
}

static void large_done(struct nx_quic_send *send, nexar_status status);

/* The next part of a large message; parts are as large as QUIC takes at once. */
static nexar_status send_part(struct nx_send_req *req)
{
    uint64_t left = req->payload_len - req->sent;
    uint64_t take = left < NX_QUIC_SEND_MAX ? left : NX_QUIC_SEND_MAX;
    bool first = !req->started, last = take == left;
    uint32_t n = 0;

    if (first)
        req->quic.buf[n++] = (struct nx_quic_buf){.len = req->bytes_len, .base = req->bytes};
    if (take != 0)
        req->quic.buf[n++] =
            (struct nx_quic_buf){.len = (uint32_t)take, .base = (uint8_t *)(uintptr_t)req->payload + req->sent};
    req->quic.bufs = n;
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
    struct nx_key key = key_of(req);

    nx_lock(&peer->lock);
    nx_list_remove(&req->link);
    req->flow->bytes -= req->head.len;
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
    }
    nx_conn_drop(req->conn);
    land(req);
    req->done(req, status);
}

/* In flight already, by its flow; `done` follows unless this fails. */
static nexar_status send_large(nexar_conn *conn, struct nx_send_req *req)
{
    nexar_status st = encode(req, atomic_load(&conn->own));

    if (st != NEXAR_OK)
        return st;
    req->sent = 0;
    req->started = false;
    req->conn = conn;
    nx_conn_hold(conn);
    st = send_part(req);
    if (st != NEXAR_OK)
        nx_conn_drop(conn);
    return cut(conn, st);
}

static bool is_small(nexar_conn *conn, const struct nx_send_req *req)
{
    return req->payload_len <= conn->net->config.small_bytes && atomic_load(&conn->own);
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
        flow = find_flow(peer, key);
        if (flow != NULL)
            req = dequeue(peer, flow);
        if (flow != NULL && req == NULL)
            tidy(peer, flow);
        nx_unlock(&peer->lock);
        if (req == NULL)
            return;
        conn = nx_peer_conn(peer, &st);
        if (conn != NULL) {
            small = is_small(conn, req);
            st = small ? send_small(conn, req) : send_large(conn, req);
            nx_conn_drop(conn);
        }
        if (small || st != NEXAR_OK) {
            nx_lock(&peer->lock);
            nx_list_remove(&req->link);
            req->flow->bytes -= req->head.len;
            nx_unlock(&peer->lock);
            req->done(req, st);
        }
    }
}

/* ---- calls ---- */

/* Queues behind others of its key if it must, else counts it as in flight if it will be. */
static nexar_status take_place(struct nx_peer *peer, struct nx_send_req *req, bool large)
{
    struct nx_key key = key_of(req);
    struct nx_outflow *flow;
    nexar_status st = NEXAR_OK;

    nx_lock(&peer->lock);
    flow = large ? get_flow(peer, &key) : find_flow(peer, &key);
    if (peer->state != NX_PEER_UP) {
        st = NEXAR_EPEER;
        if (flow != NULL)
            tidy(peer, flow);
    } else if (large && flow == NULL) {
        st = NEXAR_ENOMEM;
    } else if (flow != NULL && (stops(flow) || (large && !may_leave(peer, flow, req))) &&
               !(req->head.lane == NX_LANE_COLL && !large)) {
        req->flow = flow;
        enqueue(peer, flow, req);
        st = NEXAR_EAGAIN;
    } else if (large) {
        req->flow = flow;
        leave(flow, req);
    }
    nx_unlock(&peer->lock);
    if (st == NEXAR_EPEER)
        return nx_peer_fail(peer);
    return st == NEXAR_ENOMEM ? nx_fail(st, "no memory to send") : st;
}

/* NEXAR_EAGAIN: it waits, or it is on its way. */
static nexar_status send_now(nexar_conn *conn, struct nx_send_req *req, bool large)
{
    nexar_status st;

    if (!large)
        return is_small(conn, req) ? send_small(conn, req) : send_eager(conn, req);
    st = send_large(conn, req);
    if (st == NEXAR_OK)
        return NEXAR_EAGAIN;
    land(req);
    return st;
}

nexar_status nx_send(struct nx_peer *peer, struct nx_send_req *req)
{
    struct nx_net_stats *stats = &peer->net->stats;
    uint64_t len = req->payload_len; /* `req` may be gone as soon as it is on its way */
    bool large = len > NX_EAGER_BYTES;
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(peer, &st);

    if (conn == NULL)
        return st;
    req->peer = peer;
    req->waiting = false;
    req->head.len = len + req->prefix_len;
    nx_list_init(&req->link);
    if (nx_outbox_backlog(&conn->small) + atomic_load(&conn->eager_bytes) > BACKLOG_MAX)
        large = true; /* the peer does not keep up: no more copies */
    if (large || atomic_load(&peer->stopped) != 0)
        st = take_place(peer, req, large);
    if (st == NEXAR_OK)
        st = send_now(conn, req, large);
    nx_conn_drop(conn);
    if (st != NEXAR_OK && st != NEXAR_EAGAIN)
        return st;
    if (st == NEXAR_OK)
        atomic_fetch_add_explicit(&stats->copies, len, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->messages_sent, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->bytes_sent, len, memory_order_relaxed);
    return st;
}

void nx_send_cancel(struct nx_send_req *req, nexar_status why)
{
    struct nx_peer *peer = req->peer;
    struct nx_outflow *flow = req->flow;
    bool waited;

    if (peer == NULL)
        return; /* not sent yet */
    nx_lock(&peer->lock);
    waited = req->waiting;
    if (waited) {
        req->waiting = false;
        nx_list_remove(&req->link);
        if (!stops(flow))
            atomic_fetch_sub(&peer->stopped, 1);
        tidy(peer, flow);
    }
    nx_unlock(&peer->lock);
    if (waited)
        req->done(req, why);
}

void nx_send_hold(struct nx_peer *peer, const struct nx_key *key, bool hold)
{
    struct nx_outflow *flow;

    nx_lock(&peer->lock);
    flow = hold ? get_flow(peer, key) : find_flow(peer, key);
    if (flow != NULL && flow->held != hold) {
        bool stopped = stops(flow);

        flow->held = hold;
        if (stops(flow) && !stopped)
            atomic_fetch_add(&peer->stopped, 1);
        else if (!stops(flow) && stopped)
            atomic_fetch_sub(&peer->stopped, 1);
    }
    nx_unlock(&peer->lock);
    if (!hold)
        pump(peer, key);
}

void nx_send_peer_gone(struct nx_peer *peer, nexar_status why)
{
    struct nx_list ended;
    struct nx_hash_node *node, *next;
    struct nx_list *pos;

    nx_list_init(&ended);
    nx_lock(&peer->lock);
    for (node = nx_hash_walk(&peer->flows, NULL); node != NULL; node = next) {
        struct nx_outflow *flow = nx_container_of(node, struct nx_outflow, node);

        next = nx_hash_walk(&peer->flows, node);
        if (stops(flow))
            atomic_fetch_sub(&peer->stopped, 1);
        flow->held = false;
        for (pos = flow->waiting.next; pos != &flow->waiting; pos = pos->next)
            nx_container_of(pos, struct nx_send_req, link)->waiting = false;
        nx_list_splice(&ended, &flow->waiting);
        tidy(peer, flow);
    }
    nx_unlock(&peer->lock);
    while ((pos = nx_list_pop(&ended)) != NULL) {
        struct nx_send_req *req = nx_container_of(pos, struct nx_send_req, link);

        req->done(req, why);
    }
}

uint64_t nx_send_backlog(struct nx_peer *peer)
{
    uint64_t bytes = 0;
    struct nx_hash_node *node;
    nexar_conn *conn;
    nexar_status st;

    nx_lock(&peer->lock);
    for (node = nx_hash_walk(&peer->flows, NULL); node != NULL; node = nx_hash_walk(&peer->flows, node)) {
        struct nx_outflow *flow = nx_container_of(node, struct nx_outflow, node);

        /* An empty message is something too. */
        bytes += flow->bytes + !nx_list_empty(&flow->inflight) + !nx_list_empty(&flow->waiting);
    }
    nx_unlock(&peer->lock);
    conn = nx_peer_conn(peer, &st);
    if (conn != NULL) {
        bytes += nx_outbox_backlog(&conn->small) + nx_outbox_backlog(&conn->control) + atomic_load(&conn->eager_bytes);
        nx_conn_drop(conn);
    }
    return bytes;
}
