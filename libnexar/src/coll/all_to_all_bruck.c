/* coll/all_to_all_bruck.c - blocks travel by powers of two: in round k go all those whose distance has bit k.
 *
 * ceil(log2 n) rounds of about S / 2.  Scratch: S log2 n; each block is copied for each round in which it travels.  For
 * small blocks and many ranks, where a round costs more than copies do.
 * "Block i" on a rank is the one that has i places to go in all; where it lies follows from i and the round.
 * Pure; see build.h. */
#include "coll/build.h"

/* How many of the numbers below `end` have bit k. */
static uint32_t with_bit(uint32_t end, uint32_t k)
{
    uint32_t bit = UINT32_C(1) << k;
    uint32_t rest = end & (2 * bit - 1);

    return (end >> (k + 1)) * bit + (rest > bit ? rest - bit : 0);
}

/* The blocks of round k, as they are sent (which 0) or received (1), in the order of their numbers. */
static struct nx_slice parcel(const struct nx_shape *shape, uint32_t k, uint32_t which)
{
    size_t before = 0;
    uint32_t count = with_bit(shape->n, k);

    for (uint32_t i = 0; i < k; i++)
        before += 2 * (size_t)with_bit(shape->n, i);
    return (struct nx_slice){
        .buf = NX_BUF_SCRATCH, .off = (before + which * count) * shape->count, .count = count * shape->count};
}

/* Block i, which has bit k, in a parcel of round k. */
static struct nx_slice in_parcel(const struct nx_shape *shape, struct nx_slice parcel, uint32_t k, uint32_t i)
{
    return (struct nx_slice){
        .buf = parcel.buf, .off = parcel.off + with_bit(i, k) * shape->count, .count = shape->count};
}

static uint32_t highest_bit(uint32_t i)
{
    return 31 - (uint32_t)__builtin_clz(i);
}

/* Packs block i for round k, after step `last`. */
static int32_t pack(struct nx_sched *s, const struct nx_shape *shape, const struct nx_slice *received,
                    const int32_t *got, uint32_t i, uint32_t k, int32_t last)
{
    uint32_t travelled = i & ((UINT32_C(1) << k) - 1);
    struct nx_slice to = in_parcel(shape, parcel(shape, k, 0), k, i);

    if (travelled == 0) {
        struct nx_range from = nx_send_block(shape, nx_ring_up(shape->rank, shape->n, i));

        return nx_sched_copy(s, nx_slice(NX_BUF_SEND, from), to, last, NX_NONE);
    }
    travelled = highest_bit(travelled);
    return nx_sched_copy(s, in_parcel(shape, received[travelled], travelled, i), to, last, got[travelled]);
}

void nx_build_all_to_all_bruck(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t rank = shape->rank;
    struct nx_slice received[32];
    int32_t got[32];

    nx_sched_copy(s, nx_slice(NX_BUF_SEND, nx_send_block(shape, rank)),
                  nx_slice(NX_BUF_RECV, nx_recv_block(shape, rank)), NX_NONE, NX_NONE);
    for (uint32_t k = 0, d = 1; d < n; k++, d *= 2) {
        int32_t packed = NX_NONE;

        for (uint32_t i = d; i < n; i = (i + 1) | d)
            packed = pack(s, shape, received, got, i, k, packed);
        received[k] = parcel(shape, k, 1);
        nx_sched_send(s, nx_ring_up(rank, n, d), k, parcel(shape, k, 0), packed, NX_NONE);
        got[k] = nx_sched_recv(s, nx_ring_down(rank, n, d), k, received[k], NX_NONE, NX_NONE);
    }
    for (uint32_t i = 1; i < n; i++) {
        struct nx_range to = nx_recv_block(shape, nx_ring_down(rank, n, i));
        uint32_t k = highest_bit(i);

        nx_sched_copy(s, in_parcel(shape, received[k], k, i), nx_slice(NX_BUF_RECV, to), got[k], NX_NONE);
    }
}
