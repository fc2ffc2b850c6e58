/* coll/plan.c - a hash table of plans with the order of their last use.
 *
 * Owner: the communicator's lock, for everything but the count of a plan's holders.  The cache is one holder among
 * others: to evict is to let go. */
#include "coll/plan.h"

#include "base/mem.h"

void nx_plans_init(struct nx_plans *plans, size_t max_count, size_t max_nbytes)
{
    *plans = (struct nx_plans){.max_count = max_count, .max_nbytes = max_nbytes};
    nx_list_init(&plans->age);
}

nexar_status nx_plan_key_make(struct nx_plan_key *key, const struct nx_algorithm *algorithm,
                              const struct nx_shape *shape, size_t size)
{
    size_t per_rank;
    size_t nbytes;

    if (shape->n == 0 || shape->n > NX_RANKS_LIMIT || shape->rank >= shape->n)
        return nx_fail(NEXAR_EINVAL, "rank %u of %u does not exist", shape->rank, shape->n);
    if (shape->root >= shape->n)
        return nx_fail(NEXAR_EINVAL, "root %u does not exist: the ranks are 0 to %u", shape->root, shape->n - 1);
    if (size == 0 || __builtin_mul_overflow(shape->count, size, &nbytes) || nbytes > PTRDIFF_MAX)
        return nx_fail(NEXAR_EINVAL, "%zu elements of %zu bytes are more than memory can hold", shape->count, size);
    *key = (struct nx_plan_key){.algorithm = algorithm, .shape = *shape};
    key->shape.segment = 1;
    if (algorithm->segment != 0) {
        key->shape.segment = algorithm->segment > size ? algorithm->segment / size : 1;
        per_rank = shape->count / shape->n / NX_SEGMENTS_LIMIT + 1;
        if (per_rank > key->shape.segment)
            key->shape.segment = per_rank;
    }
    return NEXAR_OK;
}

static bool equal(const struct nx_plan_key *a, const struct nx_plan_key *b)
{
    return a->algorithm == b->algorithm && a->shape.count == b->shape.count && a->shape.segment == b->shape.segment &&
           a->shape.root == b->shape.root && a->shape.in_place == b->shape.in_place && a->shape.n == b->shape.n &&
           a->shape.rank == b->shape.rank;
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
    plans->nbytes -= plan->sched.nbytes;
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

static nexar_status build(const struct nx_plan_key *key, struct nx_plan **out)
{
    struct nx_plan *plan = nx_alloc(sizeof(*plan));
    nexar_status st;

    if (plan == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a plan of %s", nx_coll_name(key->algorithm->coll));
    *plan = (struct nx_plan){.key = *key, .refs = 1};
    nx_list_init(&plan->age);
    key->algorithm->build(&plan->sched, &key->shape);
    st = nx_sched_finish(&plan->sched);
    if (st != NEXAR_OK) {
        nx_plan_drop(plan);
        return st;
    }
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
        if (plan->sched.nbytes > plans->max_nbytes || plans->max_count == 0) { /* would push out all others, then go */
            *out = plan;
            return NEXAR_OK;
        }
        plan->next = *bucket;
        *bucket = plan;
        plans->count++;
        plans->nbytes += plan->sched.nbytes;
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
    nx_free(plan);
}
