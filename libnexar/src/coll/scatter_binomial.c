/* coll/scatter_binomial.c - down a binomial tree: each rank gets the blocks of its subtree in one message.
 *
 * ceil(log2 n) rounds; the root sends (n - 1) / n S.  For small blocks.  Scratch: as gather_binomial.c.
 * Pure; see build.h. */
#include "coll/tree.h"

static struct nx_slice blocks(const struct nx_shape *shape, enum nx_buf buf, uint32_t from, uint32_t count)
{
    return (struct nx_slice){.buf = buf, .off = from * shape->count, .count = count * shape->count};
}

/* To the child at `place`, as many blocks as its subtree has. */
static void give(struct nx_sched *s, const struct nx_shape *shape, uint32_t place)
{
    uint32_t child = nx_rank_at(shape, place);
    uint32_t count = nx_subtree_end(place, shape->n) - place;
    uint32_t above = shape->n - child; /* ranks from the child's on */
    int32_t low, high;

    if (count <= above) {
        nx_sched_send(s, child, 0, blocks(shape, NX_BUF_SEND, child, count), NX_NONE, NX_NONE);
        return;
    }
    low = nx_sched_copy(s, blocks(shape, NX_BUF_SEND, child, above), blocks(shape, NX_BUF_SCRATCH, 0, above), NX_NONE,
                        NX_NONE);
    high = nx_sched_copy(s, blocks(shape, NX_BUF_SEND, 0, count - above),
                         blocks(shape, NX_BUF_SCRATCH, above, count - above), NX_NONE, NX_NONE);
    nx_sched_send(s, child, 0, blocks(shape, NX_BUF_SCRATCH, 0, count), low, high);
}

void nx_build_scatter_binomial(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t place = nx_place_of(shape);
    uint32_t size = nx_subtree(place, n);
    uint32_t count = nx_subtree_end(place, n) - place;
    uint32_t parent = nx_rank_at(shape, place - (place == 0 ? 0 : size));
    struct nx_slice own = blocks(shape, NX_BUF_RECV, 0, 1);
    int32_t have;

    if (place == 0) {
        for (uint32_t mask = size / 2; mask != 0; mask /= 2)
            give(s, shape, mask);
        if (!shape->in_place)
            nx_sched_copy(s, blocks(shape, NX_BUF_SEND, shape->rank, 1), own, NX_NONE, NX_NONE);
        return;
    }
    if (count == 1) {
        nx_sched_recv(s, parent, 0, own, NX_NONE, NX_NONE);
        return;
    }
    have = nx_sched_recv(s, parent, 0, blocks(shape, NX_BUF_SCRATCH, 0, count), NX_NONE, NX_NONE);
    for (uint32_t mask = size / 2; mask != 0; mask /= 2) {
        uint32_t part;

        if (mask >= count)
            continue;
        part = nx_subtree_end(place + mask, n) - (place + mask);
        nx_sched_send(s, nx_rank_at(shape, place + mask), 0, blocks(shape, NX_BUF_SCRATCH, mask, part), have, NX_NONE);
    }
    nx_sched_copy(s, blocks(shape, NX_BUF_SCRATCH, 0, 1), own, have, NX_NONE);
}
