/* bulk/tcp.c - the module: TCP with mutual TLS between the ranks of two hosts.
 *
 * Owner: the engine.  It holds what a node has once: settings, credentials, deadlines, and the poll by which a blocked
 * caller reads the sockets itself.  Numbers, answers and sending again are the library's. */
#include "bulk/tcp.h"

#include "base/mem.h"
#include "bulk/bulk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    POLLED_MAX = 4, /* connections that are read in each round; of more, epoll says which have something */
    REST = 8,       /* calls after one in vain that make no system call: others look at memory between them */
    TICK_MS = 100,
    LATE_MS = 500,
};

void nx_tcp_log(struct nx_tcp *self, int level, const char *format, ...)
{
    char line[2 * NX_TCP_WHY];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    self->host->log(level, line);
}

/* ---- deadlines ---- */

/* The longest pause until something has to be looked at; 0: there is nothing. */
static nx_time pause_of(const struct nx_tcp *self)
{
    if (!nx_list_empty(&self->strangers) || !nx_list_empty(&self->ending))
        return TICK_MS * NX_MS;
    for (const struct nx_list *pos = self->halves.next; pos != &self->halves; pos = pos->next) {
        if (!nx_container_of(pos, const struct nx_tcp_half, link)->ready)
            return TICK_MS * NX_MS;
    }
    return nx_list_empty(&self->halves) ? 0 : NX_S;
}

static void set_timer(struct nx_tcp *self)
{
    nx_time pause = pause_of(self);

    self->timer_on = pause != 0;
    self->due = nx_now() + pause;
    if (pause != 0)
        self->host->timer_set(self->timer, pause);
}

void nx_tcp_wake_timer(struct nx_tcp *self)
{
    /* Never later than it was: whoever keeps coming must not keep deadlines from being looked at. */
    if (self->timer != NULL && (!self->timer_on || self->due > nx_now() + pause_of(self)))
        set_timer(self);
}

static void tick(void *arg)
{
    struct nx_tcp *self = arg;
    nx_time now = nx_now();
    bool look = now - self->looked >= NX_S - TICK_MS * NX_MS;

    if (now - self->due > LATE_MS * NX_MS) {
        set_timer(self); /* it had no core for a while: what has come meanwhile is looked at before any deadline */
        return;
    }

    nx_tcp_strangers_expire(self, now);
    nx_list_for_each_safe(pos, tmp, &self->ending)
    {
        struct nx_tcp_sock *s = nx_container_of(pos, struct nx_tcp_sock, link);

        if (now > s->deadline)
            nx_tcp_sock_free(s);
    }
    nx_list_for_each_safe(half, next, &self->halves)
    {
        struct nx_tcp_half *h = nx_container_of(half, struct nx_tcp_half, link);

        nx_tcp_expire(h, now); /* it detaches nobody: failures are said by jobs */
        if (look)
            nx_tcp_look(h);
    }
    if (look)
        self->looked = now;
    set_timer(self);
}

/* ---- reading ---- */

/* The peer has said its last, or will not within a second. */
static void linger(struct nx_tcp_sock *s)
{
    uint8_t waste[4096];
    ssize_t n;

    do
        n = recv(s->fd, waste, sizeof(waste), MSG_DONTWAIT);
    while (n > 0);
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        nx_tcp_sock_free(s);
}

void nx_tcp_sock_ready(void *arg, uint32_t events)
{
    struct nx_tcp_sock *s = arg;
    struct nx_tcp_half *h = s->half;

    if (s->stage == NX_TCP_LINGERS) {
        linger(s);
        return;
    }
    if (s->stage != NX_TCP_RUNS) {
        if (h != NULL)
            nx_tcp_enter(h);
        nx_tcp_sock_step(s);
        if (h != NULL)
            nx_tcp_leave(h);
        return;
    }
    nx_tcp_enter(h);
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0 && !h->detached) {
        nx_lock(&h->lock);
        s->full = s->full && h->broken;
        nx_unlock(&h->lock);
        nx_tcp_pump(h);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && !h->detached)
        nx_tcp_receive_all(h);
    nx_tcp_leave(h);
}

