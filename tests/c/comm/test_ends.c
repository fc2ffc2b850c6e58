/* What ends early: deadlines, cancelled ops, ranks that leave, ranks that are lost.  Everybody who waits is told, and
 * by whose fault. */
#include "job.h"

static const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 200 * NX_MS};

static void go(nexar_comm *comm, uint32_t to)
{
    must(nexar_send(comm, NULL, 0, to, 999, NULL, NULL) == NEXAR_OK);
}

static void wait_for_go(nexar_comm *comm, uint32_t from)
{
    must(nexar_recv(comm, NULL, 0, from, 999, NULL, NULL) == NEXAR_OK);
}

/* ---- deadlines ---- */

/* Rank 1 does nothing meanwhile. */
static void time_out(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    double x = 1, y = 0, big[3000] = {0};
    nexar_op *op;

    (void)arg;
    if (rank == 1) {
        wait_for_go(comm, 0);
        wait_for_go(comm, 2);
        /* Its turn comes when the others have given up: it is told at once. */
        must_fail(nexar_all_reduce(comm, &x, &y, 1, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_ETIMEDOUT,
                  JOB_ANY_PEER, "all_reduce #1|timed out after |waiting for rank 1 (127.0.0.1:|reported by rank");
        must_fail(nexar_barrier(comm, NULL, NULL), NEXAR_ETIMEDOUT, JOB_ANY_PEER, "barrier #2|waiting for rank 1");
        must_fail(nexar_broadcast(comm, big, 3000, NEXAR_FLOAT64, 1, NULL, NULL), NEXAR_ETIMEDOUT, JOB_ANY_PEER,
                  "broadcast #3|waiting for rank 1");
    } else {
        must_fail(nexar_all_reduce(comm, &x, &y, 1, NEXAR_FLOAT64, NEXAR_SUM, &soon, NULL), NEXAR_ETIMEDOUT, 1,
                  "all_reduce #1|timed out after |waiting for rank 1 (127.0.0.1:");
        must_fail(nexar_barrier(comm, &soon, NULL), NEXAR_ETIMEDOUT, 1, "barrier #2|waiting for rank 1 (127.0.0.1:");
        must(nexar_broadcast(comm, big, 3000, NEXAR_FLOAT64, 1, &soon, &op) == NEXAR_OK);
        must(nexar_op_wait(op, 1) == NEXAR_EAGAIN);
        must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_ETIMEDOUT, 1, "broadcast #3|waiting for rank 1 (127.0.0.1:");
        nexar_op_close(op);
        must_fail(nexar_recv(comm, &x, 8, 1, 5, NULL, &soon), NEXAR_ETIMEDOUT, 1,
                  "recv from rank 1 (127.0.0.1:|tag 5|nothing after ");
        must_fail(nexar_recv(comm, &x, 8, NEXAR_ANY, NEXAR_ANY, NULL, &soon), NEXAR_ETIMEDOUT, NEXAR_NO_RANK,
                  "recv from any rank, any tag: nothing after ");
        must_fail(nexar_sendrecv(comm, &x, 8, rank, 5, &y, 8, 1, 5, NULL, &soon), NEXAR_ETIMEDOUT, 1,
                  "sendrecv from rank 1");
        must(nexar_recv(comm, &y, 8, rank, 5, NULL, NULL) == NEXAR_OK);
        must_fail(nexar_probe(comm, 1, 5, NULL, &soon), NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "probe: no such message");
        go(comm, 1);
    }
    /* All are in step. */
    must(nexar_all_reduce(comm, &x, &y, 1, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK && y == 3);
}

static void test_deadlines(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, time_out, NULL);
    job_works(&job);
    job_close(&job);
}

/* Whoever only sends waits for somebody too. */
static void nobody_takes(nexar_comm *comm, void *arg)
{
    size_t count = (size_t)96 << 20;
    char byte;
    uint8_t *large = malloc(count);

    must(large != NULL);
    memset(large, (int)nexar_comm_rank(comm), count);
    if (nexar_comm_rank(comm) == 0) {
        must_fail(nexar_broadcast(comm, large, count, NEXAR_UINT8, 0, &soon, NULL), NEXAR_ETIMEDOUT, 1,
                  "broadcast #1|waiting for rank 1 (127.0.0.1:|to take what was sent");
        must_fail(nexar_send(comm, large, count, 1, 3, &soon, NULL), NEXAR_ETIMEDOUT, 1,
                  "send to rank 1|tag 3|not taken after ");
        must(nexar_send(comm, "x", 1, 1, 3, NULL, NULL) == NEXAR_OK); /* its turn comes */
        go(comm, 1);
    } else {
        wait_for_go(comm, 0);
        must_fail(nexar_broadcast(comm, large, count, NEXAR_UINT8, 0, NULL, NULL), NEXAR_ETIMEDOUT, 0, "broadcast #1");
        must(nexar_recv(comm, &byte, 1, 0, 3, NULL, NULL) == NEXAR_OK && byte == 'x');
    }
    must(nexar_broadcast(comm, large, count, NEXAR_UINT8, 0, NULL, NULL) == NEXAR_OK);
    must(large[0] == 0 && large[count - 1] == 0);
    free(large);
    (void)arg;
}

