/* Wrong arguments of the collectives with blocks are found before anything is sent; counts and calls that do not agree
 * are found in the messages. */
#include "job.h"

#define WRONG(call, words) must_fail(call, NEXAR_EINVAL, NEXAR_NO_RANK, words)

static float x[30], y[30];

static void wrong_vectors(nexar_comm *comm, uint32_t rank)
{
    nexar_op *op = (nexar_op *)(void *)x;

    WRONG(nexar_reduce(NULL, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, 0, NULL, NULL), "reduce: the communicator is NULL");
    WRONG(nexar_reduce(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, 3, NULL, &op), "reduce: root 3 is not one of the 3");
    must(op == NULL);
    WRONG(nexar_reduce(comm, NULL, y, 8, NEXAR_FLOAT32, NEXAR_SUM, 0, NULL, NULL), "reduce: send is NULL");
    WRONG(nexar_reduce(comm, x, NULL, 8, NEXAR_FLOAT32, NEXAR_SUM, rank, NULL, NULL), "reduce: recv is NULL");
    WRONG(nexar_reduce(comm, x, x + 7, 8, NEXAR_FLOAT32, NEXAR_SUM, rank, NULL, NULL), "overlap");
    WRONG(nexar_reduce(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_BOR, 0, NULL, NULL), "reduce: bor of float32");
    WRONG(nexar_reduce(comm, x, y, SIZE_MAX / 4, NEXAR_FLOAT32, NEXAR_SUM, 0, NULL, NULL), "more than memory can hold");
    WRONG(nexar_scan(comm, x, NULL, 8, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), "scan: recv is NULL");
    WRONG(nexar_scan(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_AVG, NULL, NULL), "scan: avg is not there; take sum");
    WRONG(nexar_exclusive_scan(comm, x + 1, x, 8, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), "exclusive_scan: |overlap");
    WRONG(nexar_exclusive_scan(comm, x, y, 8, (nexar_dtype)77, NEXAR_SUM, NULL, NULL), "exclusive_scan: 77 is not");
}

static void wrong_blocks(nexar_comm *comm, uint32_t rank)
{
    uint32_t other = (rank + 1) % 3;

    WRONG(nexar_all_gather(comm, NULL, y, 8, NEXAR_FLOAT32, NULL, NULL), "all_gather: send is NULL|8 elements");
    WRONG(nexar_all_gather(comm, x, NULL, 8, NEXAR_FLOAT32, NULL, NULL), "all_gather: recv is NULL|24 elements");
    WRONG(nexar_all_gather(comm, x, y, 8, (nexar_dtype)-1, NULL, NULL), "all_gather: -1 is not a data type");
    WRONG(nexar_all_gather(comm, y + other * 8, y, 8, NEXAR_FLOAT32, NULL, NULL),
          "overlap|in place, send the own block");
    WRONG(nexar_all_gather(comm, x, y, SIZE_MAX / 16, NEXAR_FLOAT32, NULL, NULL), "3 blocks|more than memory can hold");
    WRONG(nexar_all_gather(comm, x, y, SIZE_MAX / 2, NEXAR_FLOAT32, NULL, NULL), "more than memory can hold");
    WRONG(nexar_gather(comm, x, y, 8, NEXAR_FLOAT32, 3, NULL, NULL), "gather: root 3");
    WRONG(nexar_gather(comm, x, NULL, 8, NEXAR_FLOAT32, rank, NULL, NULL), "gather: recv is NULL|24");
    WRONG(nexar_gather(comm, NULL, y, 8, NEXAR_FLOAT32, other, NULL, NULL), "gather: send is NULL");
    WRONG(nexar_scatter(comm, NULL, y, 8, NEXAR_FLOAT32, rank, NULL, NULL), "scatter: send is NULL|24");
    WRONG(nexar_scatter(comm, x, NULL, 8, NEXAR_FLOAT32, other, NULL, NULL), "scatter: recv is NULL");
    WRONG(nexar_scatter(comm, x, x + other * 8, 8, NEXAR_FLOAT32, rank, NULL, NULL),
          "overlap|recv the own block in send");
    WRONG(nexar_reduce_scatter(comm, x, x + other * 8, 8, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), "overlap");
    WRONG(nexar_reduce_scatter(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_BXOR, NULL, NULL),
          "reduce_scatter: bxor of float32");
    WRONG(nexar_all_to_all(comm, x, x, 8, NEXAR_FLOAT32, NULL, NULL),
          "all_to_all: send and recv overlap; they must be a");
    WRONG(nexar_all_to_all(comm, x, NULL, 8, NEXAR_FLOAT32, NULL, NULL), "all_to_all: recv is NULL|24");
}

