/* Calls of functions of other ranks: by name and by number, both ways at once, nested, to oneself, of all sizes; what
 * fails, is cancelled, is late, or has nobody to answer it. */
#include "job.h"

#include "rng.h"
#include "rpc/rpc.h"

enum { LONG = 3000001, CALLS = 200 };

static nexar_status wait_for(nexar_op *op)
{
    nexar_status st;

    do
        st = nexar_op_wait(op, NEXAR_FOREVER);
    while (st == NEXAR_EINTR);
    return st;
}

/* Blocks; what came is `out`, which the caller frees. */
static nexar_status call(nexar_comm *comm, uint32_t dest, const char *name, const void *payload, size_t n,
                         const nexar_call_opts *opts, nexar_iov *out)
{
    nexar_op *op;
    nexar_status st = nexar_rpc_call(comm, dest, name, payload, n, opts, &op);

    *out = (nexar_iov){0};
    if (st != NEXAR_OK)
        return st;
    st = wait_for(op);
    if (st == NEXAR_OK || st == NEXAR_EREMOTE)
        must(nexar_rpc_take(op, out) == NEXAR_OK);
    nexar_op_close(op);
    return st;
}

/* ---- functions ---- */

static void plus_one(nexar_request *request, void *payload, size_t n, void *arg)
{
    uint8_t *bytes = payload;

    (void)arg;
    for (size_t i = 0; i < n; i++)
        bytes[i]++;
    nexar_request_answer(request, payload, n);
}

static void fails(nexar_request *request, void *payload, size_t n, void *arg)
{
    static const char text[] = "no luck\nand here is why";

    (void)payload;
    (void)n;
    (void)arg;
    nexar_request_fail(request, text, sizeof(text) - 1);
}

/* Calls the next rank with one less, until there is nothing left. */
static void round_and_round(nexar_request *request, void *payload, size_t n, void *arg)
{
    nexar_comm *comm = arg;
    uint32_t left;
    nexar_iov got;

    must(n == sizeof(left));
    memcpy(&left, payload, n);
    if (left == 0) {
        nexar_request_answer(request, "done", 4);
        return;
    }
    left--;
    must(call(comm, (nexar_comm_rank(comm) + 1) % nexar_comm_size(comm), "round", &left, sizeof(left), NULL, &got) ==
         NEXAR_OK);
    nexar_request_answer(request, got.base, got.nbytes);
    nexar_free(got.base);
}

static void register_all(nexar_comm *comm, void *arg)
{
    (void)arg;
    must(nexar_rpc_register(comm, "plus one", plus_one, NULL) == NEXAR_OK);
    must(nexar_rpc_register_number(comm, 7, plus_one, NULL) == NEXAR_OK);
    must(nexar_rpc_register(comm, "fails", fails, NULL) == NEXAR_OK);
    must(nexar_rpc_register(comm, "round", round_and_round, comm) == NEXAR_OK);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

/* ---- answers ---- */

static void all_sizes(nexar_comm *comm, void *arg)
{
    static const size_t sizes[] = {0, 1, 200, 480, 5000, 16384, 65400, 65536, 70000, LONG};
    uint8_t *out = malloc(LONG);
    nexar_iov got;

    must(out != NULL);
    register_all(comm, arg);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint32_t dest = 0; dest < nexar_comm_size(comm); dest++) {
            memset(out, (int)(i + nexar_comm_rank(comm)), sizes[i]);
            must(call(comm, dest, "plus one", out, sizes[i], NULL, &got) == NEXAR_OK);
            must(got.nbytes == sizes[i]);
            for (size_t k = 0; k < sizes[i]; k++)
                must(((uint8_t *)got.base)[k] == (uint8_t)(out[k] + 1));
            nexar_free(got.base);
        }
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    free(out);
}

