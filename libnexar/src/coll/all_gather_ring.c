/* coll/all_gather_ring.c - the blocks go round the ring.
 *
 * n - 1 rounds of a block each; each rank sends (n - 1) / n S, and only to its neighbour.  For large blocks.
 * Pure; see build.h. */
#include "coll/build.h"

void nx_build_all_gather_ring(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t next = nx_ring_up(shape->rank, n, 1);
    uint32_t prev = nx_ring_down(shape->rank, n, 1);
    struct nx_slice place = nx_slice(NX_BUF_RECV, nx_recv_block(shape, shape->rank));
    struct nx_slice out = shape->in_place ? place : (struct nx_slice){.buf = NX_BUF_SEND, .count = place.count};
    struct nx_slice own = out;
    int32_t got = NX_NONE;

    for (uint32_t r = 0; r + 1 < n; r++) {
        struct nx_slice in = nx_slice(NX_BUF_RECV, nx_recv_block(shape, nx_ring_down(shape->rank, n, r + 1)));

        nx_sched_send(s, next, r, out, got, NX_NONE);
        got = nx_sched_recv(s, prev, r, in, NX_NONE, NX_NONE);
        out = in;
    }
    if (!shape->in_place)
        nx_sched_copy(s, own, place, NX_NONE, NX_NONE);
}
