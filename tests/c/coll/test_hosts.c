/* test_hosts.c - the algorithms that know hosts, on many layouts, in the simulator: results, order of sums, no race, no
 * deadlock, and how much passes between hosts. */
#include "coll/hosts.h"

#include "coll_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct layout {
    uint32_t n;
    uint32_t hosts[12];
} layouts[] = {
    {4, {0, 0, 1, 1}},
    {4, {0, 0, 0, 1}},
    {4, {0, 1, 1, 1}},
    {5, {0, 0, 1, 1, 1}},
    {4, {0, 1, 2, 2}},
    {4, {0, 1, 0, 1}},
    {5, {0, 1, 1, 0, 2}},
    {2, {0, 1}},
    {1, {0}},
    {3, {0, 0, 0}},
    {6, {0, 1, 2, 2, 1, 0}},
    {7, {0, 0, 0, 1, 1, 2, 2}},
    {8, {0, 0, 0, 0, 1, 1, 1, 1}},
    {9, {0, 0, 0, 1, 1, 1, 2, 2, 2}},
    {12, {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}},
    {12, {0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9}},
};
#define MANY_HOSTS 15 /* the one with more than 8 */

static struct nx_shape shape_on(const struct layout *layout, size_t count, size_t segment)
{
    return (struct nx_shape){.n = layout->n, .count = count, .segment = segment, .hosts = layout->hosts};
}

/* By rank within each host, then by host. */
static float by_host(const struct layout *layout, const float *x)
{
    float sum[12] = {0};
    uint32_t have[12] = {0}, hosts = 0;
    float all;

    for (uint32_t r = 0; r < layout->n; r++) {
        uint32_t host = layout->hosts[r];

        sum[host] = have[host]++ == 0 ? x[r] : sum[host] + x[r];
        hosts = host + 1 > hosts ? host + 1 : hosts;
    }
    all = sum[0];
    for (uint32_t i = 1; i < hosts; i++)
        all += sum[i];
    return all;
}

static float by_rank(const struct layout *layout, const float *x)
{
    float sum = x[0];

    for (uint32_t r = 1; r < layout->n; r++)
        sum += x[r];
    return sum;
}

/* Of values whose sum is exact: any order has the same bits. */
static float exact(const struct layout *layout, const float *x)
{
    return by_rank(layout, x);
}

static void all_reduce(nx_build_fn build, float (*order)(const struct layout *layout, const float *x),
                       const struct layout *layout, struct nx_shape shape, struct rng *rng)
{
    float *x = calloc(shape.count * layout->n + 1, sizeof(*x)); /* of element i, rank r's at i * n + r */
    struct sim sim;

    fill_elements(rng, (unsigned char *)x, shape.count * layout->n, NEXAR_FLOAT32);
    for (size_t i = 0; i < shape.count * layout->n && order == exact; i++)
        x[i] = (float)(i % 1000);
    sim_init(&sim, build, shape, sizeof(float));
    sim_finish(&sim);
    if (sim_check(&sim) != NEXAR_OK)
        fail_msg("%s: %s", case_text("all_reduce", &shape), nexar_last_error());
    for (uint32_t r = 0; r < layout->n; r++)
        for (size_t i = 0; i < shape.count; i++)
            memcpy(sim.bufs[r][NX_BUF_SEND] + i * 4, &x[i * layout->n + r], 4);
    if (!sim_run(&sim, nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32), rng,
                 rng_below(rng, 2) == 0 ? SIM_BUFFERED : SIM_RENDEZVOUS, layout->n, NULL))
        fail_msg("%s: does not end", case_text("all_reduce", &shape));
    for (size_t i = 0; i < shape.count; i++) {
        float want = order(layout, &x[i * layout->n]);

        for (uint32_t r = 0; r < layout->n; r++)
            compare_result("all_reduce", &shape, sim.bufs[r][NX_BUF_RECV] + i * 4, &want, 4);
    }
    free(x);
    sim_fini(&sim);
}