static void test_deadline_of_who_sends(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, nobody_takes, NULL);
    job_close(&job);
}

/* ---- cancelled ---- */

/* Rank 0 cancels what all are in the middle of. */
static void cancel_one(nexar_comm *comm, void *arg)
{
    enum { COUNT = 3 << 20 };
    uint32_t rank = nexar_comm_rank(comm);
    double *x = calloc(COUNT, sizeof(*x));
    char text[256];
    nexar_error error = {.size = sizeof(error)};
    nexar_op *op;
    nexar_status st;

    (void)arg;
    must(x != NULL);
    if (rank != 2) { /* and rank 2 comes late, so that it cannot end before */
        must(nexar_all_reduce(comm, x, x, COUNT, NEXAR_FLOAT64, NEXAR_SUM, NULL, &op) == NEXAR_OK);
        if (rank == 0) {
            must(nexar_op_describe(op, text, sizeof(text)) == NEXAR_OK && strstr(text, "all_reduce #1: ") == text);
            must(strstr(text, "rank 2") != NULL || strstr(text, "rank 1") != NULL);
            must(nexar_op_error(op, &error) == NEXAR_EAGAIN);
            must(nexar_op_cancel(op) == NEXAR_OK);
        }
        st = nexar_op_wait(op, NEXAR_FOREVER);
        must_fail(st, NEXAR_ECANCELLED, rank == 0 ? NEXAR_NO_RANK : 0, "all_reduce #1|cancelled on rank 0");
        must(nexar_op_cancel(op) == NEXAR_OK && nexar_op_test(op) == NEXAR_ECANCELLED);
        must(nexar_op_error(op, &error) == NEXAR_OK && error.status == NEXAR_ECANCELLED && error.sequence == 1);
        must(strcmp(error.op, "all_reduce") == 0 && error.comm == nexar_comm_id(comm));
        nexar_op_close(op);
        go(comm, 2);
    } else {
        wait_for_go(comm, 0);
        wait_for_go(comm, 1);
        must_fail(nexar_all_reduce(comm, x, x, COUNT, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_ECANCELLED, 0,
                  "all_reduce #1|cancelled on rank 0|reported by rank");
    }
    must(nexar_all_reduce(comm, x, x, COUNT, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    free(x);
}

/* A receive that is cancelled takes no message with it. */
static void cancel_receives(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), word = 7;
    nexar_op *op;

    (void)arg;
    if (rank == 0) {
        must(nexar_recv_nb(comm, &word, 4, 1, 5, NULL, &op) == NEXAR_OK);
        must(nexar_op_cancel(op) == NEXAR_OK);
        must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_ECANCELLED, 1, "recv from rank 1|tag 5|cancelled");
        nexar_op_close(op);
        must(nexar_recv_nb(comm, &word, 4, NEXAR_ANY, NEXAR_ANY, NULL, &op) == NEXAR_OK);
        nexar_op_close(op);
        go(comm, 1);
        must(nexar_recv(comm, &word, 4, 1, 5, NULL, NULL) == NEXAR_OK && word == 8);
    } else if (rank == 1) {
        wait_for_go(comm, 0);
        word = 8;
        must(nexar_send(comm, &word, 4, 0, 5, NULL, NULL) == NEXAR_OK);
    }
}

static void test_cancel(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, cancel_one, NULL);
    job_each(&job, cancel_receives, NULL);
    job_works(&job);
    job_close(&job);
}

/* ---- ranks that leave ---- */

