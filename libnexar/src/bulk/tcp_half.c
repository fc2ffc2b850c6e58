/* bulk/tcp_half.c - one end of a link: what the two ends agree upon, its failure, its end.
 *
 * Owner: the engine.  Both ends say what they were set to; the lower rank then offers addresses, a token and a secret,
 * and the higher one dials.  It does not try again: that is the library's. */
#include "bulk/tcp.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { AGREE_S = 18, OFFER_S = 15 };

/* ---- the end ---- */

static void take_down(struct nx_tcp_half *h)
{
    struct nx_list *pos;

    nx_tcp_send_drop(h);
    while ((pos = nx_list_pop(&h->tries)) != NULL)
        nx_tcp_sock_free(nx_container_of(pos, struct nx_tcp_sock, link));
    for (uint32_t i = 0; i < NX_TCP_STREAMS_MAX; i++) {
        if (h->sock[i] == NULL)
            continue;
        if (h->orderly && h->ready && !atomic_load(&h->failed))
            nx_tcp_sock_linger(h->sock[i]);
        else
            nx_tcp_sock_free(h->sock[i]);
    }
    if (h->ready)
        h->self->socks -= h->streams;
    if (h->self->next_half == &h->link)
        h->self->next_half = h->link.next;
    nx_list_remove(&h->link);
    h->self->host->unwatch(h->job);
    nx_mutex_fini(&h->lock);
    nx_free_secret(h); /* the offer's */
}

void nx_tcp_enter(struct nx_tcp_half *h)
{
    h->depth++;
}

void nx_tcp_leave(struct nx_tcp_half *h)
{
    if (--h->depth == 0 && h->detached)
        take_down(h);
}

void nx_tcp_detach(void *half, int orderly)
{
    struct nx_tcp_half *h = half;

    nx_tcp_enter(h);
    h->detached = true;
    h->orderly = orderly != 0;
    nx_tcp_leave(h);
}

/* ---- failure ---- */

static uint32_t peer_rank(const struct nx_tcp_half *h)
{
    return h->self->host->link_rank(h->host_link);
}

static bool is_known(const struct nx_tcp_half *h)
{
    uint32_t rank = peer_rank(h);

    return (h->self->known[rank / 8] >> (rank % 8) & 1) != 0;
}

void nx_tcp_fail(struct nx_tcp_half *h, const struct nx_tcp_sock *s, bool suspect, const char *why)
{
    char text[NX_TCP_WHY];

    if (h->detached || atomic_load(&h->failed))
        return;
    snprintf(text, sizeof(text), "%s", why); /* it may be this thread's last error, or our own */
    if (s != NULL)
        snprintf(h->why, sizeof(h->why), "rank %u and rank %u, %s: %s", h->self->host->rank(h->self->node),
                 peer_rank(h), s->ends, text);
    else
        snprintf(h->why, sizeof(h->why), "rank %u and rank %u: %s", h->self->host->rank(h->self->node), peer_rank(h),
                 text);
    h->suspect = suspect;
    atomic_store(&h->failed, true);
    h->self->host->job_post(h->job);
}

static void say_failed(struct nx_tcp_half *h)
{
    const nexar_host *host = h->self->host;

    if (h->suspect && h->ready)
        host->suspect(h->host_link, h->why);
    if (h->detached)
        return;
    /* What worked once may work again. */
    if (h->ready || is_known(h))
        host->lost(h->host_link, h->why);
    else
        host->unusable(h->host_link, h->why);
}

/* A send failed.  What the peer has said before is still to be read: it may be CLOSE. */
static void look_at_broken(struct nx_tcp_half *h)
{
    char why[NX_TCP_WHY];
    bool broken, shut;

    nx_lock(&h->lock);
    broken = h->broken;
    snprintf(why, sizeof(why), "%s", h->broken_why);
    nx_unlock(&h->lock);
    if (!broken)
        return;
    nx_tcp_receive_all(h);
    nx_lock(&h->lock);
    shut = h->shut;
    nx_unlock(&h->lock);
    if (!shut)
        nx_tcp_fail(h, h->sock[0], true, why);
}

static void run_job(void *arg)
{
    struct nx_tcp_half *h = arg;

    nx_tcp_enter(h);
    if (h->ready && !atomic_load(&h->failed))
        look_at_broken(h);
    if (atomic_load(&h->failed)) {
        if (!h->detached)
            say_failed(h);
    } else if (h->ready && !h->detached) {
        nx_tcp_pump(h);
        nx_tcp_receive_all(h);
    }
    nx_tcp_leave(h);
}

void nx_tcp_look(struct nx_tcp_half *h)
{
    for (uint32_t i = 0; h->ready && i < h->streams; i++) {
        if (!h->sock[i]->closed && nx_tcp_sock_is_dead(h->sock[i]))
            nx_tcp_fail(h, h->sock[i], true, "what was sent is not acknowledged, and nothing comes");
    }
}

void nx_tcp_expire(struct nx_tcp_half *h, nx_time now)
{
    nx_tcp_tries_expire(h, now);
    if (!h->ready && now > h->deadline)
        nx_tcp_fail(h, NULL, false, h->acceptor ? "it was not dialled in time" : "the two ends did not agree in time");
}

/* ---- agreement ---- */

