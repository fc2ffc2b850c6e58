/* test_mutations.c - takes every dependency out of every schedule in turn: the checker notices, or it was not
 * needed. */
#include "coll/sched_check.h"

#include "algorithms.h"
#include "edges.h"
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

struct tally {
    size_t edges, caught, implied, harmless;
};

/* Whether the results are still right, in many orders, with one rank's schedule changed. */
static void still_right(const struct algorithm *a, struct nx_shape shape, struct sim *sim, struct rng *rng)
{
    struct kind kind = {NEXAR_INT64, NEXAR_SUM};
    size_t nbytes = shape.count * 8;
    unsigned char *in[MOST_RANKS];
    unsigned char *want = malloc(nbytes + 1);

    for (uint32_t r = 0; r < shape.n; r++) {
        in[r] = malloc(nbytes + 1);
        fill_elements(rng, in[r], shape.count, kind.dtype);
    }
    if (a->order != NULL)
        expect_result(a, &shape, kind, in, want);
    else
        memcpy(want, in[shape.root], nbytes);
    for (int round = 0; round < 8; round++) {
        for (uint32_t r = 0; r < shape.n; r++)
            memcpy(sim->bufs[r][a->order != NULL ? NX_BUF_SEND : NX_BUF_RECV], in[r], nbytes);
        assert_true(sim_run(sim, nx_reduce_kernel(kind.op, kind.dtype), rng, SIM_BUFFERED, shape.n, NULL));
        for (uint32_t r = 0; r < shape.n; r++)
            compare_result(a->name, &shape, sim->bufs[r][NX_BUF_RECV], want, nbytes);
    }
    for (uint32_t r = 0; r < shape.n; r++)
        free(in[r]);
    free(want);
}

/* Deletes each edge of each rank's schedule in turn. */
static struct tally mutate(const struct algorithm *a, struct nx_shape shape, struct rng *rng)
{
    struct tally t = {0};
    struct nx_check_sizes sizes = {.send = shape.count, .recv = shape.count, .in_place = shape.in_place};
    struct sim sim;

    sim_init(&sim, a->build, shape, 8);
    sim_finish(&sim);
    for (uint32_t r = 0; r < shape.n; r++)
        for (uint32_t i = 0; i < sim.scheds[r].count; i++)
            for (int k = 0; k < 2; k++) {
                struct nx_sched *s = &sim.scheds[r];
                int32_t before = s->steps[i].after[k];

                if (before == NX_NONE)
                    continue;
                t.edges++;
                s->steps[i].after[k] = NX_NONE;
                if (nx_sched_check(s, r, shape.n, &sizes) != NEXAR_OK) {
                    t.caught++;
                } else if (edges_imply(s, i, before)) {
                    t.implied++;
                } else {
                    t.harmless++;
                    sim_finish(&sim);
                    still_right(a, shape, &sim, rng);
                }
                s->steps[i].after[k] = before;
                sim_finish(&sim);
            }
    sim_fini(&sim);
    return t;
}

/* Direct, not in place, holds back its last receives although nothing could happen to them.  What is made of parts or
 * laps begins one when all of another is over. */
static bool has_spare_edges(size_t a, bool in_place)
{
    return (a == DIRECT && !in_place) || a == HOSTS || a == RELAY;
}

/* Within a window every edge guards some memory: deleting any is noticed, or another path says the same. */
static void test_mutations_are_caught(void **state)
{
    struct rng rng = {16};

    (void)state;
    for (uint32_t n = 2; n <= 9; n++)
        for (size_t a = 0; a < ALL_REDUCES; a++)
            for (int in_place = 0; in_place < 2; in_place++) {
                struct nx_shape shape = {.n = n, .count = 3 * (size_t)n + 1, .segment = 50, .in_place = in_place != 0};
                struct tally t = mutate(&algorithms[a], shape, &rng);

                assert_int_equal(t.implied + t.caught + t.harmless, t.edges);
                if (has_spare_edges(a, shape.in_place))
                    continue;
                assert_int_equal(t.harmless, 0);
                assert_true(t.caught > 0 && t.caught >= 3 * t.implied);
            }
}

/* With windows some edges bound memory in flight instead; the checker passes without them, and the results are
 * right. */
static void test_mutations_of_windows_are_harmless(void **state)
{
    struct rng rng = {17};
    size_t harmless = 0;

    (void)state;
    for (uint32_t n = 2; n <= 4; n++)
        for (size_t a = 0; a < ALGORITHMS; a++) {
            const struct algorithm *alg = &algorithms[a];
            struct nx_shape shape = {.n = n, .root = n - 1, .count = 6 * (size_t)n, .segment = 1, .in_place = n == 3};
            struct tally t = mutate(alg, shape, &rng);

            assert_int_equal(t.implied + t.caught + t.harmless, t.edges);
            assert_true(alg->cuts || t.harmless == 0);
            harmless += t.harmless;
        }
    assert_true(harmless > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutations_are_caught),
        cmocka_unit_test(test_mutations_of_windows_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