static void test_all_reduce(void **state)
{
    static const size_t segments[] = {1, 3, 40};
    static const size_t counts[] = {0, 1, 2, 3, 7, 13, 39, 64, 101};
    struct rng rng = {51};

    (void)state;
    for (size_t k = 0; k < COUNT(layouts); k++)
        for (size_t s = 0; s < COUNT(segments); s++)
            for (size_t c = 0; c < COUNT(counts); c++)
                for (int in_place = 0; in_place < 2; in_place++) {
                    struct nx_shape shape = shape_on(&layouts[k], counts[c], segments[s]);

                    shape.in_place = in_place != 0;
                    all_reduce(nx_build_all_reduce_hosts, k == MANY_HOSTS ? exact : by_host, &layouts[k], shape, &rng);
                    all_reduce(nx_build_all_reduce_relay, by_rank, &layouts[k], shape, &rng);
                }
}

/* Not asked for integers and maxima, whose results do not depend on the order. */
static float any(uint32_t n, uint32_t root, uint32_t rank, const float *x)
{
    fail_msg("the order of %u elements from %g on matters, root %u, rank %u", n, (double)x[0], root, rank);
    return 0;
}

static void test_the_others(void **state)
{
    static const struct coll_algorithm others[] = {
        {NX_COLL_BROADCAST, "hosts", nx_build_broadcast_hosts, true, NULL},
        {NX_COLL_REDUCE, "hosts", nx_build_reduce_hosts, true, any},
        {NX_COLL_ALL_GATHER, "hosts", nx_build_all_gather_hosts, false, NULL},
        {NX_COLL_REDUCE_SCATTER, "hosts", nx_build_reduce_scatter_hosts, false, any},
        {NX_COLL_ALL_GATHER_V, "hosts", nx_build_all_gather_hosts, false, NULL},
        {NX_COLL_REDUCE_SCATTER_V, "hosts", nx_build_reduce_scatter_hosts, false, any},
    };
    static const size_t counts[] = {0, 1, 2, 5, 13, 32};
    struct rng rng = {52};
    size_t turn = 0;

    (void)state;
    for (size_t a = 0; a < COUNT(others); a++)
        for (size_t k = 0; k < COUNT(layouts); k++)
            for (size_t c = 0; c < COUNT(counts); c++)
                for (uint32_t root = 0; root < (coll_has_root(others[a].coll) ? layouts[k].n : 1); root++) {
                    struct nx_shape shape = shape_on(&layouts[k], counts[c], 1 + turn % 6);
                    struct coll_case one;

                    shape.root = root;
                    coll_case_init(&one, &others[a], shape, (enum coll_in_place)(turn % 3), kinds[1 + turn / 3 % 3],
                                   &rng);
                    if (sim_check(&one.sim) != NEXAR_OK)
                        fail_msg("%s: %s", one.text, nexar_last_error());
                    coll_case_run(&one, turn % 2 == 0 ? SIM_BUFFERED : SIM_RENDEZVOUS, &rng);
                    coll_case_fini(&one);
                    turn++;
                }
}

static void test_barrier(void **state)
{
    struct rng rng = {53};

    (void)state;
    for (size_t k = 0; k < COUNT(layouts); k++) {
        struct nx_shape shape = shape_on(&layouts[k], 0, 1);
        uint32_t done[12];
        struct sim sim;

        sim_init(&sim, nx_build_barrier_hosts, shape, 1);
        sim_finish(&sim);
        assert_int_equal(sim_check(&sim), NEXAR_OK);
        assert_true(sim_run(&sim, NULL, &rng, SIM_BUFFERED, shape.n, done));
        assert_true(sim_run(&sim, NULL, &rng, SIM_RENDEZVOUS, shape.n, done));
        for (uint32_t held = 0; held < shape.n && shape.n > 1; held++) {
            assert_false(sim_run(&sim, NULL, &rng, SIM_BUFFERED, held, done));
            for (uint32_t r = 0; r < shape.n; r++)
                assert_true(done[r] < sim.scheds[r].count);
        }
        sim_fini(&sim);
    }
}

/* Elements that are sent from one host to another, by all ranks. */
static size_t between(nx_build_fn build, const struct layout *layout, size_t count, size_t segment, uint32_t *messages)
{
    struct nx_shape shape = shape_on(layout, count, segment);
    size_t elements = 0;

    *messages = 0;
    for (shape.rank = 0; shape.rank < shape.n; shape.rank++) {
        struct nx_sched s = {0};

        build(&s, &shape);
        assert_int_equal(nx_sched_finish(&s), NEXAR_OK);
        for (uint32_t i = 0; i < s.count; i++)
            if (s.steps[i].kind == NX_STEP_SEND && layout->hosts[s.steps[i].peer] != layout->hosts[shape.rank]) {
                *messages += 1;
                elements += s.steps[i].count;
            }
        nx_sched_fini(&s);
    }
    return elements;
}

