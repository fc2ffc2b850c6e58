/* test_plan.c - the cache of schedules: hits, limits, lifetimes, and the arguments that never reach a builder. */
#include "coll/plan.h"

#include "base/mem.h"
#include "rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static struct nx_select rules;

static const struct nx_algorithm *algorithm(const char *tune)
{
    assert_int_equal(nx_select_init(&rules, tune, false), NEXAR_OK);
    return nx_select_algorithm(&rules, NX_COLL_ALL_REDUCE, 4, 0, 0);
}

static struct nx_plan_key key_of(const char *tune, size_t count)
{
    struct nx_plan_key key;

    assert_int_equal(nx_plan_key_make(&key, algorithm(tune), &(struct nx_shape){.rank = 1, .n = 4, .count = count}, 4),
                     NEXAR_OK);
    return key;
}

static struct nx_plan *get(struct nx_plans *plans, const struct nx_plan_key *key)
{
    struct nx_plan *plan = NULL;

    assert_int_equal(nx_plan_get(plans, key, &plan), NEXAR_OK);
    assert_non_null(plan);
    return plan;
}

static uint64_t allocations(void)
{
    struct nx_mem_stats stats;

    nx_mem_stats(&stats);
    return stats.allocations;
}

static uint64_t blocks(void)
{
    struct nx_mem_stats stats;

    nx_mem_stats(&stats);
    return stats.blocks;
}

static void test_a_hit_is_the_same_plan_and_allocates_nothing(void **state)
{
    struct nx_plan_key key = key_of("all_reduce:0-:ring", 1000);
    struct nx_plans plans;
    struct nx_plan *first;
    uint64_t before;

    (void)state;
    nx_plans_init(&plans, 8, 1 << 20);
    first = get(&plans, &key);
    nx_plan_drop(first);
    before = allocations();
    for (int i = 0; i < 1000; i++) {
        struct nx_plan *again = get(&plans, &key);

        assert_ptr_equal(again, first);
        nx_plan_drop(again);
    }
    assert_int_equal(allocations(), before);
    assert_int_equal(plans.hits, 1000);
    assert_int_equal(plans.misses, 1);
    nx_plans_fini(&plans);
}

static void test_every_field_of_the_key_counts(void **state)
{
    struct nx_plan_key keys[8];
    struct nx_plan *got[8];
    struct nx_plans plans;

    (void)state;
    for (int i = 0; i < 8; i++)
        keys[i] = key_of("all_reduce:0-:ring", 1000);
    keys[1].shape.count++;
    keys[2].shape.rank++;
    keys[3].shape.n++;
    keys[4].shape.root++;
    keys[5].shape.in_place = true;
    keys[6].shape.segment++;
    keys[7].algorithm = algorithm("all_reduce:0-:flat");
    nx_plans_init(&plans, 8, 1 << 20);
    for (int i = 0; i < 8; i++)
        got[i] = get(&plans, &keys[i]);
    assert_int_equal(plans.count, 8);
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(got[i], got[k]);
        assert_ptr_equal(get(&plans, &keys[i]), got[i]);
        nx_plan_drop(got[i]);
        nx_plan_drop(got[i]);
    }
    assert_int_equal(plans.misses, 8);
    nx_plans_fini(&plans);
}

