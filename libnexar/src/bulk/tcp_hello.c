/* bulk/tcp_hello.c - the first frame of each side of a connection: by it a dialled or accepted socket becomes that of a
 * rank.
 *
 * Owner: the engine.  It proves that whoever is there knows the secret of the offer, within this very TLS session; what
 * the certificate says is judged before, in tcp_tls.c. */
#include "bulk/tcp.h"

#include "base/bytes.h"

/* Over who says what to whom, and the TLS session, so that it is worth nothing in another one. */
static nexar_status seal_hello(const struct nx_tcp_sock *s, bool by_dialler, struct nx_tcp_hello *hello)
{
    uint8_t bytes[1 + 4 + 4 + 4 + 8 + NX_TLS_MAC] = {by_dialler};
    nexar_status st = NEXAR_OK;

    nx_store32(bytes + 1, hello->from);
    nx_store32(bytes + 5, hello->to);
    nx_store32(bytes + 9, hello->stream);
    nx_store64(bytes + 13, hello->token);
    if (s->tls != NULL)
        st = nx_tls_binding(s->tls, bytes + 21);
    if (st == NEXAR_OK && !nx_tls_mac(s->half->offer.secret, NX_TCP_SECRET, bytes, sizeof(bytes), hello->mac))
        st = nx_fail(NEXAR_ENOMEM, "no memory for a hello");
    return st;
}

nexar_status nx_tcp_hello_say(struct nx_tcp_sock *s)
{
    const struct nx_tcp_half *h = s->half;
    const nexar_host *host = s->self->host;
    struct nx_tcp_hello hello = {.from = host->rank(s->self->node),
                                 .to = host->link_rank(h->host_link),
                                 .stream = s->stream | (uint32_t)h->attempt << 8,
                                 .token = h->offer.token};
    nexar_status st = seal_hello(s, s->dialled, &hello);
    uint8_t head[NEXAR_BULK_HEAD_MAX], bytes[NX_TCP_FRAME_MAX];
    struct nx_tcp_frame frame = {.kind = NX_TCP_HELLO, .head_nbytes = sizeof(head), .head = head};
    struct iovec iov = {.iov_base = bytes};

    if (st != NEXAR_OK)
        return st;
    nx_tcp_hello_write(head, &hello);
    iov.iov_len = nx_tcp_frame_write(bytes, &frame);
    if (nx_tcp_sock_write(s, &iov, 1) != (ssize_t)iov.iov_len || nx_tcp_sock_flush(s) != 1)
        return nx_fail(NEXAR_EPEER, "it does not take a hello");
    return NEXAR_OK;
}

static nexar_status judge(const struct nx_tcp_sock *s)
{
    const struct nx_tcp_half *h = s->half;
    const nexar_host *host = s->self->host;
    struct nx_tcp_frame frame;
    struct nx_tcp_hello hello, ours;
    size_t used;

    if (nx_tcp_frame_read(s->hello, sizeof(s->hello), &frame, &used) != NX_TCP_OK || frame.kind != NX_TCP_HELLO ||
        !nx_tcp_hello_read(frame.head, &hello))
        return nx_fail(NEXAR_EPROTO, "its first words are no hello");
    if (hello.from != host->link_rank(h->host_link) || hello.to != host->rank(s->self->node) ||
        (uint8_t)hello.stream != s->stream || hello.stream >> 16 != 0 || hello.token != h->offer.token)
        return nx_fail(NEXAR_EPROTO, "its hello is for somebody else");
    ours = hello;
    if (seal_hello(s, !s->dialled, &ours) != NEXAR_OK)
        return NEXAR_ENOMEM;
    if (!nx_tls_same(ours.mac, hello.mac, sizeof(hello.mac)))
        return nx_fail(NEXAR_EAUTH, "its hello does not prove that it is the rank that was offered this");
    return NEXAR_OK;
}

void nx_tcp_drop_running(struct nx_tcp_half *h)
{
    for (uint8_t i = 0; i < h->streams; i++) {
        nx_tcp_sock_free(h->sock[i]);
        h->sock[i] = NULL;
    }
    h->running = 0;
}

/* All connections of a link are of one attempt: those of an earlier one are of no use when the next has begun. */
static nexar_status take_attempt(const struct nx_tcp_sock *s)
{
    struct nx_tcp_hello hello;
    uint8_t attempt;

    nx_tcp_hello_read(s->hello + NX_TCP_FRAME, &hello);
    attempt = (uint8_t)(hello.stream >> 8);
    if (attempt > s->half->attempt && !s->dialled) {
        nx_tcp_drop_running(s->half);
        s->half->attempt = attempt;
    }
    if (attempt != s->half->attempt || s->half->sock[s->stream] != NULL)
        return nx_fail(NEXAR_EPROTO, "its hello is of another attempt");
    return NEXAR_OK;
}

nexar_status nx_tcp_hello_judge(const struct nx_tcp_sock *s)
{
    nexar_status st = judge(s);

    return st == NEXAR_OK ? take_attempt(s) : st;
}
