/* coll/broadcast.c - from the root to all: a binomial tree, or scatter and all-gather.
 *
 * binomial: ceil(log2 n) rounds of S; the root sends S that often.  For small vectors and few ranks.
 * scatter: the root deals out chunks along the same tree, then the chunks go round the ring, each rank getting those
 * that it lacks; log2 n + n - 1 rounds per lap of n segments, but no rank sends more than about 2 S.  For large
 * vectors.
 * Pure; see build.h. */
#include "coll/tree.h"

void nx_build_broadcast_binomial(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t place = nx_place_of(shape);
    uint32_t size = nx_subtree(place, n);
    struct nx_slice all = nx_slice(NX_BUF_RECV, nx_whole(shape));
    int32_t have = NX_NONE;

    if (place != 0)
        have = nx_sched_recv(s, nx_rank_at(shape, place - size), 0, all, NX_NONE, NX_NONE);
    for (uint32_t mask = size / 2; mask != 0; mask /= 2)
        if (mask < n - place)
            nx_sched_send(s, nx_rank_at(shape, place + mask), 0, all, have, NX_NONE);
}

/* The chunks that a place has after the scatter are those of its subtree. */
static bool scattered_to(uint32_t place, uint32_t chunk, uint32_t n)
{
    return chunk >= place && chunk < nx_subtree_end(place, n);
}

static void add_lap(struct nx_sched *s, const struct nx_shape *shape, struct nx_range range, uint32_t tag,
                    int32_t start)
{
    uint32_t n = shape->n;
    uint32_t place = nx_place_of(shape);
    uint32_t next = nx_ring_up(place, n, 1);
    uint32_t size = nx_subtree(place, n);
    int32_t have = start;
    int32_t got;

    if (place != 0)
        have =
            nx_sched_recv(s, nx_rank_at(shape, place - size), tag,
                          nx_slice(NX_BUF_RECV, nx_chunks(range, n, place, nx_subtree_end(place, n))), start, NX_NONE);
    for (uint32_t mask = size / 2; mask != 0; mask /= 2)
        if (mask < n - place) {
            uint32_t child = place + mask;
            struct nx_range part = nx_chunks(range, n, child, nx_subtree_end(child, n));

            nx_sched_send(s, nx_rank_at(shape, child), tag, nx_slice(NX_BUF_RECV, part), have, NX_NONE);
        }
    got = have;
    for (uint32_t r = 0; r < n - 1; r++) {
        uint32_t out = nx_ring_down(place, n, r);
        uint32_t in = nx_ring_down(place, n, r + 1);

        if (!scattered_to(next, out, n))
            nx_sched_send(s, nx_rank_at(shape, next), tag + 1 + r, nx_slice(NX_BUF_RECV, nx_chunk(range, n, out)), got,
                          NX_NONE);
        got = have;
        if (!scattered_to(place, in, n))
            got = nx_sched_recv(s, nx_ring_down(shape->rank, n, 1), tag + 1 + r,
                                nx_slice(NX_BUF_RECV, nx_chunk(range, n, in)), start, NX_NONE);
    }
}

void nx_build_broadcast_scatter(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t width = nx_mul_capped(shape->segment, shape->n);
    int32_t ends[NX_WINDOW] = {NX_NONE, NX_NONE, NX_NONE, NX_NONE};
    size_t lap = 0;

    if (shape->n == 1)
        return;
    do {
        struct nx_range range = nx_piece(nx_whole(shape), lap * width, width);
        int32_t *end = &ends[lap % NX_WINDOW];

        add_lap(s, shape, range, (uint32_t)lap * shape->n, *end);
        *end = (int32_t)s->count - 1;
        lap++;
    } while (lap * width < shape->count && s->failure == NULL);
}
