/* recv.c - what the card says has happened, and frames that have come.
 *
 * Owner: the engine.  Counts of the other direction are taken from a frame when it comes; its message waits its turn,
 * in the buffer, while the host has no room.  Everything in a frame is the peer's word and is checked. */
#include "rdma.h"

#include <endian.h>
#include <string.h>

enum { BATCH = 16, BATCHES = 4 };

static const uint8_t *slot_at(const struct nx_rdma_half *h, uint32_t slot)
{
    return h->memory + slot * NX_RDMA_SLOT;
}

static struct nx_rdma_frame frame_at(const struct nx_rdma_half *h, uint32_t slot)
{
    struct nx_rdma_frame f;

    memcpy(&f, slot_at(h, slot), sizeof(f));
    f.pieces = le16toh(f.pieces);
    f.eaten = le32toh(f.eaten);
    f.acks_eaten = le32toh(f.acks_eaten);
    f.finished = le32toh(f.finished);
    f.nbytes = le64toh(f.nbytes);
    return f;
}

/* Whether it has the length that its header says. */
static bool is_whole(const struct nx_rdma_frame *f, uint32_t nbytes)
{
    uint64_t rest = nbytes - sizeof(*f);

    if (f->kind == NX_RDMA_ACK)
        return rest == 0 && f->head_nbytes == 0 && f->pieces == 0 && f->nbytes == 0;
    if (f->head_nbytes == 0 || f->head_nbytes > NEXAR_BULK_HEAD_MAX || f->head_nbytes > rest)
        return false;
    rest -= f->head_nbytes;
    if (f->kind == NX_RDMA_MESSAGE)
        return f->pieces == 0 && f->nbytes == rest;
    return f->kind == NX_RDMA_ANNOUNCE && f->pieces >= 1 && f->pieces <= NX_RDMA_PIECES &&
           rest == f->pieces * sizeof(struct nx_rdma_piece);
}

static void on_frame(struct nx_rdma_half *h, uint32_t slot, uint32_t nbytes)
{
    struct nx_rdma_frame f;

    if (nbytes < sizeof(f)) {
        nx_rdma_fail(h, false, "it sent a frame of %u bytes", nbytes);
        return;
    }
    f = frame_at(h, slot);
    if (!is_whole(&f, nbytes) ||
        (f.kind != NX_RDMA_ACK && (h->stage != NX_RDMA_READY || h->in_count == NX_RDMA_CREDITS))) {
        nx_rdma_fail(h, false, "it sent a frame that makes no sense");
        return;
    }
    if (!nx_rdma_heard(h, f.eaten, f.acks_eaten, f.finished)) {
        nx_rdma_fail(h, false, "it has taken more than was sent");
        return;
    }
    if (f.kind != NX_RDMA_ACK) {
        uint32_t i = (h->in_first + h->in_count++) % NX_RDMA_CREDITS;

        h->in[i].slot = slot;
        h->in[i].nbytes = nbytes;
        return;
    }
    if (nx_rdma_post_recv(h, slot))
        h->acks_eaten++;
    if (h->stage == NX_RDMA_PROVES && !nx_rdma_over(h))
        nx_rdma_proven(h);
}

static void resume(void *arg)
{
    struct nx_rdma_half *h = arg;

    if (h->detached)
        return;
    h->stalled = false;
    nx_rdma_progress(h);
}

/* Hands in the messages of the frames, in their order. */
static void hand_in(struct nx_rdma_half *h)
{
    while (h->in_count > 0 && !h->stalled && !nx_rdma_over(h)) {
        uint32_t slot = h->in[h->in_first].slot;
        struct nx_rdma_frame f = frame_at(h, slot);
        const uint8_t *head = slot_at(h, slot) + sizeof(f);
        nexar_status st;

        if (f.kind == NX_RDMA_ANNOUNCE && h->large_count == NX_RDMA_OPEN)
            return;
        if (f.kind == NX_RDMA_ANNOUNCE)
            st = nx_rdma_large_begin(h, head, f.head_nbytes, f.pieces, f.nbytes);
        else
            st = h->self->host->arrive_whole(h->host_link, head, f.head_nbytes, head + f.head_nbytes, f.nbytes, resume,
                                             h);
        if (nx_rdma_over(h))
            return;
        if (st == NEXAR_EAGAIN) {
            h->stalled = true;
            return;
        }
        if (st != NEXAR_OK) {
            nx_rdma_fail(h, false, "what it sent was refused");
            return;
        }
        h->in_first = (h->in_first + 1) % NX_RDMA_CREDITS;
        h->in_count--;
        if (nx_rdma_post_recv(h, slot))
            h->eaten++;
    }
}

static void on_completion(struct nx_rdma_half *h, const struct ibv_wc *wc)
{
    uint32_t number = (uint32_t)wc->wr_id;

    if (wc->status != IBV_WC_SUCCESS) {
        bool silent = wc->status == IBV_WC_RETRY_EXC_ERR || wc->status == IBV_WC_RNR_RETRY_EXC_ERR;

        nx_rdma_fail(h, silent, "%s: %s", h->device->name, h->self->v->wc_status_str(wc->status));
        return;
    }
    switch (wc->wr_id >> 32) {
    case NX_RDMA_ID_RECV:
        on_frame(h, number, wc->byte_len);
        break;
    case NX_RDMA_ID_SEND:
        nx_rdma_left(h);
        break;
    default:
        nx_rdma_read_done(h, number);
        break;
    }
}

/* True if there was something. */
static bool take_completions(struct nx_rdma_half *h)
{
    struct ibv_wc wc[BATCH];
    int n = ibv_poll_cq(h->cq, BATCH, wc);

    if (n < 0)
        nx_rdma_fail(h, false, "%s: its completions cannot be read", h->device->name);
    for (int i = 0; i < n && !nx_rdma_over(h); i++)
        on_completion(h, &wc[i]);
    return n > 0;
}

/* One round: what has come is handed in, what can be read is read, and the peer is told. */
static bool work(struct nx_rdma_half *h)
{
    bool did = false;
    uint32_t batches = 0;

    while (batches < BATCHES && !nx_rdma_over(h) && take_completions(h)) {
        batches++;
        did = true;
    }
    if (!nx_rdma_over(h))
        hand_in(h);
    if (!nx_rdma_over(h))
        nx_rdma_large_work(h);
    if (!nx_rdma_over(h))
        nx_rdma_flush(h);
    if (batches == BATCHES && !nx_rdma_over(h))
        h->self->host->job_post(h->job);
    return did;
}

bool nx_rdma_progress(struct nx_rdma_half *h)
{
    bool did = false;

    if (h->busy || h->stage < NX_RDMA_PROVES) {
        h->again = true; /* what has called is called by it */
        return false;
    }
    nx_rdma_enter(h);
    h->busy = true;
    do {
        h->again = false;
        did = work(h) || did;
    } while (h->again && !nx_rdma_over(h));
    h->busy = false;
    nx_rdma_leave(h);
    return did;
}
