/* bulk/tcp_sock.c - one connection as bytes: plain, or in records.
 *
 * Owner: the engine; reading and writing under the half's lock, which senders take too.  It knows no frames.  No
 * TCP_USER_TIMEOUT: that would end a live peer which merely does not read. */
#include "bulk/tcp.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RETRANSMITS = 3, SILENCE_MS = 5000, LINGER_S = 1 };

static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } option[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                  {SOL_SOCKET, SO_KEEPALIVE, 1},
                  {IPPROTO_TCP, TCP_KEEPIDLE, 1},
                  {IPPROTO_TCP, TCP_KEEPINTVL, 1},
                  {IPPROTO_TCP, TCP_KEEPCNT, 4}};

    for (size_t i = 0; i < sizeof(option) / sizeof(option[0]); i++)
        (void)setsockopt(fd, option[i].level, option[i].name, &option[i].value, sizeof(int)); /* it works without */
}

void nx_tcp_sock_stay_within(struct nx_tcp_sock *s)
{
    static const char name[] = "reno"; /* there always, and for everybody */

    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name) - 1);
}

struct nx_tcp_sock *nx_tcp_sock_new(struct nx_tcp *self, int fd, enum nx_tcp_stage stage)
{
    struct nx_tcp_sock *s = nx_calloc(1, sizeof(*s));

    if (s == NULL) {
        close(fd);
        nx_fail(NEXAR_ENOMEM, "no memory for a connection");
        return NULL;
    }
    s->self = self;
    s->fd = fd;
    s->stage = stage;
    nx_list_init(&s->link);
    set_options(fd);
    return s;
}

void nx_tcp_sock_free(struct nx_tcp_sock *s)
{
    if (s == NULL)
        return;
    nx_list_remove(&s->link);
    s->self->host->unwatch(s->watch);
    nx_tls_free(s->tls);
    close(s->fd);
    nx_free(s->in);
    nx_free(s->out);
    nx_free(s);
}

bool nx_tcp_sock_watch(struct nx_tcp_sock *s, uint32_t events)
{
    const nexar_host *host = s->self->host;

    if (s->watch == NULL) {
        s->events = events;
        return host->watch_fd(s->self->node, s->fd, events, nx_tcp_sock_ready, s, &s->watch) == NEXAR_OK;
    }
    if (events == s->events)
        return true;
    s->events = events;
    return host->watch_change(s->watch, events) == NEXAR_OK;
}

/* ---- reading ---- */

static ssize_t read_plain(struct nx_tcp_sock *s, void *p, size_t n, void *more, size_t more_n)
{
    struct iovec iov[2] = {{.iov_base = p, .iov_len = n}, {.iov_base = more, .iov_len = more_n}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

    for (;;) {
        /* The kernel has less to read with one place to fill. */
        ssize_t got = more_n == 0 ? recv(s->fd, p, n, MSG_DONTWAIT) : recvmsg(s->fd, &m, MSG_DONTWAIT);

        if (got > 0)
            return got;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (got < 0 && errno == EINTR)
            continue;
        nx_fail(NEXAR_EPEER, "%s", got == 0 ? "it hung up" : strerror(errno));
        return -1;
    }
}

ssize_t nx_tcp_sock_read(struct nx_tcp_sock *s, void *p, size_t n, void *more, size_t more_n)
{
    ssize_t got, rest;

    if (s->tls == NULL)
        return read_plain(s, p, n, more, more_n);
    got = nx_tls_read(s->tls, p, n);
    if (nx_tls_backlog(s->tls) != 0 && !s->full)
        (void)nx_tls_flush(s->tls); /* its answer to a new key; an error shows when we read next */
    if (got < (ssize_t)n || more_n == 0)
        return got;
    rest = nx_tls_read(s->tls, more, more_n);
    return rest > 0 ? got + rest : got;
}

/* ---- writing ---- */

static ssize_t write_plain(struct nx_tcp_sock *s, const struct iovec *iov, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};

    for (;;) {
        ssize_t sent = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                              : sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent >= 0)
            return sent;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        if (errno == EINTR)
            continue;
        nx_fail(NEXAR_EPEER, "%s", strerror(errno));
        return -1;
    }
}

ssize_t nx_tcp_sock_write(struct nx_tcp_sock *s, const struct iovec *iov, int n)
{
    ssize_t all = 0;

    if (s->tls == NULL)
        return write_plain(s, iov, n);
    for (int i = 0; i < n; i++) {
        ssize_t sealed = nx_tls_write(s->tls, iov[i].iov_base, iov[i].iov_len);

        if (sealed < 0)
            return -1;
        all += sealed;
        if ((size_t)sealed < iov[i].iov_len)
            break;
    }
    return all;
}

int nx_tcp_sock_flush(struct nx_tcp_sock *s)
{
    return s->tls == NULL ? 1 : nx_tls_flush(s->tls);
}

/* ---- life and death ---- */

bool nx_tcp_sock_is_dead(const struct nx_tcp_sock *s)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);

    memset(&info, 0, sizeof(info));
    if (getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return false;
    return info.tcpi_unacked > 0 && info.tcpi_retransmits >= RETRANSMITS && info.tcpi_last_ack_recv > SILENCE_MS;
}

/* Says CLOSE and that no more follows, then waits for the peer's end, so that nothing that it has not read is
 * destroyed.  What cannot be said at once is not said. */
void nx_tcp_sock_linger(struct nx_tcp_sock *s)
{
    uint8_t bytes[NX_TCP_FRAME_MAX];
    struct nx_tcp_frame frame = {.kind = NX_TCP_CLOSE, .seq = s->half->seq};
    struct iovec iov = {.iov_base = bytes, .iov_len = nx_tcp_frame_write(bytes, &frame)};
    struct nx_tcp *self = s->self;

    s->half = NULL;
    if (s->out_at != s->out_end || s->message != NULL || nx_tcp_sock_write(s, &iov, 1) != (ssize_t)iov.iov_len ||
        nx_tcp_sock_flush(s) != 1 || shutdown(s->fd, SHUT_WR) != 0 || !nx_tcp_sock_watch(s, EPOLLIN)) {
        nx_tcp_sock_free(s);
        return;
    }
    s->stage = NX_TCP_LINGERS;
    s->deadline = nx_now() + LINGER_S * NX_S;
    nx_list_push_back(&self->ending, &s->link);
    nx_tcp_wake_timer(self);
}
