/* bulk/shm_link.c - messages through one pair of rings.
 *
 * Owner: any thread sends, under the link's lock; receiving, and going on with what waited for room, is the engine's.
 * It wakes the other end when something is there for it, and decides nothing about whom messages are for. */
#include "bulk/shm_link.h"

#include "base/pool.h"
#include "base/slab.h"
#include "base/status.h"

#include <string.h>

enum {
    PIECES = 6,        /* of a payload */
    AT_ONCE = 32,      /* cells of one peer, before others have a turn */
    COPIES = 16 << 20, /* bytes that wait, beyond which no more are copied to wait with them */
};

struct nx_shm_out {
    struct nx_list link;
    nexar_bulk_done done; /* NULL: the payload is in `copy` */
    void *arg;
    struct nx_buffer *copy;
    uint64_t nbytes, sent;
    bool first;
    uint32_t head_nbytes;
    uint8_t head[NX_SHM_HEAD];
    nexar_iov iov[PIECES];
};

static struct nx_slab slab = NX_SLAB_INIT(struct nx_shm_out, 64);

/* ---- out ---- */

static bool copy_payload(struct nx_shm_out *out, const nexar_bulk_message *m)
{
    out->copy = nx_buffer_get(m->nbytes);
    if (out->copy == NULL)
        return false;
    for (uint32_t i = 0; i < m->n; i++) {
        memcpy(out->copy->data + out->copy->used, m->iov[i].base, m->iov[i].nbytes);
        out->copy->used += m->iov[i].nbytes;
    }
    out->iov[0] = (nexar_iov){.base = out->copy->data, .nbytes = m->nbytes};
    return true;
}

static void finish(struct nx_shm_out *out, nexar_status status)
{
    if (out->done != NULL)
        out->done(out->arg, status);
    nx_buffer_put(out->copy);
    nx_slab_put(&slab, out);
}

/* With the lock: sends what there is room for; the rest waits for more. */
static nexar_status send_and_wait(struct nx_shm_half *h, const nexar_bulk_message *m, nexar_bulk_done done, void *arg)
{
    struct nx_shm_out *out = m->n <= PIECES ? nx_slab_get(&slab) : NULL;

    if (out == NULL)
        return NEXAR_ENOMEM;
    *out = (struct nx_shm_out){.done = done, .arg = arg, .nbytes = m->nbytes, .first = true};
    if (m->must_copy && !copy_payload(out, m)) {
        nx_slab_put(&slab, out);
        return NEXAR_ENOMEM;
    }
    if (!m->must_copy && nx_list_empty(&h->queue) &&
        nx_shm_tx_put(&h->tx, m->head, m->head_nbytes, m->iov, m->nbytes, &out->sent, &out->first)) {
        nx_slab_put(&slab, out);
        return NEXAR_OK;
    }
    out->head_nbytes = m->head_nbytes;
    memcpy(out->head, m->head, m->head_nbytes);
    if (!m->must_copy && m->n > 0)
        memcpy(out->iov, m->iov, m->n * sizeof(*m->iov));
    if (m->must_copy)
        atomic_fetch_add_explicit(&h->copied, m->nbytes, memory_order_relaxed);
    nx_list_push_back(&h->queue, &out->link);
    atomic_fetch_add_explicit(&h->queued, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->backlog, m->nbytes - out->sent, memory_order_relaxed);
    return NEXAR_EAGAIN;
}

static nexar_status send_message(void *self, const nexar_bulk_message *m, nexar_bulk_done done, void *arg)
{
    struct nx_shm_half *h = self;
    nexar_status st = NEXAR_ENOMEM;
    uint64_t sent = 0;
    bool first = true;

    if (m->head_nbytes > NX_SHM_HEAD)
        return NEXAR_EINVAL;
    nx_lock(&h->lock);
    if (nx_list_empty(&h->queue) && nx_shm_tx_fits(&h->tx, m->nbytes)) {
        nx_shm_tx_put(&h->tx, m->head, m->head_nbytes, m->iov, m->nbytes, &sent, &first);
        st = NEXAR_OK;
    } else if (!m->must_copy || atomic_load_explicit(&h->copied, memory_order_relaxed) < COPIES) {
        st = send_and_wait(h, m, done, arg);
        if (m->must_copy && st == NEXAR_EAGAIN)
            st = NEXAR_OK;
    }
    nx_unlock(&h->lock);
    if (st == NEXAR_OK || st == NEXAR_EAGAIN)
        nx_shm_wake(h->shm, UINT64_C(1) << h->index);
    return st;
}

static uint64_t backlog(void *self)
{
    struct nx_shm_half *h = self;

    return atomic_load_explicit(&h->backlog, memory_order_relaxed);
}

const nexar_bulk_ops nx_shm_ops = {
    .size = sizeof(nx_shm_ops), .flags = NEXAR_BULK_TAGGED | NEXAR_BULK_SURE, .send = send_message, .backlog = backlog};