/* Blocks count by what they say, not by where they are; the plan has its own. */
static void test_blocks_are_part_of_the_key(void **state)
{
    static const struct nx_range some[4] = {{0, 3}, {3, 0}, {3, 5}, {8, 1}};
    static const struct nx_range others[4] = {{0, 3}, {3, 0}, {4, 5}, {9, 1}};
    const struct nx_algorithm *a;
    uint64_t before = blocks();
    struct nx_range *mine = malloc(sizeof(some));
    struct nx_plan_key keys[4];
    struct nx_plan *got[4];
    struct nx_plans plans;

    (void)state;
    assert_int_equal(nx_select_init(&rules, "", false), NEXAR_OK);
    a = nx_select_algorithm(&rules, NX_COLL_ALL_TO_ALL_V, 4, 0, 0);
    memcpy(mine, some, sizeof(some));
    for (int i = 0; i < 4; i++) {
        struct nx_shape shape = {.rank = 1,
                                 .n = 4,
                                 .send_blocks = i == 1   ? others
                                                : i == 3 ? NULL
                                                         : mine,
                                 .recv_blocks = i == 2 ? others : mine};

        assert_int_equal(nx_plan_key_make(&keys[i], a, &shape, 8), NEXAR_OK);
    }
    nx_plans_init(&plans, 8, 1 << 20);
    for (int i = 0; i < 4; i++) {
        got[i] = get(&plans, &keys[i]);
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(got[i], got[k]);
    }
    keys[0].shape.send_blocks = keys[0].shape.recv_blocks = some;
    assert_ptr_equal(get(&plans, &keys[0]), got[0]);
    nx_plan_drop(got[0]);
    memset(mine, 0xff, sizeof(some));
    free(mine);
    assert_ptr_equal(get(&plans, &keys[0]), got[0]);
    nx_plan_drop(got[0]);
    assert_int_equal(plans.misses, 4);
    assert_int_equal(plans.nbytes, got[0]->nbytes + got[1]->nbytes + got[2]->nbytes + got[3]->nbytes);
    assert_true(got[0]->nbytes == got[0]->sched.nbytes + 2 * sizeof(some));
    for (int i = 0; i < 4; i++)
        nx_plan_drop(got[i]);
    nx_plans_fini(&plans);
    assert_int_equal(blocks(), before);
}

/* Ends of blocks that no memory has, and blocks whose sum is too much. */
static void test_blocks_beyond_memory_are_refused(void **state)
{
    struct nx_range wide[4] = {{0, 3}, {3, 0}, {3, 5}, {8, 1}};
    const struct nx_algorithm *a;
    struct nx_shape shape = {.rank = 1, .n = 4, .send_blocks = wide};
    struct nx_plan_key key;

    (void)state;
    assert_int_equal(nx_select_init(&rules, "", false), NEXAR_OK);
    a = nx_select_algorithm(&rules, NX_COLL_REDUCE_SCATTER_V, 4, 0, 0);
    assert_int_equal(nx_plan_key_make(&key, a, &shape, 8), NEXAR_OK);
    wide[3].off = PTRDIFF_MAX / 8;
    assert_int_equal(nx_plan_key_make(&key, a, &shape, 8), NEXAR_EINVAL);
    wide[3] = (struct nx_range){.off = SIZE_MAX, .count = 2};
    assert_int_equal(nx_plan_key_make(&key, a, &shape, 8), NEXAR_EINVAL);
    wide[3] = (struct nx_range){.off = 8, .count = SIZE_MAX - 1};
    assert_int_equal(nx_plan_key_make(&key, a, &shape, 8), NEXAR_EINVAL);
    a = nx_select_algorithm(&rules, NX_COLL_ALL_GATHER, 4, 0, 0);
    shape = (struct nx_shape){.n = 4, .count = PTRDIFF_MAX / 32};
    assert_int_equal(nx_plan_key_make(&key, a, &shape, 8), NEXAR_OK);
    shape.count++;
    assert_int_equal(nx_plan_key_make(&key, a, &shape, 8), NEXAR_EINVAL);
}