/* Many at once, each way, by number. */
static void many(nexar_comm *comm, void *arg)
{
    uint32_t other = (nexar_comm_rank(comm) + 1) % nexar_comm_size(comm);
    nexar_op *ops[CALLS];
    uint32_t numbers[CALLS];
    nexar_iov got;

    register_all(comm, arg);
    for (uint32_t i = 0; i < CALLS; i++) {
        numbers[i] = i << 8;
        must(nexar_rpc_call_number(comm, other, 7, &numbers[i], 4, NULL, &ops[i]) == NEXAR_OK);
    }
    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t wanted = numbers[i];

        for (int k = 0; k < 4; k++)
            ((uint8_t *)&wanted)[k]++;
        must(wait_for(ops[i]) == NEXAR_OK && nexar_rpc_take(ops[i], &got) == NEXAR_OK);
        must(got.nbytes == 4 && memcmp(got.base, &wanted, 4) == 0);
        nexar_free(got.base);
        nexar_op_close(ops[i]);
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

static void nested(nexar_comm *comm, void *arg)
{
    uint32_t depth = 5;
    nexar_iov got;

    register_all(comm, arg);
    if (nexar_comm_rank(comm) == 0) {
        must(call(comm, 1, "round", &depth, sizeof(depth), NULL, &got) == NEXAR_OK);
        must(got.nbytes == 4 && memcmp(got.base, "done", 4) == 0);
        nexar_free(got.base);
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

/* ---- no answers ---- */

static void failures(nexar_comm *comm, void *arg)
{
    char name[NEXAR_RPC_NAME_MAX + 2];
    nexar_op *op;
    nexar_iov got;

    register_all(comm, arg);
    for (uint32_t dest = 0; dest < nexar_comm_size(comm); dest++) {
        must_fail(call(comm, dest, "nobody", NULL, 0, NULL, &got), NEXAR_EREMOTE, dest, "nobody|no such function");
        must(got.base == NULL);
        must_fail(call(comm, dest, "fails", "x", 1, NULL, &got), NEXAR_EREMOTE, dest, "fails|no luck");
        must(got.nbytes == 23 && memcmp(got.base, "no luck\nand here is why", 23) == 0);
        nexar_free(got.base);
    }
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    must_fail(nexar_rpc_call(comm, 0, name, NULL, 0, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "name|120");
    must_fail(nexar_rpc_call(comm, 0, "", NULL, 0, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "name");
    must_fail(nexar_rpc_call(comm, 99, "x", NULL, 0, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "dest 99");
    must_fail(nexar_rpc_call_number(comm, 0, 65536, NULL, 0, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "65536");
    must_fail(nexar_rpc_call(comm, 0, "x", NULL, 1, NULL, &op), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_rpc_call(comm, 0, "x", name, (size_t)NEXAR_RPC_BYTES_MAX + 1, NULL, &op), NEXAR_EINVAL,
              NEXAR_NO_RANK, "1073741825");
    must_fail(nexar_rpc_register(comm, "", plus_one, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "name");
    must_fail(nexar_rpc_register_number(comm, 1 << 16, plus_one, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "65536");
    must(nexar_rpc_register(comm, "plus one", NULL, NULL) == NEXAR_OK);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must_fail(call(comm, 0, "plus one", NULL, 0, NULL, &got), NEXAR_EREMOTE, 0, "no such function");
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

/* A desk of rank 1 takes the calls by itself: so the test says when. */
static void given_up(nexar_comm *comm, void *arg)
{
    nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 50 * 1000 * 1000};
    nexar_request_info info = {.size = sizeof(info)};
    nexar_desk *desk;
    nexar_op *op;
    nexar_iov got;

    (void)arg;
    must(nexar_desk_open(comm, &desk) == NEXAR_OK && nexar_desk_threads(desk) > 0);
    must(nexar_desk_register(desk, "slow", 0, 5) == NEXAR_OK);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    if (nexar_comm_rank(comm) == 0) {
        /* Out of time, while the function is at work. */
        must_fail(call(comm, 1, "slow", "abc", 3, &soon, &got), NEXAR_ETIMEDOUT, 1, "slow|no answer after");
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        /* Cancelled. */
        must(nexar_rpc_call(comm, 1, "slow", "abc", 3, NULL, &op) == NEXAR_OK);
        must(nexar_rpc_take(op, &got) == NEXAR_EAGAIN);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        must(nexar_op_cancel(op) == NEXAR_OK && wait_for(op) == NEXAR_ECANCELLED);
        must(nexar_rpc_take(op, &got) == NEXAR_EINVAL);
        nexar_op_close(op);
    } else {
        while (nexar_desk_next(desk, NEXAR_FOREVER, &info) != NEXAR_OK)
            continue; /* EINTR */
        must(info.caller == 0 && info.nbytes == 3 && info.cookie == 5 && memcmp(info.payload, "abc", 3) == 0);
        must(info.left_ns <= soon.timeout_ns);
        while (nexar_request_wanted(info.request) == NEXAR_OK)
            continue;
        must(nexar_request_answer(info.request, "late", 4) == NEXAR_OK);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        while (nexar_desk_next(desk, NEXAR_FOREVER, &info) != NEXAR_OK)
            continue;
        must(nexar_request_wanted(info.request) == NEXAR_OK);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        while (nexar_request_wanted(info.request) == NEXAR_OK)
            must(nexar_desk_next(desk, 1000 * 1000, &(nexar_request_info){.size = sizeof(info)}) != NEXAR_OK);
        must(nexar_request_wanted(info.request) == NEXAR_ECANCELLED);
        must(nexar_request_answer(info.request, "late", 4) == NEXAR_OK);
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must(nexar_desk_next(desk, 1, &info) == NEXAR_EAGAIN);
    nexar_desk_close(desk);
}

static void on_jobs(void (*fn)(nexar_comm *comm, void *arg), uint32_t least)
{
    for (uint32_t size = least; size <= 3; size++) {
        struct job job;

        job_local(&job, size, NULL);
        job_each(&job, fn, NULL);
        job_close(&job);
    }
}

static void test_all_sizes(void **state)
{
    (void)state;
    on_jobs(all_sizes, 1);
}

static void test_many_at_once(void **state)
{
    (void)state;
    on_jobs(many, 1);
}

static void test_p_nested(void **state)
{
    (void)state;
    on_jobs(nested, 2);
}

static void test_p_errors_reach_the_caller(void **state)
{
    (void)state;
    on_jobs(failures, 1);
}

static void test_p_given_up(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, given_up, NULL);
    job_close(&job);
}

/* The rank that should answer closes: in its queue, at work, or not there at all. */
static void test_callee_closes(void **state)
{
    nexar_desk *desk;
    struct job job;
    nexar_op *op;

    (void)state;
    job_local(&job, 2, NULL);
    assert_int_equal(nexar_desk_open(job.comm[1], &desk), NEXAR_OK);
    assert_int_equal(nexar_desk_register(desk, "never", 0, 1), NEXAR_OK);
    assert_int_equal(nexar_rpc_call(job.comm[0], 1, "never", NULL, 0, NULL, &op), NEXAR_OK);
    nexar_comm_close(job.comm[1]);
    job.comm[1] = NULL;
    must(wait_for(op) == NEXAR_EREMOTE || nexar_op_test(op) == NEXAR_EPEER);
    nexar_op_close(op);
    assert_int_equal(nexar_desk_register(desk, "never", 0, 1), NEXAR_ECLOSED);
    nexar_desk_close(desk);
    job_close(&job);
}

/* ---- a member that lies ---- */

static void send_raw(nexar_comm *comm, uint32_t flow, const void *bytes, size_t n)
{
    struct nx_names names = {.call = "foe", .size = comm->size};
    struct nx_send_op *op;

    must(nx_send_op_new(comm->net, &names, nx_after(nx_now(), 20 * NX_S), &op) == NEXAR_OK);
    op->req.head = (struct nx_head){.lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = flow};
    op->req.payload = bytes;
    op->req.payload_len = n;
    op->req.order = &comm->net->rpc->scope->peer[1].send_order;
    must(nx_send_op_run(op, comm->net->peer[1], NULL) == NEXAR_OK);
}

/* Whatever a member sends: it is thrown away or refused, and calls go on. */
static void test_p_lies_are_thrown_away(void **state)
{
    struct nx_rpc_tail tail = {.kind = NX_RPC_REQUEST, .name_len = 5, .id = 77, .comm = 1, .left_ns = 1};
    uint8_t bytes[256];
    struct rng rng = {46};
    struct job job;
    nexar_iov got;

    (void)state;
    job_local(&job, 2, NULL);
    assert_int_equal(nexar_rpc_register(job.comm[1], "plus one", plus_one, NULL), NEXAR_OK);
    for (uint32_t i = 0; i < 500; i++) {
        size_t n = rng_next(&rng) % sizeof(bytes);

        rng_fill(&rng, bytes, sizeof(bytes));
        if (i % 2 == 0 && n >= NX_RPC_TAIL) {
            uint8_t *at = bytes + n - NX_RPC_TAIL;

            nx_rpc_tail_encode(&tail, at);
            at[rng_next(&rng) % NX_RPC_TAIL] = (uint8_t)rng_next(&rng); /* nearly right */
        }
        send_raw(job.comm[0], i / 2 % NX_RPC_FLOWS, bytes, n);
    }
    /* The same number twice, an answer and a cancellation of nothing, a communicator that is not there. */
    for (int i = 0; i < 2; i++) {
        memcpy(bytes, "nobody", 6);
        tail.name_len = 6;
        nx_rpc_tail_encode(&tail, bytes + 6);
        send_raw(job.comm[0], NX_RPC_TO_ASK, bytes, 6 + NX_RPC_TAIL);
    }
    tail = (struct nx_rpc_tail){.kind = NX_RPC_ANSWER, .id = 12345};
    nx_rpc_tail_encode(&tail, bytes);
    send_raw(job.comm[0], NX_RPC_TO_TELL, bytes, NX_RPC_TAIL);
    send_raw(job.comm[0], NX_RPC_TO_ASK, bytes, NX_RPC_TAIL);
    tail.kind = NX_RPC_CANCEL;
    nx_rpc_tail_encode(&tail, bytes);
    send_raw(job.comm[0], NX_RPC_TO_TELL, bytes, NX_RPC_TAIL);
    assert_int_equal(call(job.comm[0], 1, "plus one", "a", 1, NULL, &got), NEXAR_OK);
    assert_true(got.nbytes == 1 && *(char *)got.base == 'b');
    nexar_free(got.base);
    assert_true(job_logged("no message of a call"));
    job_log_clear();
    job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_sizes),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_p_nested),
        cmocka_unit_test(test_p_errors_reach_the_caller),
        cmocka_unit_test(test_p_given_up),
        cmocka_unit_test(test_callee_closes),
        cmocka_unit_test(test_p_lies_are_thrown_away),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
