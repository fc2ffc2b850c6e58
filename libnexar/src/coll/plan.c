/* coll/plan.c - a hash table of plans with the order of their last use.
 *
 * Owner: the communicator's lock, for everything but the count of a plan's holders.  The cache is one holder among
 * others: to evict is to let go. */
#include "coll/plan.h"

#include "base/mem.h"

#include <string.h>

void nx_plans_init(struct nx_plans *plans, size_t max_count, size_t max_nbytes)
{
    *plans = (struct nx_plans){.max_count = max_count, .max_nbytes = max_nbytes};
    nx_list_init(&plans->age);
}

/* Each rank has a block of `count` elements. */
static bool has_blocks(enum nx_coll coll)
{
    return coll == NX_COLL_ALL_GATHER || coll == NX_COLL_REDUCE_SCATTER || coll == NX_COLL_ALL_TO_ALL ||
           coll == NX_COLL_GATHER || coll == NX_COLL_SCATTER || nx_coll_is_unequal(coll);
}

static bool blocks_fit(const struct nx_range *blocks, uint32_t n, size_t limit)
{
    for (uint32_t i = 0; blocks != NULL && i < n; i++) {
        if (blocks[i].off > limit || blocks[i].count > limit - blocks[i].off)
            return false;
    }
    return true;
}

/* All that the shape is about lies below `limit` elements. */
static bool fits(enum nx_coll coll, const struct nx_shape *shape, size_t limit)
{
    bool equal = has_blocks(coll) && shape->send_blocks == NULL && shape->recv_blocks == NULL;

    return nx_mul_capped(shape->count, equal ? shape->n : 1) <= limit &&
           blocks_fit(shape->send_blocks, shape->n, limit) && blocks_fit(shape->recv_blocks, shape->n, limit);
}

nexar_status nx_plan_key_make(struct nx_plan_key *key, const struct nx_algorithm *algorithm,
                              const struct nx_shape *shape, size_t size)
{
    size_t least;

    if (shape->n == 0 || shape->n > NX_RANKS_LIMIT || shape->rank >= shape->n)
        return nx_fail(NEXAR_EINVAL, "rank %u of %u does not exist", shape->rank, shape->n);
    if (shape->root >= shape->n)
        return nx_fail(NEXAR_EINVAL, "root %u does not exist: the ranks are 0 to %u", shape->root, shape->n - 1);
    if (size == 0 || !fits(algorithm->coll, shape, PTRDIFF_MAX / size))
        return nx_fail(NEXAR_EINVAL, "%zu elements of %zu bytes are more than memory can hold", shape->count, size);
    *key = (struct nx_plan_key){.algorithm = algorithm, .shape = *shape};
    key->shape.segment = 1;
    if (algorithm->segment != 0) {
        key->shape.segment = algorithm->segment > size ? algorithm->segment / size : 1;
        least = nx_longest_send_block(shape) / (has_blocks(algorithm->coll) ? 1 : shape->n) / NX_SEGMENTS_LIMIT + 1;
        if (least > key->shape.segment)
            key->shape.segment = least;
    }
    return NEXAR_OK;
}

static bool equal_blocks(const struct nx_range *a, const struct nx_range *b, uint32_t n)
{
    if (a == NULL || b == NULL)
        return a == b;
    for (uint32_t i = 0; i < n; i++) {
        if (a[i].off != b[i].off || a[i].count != b[i].count)
            return false;
    }
    return true;
}

/* What only some collectives have. */
static bool equal_inside(const struct nx_shape *a, const struct nx_shape *b)
{
    return a->inner == b->inner && a->inner_segment == b->inner_segment && a->compress.kind == b->compress.kind &&
           a->compress.block == b->compress.block && a->compress.k == b->compress.k &&
           a->compress.feedback == b->compress.feedback &&
           (a->bytes == b->bytes ||
            (a->bytes != NULL && b->bytes != NULL && memcmp(a->bytes, b->bytes, NX_TYPES * sizeof(size_t)) == 0));
}

static bool equal(const struct nx_plan_key *a, const struct nx_plan_key *b)
{
    return a->algorithm == b->algorithm && a->shape.count == b->shape.count && a->shape.segment == b->shape.segment &&
           a->shape.root == b->shape.root && a->shape.in_place == b->shape.in_place && a->shape.n == b->shape.n &&
           a->shape.rank == b->shape.rank && equal_blocks(a->shape.send_blocks, b->shape.send_blocks, a->shape.n) &&
           equal_blocks(a->shape.recv_blocks, b->shape.recv_blocks, a->shape.n) &&
           (a->algorithm->coll < NX_COLL_ALL_REDUCE_COMPRESSED || equal_inside(&a->shape, &b->shape));
}

/* A communicator's n and rank are always the same; the count and the root are what differs. */
static struct nx_plan **bucket_of(struct nx_plans *plans, const struct nx_plan_key *key)
{
    uint64_t h = key->shape.count * UINT64_C(0x9e3779b97f4a7c15);