void nx_tcp_agreed(struct nx_tcp_half *h)
{
    struct nx_tcp *self = h->self;
    uint32_t rank = peer_rank(h);

    nx_tcp_enter(h);
    memset(h->offer.secret, 0, sizeof(h->offer.secret));
    h->ready = true;
    h->offer_until = 0;
    self->socks += h->streams;
    self->known[rank / 8] = (uint8_t)(self->known[rank / 8] | 1u << (rank % 8));
    nx_tcp_log(self, NEXAR_LOG_DEBUG, "tcp with rank %u: %s, %s, %u %s", rank, h->sock[0]->ends,
               self->tls ? "TLS" : "plain text", h->streams, h->streams == 1 ? "connection" : "connections");
    h->ops = (nexar_bulk_ops){
        .size = sizeof(h->ops), .flags = NEXAR_BULK_TAGGED, .send = nx_tcp_send, .backlog = nx_tcp_backlog};
    self->host->ready(h->host_link, &h->ops, h);
    if (!h->detached)
        nx_tcp_receive_all(h);
    nx_tcp_leave(h);
}

static nexar_status say(struct nx_tcp_half *h, const struct nx_tcp_words *words)
{
    uint8_t bytes[NX_TCP_WORDS_MAX];
    size_t n = nx_tcp_words_write(bytes, words);

    return h->self->host->tell(h->host_link, bytes, n);
}

/* Credentials of both ends, of which a context is made if there is none of these yet. */
static nexar_status get_identity(struct nx_tcp_half *h)
{
    struct nx_tcp *self = h->self;
    nexar_tls_identity id = {.size = sizeof(id)};
    nexar_status st = self->host->tls_identity(h->host_link, &id);

    if (st != NEXAR_OK)
        return st;
    if ((size_t)snprintf(h->peer_name, sizeof(h->peer_name), "%s", id.peer) >= sizeof(h->peer_name))
        return nx_fail(NEXAR_EAUTH, "the peer's name is too long");
    if (nx_tls_context_is(self->context, &id))
        return NEXAR_OK;
    nx_tls_context_free(self->context);
    return nx_tls_context_new(&id, &self->context);
}

static nexar_status make_offer(struct nx_tcp_half *h)
{
    nexar_status st;

    h->offer = (struct nx_tcp_words){.word = NX_TCP_OFFER, .tls = h->self->tls, .streams = h->streams};
    st = nx_tls_random(&h->offer.token, sizeof(h->offer.token));
    if (st == NEXAR_OK)
        st = nx_tls_random(h->offer.secret, sizeof(h->offer.secret));
    if (st == NEXAR_OK)
        st = nx_tcp_listen(h);
    if (st == NEXAR_OK)
        st = say(h, &h->offer);
    h->offer_until = nx_now() + OFFER_S * NX_S;
    return st;
}

static nexar_status on_wish(struct nx_tcp_half *h, const struct nx_tcp_words *words)
{
    struct nx_tcp *self = h->self;
    nexar_status st = NEXAR_OK;

    h->wished = true;
    if (words->tls != self->tls)
        return nx_fail(NEXAR_ECONFIG, "rank %u has NEXAR_TCP_TLS=off and rank %u has not; both must say so, or neither",
                       words->tls ? self->host->rank(self->node) : peer_rank(h),
                       words->tls ? peer_rank(h) : self->host->rank(self->node));
    h->streams = words->streams < self->streams ? words->streams : self->streams;
    if (self->tls)
        st = get_identity(h);
    return st == NEXAR_OK && h->acceptor ? make_offer(h) : st;
}

void nx_tcp_told(void *half, const void *bytes, size_t n)
{
    struct nx_tcp_half *h = half;
    struct nx_tcp_words words;
    nexar_status st = NEXAR_OK;

    if (h->detached || atomic_load(&h->failed))
        return;
    nx_tcp_enter(h);
    if (!nx_tcp_words_read(bytes, n, &words))
        st = nx_fail(NEXAR_EPROTO, "its words make no sense");
    else if (words.word == NX_TCP_WISH && !h->wished)
        st = on_wish(h, &words);
    else if (words.word == NX_TCP_OFFER && !h->acceptor && h->wished && h->offer.addresses == 0 &&
             words.tls == h->self->tls && words.streams == h->streams)
        h->offer = words;
    else
        st = nx_fail(NEXAR_EPROTO, "its words are out of turn");
    if (st != NEXAR_OK) {
        nx_tcp_fail(h, NULL, false, nexar_last_error());
    } else if (words.word == NX_TCP_OFFER) {
        h->spread = h->streams > 1 && h->offer.addresses > 1;
        nx_tcp_dial(h);
    }
    memset(words.secret, 0, sizeof(words.secret));
    nx_tcp_leave(h);
}

nexar_status nx_tcp_half_new(struct nx_tcp *self, nexar_link *link, struct nx_tcp_half **out)
{
    struct nx_tcp_half *h = nx_calloc(1, sizeof(*h));
    struct nx_tcp_words wish = {.word = NX_TCP_WISH, .tls = self->tls, .streams = self->streams};
    nexar_status st;

    *out = NULL;
    if (h == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a link by TCP");
    h->self = self;
    h->host_link = link;
    h->streams = 1;
    h->deadline = nx_now() + AGREE_S * NX_S;
    h->acceptor = self->host->rank(self->node) < peer_rank(h);
    nx_list_init(&h->tries);
    nx_list_init(&h->queue);
    nx_list_init(&h->finished);
    nx_mutex_init(&h->lock, NX_LOCK_OP);
    nx_list_push_back(&self->halves, &h->link);
    st = self->host->watch_job(self->node, run_job, h, &h->job);
    if (st == NEXAR_OK)
        st = say(h, &wish);
    if (st != NEXAR_OK) {
        take_down(h);
        return st;
    }
    nx_tcp_wake_timer(self);
    *out = h;
    return NEXAR_OK;
}
