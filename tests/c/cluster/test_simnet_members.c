/* Members in virtual time: thousands of jobs with deaths, partitions, resets, joins, each from a seed, and what must
 * hold after every event (docs/MEMBERSHIP.md).
 *
 * NEXAR_SIM_SEED=<number> runs that one alone, in each set, and says what happened.  NX_TEST_FULL: five times as
 * many, 100 000 of the first set. */
#include "check.h"
#include "memsim.h"

#include <stdlib.h>

struct set {
    const char *name;
    uint32_t seeds;
    struct memsim_options options;
};

static const struct set small = {"2-16 members", 20000, {.least = 2, .most = 16}};
static const struct set wire = {"2-16 members, by the codec", 4000, {.least = 2, .most = 16, .by_wire = true}};
static const struct set majority = {"2-16 members, majority", 4000, {.least = 2, .most = 16, .majority = true}};
static const struct set resets = {
    "2-16 members, resets look like deaths", 4000, {.least = 2, .most = 16, .false_close = true}};
static const struct set memory = {
    "2-16 members, short of memory", 2000, {.least = 2, .most = 16, .short_memory = true}};
static const struct set large = {"17-64 members", 400, {.least = 17, .most = 64, .by_wire = true}};

static struct memsim world; /* it is large */

static void run_one(const struct set *set, uint64_t seed, bool talk, struct memsim_stats *sum, uint32_t *stopped)
{
    struct memsim_options o = set->options;
    struct memsim_result r;

    o.trace = talk ? stdout : NULL;
    memsim_scenario(&world, seed, &o, &r);
    if (world.fault[0] != '\0')
        fail_msg("%s, NEXAR_SIM_SEED=%llu, %u members: %s", set->name, (unsigned long long)seed, r.members,
                 world.fault);
    for (uint32_t i = 0; i < r.n; i++)
        *stopped += r.side[i].stopped;
    sum->crashes += world.stats.crashes;
    sum->views += world.stats.views;
    sum->joined += world.stats.joined;
    sum->left += world.stats.left;
    sum->agreed += world.stats.agreed;
    sum->taken += world.stats.taken;
    memsim_fini(&world);
}

static void run_all(const struct set *set)
{
    const char *only = getenv("NEXAR_SIM_SEED"), *full = getenv("NX_TEST_FULL");
    uint32_t count = full != NULL && *full != '\0' ? 5 * set->seeds : set->seeds / CHECK_SHORTER, stopped = 0;
    uint64_t blocks = live_blocks();
    struct memsim_stats sum = {0};

    if (only != NULL) {
        run_one(set, strtoull(only, NULL, 10), true, &sum, &stopped);
        return;
    }
    for (uint64_t seed = 1; seed <= count; seed++)
        run_one(set, seed, false, &sum, &stopped);
    print_message("%s, %u seeds: %llu crashes, %llu changes of the list, %llu joined, %llu left, agree returned %llu "
                  "times, %llu messages taken, %u sides had no quorum\n",
                  set->name, count, (unsigned long long)sum.crashes, (unsigned long long)sum.views,
                  (unsigned long long)sum.joined, (unsigned long long)sum.left, (unsigned long long)sum.agreed,
                  (unsigned long long)sum.taken, stopped);
    /* The scenarios are what they should be: all of this has happened. */
    assert_true(sum.crashes > count / 2 && sum.views > count / 4 && sum.joined > 0 && sum.left > 0);
    assert_true(sum.agreed > count && sum.taken > count && stopped > 0);
    assert_int_equal(live_blocks(), blocks);
}

static void test_small_jobs(void **state)
{
    (void)state;
    run_all(&small);
}

/* The only one in reach who has an entry is one who joined with it. */
static void test_an_entry_that_only_the_joiner_has(void **state)
{
    struct memsim_stats sum = {0};
    uint32_t stopped = 0;

    (void)state;
    run_one(&small, 23784, false, &sum, &stopped);
    assert_int_equal(sum.joined, 1);
}

static void test_small_jobs_by_wire(void **state)
{
    (void)state;
    run_all(&wire);
}

static void test_only_the_living_vote(void **state)
{
    (void)state;
    run_all(&majority);
}

static void test_resets_look_like_deaths(void **state)
{
    (void)state;
    run_all(&resets);
}

static void test_short_of_memory(void **state)
{
    (void)state;
    run_all(&memory);
}

static void test_large_jobs(void **state)
{
    (void)state;
    run_all(&large);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_jobs),
        cmocka_unit_test(test_an_entry_that_only_the_joiner_has),
        cmocka_unit_test(test_small_jobs_by_wire),
        cmocka_unit_test(test_only_the_living_vote),
        cmocka_unit_test(test_resets_look_like_deaths),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_large_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