    h ^= (key->shape.root + ((uint64_t)key->algorithm->coll << 8) + key->shape.in_place) * UINT64_C(0xff51afd7ed558ccd);
    return &plans->buckets[(h * UINT64_C(0x9e3779b97f4a7c15)) >> 58];
}

static void unlink_plan(struct nx_plans *plans, struct nx_plan *plan)
{
    struct nx_plan **at = bucket_of(plans, &plan->key);

    while (*at != plan)
        at = &(*at)->next;
    *at = plan->next;
    nx_list_remove(&plan->age);
    plans->count--;
    plans->nbytes -= plan->nbytes;
    nx_plan_drop(plan);
}

static void evict(struct nx_plans *plans, size_t max_count, size_t max_nbytes)
{
    while (!nx_list_empty(&plans->age) && (plans->count > max_count || plans->nbytes > max_nbytes))
        unlink_plan(plans, nx_container_of(plans->age.prev, struct nx_plan, age));
}

void nx_plans_fini(struct nx_plans *plans)
{
    if (plans->age.next != NULL) /* zeroed, never initialised */
        evict(plans, 0, 0);
}

/* What the shape refers to, of the plan's own instead of the caller's. */
static bool copy_blocks(struct nx_plan *plan)
{
    struct nx_shape *shape = &plan->key.shape;
    const struct {
        const void **at;
        size_t nbytes;
    } parts[] = {
        {(const void **)&shape->send_blocks, shape->n * sizeof(struct nx_range)},
        {(const void **)&shape->recv_blocks, shape->n * sizeof(struct nx_range)},
        {(const void **)&shape->bytes, NX_TYPES * sizeof(size_t)},
    };
    enum { PARTS = sizeof(parts) / sizeof(parts[0]) };
    char *to;

    for (int k = 0; k < PARTS; k++)
        plan->nbytes += *parts[k].at != NULL ? parts[k].nbytes : 0;
    if (plan->nbytes == 0)
        return true;
    to = plan->blocks = nx_alloc(plan->nbytes);
    for (int k = 0; k < PARTS && to != NULL; k++) {
        if (*parts[k].at == NULL)
            continue;
        memcpy(to, *parts[k].at, parts[k].nbytes);
        *parts[k].at = to;
        to += parts[k].nbytes;
    }
    return plan->blocks != NULL;
}

static nexar_status build(const struct nx_plan_key *key, struct nx_plan **out)
{
    struct nx_plan *plan = nx_alloc(sizeof(*plan));
    nexar_status st;

    if (plan == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a plan of %s", nx_coll_name(key->algorithm->coll));
    *plan = (struct nx_plan){.key = *key, .refs = 1};
    nx_list_init(&plan->age);
    if (!copy_blocks(plan)) {
        nx_plan_drop(plan);
        return nx_fail(NEXAR_ENOMEM, "no memory for a plan of %s", nx_coll_name(key->algorithm->coll));
    }
    key->algorithm->build(&plan->sched, &key->shape);
    plan->key.shape.hosts = NULL; /* the communicator's, the same for all its plans, which may outlive it */
    st = nx_sched_finish(&plan->sched);
    if (st != NEXAR_OK) {
        nx_plan_drop(plan);
        return st;
    }
    plan->nbytes += plan->sched.nbytes;
    *out = plan;
    return NEXAR_OK;
}

nexar_status nx_plan_get(struct nx_plans *plans, const struct nx_plan_key *key, struct nx_plan **out)
{
    struct nx_plan **bucket = bucket_of(plans, key);
    struct nx_plan *plan = *bucket;
    nexar_status st;

    *out = NULL;
    while (plan != NULL && !equal(&plan->key, key))
        plan = plan->next;
    if (plan != NULL) {
        plans->hits++;
        nx_list_remove(&plan->age);
    } else {
        plans->misses++;
        st = build(key, &plan);
        if (st != NEXAR_OK)
            return st;
        if (plan->nbytes > plans->max_nbytes || plans->max_count == 0) { /* would push out all others, then go */
            *out = plan;
            return NEXAR_OK;
        }
        plan->next = *bucket;
        *bucket = plan;
        plans->count++;
        plans->nbytes += plan->nbytes;
    }
    nx_list_push_front(&plans->age, &plan->age);
    atomic_fetch_add_explicit(&plan->refs, 1, memory_order_relaxed);
    evict(plans, plans->max_count, plans->max_nbytes);
    *out = plan;
    return NEXAR_OK;
}

void nx_plan_drop(struct nx_plan *plan)
{
    if (plan == NULL || atomic_fetch_sub_explicit(&plan->refs, 1, memory_order_acq_rel) != 1)
        return;
    nx_sched_fini(&plan->sched);
    nx_free(plan->blocks);
    nx_free(plan);
}
