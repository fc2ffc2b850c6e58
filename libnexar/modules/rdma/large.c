/* large.c - large messages: announced by their sender, and read from its memory by RDMA READ.
 *
 * Owner: the engine.  Messages are read one after the other, several reads under way; they go straight to the receive's
 * memory, registered for this read, or through a buffer of ours if there is no such memory or they are short.  Reads of
 * one queue pair end in their order. */
#include "rdma.h"

#include <endian.h>
#include <string.h>

static void resume(void *arg)
{
    struct nx_rdma_large *l = arg;
    struct nx_rdma_half *h = l->half;

    if (h->detached)
        return;
    if (l->begun)
        l->held = false;
    else
        h->stalled = false;
    nx_rdma_progress(h);
}

static bool read_pieces(struct nx_rdma_large *l, const uint8_t *at, uint32_t n, uint64_t nbytes)
{
    uint64_t left = nbytes;

    for (uint32_t i = 0; i < n; i++) {
        struct nx_rdma_piece *p = &l->piece[i];

        memcpy(p, at + i * sizeof(*p), sizeof(*p));
        p->at = le64toh(p->at);
        p->nbytes = le64toh(p->nbytes);
        p->rkey = le32toh(p->rkey);
        if (p->zero != 0 || p->nbytes == 0 || p->nbytes > left || p->at + p->nbytes < p->at)
            return false;
        left -= p->nbytes;
    }
    return left == 0;
}

nexar_status nx_rdma_large_begin(struct nx_rdma_half *h, const uint8_t *head, uint32_t head_nbytes, uint32_t pieces,
                                 uint64_t nbytes)
{
    struct nx_rdma_large *l = &h->large[(h->large_first + h->large_count) % NX_RDMA_OPEN];
    nexar_arrival *arrival = NULL;
    nexar_status st;

    *l = (struct nx_rdma_large){.half = h, .nbytes = nbytes, .n = pieces};
    if (!read_pieces(l, head + head_nbytes, pieces, nbytes))
        return NEXAR_EPROTO;
    st = h->self->host->arrive_begin(h->host_link, head, head_nbytes, nbytes, 0, resume, l, &arrival);
    if (st != NEXAR_OK || nx_rdma_over(h))
        return st;
    l->begun = true;
    l->arrival = arrival;
    if (arrival == NULL)
        l->asked = l->arrived = nbytes; /* nobody needs it */
    h->large_count++;
    return NEXAR_OK;
}

/* ---- what has been read ---- */

/* Bytes of a bounce buffer: false if some are left. */
static bool write_out(struct nx_rdma_half *h, uint32_t number)
{
    struct nx_rdma_read *r = &h->read[number];
    struct nx_rdma_large *l = r->large;
    const uint8_t *from = h->memory + NX_RDMA_BOUNCE_AT + number * NX_RDMA_BOUNCE;
    size_t taken = 0;
    nexar_status st =
        h->self->host->arrive_write(l->arrival, from + r->written, (size_t)(r->nbytes - r->written), &taken);

    if (nx_rdma_over(h))
        return false;
    r->written += (uint32_t)taken;
    l->arrived += taken;
    if (st == NEXAR_EAGAIN)
        l->held = true;
    else if (st != NEXAR_OK)
        nx_rdma_fail(h, false, "what it sent was refused");
    return r->written == r->nbytes;
}

static void filled(struct nx_rdma_half *h, struct nx_rdma_read *r)
{
    struct nx_rdma_large *l = r->large;

    nx_rdma_deregister(h, r->mr);
    r->mr = NULL;
    l->claim_read += r->nbytes;
    if (l->claim_read != l->claim_nbytes)
        return;
    l->arrived += l->claim_nbytes;
    l->claim = NULL;
    h->self->host->arrive_filled(l->arrival, l->claim_nbytes);
}

static void hand_in_reads(struct nx_rdma_half *h)
{
    while (h->read_count > 0 && h->read[h->read_first].complete && !nx_rdma_over(h)) {
        struct nx_rdma_read *r = &h->read[h->read_first];

        if (r->mr != NULL)
            filled(h, r);
        else if (r->large->held || !write_out(h, h->read_first))
            return;
        h->read_first = (h->read_first + 1) % NX_RDMA_READS;
        h->read_count--;
    }
}

static void end_whole(struct nx_rdma_half *h)
{
    while (h->large_count > 0 && !nx_rdma_over(h)) {
        struct nx_rdma_large *l = &h->large[h->large_first];
        nexar_arrival *arrival = l->arrival;

        if (l->arrived != l->nbytes)
            return;
        h->large_first = (h->large_first + 1) % NX_RDMA_OPEN;
        h->large_count--;
        h->finished++;
        h->again = true; /* there may be a place for one that waits */
        if (arrival != NULL)
            h->self->host->arrive_end(arrival);
    }
}

