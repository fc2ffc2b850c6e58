/* net/send.c - messages on their way out: now or later, by a copy or not, by another way or by QUIC.
 *
 * Owner: any thread; calls into QUIC and modules come without the peer's lock.  A message gets its order number when it
 * leaves, so that one that waits holds back nobody else.  Which messages must wait, outflow.c knows. */
#include "net/send.h"

#include "net/outflow.h"
#include "net/way.h"

enum { BACKLOG_MAX = 4 << 20 }; /* of small messages; what comes then waits for its acknowledgement */

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

    return st == NEXAR_OK || st == NEXAR_EAGAIN ? st : nx_quic_large(conn, req);
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
    req->gathered = true; /* a way that takes it needs no help from the engine */
    if (nx_carry(conn, req, true) == NEXAR_OK)
        return NEXAR_OK;
    req->gathered = false;
    return is_small(conn, req) ? nx_quic_small(conn, req) : nx_quic_eager(conn, req);
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
    nexar_conn *conn;
    uint64_t backlog;
    bool sent = false;

    prepare(peer, req);
    /* A larger one would be copied twice where it has to wait. */
    backlog = req->payload_len <= peer->net->config.small_bytes ? BACKLOG_MAX : 0;
    if (req->payload_len <= NX_EAGER_BYTES && atomic_load(&peer->stopped) == 0 && nx_carry_now(peer, req, backlog)) {
        req->gathered = true;
        return true;
    }
    conn = nx_peer_conn(peer, &st);
    if (conn == NULL)
        return false;
    if (is_small(conn, req) && atomic_load(&peer->stopped) == 0 && !congested(conn))
        sent = send_copied(conn, req) == NEXAR_OK;
    if (!sent && !nx_outflow_unnumber(req))
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED); /* no memory, and those behind it would wait for it without end */
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
