/* all_reduce_bucketed on 1 to 8 ranks that are connected by QUIC: the bits of all_reduce of each array, in every way to
 * call; wrong arguments; ranks that disagree. */
#include "job.h"
#include "rng.h"

static const uint32_t sizes[] = {1, 2, 3, 5, 7, 8};

enum { ARRAYS = 12, SIZES = sizeof(sizes) / sizeof(sizes[0]), BUCKET = 4 << 20 };

struct set {
    size_t n;
    nexar_dtype dtype[ARRAYS];
    size_t count[ARRAYS];
};

static const struct set sets[] = {
    {0, {0}, {0}},
    {1, {NEXAR_FLOAT64}, {0}},
    {3, {NEXAR_FLOAT32, NEXAR_FLOAT32, NEXAR_FLOAT32}, {1, 0, 7}},
    {ARRAYS,
     {NEXAR_FLOAT32, NEXAR_FLOAT64, NEXAR_FLOAT16, NEXAR_BFLOAT16, NEXAR_INT8, NEXAR_INT32, NEXAR_INT64, NEXAR_UINT8,
      NEXAR_UINT32, NEXAR_UINT64, NEXAR_INT16, NEXAR_UINT16},
     {5, 1000, 33, 1, 0, 77, 9, 1001, 3, 12, 500, 31}},
    {5, {NEXAR_FLOAT32, NEXAR_INT16, NEXAR_FLOAT32, NEXAR_INT16, NEXAR_FLOAT32}, {9000, 20000, 1, 3, 30001}},
};
/* More buckets than are under way at once, and an array that reaches over borders. */
static const struct set large = {4,
                                 {NEXAR_FLOAT32, NEXAR_INT8, NEXAR_FLOAT32, NEXAR_INT8},
                                 {100003, BUCKET + 5, 6 * BUCKET / 4 / JOB_SHORTER + 3, 1}};

static void fill(const struct set *set, void **arrays, uint32_t rank, int turn)
{
    struct rng rng = {rank * 100u + (uint64_t)turn};

    for (size_t a = 0; a < set->n; a++)
        for (size_t i = 0; i < set->count[a]; i++) {
            float f = (float)((double)(int64_t)rng_next(&rng) / 1e19);
            uint64_t bits = rng_next(&rng);

            switch ((int)set->dtype[a]) { /* floats whose sum depends on the order, and any integers */
            case NEXAR_FLOAT32:
                ((float *)arrays[a])[i] = f;
                break;
            case NEXAR_FLOAT64:
                ((double *)arrays[a])[i] = (double)f * 1.1;
                break;
            case NEXAR_FLOAT16:
                ((uint16_t *)arrays[a])[i] = (uint16_t)(0x3000 | (bits & 0x8fff));
                break;
            case NEXAR_BFLOAT16:
                ((uint16_t *)arrays[a])[i] = (uint16_t)(0x3f00 | (bits & 0x80ff));
                break;
            default:
                memcpy((uint8_t *)arrays[a] + i * nexar_dtype_size(set->dtype[a]), &bits,
                       nexar_dtype_size(set->dtype[a]));
            }
        }
}

static void make(const struct set *set, void **arrays, nexar_vector *vectors)
{
    for (size_t a = 0; a < set->n; a++) {
        arrays[a] = calloc(set->count[a] + 1, nexar_dtype_size(set->dtype[a])); /* one more, which nobody touches */
        must(arrays[a] != NULL);
        vectors[a] = (nexar_vector){.base = arrays[a], .count = set->count[a], .dtype = set->dtype[a]};
    }
}

struct work {
    const struct set *set;
    nexar_reduce_op op;
    bool with_op;
};