static void wrong_counts(nexar_comm *comm, uint32_t rank)
{
    static const size_t counts[3] = {2, 0, 3}, more[3] = {4, 2, 5},
                        huge[3] = {SIZE_MAX / 4, SIZE_MAX / 4, SIZE_MAX / 2};
    static const size_t low[3] = {3, 9, 1}, far[3] = {0, SIZE_MAX / 4, SIZE_MAX / 4};
    size_t own = counts[rank];

    WRONG(nexar_all_gather_v(comm, x, own, y, NULL, NULL, NEXAR_FLOAT32, NULL, NULL), "counts of recv are NULL|3");
    WRONG(nexar_all_gather_v(comm, x, own, NULL, counts, NULL, NEXAR_FLOAT32, NULL, NULL), "recv is NULL|5 elements");
    WRONG(nexar_all_gather_v(comm, x, own + 1, y, counts, NULL, NEXAR_FLOAT32, NULL, NULL), "on one side");
    WRONG(nexar_all_gather_v(comm, x, own, y, counts, low, NEXAR_FLOAT32, NULL, NULL),
          "blocks of recv overlap|element 3");
    WRONG(nexar_all_gather_v(comm, x, own, y, huge, NULL, NEXAR_FLOAT32, NULL, NULL), "blocks of recv end beyond");
    WRONG(nexar_all_gather_v(comm, x, own, y, counts, far, NEXAR_FLOAT32, NULL, NULL), "blocks of recv end beyond");
    WRONG(nexar_all_gather_v(comm, y + 1, more[rank], y, more, NULL, NEXAR_FLOAT32, NULL, NULL), "overlap");
    WRONG(nexar_gather_v(comm, x, own, y, counts, NULL, NEXAR_FLOAT32, 3, NULL, NULL), "gather_v: root 3");
    WRONG(nexar_gather_v(comm, x, own, y, NULL, NULL, NEXAR_FLOAT32, rank, NULL, NULL), "gather_v: the counts of recv");
    WRONG(nexar_gather_v(comm, NULL, 1, y, NULL, NULL, NEXAR_FLOAT32, (rank + 1) % 3, NULL, NULL), "send is NULL");
    WRONG(nexar_scatter_v(comm, x, NULL, NULL, y, own, NEXAR_FLOAT32, rank, NULL, NULL), "counts of send are NULL");
    WRONG(nexar_scatter_v(comm, x, counts, NULL, y, own + 1, NEXAR_FLOAT32, rank, NULL, NULL), "on one side");
    WRONG(nexar_reduce_scatter_v(comm, x, y, NULL, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), "counts of send are NULL");
    WRONG(nexar_reduce_scatter_v(comm, x, NULL, more, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), "recv is NULL");
    WRONG(nexar_all_to_all_v(comm, x, NULL, NULL, y, counts, NULL, NEXAR_FLOAT32, NULL, NULL), "counts of send");
    WRONG(nexar_all_to_all_v(comm, x, counts, NULL, y, more, NULL, NEXAR_FLOAT32, NULL, NULL), "on one side");
    WRONG(nexar_all_to_all_v(comm, x, more, NULL, x + 10, more, NULL, NEXAR_FLOAT32, NULL, NULL), "overlap");
    WRONG(nexar_all_to_all_v(comm, x, counts, NULL, y, counts, low, NEXAR_FLOAT32, NULL, NULL), "recv overlap");
}

static void all_wrong(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    wrong_vectors(comm, rank);
    wrong_blocks(comm, rank);
    wrong_counts(comm, rank);
}

static void test_c10_wrong_arguments(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, all_wrong, NULL);
    job_works(&job);
    job_close(&job);
}

/* ---- ranks that do not agree ---- */

typedef nexar_status (*call_fn)(nexar_comm *comm, bool odd);

struct disagreement {
    call_fn call;
    const char *words;
};

static _Thread_local double in[64], out[64];

static nexar_status root_of_reduce(nexar_comm *comm, bool odd)
{
    return nexar_reduce(comm, in, out, 10, NEXAR_FLOAT64, NEXAR_SUM, odd ? 1 : 0, NULL, NULL);
}

static nexar_status root_of_gather(nexar_comm *comm, bool odd)
{
    return nexar_gather(comm, in, out, 10, NEXAR_FLOAT64, odd ? 1 : 2, NULL, NULL);
}

static nexar_status root_of_scatter(nexar_comm *comm, bool odd)
{
    return nexar_scatter(comm, in, out, 10, NEXAR_FLOAT64, odd ? 1 : 2, NULL, NULL);
}

static nexar_status gather_or_all_gather(nexar_comm *comm, bool odd)
{
    return odd ? nexar_all_gather(comm, in, out, 10, NEXAR_FLOAT64, NULL, NULL)
               : nexar_gather(comm, in, out, 10, NEXAR_FLOAT64, 0, NULL, NULL);
}

