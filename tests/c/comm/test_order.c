/* What must never mix: consecutive collectives of ranks that are not equally fast, communicators of the same ranks,
 * jobs in one process. */
#include "job.h"

#include "rng.h"

#include <pthread.h>

/* Computes for a random while, most often hardly at all. */
static void dawdle(struct rng *rng)
{
    volatile size_t turns = rng_below(rng, 16) == 0 ? rng_below(rng, 200000) : rng_below(rng, 300);

    while (turns > 0)
        turns--;
}

static int64_t value(uint32_t rank, int64_t turn, int64_t i)
{
    return (rank + 1) * (turn * 31 + i);
}

/* Rank r gives (r+1) times something: the sum is n(n+1)/2 times that. */
static int64_t sum_of(uint32_t n, int64_t turn, int64_t i)
{
    return n * (n + 1) / 2 * value(0, turn, i);
}

/* ---- back to back ---- */

enum { TURNS = 2000 / JOB_SHORTER, ELEMENTS = 33 };

struct turns {
    _Atomic uint32_t entered[TURNS];
};

/* A barrier of one turn is never mistaken for that of the next. */
static void barriers(nexar_comm *comm, void *arg)
{
    struct turns *t = arg;
    uint32_t size = nexar_comm_size(comm);
    struct rng rng = {nexar_comm_rank(comm) + 1};

    for (int turn = 0; turn < TURNS; turn++) {
        dawdle(&rng);
        atomic_fetch_add(&t->entered[turn], 1);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        must(atomic_load(&t->entered[turn]) == size);
    }
}

static void test_o4_barriers_back_to_back(void **state)
{
    (void)state;
    for (uint32_t n = 3; n <= 5; n++) {
        struct turns *t = calloc(1, sizeof(*t));
        struct job job;

        assert_non_null(t);
        job_local(&job, n, NULL);
        job_each(&job, barriers, t);
        job_close(&job);
        free(t);
    }
}