static void wait_for_leaver(nexar_comm *comm, void *arg)
{
    static const uint32_t next[] = {2, 0, 3, 0};
    uint32_t rank = nexar_comm_rank(comm);
    double x[4] = {0};
    char byte;
    nexar_op *op;

    (void)arg;
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (rank == 1) {
        nexar_comm_close(comm);
        return;
    }
    if (rank == 0) {
        must_fail(nexar_recv(comm, &byte, 1, 1, 0, NULL, NULL), NEXAR_EPEER, 1,
                  "recv from rank 1|rank 1 (127.0.0.1:|has left: it closed its communicator");
        must_fail(nexar_probe(comm, 1, 0, NULL, NULL), NEXAR_EPEER, 1, "rank 1|has left");
        must_fail(nexar_send(comm, x, 1, 1, 0, NULL, NULL), NEXAR_EPEER, 1, "rank 1|has left");
        must_fail(nexar_sendrecv(comm, x, 1, 1, 0, &byte, 1, 2, 0, NULL, NULL), NEXAR_EPEER, 1, "rank 1|has left");
        go(comm, 3);
    } else if (rank == 3) {
        wait_for_go(comm, 0);
    }
    must_fail(nexar_all_reduce(comm, x, x, 4, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_EPEER, 1,
              "all_reduce #2|rank 1|has left");
    must(nexar_barrier(comm, NULL, &op) == NEXAR_OK);
    must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_EPEER, 1, "barrier #3|rank 1|has left");
    nexar_op_close(op);
    must_fail(nexar_broadcast(comm, x, 4, NEXAR_FLOAT64, 1, NULL, NULL), NEXAR_EPEER, 1, "broadcast #4|rank 1");
    /* The others still have each other. */
    must(nexar_sendrecv(comm, x, 8, next[rank], 1, &x[1], 8, NEXAR_ANY, 1, NULL, NULL) == NEXAR_OK);
}

static void test_others_wait_for_one_that_leaves(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 4, NULL);
    job_each(&job, wait_for_leaver, NULL);
    job.comm[1] = NULL;
    job_close(&job);
}

/* Its own ops end, and the others are told, who waits for it or not. */
static void leave_in_the_middle(nexar_comm *comm, void *arg)
{
    nexar_op *op, *recv;
    char byte;

    (void)arg;
    if (nexar_comm_rank(comm) == 2) {
        must(nexar_barrier(comm, NULL, &op) == NEXAR_OK);
        must(nexar_recv_nb(comm, &byte, 1, 0, 0, NULL, &recv) == NEXAR_OK);
        nexar_comm_close(comm);
        must_fail(nexar_op_wait(op, NEXAR_FOREVER), NEXAR_ECLOSED, NEXAR_NO_RANK, "barrier #1|rank 2 closed");
        must(nexar_op_wait(recv, NEXAR_FOREVER) == NEXAR_ECLOSED);
        nexar_op_close(op);
        nexar_op_close(recv);
    } else if (nexar_comm_rank(comm) != 0) { /* rank 0 never calls it */
        must_fail(nexar_barrier(comm, NULL, NULL), NEXAR_EPEER, 2, "barrier #1|rank 2");
    }
}

static void test_leaving_in_the_middle(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        struct job job;

        job_local(&job, 5, NULL);
        job_each(&job, leave_in_the_middle, NULL);
        job.comm[2] = NULL;
        job_close(&job);
    }
}

/* ---- ranks that are lost ---- */

/* Rank 3 has all its connections cut while the others are in all kinds of calls. */
static void lose_one(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    double x[4] = {0};
    nexar_status st;

    (void)arg;
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (rank != 3)
        go(comm, 3);
    switch (rank) {
    case 0:
        must_fail(nexar_recv(comm, x, 1, NEXAR_ANY, 0, NULL, NULL), NEXAR_EPEER, 3, "rank 3 (127.0.0.1:|is lost");
        break;
    case 1:
        must_fail(nexar_recv(comm, x, 1, 3, 0, NULL, NULL), NEXAR_EPEER, 3, "rank 3 (127.0.0.1:|is lost");
        break;
    case 3:
        for (int i = 0; i < 4; i++) /* they have left the barrier */
            wait_for_go(comm, NEXAR_ANY);
        job_cut(comm);
        return;
    default:
        break;
    }
    must_fail(nexar_all_reduce(comm, x, x, 4, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_EPEER, 3, "rank 3");
    must_fail(nexar_barrier(comm, NULL, NULL), NEXAR_EPEER, 3, "barrier #3|rank 3");
    do /* it may have heard of it from another */
        st = nexar_send(comm, x, 1, 3, 0, NULL, NULL);
    while (st == NEXAR_OK);
    must_fail(st, NEXAR_EPEER, 3, "send to rank 3");
}

static void test_a_rank_is_lost(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        nx_time begun = nx_now();
        struct job job;

        job_local(&job, 5, NULL);
        job_each(&job, lose_one, NULL);
        assert_true(nx_now() - begun < 10 * NX_S);
        job_close(&job);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_deadline_of_who_sends),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_others_wait_for_one_that_leaves),
        cmocka_unit_test(test_leaving_in_the_middle),
        cmocka_unit_test(test_a_rank_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
