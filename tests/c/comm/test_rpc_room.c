/* A full queue of calls: those that go, because their caller is lost, give back the room that they had. */
#include "job.h"

#include "rpc/rpc.h"

#include <sched.h>

/* So many fill the queue, and then each receive meets that: none waits elsewhere. */
enum { QUEUE = 2, FULL = QUEUE - 1 + NX_RPC_SLOTS };

/* No call is received any more: its queue is full, and each receive has met that. */
static bool is_shut(struct nx_rpc *rpc)
{
    uint32_t resting = 0;

    nx_lock(&rpc->lock);
    nx_list_for_each_safe(pos, tmp, &rpc->resting) resting++;
    nx_unlock(&rpc->lock);
    return resting == NX_RPC_SLOTS;
}

static nexar_status wait_for(nexar_op *op)
{
    nexar_status st;

    do
        st = nexar_op_wait(op, 60 * NX_S);
    while (st == NEXAR_EINTR);
    return st;
}

/* Rank 0 fills the queue of rank 1, which takes nothing, and is lost; then rank 2 calls. */
static void test_calls_of_a_lost_rank_give_back_their_room(void **state)
{
    nexar_config config = {.size = sizeof(config), .peer_timeout_ns = 20 * NX_S, .rpc_queue = QUEUE};
    nexar_request_info info = {.size = sizeof(info)};
    nexar_op *ops[FULL], *last;
    nexar_desk *desk;
    struct job job;
    nexar_status st;

    (void)state;
    job_local(&job, 3, &config);
    assert_int_equal(nexar_desk_open(job.comm[1], &desk), NEXAR_OK);
    assert_int_equal(nexar_desk_register(desk, "f", 0, 5), NEXAR_OK);
    for (int i = 0; i < FULL; i++)
        assert_int_equal(nexar_rpc_call(job.comm[0], 1, "f", NULL, 0, NULL, &ops[i]), NEXAR_OK);
    while (!is_shut(job.comm[1]->net->rpc))
        sched_yield();
    job_cut(job.comm[0]);
    for (int i = 0; i < FULL; i++) {
        assert_int_equal(wait_for(ops[i]), NEXAR_EPEER);
        nexar_op_close(ops[i]);
    }
    while (is_shut(job.comm[1]->net->rpc)) /* nobody takes: only the end of those calls can open it */
        sched_yield();
    assert_int_equal(nexar_rpc_call(job.comm[2], 1, "f", "x", 1, NULL, &last), NEXAR_OK);
    do
        st = nexar_desk_next(desk, 60 * NX_S, &info);
    while (st == NEXAR_EINTR);
    assert_int_equal(st, NEXAR_OK);
    assert_true(info.caller == 2 && info.nbytes == 1);
    assert_int_equal(nexar_request_answer(info.request, NULL, 0), NEXAR_OK);
    assert_int_equal(wait_for(last), NEXAR_OK);
    nexar_op_close(last);
    nexar_desk_close(desk);
    job_close(&job);
    job_log_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_of_a_lost_rank_give_back_their_room),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