static nexar_status scans(nexar_comm *comm, bool odd)
{
    return odd ? nexar_exclusive_scan(comm, in, out, 10, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL)
               : nexar_scan(comm, in, out, 10, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL);
}

static nexar_status length_of_all_to_all(nexar_comm *comm, bool odd)
{
    return nexar_all_to_all(comm, in, out, odd ? 7 : 8, NEXAR_FLOAT64, NULL, NULL);
}

static nexar_status type_of_reduce_scatter(nexar_comm *comm, bool odd)
{
    return nexar_reduce_scatter(comm, in, out, 10, odd ? NEXAR_INT64 : NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL);
}

/* The same sum, dealt out otherwise: nothing but the lengths of messages tells. */
static nexar_status counts_of_all_gather(nexar_comm *comm, bool odd)
{
    static const size_t most[3] = {2, 4, 6}, other[3] = {4, 2, 6};
    const size_t *counts = odd ? other : most;

    return nexar_all_gather_v(comm, in, counts[nexar_comm_rank(comm)], out, counts, NULL, NEXAR_FLOAT64, NULL, NULL);
}

static nexar_status counts_of_reduce_scatter(nexar_comm *comm, bool odd)
{
    static const size_t most[3] = {2, 4, 6}, other[3] = {6, 4, 2};

    return nexar_reduce_scatter_v(comm, in, out, odd ? other : most, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL);
}

static nexar_status sum_of_counts(nexar_comm *comm, bool odd)
{
    static const size_t most[3] = {2, 4, 6}, other[3] = {2, 4, 7};

    return nexar_reduce_scatter_v(comm, in, out, odd ? other : most, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL);
}

static nexar_status counts_of_all_to_all(nexar_comm *comm, bool odd)
{
    static const size_t most[3] = {5, 5, 5}, other[3] = {5, 5, 6};

    return nexar_all_to_all_v(comm, in, odd ? other : most, NULL, out, most, NULL, NEXAR_FLOAT64, NULL, NULL);
}

static nexar_status counts_of_gather(nexar_comm *comm, bool odd)
{
    static const size_t counts[3] = {5, 5, 5};

    return nexar_gather_v(comm, in, odd ? 4 : 5, out, counts, NULL, NEXAR_FLOAT64, 0, NULL, NULL);
}

static nexar_status counts_of_scatter(nexar_comm *comm, bool odd)
{
    static const size_t counts[3] = {5, 5, 5};

    return nexar_scatter_v(comm, in, counts, NULL, out, odd ? 4 : 5, NEXAR_FLOAT64, 0, NULL, NULL);
}

/* Rank 1 makes the odd call.  Who only sends may have gone on when the others find out; then it is a later call that
 * fails. */
static void disagree(nexar_comm *comm, void *arg)
{
    const struct disagreement *d = arg;
    nx_time until = nx_now() + CHECK_PATIENCE;
    nexar_status st = NEXAR_OK;

    while (st == NEXAR_OK && nx_now() < until)
        st = d->call(comm, nexar_comm_rank(comm) == 1);
    must_fail(st, NEXAR_EMISMATCH, JOB_ANY_PEER, d->words);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_EMISMATCH);
}

static void test_c8_ranks_that_disagree(void **state)
{
    static const struct disagreement disagreements[] = {
        {root_of_reduce, "reduce(10 x float64, sum, root 0)|reduce(10 x float64, sum, root 1)"},
        {root_of_gather, "gather(10 x float64, root 1)|gather(10 x float64, root 2)"},
        {root_of_scatter, "scatter(10 x float64, root 1)|scatter(10 x float64, root 2)"},
        {gather_or_all_gather, "all_gather(10 x float64)|gather(10 x float64, root 0)"},
        {scans, "exclusive_scan(10 x float64, sum)|scan(10 x float64, sum)"},
        {length_of_all_to_all, "all_to_all(7 x float64)|all_to_all(8 x float64)"},
        {type_of_reduce_scatter, "reduce_scatter(10 x int64, sum)|reduce_scatter(10 x float64, sum)"},
        {sum_of_counts, "reduce_scatter_v(12 x float64, sum)|reduce_scatter_v(13 x float64, sum)"},
        {counts_of_all_gather, "all_gather_v #|has another count"},
        {counts_of_reduce_scatter, "reduce_scatter_v #|has another count"},
        {counts_of_all_to_all, "all_to_all_v #|has another count"},
        {counts_of_gather, "gather_v #|has another count"},
        {counts_of_scatter, "scatter_v #|has another count"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(disagreements) / sizeof(disagreements[0]); i++) {
        struct disagreement d = disagreements[i];
        struct job job;

        job_local(&job, 3, NULL);
        job_each(&job, disagree, &d);
        job_close(&job);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c10_wrong_arguments),
        cmocka_unit_test(test_c8_ranks_that_disagree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
