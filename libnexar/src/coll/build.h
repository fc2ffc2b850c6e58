/* coll/build.h - the algorithms: pure functions from a shape to a schedule.
 *
 * All ranks call the same one with shapes that differ in `rank` and `in_place` alone.  Which messages flow depends on
 * n, root, count and segment only; messages of zero elements flow too, so that ranks that disagree always meet.  n = 1
 * and count = 0 are ordinary cases.
 *
 * "By rank" means that the sum is ((x0 + x1) + x2) + ... for every element, hence the same bits for every count and
 * segment and for all algorithms that say so.  All algorithms give the same bits on all ranks, and from run to run for
 * the same n, count and segment.  S below is the size of the vector in bytes.
 *
 * Where each rank has a block of a vector, S is the size of all blocks together. */
#ifndef NX_COLL_BUILD_H
#define NX_COLL_BUILD_H

#include "coll/pattern.h"
#include "coll/sched.h"
#include "math/compress.h"

#include <stdbool.h>

struct nx_shape;
typedef void (*nx_build_fn)(struct nx_sched *s, const struct nx_shape *shape);

/* More types than there are. */
#define NX_TYPES 16

struct nx_shape {
    uint32_t rank;
    uint32_t n;
    uint32_t root;
    bool in_place;  /* the caller's SEND and RECV are the same memory */
    size_t count;   /* elements of the vector, or of this rank's block where each rank has one */
    size_t segment; /* most elements in one message, for the algorithms that cut; at least 1 */
    /* Where the blocks of the n ranks lie.  NULL: back to back, `count` elements each. */
    const struct nx_range *send_blocks;
    const struct nx_range *recv_blocks;
    /* What all_reduce_compressed and all_reduce_bucketed consist of: an all_reduce, and the bytes that it cuts into (0:
     * it does not). */
    nx_build_fn inner;
    size_t inner_segment;
    struct nx_compress compress; /* all_reduce_compressed */
    const size_t *bytes;         /* all_reduce_bucketed: of each type, NX_TYPES of them; `count` is their sum */
    /* Of each rank, its host: 0 to their number - 1, each of which has a rank.  For the algorithms `hosts`; NULL: all
     * ranks share one. */
    const uint32_t *hosts;
};

/* No steps: of what runs in shared memory, see near.h. */
void nx_build_near(struct nx_sched *s, const struct nx_shape *shape);

/* SEND and RECV have `count` elements. */
void nx_build_all_reduce_flat(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_bruck(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_cube(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_direct(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_rd(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_ring(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_rsag(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_hosts(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_relay(struct nx_sched *s, const struct nx_shape *shape);

/* The same of float32, in fewer bytes; elements are 4 bytes long.  RESIDUAL has `count` elements, if there is one.  By
 * rank. */
void nx_build_all_reduce_compressed(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_reduce_sparse(struct nx_sched *s, const struct nx_shape *shape);
/* Where the latter has, in SCRATCH, what was to be sent, if there is a residual, and what was. */
#define NX_SPARSE_ALL 0
static inline size_t nx_sparse_encoded(const struct nx_shape *shape)
{
    return shape->compress.feedback ? shape->count : 0;
}

/* In RECV alone, in place; elements are bytes.  RECV has those of all types, one after the other, and only COPY steps
 * touch it: it may be a list. */
void nx_build_all_reduce_bucketed(struct nx_sched *s, const struct nx_shape *shape);

/* In RECV alone, on every rank; SEND is not used. */
void nx_build_broadcast_binomial(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_broadcast_scatter(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_broadcast_chain(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_broadcast_hosts(struct nx_sched *s, const struct nx_shape *shape);

/* SEND has `count` elements, and so has the root's RECV; that of the others is not used. */
void nx_build_reduce_flat(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_reduce_direct(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_reduce_binomial(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_reduce_chain(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_reduce_hosts(struct nx_sched *s, const struct nx_shape *shape);

/* SEND is the rank's own block, RECV has all of them.  In place the own block is where it belongs in RECV, and SEND is
 * not used.  With blocks of unequal length: flat, ring, hosts. */
void nx_build_all_gather_flat(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_gather_rd(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_gather_bruck(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_gather_ring(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_gather_hosts(struct nx_sched *s, const struct nx_shape *shape);

/* SEND has all blocks, in order and without gaps, RECV is the rank's own.  In place the result is left where the own
 * block lies; the other blocks stay as they were. */
void nx_build_reduce_scatter_direct(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_reduce_scatter_ring(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_reduce_scatter_halving(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_reduce_scatter_hosts(struct nx_sched *s, const struct nx_shape *shape);

/* SEND has a block for each rank, RECV one from each.  Never in place.  With blocks of unequal length: pairwise. */
void nx_build_all_to_all_pairwise(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_all_to_all_bruck(struct nx_sched *s, const struct nx_shape *shape);

/* SEND is the rank's own block, the root's RECV has all of them.  In place (root alone) as all_gather.  With blocks of
 * unequal length: linear, and recv_blocks is known to the root alone. */
void nx_build_gather_linear(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_gather_binomial(struct nx_sched *s, const struct nx_shape *shape);

/* The root's SEND has all blocks, RECV is the rank's own.  In place (root alone) the own block stays where it is in
 * SEND.  With blocks of unequal length: linear, and send_blocks is known to the root alone. */
void nx_build_scatter_linear(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_scatter_binomial(struct nx_sched *s, const struct nx_shape *shape);

/* SEND and RECV have `count` elements. */
void nx_build_scan_flat(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_scan_rd(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_scan_chain(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_exclusive_scan_flat(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_exclusive_scan_rd(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_exclusive_scan_chain(struct nx_sched *s, const struct nx_shape *shape);

/* No buffers. */
void nx_build_barrier_dissemination(struct nx_sched *s, const struct nx_shape *shape);
void nx_build_barrier_hosts(struct nx_sched *s, const struct nx_shape *shape);

/* Segments, or laps of segments, that are under way at once: enough that the next one's flight hides a reduction, few
 * enough that scratch, early messages and posted receives stay bounded. */
#define NX_WINDOW 4

/* Whole blocks of different peers that are under way at once, where nothing else bounds them: never more in flight at a
 * root than this. */
#define NX_PEERS_AT_ONCE 8

static inline struct nx_slice nx_slice(enum nx_buf buf, struct nx_range range)
{
    return (struct nx_slice){.buf = buf, .off = range.off, .count = range.count};
}

static inline struct nx_range nx_whole(const struct nx_shape *shape)
{
    return (struct nx_range){.off = 0, .count = shape->count};
}

/* Where a rank's block lies. */
static inline struct nx_range nx_send_block(const struct nx_shape *shape, uint32_t rank)
{
    return shape->send_blocks != NULL ? shape->send_blocks[rank]
                                      : (struct nx_range){.off = rank * shape->count, .count = shape->count};
}

static inline struct nx_range nx_recv_block(const struct nx_shape *shape, uint32_t rank)
{
    return shape->recv_blocks != NULL ? shape->recv_blocks[rank]
                                      : (struct nx_range){.off = rank * shape->count, .count = shape->count};
}

static inline size_t nx_longest_send_block(const struct nx_shape *shape)
{
    size_t longest = 0;

    for (uint32_t i = 0; i < shape->n && shape->send_blocks != NULL; i++)
        longest = shape->send_blocks[i].count > longest ? shape->send_blocks[i].count : longest;
    return shape->send_blocks != NULL ? longest : shape->count;
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
