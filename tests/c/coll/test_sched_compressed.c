/* test_sched_compressed.c - the schedules of all_reduce_compressed and all_reduce_bucketed in the simulator: right
 * results, no race, no deadlock, and damage is noticed. */
#include "algorithms.h"
#include "check.h"
#include "edges.h"
#include "sim.h"

#include <stdlib.h>

struct inner {
    nx_build_fn build;
    size_t segment;
};

static const struct inner inners[] = {{nx_build_all_reduce_flat, 0}, {nx_build_all_reduce_direct, 32}};

static enum sim_sends any_way(struct rng *rng)
{
    return rng_below(rng, 2) == 0 ? SIM_BUFFERED : SIM_RENDEZVOUS;
}

/* ---- compressed ---- */

struct compressed {
    struct nx_shape shape;
    struct sim sim;
    float *send[MOST_RANKS], *residual[MOST_RANKS], *want;
};

/* As the pages say it: everyone's vector is encoded as a whole, decoded, added by rank; a dense sum once more. */
static void expect(struct compressed *c, uint64_t turn)
{
    const struct nx_compress *how = &c->shape.compress;
    size_t count = c->shape.count;
    float *all = malloc(4 * count + 4);
    void *words = malloc(4 * nx_compress_words(how, count) + 4);

    memset(c->want, 0, 4 * count);
    for (uint32_t r = 0; r < c->shape.n; r++) {
        for (size_t i = 0; i < count; i++)
            all[i] = how->feedback ? c->send[r][i] + c->residual[r][i] : c->send[r][i];
        nx_compress_encode(how, turn, words, all, count);
        assert_ok(nx_compress_decode(how, turn, c->want, words, count, r != 0 || nx_compress_is_sparse(how)));
    }
    if (!nx_compress_is_sparse(how)) {
        nx_compress_encode(how, turn, words, c->want, count);
        assert_ok(nx_compress_decode(how, turn, c->want, words, count, false));
    }
    free(all);
    free(words);
}

static void compressed_init(struct compressed *c, const struct nx_shape *shape, struct rng *rng)
{
    size_t nbytes = 4 * shape->count;

    *c = (struct compressed){.shape = *shape, .want = malloc(nbytes + 4)};
    sim_init(&c->sim, nx_build_all_reduce_compressed, *shape, sizeof(float));
    c->sim.compress = shape->compress;
    c->sim.turn = rng_next(rng);
    memset(c->sim.identity, 0, sizeof(c->sim.identity));
    sim_finish(&c->sim);
    for (uint32_t r = 0; r < shape->n; r++) {
        c->send[r] = malloc(nbytes + 4);
        c->residual[r] = malloc(nbytes + 4);
        fill_elements(rng, (unsigned char *)c->send[r], shape->count, NEXAR_FLOAT32);
        fill_elements(rng, (unsigned char *)c->residual[r], shape->count, NEXAR_FLOAT32);
    }
    expect(c, c->sim.turn);
}

static void compressed_fini(struct compressed *c)
{
    for (uint32_t r = 0; r < c->shape.n; r++) {
        free(c->send[r]);
        free(c->residual[r]);
    }
    free(c->want);
    sim_fini(&c->sim);
}

/* NULL if every rank has what it must have. */
static const char *compressed_try(struct compressed *c, struct rng *rng)
{
    size_t nbytes = 4 * c->shape.count;

    for (uint32_t r = 0; r < c->shape.n; r++) {
        memset(c->sim.bufs[r][NX_BUF_RECV], 0xa5, nbytes);
        memcpy(c->sim.bufs[r][NX_BUF_SEND], c->send[r], nbytes);
        memcpy(c->sim.bufs[r][NX_BUF_RESIDUAL], c->residual[r], nbytes);
    }
    if (!sim_run(&c->sim, nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32), rng, any_way(rng), c->shape.n, NULL))
        return "does not end";
    for (uint32_t r = 0; r < c->shape.n; r++) {
        if (memcmp(c->sim.bufs[r][NX_BUF_RECV], c->want, nbytes) != 0)
            return "wrong result";
        if (memcmp(c->sim.bufs[r][NX_BUF_RESIDUAL], c->residual[r], nbytes) != 0)
            return "wrote to the residual";
        if (!c->shape.in_place && memcmp(c->sim.bufs[r][NX_BUF_SEND], c->send[r], nbytes) != 0)
            return "wrote to what was sent";
    }
    return NULL;
}

