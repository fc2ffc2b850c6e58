/* bulk/tcp_send.c - messages that leave: at once, from the thread that sends; what the kernel does not take waits.
 *
 * Owner: the half's lock.  Small messages are copied together and leave with one call; large ones go from the user's
 * memory.  The lock is held across the system call and the sealing: records of one connection must leave in their
 * order, and a connection of OpenSSL is used by one thread at a time.  It resends nothing. */
#include "bulk/tcp.h"

#include "base/mem.h"
#include "base/slab.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

enum {
    ENTRIES = 32,        /* of one write */
    WRITE_MAX = 1 << 20, /* bytes of one write */
    ROUND_MAX = 2 << 20, /* bytes after which others have their turn */
};

static struct nx_slab slab = NX_SLAB_INIT(struct nx_tcp_message, 128);

static void free_message(struct nx_tcp_message *m)
{
    if (m->large)
        nx_free(m);
    else
        nx_slab_put(&slab, m);
}

/* ---- lists of memory ---- */

/* (i, at) is a place in a list; moves it on by `n` bytes, which are there. */
static void skip(const nexar_iov *iov, uint32_t *i, size_t *at, uint64_t n)
{
    while (n > 0) {
        size_t here = iov[*i].nbytes - *at;

        if (n < here) {
            *at += (size_t)n;
            return;
        }
        n -= here;
        (*i)++;
        *at = 0;
    }
}

static void copy(uint8_t *to, const nexar_iov *iov, uint32_t n)
{
    for (uint32_t i = 0; i < n; to += iov[i++].nbytes) {
        if (iov[i].nbytes != 0)
            memcpy(to, iov[i].base, iov[i].nbytes);
    }
}

/* ---- frames into a connection ---- */

static bool has_room(struct nx_tcp_sock *s, size_t payload)
{
    if (s->message != NULL)
        return false; /* what is gathered goes before its payload */
    if (s->out_at != 0) {
        memmove(s->out, s->out + s->out_at, s->out_end - s->out_at);
        s->out_end -= s->out_at;
        s->out_at = 0;
    }
    return NX_TCP_OUT - s->out_end >= NX_TCP_FRAME_MAX + payload;
}

static void finish(struct nx_tcp_half *h, struct nx_tcp_message *m)
{
    if (m->own == NX_TCP_MINE)
        m->own = NX_TCP_MINE_LEFT;
    else if (m->done == NULL)
        free_message(m);
    else
        nx_list_push_back(&h->finished, &m->link);
}

/* The next frame of the queue, if there is room for it. */
static bool load(struct nx_tcp_half *h, struct nx_tcp_sock *s)
{
    struct nx_list *first = h->queue.next;
    struct nx_tcp_message *m = nx_container_of(first, struct nx_tcp_message, link);
    bool part, small;
    struct nx_tcp_frame frame;
    uint64_t len;

    if (first == &h->queue || !has_room(s, NX_TCP_SMALL))
        return false;
    part = h->streams > 1 && m->total > NX_TCP_PIECE;
    small = m->total <= NX_TCP_SMALL;
    len = part && m->total - m->begun > NX_TCP_PIECE ? NX_TCP_PIECE : m->total - m->begun;
    frame = (struct nx_tcp_frame){.kind = part ? NX_TCP_PART : NX_TCP_MESSAGE,
                                  .head_nbytes = m->head_nbytes,
                                  .seq = m->seq,
                                  .total = m->total,
                                  .offset = m->begun,
                                  .head = m->head};
    s->out_end += nx_tcp_frame_write(s->out + s->out_end, &frame);
    if (small) {
        copy(s->out + s->out_end, m->iov, m->iov_count);
        s->out_end += (size_t)len;
        m->left = 0;
    } else {
        s->message = m;
        s->piece_left = len;
        s->i = m->i;
        s->at = m->at;
    }
    if (m->begun != 0)
        atomic_fetch_add_explicit(&h->backlog, NX_TCP_FRAME, memory_order_relaxed);
    m->begun += len;
    if (m->begun == m->total)
        nx_list_remove(&m->link);
    else
        skip(m->iov, &m->i, &m->at, len);
    if (small)
        finish(h, m);
    return true;
}

