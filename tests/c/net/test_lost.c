/* A connection that dies: everything that waits for this peer ends, on every lane, key and scope, and names it. */
#include "traffic_kit.h"

#include <pthread.h>

static struct job job;
static uint8_t memory[64][256];
static uint8_t bulk[8 << 20];

static const nexar_config narrow = {
    .size = sizeof(narrow), .peer_timeout_ns = 20 * NX_S, .lane_bytes = 65536, .lane_messages = 16};

static int setup(void **state)
{
    (void)state;
    job_local(&job, 3, &narrow);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    job_close(&job);
    return 0;
}

static nexar_conn *conn_to(uint32_t rank)
{
    nexar_conn *conn;

    assert_ok(nexar_comm_peer(job.comm[0], rank, &conn));
    return conn;
}

/* Rank 1 goes without a word. */
static void cut(void)
{
    nexar_conn *conn;

    assert_ok(nexar_comm_peer(job.comm[1], 0, &conn));
    nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
}

static void assert_names_rank_1(nexar_op *op)
{
    nexar_error error = {.size = sizeof(error)};

    assert_status(nexar_op_wait(op, CHECK_PATIENCE), NEXAR_EPEER);
    assert_ok(nexar_op_error(op, &error));
    assert_int_equal(error.peer, 1);
    if (strstr(error.text, "rank 1") == NULL)
        fail_msg("\"%s\" does not name rank 1", error.text);
    nexar_op_close(op);
}

static uint32_t post_receives(uint32_t rank, nexar_op **op)
{
    static const nexar_lane lanes[] = {NEXAR_LANE_CONTROL, NEXAR_LANE_DATA, NEXAR_LANE_RPC_REQUEST,
                                       NEXAR_LANE_RPC_RESPONSE, NEXAR_LANE_RELAY};
    static const uint32_t tags[] = {0, 1, 77, NEXAR_ANY};
    nexar_conn *conn = conn_to(rank);
    uint32_t n = 0;

    for (uint32_t i = 0; i < 5; i++, n++)
        assert_ok(nexar_conn_recv_message(conn, lanes[i], memory[n], 256, NULL, NULL, &op[n]));
    assert_ok(nexar_conn_recv_raw(conn, memory[n], 256, NULL, NULL, &op[n]));
    n++;
    for (uint64_t i = 0; i < 3; i++, n++)
        assert_ok(nexar_conn_recv_raw_comm(conn, i * 1000, memory[n], 256, NULL, NULL, &op[n]));
    for (uint64_t i = 0; i < 3; i++, n++)
        assert_ok(nexar_conn_recv_raw_tagged(conn, i << 40, memory[n], 256, NULL, NULL, &op[n]));
    for (uint32_t i = 0; i < 4; i++, n++)
        assert_ok(nexar_recv_nb(job.comm[0], memory[n], 256, rank, tags[i], NULL, &op[n]));
    return n;
}

static void test_o6_receives_on_every_key_end(void **state)
{
    nexar_op *lost[32], *others[32], *any;
    uint32_t n, m;

    (void)state;
    n = post_receives(1, lost);
    m = post_receives(2, others);
    assert_ok(nexar_recv_nb(job.comm[0], memory[63], 256, NEXAR_ANY, 500, NULL, &any));
    cut();
    for (uint32_t i = 0; i < n; i++)
        assert_names_rank_1(lost[i]);
    assert_names_rank_1(any);
    for (uint32_t i = 0; i < m; i++) {
        assert_status(nexar_op_test(others[i]), NEXAR_EAGAIN);
        assert_ok(nexar_op_cancel(others[i]));
        assert_status(nexar_op_wait(others[i], CHECK_PATIENCE), NEXAR_ECANCELLED);
        nexar_op_close(others[i]);
    }
    /* What is asked later ends at once. */
    must_fail(nexar_recv(job.comm[0], memory[0], 256, 1, 5, NULL, NULL), NEXAR_EPEER, 1, "recv|rank 1");
    must_fail(nexar_send(job.comm[0], memory[0], 256, 1, 5, NULL, NULL), NEXAR_EPEER, 1, "rank 1");
    must_fail(nexar_probe(job.comm[0], 1, 5, NULL, NULL), NEXAR_EPEER, 1, "rank 1");
    /* And the third rank is where it was. */
    assert_ok(nexar_send(job.comm[2], "x", 1, 0, 5, NULL, NULL));
    assert_ok(nexar_recv(job.comm[0], memory[0], 256, 2, 5, NULL, NULL));
}

