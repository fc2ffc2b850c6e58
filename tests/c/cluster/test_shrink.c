/* Going on without ranks that are gone: agree, shrink and failures, with ranks as threads; what a cut-off rank is told;
 * wrong arguments. */
#include "job.h"

#define FLAGS UINT64_C(0xf0f0f0f0f0f0f0f0)

static nexar_agreed agree(nexar_comm *comm, uint64_t flag)
{
    nexar_agreed agreed = {.size = sizeof(agreed)};
    uint32_t missing[JOB_RANKS];

    must(nexar_comm_agree(comm, flag, NULL, &agreed, missing, JOB_RANKS) == NEXAR_OK);
    for (uint32_t i = 1; i < agreed.missing; i++)
        must(missing[i - 1] < missing[i]);
    return agreed;
}

/* Every element, of data that depends on rank and index. */
static void sums_are_right(nexar_comm *comm)
{
    enum { COUNT = 1003 };
    uint32_t size = nexar_comm_size(comm), rank = nexar_comm_rank(comm);
    static _Thread_local int64_t x[COUNT], y[COUNT];

    for (int i = 0; i < COUNT; i++)
        x[i] = (int64_t)rank * 1000 + i % 7;
    for (int turn = 0; turn < 2; turn++) {
        must(nexar_all_reduce(comm, x, y, COUNT, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
        for (int i = 0; i < COUNT; i++)
            must(y[i] == (int64_t)size * (size - 1) / 2 * 1000 + (int64_t)size * (i % 7));
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    }
}

/* ---- agree ---- */

static void agree_often(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    uint64_t epoch = 0;

    (void)arg;
    for (uint32_t turn = 0; turn < 20; turn++) {
        uint64_t all = UINT64_MAX;
        nexar_agreed agreed = agree(comm, FLAGS ^ (UINT64_C(1) << ((turn + rank) % 64)));

        for (uint32_t r = 0; r < size; r++)
            all &= FLAGS ^ (UINT64_C(1) << ((turn + r) % 64));
        must(agreed.value == all);
        must(agreed.missing == 0);
        must(agreed.epoch > epoch);
        epoch = agreed.epoch;
    }
}

static void test_all_have_the_same_value(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 5, 8};
    struct job job;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (sizes[i] == 1) {
            job_local(&job, 1, NULL);
        } else {
            job_form(&job, sizes[i]);
        }
        job_each(&job, agree_often, NULL);
        job_close(&job);
    }
}

static void agree_late(nexar_comm *comm, void *arg)
{
    const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 20 * NX_MS};
    nexar_agreed agreed = {.size = sizeof(agreed)};
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    if (rank == 0) {
        must_fail(nexar_comm_agree(comm, 6, &soon, &agreed, NULL, 0), NEXAR_ETIMEDOUT, NEXAR_NO_RANK,
                  "agree|not all members have called it");
        must(nexar_send(comm, NULL, 0, 1, 1, NULL, NULL) == NEXAR_OK);
    } else if (rank == 1) {
        must(nexar_recv(comm, NULL, 0, 0, 1, NULL, NULL) == NEXAR_OK);
    }
    must(agree(comm, rank == 0 ? 1 : 3).value == 2); /* the flag of the first call counts */
    must(agree(comm, 5).value == 5);
}

static void test_one_that_ran_out_of_time_goes_on(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 3);
    job_each(&job, agree_late, NULL);
    job_close(&job);
}

