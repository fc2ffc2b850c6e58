/* test_schedules.c - every algorithm in the simulator: right results, no race, no deadlock, the promised order of
 * sums. */
#include "coll/sched_check.h"

#include "algorithms.h"
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- Cases -------------------------------------------------------------------------------------------------------- */

/* Ragged lengths, and those around the borders of segments, laps and windows. */
static size_t counts_of(uint32_t n, size_t segment, bool cuts, size_t out[24])
{
    size_t width = segment * n;
    size_t k = 0;
    const size_t some[] = {0, 1, n - 1, n, n + 1, 2 * (size_t)n + 1, 13, 31};
    const size_t borders[] = {width - 1, width, width + 1, 2 * width - 1, NX_WINDOW * width + 1, 6 * width - 2};

    for (size_t i = 0; i < COUNT(some); i++)
        out[k++] = some[i];
    for (size_t i = 0; i < COUNT(borders) && cuts; i++)
        out[k++] = borders[i];
    return k;
}

static void prove(const struct sim *sim, const char *name, const struct nx_shape *shape)
{
    if (sim_check(sim) != NEXAR_OK)
        fail_msg("%s: %s", case_text(name, shape), nexar_last_error());
}

static enum sim_sends any_way(struct rng *rng)
{
    return rng_below(rng, 2) == 0 ? SIM_BUFFERED : SIM_RENDEZVOUS;
}

static void all_reduce_case(const struct algorithm *a, struct nx_shape shape, struct kind kind, struct rng *rng)
{
    size_t size = nexar_dtype_size(kind.dtype);
    size_t nbytes = shape.count * size;
    unsigned char *in[MOST_RANKS];
    unsigned char *want = malloc(nbytes + 1);
    struct sim sim;

    sim_init(&sim, a->build, shape, size);
    sim_finish(&sim);
    prove(&sim, a->name, &shape);
    for (uint32_t r = 0; r < shape.n; r++) {
        in[r] = malloc(nbytes + 1);
        fill_elements(rng, in[r], shape.count, kind.dtype);
        memcpy(sim.bufs[r][NX_BUF_SEND], in[r], nbytes);
    }
    expect_result(a, &shape, kind, in, want);
    if (!sim_run(&sim, nx_reduce_kernel(kind.op, kind.dtype), rng, any_way(rng), shape.n, NULL))
        fail_msg("%s: does not end", case_text(a->name, &shape));
    for (uint32_t r = 0; r < shape.n; r++) {
        compare_result(a->name, &shape, sim.bufs[r][NX_BUF_RECV], want, nbytes);
        if (!shape.in_place)
            compare_result(a->name, &shape, sim.bufs[r][NX_BUF_SEND], in[r], nbytes);
        free(in[r]);
    }
    free(want);
    sim_fini(&sim);
}

static void test_all_reduce(void **state)
{
    static const size_t segments[] = {1, 3, 8};
    struct rng rng = {11};
    size_t counts[24];
    size_t turn = 0;

    (void)state;
    for (size_t a = 0; a < ALL_REDUCES; a++)
        for (uint32_t n = 1; n <= MOST_RANKS; n++)
            for (size_t s = 0; s < (algorithms[a].cuts ? COUNT(segments) : 1); s++) {
                size_t k = counts_of(n, segments[s], algorithms[a].cuts, counts);

                for (size_t c = 0; c < k; c++)
                    for (int in_place = 0; in_place < 2; in_place++)
                        all_reduce_case(
                            &algorithms[a],
                            (struct nx_shape){
                                .n = n, .count = counts[c], .segment = segments[s], .in_place = in_place != 0},
                            kinds[turn++ % KINDS], &rng);
            }
}

/* The float case again, all counts, so that the order of sums is not left to the rotation above. */
static void test_order_of_sums(void **state)
{
    struct rng rng = {12};

    (void)state;
    for (size_t a = 0; a < ALL_REDUCES; a++)
        for (uint32_t n = 1; n <= MOST_RANKS; n++)
            for (int in_place = 0; in_place < 2; in_place++)
                all_reduce_case(&algorithms[a],
                                (struct nx_shape){.n = n, .count = 67, .segment = 5, .in_place = in_place != 0},
                                kinds[0], &rng);
}

/* Decision: the default order is by rank whatever the size.  One element gets the same bits from flat, from bruck, from
 * direct with any segment, and at any place in the vector. */
