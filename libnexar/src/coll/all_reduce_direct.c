/* coll/all_reduce_direct.c - each rank owns a slice: it gets everyone's piece of it, sums, and sends the sum to all.
 *
 * Two rounds per segment; each rank sends and receives 2 (n - 1) / n S, as a ring does, but with 2 latencies instead of
 * 2 (n - 1).  By rank.
 * Pure; see build.h. */
#include "coll/direct.h"

static struct nx_range chunk(const struct nx_shape *shape, uint32_t owner)
{
    return nx_chunk(nx_whole(shape), shape->n, owner);
}

static void add_segment(struct nx_direct *d)
{
    struct nx_sched *s = d->s;
    uint32_t n = d->shape->n;
    uint32_t rank = d->shape->rank;
    uint32_t tag = (uint32_t)(2 * d->segment);
    struct nx_slice sum = nx_slice(NX_BUF_RECV, nx_direct_piece(d, rank));
    int32_t summed = nx_direct_sum(d, sum, d->shape->in_place, tag, NX_NONE);

    for (uint32_t k = 1; k < n; k++)
        nx_sched_send(s, nx_ring_up(rank, n, k), tag + 1, sum, summed, NX_NONE);
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);

        /* In place the sum comes to where our piece lies; if not, this keeps receives within the window. */
        nx_sched_recv(s, peer, tag + 1, nx_slice(NX_BUF_RECV, nx_direct_piece(d, peer)), d->begin + (int32_t)k - 1,
                      NX_NONE);
    }
}

void nx_build_all_reduce_direct(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t longest = chunk(shape, 0).count;
    struct nx_direct d = {.s = s,
                          .shape = shape,
                          .owned = chunk,
                          .width = longest < shape->segment ? longest : shape->segment,
                          .stride = 5 * ((int32_t)shape->n - 1)};

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    do {
        nx_direct_next(&d);
        add_segment(&d);
    } while ((d.segment + 1) * d.width < longest && s->failure == NULL);
}
