/* net/carry.c - messages that leave by a module's way.
 *
 * Owner: any thread sends, under the link's lock where messages are numbered.  A way that can fail has each message
 * kept (kept.c), a small one as a copy, until the peer says that it is whole there: what a broken way has lost is sent
 * by QUIC, and nothing twice. */
#include "net/kept.h"

#include "base/bytes.h"
#include "wire/stream.h"

#include <string.h>

enum {
    KEPT_COPIES_MAX = 4 << 20,
    PROMISE_BYTES = 256 << 10, /* messages of more are promised */
};

/* The module does not need the memory any more. */
static void released(void *arg, nexar_status status)
{
    struct nx_kept *kept = arg;
    nexar_link *link = kept->way;
    struct nx_list done;

    (void)status; /* if the link has failed, what has not arrived is sent again */
    nx_list_init(&done);
    nx_lock(&link->lock);
    kept->released = true;
    if (kept->arrived)
        nx_kept_take_out(link, kept, &done);
    nx_unlock(&link->lock);
    nx_kept_finish_all(&done, NEXAR_OK);
}

static void sure_done(void *arg, nexar_status status)
{
    nx_send_landed(arg, status);
}

/* ---- sending ---- */

static uint32_t payload_of(const struct nx_send_req *req, nexar_iov *whole, const nexar_iov **iov)
{
    uint32_t n = 0;

    *whole = (nexar_iov){.base = (void *)(uintptr_t)req->payload, .nbytes = req->payload_len};
    *iov = whole;
    if (req->pieces == NULL)
        return req->payload_len != 0;
    *iov = req->pieces;
    for (uint64_t left = req->payload_len; left != 0; n++)
        left -= req->pieces[n].nbytes;
    return n;
}

/* Its head, with the number of its promise if it has one. */
static uint32_t put_head(const struct nx_send_req *req, uint64_t promise, uint8_t *at)
{
    memcpy(at, req->bytes, req->bytes_len);
    if (promise == 0)
        return req->bytes_len;
    nx_store64(at + req->bytes_len, promise);
    return req->bytes_len + 8u;
}

/* On a way that cannot fail. */
static nexar_status send_sure(nexar_link *link, struct nx_send_req *req, bool copy, uint64_t promise)
{
    const nexar_bulk_ops *ops = atomic_load_explicit(&link->ops, memory_order_relaxed);
    uint8_t head[NX_WAY_PROMISE];
    nexar_iov whole;
    nexar_bulk_message m = {.size = sizeof(m), .head = head, .must_copy = copy, .nbytes = req->payload_len};

    m.head_nbytes = put_head(req, promise, head);
    m.n = payload_of(req, &whole, &m.iov);
    return ops->send(atomic_load_explicit(&link->ops_self, memory_order_relaxed), &m, copy ? NULL : sure_done, req);
}

static uint32_t put_tail(nexar_link *link, uint64_t number, uint8_t *at)
{
    uint64_t arrived = atomic_load_explicit(&link->arrived, memory_order_acquire);

    nx_store64(at, number);
    nx_store64(at + 8, arrived);
    atomic_store_explicit(&link->answered, arrived, memory_order_relaxed);
    return NX_WAY_TAIL;
}