static void agree_wrong(nexar_comm *comm, void *arg)
{
    nexar_agreed agreed = {.size = sizeof(agreed)};
    nexar_comm *part;
    nexar_op *op, *other;

    (void)arg;
    must_fail(nexar_comm_agree(NULL, 1, NULL, &agreed, NULL, 0), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_comm_agree(comm, 1, NULL, NULL, NULL, 0), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_comm_agree(comm, 1, NULL, &agreed, NULL, 3), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_agree_start(comm, 1, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "nowhere");
    must(nexar_comm_split(comm, nexar_comm_rank(comm) % 2, 0, NULL, &part) == NEXAR_OK);
    must_fail(nexar_comm_agree(part, 1, NULL, &agreed, NULL, 0), NEXAR_ENOTSUP, NEXAR_NO_RANK, "all members");
    nexar_comm_close(part);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (nexar_comm_rank(comm) == 0) {
        must(nexar_agree_start(comm, 1, NULL, &op) == NEXAR_OK);
        must(nexar_agree_take(op, &agreed, NULL, 0) == NEXAR_EAGAIN);
        must_fail(nexar_comm_agree(comm, 1, NULL, &agreed, NULL, 0), NEXAR_EINVAL, NEXAR_NO_RANK,
                  "another one is open");
        must(nexar_op_cancel(op) == NEXAR_OK);
        must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_ECANCELLED, NEXAR_NO_RANK, "agree");
        must_fail(nexar_agree_take(op, &agreed, NULL, 0), NEXAR_EINVAL, NEXAR_NO_RANK, "failed");
        nexar_op_close(op);
        must(nexar_barrier(comm, NULL, &other) == NEXAR_OK);
        must_fail(nexar_agree_take(other, &agreed, NULL, 0), NEXAR_EINVAL, NEXAR_NO_RANK, "no agree");
        must(nexar_op_wait(other, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(other);
    } else {
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    }
    must(agree(comm, 7).value == (nexar_comm_rank(comm) == 9 ? 7 : 1)); /* the cancelled one is gone on with */
}

static void test_wrong_calls_of_agree(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 3);
    job_each(&job, agree_wrong, NULL);
    job_close(&job);
}

/* ---- shrink ---- */

static uint64_t ids[JOB_RANKS][4];

static void shrink_whole(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    nexar_failure failure = {.size = sizeof(failure)};
    nexar_comm *made[3], *part;

    (void)arg;
    must(nexar_comm_failure(comm, 0, &failure) == NEXAR_EAGAIN);
    must(nexar_comm_split(comm, rank % 2, 0, NULL, &part) == NEXAR_OK);
    must(nexar_comm_shrink(comm, NULL, &made[0]) == NEXAR_OK);
    must(nexar_comm_shrink(comm, NULL, &made[1]) == NEXAR_OK);
    must(nexar_comm_shrink(part, NULL, &made[2]) == NEXAR_OK);
    must(nexar_comm_rank(made[0]) == rank && nexar_comm_size(made[0]) == size);
    must(nexar_comm_rank(made[2]) == nexar_comm_rank(part) && nexar_comm_size(made[2]) == nexar_comm_size(part));
    ids[rank][0] = nexar_comm_id(comm);
    for (int i = 0; i < 3; i++) {
        ids[rank][1 + i] = nexar_comm_id(made[i]);
        sums_are_right(made[i]);
        nexar_comm_close(made[i]);
    }
    sums_are_right(comm); /* it is as before */
    nexar_comm_close(part);
}

static void test_nobody_is_gone(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 5);
    job_each(&job, shrink_whole, NULL);
    for (uint32_t i = 1; i < 5; i++)
        assert_memory_equal(ids[i], ids[0], 3 * sizeof(ids[0][0]));
    assert_int_equal(ids[2][3], ids[0][3]);
    assert_int_not_equal(ids[1][3], ids[0][3]);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < i; k++)
            assert_int_not_equal(ids[0][i], ids[0][k]);
    }
    job_close(&job);
}

