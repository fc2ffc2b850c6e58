/* coll/reduce_direct.c - reduce-scatter and gather: each rank sums its slice of the vector and sends it to the root.
 *
 * Two rounds per segment; the root receives 2 (n - 1) / n S, the others (n - 1) / n S, and all ranks share the work of
 * adding.  By rank.
 * Pure; see build.h. */
#include "coll/direct.h"

static struct nx_range chunk(const struct nx_shape *shape, uint32_t owner)
{
    return nx_chunk(nx_whole(shape), shape->n, owner);
}

static void add_segment_of_root(struct nx_direct *d)
{
    uint32_t n = d->shape->n;
    uint32_t root = d->shape->root;
    uint32_t tag = (uint32_t)(2 * d->segment);

    nx_direct_sum(d, nx_slice(NX_BUF_RECV, nx_direct_piece(d, root)), d->shape->in_place, tag, NX_NONE);
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(root, n, k);

        /* In place the sum comes to where our piece lies; if not, this keeps receives within the window. */
        nx_sched_recv(d->s, peer, tag + 1, nx_slice(NX_BUF_RECV, nx_direct_piece(d, peer)), d->begin + (int32_t)k - 1,
                      NX_NONE);
    }
}

static void add_segment(struct nx_direct *d)
{
    uint32_t tag = (uint32_t)(2 * d->segment);
    int32_t sent = d->window == 0 ? NX_NONE : d->begin - d->window + d->stride - 1; /* the sum of a window ago */
    struct nx_slice sum = {.buf = NX_BUF_SCRATCH,
                           .off = nx_direct_scratch(d) + d->segment % NX_WINDOW * d->width,
                           .count = nx_direct_piece(d, d->shape->rank).count};
    int32_t summed = nx_direct_sum(d, sum, false, tag, sent);

    nx_sched_send(d->s, d->shape->root, tag + 1, sum, summed, NX_NONE);
}

void nx_build_reduce_direct(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t longest = chunk(shape, 0).count;
    int32_t peers = (int32_t)shape->n - 1;
    bool is_root = shape->rank == shape->root;
    struct nx_direct d = {.s = s,
                          .shape = shape,
                          .owned = chunk,
                          .width = longest < shape->segment ? longest : shape->segment,
                          .stride = is_root ? 4 * peers : 3 * peers + 1};

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    do {
        nx_direct_next(&d);
        if (is_root)
            add_segment_of_root(&d);
        else
            add_segment(&d);
    } while ((d.segment + 1) * d.width < longest && s->failure == NULL);
}
