/* coll/pattern.h - the arithmetic of algorithms: who is my neighbour, which part is mine.  Pure. */
#ifndef NX_COLL_PATTERN_H
#define NX_COLL_PATTERN_H

#include <stddef.h>
#include <stdint.h>

struct nx_range {
    size_t off;
    size_t count;
};

/* The chunks `from` .. `to` - 1 of `whole` cut into `n` chunks whose lengths differ by one at most, the longer ones
 * first. */
static inline struct nx_range nx_chunks(struct nx_range whole, uint32_t n, uint32_t from, uint32_t to)
{
    size_t least = whole.count / n;
    size_t longer = whole.count % n;
    size_t begin = from * least + (from < longer ? from : longer);
    size_t end = to * least + (to < longer ? to : longer);

    return (struct nx_range){.off = whole.off + begin, .count = end - begin};
}

static inline struct nx_range nx_chunk(struct nx_range whole, uint32_t n, uint32_t i)
{
    return nx_chunks(whole, n, i, i + 1);
}

/* What is left of `whole` from `at` on, at most `most`; empty beyond the end. */
static inline struct nx_range nx_piece(struct nx_range whole, size_t at, size_t most)
{
    size_t begin = at < whole.count ? at : whole.count;
    size_t left = whole.count - begin;

    return (struct nx_range){.off = whole.off + begin, .count = left < most ? left : most};
}

/* The product, or the greatest size there is. */
static inline size_t nx_mul_capped(size_t a, size_t b)
{
    size_t r;

    return __builtin_mul_overflow(a, b, &r) ? SIZE_MAX : r;
}

/* The rank `distance` (less than n) places further round the ring, or back. */
static inline uint32_t nx_ring_up(uint32_t rank, uint32_t n, uint32_t distance)
{
    return rank < n - distance ? rank + distance : rank - (n - distance);
}

static inline uint32_t nx_ring_down(uint32_t rank, uint32_t n, uint32_t distance)
{
    return rank >= distance ? rank - distance : rank + (n - distance);
}

/* The greatest power of two that is not above n; n > 0. */
static inline uint32_t nx_pow2_floor(uint32_t n)
{
    return UINT32_C(1) << (31 - __builtin_clz(n));
}

/* Rounds of an algorithm that doubles: the logarithm of a power of two. */
static inline uint32_t nx_log2(uint32_t pow2)
{
    return 31 - (uint32_t)__builtin_clz(pow2);
}

/* Folding: a power of two of the ranks do the work, the others hand theirs to a neighbour first and take the result
 * from it last.  Neighbours, so that a partial result always covers ranks in a row. */
struct nx_fold {
    uint32_t workers; /* a power of two */
    uint32_t idle;    /* ranks 0, 2, .. 2 * idle - 2 hand over to 1, 3, .. */
};

static inline struct nx_fold nx_fold(uint32_t n)
{
    uint32_t workers = nx_pow2_floor(n);

    return (struct nx_fold){.workers = workers, .idle = n - workers};
}

static inline int nx_fold_is_idle(struct nx_fold f, uint32_t rank)
{
    return rank < 2 * f.idle && rank % 2 == 0;
}

/* A worker that is given what the rank before it has. */
static inline int nx_fold_is_host(struct nx_fold f, uint32_t rank)
{
    return rank < 2 * f.idle && rank % 2 == 1;
}

/* The number of a rank among the workers, and back. */
static inline uint32_t nx_fold_worker(struct nx_fold f, uint32_t rank)
{
    return rank < 2 * f.idle ? rank / 2 : rank - f.idle;
}

static inline uint32_t nx_fold_rank(struct nx_fold f, uint32_t worker)
{
    return worker < f.idle ? 2 * worker + 1 : worker + f.idle;
}

/* The first rank for which a worker works; for the number of workers, n. */
static inline uint32_t nx_fold_first(struct nx_fold f, uint32_t worker)
{
    return worker < f.idle ? 2 * worker : worker + f.idle;
}

#endif
