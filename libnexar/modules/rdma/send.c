/* send.c - frames that leave: messages up to 8 KiB are copied into them, larger ones announced.
 *
 * Owner: the half's lock; any thread sends.  A frame leaves when the peer has a buffer for it (credit) and the card has
 * read an older one (slot); what must wait is in a queue.  Frames without a message have credits of their own, so that
 * answers pass when the peer takes no messages. */
#include "rdma.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

static void push(struct nx_rdma_list *list, struct nx_rdma_out *out)
{
    out->next = NULL;
    *list->last = out;
    list->last = &out->next;
}

static struct nx_rdma_out *pop(struct nx_rdma_list *list)
{
    struct nx_rdma_out *out = list->first;

    if (out != NULL)
        list->first = out->next;
    if (list->first == NULL)
        list->last = &list->first;
    return out;
}

/* ---- frames; with the lock ---- */

static bool may_send(const struct nx_rdma_half *h)
{
    return h->slots_used < NX_RDMA_SLOTS && h->sent - h->sent_eaten < NX_RDMA_CREDITS;
}

static uint8_t *begin(struct nx_rdma_half *h, uint8_t kind, const void *head, uint32_t head_nbytes, uint32_t pieces,
                      uint64_t nbytes)
{
    uint8_t *slot = h->memory + NX_RDMA_OUT_AT + h->slot * NX_RDMA_SLOT;
    struct nx_rdma_frame frame = {.kind = kind,
                                  .head_nbytes = (uint8_t)head_nbytes,
                                  .pieces = htole16((uint16_t)pieces),
                                  .eaten = htole32(h->news_eaten),
                                  .acks_eaten = htole32(h->news_acks_eaten),
                                  .finished = htole32(h->news_finished),
                                  .nbytes = htole64(nbytes)};

    h->said_eaten = h->news_eaten;
    h->said_acks_eaten = h->news_acks_eaten;
    h->said_finished = h->news_finished;
    memcpy(slot, &frame, sizeof(frame));
    if (head_nbytes != 0)
        memcpy(slot + sizeof(frame), head, head_nbytes);
    return slot + sizeof(frame) + head_nbytes;
}

static bool end(struct nx_rdma_half *h, const uint8_t *at)
{
    uint32_t slot = h->slot;
    const uint8_t *from = h->memory + NX_RDMA_OUT_AT + slot * NX_RDMA_SLOT;

    h->slot = (slot + 1) % NX_RDMA_SLOTS;
    h->slots_used++;
    return nx_rdma_post_send(h, slot, (uint32_t)(at - from));
}

static bool send_small(struct nx_rdma_half *h, const void *head, uint32_t head_nbytes, const nexar_iov *iov, uint32_t n,
                       uint64_t nbytes)
{
    uint8_t *at = begin(h, NX_RDMA_MESSAGE, head, head_nbytes, 0, nbytes);

    for (uint32_t i = 0; i < n; at += iov[i++].nbytes) {
        if (iov[i].nbytes != 0)
            memcpy(at, iov[i].base, iov[i].nbytes);
    }
    h->sent++;
    return end(h, at);
}

static bool announce(struct nx_rdma_half *h, const struct nx_rdma_out *out)
{
    uint8_t *at = begin(h, NX_RDMA_ANNOUNCE, out->head, out->head_nbytes, out->n, out->nbytes);

    for (uint32_t i = 0; i < out->n; i++, at += sizeof(struct nx_rdma_piece)) {
        struct nx_rdma_piece piece = {.at = htole64((uintptr_t)out->iov[i].base),
                                      .nbytes = htole64(out->iov[i].nbytes),
                                      .rkey = htole32(out->mr[i]->rkey)};

        memcpy(at, &piece, sizeof(piece));
    }
    h->sent++;
    h->announces++;
    return end(h, at);
}

static void send_ack(struct nx_rdma_half *h)
{
    h->acks_sent++;
    (void)end(h, begin(h, NX_RDMA_ACK, NULL, 0, 0, 0));
}

static void acknowledge(struct nx_rdma_half *h)
{
    uint32_t acks = h->news_acks_eaten - h->said_acks_eaten;
    bool due = h->news_finished != h->said_finished || h->news_eaten - h->said_eaten >= NX_RDMA_CREDITS / 2 ||
               acks >= NX_RDMA_ACKS / 2;
    /* The last credits are for those that give back such credits: the two ends never wait for each other's. */
    uint32_t limit = acks >= NX_RDMA_ACKS / 2 ? NX_RDMA_ACKS : NX_RDMA_ACKS / 2;

    if (due && h->acks_sent - h->acks_sent_eaten < limit && h->slots_used < NX_RDMA_SLOTS)
        send_ack(h);
}

