/* coll/direct.h - the first half of the direct algorithms: each rank gets everyone's piece of the slice that it owns,
 * and adds them up by rank.
 *
 * Scratch: NX_WINDOW segments of each peer, whatever S; a segment's pieces are received when the window has moved on to
 * it, so memory in flight is bounded on both sides. */
#ifndef NX_COLL_DIRECT_H
#define NX_COLL_DIRECT_H

#include "coll/build.h"

/* All segments have the same number of steps, so that a step's number tells those of the segments before it.  They
 * begin with n - 1 sends of pieces, n - 1 receives of pieces and n - 1 reductions. */
struct nx_direct {
    struct nx_sched *s;
    const struct nx_shape *shape;
    struct nx_range (*owned)(const struct nx_shape *shape, uint32_t owner); /* the slice of SEND that a rank owns */
    size_t width;                                                           /* most elements of a piece */
    int32_t stride;                                                         /* steps of a segment */
    size_t segment;                                                         /* now */
    int32_t begin;                                                          /* number of its first step */
    int32_t window; /* steps of a whole window, or 0 while there is none behind */
};

/* The current segment of the slice that `owner` owns. */
static inline struct nx_range nx_direct_piece(const struct nx_direct *d, uint32_t owner)
{
    return nx_piece(d->owned(d->shape, owner), d->segment * d->width, d->width);
}

/* Elements of scratch that it uses, from the first on. */
static inline size_t nx_direct_scratch(const struct nx_direct *d)
{
    return NX_WINDOW * (d->shape->n - 1) * d->width;
}

/* Goes on to the next segment, beginning with segment 0. */
void nx_direct_next(struct nx_direct *d);

/* Adds the segment's steps and returns the last one.  The sum is left in `sum`; in_place: there is also the rank's own
 * piece; else `sum` may be written after the step `sum_free`. */
int32_t nx_direct_sum(const struct nx_direct *d, struct nx_slice sum, bool in_place, uint32_t tag, int32_t sum_free);

#endif