static int gather(const struct nx_tcp_sock *s, struct iovec *iov)
{
    uint64_t left = s->message == NULL ? 0 : s->piece_left;
    uint64_t room = WRITE_MAX;
    size_t at = s->at;
    int n = 0;

    if (s->out_end != s->out_at)
        iov[n++] = (struct iovec){.iov_base = s->out + s->out_at, .iov_len = s->out_end - s->out_at};
    for (uint32_t i = s->i; left > 0 && room > 0 && n < ENTRIES; i++, at = 0) {
        const nexar_iov *from = &s->message->iov[i];
        uint64_t len = from->nbytes - at < left ? from->nbytes - at : left;

        len = len < room ? len : room;
        if (len != 0)
            iov[n++] = (struct iovec){.iov_base = (uint8_t *)from->base + at, .iov_len = (size_t)len};
        left -= len;
        room -= len;
        if (len != from->nbytes - at)
            break;
    }
    return n;
}

/* That many bytes of what was gathered have been taken. */
static void advance(struct nx_tcp_half *h, struct nx_tcp_sock *s, size_t n)
{
    struct nx_tcp_message *m = s->message;
    size_t own = n < s->out_end - s->out_at ? n : s->out_end - s->out_at;

    atomic_fetch_sub_explicit(&h->backlog, n, memory_order_relaxed);
    s->out_at += own;
    if (s->out_at == s->out_end)
        s->out_at = s->out_end = 0;
    n -= own;
    if (m == NULL)
        return;
    m->left -= n;
    s->piece_left -= n;
    if (s->piece_left != 0) {
        skip(m->iov, &s->i, &s->at, n);
        return;
    }
    s->message = NULL;
    if (m->left == 0)
        finish(h, m);
}

static void broke(struct nx_tcp_half *h, struct nx_tcp_sock *s)
{
    s->full = true; /* nothing more is tried */
    if (!h->broken)
        snprintf(h->broken_why, sizeof(h->broken_why), "%s", nexar_last_error());
    h->broken = true;
}

/* With the lock.  True if there is more to do at once. */
static bool push(struct nx_tcp_half *h, struct nx_tcp_sock *s)
{
    struct iovec iov[ENTRIES];
    size_t round = 0;

    while (!s->full && round < ROUND_MAX) {
        ssize_t taken;
        int n, flushed;

        while (load(h, s))
            ;
        n = gather(s, iov);
        taken = n == 0 ? 0 : nx_tcp_sock_write(s, iov, n);
        if (taken > 0) {
            advance(h, s, (size_t)taken);
            round += (size_t)taken;
            continue;
        }
        flushed = taken < 0 ? -1 : nx_tcp_sock_flush(s);
        if (flushed < 0)
            broke(h, s);
        else if (n == 0 && flushed == 1)
            return false;
        else if (flushed == 0 || s->tls == NULL)
            s->full = true;
    }
    return !s->full;
}

static bool push_all(struct nx_tcp_half *h)
{
    bool more = false;

    for (uint32_t i = 0; i < h->streams; i++)
        more = push(h, h->sock[i]) || more;
    return more;
}

/* ---- sending ---- */

/* A connection into which it can be copied at once; one that takes it, if there is one. */
static struct nx_tcp_sock *place(struct nx_tcp_half *h, const nexar_bulk_message *m)
{
    struct nx_tcp_sock *found = NULL;

    if (m->nbytes > NX_TCP_SMALL || !nx_list_empty(&h->queue))
        return NULL;
    for (uint32_t i = 0; i < h->streams && (found == NULL || found->full); i++) {
        if ((found == NULL || !h->sock[i]->full) && has_room(h->sock[i], (size_t)m->nbytes))
            found = h->sock[i];
    }
    return found;
}

static bool send_small(struct nx_tcp_half *h, struct nx_tcp_sock *s, const nexar_bulk_message *m)
{
    struct nx_tcp_frame frame = {
        .kind = NX_TCP_MESSAGE, .head_nbytes = m->head_nbytes, .seq = h->seq++, .total = m->nbytes, .head = m->head};
    size_t n = nx_tcp_frame_write(s->out + s->out_end, &frame);

    copy(s->out + s->out_end + n, m->iov, m->n);
    n += (size_t)m->nbytes;
    s->out_end += n;
    atomic_fetch_add_explicit(&h->backlog, n, memory_order_relaxed);
    return push(h, s);
}

static struct nx_tcp_message *new_message(const nexar_bulk_message *m, nexar_bulk_done done, void *arg)
{
    bool own = m->must_copy != 0;
    size_t list = own || m->n <= 4 ? 0 : m->n * sizeof(nexar_iov);
    bool large = own || list != 0;
    struct nx_tcp_message *out =
        large ? nx_alloc(sizeof(*out) + list + (own ? (size_t)m->nbytes : 0)) : nx_slab_get(&slab);