/* With the lock: the first that waits, as far as there is room.  NULL, or the one that has left. */
static struct nx_shm_out *push_first(struct nx_shm_half *h, bool *moved)
{
    struct nx_shm_out *out = nx_container_of(h->queue.next, struct nx_shm_out, link);
    uint64_t before = out->sent;
    bool first = out->first, whole;

    whole = nx_shm_tx_put(&h->tx, out->head, out->head_nbytes, out->iov, out->nbytes, &out->sent, &out->first);
    *moved = *moved || out->sent != before || out->first != first;
    atomic_fetch_sub_explicit(&h->backlog, out->sent - before, memory_order_relaxed);
    if (!whole)
        return NULL;
    nx_list_remove(&out->link);
    if (out->copy != NULL)
        atomic_fetch_sub_explicit(&h->copied, out->nbytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&h->queued, 1, memory_order_relaxed);
    return out;
}

bool nx_shm_link_push(struct nx_shm_half *h)
{
    struct nx_shm_out *out;
    bool moved = false;

    while (atomic_load_explicit(&h->queued, memory_order_relaxed) != 0) {
        nx_lock(&h->lock);
        out = nx_list_empty(&h->queue) ? NULL : push_first(h, &moved);
        nx_unlock(&h->lock);
        if (out == NULL)
            break;
        finish(out, NEXAR_OK);
    }
    if (moved)
        nx_shm_wake(h->shm, UINT64_C(1) << h->index);
    return moved;
}

/* ---- in ---- */

static void resume(void *arg)
{
    struct nx_shm_half *h = arg;

    h->stalled = false;
}

/* The bytes of a piece, from `at` on. */
static nexar_status write_bytes(struct nx_shm_half *h, const struct nx_shm_piece *p)
{
    const nexar_host *host = h->shm->host;
    nexar_status st = NEXAR_OK;

    while (st == NEXAR_OK && h->at < p->len) {
        size_t taken;

        st = host->arrive_write(h->arrival, p->bytes + h->at, p->len - h->at, &taken);
        h->at += (uint32_t)taken;
    }
    return st;
}

static nexar_status take(struct nx_shm_half *h, const struct nx_shm_piece *p)
{
    const nexar_host *host = h->shm->host;
    nexar_status st = NEXAR_OK;

    if (p->last && h->arrival == NULL)
        return host->arrive_whole(h->link, p->head, p->head_nbytes, p->bytes, p->len, resume, h);
    if (h->arrival == NULL) {
        st = host->arrive_begin(h->link, p->head, p->head_nbytes, p->total, 0, resume, h, &h->arrival);
        if (st == NEXAR_OK && h->arrival == NULL)
            st = NEXAR_EPROTO; /* an answer has no payload */
    }
    if (st == NEXAR_OK)
        st = write_bytes(h, p);
    if (st == NEXAR_OK && p->last) {
        nexar_arrival *arrival = h->arrival;

        h->arrival = NULL;
        host->arrive_end(arrival);
    }
    return st;
}

bool nx_shm_link_receive(struct nx_shm_half *h, nexar_status *st)
{
    struct nx_shm_piece piece;
    int n = 0;

    *st = NEXAR_OK;
    while (!h->stalled && n < AT_ONCE && (*st = nx_shm_rx_look(&h->rx, &piece)) == NEXAR_OK) {
        h->stalled = true; /* `resume` may come before it returns */
        *st = take(h, &piece);
        if (*st != NEXAR_OK)
            break;
        h->stalled = false;
        h->at = 0;
        n++;
        if (nx_shm_rx_take(&h->rx, &piece))
            nx_shm_wake(h->shm, UINT64_C(1) << h->index);
    }
    if (*st == NEXAR_EAGAIN)
        *st = NEXAR_OK;
    return n > 0;
}

bool nx_shm_link_ready(struct nx_shm_half *h)
{
    bool ready = !h->stalled && nx_shm_rx_ready(&h->rx);

    if (!ready && atomic_load_explicit(&h->queued, memory_order_relaxed) != 0) {
        nx_lock(&h->lock);
        if (!nx_list_empty(&h->queue)) {
            struct nx_shm_out *out = nx_container_of(h->queue.next, struct nx_shm_out, link);

            ready = nx_shm_tx_moves(&h->tx, out->nbytes - out->sent, out->first);
        }
        nx_unlock(&h->lock);
    }
    return ready;
}

/* ---- life ---- */

void nx_shm_link_begin(struct nx_shm_half *h)
{
    const struct nx_shm_seg *seg = &h->shm->seg;

    nx_shm_rx_init(&h->rx, nx_shm_seg_ring(seg, h->index, h->shm->self), seg->layout.data);
    nx_shm_tx_init(&h->tx, nx_shm_seg_ring(seg, h->shm->self, h->index), seg->layout.data);
}

void nx_shm_link_end(struct nx_shm_half *h)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&h->queue)) != NULL) {
        struct nx_shm_out *out = nx_container_of(pos, struct nx_shm_out, link);

        finish(out, NEXAR_EPEER);
    }
    nx_mutex_fini(&h->lock);
}