/* While a blocked caller spins, nothing but this lies between the wire and it. */
static int poll_socks(void *arg)
{
    struct nx_tcp *self = arg;
    bool did = false;

    if (self->socks > POLLED_MAX)
        return 0;
    if (self->rest != 0) {
        self->rest--;
        return 0;
    }
    for (struct nx_list *pos = self->halves.next; pos != &self->halves; pos = self->next_half) {
        struct nx_tcp_half *h = nx_container_of(pos, struct nx_tcp_half, link);

        self->next_half = pos->next;
        if (h->ready)
            did = nx_tcp_receive_all(h) || did;
    }
    self->rest = did ? 0 : REST;
    return did;
}

/* ---- life ---- */

static nexar_status read_settings(struct nx_tcp *self)
{
    const char *tls = self->host->setting("NEXAR_TCP_TLS");
    const char *streams = self->host->setting("NEXAR_TCP_STREAMS");
    char *end = NULL;
    long n = streams == NULL ? 1 : strtol(streams, &end, 10);

    self->tls = tls == NULL || strcmp(tls, "on") == 0;
    if (!self->tls && strcmp(tls, "off") != 0)
        return nx_fail(NEXAR_ECONFIG, "NEXAR_TCP_TLS is \"%s\"; on and off are allowed", tls);
    if (n < 1 || n > NX_TCP_STREAMS_MAX || (streams != NULL && (end == streams || *end != '\0')))
        return nx_fail(NEXAR_ECONFIG, "NEXAR_TCP_STREAMS is \"%s\"; 1 to %d are allowed", streams, NX_TCP_STREAMS_MAX);
    self->streams = (uint8_t)n;
    return NEXAR_OK;
}

static void close_node(void *arg)
{
    struct nx_tcp *self = arg;
    struct nx_list *pos;

    nx_tcp_listen_end(self);
    while ((pos = nx_list_pop(&self->strangers)) != NULL || (pos = nx_list_pop(&self->ending)) != NULL)
        nx_tcp_sock_free(nx_container_of(pos, struct nx_tcp_sock, link));
    self->host->unwatch(self->timer);
    self->host->unwatch(self->poll);
    nx_tls_context_free(self->context);
    nx_free(self->known);
    nx_free(self);
}

static nexar_status open_node(const nexar_host *host, nexar_node *node, void **out)
{
    struct nx_tcp *self = nx_calloc(1, sizeof(*self));
    nexar_status st;

    *out = NULL;
    if (self == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for TCP");
    self->host = host;
    self->node = node;
    nx_list_init(&self->listeners);
    nx_list_init(&self->strangers);
    nx_list_init(&self->halves);
    nx_list_init(&self->ending);
    self->known = nx_calloc(host->world_size(node) / 8 + 1, 1);
    st = self->known == NULL ? nx_fail(NEXAR_ENOMEM, "no memory for TCP") : read_settings(self);
    if (st == NEXAR_OK)
        st = host->watch_timer(node, tick, self, &self->timer);
    if (st == NEXAR_OK)
        st = host->watch_poll(node, poll_socks, self, &self->poll);
    if (st == NEXAR_OK)
        *out = self;
    else
        close_node(self);
    return st;
}

static nexar_status attach(void *self, nexar_link *link, void **half)
{
    struct nx_tcp_half *h = NULL;
    nexar_status st = nx_tcp_half_new(self, link, &h);

    *half = h;
    return st;
}

const nexar_module nx_tcp_module = {
    .size = sizeof(nx_tcp_module),
    .abi = NEXAR_MODULE_ABI,
    .name = "tcp",
    .open = open_node,
    .attach = attach,
    .told = nx_tcp_told,
    .detach = nx_tcp_detach,
    .close = close_node,
};
