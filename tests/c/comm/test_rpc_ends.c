/* Communicators are closed while functions of calls run: those that do not return, that return late, that close their
 * own communicator; and what their callers get. */
#include "job.h"

#include "base/mem.h"
#include "rpc/rpc.h"

#include <sched.h>

enum { LINGER = 300 * NX_MS };

struct stuck {
    _Atomic int began, go, returned;
    nexar_comm *comm;
};

static nexar_status wait_for(nexar_op *op)
{
    nexar_status st;

    do
        st = nexar_op_wait(op, 60 * NX_S);
    while (st == NEXAR_EINTR);
    return st;
}

static void until(_Atomic int *flag)
{
    while (atomic_load(flag) == 0)
        sched_yield();
}

static void make_child(nexar_comm *comm, void *arg)
{
    nexar_comm **child = arg;

    must(nexar_comm_dup(comm, NULL, &child[nexar_comm_rank(comm)]) == NEXAR_OK);
}

static void form(struct job *job, nexar_comm *child[2], int64_t linger)
{
    nexar_config config = {.size = sizeof(config), .peer_timeout_ns = 20 * NX_S, .linger_ns = linger};

    job_local(job, 2, &config);
    job_each(job, make_child, child);
}

static void never(nexar_request *request, void *payload, size_t n, void *arg)
{
    struct stuck *stuck = arg;
    nexar_op *op;

    (void)payload;
    (void)n;
    atomic_store(&stuck->began, 1);
    until(&stuck->go);
    must(nexar_request_wanted(request) == NEXAR_ECLOSED);
    if (stuck->comm != NULL) {
        must(nexar_rpc_call(stuck->comm, 0, "x", NULL, 0, NULL, &op) == NEXAR_ECLOSED);
        must(nexar_rpc_register(stuck->comm, "x", never, NULL) == NEXAR_ECLOSED);
    }
    must(nexar_request_answer(request, "late", 4) == NEXAR_OK);
    atomic_store(&stuck->returned, 1);
}

/* What was left behind is gone again: so many blocks are as before. */
static void until_blocks(uint64_t most)
{
    struct nx_mem_stats now;

    do {
        sched_yield();
        nx_mem_stats(&now);
    } while (now.blocks > most);
}

/* It never returns while the communicator, and then the whole node, is there; and cleans up when it does. */
static void stuck_function(bool whole)
{
    struct stuck stuck = {0};
    struct nx_mem_stats before;
    nexar_comm *child[2];
    struct job job;
    nexar_op *op;
    nx_time begun;

    form(&job, child, LINGER);
    stuck.comm = child[1];
    assert_int_equal(nexar_rpc_register(child[1], "never", never, &stuck), NEXAR_OK);
    assert_int_equal(nexar_rpc_call(child[0], 1, "never", "abc", 3, NULL, &op), NEXAR_OK);
    until(&stuck.began);
    begun = nx_now();
    nexar_comm_close(child[1]);
    assert_true(nx_now() - begun >= LINGER);
    must_fail(wait_for(op), NEXAR_EREMOTE, 1, "never|closed on that rank");
    nexar_op_close(op);
    assert_true(job_logged("closed while 1 of its functions still run"));
    assert_int_equal(atomic_load(&stuck.returned), 0);
    nexar_comm_close(child[0]);
    job_works(&job);
    if (whole)
        job_close(&job);
    nx_mem_stats(&before);
    atomic_store(&stuck.go, 1);
    until(&stuck.returned);
    if (whole)
        until_blocks(before.blocks - 4); /* of the request, its bytes, the communicator, the desk at least */
    else
        job_close(&job);
    job_log_clear();
}

static void test_a_function_that_never_returns(void **state)
{
    (void)state;
    stuck_function(false);
}

static void test_a_function_that_outlives_its_node(void **state)
{
    (void)state;
    stuck_function(true);
}

static void slow(nexar_request *request, void *payload, size_t n, void *arg)
{
    struct stuck *stuck = arg;

    (void)payload;
    (void)n;
    atomic_store(&stuck->began, 1);
    while (nexar_request_wanted(request) == NEXAR_OK) /* until it is told that the communicator is about to close */
        sched_yield();
    atomic_store(&stuck->returned, 1);
    must(nexar_request_answer(request, NULL, 0) == NEXAR_OK);
}

/* One that returns when it is told is waited for. */
static void test_a_function_that_returns_is_waited_for(void **state)
{
    struct stuck stuck = {0};
    nexar_comm *child[2];
    struct job job;
    nexar_op *op;

    (void)state;
    form(&job, child, 60 * NX_S);
    assert_int_equal(nexar_rpc_register(child[1], "slow", slow, &stuck), NEXAR_OK);
    assert_int_equal(nexar_rpc_call(child[0], 1, "slow", NULL, 0, NULL, &op), NEXAR_OK);
    until(&stuck.began);
    nexar_comm_close(child[1]);
    assert_int_equal(atomic_load(&stuck.returned), 1);
    must_fail(wait_for(op), NEXAR_EREMOTE, 1, "slow|closed on that rank");
    nexar_op_close(op);
    nexar_comm_close(child[0]);
    job_close(&job);
}

/* ---- of its own communicator ---- */

static void closes(nexar_request *request, void *payload, size_t n, void *arg)
{
    struct stuck *stuck = arg;

    (void)payload;
    if (n != 0)
        must(nexar_request_answer(request, "bye", 3) == NEXAR_OK);
    nexar_comm_close(stuck->comm);
    if (n == 0) {
        must(nexar_request_wanted(request) == NEXAR_ECLOSED);
        must(nexar_request_answer(request, "late", 4) == NEXAR_OK);
    }
    atomic_store(&stuck->returned, 1);
}

static void close_itself(bool answers_first, bool last)
{
    struct stuck stuck = {0};
    nexar_comm *child[2];
    struct job job;
    nexar_iov got;
    nexar_op *op;
    nexar_status st;

    form(&job, child, 60 * NX_S);
    if (last) {
        nexar_comm_close(job.comm[1]);
        job.comm[1] = NULL;
    }
    stuck.comm = child[1];
    assert_int_equal(nexar_rpc_register(child[1], "closes", closes, &stuck), NEXAR_OK);
    assert_int_equal(nexar_rpc_call(child[0], 1, "closes", "x", answers_first, NULL, &op), NEXAR_OK);
    st = wait_for(op);
    if (answers_first) {
        assert_int_equal(st, NEXAR_OK);
        assert_int_equal(nexar_rpc_take(op, &got), NEXAR_OK);
        assert_true(got.nbytes == 3 && memcmp(got.base, "bye", 3) == 0);
        nexar_free(got.base);
    } else if (last) {
        assert_true(st == NEXAR_EREMOTE || st == NEXAR_EPEER);
    } else {
        must_fail(st, NEXAR_EREMOTE, 1, "closes|closed on that rank");
    }
    nexar_op_close(op);
    nexar_comm_close(child[0]);
    if (!last)
        job_works(&job);
    job_close(&job);
    until(&stuck.returned);
}

static void test_a_function_closes_its_communicator(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        close_itself(i % 2 != 0, i / 2 != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_function_that_never_returns),
        cmocka_unit_test(test_a_function_that_outlives_its_node),
        cmocka_unit_test(test_a_function_that_returns_is_waited_for),
        cmocka_unit_test(test_a_function_closes_its_communicator),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
