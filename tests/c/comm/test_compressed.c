/* all_reduce_compressed on 1 to 8 ranks that are connected by QUIC: every form, in every way to call, to the bit; what
 * becomes of the residual; wrong arguments; ranks that disagree. */
#include "job.h"
#include "math/compress.h"
#include "rng.h"

static const uint32_t sizes[] = {1, 2, 3, 5, 7, 8};
static const size_t counts[] = {0, 1, 9, 1000, 150001 / JOB_SHORTER};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), COUNTS = sizeof(counts) / sizeof(counts[0]), STEPS = 3 };

static const nexar_compression forms[] = {
    {.kind = NEXAR_COMPRESS_BFLOAT16},
    {.kind = NEXAR_COMPRESS_FLOAT8},
    {.kind = NEXAR_COMPRESS_FLOAT8, .block = 64},
    {.kind = NEXAR_COMPRESS_INT8},
    {.kind = NEXAR_COMPRESS_INT8, .block = 12},
    {.kind = NEXAR_COMPRESS_TOP_K},
    {.kind = NEXAR_COMPRESS_RANDOM_K, .seed = 7, .step = 3},
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

static bool is_sparse(const nexar_compression *c)
{
    return c->kind >= NEXAR_COMPRESS_TOP_K;
}

static void *reserve(size_t nbytes)
{
    void *p = calloc(nbytes + 1, 1);

    must(p != NULL);
    return p;
}

/* What rank `rank` has in step `step`. */
static void fill(float *x, size_t count, uint32_t rank, int step)
{
    struct rng rng = {rank * 1000u + (uint64_t)step};

    for (size_t i = 0; i < count; i++)
        x[i] = (float)((double)(int64_t)rng_next(&rng) / 1e19) * (i % 7 == 0 ? 100.0f : 1.0f);
}

/* The results of all steps, computed on this thread alone: by rank, each vector encoded as a whole. */
static void expect(const nexar_compression *c, uint32_t n, size_t count, bool feedback, nexar_reduce_op op,
                   float *want[STEPS])
{
    bool scaled = c->kind == NEXAR_COMPRESS_FLOAT8 || c->kind == NEXAR_COMPRESS_INT8;
    struct nx_compress how = {
        .kind = c->kind, .block = scaled && c->block == 0 ? 256 : c->block, .k = (size_t)c->k, .feedback = feedback};
    float *left = reserve(4 * count * n), *x = reserve(4 * count);
    void *words = reserve(4 * nx_compress_words(&how, count));

    for (int step = 0; step < STEPS; step++) {
        uint64_t turn = nx_compress_turn(c->seed, c->step + (c->kind == NEXAR_COMPRESS_RANDOM_K ? (uint64_t)step : 0));

        memset(want[step], 0, 4 * count);
        for (uint32_t r = 0; r < n; r++) {
            fill(x, count, r, step);
            for (size_t i = 0; i < count && feedback; i++)
                x[i] += left[r * count + i];
            nx_compress_encode(&how, turn, words, x, count);
            must(nx_compress_decode(&how, turn, want[step], words, count, r != 0 || is_sparse(c)) == NEXAR_OK);
            if (feedback)
                nx_compress_keep(&how, turn, left + r * count, x, words, count);
        }
        if (!is_sparse(c)) {
            nx_compress_encode(&how, turn, words, want[step], count);
            must(nx_compress_decode(&how, turn, want[step], words, count, false) == NEXAR_OK);
        }
        for (size_t i = 0; i < count && op == NEXAR_AVG; i++)
            want[step][i] /= (float)n;
    }
    free(left);
    free(x);
    free(words);
}

struct work {
    nexar_compression form;
    size_t count;
    bool feedback;
    nexar_reduce_op op;
    int way; /* 0: blocking, 1: in place, 2: with an op */
    float *want[STEPS];
};

static void reduce(nexar_comm *comm, void *arg)
{
    const struct work *w = arg;
    nexar_compression form = w->form;
    float *x = reserve(4 * w->count), *out = reserve(4 * w->count);

    form.residual = w->feedback ? reserve(4 * w->count) : NULL;
    for (int step = 0; step < STEPS; step++) {
        float *recv = w->way == 1 ? x : out;
        nexar_op *op = NULL;

        fill(x, w->count, nexar_comm_rank(comm), step);
        memset(out, 0x55, 4 * w->count);
        must(nexar_all_reduce_compressed(comm, x, recv, w->count, NEXAR_FLOAT32, w->op, &form, NULL,
                                         w->way == 2 ? &op : NULL) == NEXAR_OK);
        must(op == NULL || nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(op);
        must(memcmp(recv, w->want[step], 4 * w->count) == 0);
        form.step += form.kind == NEXAR_COMPRESS_RANDOM_K;
    }
    free(form.residual);
    free(x);
    free(out);
}

static void every_form(struct job *job, size_t count, size_t *turn)
{
    for (int f = 0; f < FORMS; f++) {
        bool sparse = is_sparse(&forms[f]);
        struct work w = {.form = forms[f],
                         .count = count,
                         .feedback = sparse && *turn % 3 != 0,
                         .op = *turn % 2 == 0 ? NEXAR_SUM : NEXAR_AVG,
                         .way = (int)(*turn % 5 % 3)};

        w.form.size = sizeof(w.form);
        w.form.k = !sparse || count == 0 ? 0 : count / 10 + 1;
        for (int step = 0; step < STEPS; step++)
            w.want[step] = reserve(4 * count);
        expect(&w.form, job->size, count, w.feedback, w.op, w.want);
        job_each(job, reduce, &w);
        for (int step = 0; step < STEPS; step++)
            free(w.want[step]);
        (*turn)++;
    }
}

static void test_every_form(void **state)
{
    size_t turn = 0;

    (void)state;
    for (int i = 0; i < SIZES; i++) {
        struct job job;

        job_local(&job, sizes[i], NULL);
        for (int c = 0; c < COUNTS; c++)
            every_form(&job, counts[c], &turn);
        job_close(&job);
    }
}

/* ---- wrong arguments ---- */

static void refuse(nexar_comm *comm, nexar_compression c, nexar_dtype dtype, nexar_reduce_op op, const char *words)
{
    float x[8] = {0}, y[8];

    must_fail(nexar_all_reduce_compressed(comm, x, y, 8, dtype, op, &c, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              words);
}

static void wrong(nexar_comm *comm, void *arg)
{
    enum { SIZE = sizeof(nexar_compression) };
    float x[8] = {1}, y[8];
    const nexar_compression good = {.size = SIZE, .kind = NEXAR_COMPRESS_INT8};
    const nexar_compression overlaps = {.size = SIZE, .kind = NEXAR_COMPRESS_TOP_K, .k = 1, .residual = x};
    const struct {
        nexar_compression c;
        const char *words;
    } bad[] = {
        {{.size = 0, .kind = NEXAR_COMPRESS_INT8}, "its size is not set"},
        {{.size = SIZE}, "0 is no kind of compression"},
        {{.size = SIZE, .kind = (nexar_compression_kind)6}, "6 is no kind of compression"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_INT8, .reserved = 1}, "reserved is 1"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_INT8, .block = 6}, "block is 6; it must be a multiple of 4"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_BFLOAT16, .block = 4}, "block is for float8 and int8"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_INT8, .k = 1}, "k and residual are for top_k and random_k"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_FLOAT8, .residual = y}, "k and residual are for"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_TOP_K, .k = 1, .seed = 1}, "seed and step are for random_k"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_TOP_K, .k = 1, .step = 1}, "seed and step are for random_k"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_TOP_K}, "k is 0; it must be 1 to 8"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_RANDOM_K, .k = 9}, "k is 9; it must be 1 to 8"},
        {{.size = SIZE, .kind = NEXAR_COMPRESS_RANDOM_K, .k = UINT64_MAX}, "k is 18446744073709551615"},
    };
    nexar_op *op = (nexar_op *)(void *)x;

    (void)arg;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(comm, bad[i].c, NEXAR_FLOAT32, NEXAR_SUM, bad[i].words);
    refuse(comm, good, NEXAR_FLOAT64, NEXAR_SUM, "sum of float64 cannot be compressed; sum and avg of float32 can");
    refuse(comm, good, NEXAR_FLOAT32, NEXAR_MAX, "max of float32 cannot be compressed; sum and avg of float32 can");
    refuse(comm, good, NEXAR_BFLOAT16, NEXAR_AVG, "avg of bfloat16 cannot");
    refuse(comm, good, (nexar_dtype)77, NEXAR_SUM, "77 is not a data type");
    must_fail(nexar_all_reduce_compressed(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL, &op), NEXAR_EINVAL,
              NEXAR_NO_RANK, "all_reduce_compressed: the compression is NULL");
    must(op == NULL);
    must_fail(nexar_all_reduce_compressed(comm, x, x + 1, 4, NEXAR_FLOAT32, NEXAR_SUM, &good, NULL, NULL), NEXAR_EINVAL,
              NEXAR_NO_RANK, "send and recv overlap");
    must_fail(nexar_all_reduce_compressed(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, &overlaps, NULL, NULL), NEXAR_EINVAL,
              NEXAR_NO_RANK, "residual and send overlap");
    must_fail(nexar_all_reduce_compressed(comm, y, x, 8, NEXAR_FLOAT32, NEXAR_SUM, &overlaps, NULL, NULL), NEXAR_EINVAL,
              NEXAR_NO_RANK, "residual and recv overlap");
    must_fail(nexar_all_reduce_compressed(comm, x, y, SIZE_MAX / 2, NEXAR_FLOAT32, NEXAR_SUM, &good, NULL, NULL),
              NEXAR_EINVAL, NEXAR_NO_RANK, "more than memory can hold");
    must_fail(nexar_all_reduce_compressed(NULL, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, &good, NULL, NULL), NEXAR_EINVAL,
              NEXAR_NO_RANK, "the communicator is NULL");
    /* As if nothing had been. */
    must(nexar_all_reduce_compressed(comm, x, x, 8, NEXAR_FLOAT32, NEXAR_AVG, &good, NULL, NULL) == NEXAR_OK);
    must(x[0] == 1.0f && x[1] == 0.0f);
}