static nexar_status send_kept(nexar_link *link, struct nx_send_req *req, bool copy, uint64_t promise)
{
    const nexar_bulk_ops *ops = atomic_load_explicit(&link->ops, memory_order_relaxed);
    uint8_t head[NX_WAY_PROMISE + NX_WAY_TAIL];
    uint32_t n = put_head(req, promise, head);
    nexar_iov whole;
    nexar_bulk_message m = {.size = sizeof(m), .head = head, .nbytes = req->payload_len};
    struct nx_kept *kept;
    nexar_status st;

    nx_lock(&link->lock);
    kept = copy && link->kept_bytes > KEPT_COPIES_MAX ? NULL : nx_kept_new(link, req, copy);
    if (kept == NULL) {
        nx_unlock(&link->lock);
        return NEXAR_ENOMEM;
    }
    kept->number = link->sent + 1;
    m.head_nbytes = n + put_tail(link, kept->number | (copy ? 0 : NX_WAY_URGENT), head + n);
    m.n = payload_of(req, &whole, &m.iov);
    if (copy)
        whole.base = kept->copy->data + req->bytes_len;
    nx_list_push_back(&link->kept, &kept->link);
    if (!copy) /* the answer may come before send returns */
        atomic_fetch_add_explicit(&link->borrowed, 1, memory_order_relaxed);
    /* With the lock: messages reach the module in the order of their numbers. */
    st = ops->send(atomic_load_explicit(&link->ops_self, memory_order_relaxed), &m, released, kept);
    if (st == NEXAR_OK || st == NEXAR_EAGAIN) {
        link->sent++;
        if (copy)
            link->kept_bytes += kept->copy->used;
        kept->released = st == NEXAR_OK;
        st = copy ? NEXAR_OK : NEXAR_EAGAIN;
    } else {
        nx_list_remove(&kept->link);
        if (!copy)
            atomic_fetch_sub_explicit(&link->borrowed, 1, memory_order_relaxed);
    }
    nx_unlock(&link->lock);
    if (st != NEXAR_OK && st != NEXAR_EAGAIN && copy)
        nx_kept_finish(kept, st);
    return st;
}

/* ---- promises ---- */

/* Too large to lie about where nobody has asked for it.  What collectives send is asked for: their receives are
 * there, or about to be. */
static bool is_promised(const struct nx_send_req *req, bool copy)
{
    return !copy && req->head.lane != NX_LANE_COLL && req->payload_len > PROMISE_BYTES;
}

static nexar_status promise(nexar_link *link, struct nx_send_req *req)
{
    const nexar_bulk_ops *ops = atomic_load_explicit(&link->ops, memory_order_relaxed);
    uint8_t head[NX_WAY_PROMISE];
    nexar_bulk_message m = {.size = sizeof(m), .head = head, .must_copy = 1};
    nexar_status st;

    nx_lock(&link->lock);
    req->kept = (struct nx_kept){.way = link, .req = req, .number = ++link->promises};
    nx_list_push_back(&link->promised, &req->kept.link);
    m.head_nbytes = put_head(req, req->kept.number, head);
    st = ops->send(atomic_load_explicit(&link->ops_self, memory_order_relaxed), &m, NULL, NULL);
    if (st != NEXAR_OK)
        nx_list_remove(&req->kept.link);
    nx_unlock(&link->lock);
    return st == NEXAR_OK ? NEXAR_EAGAIN : st;
}

nexar_status nx_carry_go(nexar_link *link, uint64_t number)
{
    struct nx_send_req *req = NULL;
    bool sure = atomic_load(&link->ready) && (atomic_load(&link->ops)->flags & NEXAR_BULK_SURE) != 0;
    nexar_status st;

    nx_lock(&link->lock);
    nx_list_for_each_safe(pos, tmp, &link->promised)
    {
        struct nx_kept *kept = nx_container_of(pos, struct nx_kept, link);

        if (kept->number == number) {
            req = kept->req;
            nx_list_remove(pos);
            break;
        }
    }
    nx_unlock(&link->lock);
    if (req == NULL)
        return nx_fail(NEXAR_EPROTO, "it asked for what was not promised");
    if (!atomic_load(&link->ready))
        st = NEXAR_EPEER;
    else
        st = sure ? send_sure(link, req, false, number | NX_WAY_DATA)
                  : send_kept(link, req, false, number | NX_WAY_DATA);
    if (st == NEXAR_OK)
        nx_send_landed(req, NEXAR_OK);
    if (st == NEXAR_OK || st == NEXAR_EAGAIN)
        return NEXAR_OK;
    /* The way is about to break: then it goes by QUIC. */
    nx_lock(&link->lock);
    req->kept = (struct nx_kept){.way = link, .req = req, .number = number};
    nx_list_push_back(&link->promised, &req->kept.link);
    nx_unlock(&link->lock);
    return nx_fail(NEXAR_ENOMEM, "what was promised could not be sent");
}