static void test_the_oldest_goes_first(void **state)
{
    uint64_t before = blocks();
    struct nx_plans plans;

    (void)state;
    nx_plans_init(&plans, 3, SIZE_MAX);
    for (size_t count = 0; count < 5; count++) {
        struct nx_plan_key key = key_of("", count);
        struct nx_plan_key kept = key_of("", 0);

        nx_plan_drop(get(&plans, &key));
        nx_plan_drop(get(&plans, &kept));
    }
    assert_int_equal(plans.count, 3); /* 0, which was used all the time, 4, 3 */
    assert_int_equal(plans.misses, 5);
    for (size_t count = 3; count < 5; count++) {
        struct nx_plan_key key = key_of("", count);

        nx_plan_drop(get(&plans, &key));
    }
    assert_int_equal(plans.misses, 5);
    nx_plans_fini(&plans);
    assert_int_equal(blocks(), before);
}

static void test_bytes_are_limited(void **state)
{
    struct nx_plan_key small = key_of("all_reduce:0-:flat", 10);
    struct nx_plan_key large = key_of("all_reduce:0-:direct", 1 << 24);
    uint64_t before = blocks();
    struct nx_plans plans;
    struct nx_plan *plan;
    size_t one;

    (void)state;
    nx_plans_init(&plans, 100, SIZE_MAX);
    plan = get(&plans, &small);
    one = plan->sched.nbytes;
    assert_int_equal(plans.nbytes, one);
    nx_plan_drop(plan);
    nx_plans_fini(&plans);

    nx_plans_init(&plans, 100, 3 * one);
    for (size_t i = 0; i < 9; i++) {
        small.shape.count = 10 + i;
        nx_plan_drop(get(&plans, &small));
    }
    assert_int_equal(plans.count, 3);
    assert_true(plans.nbytes <= 3 * one);
    plan = get(&plans, &large); /* given, but not kept: it would push out all the others */
    assert_true(plan->sched.nbytes > 3 * one);
    assert_int_equal(plans.count, 3);
    nx_plan_drop(plan);
    nx_plans_fini(&plans);
    assert_int_equal(blocks(), before);
}

/* A run that goes on when its plan is evicted, or its communicator closed. */
static void test_a_held_plan_outlives_the_cache(void **state)
{
    uint64_t before = blocks();
    struct nx_plan_key key = key_of("", 7);
    struct nx_plan_key other = key_of("", 8);
    struct nx_plans plans;
    struct nx_plan *evicted;
    struct nx_plan *last;

    (void)state;
    nx_plans_init(&plans, 1, SIZE_MAX);
    evicted = get(&plans, &key);
    last = get(&plans, &other);
    assert_int_equal(plans.count, 1);
    assert_int_equal(evicted->sched.steps[0].count, 7);
    nx_plans_fini(&plans);
    assert_int_equal(last->sched.steps[0].count, 8);
    nx_plan_drop(evicted);
    nx_plan_drop(last);
    nx_plan_drop(NULL);
    assert_int_equal(blocks(), before);
}

static void test_memory_failures(void **state)
{
    uint64_t before = blocks();
    struct nx_plan_key key = key_of("all_reduce:0-:direct", 1 << 22);
    struct nx_plans plans;
    nexar_status st = NEXAR_ENOMEM;

    (void)state;
    nx_plans_init(&plans, 4, SIZE_MAX);
    for (uint64_t nth = 1; st != NEXAR_OK; nth++) {
        struct nx_plan *plan;

        nx_mem_fail_at(nth);
        st = nx_plan_get(&plans, &key, &plan);
        nx_mem_fail_at(0);
        assert_true(nth < 20);
        assert_true(st == NEXAR_OK || (st == NEXAR_ENOMEM && plan == NULL && plans.count == 0));
        nx_plan_drop(plan);
    }
    nx_plans_fini(&plans);
    assert_int_equal(blocks(), before);
    nx_plans_fini(&(struct nx_plans){0});
}

