/* bulk/tcp_recv.c - messages that arrive: from a connection's bytes to the host's door.
 *
 * Owner: the engine.  Payloads are read straight to where they belong if the host has such a place; no memory of the
 * host is kept from one turn to the next.  It judges no heads, and answers nobody. */
#include "bulk/tcp.h"

#include "base/status.h"

#include <string.h>

enum {
    ROUNDS = 64,          /* reads of one turn */
    DIRECT_MIN = 4096,    /* of a payload, to be read to its place */
    DIRECT_MAX = 1 << 20, /* with one read */
    WHOLE_MAX = 16 << 10, /* payloads up to this are handed in whole */
    AHEAD = 4096,         /* read behind a large payload: what follows is likely to be one more, which is not copied */
};

enum step {
    STEP_READ, /* more bytes are needed */
    STEP_ON,
    STEP_STOP, /* not now, or never again */
};

static void resume(void *arg)
{
    struct nx_tcp_half *h = arg;

    if (h->detached)
        return;
    h->stalled = false;
    nx_tcp_receive_all(h);
}

/* What the host said of an arrival. */
static enum step said(struct nx_tcp_sock *s, nexar_status st)
{
    if (st == NEXAR_OK)
        return STEP_ON;
    if (st == NEXAR_EAGAIN)
        s->half->stalled = true;
    else
        nx_tcp_fail(s->half, s, false, nexar_last_error());
    return STEP_STOP;
}

/* All of a frame has come. */
static void frame_done(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;
    nexar_arrival *arrival = h->arrival;

    s->in_frame = false;
    h->moved = true;
    if (!nx_tcp_flow_done(&h->flow, &s->frame))
        return;
    h->arrival = NULL;
    if (arrival != NULL)
        h->self->host->arrive_end(arrival);
}

static enum step on_close(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;

    if (h->streams == 1 && s->frame.seq != h->flow.seq) {
        nx_tcp_fail(h, s, false, "it said CLOSE at another message than its last");
        return STEP_STOP;
    }
    s->closed = true;
    nx_lock(&h->lock);
    h->shut = true;
    nx_unlock(&h->lock);
    return STEP_STOP;
}

/* A frame of payload, whose header and head are the `used` bytes at in_at. */
static enum step begin(struct nx_tcp_sock *s, size_t used)
{
    struct nx_tcp_half *h = s->half;
    const nexar_host *host = h->self->host;
    const struct nx_tcp_frame *f = &s->frame;
    size_t here = s->in_end - s->in_at - used;
    enum step step;

    if (f->kind == NX_TCP_MESSAGE && (f->len <= here || f->len <= WHOLE_MAX)) {
        if (f->len > here)
            return STEP_READ;
        step = said(
            s, host->arrive_whole(h->host_link, f->head, f->head_nbytes, f->head + f->head_nbytes, f->len, resume, h));
        if (step != STEP_ON)
            return step;
        s->in_at += used + (size_t)f->len;
        s->frame_left = 0;
        s->large = false;
        frame_done(s);
        return STEP_ON;
    }
    if (f->offset == 0) {
        step = said(s, host->arrive_begin(h->host_link, f->head, f->head_nbytes, f->total, 0, resume, h, &h->arrival));
        if (step != STEP_ON)
            return step;
    }
    s->in_at += used;
    s->in_frame = true;
    s->frame_left = f->len;
    s->large = true;
    return STEP_ON;
}

static enum step on_frame(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;
    size_t used;

    switch (nx_tcp_frame_read(s->in + s->in_at, s->in_end - s->in_at, &s->frame, &used)) {
    case NX_TCP_SHORT:
        return STEP_READ;
    case NX_TCP_BAD:
        nx_tcp_fail(h, s, false, "it sent bytes that are no frame");
        return STEP_STOP;
    case NX_TCP_OK:
        break;
    }
    if (s->frame.kind == NX_TCP_CLOSE)
        return on_close(s);
    if (s->frame.kind == NX_TCP_HELLO) {
        nx_tcp_fail(h, s, false, "it said hello twice");
        return STEP_STOP;
    }
    switch (nx_tcp_flow_turn(&h->flow, &s->frame, h->streams == 1)) {
    case NX_TCP_NOW:
        return begin(s, used);
    case NX_TCP_LATER:
        s->later = true;
        return STEP_STOP;
    case NX_TCP_NEVER:
        break;
    }
    nx_tcp_fail(h, s, false, "it sent a message out of turn");
    return STEP_STOP;
}

/* Bytes of a payload that are in the buffer. */
static enum step on_payload(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;
    size_t n = s->in_end - s->in_at, taken = 0;
    enum step step;

    if (n > s->frame_left)
        n = (size_t)s->frame_left;
    if (n == 0)
        return STEP_READ;
    if (h->arrival == NULL) {
        taken = n; /* there is nothing to do for it */
        step = STEP_ON;
    } else {
        step = said(s, h->self->host->arrive_write(h->arrival, s->in + s->in_at, n, &taken));
    }
    s->in_at += taken;
    s->frame_left -= taken;
    return step;
}

