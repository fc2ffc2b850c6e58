/* coll/tree.h - the binomial tree over places: the ranks counted from the root.  Pure. */
#ifndef NX_COLL_TREE_H
#define NX_COLL_TREE_H

#include "coll/build.h"

static inline uint32_t nx_place_of(const struct nx_shape *shape)
{
    return nx_ring_down(shape->rank, shape->n, shape->root);
}

static inline uint32_t nx_rank_at(const struct nx_shape *shape, uint32_t place)
{
    return nx_ring_up(shape->root, shape->n, place);
}

/* Places in the subtree of a place, itself included, were the tree complete: the lowest bit that is set.  The children
 * are place + 1, place + 2, place + 4, ... within it; the parent of a place is place - nx_subtree. */
static inline uint32_t nx_subtree(uint32_t place, uint32_t n)
{
    uint32_t pow2 = nx_pow2_floor(n);

    if (place == 0)
        return pow2 < n ? 2 * pow2 : pow2;
    return place & (~place + 1);
}

/* The first place behind the subtree. */
static inline uint32_t nx_subtree_end(uint32_t place, uint32_t n)
{
    uint32_t size = nx_subtree(place, n);

    return size < n - place ? place + size : n;
}

#endif
