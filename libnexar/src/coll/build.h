/* coll/build.h - the algorithms: pure functions from a shape to a schedule.
 *
 * All ranks call the same one with shapes that differ in `rank` and `in_place` alone.  Which messages flow depends on
 * n, root, count and segment only; messages of zero elements flow too, so that ranks that disagree always meet.  n = 1
 * and count = 0 are ordinary cases.
 *
 * "By rank" means that the sum is ((x0 + x1) + x2) + ... for every element, hence the same bits for every count and
 * segment and for all algorithms that say so.  All algorithms give the same bits on all ranks, and from run to run for
 * the same n, count and segment.  S below is the size of the vector in bytes. */
#ifndef NX_COLL_BUILD_H
#define NX_COLL_BUILD_H

#include "coll/pattern.h"
#include "coll/sched.h"

#include <stdbool.h>

struct nx_shape {
    uint32_t rank;
    uint32_t n;
    uint32_t root;
    bool in_place;  /* the caller's SEND and RECV are the same memory */
    size_t count;   /* elements of the vector */
    size_t segment; /* most elements in one message, for the algorithms that cut; at least 1 */
};

typedef void (*nx_build_fn)(struct nx_sched *s, const struct nx_shape *shape);

/* SEND and RECV have `count` elements. */
void nx_build_all_reduce_flat(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_direct(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_rd(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_ring(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_rsag(struct nx_sched *s, const struct nx_shape *shape);

/* In RECV alone, on every rank; SEND is not used. */
void nx_build_broadcast_binomial(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_broadcast_scatter(struct nx_sched *s, const struct nx_shape *shape);

/* No buffers. */
void nx_build_barrier_dissemination(struct nx_sched *s, const struct nx_shape *shape);

/* Segments, or laps of segments, that are under way at once: enough that the next one's flight hides a reduction, few
 * enough that scratch, early messages and posted receives stay bounded. */
#define NX_WINDOW 4

static inline struct nx_slice nx_slice(enum nx_buf buf, struct nx_range range)
{
    return (struct nx_slice){.buf = buf, .off = range.off, .count = range.count};
}

static inline struct nx_range nx_whole(const struct nx_shape *shape)
{
    return (struct nx_range){.off = 0, .count = shape->count};
}

/* All there is to do for a rank that is alone. */
static inline void nx_build_alone(struct nx_sched *s, const struct nx_shape *shape)
{
    if (!shape->in_place)
        nx_sched_copy(s, nx_slice(NX_BUF_SEND, nx_whole(shape)), nx_slice(NX_BUF_RECV, nx_whole(shape)), NX_NONE,
                      NX_NONE);
}

/* RECV = what comes from `peer` + the rank's own SEND, without a copy of SEND first. */
static inline int32_t nx_build_take(struct nx_sched *s, const struct nx_shape *shape, uint32_t peer, uint32_t tag,
                                    struct nx_range range, int32_t after)
{
    struct nx_slice dst = nx_slice(NX_BUF_RECV, range);

    if (shape->in_place)
        return nx_sched_recv_reduce(s, peer, tag, dst, after, NX_NONE);
    return nx_sched_reduce(s, nx_slice(NX_BUF_SEND, range), dst, nx_sched_recv(s, peer, tag, dst, after, NX_NONE),
                           NX_NONE);
}

#endif
