/* Wrong arguments are found before anything is sent, and leave the communicator as it was. */
#include "job.h"

static uint64_t sent(nexar_comm *comm)
{
    static const char key[] = "\"messages_sent\":";
    char json[4096];
    size_t need;
    const char *at;

    must(nexar_comm_stats(comm, json, sizeof(json), &need) == NEXAR_OK && need <= sizeof(json));
    at = strstr(json, key);
    must(at != NULL);
    return strtoull(at + sizeof(key) - 1, NULL, 10);
}

/* Every one of these is wrong on every rank of three. */
static void wrong_collectives(nexar_comm *comm)
{
    const nexar_call_opts no_size = {.timeout_ns = 1}, negative = {.size = sizeof(negative), .timeout_ns = -1};
    float x[8] = {0}, y[8];
    nexar_op *op = (nexar_op *)x;

    must_fail(nexar_all_reduce(NULL, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "all_reduce: the communicator is NULL");
    must_fail(nexar_all_reduce(comm, NULL, y, 8, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "all_reduce: send is NULL and should have 8 elements");
    must_fail(nexar_all_reduce(comm, x, NULL, 8, NEXAR_FLOAT32, NEXAR_SUM, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK,
              "all_reduce: recv is NULL");
    must(op == NULL);
    must_fail(nexar_all_reduce(comm, x, x + 1, 4, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "overlap");
    must_fail(nexar_all_reduce(comm, x + 3, x, 4, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "overlap");
    must_fail(nexar_all_reduce(comm, x, y, 8, (nexar_dtype)13, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "all_reduce: 13 is not a data type");
    must_fail(nexar_all_reduce(comm, x, y, 8, NEXAR_FLOAT32, (nexar_reduce_op)8, NULL, NULL), NEXAR_EINVAL,
              NEXAR_NO_RANK, "all_reduce: 8 is not a reduction operator");
    must_fail(nexar_all_reduce(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_BXOR, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "all_reduce: bxor of float32|float32 takes sum, prod, min, max, avg|bxor is for int8");
    must_fail(nexar_all_reduce(comm, x, y, SIZE_MAX / 2, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL,
              NEXAR_NO_RANK, "elements of 4 bytes are more than memory can");
    must_fail(nexar_all_reduce(comm, x, y, SIZE_MAX / 4 - 1, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL), NEXAR_EINVAL,
              NEXAR_NO_RANK, "elements of 4 bytes are more than memory can");
    must_fail(nexar_all_reduce(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, &no_size, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "size is 0");
    must_fail(nexar_all_reduce(comm, x, y, 8, NEXAR_FLOAT32, NEXAR_SUM, &negative, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "negative");
    must_fail(nexar_broadcast(comm, NULL, 8, NEXAR_FLOAT32, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "broadcast: buf is NULL");
    must_fail(nexar_broadcast(comm, x, 8, (nexar_dtype)-1, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "broadcast: -1 is not a data type");
    must_fail(nexar_broadcast(comm, x, 8, NEXAR_FLOAT32, 3, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "broadcast: root 3 is not one of the 3 ranks");
    must_fail(nexar_broadcast(comm, x, SIZE_MAX / 8, NEXAR_FLOAT64, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "more than memory can");
    must_fail(nexar_barrier(NULL, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "barrier: the communicator is NULL");
    must_fail(nexar_barrier(comm, &negative, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "negative");
    must(op == NULL);
}

static void wrong_messages(nexar_comm *comm)
{
    const nexar_call_opts negative = {.size = sizeof(negative), .timeout_ns = -1};
    uint32_t rank = nexar_comm_rank(comm), other = (rank + 1) % 3;
    nexar_recv_info info = {.nbytes = 7};
    char x[8] = {0}, y[8];
    nexar_op *op = (nexar_op *)(void *)x;
    nexar_conn *conn;

    must_fail(nexar_send(NULL, x, 8, other, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "send: the communicator");
    must_fail(nexar_send(comm, NULL, 8, other, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "send: the buffer is NULL");
    must_fail(nexar_send(comm, x, 8, 3, 0, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "send: dest 3 is not one of the 3");
    must(op == NULL);
    must_fail(nexar_send(comm, x, 8, NEXAR_ANY, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "send: dest");
    must_fail(nexar_send(comm, x, 8, other, NEXAR_ANY, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "send: the tag must");
    must_fail(nexar_send(comm, x, 8, other, 0, &negative, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "negative");
    must_fail(nexar_recv(comm, NULL, 8, other, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "recv: the buffer");
    must_fail(nexar_recv(comm, x, 8, 3, 0, &info, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "recv: src 3 is not one");
    must(info.nbytes == 0);
    must_fail(nexar_recv_nb(comm, x, 8, other, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "nowhere to put the op");
    must_fail(nexar_recv_nb(comm, x, 8, 3, 0, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "recv: src 3 is not one");
    must(op == NULL);
    must_fail(nexar_sendrecv(comm, x, 8, 3, 0, y, 8, other, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "sendrecv: dest 3");
    must_fail(nexar_sendrecv(comm, x, 8, other, 0, y, 8, 3, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK,
              "sendrecv: src 3");
    must_fail(nexar_probe(comm, 3, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "probe: src 3");
    must_fail(nexar_comm_peer(comm, rank, &conn), NEXAR_EINVAL, NEXAR_NO_RANK, "peer: rank|this rank itself");
    must_fail(nexar_comm_peer(comm, 3, &conn), NEXAR_EINVAL, NEXAR_NO_RANK, "peer: rank 3 is not there");
    must(conn == NULL);
    must_fail(nexar_comm_peer(comm, other, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "peer: there is no place");
}

static void wrong_ops(nexar_comm *comm)
{
    nexar_recv_info info;
    nexar_op *op, *none[1] = {NULL};
    uint64_t cookie;
    size_t index;
    char text[8];

    must_fail(nexar_op_wait(NULL, 0), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_op_test(NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_op_cancel(NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_op_wait_all(none, 1, 0), NEXAR_EINVAL, NEXAR_NO_RANK, "op 0 is NULL");
    must_fail(nexar_op_wait_any(none, 1, 0, &index), NEXAR_EINVAL, NEXAR_NO_RANK, "op 0 is NULL");
    must(nexar_op_wait_all(NULL, 0, 0) == NEXAR_OK);
    nexar_op_close(NULL);
    must(nexar_barrier(comm, NULL, &op) == NEXAR_OK);
    must_fail(nexar_op_recv_info(op, &info), NEXAR_EINVAL, NEXAR_NO_RANK, "not a receive");
    must_fail(nexar_op_describe(op, text, 0), NEXAR_EINVAL, NEXAR_NO_RANK, "no room");
    must(nexar_op_describe(op, text, sizeof(text)) == NEXAR_OK && strlen(text) == 7); /* cut */
    must(nexar_op_notify(op, 77) == NEXAR_OK);
    must_fail(nexar_op_notify(op, 78), NEXAR_EINVAL, NEXAR_NO_RANK, "has a cookie already");
    must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
    must(nexar_completion_next(comm, &cookie) == NEXAR_OK && cookie == 77);
    must(nexar_completion_next(comm, &cookie) == NEXAR_EAGAIN && cookie == 0);
    nexar_op_close(op);
}

static void wrong(nexar_comm *comm, void *arg)
{
    const nexar_call_opts one = {.size = sizeof(one), .timeout_ns = 1};
    nexar_recv_info info;
    uint64_t before = sent(comm);
    int64_t x = 1;

    (void)arg;
    wrong_collectives(comm);
    wrong_messages(comm);
    must(sent(comm) == before);
    /* As if nothing had been. */
    must(nexar_all_reduce(comm, &x, &x, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK && x == 3);
    wrong_ops(comm);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must_fail(nexar_probe(comm, NEXAR_ANY, NEXAR_ANY, &info, &one), NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "no such message");
}

static void test_c10_wrong_arguments(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_works(&job);
    job_each(&job, wrong, NULL);
    job_works(&job);
    job_close(&job);
}

static void test_local_cluster(void **state)
{
    const nexar_config no_size = {.world_size = 1};
    nexar_comm *comms[2] = {(nexar_comm *)(void *)state, NULL};

    assert_status(nexar_local_cluster(0, NULL, comms), NEXAR_EINVAL);
    assert_status(nexar_local_cluster(257, NULL, comms), NEXAR_EINVAL);
    assert_status(nexar_local_cluster(1, NULL, NULL), NEXAR_EINVAL);
    assert_status(nexar_local_cluster(2, &no_size, comms), NEXAR_EINVAL);
    assert_null(comms[0]);
    nexar_comm_close(NULL);
    assert_int_equal(nexar_comm_rank(NULL), 0);
    assert_int_equal(nexar_comm_size(NULL), 0);
    assert_int_equal(nexar_comm_id(NULL), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c10_wrong_arguments),
        cmocka_unit_test(test_local_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
