/* Collectives on 1 to 8 ranks that are connected by QUIC: every element of every type and operator, in every way to
 * call. */
#include "job.h"

#include "rng.h"

static const nexar_dtype dtypes[] = {NEXAR_FLOAT32, NEXAR_FLOAT64, NEXAR_INT32, NEXAR_INT64};
static const nexar_reduce_op reduce_ops[] = {NEXAR_SUM, NEXAR_PROD, NEXAR_MIN, NEXAR_MAX};
static const uint32_t sizes[] = {1, 2, 3, 5, 8};

enum { MOST = 65536 / JOB_SHORTER + 1 };

/* Small whole numbers: sums and products of 8 of them are exact in every type and order. */
static int64_t value(uint32_t rank, size_t i)
{
    return (int64_t)((i * 7 + rank * 13 + i / 5) % 5) - 2;
}

static int64_t combine(nexar_reduce_op op, int64_t a, int64_t b)
{
    switch ((int)op) {
    case NEXAR_SUM:
        return a + b;
    case NEXAR_PROD:
        return a * b;
    case NEXAR_MIN:
        return a < b ? a : b;
    default:
        return a > b ? a : b;
    }
}

static void put(nexar_dtype dtype, void *array, size_t i, int64_t v)
{
    switch ((int)dtype) {
    case NEXAR_FLOAT32:
        ((float *)array)[i] = (float)v;
        break;
    case NEXAR_FLOAT64:
        ((double *)array)[i] = (double)v;
        break;
    case NEXAR_INT32:
        ((int32_t *)array)[i] = (int32_t)v;
        break;
    default:
        ((int64_t *)array)[i] = v;
    }
}

static bool is(nexar_dtype dtype, const void *array, size_t i, int64_t v)
{
    switch ((int)dtype) {
    case NEXAR_FLOAT32:
        return ((const float *)array)[i] == (float)v;
    case NEXAR_FLOAT64:
        return ((const double *)array)[i] == (double)v;
    case NEXAR_INT32:
        return ((const int32_t *)array)[i] == v;
    default:
        return ((const int64_t *)array)[i] == v;
    }
}

static void fill(nexar_dtype dtype, void *array, size_t count, uint32_t rank)
{
    for (size_t i = 0; i < count; i++)
        put(dtype, array, i, value(rank, i));
}

static void must_be_reduced(nexar_dtype dtype, nexar_reduce_op op, const void *array, size_t count, uint32_t size)
{
    for (size_t i = 0; i < count; i++) {
        int64_t want = value(0, i);

        for (uint32_t r = 1; r < size; r++)
            want = combine(op, want, value(r, i));
        must(is(dtype, array, i, want));
    }
}

/* ---- all_reduce ---- */

enum way { BLOCKING, IN_PLACE, WITH_OP, WAYS };