static void test_c5_wrong_arguments(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, wrong, NULL);
    job_works(&job);
    job_close(&job);
}

/* ---- ranks that disagree ---- */

struct quarrel {
    nexar_compression one, other; /* rank 0's, and that of the others */
    const char *words;
};

static void quarrel(nexar_comm *comm, void *arg)
{
    const struct quarrel *q = arg;
    nexar_compression c = nexar_comm_rank(comm) == 0 ? q->one : q->other;
    float x[64] = {0}, residual[64] = {1.5f}, y[64];

    c.size = sizeof(c);
    c.residual = c.k != 0 ? residual : NULL;
    must_fail(nexar_all_reduce_compressed(comm, x, y, 64, NEXAR_FLOAT32, NEXAR_SUM, &c, NULL, NULL), NEXAR_EMISMATCH,
              JOB_ANY_PEER, q->words);
    must(residual[0] == 1.5f && residual[1] == 0.0f); /* as it was */
}

static void test_mismatch(void **state)
{
    static const struct quarrel quarrels[] = {
        {{.kind = NEXAR_COMPRESS_INT8}, {.kind = NEXAR_COMPRESS_FLOAT8}, "64 x float32, sum, int8|sum, float8"},
        {{.kind = NEXAR_COMPRESS_INT8, .block = 8}, {.kind = NEXAR_COMPRESS_INT8, .block = 16}, "int8 |called|float32"},
        {{.kind = NEXAR_COMPRESS_TOP_K, .k = 3}, {.kind = NEXAR_COMPRESS_TOP_K, .k = 4}, "top_k "},
        {{.kind = NEXAR_COMPRESS_RANDOM_K, .k = 3}, {.kind = NEXAR_COMPRESS_RANDOM_K, .k = 3, .seed = 1}, "random_k "},
        {{.kind = NEXAR_COMPRESS_RANDOM_K, .k = 3}, {.kind = NEXAR_COMPRESS_RANDOM_K, .k = 3, .step = 1}, "random_k "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(quarrels) / sizeof(quarrels[0]); i++) {
        struct job job;

        job_local(&job, 3, NULL);
        job_each(&job, quarrel, (void *)(uintptr_t)&quarrels[i]);
        job_close(&job);
    }
}

/* ---- what becomes of the residual ---- */

/* Rank 1 never comes: rank 0 has encoded, and gives up. */
static void test_failure_leaves_the_residual(void **state)
{
    const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 50000000};
    struct job job;

    (void)state;
    for (int kind = NEXAR_COMPRESS_TOP_K; kind <= NEXAR_COMPRESS_RANDOM_K; kind++) {
        float x[100], residual[100], before[100];
        nexar_compression c = {.size = sizeof(c), .kind = (nexar_compression_kind)kind, .k = 10, .residual = residual};
        nexar_op *op;

        job_local(&job, 2, NULL);
        fill(x, 100, 0, 0);
        fill(residual, 100, 1, 1);
        memcpy(before, residual, sizeof(before));
        assert_status(nexar_all_reduce_compressed(job.comm[0], x, x, 100, NEXAR_FLOAT32, NEXAR_SUM, &c, &soon, NULL),
                      NEXAR_ETIMEDOUT);
        assert_memory_equal(residual, before, sizeof(before));
        job_close(&job);

        job_local(&job, 2, NULL);
        assert_ok(nexar_all_reduce_compressed(job.comm[0], x, x, 100, NEXAR_FLOAT32, NEXAR_SUM, &c, NULL, &op));
        assert_ok(nexar_op_cancel(op));
        assert_status(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_ECANCELLED);
        nexar_op_close(op);
        assert_memory_equal(residual, before, sizeof(before));
        job_close(&job);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form),
        cmocka_unit_test(test_c5_wrong_arguments),
        cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_failure_leaves_the_residual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