static void test_rank_order_does_not_depend_on_the_size(void **state)
{
    struct rng rng = {13};

    (void)state;
    for (uint32_t n = 2; n <= 8; n++) {
        float x[MOST_RANKS];
        float want;

        fill_elements(&rng, (unsigned char *)x, n, NEXAR_FLOAT32);
        want = algorithms[FLAT].order(&(struct nx_shape){.n = n}, 0, x);
        for (size_t count = 1; count < 60; count += 7)
            for (size_t a = 0; a < ALL_REDUCES; a++) {
                struct nx_shape shape = {.n = n, .count = count, .segment = 1 + count % 4};
                struct sim sim;

                if (algorithms[a].order != algorithms[FLAT].order)
                    continue;
                sim_init(&sim, algorithms[a].build, shape, 4);
                sim_finish(&sim);
                for (uint32_t r = 0; r < n; r++)
                    for (size_t i = 0; i < count; i++)
                        memcpy(sim.bufs[r][NX_BUF_SEND] + i * 4, &x[r], 4);
                assert_true(sim_run(&sim, nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32), &rng, any_way(&rng), n, NULL));
                for (uint32_t r = 0; r < n; r++)
                    for (size_t i = 0; i < count; i++)
                        assert_memory_equal(sim.bufs[r][NX_BUF_RECV] + i * 4, &want, 4);
                sim_fini(&sim);
            }
    }
}

static void broadcast_case(const struct algorithm *a, struct nx_shape shape, struct rng *rng)
{
    size_t nbytes = shape.count * 4;
    unsigned char *want = malloc(nbytes + 1);
    struct sim sim;

    sim_init(&sim, a->build, shape, 4);
    sim_finish(&sim);
    prove(&sim, a->name, &shape);
    fill_elements(rng, want, shape.count, NEXAR_INT32);
    memcpy(sim.bufs[shape.root][NX_BUF_RECV], want, nbytes);
    if (!sim_run(&sim, NULL, rng, any_way(rng), shape.n, NULL))
        fail_msg("%s: does not end", case_text(a->name, &shape));
    for (uint32_t r = 0; r < shape.n; r++)
        compare_result(a->name, &shape, sim.bufs[r][NX_BUF_RECV], want, nbytes);
    free(want);
    sim_fini(&sim);
}

static void test_broadcast(void **state)
{
    static const size_t segments[] = {1, 3, 8};
    struct rng rng = {14};
    size_t counts[24];

    (void)state;
    for (size_t a = ALL_REDUCES; a < ALGORITHMS; a++)
        for (uint32_t n = 1; n <= MOST_RANKS; n++)
            for (size_t s = 0; s < (algorithms[a].cuts ? COUNT(segments) : 1); s++) {
                size_t k = counts_of(n, segments[s], algorithms[a].cuts, counts);

                for (size_t c = 0; c < k; c++)
                    for (uint32_t root = 0; root < n; root += 1 + n / 5)
                        broadcast_case(
                            &algorithms[a],
                            (struct nx_shape){.n = n, .root = root, .count = counts[c], .segment = segments[s]}, &rng);
            }
}

/* Nobody leaves before the last one came: for each rank that does nothing, no other gets to its end. */
static void test_barrier(void **state)
{
    struct rng rng = {15};

    (void)state;
    for (uint32_t n = 1; n <= 40; n++) {
        struct nx_shape shape = {.n = n, .segment = 1};
        uint32_t done[40];
        struct sim sim;

        sim_init(&sim, nx_build_barrier_dissemination, shape, 1);
        sim_finish(&sim);
        prove(&sim, "dissemination", &shape);
        assert_true(sim_run(&sim, NULL, &rng, SIM_BUFFERED, n, done));
        assert_true(sim_run(&sim, NULL, &rng, SIM_RENDEZVOUS, n, done));
        for (uint32_t held = 0; held < n && n > 1; held++) {
            assert_false(sim_run(&sim, NULL, &rng, SIM_BUFFERED, held, done));
            for (uint32_t r = 0; r < n; r++)
                assert_true(done[r] < sim.scheds[r].count);
        }
        sim_fini(&sim);
    }
}

/* --- Sizes nobody has the memory for, and defects of the reference ------------------------------------------------ */

/* Builds and proves, without data. */
static void prove_shape(const struct algorithm *a, struct nx_shape shape)
{
    struct nx_sched *scheds = calloc(shape.n, sizeof(*scheds));
    const struct nx_sched **all = calloc(shape.n, sizeof(*all));
    struct nx_check_sizes sizes = {.send = shape.count, .recv = shape.count, .in_place = shape.in_place};

    for (shape.rank = 0; shape.rank < shape.n; shape.rank++) {
        struct nx_sched *s = &scheds[shape.rank];

        a->build(s, &shape);
        assert_int_equal(nx_sched_finish(s), NEXAR_OK);
        if (nx_sched_check(s, shape.rank, shape.n, &sizes) != NEXAR_OK)
            fail_msg("%s: %s", case_text(a->name, &shape), nexar_last_error());
        all[shape.rank] = s;
    }
    if (nx_sched_check_all(all, shape.n) != NEXAR_OK)
        fail_msg("%s: %s", case_text(a->name, &shape), nexar_last_error());
    for (uint32_t r = 0; r < shape.n; r++)
        nx_sched_fini(&scheds[r]);
    free(scheds);
    free(all);
}

