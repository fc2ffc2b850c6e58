/* Communicators that cannot be made: wrong arguments, other calls, no memory, ranks that are gone. */
#include "comm/comms.h"
#include "job.h"

static int64_t sum(nexar_comm *comm, int64_t mine)
{
    must(nexar_all_reduce(comm, &mine, &mine, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    return mine;
}

/* ---- arguments ---- */

static void test_wrong_arguments(void **state)
{
    nexar_call_opts small = {.size = 4}, negative = {.size = sizeof(negative), .timeout_ns = -1};
    nexar_splitting *s = NULL;
    nexar_comm *child = NULL, *comm;
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    comm = job.comm[0];
    must_fail(nexar_comm_split(NULL, 0, 0, NULL, &child), NEXAR_EINVAL, NEXAR_NO_RANK, "split|communicator is NULL");
    must_fail(nexar_comm_dup(NULL, NULL, &child), NEXAR_EINVAL, NEXAR_NO_RANK, "dup|communicator is NULL");
    must_fail(nexar_comm_split_by_host(NULL, NULL, &child), NEXAR_EINVAL, NEXAR_NO_RANK, "split_by_host|NULL");
    must_fail(nexar_comm_split(comm, 0, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_comm_dup(comm, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_comm_split_by_host(comm, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_comm_split(comm, 0, 0, &small, &child), NEXAR_EINVAL, NEXAR_NO_RANK, "size is 4");
    must_fail(nexar_comm_dup(comm, &negative, &child), NEXAR_EINVAL, NEXAR_NO_RANK, "negative");
    must_fail(nexar_split_start(comm, NEXAR_SPLIT_BY_COLOR, 0, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_split_start(comm, (nexar_split)3, 0, 0, NULL, &s), NEXAR_EINVAL, NEXAR_NO_RANK, "3 is no way");
    must_fail(nexar_split_start(comm, (nexar_split)-1, 0, 0, NULL, &s), NEXAR_EINVAL, NEXAR_NO_RANK, "-1 is no way");
    must_fail(nexar_split_wait(NULL, 0, &child), NEXAR_EINVAL, NEXAR_NO_RANK, "not started");
    nexar_split_close(NULL);
    assert_null(s);
    assert_null(child);
    job_works(&job); /* nothing was sent */
    job_close(&job);
}

/* ---- in two steps ---- */

static void steps(nexar_comm *comm, void *arg)
{
    nexar_comm *child = comm, *again = comm;
    nexar_splitting *s;
    nexar_status st;

    (void)arg;
    must(nexar_split_start(comm, NEXAR_SPLIT_BY_COLOR, 3, 0, NULL, &s) == NEXAR_OK);
    do
        st = nexar_split_wait(s, NX_MS, &child);
    while (st == NEXAR_EAGAIN || st == NEXAR_EINTR);
    must(st == NEXAR_OK && child != NULL);
    must_fail(nexar_split_wait(s, 0, &again), NEXAR_EINVAL, NEXAR_NO_RANK, "given before");
    must(again == NULL);
    nexar_split_close(s);
    sum(child, 1);
    nexar_comm_close(child);
}

static void test_in_two_steps(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, steps, NULL);
    job_close(&job);
}

static void test_given_up(void **state)
{
    nexar_splitting *s;
    nexar_comm *child;
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    assert_ok(nexar_split_start(job.comm[0], NEXAR_SPLIT_DUP, 0, 0, NULL, &s));
    assert_status(nexar_split_wait(s, 0, &child), NEXAR_EAGAIN);
    nexar_split_close(s);
    must_fail(nexar_comm_dup(job.comm[1], NULL, &child), NEXAR_ECANCELLED, JOB_ANY_PEER, "dup|reported by rank 0");
    job_works(&job); /* both are in step */
    job_close(&job);
}

/* ---- ranks that disagree ---- */

static void call(nexar_comm *comm, int which)
{
    const char *const words[] = {"called split()", "called dup()", "called split_by_host()", "called barrier()"};
    uint32_t other = 1 - nexar_comm_rank(comm);
    nexar_comm *child = NULL;
    nexar_status st = which == 0   ? nexar_comm_split(comm, 0, 0, NULL, &child)
                      : which == 1 ? nexar_comm_dup(comm, NULL, &child)
                      : which == 2 ? nexar_comm_split_by_host(comm, NULL, &child)
                                   : nexar_barrier(comm, NULL, NULL);

    job_must_fail(__FILE__, __LINE__, words[which], st, NEXAR_EMISMATCH, other, words[which]);
    must(child == NULL);
}

static int calls[2];

static void disagree(nexar_comm *comm, void *arg)
{
    (void)arg;
    call(comm, calls[nexar_comm_rank(comm)]);
}

static void test_mismatches_are_named(void **state)
{
    (void)state;
    for (calls[0] = 0; calls[0] < 4; calls[0]++) {
        for (calls[1] = 0; calls[1] < 3; calls[1]++) {
            struct job job;

            if (calls[0] == calls[1])
                continue;
            job_local(&job, 2, NULL);
            job_each(&job, disagree, NULL);
            job_close(&job);
        }
    }
}

/* ---- memory ---- */

static nexar_comm *made[JOB_RANKS];
static nexar_status got[JOB_RANKS];

static void attempt(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    got[rank] = nexar_comm_split(comm, 1, 0, NULL, &made[rank]);
}

/* Where one rank got it and another did not, its collectives fail instead of waiting. */
static void use(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    nexar_status st;

    (void)arg;
    if (made[rank] == NULL)
        return;
    st = nexar_barrier(made[rank], NULL, NULL);
    must(st == NEXAR_OK || st == NEXAR_EPEER);
    nexar_comm_close(made[rank]);
}

/* Whichever allocation fails, on whichever rank: nobody waits for ever, and what failed is said. */
static void test_no_memory(void **state)
{
    enum { ALLOCATIONS = 24 / JOB_SHORTER };
    int failures = 0;

    (void)state;
    for (uint64_t nth = 1; nth <= ALLOCATIONS; nth++) {
        struct job job;

        job_local(&job, 3, NULL);
        job_works(&job);
        nx_mem_fail_at(nth);
        job_each(&job, attempt, NULL);
        nx_mem_fail_at(0);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(got[i] == NEXAR_OK, made[i] != NULL);
            assert_true(got[i] == NEXAR_OK || got[i] == NEXAR_ENOMEM || got[i] == NEXAR_EPEER);
            failures += got[i] == NEXAR_ENOMEM;
        }
        job_each(&job, use, NULL);
        job_close(&job);
    }
    assert_true(failures > 0);
}

/* ---- ranks that are gone ---- */

static void half(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    must(nexar_comm_split(comm, rank / 2, -(int32_t)rank, NULL, &made[rank]) == NEXAR_OK);
}

static void go_on(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    if (rank < 2)
        must(sum(made[rank], rank) == 1);
}

/* It leaves the world and its half: nobody else notices but those who need it. */
static void test_a_rank_that_has_left(void **state)
{
    char byte = 0;
    nexar_op *any, *theirs;
    nexar_comm *child;
    struct job job;

    (void)state;
    job_local(&job, 4, NULL);
    job_each(&job, half, NULL);
    assert_ok(nexar_recv_nb(made[0], &byte, 1, NEXAR_ANY, NEXAR_ANY, NULL, &any));
    assert_ok(nexar_recv_nb(made[2], &byte, 1, 0, 5, NULL, &theirs));
    nexar_comm_close(made[3]);
    nexar_comm_close(job.comm[3]);
    job.comm[3] = NULL;
    assert_status(nexar_op_wait(theirs, CHECK_PATIENCE), NEXAR_EPEER);
    must_fail(nexar_op_wait(theirs, 0), NEXAR_EPEER, 0, "in comm 0x|rank 0|has left");
    must_fail(nexar_barrier(made[2], NULL, NULL), NEXAR_EPEER, 0, "rank 0");
    must_fail(nexar_comm_dup(job.comm[0], NULL, &child), NEXAR_EPEER, 3, "dup #3|rank 3");
    job.comm[2] = (nexar_comm_close(job.comm[2]), NULL);
    job_each(&job, go_on, NULL);
    assert_status(nexar_op_test(any), NEXAR_EAGAIN);
    assert_ok(nexar_send(made[1], "x", 1, 1, 9, NULL, NULL));
    assert_ok(nexar_op_wait(any, CHECK_PATIENCE));
    assert_int_equal(byte, 'x');
    nexar_op_close(any);
    nexar_op_close(theirs);
    for (uint32_t i = 0; i < 3; i++)
        nexar_comm_close(made[i]);
    job_close(&job);
}

static void wait_long(nexar_comm *comm, void *arg)
{
    (void)arg;
    must_fail(nexar_barrier(made[nexar_comm_rank(comm)], NULL, NULL), NEXAR_EPEER, 1, "rank 1 closed the communicator");
}

static void test_closing_tells_the_others(void **state)
{
    struct job job;
    nexar_comm *gone;

    (void)state;
    job_local(&job, 4, NULL);
    job_each(&job, half, NULL);
    nexar_comm_close(made[0]); /* rank 1 of its half */
    gone = job.comm[0];
    job.comm[0] = job.comm[2] = job.comm[3] = NULL;
    job_each(&job, wait_long, NULL);
    nexar_comm_close(gone);
    for (uint32_t i = 1; i < 4; i++)
        nexar_comm_close(made[i]);
    job_close(&job);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_wrong_arguments),
    cmocka_unit_test(test_in_two_steps),
    cmocka_unit_test(test_given_up),
    cmocka_unit_test(test_mismatches_are_named),
    cmocka_unit_test(test_no_memory),
    cmocka_unit_test(test_a_rank_that_has_left),
    cmocka_unit_test(test_closing_tells_the_others),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
