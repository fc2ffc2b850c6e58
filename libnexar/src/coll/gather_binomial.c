/* coll/gather_binomial.c - up a binomial tree: each rank passes on the blocks of its subtree in one message.
 *
 * ceil(log2 n) rounds; the root receives (n - 1) / n S, most others little more than their block.  For small blocks.
 * Scratch: the blocks of the subtree; at the root those of the child whose blocks are the last and the first ranks'.
 * Pure; see build.h. */
#include "coll/tree.h"

static struct nx_slice blocks(const struct nx_shape *shape, enum nx_buf buf, uint32_t from, uint32_t count)
{
    return (struct nx_slice){.buf = buf, .off = from * shape->count, .count = count * shape->count};
}

/* From the child at `place`, as many blocks as its subtree has, to where they belong. */
static void take(struct nx_sched *s, const struct nx_shape *shape, uint32_t place)
{
    uint32_t child = nx_rank_at(shape, place);
    uint32_t count = nx_subtree_end(place, shape->n) - place;
    uint32_t above = shape->n - child; /* ranks from the child's on */
    int32_t got;

    if (count <= above) {
        nx_sched_recv(s, child, 0, blocks(shape, NX_BUF_RECV, child, count), NX_NONE, NX_NONE);
        return;
    }
    got = nx_sched_recv(s, child, 0, blocks(shape, NX_BUF_SCRATCH, 0, count), NX_NONE, NX_NONE);
    nx_sched_copy(s, blocks(shape, NX_BUF_SCRATCH, 0, above), blocks(shape, NX_BUF_RECV, child, above), got, NX_NONE);
    nx_sched_copy(s, blocks(shape, NX_BUF_SCRATCH, above, count - above), blocks(shape, NX_BUF_RECV, 0, count - above),
                  got, NX_NONE);
}

void nx_build_gather_binomial(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t place = nx_place_of(shape);
    uint32_t size = nx_subtree(place, n);
    uint32_t count = nx_subtree_end(place, n) - place;
    struct nx_slice own = blocks(shape, NX_BUF_SEND, 0, 1);
    int32_t have = NX_NONE;

    if (place == 0) {
        for (uint32_t mask = 1; mask < n; mask *= 2)
            take(s, shape, mask);
        if (!shape->in_place)
            nx_sched_copy(s, own, blocks(shape, NX_BUF_RECV, shape->rank, 1), NX_NONE, NX_NONE);
        return;
    }
    if (count > 1)
        have = nx_sched_copy(s, own, blocks(shape, NX_BUF_SCRATCH, 0, 1), NX_NONE, NX_NONE);
    for (uint32_t mask = 1; mask < count; mask *= 2) {
        uint32_t part = nx_subtree_end(place + mask, n) - (place + mask);
        struct nx_slice to = blocks(shape, NX_BUF_SCRATCH, mask, part);

        have = nx_sched_join(s, have, nx_sched_recv(s, nx_rank_at(shape, place + mask), 0, to, NX_NONE, NX_NONE));
    }
    nx_sched_send(s, nx_rank_at(shape, place - size), 0, count > 1 ? blocks(shape, NX_BUF_SCRATCH, 0, count) : own,
                  have, NX_NONE);
}
