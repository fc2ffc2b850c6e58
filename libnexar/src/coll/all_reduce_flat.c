/* coll/all_reduce_flat.c - everybody sends everything to everybody and sums for itself.
 *
 * One round; each rank sends and receives (n - 1) S.  By rank.  For small vectors: nothing is faster than one round.
 * Pure; see build.h. */
#include "coll/build.h"

void nx_build_all_reduce_flat(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t rank = shape->rank;
    uint32_t first = rank == 0 ? 1 : 0; /* x1 + x0 has the bits of x0 + x1 */
    struct nx_slice own = nx_slice(NX_BUF_SEND, nx_whole(shape));
    struct nx_slice sum = nx_slice(NX_BUF_RECV, nx_whole(shape));
    int32_t kept = NX_NONE;
    int32_t last;

    if (n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    if (shape->in_place) { /* the sum grows where our own part lies */
        own.buf = NX_BUF_SCRATCH;
        kept = nx_sched_copy(s, sum, own, NX_NONE, NX_NONE);
    }
    for (uint32_t d = 1; d < n; d++)
        nx_sched_send(s, nx_ring_up(rank, n, d), 0, own, kept, NX_NONE);
    last = nx_sched_recv(s, first, 0, sum, kept, NX_NONE);
    for (uint32_t i = 0; i < n; i++) {
        if (i == rank)
            last = nx_sched_reduce(s, own, sum, last, NX_NONE);
        else if (i != first)
            last = nx_sched_recv_reduce(s, i, 0, sum, last, NX_NONE);
    }
}