static void test_counts_beyond_32_bits(void **state)
{
    static const size_t counts[] = {((size_t)1 << 32) + 1, ((size_t)1 << 33) + 7, (size_t)1 << 60};

    (void)state;
    for (size_t a = 0; a < ALGORITHMS; a++)
        for (size_t c = 0; c < COUNT(counts); c++)
            for (uint32_t n = 1; n <= 5; n += 2)
                prove_shape(&algorithms[a],
                            (struct nx_shape){.n = n, .count = counts[c], .segment = counts[c] / 37 + 1});
}

/* Elements were lost at the borders of segments that the size of a chunk is no multiple of. */
static void test_c1_no_element_is_lost_at_segment_borders(void **state)
{
    struct rng rng = {18};

    (void)state;
    for (size_t a = 0; a < ALL_REDUCES; a++)
        for (size_t count = 9997; count <= 10003; count++)
            all_reduce_case(&algorithms[a], (struct nx_shape){.n = 3, .count = count, .segment = 477},
                            kinds[count % KINDS], &rng);
}

/* Neighbours disagreed about the number of segments. */
static void test_c2_neighbours_agree_about_segments(void **state)
{
    (void)state;
    for (size_t a = 0; a < ALL_REDUCES; a++) {
        prove_shape(&algorithms[a], (struct nx_shape){.n = 4, .count = 2097153, .segment = 65536});
        prove_shape(&algorithms[a], (struct nx_shape){.n = 8, .count = 25557032, .segment = 65536});
        prove_shape(&algorithms[a], (struct nx_shape){.n = 3, .count = 10000000, .segment = 65536});
    }
}

static int by_peer_and_tag(const void *a, const void *b)
{
    const struct nx_step *x = a;
    const struct nx_step *y = b;

    if (x->peer != y->peer)
        return x->peer < y->peer ? -1 : 1;
    return (x->tag > y->tag) - (x->tag < y->tag);
}

/* Steps beyond the 1000th took tags of the next collective. */
static void test_c7_tags_are_unique_however_many_ranks(void **state)
{
    (void)state;
    for (size_t a = 0; a < ALGORITHMS; a++) {
        const struct algorithm *alg = &algorithms[a];
        struct nx_shape shape = {.rank = 513, .n = 1201, .count = 1201 * 9, .segment = 2};
        struct nx_sched s = {0};
        struct nx_step *sends;
        size_t n = 0;

        alg->build(&s, &shape);
        assert_int_equal(nx_sched_finish(&s), NEXAR_OK);
        sends = calloc(s.count, sizeof(*sends));
        for (uint32_t i = 0; i < s.count; i++)
            if (s.steps[i].kind == NX_STEP_SEND)
                sends[n++] = s.steps[i];
        assert_int_equal(n, s.sends);
        qsort(sends, n, sizeof(*sends), by_peer_and_tag);
        for (size_t i = 0; i < n; i++) {
            assert_true(sends[i].tag < NX_TAG_LIMIT);
            assert_true(i == 0 || by_peer_and_tag(&sends[i - 1], &sends[i]) < 0);
        }
        free(sends);
        nx_sched_fini(&s);
    }
    prove_shape(&algorithms[DOUBLING], (struct nx_shape){.n = 520, .count = 3, .segment = 1});
}

/* What is nested in another schedule takes as many on all ranks. */
static void test_all_ranks_take_the_same_tags(void **state)
{
    (void)state;
    for (size_t a = 0; a < ALL_REDUCES; a++)
        for (uint32_t n = 1; n <= MOST_RANKS; n++)
            for (size_t count = 0; count < 100; count += 33) {
                struct nx_shape shape = {.n = n, .count = count, .segment = 4};
                uint32_t tags[MOST_RANKS];

                for (shape.rank = 0; shape.rank < n; shape.rank++) {
                    struct nx_sched s = {0};

                    algorithms[a].build(&s, &shape);
                    tags[shape.rank] = nx_sched_tags(&s);
                    if (tags[shape.rank] != tags[0])
                        fail_msg("%s: rank %u", case_text(algorithms[a].name, &shape), shape.rank);
                    nx_sched_fini(&s);
                }
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_reduce),
        cmocka_unit_test(test_order_of_sums),
        cmocka_unit_test(test_rank_order_does_not_depend_on_the_size),
        cmocka_unit_test(test_broadcast),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_counts_beyond_32_bits),
        cmocka_unit_test(test_c1_no_element_is_lost_at_segment_borders),
        cmocka_unit_test(test_c2_neighbours_agree_about_segments),
        cmocka_unit_test(test_all_ranks_take_the_same_tags),
        cmocka_unit_test(test_c7_tags_are_unique_however_many_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