    if (out == NULL)
        return NULL;
    *out = (struct nx_tcp_message){.done = done,
                                   .arg = arg,
                                   .head_nbytes = m->head_nbytes,
                                   .total = m->nbytes,
                                   .left = m->nbytes,
                                   .large = large,
                                   .own = NX_TCP_MINE,
                                   .iov_count = own ? 1 : m->n};
    memcpy(out->head, m->head, m->head_nbytes);
    out->iov = list != 0 ? (nexar_iov *)(out + 1) : out->few;
    if (own) {
        out->done = NULL;
        out->few[0] = (nexar_iov){.base = out + 1, .nbytes = (size_t)m->nbytes};
        copy((uint8_t *)(out + 1), m->iov, m->n);
    } else if (m->n != 0) {
        memcpy(out->iov, m->iov, m->n * sizeof(nexar_iov));
    }
    return out;
}

nexar_status nx_tcp_send(void *arg, const nexar_bulk_message *m, nexar_bulk_done done, void *done_arg)
{
    struct nx_tcp_half *h = arg;
    struct nx_tcp_message *out = NULL;
    struct nx_tcp_sock *s;
    nexar_status st = NEXAR_OK;
    bool more;

    if (atomic_load_explicit(&h->failed, memory_order_relaxed))
        return NEXAR_EPEER;
    nx_lock(&h->lock);
    if (h->shut || h->broken) {
        nx_unlock(&h->lock);
        return NEXAR_EPEER;
    }
    s = place(h, m);
    if (s != NULL) {
        more = send_small(h, s, m) || s->full;
    } else {
        out = new_message(m, done, done_arg);
        if (out == NULL) {
            nx_unlock(&h->lock);
            return NEXAR_ENOMEM;
        }
        out->seq = h->seq++;
        nx_list_push_back(&h->queue, &out->link);
        atomic_fetch_add_explicit(&h->backlog, m->nbytes + NX_TCP_FRAME + m->head_nbytes, memory_order_relaxed);
        more = push_all(h) || out->own == NX_TCP_MINE;
        if (out->own == NX_TCP_MINE) {
            out->own = NX_TCP_OTHERS;
            st = out->done == NULL ? NEXAR_OK : NEXAR_EAGAIN;
        } else {
            free_message(out);
        }
    }
    more = more || !nx_list_empty(&h->finished) || h->broken;
    nx_unlock(&h->lock);
    if (more)
        h->self->host->job_post(h->job);
    return st;
}

uint64_t nx_tcp_backlog(void *half)
{
    return atomic_load_explicit(&((struct nx_tcp_half *)half)->backlog, memory_order_relaxed);
}

/* ---- the engine's part ---- */

void nx_tcp_pump(struct nx_tcp_half *h)
{
    struct nx_list done, *pos;
    bool more;

    nx_list_init(&done);
    nx_lock(&h->lock);
    more = push_all(h);
    nx_list_splice(&done, &h->finished);
    nx_unlock(&h->lock);
    nx_tcp_enter(h);
    while ((pos = nx_list_pop(&done)) != NULL) {
        struct nx_tcp_message *m = nx_container_of(pos, struct nx_tcp_message, link);

        if (!h->detached) /* then the library has ended it */
            m->done(m->arg, NEXAR_OK);
        free_message(m);
    }
    for (uint32_t i = 0; i < h->streams && !h->detached; i++)
        nx_tcp_set_events(h->sock[i]);
    if (more && !h->detached)
        h->self->host->job_post(h->job);
    nx_tcp_leave(h);
}

static void drop(struct nx_list *list)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(list)) != NULL)
        free_message(nx_container_of(pos, struct nx_tcp_message, link));
}

void nx_tcp_send_drop(struct nx_tcp_half *h)
{
    for (uint32_t i = 0; i < NX_TCP_STREAMS_MAX; i++) {
        struct nx_tcp_sock *s = h->sock[i];

        /* One whose last piece was begun is in no list. */
        if (s == NULL || s->message == NULL)
            continue;
        for (uint32_t k = i + 1; k < NX_TCP_STREAMS_MAX; k++) {
            if (h->sock[k] != NULL && h->sock[k]->message == s->message)
                h->sock[k]->message = NULL;
        }
        nx_list_remove(&s->message->link);
        free_message(s->message);
        s->message = NULL;
    }
    drop(&h->queue);
    drop(&h->finished);
}
