/* coll/all_gather_bruck.c - each round doubles the blocks that a rank has, for any number of ranks.
 *
 * ceil(log2 n) rounds; (n - 1) / n S.  Scratch: S, where block i is that of the rank i places further round the ring;
 * at the end all are copied to where they belong.  For small blocks and many ranks.
 * Pure; see build.h. */
#include "coll/build.h"

/* The blocks from .. from + count - 1. */
static struct nx_slice blocks(const struct nx_shape *shape, enum nx_buf buf, uint32_t from, uint32_t count)
{
    return (struct nx_slice){.buf = buf, .off = from * shape->count, .count = count * shape->count};
}

void nx_build_all_gather_bruck(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t rank = shape->rank;
    struct nx_slice own = shape->in_place ? blocks(shape, NX_BUF_RECV, rank, 1) : blocks(shape, NX_BUF_SEND, 0, 1);
    uint32_t kept = shape->in_place ? 1 : 0; /* our own block is there already */
    uint32_t tag = 0;
    int32_t have;

    if (n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    have = nx_sched_copy(s, own, blocks(shape, NX_BUF_SCRATCH, 0, 1), NX_NONE, NX_NONE);
    for (uint32_t d = 1; d < n; d *= 2, tag++) {
        uint32_t count = d < n - d ? d : n - d;
        int32_t got;

        nx_sched_send(s, nx_ring_down(rank, n, d), tag, blocks(shape, NX_BUF_SCRATCH, 0, count), have, NX_NONE);
        got = nx_sched_recv(s, nx_ring_up(rank, n, d), tag, blocks(shape, NX_BUF_SCRATCH, d, count), NX_NONE, NX_NONE);
        have = nx_sched_join(s, have, got);
    }
    if (kept < n - rank)
        nx_sched_copy(s, blocks(shape, NX_BUF_SCRATCH, kept, n - rank - kept),
                      blocks(shape, NX_BUF_RECV, rank + kept, n - rank - kept), have, NX_NONE);
    if (rank != 0)
        nx_sched_copy(s, blocks(shape, NX_BUF_SCRATCH, n - rank, rank), blocks(shape, NX_BUF_RECV, 0, rank), have,
                      NX_NONE);
}
