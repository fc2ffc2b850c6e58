/* bulk/tcp_dial.c - a connection until it runs: connect, preamble, TLS, hello (tcp_hello.c); at both ends.
 *
 * Owner: the engine.  A stranger costs a descriptor and a little memory until it names a token that is valid now, and
 * one handshake then; it is known when its hello has come, which needs the offer's secret.  Nothing of a message is
 * looked at here. */
#include "bulk/tcp.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECT_S = 3,
    KNOCK_S = 5,
    SHAKE_S = 10,
    STRANGERS_MAX = 64, /* that have not named a token; one more sends the first away */
    SHAKES_MAX = 8,     /* at a time, for one offer, beside its streams */
};

static void step_failed(struct nx_tcp_sock *s, const char *why);

static void name_ends(struct nx_tcp_sock *s)
{
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_size = sizeof(own), peer_size = sizeof(peer);
    char a[NX_TCP_ADDRESS], b[NX_TCP_ADDRESS];

    (void)getsockname(s->fd, (struct sockaddr *)&own, &own_size);
    (void)getpeername(s->fd, (struct sockaddr *)&peer, &peer_size);
    nx_tcp_address_text(&own, a, sizeof(a));
    nx_tcp_address_text(&peer, b, sizeof(b));
    snprintf(s->ends, sizeof(s->ends), s->dialled ? "%s to %s" : "%s from %s", a, b);
    if (nx_tcp_same_address(&own, &peer))
        nx_tcp_sock_stay_within(s);
}

/* ---- hello ---- */

/* It runs. */
static void run(struct nx_tcp_sock *s)
{
    struct nx_tcp_half *h = s->half;

    s->in = nx_alloc(NX_TCP_IN);
    s->out = nx_alloc(NX_TCP_OUT);
    if (s->in == NULL || s->out == NULL) {
        step_failed(s, "no memory for a connection");
        return;
    }
    nx_list_remove(&s->link);
    s->stage = NX_TCP_RUNS;
    s->self->host->unwatch(s->watch); /* until all of them run */
    s->watch = NULL;
    h->sock[s->stream] = s;
    if (++h->running == h->streams)
        nx_tcp_agreed(h);
}

static void step_hello(struct nx_tcp_sock *s)
{
    ssize_t got = nx_tcp_sock_read(s, s->hello + s->hello_at, sizeof(s->hello) - s->hello_at, NULL, 0);
    nexar_status st;

    if (got < 0) {
        step_failed(s, nexar_last_error());
        return;
    }
    s->hello_at += (size_t)got;
    if (s->hello_at < sizeof(s->hello))
        return;
    st = nx_tcp_hello_judge(s);
    if (st == NEXAR_OK && !s->dialled)
        st = nx_tcp_hello_say(s);
    if (st != NEXAR_OK)
        step_failed(s, nexar_last_error());
    else
        run(s);
}

static void greet(struct nx_tcp_sock *s)
{
    s->stage = NX_TCP_GREETS;
    if (s->dialled && nx_tcp_hello_say(s) != NEXAR_OK)
        step_failed(s, nexar_last_error());
    else if (!nx_tcp_sock_watch(s, EPOLLIN))
        step_failed(s, nexar_last_error());
    else
        step_hello(s);
}

/* ---- TLS ---- */

static void step_shake(struct nx_tcp_sock *s)
{
    nexar_status st = nx_tls_handshake(s->tls);
    uint32_t events = EPOLLIN | (nx_tls_backlog(s->tls) != 0 ? (uint32_t)EPOLLOUT : 0);

    if (st == NEXAR_OK)
        greet(s);
    else if (st != NEXAR_EAGAIN || !nx_tcp_sock_watch(s, events))
        step_failed(s, nexar_last_error());
}

static void secure(struct nx_tcp_sock *s)
{
    struct nx_tcp *self = s->self;

    s->deadline = nx_now() + SHAKE_S * NX_S;
    if (!self->tls) {
        greet(s);
        return;
    }
    s->stage = NX_TCP_SHAKES;
    if (nx_tls_new(self->context, s->fd, !s->dialled, s->half->peer_name, &s->tls) != NEXAR_OK)
        step_failed(s, nexar_last_error());
    else
        step_shake(s);
}

/* ---- the one who is dialled ---- */

static struct nx_tcp_half *find_offer(struct nx_tcp *self, uint64_t token, uint8_t stream)
{
    nx_time now = nx_now();

    nx_list_for_each_safe(pos, tmp, &self->halves)
    {
        struct nx_tcp_half *h = nx_container_of(pos, struct nx_tcp_half, link);

        if (h->acceptor && !h->detached && now < h->offer_until && h->offer.token == token)
            return stream < h->streams ? h : NULL;
    }
    return NULL;
}

static uint32_t count(const struct nx_list *list)
{
    uint32_t n = 0;

    for (const struct nx_list *pos = list->next; pos != list; pos = pos->next)
        n++;
    return n;
}

static void step_knock(struct nx_tcp_sock *s)
{
    ssize_t got = recv(s->fd, s->hello + s->hello_at, NX_TCP_PREAMBLE - s->hello_at, MSG_DONTWAIT);
    struct nx_tcp_half *h;
    uint64_t token;

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        step_failed(s, "it hung up before it said anything");
        return;
    }
    s->hello_at += got < 0 ? 0 : (size_t)got;
    if (s->hello_at < NX_TCP_PREAMBLE)
        return;
    h = nx_tcp_preamble_read(s->hello, &token, &s->stream) ? find_offer(s->self, token, s->stream) : NULL;
    if (h == NULL || count(&h->tries) >= (uint32_t)SHAKES_MAX + h->streams) {
        step_failed(s, "it names no offer of ours that is open");
        return;
    }
    s->hello_at = 0;
    s->half = h;
    s->self->stranger_count--;
    nx_list_remove(&s->link);
    nx_list_push_back(&h->tries, &s->link);
    secure(s);
}