static const struct nx_compress forms[] = {
    {.kind = NEXAR_COMPRESS_BFLOAT16},
    {.kind = NEXAR_COMPRESS_FLOAT8, .block = 4},
    {.kind = NEXAR_COMPRESS_INT8, .block = 8},
    {.kind = NEXAR_COMPRESS_TOP_K},
    {.kind = NEXAR_COMPRESS_TOP_K, .feedback = true},
    {.kind = NEXAR_COMPRESS_RANDOM_K},
    {.kind = NEXAR_COMPRESS_RANDOM_K, .feedback = true},
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

static struct nx_shape compressed_shape(int form, uint32_t n, size_t count, size_t segment, bool in_place, size_t turn)
{
    struct nx_shape shape = {.n = n,
                             .count = count,
                             .segment = segment,
                             .in_place = in_place,
                             .inner = inners[turn % 2].build,
                             .inner_segment = inners[turn % 2].segment,
                             .compress = forms[form]};

    if (nx_compress_is_sparse(&shape.compress))
        shape.compress.k = count == 0 ? 0 : 1 + turn % count;
    return shape;
}

static void test_compressed(void **state)
{
    struct rng rng = {51};
    size_t turn = 0;

    (void)state;
    for (int form = 0; form < FORMS; form++)
        for (uint32_t n = 1; n <= MOST_RANKS; n++) {
            const size_t counts[] = {0, 1, n, 4 * (size_t)n + 1, 9 * (size_t)n, 16 * 8 * (size_t)n + 5};

            for (size_t i = 0; i < 2 * sizeof(counts) / sizeof(counts[0]); i++) {
                struct nx_shape shape = compressed_shape(form, n, counts[i / 2], 1 + turn % 3 * 11, i % 2, turn);
                struct compressed c;
                const char *wrong;

                compressed_init(&c, &shape, &rng);
                if (sim_check(&c.sim) != NEXAR_OK)
                    fail_msg("form %d, %s: %s", form, case_text("compressed", &shape), nexar_last_error());
                wrong = compressed_try(&c, &rng);
                if (wrong != NULL)
                    fail_msg("form %d, %s: %s", form, case_text("compressed", &shape), wrong);
                compressed_fini(&c);
                turn++;
            }
        }
}

/* Without any of its dependencies a schedule is refused, or has another path that says the same, or works all the
 * same. */
static size_t mutate(struct compressed *c, struct rng *rng)
{
    size_t caught = 0;

    for (uint32_t r = 0; r < c->sim.n; r++)
        for (uint32_t i = 0; i < c->sim.scheds[r].count; i++)
            for (int k = 0; k < 2; k++) {
                struct nx_sched *s = &c->sim.scheds[r];
                int32_t before = s->steps[i].after[k];

                if (before == NX_NONE)
                    continue;
                s->steps[i].after[k] = NX_NONE;
                sim_finish(&c->sim);
                if (sim_check(&c->sim) != NEXAR_OK)
                    caught++;
                else if (!edges_imply(s, i, before))
                    for (int round = 0; round < 4; round++)
                        assert_null(compressed_try(c, rng));
                s->steps[i].after[k] = before;
                sim_finish(&c->sim);
            }
    return caught;
}

static void test_compressed_needs_its_dependencies(void **state)
{
    struct rng rng = {52};

    (void)state;
    for (int form = 0; form < FORMS; form++)
        for (uint32_t n = 1; n <= 4; n++) {
            struct nx_shape shape = compressed_shape(form, n, 40 * (size_t)n, 8, n % 2 == 1, 12);
            struct compressed c;

            compressed_init(&c, &shape, &rng);
            assert_true(mutate(&c, &rng) > c.sim.scheds[0].count / 3);
            compressed_fini(&c);
        }
}

/* ---- bucketed ---- */

static const nexar_dtype bytes_types[] = {NEXAR_INT8, NEXAR_UINT8};

static void bucketed_case(uint32_t n, size_t first, size_t second, size_t segment, size_t turn, struct rng *rng)
{
    size_t bytes[NX_TYPES] = {[NEXAR_INT8] = first, [NEXAR_UINT8] = second}, count = first + second;
    struct nx_shape shape = {.n = n,
                             .count = count,
                             .segment = segment,
                             .in_place = true,
                             .inner = inners[turn % 2].build,
                             .inner_segment = inners[turn % 2].segment,
                             .bytes = bytes};
    uint8_t *want = calloc(count + 1, 1);
    struct sim sim;

    sim_init(&sim, nx_build_all_reduce_bucketed, shape, 1);
    sim_finish(&sim);
    if (sim_check(&sim) != NEXAR_OK)
        fail_msg("%s: %s", case_text("bucketed", &shape), nexar_last_error());
    for (uint32_t r = 0; r < n; r++) {
        rng_fill(rng, sim.bufs[r][NX_BUF_RECV], count);
        for (size_t i = 0; i < count; i++)
            want[i] = (uint8_t)(want[i] + sim.bufs[r][NX_BUF_RECV][i]);
        for (uint32_t i = 0; i < sim.scheds[r].count; i++) {
            const struct nx_step *t = &sim.scheds[r].steps[i];

            /* The list is copied from and to alone, and each message is of one type. */
            assert_true(t->kind == NX_STEP_COPY || t->kind == NX_STEP_SEND || t->dst_buf != NX_BUF_RECV);
            assert_true(t->kind == NX_STEP_COPY || t->src_buf != NX_BUF_RECV || t->src_count == 0);
            assert_true(count == 0 || t->kind > NX_STEP_RECV_REDUCE || t->type == bytes_types[0] ||
                        t->type == bytes_types[1]);
        }
    }
    assert_true(sim_run(&sim, nx_reduce_kernel(NEXAR_SUM, NEXAR_UINT8), rng, any_way(rng), n, NULL));
    for (uint32_t r = 0; r < n; r++)
        compare_result("bucketed", &shape, sim.bufs[r][NX_BUF_RECV], want, count);
    free(want);
    sim_fini(&sim);
}

static void test_bucketed(void **state)
{
    static const size_t lengths[] = {0, 1, 63, 64, 65, 128, 700};
    enum { LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };
    struct rng rng = {53};
    size_t turn = 0;

    (void)state;
    for (uint32_t n = 1; n <= MOST_RANKS; n++)
        for (size_t i = 0; i < LENGTHS; i++, turn++)
            bucketed_case(n, lengths[i], lengths[(i + n) % LENGTHS], 64 * (1 + turn % 3), turn, &rng);
}

/* All types at once: what the simulator, with one size of elements, cannot run, is proved. */
static void test_bucketed_of_all_types(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 9; n += 2) {
        const struct nx_sched *all[9];
        struct nx_sched scheds[9] = {0};
        size_t bytes[NX_TYPES] = {0}, count = 0;
        struct nx_shape shape = {
            .n = n, .segment = 192, .in_place = true, .inner = inners[1].build, .inner_segment = 32, .bytes = bytes};

        for (int type = 0; nexar_dtype_size((nexar_dtype)type) != 0; type++)
            count += bytes[type] = nexar_dtype_size((nexar_dtype)type) * (size_t)(31 * type + 1);
        shape.count = count;
        for (uint32_t r = 0; r < n; r++) {
            struct nx_check_sizes sizes = {.send = count, .recv = count, .in_place = true};

            shape.rank = r;
            nx_build_all_reduce_bucketed(&scheds[r], &shape);
            assert_ok(nx_sched_finish(&scheds[r]));
            assert_ok(nx_sched_check(&scheds[r], r, n, &sizes));
            for (uint32_t i = 0; i < scheds[r].count; i++) {
                const struct nx_step *t = &scheds[r].steps[i];

                assert_true(t->kind == NX_STEP_COPY || t->count % nexar_dtype_size((nexar_dtype)t->type) == 0);
            }
            all[r] = &scheds[r];
        }
        assert_ok(nx_sched_check_all(all, n));
        for (uint32_t r = 0; r < n; r++)
            nx_sched_fini(&scheds[r]);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_compressed_needs_its_dependencies),
        cmocka_unit_test(test_bucketed),
        cmocka_unit_test(test_bucketed_of_all_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