static void test_what_passes_between_hosts(void **state)
{
    static const struct layout three = {12, {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2}};
    enum { S = 12 * 4096 };
    uint32_t messages;

    (void)state;
    /* 2 (h - 1) / h S of each of h hosts; of a chain there and back S on each of its borders. */
    assert_int_equal(between(nx_build_all_reduce_hosts, &three, S, S / 4, &messages), 4 * S);
    assert_int_equal(between(nx_build_all_reduce_relay, &three, S, S, &messages), 4 * S);
    assert_int_equal(between(nx_build_broadcast_hosts, &three, S, S, &messages), 2 * S);
    assert_int_equal(messages, 2);
    assert_int_equal(between(nx_build_reduce_hosts, &three, S, S, &messages), 2 * S);
    assert_int_equal(messages, 2);
    /* Each block once to each other host. */
    assert_int_equal(between(nx_build_all_gather_hosts, &three, 10, 1, &messages), 12 * 2 * 10);
    assert_int_equal(messages, 12 * 2);
    assert_int_equal(between(nx_build_reduce_scatter_hosts, &three, 10, 1, &messages), 12 * 2 * 10);
    assert_int_equal(messages, 12 * 2);
    between(nx_build_barrier_hosts, &three, 0, 1, &messages);
    assert_int_equal(messages, 2 * 3); /* 2 rounds of 3 hosts */
    /* A short vector is one slice: a message from each host to each. */
    between(nx_build_all_reduce_hosts, &three, 2, 65536, &messages);
    assert_int_equal(messages, 3 * 2);
}

/* Whoever nests it counts on that. */
static void test_all_ranks_take_the_same_tags(void **state)
{
    static const nx_build_fn builds[] = {nx_build_all_reduce_hosts, nx_build_all_reduce_relay};

    (void)state;
    for (size_t b = 0; b < COUNT(builds); b++)
        for (size_t k = 0; k < COUNT(layouts); k++)
            for (size_t count = 0; count < 50; count += 7) {
                struct nx_shape shape = shape_on(&layouts[k], count, 3);
                uint32_t tags[12];

                for (shape.rank = 0; shape.rank < shape.n; shape.rank++) {
                    struct nx_sched s = {0};

                    builds[b](&s, &shape);
                    tags[shape.rank] = nx_sched_tags(&s);
                    assert_int_equal(tags[shape.rank], tags[0]);
                    nx_sched_fini(&s);
                }
            }
}

/* As many laps as a plan may have, not more. */
static void test_huge_vectors(void **state)
{
    static const nx_build_fn builds[] = {nx_build_all_reduce_hosts, nx_build_all_reduce_relay, nx_build_broadcast_hosts,
                                         nx_build_reduce_hosts};

    (void)state;
    for (size_t b = 0; b < COUNT(builds); b++)
        for (size_t k = 0; k < 6; k++) {
            struct nx_sched scheds[12] = {{0}};
            const struct nx_sched *all[12];
            struct nx_shape shape = shape_on(&layouts[k], ((size_t)1 << 40) + 3, (size_t)1 << 16);

            for (shape.rank = 0; shape.rank < shape.n; shape.rank++) {
                all[shape.rank] = &scheds[shape.rank];
                builds[b](&scheds[shape.rank], &shape);
                assert_int_equal(nx_sched_finish(&scheds[shape.rank]), NEXAR_OK);
                assert_true(scheds[shape.rank].count < 200000);
            }
            assert_int_equal(nx_sched_check_all(all, shape.n), NEXAR_OK);
            for (uint32_t r = 0; r < shape.n; r++)
                nx_sched_fini(&scheds[r]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_reduce),
        cmocka_unit_test(test_the_others),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_what_passes_between_hosts),
        cmocka_unit_test(test_all_ranks_take_the_same_tags),
        cmocka_unit_test(test_huge_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