/* ---- calls that block without a deadline ---- */

struct blocked {
    pthread_t thread;
    int what;
    _Atomic bool begun;
    nexar_status status;
    uint32_t peer;
};

static void *block(void *arg)
{
    const nexar_call_opts forever = {.size = sizeof(forever), .timeout_ns = NEXAR_FOREVER};
    nexar_comm *comm = job.comm[0];
    struct blocked *b = arg;
    nexar_error error = {.size = sizeof(error)};
    uint8_t in[16];

    b->begun = true;
    switch (b->what) {
    case 0:
        b->status = nexar_recv(comm, in, sizeof(in), 1, 9, NULL, &forever);
        break;
    case 1:
        b->status = nexar_probe(comm, 1, NEXAR_ANY, NULL, &forever);
        break;
    case 2:
        b->status = nexar_conn_recv_raw_comm(conn_to(1), 3, in, sizeof(in), NULL, &forever, NULL);
        break;
    case 3: /* nobody reads it */
        b->status = nexar_send(comm, bulk, sizeof(bulk), 1, 9, &forever, NULL);
        break;
    default: /* behind that one */
        b->status = nexar_send(comm, bulk, 100000, 1, 9, &forever, NULL);
        break;
    }
    nexar_last_error_info(&error);
    b->peer = error.peer;
    return NULL;
}

static void test_o6_blocked_calls_end(void **state)
{
    enum { CALLS = 5 };
    static struct blocked b[CALLS];

    (void)state;
    for (int i = 0; i < CALLS; i++) {
        b[i].what = i;
        pthread_create(&b[i].thread, NULL, block, &b[i]);
        assert_eventually(b[i].begun);
    }
    assert_eventually(atomic_load(&lane_stats(job.comm[1])->parked) > 0);
    cut();
    for (int i = 0; i < CALLS; i++) {
        pthread_join(b[i].thread, NULL);
        assert_status(b[i].status, NEXAR_EPEER);
        assert_int_equal(b[i].peer, 1);
    }
}

/* In the middle of a message: its receive ends, those behind it too; what was whole before can still be received. */
static void test_o6_lost_in_the_middle_of_a_message(void **state)
{
    static uint8_t in[sizeof(bulk)];
    nexar_op *op[3], *sent;
    nexar_recv_info info;

    (void)state;
    assert_ok(nexar_send(job.comm[1], "whole", 5, 0, 1, NULL, NULL));
    assert_ok(nexar_probe(job.comm[0], 1, 1, NULL, NULL));
    for (uint32_t i = 0; i < 3; i++)
        assert_ok(nexar_recv_nb(job.comm[0], in, i == 0 ? sizeof(in) : 0, 1, 2, NULL, &op[i]));
    assert_ok(nexar_send(job.comm[1], bulk, sizeof(bulk), 0, 2, NULL, &sent));
    cut();
    (void)nexar_op_wait(sent, CHECK_PATIENCE);
    assert_true(nexar_op_test(sent) != NEXAR_EAGAIN);
    nexar_op_close(sent);
    if (nexar_op_wait(op[0], CHECK_PATIENCE) == NEXAR_OK)
        nexar_op_close(op[0]); /* it was faster */
    else
        assert_names_rank_1(op[0]);
    assert_names_rank_1(op[1]);
    assert_names_rank_1(op[2]);
    assert_ok(nexar_recv(job.comm[0], in, sizeof(in), 1, 1, &info, NULL));
    assert_int_equal(info.nbytes, 5);
    assert_memory_equal(in, "whole", 5);
    must_fail(nexar_recv(job.comm[0], in, sizeof(in), 1, 1, NULL, NULL), NEXAR_EPEER, 1, "rank 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_o6_receives_on_every_key_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o6_blocked_calls_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o6_lost_in_the_middle_of_a_message, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
