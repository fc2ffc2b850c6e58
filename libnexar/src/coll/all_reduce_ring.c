/* coll/all_reduce_ring.c - partial sums travel round the ring, then the sums do.
 *
 * 2 (n - 1) rounds of S / n each: no rank sends more than 2 (n - 1) / n S, and only to its neighbour.  Cut into laps of
 * n segments, so that the reduction of one lap overlaps the flight of the next.  Order of sums: chunk i of each lap
 * begins at rank i and goes round, ((x_i + x_i+1) + ...) + x_i-1.
 * Pure; see build.h. */
#include "coll/build.h"

/* One lap over `range`, with tags from `tag` on, not before step `start`.  Returns its last receive. */
static int32_t add_lap(struct nx_sched *s, const struct nx_shape *shape, struct nx_range range, uint32_t tag,
                       int32_t start)
{
    uint32_t n = shape->n;
    uint32_t next = nx_ring_up(shape->rank, n, 1);
    uint32_t prev = nx_ring_down(shape->rank, n, 1);
    int32_t first = (int32_t)s->count;        /* the sends of partial sums are first, first + stride, ... */
    int32_t stride = shape->in_place ? 2 : 3; /* send, receive, reduce if that is a step of its own */
    int32_t last = start;

    for (uint32_t r = 0; r < n - 1; r++) {
        struct nx_range out = nx_chunk(range, n, nx_ring_down(shape->rank, n, r));
        struct nx_range in = nx_chunk(range, n, nx_ring_down(shape->rank, n, r + 1));

        nx_sched_send(s, next, tag + r, nx_slice(r == 0 ? NX_BUF_SEND : NX_BUF_RECV, out), last, NX_NONE);
        last = nx_build_take(s, shape, prev, tag + r, in, start);
    }
    tag += n - 1;
    for (uint32_t r = 0; r < n - 1; r++) {
        struct nx_range out = nx_chunk(range, n, nx_ring_up(nx_ring_down(shape->rank, n, r), n, 1));
        struct nx_range in = nx_chunk(range, n, nx_ring_down(shape->rank, n, r));
        int32_t overwritten = r == 0 && !shape->in_place ? start : first + (int32_t)r * stride;

        nx_sched_send(s, next, tag + r, nx_slice(NX_BUF_RECV, out), last, NX_NONE);
        last = nx_sched_recv(s, prev, tag + r, nx_slice(NX_BUF_RECV, in), overwritten, NX_NONE);
    }
    return last;
}

void nx_build_all_reduce_ring(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t width = nx_mul_capped(shape->segment, shape->n);
    int32_t ends[NX_WINDOW] = {NX_NONE, NX_NONE, NX_NONE, NX_NONE};
    size_t lap = 0;

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    do {
        struct nx_range range = nx_piece(nx_whole(shape), lap * width, width);
        int32_t *end = &ends[lap % NX_WINDOW];

        *end = add_lap(s, shape, range, (uint32_t)lap * 2 * (shape->n - 1), *end);
        lap++;
    } while (lap * width < shape->count && s->failure == NULL);
}
