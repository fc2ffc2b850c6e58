/* Whose fault a deadline is: the rank that never came is named on all of them, whatever the schedule happens to wait
 * for, and what it is doing instead. */
#include "job.h"

enum { SOON_MS = 300 };

static const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = SOON_MS * NX_MS};

static void go(nexar_comm *comm, uint32_t to)
{
    must(nexar_send(comm, NULL, 0, to, 999, NULL, NULL) == NEXAR_OK);
}

static void wait_for_go(nexar_comm *comm, uint32_t from)
{
    must(nexar_recv(comm, NULL, 0, from, 999, NULL, NULL) == NEXAR_OK);
}

struct absence {
    uint32_t absent;
    size_t count; /* elements: different algorithms */
};

/* All but one call all_reduce, then gather at the rank after it; that one is in a receive meanwhile. */
static void all_but_one(nexar_comm *comm, void *arg)
{
    const struct absence *a = arg;
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    float *x = calloc(a->count, sizeof(*x));
    char culprit[64];

    must(x != NULL);
    snprintf(culprit, sizeof(culprit), "waiting for rank %u (127.0.0.1:", a->absent);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (rank == a->absent) {
        for (uint32_t i = 1; i < size; i++)
            wait_for_go(comm, (rank + i) % size);
    } else {
        nexar_status st = nexar_all_reduce(comm, x, x, a->count, NEXAR_FLOAT32, NEXAR_SUM, &soon, NULL);

        must_fail(st, NEXAR_ETIMEDOUT, a->absent, culprit);
        must_fail(st, NEXAR_ETIMEDOUT, a->absent,
                  "all_reduce #2: timed out after |, which has not called it: it is in recv");
        go(comm, a->absent);
    }
    free(x);
}

static void test_who_never_came_is_named_everywhere(void **state)
{
    static const struct {
        uint32_t size;
        struct absence absence;
    } table[] = {{2, {1, 1}}, {2, {0, 1000000}}, {3, {0, 1}},     {3, {2, 1000000}},
                 {5, {2, 1}}, {5, {4, 60000}},   {8, {3, 60000}}, {8, {7, 1}}};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct absence a = table[i].absence;
        struct job job;

        if (JOB_SHORTER > 1 && table[i].size > 5)
            continue; /* more than a second passes there before a dozen messages have */
        job_local(&job, table[i].size, NULL);
        job_each(&job, all_but_one, &a);
        job_close(&job);
    }
}

/* ---- several, and none ---- */

static void two_of_five(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    float x[8] = {0};

    (void)arg;
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (rank == 1 || rank == 3) {
        wait_for_go(comm, 0);
        return;
    }
    must_fail(nexar_all_reduce(comm, x, x, 8, NEXAR_FLOAT32, NEXAR_SUM, &soon, NULL), NEXAR_ETIMEDOUT, JOB_ANY_PEER,
              "which has not called it: it is in recv from rank 0, tag 999|; the same is true of rank");
    must(nx_last_error()->peer == 1 || nx_last_error()->peer == 3);
    /* All must have failed before those two are let go. */
    if (rank != 0) {
        go(comm, 0);
        return;
    }
    wait_for_go(comm, 2);
    wait_for_go(comm, 4);
    go(comm, 1);
    go(comm, 3);
}

static void test_several_are_named(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 5, NULL);
    job_each(&job, two_of_five, NULL);
    job_close(&job);
}

/* A receive from a rank says what that rank is doing, at every stage of its life. */
static void test_a_message_that_waits_for_a_call(void **state)
{
    double x = 0;
    nexar_op *op;
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    /* Nothing was done yet; then a collective that runs; then one that has ended. */
    must_fail(nexar_recv(job.comm[0], &x, 8, 1, 5, NULL, &soon), NEXAR_ETIMEDOUT, 1,
              "recv from rank 1 (127.0.0.1:|, tag 5: nothing after |; rank 1 is in no call, and was in none before");
    assert_ok(nexar_barrier(job.comm[1], NULL, &op));
    must_fail(nexar_recv(job.comm[0], &x, 8, 1, 5, NULL, &soon), NEXAR_ETIMEDOUT, 1, "; rank 1 is in barrier #1 for ");
    assert_ok(nexar_barrier(job.comm[0], NULL, NULL));
    assert_ok(nexar_op_wait(op, NEXAR_FOREVER));
    nexar_op_close(op);
    must_fail(nexar_recv(job.comm[0], &x, 8, 1, 5, NULL, &soon), NEXAR_ETIMEDOUT, 1,
              "; rank 1 is in no call; its last, barrier #1, ended ");
    /* One that gives up by itself is not asked about. */
    must_fail(nexar_recv(job.comm[0], &x, 8, NEXAR_ANY, 5, NULL, &soon), NEXAR_ETIMEDOUT, NEXAR_NO_RANK,
              "recv from any rank, tag 5: nothing after ");
    must_fail(nexar_recv(job.comm[0], &x, 8, 0, 5, NULL, &soon), NEXAR_ETIMEDOUT, 0, "recv from rank 0|nothing after ");
    job_close(&job);
}

static void test_who_does_not_take_is_seen(void **state)
{
    size_t large = (size_t)96 << 20;
    char *bytes = calloc(1, large), byte;
    struct job job;
    nexar_op *op;

    (void)state;
    assert_non_null(bytes);
    job_local(&job, 2, NULL);
    assert_ok(nexar_recv_nb(job.comm[1], &byte, 1, 0, 8, NULL, &op));
    must_fail(nexar_send(job.comm[0], bytes, large, 1, 3, &soon, NULL), NEXAR_ETIMEDOUT, 1,
              "send to rank 1|tag 3: not taken after |; rank 1 is in recv from rank 0, tag 8 for ");
    assert_ok(nexar_send(job.comm[0], bytes, 1, 1, 8, NULL, NULL));
    assert_ok(nexar_op_wait(op, NEXAR_FOREVER));
    nexar_op_close(op);
    job_close(&job);
    free(bytes);
}

/* The communicator is closed while the others are being asked. */
static void test_closing_in_between(void **state)
{
    (void)state;
    for (int round = 0; round < 6; round++) {
        nexar_call_opts at_once = {.size = sizeof(at_once), .timeout_ns = 1};
        nexar_op *op[2];
        struct job job;
        double x = 0;

        job_local(&job, 2, NULL);
        assert_ok(nexar_recv_nb(job.comm[0], &x, 8, 1, 5, &at_once, &op[0]));
        assert_ok(nexar_barrier(job.comm[0], &at_once, &op[1]));
        if (round % 2 == 0)
            nexar_op_wait(op[0], 1);
        job_close(&job);
        for (int i = 0; i < 2; i++) {
            nexar_status st = nexar_op_wait(op[i], NEXAR_FOREVER);

            must(st == NEXAR_ETIMEDOUT || st == NEXAR_ECLOSED || st == NEXAR_EPEER);
            nexar_op_close(op[i]);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_never_came_is_named_everywhere),
        cmocka_unit_test(test_several_are_named),
        cmocka_unit_test(test_a_message_that_waits_for_a_call),
        cmocka_unit_test(test_who_does_not_take_is_seen),
        cmocka_unit_test(test_closing_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
