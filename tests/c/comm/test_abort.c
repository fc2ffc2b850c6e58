/* A rank that gives up its communicator: all that others are in ends, by its fault and with its reason; so does what
 * they begin later; and everybody can still leave. */
#include "job.h"

#define WORDS "rank 1 aborted the communicator: the loss is not a number"

static void go(nexar_comm *comm, uint32_t to)
{
    must(nexar_send(comm, NULL, 0, to, 999, NULL, NULL) == NEXAR_OK);
}

static void wait_for_go(nexar_comm *comm, uint32_t from)
{
    must(nexar_recv(comm, NULL, 0, from, 999, NULL, NULL) == NEXAR_OK);
}

static void all_calls_fail(nexar_comm *comm)
{
    double x[4] = {0}, y[4];
    nexar_recv_info info;
    nexar_op *op;

    must_fail(nexar_all_reduce(comm, x, y, 4, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
    must_fail(nexar_barrier(comm, NULL, &op), NEXAR_ECLOSED, 1, WORDS);
    must_fail(nexar_send(comm, x, 8, 0, 5, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
    must_fail(nexar_recv(comm, x, 8, NEXAR_ANY, NEXAR_ANY, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
    must_fail(nexar_recv_nb(comm, x, 8, 0, 5, NULL, &op), NEXAR_ECLOSED, 1, WORDS);
    must_fail(nexar_sendrecv(comm, x, 8, 0, 5, y, 8, 0, 5, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
    must_fail(nexar_probe(comm, 0, 5, &info, NULL), NEXAR_ECLOSED, 1, WORDS);
    /* What is no operation goes on. */
    must(nexar_comm_abort(comm, "another reason") == NEXAR_OK);
    must_fail(nexar_barrier(comm, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
    must(nexar_comm_stats(comm, NULL, 0, NULL) == NEXAR_OK);
}

/* Each rank is in another call when rank 1 aborts. */
static void abort_all(nexar_comm *comm, void *arg)
{
    size_t large = (size_t)96 << 20;
    uint32_t rank = nexar_comm_rank(comm);
    double x[4] = {0}, y[4];
    nexar_op *op[3];
    char *bytes;

    (void)arg;
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    switch (rank) {
    case 0: /* blocked in a receive from somebody else than who aborts, and more besides */
        must(nexar_all_reduce(comm, x, y, 4, NEXAR_FLOAT64, NEXAR_SUM, NULL, &op[0]) == NEXAR_OK);
        must(nexar_recv_nb(comm, NULL, 0, NEXAR_ANY, 77, NULL, &op[1]) == NEXAR_OK);
        go(comm, 1);
        must_fail(nexar_recv(comm, NULL, 0, 2, 5, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
        for (int i = 0; i < 2; i++) {
            must_fail(nexar_op_wait(op[i], NEXAR_FOREVER), NEXAR_ECLOSED, 1, WORDS);
            nexar_op_close(op[i]);
        }
        break;
    case 1:
        for (int i = 0; i < 4; i++)
            wait_for_go(comm, NEXAR_ANY);
        must(nexar_recv_nb(comm, x, 8, 0, 5, NULL, &op[0]) == NEXAR_OK);
        must(nexar_comm_abort(comm, "the loss is not a number") == NEXAR_OK);
        must_fail(nexar_op_wait(op[0], NEXAR_FOREVER), NEXAR_ECLOSED, 1, WORDS);
        nexar_op_close(op[0]);
        break;
    case 2: /* in a collective */
        go(comm, 1);
        must_fail(nexar_all_reduce(comm, x, y, 4, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
        break;
    case 3: /* in a send that nobody takes */
        bytes = calloc(1, large);
        must(bytes != NULL);
        go(comm, 1);
        must_fail(nexar_send(comm, bytes, large, 0, 6, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
        free(bytes);
        break;
    default: /* waiting for a message to come */
        go(comm, 1);
        must_fail(nexar_probe(comm, 0, 5, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
    }
    all_calls_fail(comm);
}

static void test_everything_ends(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        struct job job;

        job_local(&job, 5, NULL);
        job_each(&job, abort_all, NULL);
        job_close(&job);
    }
}

/* It is told before the rank that aborts is missed, though it leaves at once. */
static void abort_and_leave(nexar_comm *comm, void *arg)
{
    double x[4] = {0};

    (void)arg;
    if (nexar_comm_rank(comm) == 1)
        must(nexar_comm_abort(comm, "the loss is not a number") == NEXAR_OK);
    else
        must_fail(nexar_all_reduce(comm, x, x, 4, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
    nexar_comm_close(comm);
}

static void test_who_aborts_may_leave_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        struct job job;

        job_local(&job, 4, NULL);
        job_each(&job, abort_and_leave, NULL);
        for (int i = 0; i < 4; i++)
            job.comm[i] = NULL;
        job_close(&job);
    }
}

/* ---- ranks that are gone, and reasons ---- */

static void abort_without_one(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    if (rank == 2) {
        job_cut(comm);
        return;
    }
    must_fail(nexar_recv(comm, NULL, 0, 2, 1, NULL, NULL), NEXAR_EPEER, 2, "rank 2");
    if (rank == 0) {
        go(comm, 1);
    } else {
        wait_for_go(comm, 0);
        must(nexar_comm_abort(comm, "the loss is not a number") == NEXAR_OK);
    }
    must_fail(nexar_recv(comm, NULL, 0, 1 - rank, 1, NULL, NULL), NEXAR_ECLOSED, 1, WORDS);
}

static void test_a_rank_that_is_gone_holds_nothing_up(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, abort_without_one, NULL);
    job_close(&job);
}

static void test_reasons(void **state)
{
    static const struct {
        const char *reason;
        const char *words;
    } table[] = {
        {NULL, "rank 0 aborted the communicator: it gave no reason"},
        {"", "it gave no reason"},
        {"tab\tand \x1b[2Jcolour", "tab?and ?[2Jcolour"},
        {"na\xc3\xafve", "na??ve"},
    };
    char longest[4000];
    struct job job;

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        job_local(&job, 2, NULL);
        assert_ok(nexar_comm_abort(job.comm[0], table[i].reason));
        assert_status(nexar_barrier(job.comm[0], NULL, NULL), NEXAR_ECLOSED);
        job_check_words(nexar_last_error(), table[i].words);
        must_fail(nexar_recv(job.comm[1], NULL, 0, 0, 1, NULL, NULL), NEXAR_ECLOSED, 0, table[i].words);
        job_close(&job);
    }
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    job_local(&job, 1, NULL);
    assert_ok(nexar_comm_abort(job.comm[0], longest));
    assert_status(nexar_barrier(job.comm[0], NULL, NULL), NEXAR_ECLOSED);
    assert_int_equal(strspn(strrchr(nexar_last_error(), ' ') + 1, "x"), NEXAR_REASON_MAX - 1);
    assert_status(nexar_comm_abort(NULL, "x"), NEXAR_EINVAL);
    job_close(&job);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_ends),
        cmocka_unit_test(test_who_aborts_may_leave_at_once),
        cmocka_unit_test(test_a_rank_that_is_gone_holds_nothing_up),
        cmocka_unit_test(test_reasons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
