/* coll/plan.h - schedules that have been built, kept for the next call of the same shape.
 *
 * One cache per communicator, used under that communicator's lock; it has none of its own.  A plan that was given out
 * is constant, outlives its eviction and the cache, and may be dropped on any thread without the lock. */
#ifndef NX_COLL_PLAN_H
#define NX_COLL_PLAN_H

#include "base/list.h"
#include "coll/select.h"

#include <stdatomic.h>

/* Segments grow with the vector rather than be more than this, so that a plan stays small. */
#define NX_SEGMENTS_LIMIT 1024

/* More ranks than any communicator has. */
#define NX_RANKS_LIMIT (UINT32_C(1) << 20)

struct nx_plan_key {
    const struct nx_algorithm *algorithm;
    struct nx_shape shape;
};

struct nx_plan {
    struct nx_sched sched;
    struct nx_plan_key key;
    void *blocks;  /* owned; what the key's shape refers to, or NULL */
    size_t nbytes; /* memory held */
    _Atomic uint32_t refs;
    struct nx_list age;   /* in the cache: the most recently used first */
    struct nx_plan *next; /* in the cache: of the same bucket */
};

#define NX_PLAN_BUCKETS 64

struct nx_plans {
    struct nx_plan *buckets[NX_PLAN_BUCKETS];
    struct nx_list age;
    size_t count, max_count;
    size_t nbytes, max_nbytes;
    uint64_t hits, misses;
};

/* Keeps at most `max_count` plans and `max_nbytes` bytes of them. */
void nx_plans_init(struct nx_plans *plans, size_t max_count, size_t max_nbytes);
void nx_plans_fini(struct nx_plans *plans);

/* The key of a call: `shape` without its segment, elements of `size` bytes.  All that would make a builder misbehave is
 * refused here: NEXAR_OK, NEXAR_EINVAL (rank or root not below n, or more bytes than memory can have).  The key refers
 * to the shape's blocks, if it has any; a plan has its own copy. */
nexar_status nx_plan_key_make(struct nx_plan_key *key, const struct nx_algorithm *algorithm,
                              const struct nx_shape *shape, size_t size);

/* The plan, held for the caller.  One that is in the cache costs no allocation.  NEXAR_OK, NEXAR_ENOMEM. */
nexar_status nx_plan_get(struct nx_plans *plans, const struct nx_plan_key *key, struct nx_plan **out);

/* NULL is legal. */
void nx_plan_drop(struct nx_plan *plan);

#endif
