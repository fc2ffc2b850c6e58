/* coll/direct.c - see direct.h.  x + y has the bits of y + x, so a sum may grow in a peer's slot until the own turn, in
 * place, or begin with x1 on rank 0, not in place: nothing is ever copied.
 * Pure; see build.h. */
#include "coll/direct.h"

void nx_direct_next(struct nx_direct *d)
{
    d->segment = d->s->count == 0 ? 0 : d->segment + 1;
    d->begin = (int32_t)d->s->count;
    d->window = d->segment < NX_WINDOW ? 0 : NX_WINDOW * d->stride;
}

/* Where a peer's piece of our slice waits to be summed. */
static struct nx_slice slot(const struct nx_direct *d, uint32_t peer)
{
    uint32_t n = d->shape->n;
    size_t place = d->segment % NX_WINDOW * (n - 1) + nx_ring_down(peer, n, d->shape->rank) - 1;

    return (struct nx_slice){
        .buf = NX_BUF_SCRATCH, .off = place * d->width, .count = nx_direct_piece(d, d->shape->rank).count};
}

static int32_t piece_received(const struct nx_direct *d, uint32_t peer)
{
    int32_t peers = (int32_t)d->shape->n - 1;

    return d->begin + peers + (int32_t)nx_ring_down(peer, d->shape->n, d->shape->rank) - 1;
}

/* Adds up our slice in the order of ranks; returns the last step. */
static int32_t add_up(const struct nx_direct *d, struct nx_slice result, bool in_place)
{
    uint32_t rank = d->shape->rank;
    uint32_t first = rank == 0 && !in_place ? 1 : 0;
    struct nx_slice own = in_place ? result : nx_slice(NX_BUF_SEND, nx_direct_piece(d, rank));
    struct nx_slice sum = in_place && rank != 0 ? slot(d, 0) : result;
    int32_t last = first == rank ? NX_NONE : piece_received(d, first);

    for (uint32_t i = 0; i < d->shape->n; i++) {
        if (i == first)
            continue;
        if (i != rank) {
            last = nx_sched_reduce(d->s, slot(d, i), sum, last, piece_received(d, i));
        } else if (in_place) {
            last = nx_sched_reduce(d->s, sum, own, last, NX_NONE);
            sum = own;
        } else {
            last = nx_sched_reduce(d->s, own, sum, last, NX_NONE);
        }
    }
    return last;
}

int32_t nx_direct_sum(const struct nx_direct *d, struct nx_slice sum, bool in_place, uint32_t tag, int32_t sum_free)
{
    uint32_t n = d->shape->n;
    uint32_t rank = d->shape->rank;
    uint32_t direct_to = in_place ? rank : rank == 0 ? 1 : 0; /* whose piece is the begin of the sum */
    int32_t peers = (int32_t)n - 1;
    int32_t moved = d->window == 0 ? NX_NONE : d->begin - d->window + 3 * peers - 1; /* the sum of a window ago */

    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);
        int32_t before = d->window == 0 ? NX_NONE : d->begin - d->window + (int32_t)k - 1;

        nx_sched_send(d->s, peer, tag, nx_slice(NX_BUF_SEND, nx_direct_piece(d, peer)), before, NX_NONE);
    }
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);

        if (peer == direct_to)
            nx_sched_recv(d->s, peer, tag, sum, moved, sum_free);
        else
            nx_sched_recv(d->s, peer, tag, slot(d, peer), moved, NX_NONE);
    }
    return add_up(d, sum, in_place);
}
