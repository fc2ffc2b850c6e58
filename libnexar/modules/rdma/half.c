/* half.c - one end of a link: how the two ends come to a queue pair, its failure, its end.
 *
 * Owner: the engine.  Both ends tell their places and choose a pair of them; each makes a queue pair there and tells
 * its number; each says that it is up when it can take frames.  Who hears that sends one, and is ready when one has
 * come: so ports that do not reach each other are known before any message depends on them. */
#include "rdma.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const int64_t AGREE_NS = INT64_C(10000000000);

/* ---- the end ---- */

void nx_rdma_enter(struct nx_rdma_half *h)
{
    h->depth++;
}

void nx_rdma_leave(struct nx_rdma_half *h)
{
    if (--h->depth != 0 || !h->detached)
        return;
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void take_down(struct nx_rdma_half *h)
{
    struct nx_rdma *self = h->self;

    self->host->unwatch(h->job);
    self->host->unwatch(h->timer);
    if (self->next_half == h)
        self->next_half = h->next;
    if (h->prev != NULL)
        *h->prev = h->next;
    if (h->next != NULL)
        h->next->prev = h->prev;
    self->connected -= h->stage >= NX_RDMA_PROVES;
    nx_rdma_pair_free(h); /* first, so that the card touches none of the memory below */
    nx_rdma_large_drop(h);
    nx_rdma_send_drop(h);
}

void nx_rdma_detach(void *half, int orderly)
{
    struct nx_rdma_half *h = half;

    (void)orderly; /* what was sent has arrived, or is sent again by another way */
    nx_rdma_enter(h);
    h->detached = true;
    take_down(h);
    nx_rdma_leave(h);
}

/* ---- failure ---- */

static uint32_t peer_rank(const struct nx_rdma_half *h)
{
    return h->self->host->link_rank(h->host_link);
}

static bool is_known(const struct nx_rdma_half *h)
{
    uint32_t rank = peer_rank(h);

    return (h->self->known[rank / 8] >> (rank % 8) & 1) != 0;
}

void nx_rdma_fail(struct nx_rdma_half *h, bool suspect, const char *format, ...)
{
    va_list args;

    if (h->detached || atomic_exchange(&h->failing, true))
        return;
    va_start(args, format);
    vsnprintf(h->why, sizeof(h->why), format, args);
    va_end(args);
    h->suspect = suspect;
    atomic_store(&h->failed, true);
    h->self->host->job_post(h->job);
}

static void say_failed(struct nx_rdma_half *h)
{
    const nexar_host *host = h->self->host;

    if (h->suspect && h->stage == NX_RDMA_READY)
        host->suspect(h->host_link, h->why);
    if (h->detached)
        return;
    /* What worked once may work again. */
    if (h->stage == NX_RDMA_READY || is_known(h))
        host->lost(h->host_link, h->why);
    else
        host->unusable(h->host_link, h->why);
}

static void run_job(void *arg)
{
    struct nx_rdma_half *h = arg;

    nx_rdma_enter(h);
    if (!atomic_load(&h->failed))
        nx_rdma_progress(h);
    else if (!h->detached)
        say_failed(h);
    nx_rdma_leave(h);
}

static void too_late(void *arg)
{
    nx_rdma_fail(arg, false, "its two ends did not agree in time");
}

/* ---- agreement ---- */

static bool say(struct nx_rdma_half *h, const struct nx_rdma_words *words)
{
    uint8_t bytes[NX_RDMA_WORDS_MAX];
    size_t n = nx_rdma_words_write(bytes, words);

    if (h->self->host->tell(h->host_link, bytes, n) == NEXAR_OK)
        return true;
    nx_rdma_fail(h, false, "the other end cannot be told anything");
    return false;
}

static void on_places(struct nx_rdma_half *h, const struct nx_rdma_words *words)
{
    bool low = h->self->host->rank(h->self->node) < peer_rank(h);
    struct nx_rdma_words pair = {.word = NX_RDMA_WORD_PAIR};
    uint32_t i = 0, j = 0;
    bool found = low ? nx_rdma_choose(h->place, h->places, words->place, words->count, &i, &j)
                     : nx_rdma_choose(words->place, words->count, h->place, h->places, &j, &i);

    if (!found) {
        nx_rdma_fail(h, false, "no port of this host (%u) reaches one of that (%u)", h->places, words->count);
        return;
    }
    h->mine = h->place[i];
    h->theirs = words->place[j];
    h->device = &h->self->device[h->mine.device];
    h->read_max = h->mine.max_message < NX_RDMA_READ_MAX ? h->mine.max_message : NX_RDMA_READ_MAX;
    if (getrandom(&h->psn, sizeof(h->psn), 0) != sizeof(h->psn)) {
        nx_rdma_fail(h, false, "no random number");
        return;
    }
    h->psn &= 0xffffff;
    if (!nx_rdma_pair_new(h))
        return;
    h->stage = NX_RDMA_PAIRS;
    pair.qpn = h->qp->qp_num;
    pair.psn = h->psn;
    (void)say(h, &pair);
}

void nx_rdma_proven(struct nx_rdma_half *h)
{
    struct nx_rdma *self = h->self;
    uint32_t rank = peer_rank(h);

    h->stage = NX_RDMA_READY;
    self->known[rank / 8] = (uint8_t)(self->known[rank / 8] | 1u << (rank % 8));
    self->host->unwatch(h->timer);
    h->timer = NULL;
    nx_rdma_log(self, NEXAR_LOG_DEBUG, "rdma with rank %u: %s port %u, GID %u, packets of %u bytes", rank,
                h->device->name, h->mine.port, h->mine.index,
                128u << (h->mine.mtu < h->theirs.mtu ? h->mine.mtu : h->theirs.mtu));
    h->ops = (nexar_bulk_ops){
        .size = sizeof(h->ops), .flags = NEXAR_BULK_TAGGED, .send = nx_rdma_send, .backlog = nx_rdma_backlog};
    self->host->ready(h->host_link, &h->ops, h);
}

static void prove(struct nx_rdma_half *h)
{
    h->stage = NX_RDMA_PROVES;
    h->self->connected++;
    nx_rdma_prove(h);
    nx_rdma_progress(h);
}

void nx_rdma_told(void *half, const void *bytes, size_t n)
{
    struct nx_rdma_half *h = half;
    struct nx_rdma_words words;

    if (nx_rdma_over(h))
        return;
    nx_rdma_enter(h);
    if (!nx_rdma_words_read(bytes, n, &words)) {
        nx_rdma_fail(h, false, "its words make no sense");
    } else if (words.word == NX_RDMA_WORD_PLACES && h->stage == NX_RDMA_OFFERS) {
        on_places(h, &words);
    } else if (words.word == NX_RDMA_WORD_PAIR && h->stage == NX_RDMA_PAIRS && !h->up) {
        h->up =
            nx_rdma_pair_connect(h, words.qpn, words.psn) && say(h, &(struct nx_rdma_words){.word = NX_RDMA_WORD_UP});
    } else if (words.word == NX_RDMA_WORD_UP && h->stage == NX_RDMA_PAIRS && h->up) {
        prove(h);
    } else {
        nx_rdma_fail(h, false, "its words are out of turn");
    }
    nx_rdma_leave(h);
}

/* ---- the beginning ---- */

static void init_list(struct nx_rdma_list *list)
{
    list->last = &list->first;
}

nexar_status nx_rdma_attach(void *arg, nexar_link *link, void **half)
{
    struct nx_rdma *self = arg;
    struct nx_rdma_half *h = calloc(1, sizeof(*h));
    struct nx_rdma_words words = {.word = NX_RDMA_WORD_PLACES};
    nexar_status st;

    *half = NULL;
    if (h == NULL)
        return NEXAR_ENOMEM;
    h->self = self;
    h->host_link = link;
    init_list(&h->queue);
    init_list(&h->announced);
    init_list(&h->done);
    pthread_mutex_init(&h->lock, NULL);
    st = self->host->watch_job(self->node, run_job, h, &h->job);
    if (st == NEXAR_OK)
        st = self->host->watch_timer(self->node, too_late, h, &h->timer);
    if (st != NEXAR_OK) {
        nx_rdma_detach(h, 0);
        return st;
    }
    h->next = self->halves;
    h->prev = &self->halves;
    if (h->next != NULL)
        h->next->prev = &h->next;
    self->halves = h;
    *half = h;
    self->host->timer_set(h->timer, AGREE_NS);
    h->places = nx_rdma_places(self, link, h->place);
    if (h->places == 0)
        nx_rdma_fail(h, false, "no port of an RDMA device is active, and as the settings want it");
    memcpy(words.place, h->place, sizeof(words.place));
    words.count = (uint8_t)h->places;
    (void)say(h, &words);
    return NEXAR_OK;
}
