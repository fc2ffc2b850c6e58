/* coll/all_reduce_bruck.c - each round doubles the vectors that a rank has; when it has all, it sums for itself.
 *
 * ceil(log2 n) rounds of one message; each rank sends and receives (n - 1) S, as in the flat algorithm, in fewer
 * messages.  By rank.  Scratch: n S, where vector i is that of the rank i places further round the ring.  For small
 * vectors, whose messages cost more than their bytes.
 * Pure; see build.h. */
#include "coll/build.h"

/* The vectors from .. from + count - 1. */
static struct nx_slice vectors(const struct nx_shape *shape, uint32_t from, uint32_t count)
{
    return (struct nx_slice){.buf = NX_BUF_SCRATCH, .off = from * shape->count, .count = count * shape->count};
}

void nx_build_all_reduce_bruck(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t rank = shape->rank;
    struct nx_slice sum = nx_slice(NX_BUF_RECV, nx_whole(shape));
    uint32_t tag = 0;
    int32_t have;

    if (n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    have = nx_sched_copy(s, nx_slice(NX_BUF_SEND, nx_whole(shape)), vectors(shape, 0, 1), NX_NONE, NX_NONE);
    for (uint32_t d = 1; d < n; d *= 2, tag++) {
        uint32_t count = d < n - d ? d : n - d;
        int32_t got;

        nx_sched_send(s, nx_ring_down(rank, n, d), tag, vectors(shape, 0, count), have, NX_NONE);
        got = nx_sched_recv(s, nx_ring_up(rank, n, d), tag, vectors(shape, d, count), NX_NONE, NX_NONE);
        have = nx_sched_join(s, have, got);
    }
    have = nx_sched_copy(s, vectors(shape, nx_ring_down(0, n, rank), 1), sum, have, NX_NONE);
    for (uint32_t i = 1; i < n; i++)
        have = nx_sched_reduce(s, vectors(shape, nx_ring_down(i, n, rank), 1), sum, have, NX_NONE);
}