bool nx_carry_ask(nexar_link *link, uint64_t number)
{
    const nexar_bulk_ops *ops = atomic_load(&link->ops);
    uint8_t head[NX_WAY_ASKS];
    nexar_bulk_message m = {.size = sizeof(m), .head = head, .head_nbytes = sizeof(head), .must_copy = 1};

    if (!atomic_load(&link->ready))
        return false;
    nx_store64(head, number);
    nx_store64(head + 8, NX_WAY_GO);
    return ops->send(atomic_load(&link->ops_self), &m, NULL, NULL) == NEXAR_OK;
}

/* A link that is ready stays attached until nx_link_release. */
static bool hold_link(nexar_link *link)
{
    if (!atomic_load_explicit(&link->ready, memory_order_relaxed))
        return false;
    atomic_fetch_add(&link->users, 1);
    if (atomic_load(&link->ready))
        return true;
    atomic_fetch_sub(&link->users, 1);
    return false;
}

static void release_link(nexar_link *link)
{
    atomic_fetch_sub_explicit(&link->users, 1, memory_order_release);
}

/* `link` is held. */
static uint64_t backlog_of(nexar_link *link)
{
    const nexar_bulk_ops *ops = atomic_load_explicit(&link->ops, memory_order_relaxed);

    return ops->backlog(atomic_load_explicit(&link->ops_self, memory_order_relaxed));
}

/* `link` is held. */
static nexar_status send_by(nexar_link *link, struct nx_send_req *req, bool copy)
{
    const nexar_bulk_ops *ops = atomic_load_explicit(&link->ops, memory_order_relaxed);
    struct nx_way_stats *stats = &link->way->stats;
    uint64_t nbytes = req->payload_len; /* `req` may be gone as soon as it is on its way */
    nexar_conn *conn = link->conn;
    nexar_status st;

    if ((ops->max_bytes != 0 && nbytes > ops->max_bytes) ||
        ((ops->flags & NEXAR_BULK_TAGGED) == 0 && req->head.lane != NX_LANE_RAW))
        return NEXAR_ENOTSUP;
    st = nx_send_encode(req, true);
    if (st != NEXAR_OK)
        return st;
    if (!copy) {
        req->conn = conn;
        nx_conn_hold(conn);
    }
    if (is_promised(req, copy))
        st = promise(link, req);
    else
        st = (ops->flags & NEXAR_BULK_SURE) ? send_sure(link, req, copy, 0) : send_kept(link, req, copy, 0);
    if (st == NEXAR_OK && !copy)
        nx_conn_drop(conn);
    if (st == NEXAR_OK || st == NEXAR_EAGAIN) {
        atomic_fetch_add_explicit(&conn->messages, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&stats->messages_sent, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&stats->bytes_sent, nbytes, memory_order_relaxed);
    } else if (!copy) {
        nx_conn_drop(conn);
    }
    return st;
}

nexar_status nx_carry(nexar_conn *conn, struct nx_send_req *req, bool copy)
{
    nexar_status st;

    if (req->prefix_len != 0)
        return NEXAR_ENOTSUP; /* framed messages are few, and QUIC's */
    for (uint32_t i = 0; i < conn->link_count; i++) {
        nexar_link *link = &conn->links[i];

        if (!hold_link(link))
            continue;
        st = send_by(link, req, copy);
        release_link(link);
        if (st == NEXAR_OK || st == NEXAR_EAGAIN)
            return st;
    }
    return NEXAR_ENOTSUP;
}

bool nx_carry_now(struct nx_peer *peer, struct nx_send_req *req, uint64_t backlog_max)
{
    nexar_link *link;
    bool sent = false;

    if (atomic_load_explicit(&peer->sure, memory_order_relaxed) == NULL)
        return false;
    atomic_fetch_add(&peer->sure_users, 1);
    link = atomic_load(&peer->sure);
    if (link != NULL && backlog_of(link) <= backlog_max)
        sent = send_by(link, req, true) == NEXAR_OK;
    atomic_fetch_sub_explicit(&peer->sure_users, 1, memory_order_release);
    return sent;
}

uint64_t nx_carry_backlog(nexar_conn *conn)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < conn->link_count; i++) {
        nexar_link *link = &conn->links[i];

        if (!hold_link(link))
            continue;
        bytes += backlog_of(link);
        release_link(link);
    }
    return bytes;
}