void nx_tcp_knock(struct nx_tcp *self, int fd)
{
    struct nx_tcp_sock *s = nx_tcp_sock_new(self, fd, NX_TCP_KNOCKS);

    if (s == NULL)
        return;
    name_ends(s);
    s->deadline = nx_now() + KNOCK_S * NX_S;
    nx_list_push_back(&self->strangers, &s->link);
    if (++self->stranger_count > STRANGERS_MAX)
        step_failed(nx_container_of(self->strangers.next, struct nx_tcp_sock, link), "there are too many like it");
    nx_tcp_wake_timer(self);
    if (nx_tcp_sock_watch(s, EPOLLIN))
        step_knock(s);
    else
        step_failed(s, nexar_last_error());
}

/* ---- the one who dials ---- */

static void step_connect(struct nx_tcp_sock *s)
{
    uint8_t bytes[NX_TCP_PREAMBLE];
    int error = 0;
    socklen_t size = sizeof(error);

    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        step_failed(s, strerror(error != 0 ? error : errno));
        return;
    }
    name_ends(s);
    nx_tcp_preamble_write(bytes, s->half->offer.token, s->stream);
    if (send(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof(bytes))
        step_failed(s, strerror(errno));
    else
        secure(s);
}

static nexar_status dial_one(struct nx_tcp_half *h, uint8_t stream, const char *text)
{
    struct sockaddr_storage to;
    socklen_t size;
    struct nx_tcp_sock *s;
    int fd;

    if (!nx_tcp_address_parse(text, &to, &size))
        return nx_fail(NEXAR_EPROTO, "its address makes no sense");
    fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return nx_fail(NEXAR_ESYSTEM, "no socket: %s", strerror(errno));
    s = nx_tcp_sock_new(h->self, fd, NX_TCP_CONNECTS);
    if (s == NULL)
        return NEXAR_ENOMEM;
    s->dialled = true;
    s->half = h;
    s->stream = stream;
    s->deadline = nx_now() + CONNECT_S * NX_S;
    snprintf(s->ends, sizeof(s->ends), "to %s", text);
    nx_list_push_back(&h->tries, &s->link);
    if (connect(fd, (struct sockaddr *)&to, size) != 0 && errno != EINPROGRESS)
        return nx_fail(NEXAR_EPEER, "%s", strerror(errno));
    return nx_tcp_sock_watch(s, EPOLLOUT) ? NEXAR_OK : NEXAR_ESYSTEM;
}

static void drop_tries(struct nx_tcp_half *h)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&h->tries)) != NULL)
        nx_tcp_sock_free(nx_container_of(pos, struct nx_tcp_sock, link));
}

static void next_address(struct nx_tcp_half *h)
{
    drop_tries(h);
    nx_tcp_drop_running(h);
    h->attempt++;
    h->address += !h->spread;
    h->spread = false;
}

void nx_tcp_dial(struct nx_tcp_half *h)
{
    while (h->address < h->offer.addresses) {
        nexar_status st = NEXAR_OK;

        for (uint8_t i = 0; i < h->streams && st == NEXAR_OK; i++)
            st = dial_one(h, i, h->offer.address[h->spread ? i % h->offer.addresses : h->address]);
        if (st == NEXAR_OK)
            return;
        next_address(h);
    }
    nx_tcp_fail(h, NULL, false, nexar_last_error());
}

/* ---- failure ---- */

/* Frees it.  Where it was accepted, somebody else may still come; where it was dialled, another address may do. */
static void step_failed(struct nx_tcp_sock *s, const char *why)
{
    struct nx_tcp_half *h = s->half;

    nx_tcp_log(s->self, NEXAR_LOG_DEBUG, "tcp %s: %s", s->ends, why);
    if (s->stage == NX_TCP_KNOCKS && h == NULL)
        s->self->stranger_count--;
    if (!s->dialled || (!h->spread && h->address + 1 >= h->offer.addresses)) {
        if (s->dialled)
            nx_tcp_fail(h, s, false, why);
        nx_tcp_sock_free(s);
        return;
    }
    next_address(h);
    nx_tcp_dial(h);
}

void nx_tcp_sock_step(struct nx_tcp_sock *s)
{
    if (s->half != NULL && (s->half->detached || atomic_load(&s->half->failed)))
        return;
    switch (s->stage) {
    case NX_TCP_CONNECTS:
        step_connect(s);
        break;
    case NX_TCP_KNOCKS:
        step_knock(s);
        break;
    case NX_TCP_SHAKES:
        step_shake(s);
        break;
    case NX_TCP_GREETS:
        step_hello(s);
        break;
    case NX_TCP_RUNS:
    case NX_TCP_LINGERS:
        break;
    }
}

void nx_tcp_tries_expire(struct nx_tcp_half *h, nx_time now)
{
    for (struct nx_list *pos = h->tries.next; pos != &h->tries && !atomic_load(&h->failed);) {
        struct nx_tcp_sock *s = nx_container_of(pos, struct nx_tcp_sock, link);

        pos = pos->next;
        if (now > s->deadline) {
            step_failed(s, s->stage == NX_TCP_CONNECTS ? "nobody answers" : "it takes too long");
            return; /* the list may be another one now */
        }
    }
}

void nx_tcp_strangers_expire(struct nx_tcp *self, nx_time now)
{
    nx_list_for_each_safe(pos, tmp, &self->strangers)
    {
        struct nx_tcp_sock *s = nx_container_of(pos, struct nx_tcp_sock, link);

        if (now > s->deadline)
            step_failed(s, "it does not say what it wants");
    }
}