/* Nothing of one operation is taken for a part of another, whichever of them have the same shape. */
static void mixture(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    struct rng same = {77}, own = {rank + 1};
    int64_t x[ELEMENTS], y[ELEMENTS];

    (void)arg;
    for (int64_t turn = 0; turn < TURNS; turn++) {
        size_t what = rng_below(&same, 4), count = rng_below(&same, ELEMENTS) + 1;
        uint32_t root = (uint32_t)rng_below(&same, size);

        dawdle(&own);
        for (int64_t i = 0; i < ELEMENTS; i++)
            x[i] = value(rank, turn, i);
        if (what == 0) {
            must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        } else if (what == 1) {
            must(nexar_broadcast(comm, x, count, NEXAR_INT64, root, NULL, NULL) == NEXAR_OK);
            for (int64_t i = 0; i < (int64_t)count; i++)
                must(x[i] == value(root, turn, i));
        } else {
            must(nexar_all_reduce(comm, x, y, count, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
            for (int64_t i = 0; i < (int64_t)count; i++)
                must(y[i] == sum_of(size, turn, i));
        }
    }
}

static void test_o5_collectives_back_to_back(void **state)
{
    (void)state;
    for (uint32_t n = 3; n <= 5; n++) {
        struct job job;

        job_local(&job, n, NULL);
        job_each(&job, mixture, NULL);
        job_close(&job);
    }
}

/* Many in flight, all of the same shape. */
static void windows(nexar_comm *comm, void *arg)
{
    enum { WINDOW = 8 };
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    int64_t x[WINDOW][ELEMENTS], y[WINDOW][ELEMENTS];
    nexar_op *ops[WINDOW] = {NULL};
    struct rng rng = {rank + 1};

    (void)arg;
    for (int64_t turn = 0; turn < TURNS + WINDOW; turn++) {
        int64_t k = turn % WINDOW;

        if (ops[k] != NULL) {
            must(nexar_op_wait(ops[k], NEXAR_FOREVER) == NEXAR_OK);
            nexar_op_close(ops[k]);
            for (int64_t i = 0; i < ELEMENTS; i++)
                must(y[k][i] == sum_of(size, turn - WINDOW, i));
        }
        ops[k] = NULL;
        if (turn >= TURNS)
            continue;
        dawdle(&rng);
        for (int64_t i = 0; i < ELEMENTS; i++)
            x[k][i] = value(rank, turn, i);
        must(nexar_all_reduce(comm, x[k], y[k], ELEMENTS, NEXAR_INT64, NEXAR_SUM, NULL, &ops[k]) == NEXAR_OK);
    }
}

static void test_o5_windows_of_collectives(void **state)
{
    (void)state;
    for (uint32_t n = 3; n <= 5; n++) {
        struct job job;

        job_local(&job, n, NULL);
        job_each(&job, windows, NULL);
        job_close(&job);
    }
}

/* ---- communicators of the same ranks ---- */

static nexar_comm *second[JOB_RANKS];

/* With the ranks in the opposite order, on the same connections. */
static void open_second(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    must(nexar_comm_split(comm, 0, -(int32_t)rank, NULL, &second[rank]) == NEXAR_OK);
    must(nexar_comm_rank(second[rank]) == nexar_comm_size(comm) - 1 - rank);
}

static void close_second(struct job *job)
{
    for (uint32_t r = 0; r < job->size; r++)
        nexar_comm_close(second[r]);
}

/* Both at the same time, with the same numbers of operations, tags and shapes. */
static void both(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    nexar_comm *other = second[rank];
    struct rng rng = {rank + 1};

    (void)arg;
    for (int64_t turn = 0; turn < TURNS / 4; turn++) {
        int64_t a[ELEMENTS], b[ELEMENTS], words[2] = {turn, -turn}, got[2] = {0};
        nexar_op *ops[4];
        nexar_recv_info info;

        dawdle(&rng);
        for (int64_t i = 0; i < ELEMENTS; i++) {
            a[i] = value(rank, turn, i);
            b[i] = -value(rank, turn, i);
        }
        must(nexar_recv_nb(comm, &got[0], 8, (rank + 1) % size, 5, NULL, &ops[2]) == NEXAR_OK);
        must(nexar_recv_nb(other, &got[1], 8, NEXAR_ANY, NEXAR_ANY, NULL, &ops[3]) == NEXAR_OK);
        if (turn % 2 == 0)
            must(nexar_all_reduce(comm, a, a, ELEMENTS, NEXAR_INT64, NEXAR_SUM, NULL, &ops[0]) == NEXAR_OK);
        must(nexar_all_reduce(other, b, b, ELEMENTS, NEXAR_INT64, NEXAR_SUM, NULL, &ops[1]) == NEXAR_OK);
        if (turn % 2 != 0)
            must(nexar_all_reduce(comm, a, a, ELEMENTS, NEXAR_INT64, NEXAR_SUM, NULL, &ops[0]) == NEXAR_OK);
        /* To the world rank before this one, in both. */
        must(nexar_send(other, &words[1], 8, (nexar_comm_rank(other) + 1) % size, 5, NULL, NULL) == NEXAR_OK);
        must(nexar_send(comm, &words[0], 8, (rank + size - 1) % size, 5, NULL, NULL) == NEXAR_OK);
        must(nexar_op_wait_all(ops, 4, NEXAR_FOREVER) == NEXAR_OK);
        must(got[0] == turn && got[1] == -turn && nexar_op_recv_info(ops[3], &info) == NEXAR_OK);
        must(info.source == (nexar_comm_rank(other) + size - 1) % size && info.tag == 5);
        for (int i = 0; i < 4; i++)
            nexar_op_close(ops[i]);
        for (int64_t i = 0; i < ELEMENTS; i++)
            must(a[i] == sum_of(size, turn, i) && b[i] == -sum_of(size, turn, i));
    }
}

static void test_c6_two_communicators_of_the_same_ranks(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, open_second, NULL);
    job_each(&job, both, NULL);
    close_second(&job);
    job_works(&job);
    job_close(&job);
}

/* ---- jobs ---- */

struct rank_of_job {
    nexar_comm *comm;
    int64_t factor;
};

static void *work(void *arg)
{
    const struct rank_of_job *me = arg;
    uint32_t rank = nexar_comm_rank(me->comm), size = nexar_comm_size(me->comm);
    struct rng rng = {rank + 1};

    for (int64_t turn = 0; turn < TURNS / 4; turn++) {
        int64_t x[ELEMENTS], word = me->factor * turn, got = 0;
        uint32_t next = (rank + 1) % size, previous = (rank + size - 1) % size;

        dawdle(&rng);
        for (int64_t i = 0; i < ELEMENTS; i++)
            x[i] = me->factor * value(rank, turn, i);
        must(nexar_all_reduce(me->comm, x, x, ELEMENTS, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
        for (int64_t i = 0; i < ELEMENTS; i++)
            must(x[i] == me->factor * sum_of(size, turn, i));
        must(nexar_sendrecv(me->comm, &word, 8, next, 1, &got, 8, previous, 1, NULL, NULL) == NEXAR_OK && got == word);
    }
    return NULL;
}

/* A thread for each rank of each job; the communicators of all of them have the same id. */
static void test_c6_jobs_in_one_process(void **state)
{
    enum { JOBS = 3 };
    struct job job[JOBS];
    struct rank_of_job who[JOBS * 3];
    pthread_t thread[JOBS * 3];

    (void)state;
    for (int k = 0; k < JOBS; k++)
        job_local(&job[k], 3, NULL);
    for (int k = 0; k < JOBS * 3; k++) {
        who[k] = (struct rank_of_job){.comm = job[k / 3].comm[k % 3], .factor = k / 3 + 1};
        assert_int_equal(nexar_comm_id(who[k].comm), nexar_comm_id(who[0].comm));
        assert_int_equal(pthread_create(&thread[k], NULL, work, &who[k]), 0);
    }
    for (int k = 0; k < JOBS * 3; k++)
        pthread_join(thread[k], NULL);
    for (int k = 0; k < JOBS; k++)
        job_close(&job[k]);
}

/* One thread for both of its jobs. */
static void two_jobs(nexar_comm *comm, void *arg)
{
    struct job *other = arg;
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);

    for (int64_t turn = 0; turn < TURNS / 4; turn++) {
        nexar_comm *comms[2] = {comm, other->comm[rank]};
        nexar_op *ops[2];
        int64_t x[2];

        for (int k = 0; k < 2; k++) {
            x[k] = (k + 1) * value(rank, turn, 0);
            must(nexar_all_reduce(comms[k], &x[k], &x[k], 1, NEXAR_INT64, NEXAR_SUM, NULL, &ops[k]) == NEXAR_OK);
        }
        must(nexar_op_wait(ops[1], NEXAR_FOREVER) == NEXAR_OK && nexar_op_wait(ops[0], NEXAR_FOREVER) == NEXAR_OK);
        for (int k = 0; k < 2; k++) {
            must(x[k] == (k + 1) * sum_of(size, turn, 0));
            nexar_op_close(ops[k]);
        }
    }
}

static void test_c6_one_thread_in_two_jobs(void **state)
{
    struct job a, b;

    (void)state;
    job_local(&a, 3, NULL);
    job_local(&b, 3, NULL);
    job_each(&a, two_jobs, &b);
    job_close(&a);
    job_works(&b);
    job_close(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_o4_barriers_back_to_back),  cmocka_unit_test(test_o5_collectives_back_to_back),
        cmocka_unit_test(test_o5_windows_of_collectives), cmocka_unit_test(test_c6_two_communicators_of_the_same_ranks),
        cmocka_unit_test(test_c6_jobs_in_one_process),    cmocka_unit_test(test_c6_one_thread_in_two_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
