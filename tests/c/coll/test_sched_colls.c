/* test_sched_colls.c - every algorithm of every collective in the simulator: right results to the last element, no
 * race, no deadlock, the promised order of sums. */
#include "coll_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void run_case(const struct coll_algorithm *a, struct nx_shape shape, enum coll_in_place in_place,
                     struct kind kind, struct rng *rng)
{
    struct coll_case c;

    coll_case_init(&c, a, shape, in_place, kind, rng);
    if (sim_check(&c.sim) != NEXAR_OK)
        fail_msg("%s: %s", c.text, nexar_last_error());
    coll_case_run(&c, rng_below(rng, 2) == 0 ? SIM_BUFFERED : SIM_RENDEZVOUS, rng);
    coll_case_fini(&c);
}

/* Lengths of vectors or blocks: ragged ones, and those around the borders of segments and windows. */
static size_t counts_of(const struct nx_shape *shape, bool cuts, size_t out[24])
{
    size_t n = shape->n;
    size_t width = shape->segment;
    size_t k = 0;
    const size_t some[] = {0, 1, 2, n - 1, n + 1, 13};
    const size_t borders[] = {width - 1, width + 1, n * width, n * width + 1, NX_WINDOW * width + 1, 6 * width - 2};

    for (size_t i = 0; i < COUNT(some); i++)
        out[k++] = some[i];
    for (size_t i = 0; i < COUNT(borders) && cuts; i++)
        out[k++] = borders[i];
    return k;
}

static void every_case(const struct coll_algorithm *a, struct nx_shape shape, size_t *turn, struct rng *rng)
{
    static const size_t segments[] = {1, 3, 8};
    size_t counts[24];

    for (size_t s = 0; s < (a->cuts ? COUNT(segments) : 1); s++) {
        size_t k;

        shape.segment = segments[s];
        k = counts_of(&shape, a->cuts, counts);
        for (size_t c = 0; c < k; c++) {
            enum coll_in_place way = (enum coll_in_place)(*turn % 3);

            shape.count = counts[c];
            run_case(a, shape, way, kinds[*turn / 3 % KINDS], rng);
            *turn += 1;
        }
    }
}

/* All roots of up to 9 ranks, some of more. */
static void test_every_algorithm(void **state)
{
    struct rng rng = {31};
    size_t turn = 0;

    (void)state;
    for (size_t a = 0; a < coll_algorithm_count; a++)
        for (uint32_t n = 1; n <= MOST_RANKS; n++)
            for (uint32_t root = 0; root < (coll_has_root(coll_algorithms[a].coll) ? n : 1); root += n <= 9 ? 1 : 5)
                every_case(&coll_algorithms[a], (struct nx_shape){.n = n, .root = root}, &turn, &rng);
}

/* Floats, all ranks, in all ways to be in place: the order of sums is not left to the rotation above. */
static void test_order_of_sums(void **state)
{
    struct rng rng = {32};

    (void)state;
    for (size_t a = 0; a < coll_algorithm_count; a++)
        for (uint32_t n = 1; n <= MOST_RANKS && coll_algorithms[a].order != NULL; n++)
            for (uint32_t root = 0; root < (coll_has_root(coll_algorithms[a].coll) ? n : 1); root++)
                for (int way = NOT_IN_PLACE; way <= SOME_IN_PLACE; way++)
                    run_case(&coll_algorithms[a],
                             (struct nx_shape){.n = n, .root = root, .count = 2 * (size_t)n + 1, .segment = 5},
                             (enum coll_in_place)way, kinds[0], &rng);
}

/* Blocks that are longer than 32 bits can count; without data. */
static void test_counts_beyond_32_bits(void **state)
{
    static const size_t counts[] = {((size_t)1 << 32) + 1, ((size_t)1 << 33) + 7, (size_t)1 << 56};

    (void)state;
    for (size_t a = 0; a < coll_algorithm_count; a++)
        for (size_t i = 0; i < COUNT(counts); i++)
            for (uint32_t n = 1; n <= 5; n += 2) {
                struct nx_sched scheds[5] = {{0}};
                const struct nx_sched *all[5];
                struct nx_shape shape = {.n = n, .root = n - 1, .count = counts[i], .segment = counts[i] / 37 + 1};
                const struct nx_check_sizes sizes = {.send = n * counts[i], .recv = n * counts[i]};

                for (shape.rank = 0; shape.rank < n; shape.rank++) {
                    all[shape.rank] = &scheds[shape.rank];
                    coll_algorithms[a].build(&scheds[shape.rank], &shape);
                    assert_int_equal(nx_sched_finish(&scheds[shape.rank]), NEXAR_OK);
                    assert_int_equal(nx_sched_check(&scheds[shape.rank], shape.rank, n, &sizes), NEXAR_OK);
                    for (uint32_t k = 0; k < scheds[shape.rank].count; k++)
                        assert_true(scheds[shape.rank].steps[k].count <= sizes.send);
                }
                assert_int_equal(nx_sched_check_all(all, n), NEXAR_OK);
                for (uint32_t r = 0; r < n; r++)
                    nx_sched_fini(&scheds[r]);
            }
}

/* The receives that a rank may have posted, and the sends that it may have begun, at the same time: those that nothing
 * orders. */
static uint32_t widest(const struct nx_sched *s, enum nx_step_kind kind)
{
    uint32_t *depth = calloc((size_t)s->count + 1, sizeof(*depth)); /* per step: how many of the kind come before */
    uint32_t at[64] = {0};
    uint32_t most = 0;

    for (uint32_t i = 0; i < s->count; i++) {
        for (int k = 0; k < 2; k++)
            if (s->steps[i].after[k] != NX_NONE) {
                uint32_t before = depth[s->steps[i].after[k]] + (s->steps[s->steps[i].after[k]].kind == kind);

                depth[i] = before > depth[i] ? before : depth[i];
            }
        if (s->steps[i].kind == kind && s->steps[i].count != 0) {
            at[depth[i]]++;
            most = at[depth[i]] > most ? at[depth[i]] : most;
        }
    }
    free(depth);
    return most;
}

/* A root never has more blocks under way than it may, nor does a rank of an all_to_all. */
static void test_blocks_in_flight_are_bounded(void **state)
{
    struct nx_shape shape = {.n = 40, .count = 3, .segment = 1};
    struct nx_sched s = {0};

    (void)state;
    nx_build_gather_linear(&s, &shape);
    assert_int_equal(widest(&s, NX_STEP_RECV), NX_PEERS_AT_ONCE);
    nx_sched_fini(&s);
    nx_build_scatter_linear(&s, &shape);
    assert_int_equal(widest(&s, NX_STEP_SEND), NX_PEERS_AT_ONCE);
    nx_sched_fini(&s);
    nx_build_all_to_all_pairwise(&s, &shape);
    assert_int_equal(widest(&s, NX_STEP_RECV), NX_PEERS_AT_ONCE);
    assert_int_equal(widest(&s, NX_STEP_SEND), NX_PEERS_AT_ONCE);
    nx_sched_fini(&s);
    for (shape.rank = 1; shape.rank < shape.n; shape.rank++) { /* the last ones wait to be asked */
        nx_build_gather_linear(&s, &shape);
        assert_int_equal(s.recvs, shape.rank > NX_PEERS_AT_ONCE);
        nx_sched_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_algorithm),
        cmocka_unit_test(test_order_of_sums),
        cmocka_unit_test(test_counts_beyond_32_bits),
        cmocka_unit_test(test_blocks_in_flight_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