void nx_rdma_read_done(struct nx_rdma_half *h, uint32_t number)
{
    h->read[number].complete = true;
}

/* ---- reading ---- */

static uint32_t least(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t n = a < b ? a : b;

    return (uint32_t)(n < c ? n : c);
}

/* Asks the host for memory, if there is a use for it: false if it is not known yet. */
static bool claim(struct nx_rdma_half *h, struct nx_rdma_large *l)
{
    uint64_t n = l->nbytes - l->asked;
    void *at = NULL;
    nexar_status st;

    /* Only the next bytes can be asked for; and a few are copied quicker than their memory is registered. */
    if (l->claim != NULL || l->no_memory || l->asked != l->arrived || n <= NX_RDMA_BOUNCE)
        return true;
    n = n < NX_RDMA_CLAIM_MAX ? n : NX_RDMA_CLAIM_MAX;
    st = h->self->host->arrive_memory(l->arrival, &at, &n);
    if (st == NEXAR_OK) {
        l->claim = at;
        l->claim_nbytes = n;
        l->claim_asked = l->claim_read = 0;
    } else if (st == NEXAR_EAGAIN) {
        l->held = true;
    } else if (st != NEXAR_ENOTSUP) {
        nx_rdma_fail(h, false, "what it sent was refused");
    }
    return !l->held && !nx_rdma_over(h);
}

/* The memory that was claimed cannot be registered: what is under way comes there, the rest goes through ours. */
static void give_up_claim(struct nx_rdma_half *h, struct nx_rdma_large *l)
{
    l->no_memory = true;
    l->claim_nbytes = l->claim_asked;
    if (l->claim_read != l->claim_nbytes)
        return;
    l->arrived += l->claim_nbytes;
    l->claim = NULL;
    h->self->host->arrive_filled(l->arrival, l->claim_nbytes);
}

/* Posts the next read of a message: false if that must wait. */
static bool read_on(struct nx_rdma_half *h, struct nx_rdma_large *l)
{
    uint32_t number = (h->read_first + h->read_count) % NX_RDMA_READS;
    struct nx_rdma_read *r = &h->read[number];
    const struct nx_rdma_piece *p = &l->piece[l->i];
    uint64_t piece_left = p->nbytes - l->at;
    uint8_t *to = h->memory + NX_RDMA_BOUNCE_AT + number * NX_RDMA_BOUNCE;
    uint32_t n = least(piece_left, l->nbytes - l->asked, NX_RDMA_BOUNCE);
    struct ibv_mr *mr = NULL;

    if (l->claim != NULL) {
        if (l->claim_asked == l->claim_nbytes)
            return false;
        to = l->claim + l->claim_asked;
        n = least(piece_left, l->claim_nbytes - l->claim_asked, h->read_max);
        mr = nx_rdma_register(h, to, n, IBV_ACCESS_LOCAL_WRITE);
        if (mr == NULL) {
            give_up_claim(h, l);
            return !nx_rdma_over(h);
        }
        l->claim_asked += n;
    }
    *r = (struct nx_rdma_read){.large = l, .mr = mr, .nbytes = n};
    h->read_count++;
    if (!nx_rdma_post_read(h, number, to, mr != NULL ? mr->lkey : h->memory_mr->lkey, n, p->at + l->at, p->rkey))
        return false;
    l->asked += n;
    l->at += n;
    if (l->at == p->nbytes) {
        l->i++;
        l->at = 0;
    }
    return true;
}

/* The first message of which not all is on its way. */
static struct nx_rdma_large *next(struct nx_rdma_half *h)
{
    for (uint32_t i = 0; i < h->large_count; i++) {
        struct nx_rdma_large *l = &h->large[(h->large_first + i) % NX_RDMA_OPEN];

        if (l->asked != l->nbytes)
            return l;
    }
    return NULL;
}

void nx_rdma_large_work(struct nx_rdma_half *h)
{
    struct nx_rdma_large *l;

    hand_in_reads(h);
    if (!nx_rdma_over(h))
        end_whole(h);
    while (!nx_rdma_over(h) && h->read_count < NX_RDMA_READS && (l = next(h)) != NULL) {
        if (l->held || !claim(h, l) || !read_on(h, l))
            return;
    }
}

void nx_rdma_large_drop(struct nx_rdma_half *h)
{
    for (uint32_t i = 0; i < NX_RDMA_READS; i++)
        nx_rdma_deregister(h, h->read[i].mr);
    memset(h->read, 0, sizeof(h->read));
    h->read_count = h->large_count = 0;
}