static void reduce(nexar_comm *comm, void *arg)
{
    const struct work *w = arg;
    void *got[ARRAYS], *want[ARRAYS];
    nexar_vector vectors[ARRAYS], one_by_one[ARRAYS];

    make(w->set, got, vectors);
    make(w->set, want, one_by_one);
    for (int turn = 0; turn < 2; turn++) {
        nexar_op *op = NULL;

        fill(w->set, got, nexar_comm_rank(comm), turn);
        fill(w->set, want, nexar_comm_rank(comm), turn);
        must(nexar_all_reduce_bucketed(comm, vectors, w->set->n, w->op, NULL, w->with_op ? &op : NULL) == NEXAR_OK);
        if (op != NULL)
            memset(vectors, 0, sizeof(vectors)); /* the list is not needed any more */
        must(op == NULL || nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(op);
        for (size_t a = 0; a < w->set->n; a++) {
            size_t size = nexar_dtype_size(w->set->dtype[a]), nbytes = w->set->count[a] * size;
            static const uint8_t zeros[8];

            vectors[a] = (nexar_vector){.base = got[a], .count = w->set->count[a], .dtype = w->set->dtype[a]};
            must(nexar_all_reduce(comm, want[a], want[a], w->set->count[a], w->set->dtype[a], w->op, NULL, NULL) ==
                 NEXAR_OK);
            must(memcmp(got[a], want[a], nbytes) == 0);
            must(memcmp((uint8_t *)got[a] + nbytes, zeros, size) == 0);
        }
    }
    for (size_t a = 0; a < w->set->n; a++) {
        free(got[a]);
        free(want[a]);
    }
}

static void test_every_array_has_the_bits_of_all_reduce(void **state)
{
    static const nexar_reduce_op ops[] = {NEXAR_SUM, NEXAR_AVG, NEXAR_MAX, NEXAR_PROD};
    size_t turn = 0;

    (void)state;
    for (int i = 0; i < SIZES; i++) {
        struct job job;

        job_local(&job, sizes[i], NULL);
        for (size_t s = 0; s < sizeof(sets) / sizeof(sets[0]); s++, turn++) {
            struct work w = {.set = &sets[s], .op = ops[turn % 4], .with_op = turn % 3 == 0};

            job_each(&job, reduce, &w);
        }
        if (sizes[i] == 2 || sizes[i] == 3) {
            struct work w = {.set = &large, .op = NEXAR_SUM, .with_op = sizes[i] == 2};

            job_each(&job, reduce, &w);
        }
        job_close(&job);
    }
}

/* ---- wrong arguments ---- */

static void wrong(nexar_comm *comm, void *arg)
{
    float x[8] = {1}, y[8] = {2};
    bool truths[2] = {true, false};
    const nexar_vector good = {x, 8, NEXAR_FLOAT32, 0};
    const struct {
        nexar_vector list[3];
        size_t n;
        nexar_reduce_op op;
        const char *words;
    } bad[] = {
        {{good, {NULL, 1, NEXAR_INT8, 0}}, 2, NEXAR_SUM, "array 1 is NULL and should have 1 elements"},
        {{{y, 8, NEXAR_INT8, 1}}, 1, NEXAR_SUM, "array 0: reserved is 1"},
        {{good, {y, 8, (nexar_dtype)40, 0}}, 2, NEXAR_SUM, "array 1: 40 is not a data type"},
        {{{truths, 2, NEXAR_BOOL, 0}}, 1, NEXAR_SUM, "array 0: sum of bool does not exist"},
        {{{x, 8, NEXAR_INT32, 0}, {y, 8, NEXAR_FLOAT32, 0}}, 2, NEXAR_BXOR, "array 1: bxor of float32 does not exist"},
        {{good}, 1, (nexar_reduce_op)9, "9 is not a reduction operator"},
        {{good}, 0, (nexar_reduce_op)9, "9 is not a reduction operator"},
        {{{x, SIZE_MAX / 2, NEXAR_FLOAT32, 0}}, 1, NEXAR_SUM, "array 0 has"},
        {{{x, PTRDIFF_MAX, NEXAR_INT8, 0}, good}, 2, NEXAR_SUM, "2 arrays are more than memory can hold"},
        {{good, {y, 8, NEXAR_FLOAT32, 0}, good}, 3, NEXAR_SUM, "overlap"},
        {{{x + 4, 4, NEXAR_FLOAT32, 0}, {x, 5, NEXAR_FLOAT32, 0}}, 2, NEXAR_SUM, "array 1 and array 0 overlap"},
        {{{(char *)x + 31, 1, NEXAR_INT8, 0}, good}, 2, NEXAR_SUM, "array 1 and array 0 overlap"},
    };
    const nexar_vector halves[] = {{x, 4, NEXAR_FLOAT32, 0}, {x + 4, 4, NEXAR_FLOAT32, 0}, {x + 2, 0, NEXAR_INT8, 0}};
    nexar_op *op = (nexar_op *)(void *)x;

    (void)arg;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        must_fail(nexar_all_reduce_bucketed(comm, bad[i].list, bad[i].n, bad[i].op, NULL, NULL), NEXAR_EINVAL,
                  NEXAR_NO_RANK, bad[i].words);
    must_fail(nexar_all_reduce_bucketed(comm, NULL, 2, NEXAR_SUM, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK,
              "the list of arrays is NULL and should have 2");
    must(op == NULL);
    must_fail(nexar_all_reduce_bucketed(comm, &good, SIZE_MAX / 2, NEXAR_SUM, NULL, NULL), NEXAR_ENOMEM, NEXAR_NO_RANK,
              "no memory for a list");
    must_fail(nexar_all_reduce_bucketed(NULL, &good, 1, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "all_reduce_bucketed: the communicator is NULL");
    must_fail(nexar_all_reduce_bucketed(comm, &good, 1, NEXAR_SUM,
                                        &(nexar_call_opts){.size = sizeof(nexar_call_opts), .timeout_ns = -1}, NULL),
              NEXAR_EINVAL, NEXAR_NO_RANK, "negative");
    /* As if nothing had been; what only touches is legal. */
    must(nexar_all_reduce_bucketed(comm, halves, 3, NEXAR_SUM, NULL, NULL) == NEXAR_OK && x[0] == 3.0f);
}

static void test_wrong_arguments(void **state)
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
    nexar_vector one[2], other[2]; /* rank 0's, and that of the others; where they lie, each says itself */
    size_t n_one, n_other;
};

static void quarrel(nexar_comm *comm, void *arg)
{
    const struct quarrel *q = arg;
    bool first = nexar_comm_rank(comm) == 0;
    double x[2][8] = {{0}};
    nexar_vector list[2];

    memcpy(list, first ? q->one : q->other, sizeof(list));
    list[0].base = x[0];
    list[1].base = x[1];
    must_fail(nexar_all_reduce_bucketed(comm, list, first ? q->n_one : q->n_other, NEXAR_SUM, NULL, NULL),
              NEXAR_EMISMATCH, JOB_ANY_PEER, "all_reduce_bucketed #1|called all_reduce_bucketed(|list |, sum)");
}

static void test_mismatch(void **state)
{
    static const struct quarrel quarrels[] = {
        {{{NULL, 4, NEXAR_FLOAT32, 0}}, {{NULL, 5, NEXAR_FLOAT32, 0}}, 1, 1},
        {{{NULL, 4, NEXAR_FLOAT32, 0}}, {{NULL, 4, NEXAR_INT32, 0}}, 1, 1},
        {{{NULL, 4, NEXAR_FLOAT32, 0}}, {{NULL, 2, NEXAR_FLOAT64, 0}}, 1, 1},
        {{{NULL, 4, NEXAR_INT8, 0}, {NULL, 2, NEXAR_INT8, 0}},
         {{NULL, 2, NEXAR_INT8, 0}, {NULL, 4, NEXAR_INT8, 0}},
         2,
         2},
        {{{NULL, 4, NEXAR_INT8, 0}, {NULL, 0, NEXAR_INT8, 0}}, {{NULL, 4, NEXAR_INT8, 0}}, 2, 1},
        {{{NULL, 0, NEXAR_INT8, 0}}, {{NULL, 0, NEXAR_FLOAT32, 0}}, 1, 1},
        {{{NULL, 0, NEXAR_INT8, 0}}, {{NULL, 0, NEXAR_INT8, 0}}, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(quarrels) / sizeof(quarrels[0]); i++) {
        struct job job;

        job_local(&job, 3, NULL);
        job_each(&job, quarrel, (void *)(uintptr_t)&quarrels[i]);
        job_close(&job);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_array_has_the_bits_of_all_reduce),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_mismatch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