/* What each of those who are left is in when rank 2 is gone. */
static void survive(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), left = 0;
    nexar_failure failure = {.size = sizeof(failure)};
    double x = 1, y;
    nexar_comm *made;
    nexar_op *op;

    (void)arg;
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (rank != 2)
        must(nexar_send(comm, NULL, 0, 2, 1, NULL, NULL) == NEXAR_OK);
    if (rank == 2) {
        for (uint32_t i = 0; i < 4; i++) /* all have done with the barrier */
            must(nexar_recv(comm, NULL, 0, i + (i >= 2), 1, NULL, NULL) == NEXAR_OK);
        job_cut(comm);
        /* Too few are in reach, and it says so. */
        must_fail(nexar_comm_shrink(comm, NULL, &made), NEXAR_EQUORUM, NEXAR_NO_RANK, "too few members|0, 1, 3, 4 are");
        must(made == NULL);
        must_fail(nexar_comm_agree(comm, 1, NULL, &(nexar_agreed){.size = sizeof(nexar_agreed)}, NULL, 0),
                  NEXAR_EQUORUM, NEXAR_NO_RANK, "too few members");
        return;
    }
    if (rank == 3) /* it waits for one that lives, and shrinks */
        must_fail(nexar_recv(comm, &x, sizeof(x), 0, 5, NULL, NULL), NEXAR_EPEER, 2, "rank 2 is lost");
    else
        must_fail(nexar_all_reduce(comm, &x, &y, 1, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_EPEER, 2, "rank 2");
    must(nexar_shrink_start(comm, NULL, &op) == NEXAR_OK);
    must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
    must(nexar_shrink_take(op, &made) == NEXAR_OK);
    must_fail(nexar_shrink_take(op, &(nexar_comm *){NULL}), NEXAR_EINVAL, NEXAR_NO_RANK, "been taken");
    nexar_op_close(op);
    must(nexar_comm_size(made) == 4 && nexar_comm_rank(made) == rank - (rank > 2));
    must(nexar_comm_failure(comm, 0, &failure) == NEXAR_OK);
    must(failure.rank == 2 && failure.out == 1 && failure.left == left && failure.why[0] != '\0');
    must(nexar_comm_failure(comm, 1, &failure) == NEXAR_EAGAIN);
    must(nexar_comm_failure(made, 0, &failure) == NEXAR_EAGAIN);
    must_fail(nexar_barrier(comm, NULL, NULL), NEXAR_EPEER, 2, "rank 2");
    sums_are_right(made);
    must(agree(made, 3).missing == 0);
    must(agree(comm, rank).missing == 1); /* the old one still has all members */
    nexar_comm_close(made);
}

static void test_one_is_cut_off(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 5);
    job_each(&job, survive, NULL);
    job_close(&job);
}

static void shrink_and_give_up(nexar_comm *comm, void *arg)
{
    const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 20 * NX_MS};
    uint32_t rank = nexar_comm_rank(comm);
    nexar_comm *made;
    nexar_op *op;

    (void)arg;
    must_fail(nexar_comm_shrink(comm, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_shrink_take(NULL, &made), NEXAR_EINVAL, NEXAR_NO_RANK, "no shrink");
    must_fail(nexar_comm_failure(comm, 0, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    if (rank == 0) {
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        return; /* it never shrinks */
    }
    must_fail(nexar_comm_shrink(comm, &soon, &made), NEXAR_ETIMEDOUT, 0, "shrink|rank 0 has not called it");
    must(nexar_shrink_start(comm, NULL, &op) == NEXAR_OK);
    must(nexar_shrink_take(op, &made) == NEXAR_EAGAIN);
    must(nexar_op_cancel(op) == NEXAR_OK);
    must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_ECANCELLED, NEXAR_NO_RANK, "shrink");
    nexar_op_close(op);
    must(nexar_shrink_start(comm, NULL, &op) == NEXAR_OK);
    nexar_op_close(op);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

static void test_one_that_others_do_not_call(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 3);
    job_each(&job, shrink_and_give_up, NULL);
    job_close(&job);
}

static void start_and_close(nexar_comm *comm, void *arg)
{
    nexar_op **op = arg;

    if (nexar_comm_rank(comm) == 1)
        must(nexar_shrink_start(comm, NULL, &op[0]) == NEXAR_OK &&
             nexar_agree_start(comm, 1, NULL, &op[1]) == NEXAR_OK);
}

/* With the last communicator of a rank what waits for the others ends. */
static void test_closing_ends_them(void **state)
{
    nexar_op *op[2];
    struct job job;

    (void)state;
    job_form(&job, 2);
    job_each(&job, start_and_close, op);
    job_close(&job);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(nexar_op_test(op[i]), NEXAR_ECLOSED);
        nexar_op_close(op[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_have_the_same_value), cmocka_unit_test(test_one_that_ran_out_of_time_goes_on),
        cmocka_unit_test(test_wrong_calls_of_agree),    cmocka_unit_test(test_nobody_is_gone),
        cmocka_unit_test(test_one_is_cut_off),          cmocka_unit_test(test_one_that_others_do_not_call),
        cmocka_unit_test(test_closing_ends_them),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
