/* Every collective that reduces x every type x every operator it has x numbers of ranks x every way to call: each
 * element against a loop in the order of ranks. */
#include "job.h"

#include "math/half.h"
#include "math/reduce.h"

enum { MOST = 20011 / JOB_SHORTER, WAYS = 3, UNTOUCHED = 0x5a };

static const uint32_t sizes[] = {1, 2, 3, 5, 7, 8};
static const size_t counts[] = {1, 3, 1003, MOST};

enum call { ALL_REDUCE, REDUCE, SCAN, EXCLUSIVE_SCAN, REDUCE_SCATTER, CALLS };
enum way { BLOCKING, WITH_OP, IN_PLACE };

struct cell {
    nexar_dtype dtype;
    nexar_reduce_op op;
    size_t count;
    enum call call;
    enum way way;
};

/* ---- what ranks put in ---- */

/* Floats that are rounded when they are added, whole numbers that wrap in a byte. */
static int64_t number(uint32_t rank, size_t i)
{
    return (int64_t)((i * UINT64_C(2654435761) + (rank + 1) * UINT64_C(40503) + i / 7) % 251);
}

static void put(nexar_dtype dtype, void *array, size_t at, int64_t v)
{
    float f = (float)(v - 120) / 37;
    size_t size = nexar_dtype_size(dtype);
    unsigned char bytes[8] = {0};

    if (dtype == NEXAR_FLOAT64) {
        double d = (double)(v - 120) / 37;

        memcpy(bytes, &d, sizeof(d));
    } else if (dtype == NEXAR_FLOAT32) {
        memcpy(bytes, &f, sizeof(f));
    } else if (dtype == NEXAR_FLOAT16 || dtype == NEXAR_BFLOAT16) {
        uint16_t half = dtype == NEXAR_FLOAT16 ? nx_f16_of_f32(f) : nx_bf16_of_f32(f);

        memcpy(bytes, &half, sizeof(half));
    } else if (dtype == NEXAR_BOOL) {
        bytes[0] = v % 3 != 0;
    } else {
        memcpy(bytes, &v, sizeof(v)); /* little endian, as all that we run on */
    }
    memcpy((unsigned char *)array + at * size, bytes, size);
}

/* Elements from `first` on of a rank's array. */
static void fill(nexar_dtype dtype, void *array, size_t first, size_t count, uint32_t rank)
{
    for (size_t i = 0; i < count; i++)
        put(dtype, array, i, number(rank, first + i));
}

/* ---- what must come out ---- */

/* Of ranks 0 to n - 1; the identity of none. */
static void reduced(const struct cell *c, uint32_t n, size_t first, unsigned char *out, unsigned char *scratch)
{
    size_t size = nexar_dtype_size(c->dtype);
    nx_reduce_finish_fn finish = nx_reduce_finish(c->op, c->dtype);
    unsigned char identity[8];

    nx_reduce_identity(c->op, c->dtype, identity);
    for (size_t i = 0; n == 0 && i < c->count; i++)
        memcpy(out + i * size, identity, size);
    for (uint32_t r = 0; r < n; r++) {
        fill(c->dtype, r == 0 ? out : scratch, first, c->count, r);
        if (r != 0)
            nx_reduce_kernel(c->op, c->dtype)(out, scratch, c->count);
    }
    if (finish != NULL)
        finish(out, c->count, n);
}

/* ---- one call ---- */

struct arrays {
    unsigned char *in, *out, *expected, *scratch;
};

static nexar_status begin(nexar_comm *comm, const struct cell *c, const void *in, void *out, uint32_t root,
                          nexar_op **op)
{
    switch (c->call) {
    case ALL_REDUCE:
        return nexar_all_reduce(comm, in, out, c->count, c->dtype, c->op, NULL, op);
    case REDUCE:
        return nexar_reduce(comm, in, out, c->count, c->dtype, c->op, root, NULL, op);
    case SCAN:
        return nexar_scan(comm, in, out, c->count, c->dtype, c->op, NULL, op);
    case EXCLUSIVE_SCAN:
        return nexar_exclusive_scan(comm, in, out, c->count, c->dtype, c->op, NULL, op);
    default:
        return nexar_reduce_scatter(comm, in, out, c->count, c->dtype, c->op, NULL, op);
    }
}

static void one(nexar_comm *comm, const struct cell *c, const struct arrays *a)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    uint32_t root = (uint32_t)(c->count + c->op) % size, ranks = size;
    size_t nbytes = c->count * nexar_dtype_size(c->dtype), first = 0;
    size_t all = c->call == REDUCE_SCATTER ? c->count * size : c->count;
    unsigned char *out = a->out;
    nexar_op *op = NULL;

    fill(c->dtype, a->in, 0, all, rank);
    memset(a->out, UNTOUCHED, nbytes);
    if (c->call == SCAN)
        ranks = rank + 1;
    if (c->call == EXCLUSIVE_SCAN)
        ranks = rank;
    if (c->call == REDUCE_SCATTER)
        first = rank * c->count;
    if (c->way == IN_PLACE)
        out = a->in + first * nexar_dtype_size(c->dtype);
    must(begin(comm, c, a->in, out, root, c->way == WITH_OP ? &op : NULL) == NEXAR_OK);
    if (op != NULL)
        must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
    nexar_op_close(op);
    if (c->call == REDUCE && rank != root)
        return;
    reduced(c, ranks, first, a->expected, a->scratch);
    must(memcmp(out, a->expected, nbytes) == 0);
}

static bool exists(const struct cell *c)
{
    bool scans = c->call == SCAN || c->call == EXCLUSIVE_SCAN;

    return nx_reduce_check("", c->op, c->dtype) == NEXAR_OK && !(scans && c->op == NEXAR_AVG);
}

/* Of each row of the table one way and one count, another in each; over all rows each comes often. */
static void table(nexar_comm *comm, void *arg)
{
    size_t room = (size_t)MOST * 8, row = *(const size_t *)arg;
    struct arrays a = {.in = malloc(room * nexar_comm_size(comm)),
                       .out = malloc(room),
                       .expected = malloc(room),
                       .scratch = malloc(room)};

    must(a.in != NULL && a.out != NULL && a.expected != NULL && a.scratch != NULL);
    for (int call = 0; call < CALLS; call++) {
        for (int dtype = 0; dtype <= NEXAR_BOOL; dtype++) {
            for (int op = 0; op <= NEXAR_BXOR; op++, row++) {
                struct cell c = {.dtype = (nexar_dtype)dtype,
                                 .op = (nexar_reduce_op)op,
                                 .count = counts[row % 7 % 4],
                                 .call = (enum call)call,
                                 .way = (enum way)(row % WAYS)};

                if (exists(&c))
                    one(comm, &c, &a);
            }
        }
    }
    free(a.in);
    free(a.out);
    free(a.expected);
    free(a.scratch);
}

static void test_every_type_and_operator(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct job job;

        job_local(&job, sizes[s], NULL);
        for (size_t round = 0; round < 2; round++) {
            size_t first = s * 2 + round;

            job_each(&job, table, &first);
        }
        job_close(&job);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_and_operator),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