/* What waits, while it may leave. */
static void pump(struct nx_rdma_half *h)
{
    while (h->queue.first != NULL && may_send(h)) {
        struct nx_rdma_out *out = pop(&h->queue);

        if (out->large) {
            push(&h->announced, out);
            if (!announce(h, out))
                return;
            continue;
        }
        push(&h->done, out);
        atomic_fetch_sub_explicit(&h->backlog, out->nbytes, memory_order_relaxed);
        if (!send_small(h, out->head, out->head_nbytes, out->iov, out->n, out->nbytes))
            return;
    }
}

/* ---- any thread ---- */

nexar_status nx_rdma_send(void *half, const nexar_bulk_message *m, nexar_bulk_done done, void *arg)
{
    struct nx_rdma_half *h = half;
    bool large = m->nbytes > NX_RDMA_SLOT - sizeof(struct nx_rdma_frame) - m->head_nbytes;
    struct nx_rdma_out *out = NULL;
    nexar_status st = NEXAR_OK;
    bool post = false;

    if (atomic_load_explicit(&h->failed, memory_order_relaxed))
        return NEXAR_EPEER;
    if (large && (out = nx_rdma_out_new(h, m, done, arg, true)) == NULL)
        return NEXAR_ENOMEM; /* it cannot be registered, say */
    pthread_mutex_lock(&h->lock);
    if (out == NULL && h->queue.first == NULL && may_send(h)) {
        if (!send_small(h, m->head, m->head_nbytes, m->iov, m->n, m->nbytes))
            st = NEXAR_EPEER;
    } else if (out == NULL && (out = nx_rdma_out_new(h, m, done, arg, false)) == NULL) {
        st = NEXAR_ENOMEM;
    }
    if (out != NULL) {
        st = out->done == NULL ? NEXAR_OK : NEXAR_EAGAIN;
        atomic_fetch_add_explicit(&h->backlog, m->nbytes, memory_order_relaxed);
        push(&h->queue, out);
        pump(h);
        post = h->done.first != NULL;
    }
    pthread_mutex_unlock(&h->lock);
    if (post)
        h->self->host->job_post(h->job);
    return st;
}

uint64_t nx_rdma_backlog(void *half)
{
    return atomic_load_explicit(&((struct nx_rdma_half *)half)->backlog, memory_order_relaxed);
}

/* ---- the engine ---- */

void nx_rdma_prove(struct nx_rdma_half *h)
{
    pthread_mutex_lock(&h->lock);
    send_ack(h);
    pthread_mutex_unlock(&h->lock);
}

/* Moves a count of what the peer has had of us on to what it says. */
static bool move_on(uint32_t *had, uint32_t says, uint32_t sent)
{
    if (says - *had > sent - *had)
        return false;
    *had = says;
    return true;
}

bool nx_rdma_heard(struct nx_rdma_half *h, uint32_t eaten, uint32_t acks_eaten, uint32_t finished)
{
    uint32_t before;
    bool good;

    pthread_mutex_lock(&h->lock);
    before = h->announces_finished;
    good = move_on(&h->sent_eaten, eaten, h->sent) && move_on(&h->acks_sent_eaten, acks_eaten, h->acks_sent) &&
           move_on(&h->announces_finished, finished, h->announces);
    for (; good && before != h->announces_finished; before++) {
        struct nx_rdma_out *out = pop(&h->announced);

        atomic_fetch_sub_explicit(&h->backlog, out->nbytes, memory_order_relaxed);
        push(&h->done, out);
    }
    pthread_mutex_unlock(&h->lock);
    return good;
}

void nx_rdma_left(struct nx_rdma_half *h)
{
    pthread_mutex_lock(&h->lock);
    h->slots_used--;
    pthread_mutex_unlock(&h->lock);
}

void nx_rdma_flush(struct nx_rdma_half *h)
{
    struct nx_rdma_out *out, *next;

    pthread_mutex_lock(&h->lock);
    h->news_eaten = h->eaten;
    h->news_acks_eaten = h->acks_eaten;
    h->news_finished = h->finished;
    if (!nx_rdma_over(h)) {
        pump(h);
        acknowledge(h);
    }
    out = h->done.first;
    h->done.first = NULL;
    h->done.last = &h->done.first;
    pthread_mutex_unlock(&h->lock);
    for (; out != NULL; out = next) {
        nexar_bulk_done done = out->done;
        void *arg = out->arg;

        next = out->next;
        nx_rdma_out_free(h, out); /* before its owner may free the memory */
        if (done != NULL)
            done(arg, NEXAR_OK);
    }
}

void nx_rdma_send_drop(struct nx_rdma_half *h)
{
    struct nx_rdma_list *lists[] = {&h->done, &h->announced, &h->queue};
    struct nx_rdma_out *out;

    for (uint32_t i = 0; i < 3; i++) {
        while ((out = pop(lists[i])) != NULL) {
            nexar_bulk_done done = out->done;
            void *arg = out->arg;

            nx_rdma_out_free(h, out);
            if (done != NULL)
                done(arg, i == 0 ? NEXAR_OK : NEXAR_EPEER);
        }
    }
}