static void reduce_once(nexar_comm *comm, size_t count, nexar_dtype dtype, nexar_reduce_op op, enum way way)
{
    static _Thread_local int64_t in[MOST], out[MOST]; /* as large as the largest type */
    uint32_t rank = nexar_comm_rank(comm);
    nexar_op *handle = NULL;

    fill(dtype, in, count, rank);
    memset(out, 0x55, sizeof(out));
    switch (way) {
    case BLOCKING:
        must(nexar_all_reduce(comm, in, out, count, dtype, op, NULL, NULL) == NEXAR_OK);
        break;
    case IN_PLACE:
        memcpy(out, in, count * nexar_dtype_size(dtype));
        must(nexar_all_reduce(comm, out, out, count, dtype, op, NULL, NULL) == NEXAR_OK);
        break;
    default:
        must(nexar_all_reduce(comm, in, out, count, dtype, op, NULL, &handle) == NEXAR_OK);
        must(nexar_op_wait(handle, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(handle);
    }
    must_be_reduced(dtype, op, out, count, nexar_comm_size(comm));
    for (size_t i = 0; i < count; i++) /* what was sent is as it was */
        must(is(dtype, in, i, value(rank, i)));
    if (count < MOST)
        must(((uint8_t *)out)[count * nexar_dtype_size(dtype)] == 0x55);
}

static void every_reduction(nexar_comm *comm, void *arg)
{
    size_t n = nexar_comm_size(comm);
    const size_t counts[] = {0, 1, n - 1, n, n + 1, 1000, MOST};

    (void)arg;
    for (size_t d = 0; d < 4; d++) {
        for (size_t o = 0; o < 4; o++) {
            for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
                reduce_once(comm, counts[c], dtypes[d], reduce_ops[o], (enum way)((d + o + c) % WAYS));
        }
    }
}

static void test_all_reduce(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct job job;

        job_local(&job, sizes[i], NULL);
        job_each(&job, every_reduction, NULL);
        job_close(&job);
    }
}

struct bits {
    size_t count;
    float *out[JOB_RANKS];
};

static void reduce_noise(nexar_comm *comm, void *arg)
{
    struct bits *bits = arg;
    uint32_t rank = nexar_comm_rank(comm);
    float *in = malloc(bits->count * sizeof(*in)), *out = malloc(bits->count * sizeof(*out));
    struct rng rng = {rank + 1};

    must(in != NULL && out != NULL);
    for (size_t i = 0; i < bits->count; i++)
        in[i] = (float)((double)rng_next(&rng) / 1e19 - 0.9);
    must(nexar_all_reduce(comm, in, out, bits->count, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    free(in);
    bits->out[rank] = out;
}

/* Of numbers whose sum depends on the order. */
static void test_same_bits_on_all_ranks(void **state)
{
    static const size_t counts[] = {3, 1000, 300001, 4194304 / JOB_SHORTER + 7};

    (void)state;
    for (uint32_t n = 2; n <= 5; n += 3) {
        struct job job;

        job_local(&job, n, NULL);
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            struct bits bits = {.count = counts[c]};

            job_each(&job, reduce_noise, &bits);
            for (uint32_t r = 1; r < n; r++)
                assert_memory_equal(bits.out[0], bits.out[r], bits.count * sizeof(float));
            for (uint32_t r = 0; r < n; r++)
                free(bits.out[r]);
        }
        job_close(&job);
    }
}

/* ---- broadcast ---- */

static void every_broadcast(nexar_comm *comm, void *arg)
{
    static const size_t counts[] = {0, 1, 7, 1000, MOST, 300001};
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    uint8_t *buf = malloc(counts[5] + 1);

    (void)arg;
    must(buf != NULL);
    for (uint32_t root = 0; root < size; root++) {
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            nexar_op *op = NULL;

            for (size_t i = 0; i < counts[c]; i++)
                buf[i] = rank == root ? (uint8_t)(value(root, i) + (int64_t)c) : 0x55;
            buf[counts[c]] = 0x55;
            must(nexar_broadcast(comm, buf, counts[c], NEXAR_UINT8, root, NULL, c % 2 == 0 ? NULL : &op) == NEXAR_OK);
            must(op == NULL || nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
            nexar_op_close(op);
            for (size_t i = 0; i < counts[c]; i++)
                must(buf[i] == (uint8_t)(value(root, i) + (int64_t)c));
            must(buf[counts[c]] == 0x55);
        }
    }
    free(buf);
}

static void test_broadcast(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct job job;

        job_local(&job, sizes[i], NULL);
        job_each(&job, every_broadcast, NULL);
        job_close(&job);
    }
}

/* ---- barrier ---- */

enum { TURNS = 50 };

static void meet(nexar_comm *comm, void *arg)
{
    _Atomic uint32_t *entered = arg;
    uint32_t size = nexar_comm_size(comm);

    for (int turn = 0; turn < TURNS; turn++) {
        nexar_op *op = NULL;

        atomic_fetch_add(&entered[turn], 1);
        must(nexar_barrier(comm, NULL, turn % 2 == 0 ? NULL : &op) == NEXAR_OK);
        must(op == NULL || nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(op);
        must(atomic_load(&entered[turn]) == size);
    }
}

static void test_barrier(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        _Atomic uint32_t entered[TURNS] = {0};
        struct job job;

        job_local(&job, sizes[i], NULL);
        job_each(&job, meet, entered);
        job_close(&job);
    }
}

/* ---- many at once ---- */

enum { FLEET = 40 };

static void fleet(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    int64_t *out[FLEET];
    nexar_op *ops[FLEET];
    size_t done;

    (void)arg;
    for (int64_t k = 0; k < FLEET; k++) {
        size_t count = (size_t)(k * k * 37);

        out[k] = malloc((count + 1) * sizeof(int64_t));
        must(out[k] != NULL);
        for (size_t i = 0; i < count; i++)
            out[k][i] = value(rank, i) + k;
        must(nexar_all_reduce(comm, out[k], out[k], count, NEXAR_INT64, NEXAR_SUM, NULL, &ops[k]) == NEXAR_OK);
    }
    must(nexar_op_wait_any(ops, FLEET, NEXAR_FOREVER, &done) == NEXAR_OK);
    must(nexar_op_test(ops[done]) == NEXAR_OK);
    must(nexar_op_wait(ops[FLEET - 1], NEXAR_FOREVER) == NEXAR_OK);
    must(nexar_op_wait_all(ops, FLEET, NEXAR_FOREVER) == NEXAR_OK);
    for (int64_t k = FLEET - 1; k >= 0; k--) {
        nexar_op_close(ops[k]);
        for (size_t i = 0; i < (size_t)(k * k * 37); i++) {
            int64_t want = (int64_t)size * k;

            for (uint32_t r = 0; r < size; r++)
                want += value(r, i);
            must(out[k][i] == want);
        }
        free(out[k]);
    }
}

/* They overlap, and are waited for in any order. */
static void test_many_at_once(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 5; n += 2) {
        struct job job;

        job_local(&job, n, NULL);
        job_each(&job, fleet, NULL);
        job_close(&job);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_reduce),   cmocka_unit_test(test_same_bits_on_all_ranks),
        cmocka_unit_test(test_broadcast),    cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_many_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