/* Everything that is in the buffer. */
static enum step work_off(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;
    enum step step = STEP_ON;

    while (step == STEP_ON) {
        if (s->in_frame && s->frame_left == 0)
            frame_done(s);
        else
            step = s->in_frame ? on_payload(s) : on_frame(s);
        if (h->detached || atomic_load_explicit(&h->failed, memory_order_relaxed))
            return STEP_STOP;
    }
    return step;
}

/* ---- reading ---- */

static ssize_t read_some(struct nx_tcp_sock *s, void *p, size_t n, void *more, size_t more_n, bool *drained)
{
    struct nx_tcp_half *h = s->half;
    ssize_t got;

    if (s->tls != NULL)
        nx_lock(&h->lock);
    got = nx_tcp_sock_read(s, p, n, more, more_n);
    if (s->tls != NULL)
        nx_unlock(&h->lock);
    *drained = got < (ssize_t)(n + more_n);
    return got;
}

/* To where the payload belongs; what follows it to the buffer, which is empty.  -2: the host has no such place. */
static ssize_t read_direct(struct nx_tcp_sock *s, bool *drained)
{
    const nexar_host *host = s->self->host;
    struct nx_tcp_half *h = s->half;
    uint64_t n = s->frame_left < DIRECT_MAX ? s->frame_left : DIRECT_MAX;
    void *p;
    nexar_status st = host->arrive_memory(h->arrival, &p, &n);
    uint64_t filled;
    bool last;
    ssize_t got;

    if (st == NEXAR_ENOTSUP)
        return -2;
    if (st != NEXAR_OK) {
        said(s, st);
        return 0;
    }
    last = n == s->frame_left;
    got = read_some(s, p, (size_t)n, s->in, last ? AHEAD : 0, drained);
    filled = got <= 0 ? 0 : (uint64_t)got < n ? (uint64_t)got : n;
    s->in_at = 0;
    s->in_end = got <= 0 ? 0 : (size_t)((uint64_t)got - filled);
    s->frame_left -= filled;
    host->arrive_filled(h->arrival, filled);
    return got;
}

static ssize_t fill(struct nx_tcp_sock *s, bool *drained)
{
    size_t room;
    ssize_t got = -2;

    *drained = true;
    if (s->in_at == s->in_end)
        s->in_at = s->in_end = 0;
    if (s->in_frame && s->in_end == 0 && s->frame_left >= DIRECT_MIN && s->half->arrival != NULL)
        got = read_direct(s, drained);
    if (got != -2)
        return got;
    if (s->in_at != 0) {
        memmove(s->in, s->in + s->in_at, s->in_end - s->in_at);
        s->in_end -= s->in_at;
        s->in_at = 0;
    }
    room = s->large && !s->in_frame && s->in_end < AHEAD ? AHEAD : NX_TCP_IN;
    got = read_some(s, s->in + s->in_end, room - s->in_end, NULL, 0, drained);
    if (got > 0)
        s->in_end += (size_t)got;
    return got;
}

static bool may_read(const struct nx_tcp_sock *s)
{
    const struct nx_tcp_half *h = s->half;

    return h != NULL && h->ready && !h->detached && !h->stalled && !s->later && !s->closed &&
           !atomic_load_explicit(&h->failed, memory_order_relaxed);
}

bool nx_tcp_receive(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;
    bool did = false, drained = false;
    int round = 0;

    if (!may_read(s))
        return false;
    nx_tcp_enter(h);
    for (; round < ROUNDS; round++) {
        ssize_t got;

        if ((s->in_at != s->in_end || s->in_frame) && work_off(s) == STEP_STOP)
            break;
        if (drained)
            break;
        got = fill(s, &drained);
        if (got < 0 && !h->detached)
            nx_tcp_fail(h, s, true, nexar_last_error());
        if (got <= 0 || h->detached)
            break;
        did = true;
    }
    if (round == ROUNDS && !h->detached)
        h->self->host->job_post(h->job); /* epoll does not know what is in our buffers, and OpenSSL's */
    if (!h->detached)
        nx_tcp_set_events(s);
    nx_tcp_leave(h);
    return did;
}

bool nx_tcp_receive_all(struct nx_tcp_half *h)
{
    bool did = false;

    nx_tcp_enter(h);
    do {
        h->moved = false;
        for (uint32_t i = 0; i < h->streams && h->ready && !h->detached; i++) {
            h->sock[i]->later = false;
            did = nx_tcp_receive(h->sock[i]) || did;
        }
    } while (h->moved && h->streams > 1 && !h->detached && !h->stalled);
    nx_tcp_leave(h);
    return did;
}

void nx_tcp_set_events(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;
    uint32_t events = may_read(s) ? EPOLLIN : 0;

    nx_lock(&h->lock);
    if (s->full && !h->broken && !s->closed)
        events |= EPOLLOUT;
    nx_unlock(&h->lock);
    if (events == 0) { /* else its end would be told again and again */
        h->self->host->unwatch(s->watch);
        s->watch = NULL;
    } else if (!nx_tcp_sock_watch(s, events)) {
        nx_tcp_fail(h, s, false, nexar_last_error());
    }
}