/* Random use against a list: the cache always gives what was asked for and keeps its limits. */
static void test_random_use(void **state)
{
    uint64_t before = blocks();
    struct rng rng = {21};
    struct nx_plan *held[16] = {NULL};
    struct nx_plans plans;

    (void)state;
    nx_plans_init(&plans, 10, 20000);
    for (int i = 0; i < 20000; i++) {
        size_t at = rng_below(&rng, 16);
        struct nx_plan_key key = key_of(rng_below(&rng, 2) == 0 ? "" : "all_reduce:0-:ring", rng_below(&rng, 30));

        nx_plan_drop(held[at]);
        held[at] = get(&plans, &key);
        assert_int_equal(held[at]->key.shape.count, key.shape.count);
        assert_ptr_equal(held[at]->key.algorithm, key.algorithm);
        assert_true(plans.count <= 10 && plans.nbytes <= 20000);
    }
    assert_true(plans.hits > 1000 && plans.misses > 1000);
    nx_plans_fini(&plans);
    for (size_t i = 0; i < 16; i++)
        nx_plan_drop(held[i]);
    assert_int_equal(blocks(), before);
}

static void test_c10_arguments_are_checked(void **state)
{
    const struct nx_algorithm *a = algorithm("");
    struct nx_plan_key key;

    (void)state;
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 4, .root = 4}, 4), NEXAR_EINVAL);
    assert_non_null(strstr(nexar_last_error(), "root 4 does not exist: the ranks are 0 to 3"));
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 4, .rank = 4}, 4), NEXAR_EINVAL);
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 0}, 4), NEXAR_EINVAL);
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = UINT32_MAX}, 4), NEXAR_EINVAL);
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 4, .count = SIZE_MAX / 4 + 1}, 4), NEXAR_EINVAL);
    assert_non_null(strstr(nexar_last_error(), "more than memory can hold"));
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 4, .count = SIZE_MAX / 8 + 1}, 4), NEXAR_EINVAL);
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 4, .count = PTRDIFF_MAX / 4}, 4), NEXAR_OK);
    assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 4, .count = 1}, 0), NEXAR_EINVAL);
}

/* No segment is empty, however large the elements; and a plan stays small, however large the vector. */
static void test_c10_segments_are_never_empty_and_never_too_many(void **state)
{
    static const char *const tunes[] = {"all_reduce:0-:direct", "all_reduce:0-:ring", "all_reduce:0-:rsag"};
    struct nx_plans plans;
    struct nx_plan_key key;

    (void)state;
    nx_plans_init(&plans, 0, 0);
    for (size_t t = 0; t < 3; t++) {
        const struct nx_algorithm *a = algorithm(tunes[t]);
        struct nx_plan *plan;

        assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 4, .count = 1}, 1 << 30), NEXAR_OK);
        assert_true(key.shape.segment >= 1);
        assert_int_equal(nx_plan_key_make(&key, a, &(struct nx_shape){.n = 16, .rank = 3, .count = PTRDIFF_MAX / 8}, 8),
                         NEXAR_OK);
        plan = get(&plans, &key);
        assert_true(plan->sched.nbytes < (size_t)16 << 20);
        assert_true(plan->sched.scratch <= key.shape.count / 16);
        nx_plan_drop(plan);
    }
    assert_int_equal(nx_plan_key_make(&key, algorithm(tunes[0]), &(struct nx_shape){.n = 4, .count = 1 << 24}, 4),
                     NEXAR_OK);
    assert_int_equal(key.shape.segment, 65536);
    nx_plans_fini(&plans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hit_is_the_same_plan_and_allocates_nothing),
        cmocka_unit_test(test_every_field_of_the_key_counts),
        cmocka_unit_test(test_blocks_are_part_of_the_key),
        cmocka_unit_test(test_blocks_beyond_memory_are_refused),
        cmocka_unit_test(test_the_oldest_goes_first),
        cmocka_unit_test(test_bytes_are_limited),
        cmocka_unit_test(test_a_held_plan_outlives_the_cache),
        cmocka_unit_test(test_memory_failures),
        cmocka_unit_test(test_random_use),
        cmocka_unit_test(test_c10_arguments_are_checked),
        cmocka_unit_test(test_c10_segments_are_never_empty_and_never_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
