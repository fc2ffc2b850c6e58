/* Messages between two ranks over loopback: order whatever the sizes, small ones past bulk, a stream for none but large
 * ones, sends that are cancelled or left behind. */
#include "base/call.h"
#include "traffic_kit.h"

#include "rng.h"

static const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 50 * NX_MS};

static void on_two(const nexar_config *config, void (*fn)(nexar_comm *comm, void *arg))
{
    struct job job;

    job_local(&job, 2, config);
    job_each(&job, fn, NULL);
    job_close(&job);
}

static uint8_t *bytes_of(size_t n)
{
    uint8_t *bytes = calloc(1, n);

    must(bytes != NULL);
    return bytes;
}

/* ---- order ---- */

enum { KEYS = 9, MESSAGES = 60, LONGEST = 1 << 20 };

static const size_t lengths[] = {4, 100, 70000, 16384, 16385, 8, 65536, 65537, 1000, LONGEST, 4, 4};

/* Raw, of communicators, of tags, between ranks. */
static nexar_status send_on(nexar_comm *comm, uint32_t key, const void *bytes, size_t n, nexar_op **op)
{
    nexar_conn *conn = peer_of(comm);

    if (key == 0)
        return nexar_conn_send_raw(conn, bytes, n, NULL, op);
    if (key < 3)
        return nexar_conn_send_raw_comm(conn, key, bytes, n, NULL, op);
    if (key < 6)
        return nexar_conn_send_raw_tagged(conn, key, bytes, n, NULL, op);
    return nexar_send(comm, bytes, n, 1 - nexar_comm_rank(comm), key, NULL, op);
}

static nexar_status receive_on(nexar_comm *comm, uint32_t key, void *bytes, size_t n, nexar_recv_info *info)
{
    nexar_conn *conn = peer_of(comm);

    if (key == 0)
        return nexar_conn_recv_raw(conn, bytes, n, info, NULL, NULL);
    if (key < 3)
        return nexar_conn_recv_raw_comm(conn, key, bytes, n, info, NULL, NULL);
    if (key < 6)
        return nexar_conn_recv_raw_tagged(conn, key, bytes, n, info, NULL, NULL);
    return nexar_recv(comm, bytes, n, 1 - nexar_comm_rank(comm), key, info, NULL);
}

/* First and last word say which one it is. */
static void mark(uint8_t *bytes, size_t n, uint32_t number)
{
    memcpy(bytes, &number, 4);
    memcpy(bytes + n - 4, &number, 4);
}

static bool is_marked(const uint8_t *bytes, size_t n, uint32_t number)
{
    return memcmp(bytes, &number, 4) == 0 && memcmp(bytes + n - 4, &number, 4) == 0;
}

static size_t length_at(uint32_t key, uint32_t i)
{
    return lengths[(i * 5 + key) % (sizeof(lengths) / sizeof(lengths[0]))];
}

static void mixed(nexar_comm *comm, void *arg)
{
    uint8_t *bytes = bytes_of(LONGEST);
    uint32_t next[KEYS] = {0};
    struct rng rng = {.state = 9};

    (void)arg;
    if (nexar_comm_rank(comm) == 0) {
        for (uint32_t i = 0; i < MESSAGES; i++) {
            for (uint32_t key = 0; key < KEYS; key++) {
                mark(bytes, length_at(key, i), i);
                must(send_on(comm, key, bytes, length_at(key, i), NULL) == NEXAR_OK);
            }
        }
    } else {
        for (uint32_t left = KEYS * MESSAGES; left > 0; left--) {
            uint32_t key = (uint32_t)rng_below(&rng, KEYS);
            nexar_recv_info info;

            while (next[key] == MESSAGES)
                key = (key + 1) % KEYS;
            must(receive_on(comm, key, bytes, LONGEST, &info) == NEXAR_OK);
            must(info.nbytes == length_at(key, next[key]) && is_marked(bytes, info.nbytes, next[key]));
            next[key]++;
        }
    }
    free(bytes);
}

static void test_o1_mixed_sizes_stay_in_order(void **state)
{
    (void)state;
    on_two(NULL, mixed);
}

/* One key with narrow limits: it is held back and released again and again, while new messages are sent without waiting
 * for those before. */
enum { HELD_COUNT = 40000, SLOTS = 24, SLOT = 100000 };

static size_t held_length(uint32_t i)
{
    return i % 500 == 3 ? SLOT : i % 50 == 7 ? 20000 : 8;
}

static void send_without_waiting(nexar_comm *comm)
{
    uint8_t *bytes = bytes_of((size_t)SLOTS * SLOT);
    nexar_op *op[SLOTS] = {NULL};

    for (uint32_t i = 0; i < HELD_COUNT + SLOTS; i++) {
        uint8_t *slot = bytes + (size_t)(i % SLOTS) * SLOT;

        if (op[i % SLOTS] != NULL) {
            must(nexar_op_wait(op[i % SLOTS], NEXAR_FOREVER) == NEXAR_OK);
            nexar_op_close(op[i % SLOTS]);
            op[i % SLOTS] = NULL;
        }
        if (i < HELD_COUNT) {
            mark(slot, held_length(i), i);
            must(send_on(comm, 4, slot, held_length(i), &op[i % SLOTS]) == NEXAR_OK);
        }
    }
    free(bytes);
}

static void held_and_released(nexar_comm *comm, void *arg)
{
    uint8_t *bytes = bytes_of(SLOT);
    struct rng rng = {.state = 5};

    (void)arg;
    if (nexar_comm_rank(comm) == 0)
        send_without_waiting(comm);
    for (uint32_t i = 0; i < HELD_COUNT && nexar_comm_rank(comm) == 1; i++) {
        nexar_recv_info info;

        must(receive_on(comm, 4, bytes, SLOT, &info) == NEXAR_OK);
        must(info.nbytes == held_length(i) && is_marked(bytes, info.nbytes, i));
        if (rng_below(&rng, 1000) == 0)
            poll(NULL, 0, 1);
    }
    must(nexar_comm_rank(comm) == 0 || atomic_load(&lane_stats(comm)->held) > 10);
    free(bytes);
}

static void test_o1_order_while_held_and_released(void **state)
{
    const nexar_config narrow = {
        .size = sizeof(narrow), .peer_timeout_ns = 20 * NX_S, .lane_bytes = 65536, .lane_messages = 16};

    (void)state;
    on_two(&narrow, held_and_released);
}

/* ---- small messages and bulk ---- */

enum { BULK = 16 << 20, PARTS = 5 };

/* 80 MiB are on their way; true on rank 0 if a small message was there and back before them. */
static bool past_bulk(nexar_comm *comm, bool sends_bulk)
{
    static uint8_t *memory[2];
    uint32_t rank = nexar_comm_rank(comm), other = 1 - rank, word = 7;
    nexar_op *op[PARTS];
    bool overtook;

    memory[rank] = bytes_of((size_t)BULK * PARTS);
    for (uint32_t i = 0; i < PARTS && !sends_bulk; i++)
        must(nexar_recv_nb(comm, memory[rank] + (size_t)i * BULK, BULK, other, i, NULL, &op[i]) == NEXAR_OK);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    for (uint32_t i = 0; i < PARTS && sends_bulk; i++)
        must(nexar_send(comm, memory[rank] + (size_t)i * BULK, BULK, other, i, NULL, &op[i]) == NEXAR_OK);
    if (rank == 0) {
        must(nexar_send(comm, &word, sizeof(word), 1, 100, NULL, NULL) == NEXAR_OK);
        must(nexar_recv(comm, &word, sizeof(word), 1, 101, NULL, NULL) == NEXAR_OK && word == 8);
    } else {
        must(nexar_recv(comm, &word, sizeof(word), 0, 100, NULL, NULL) == NEXAR_OK && word++ == 7);
        must(nexar_send(comm, &word, sizeof(word), 0, 101, NULL, NULL) == NEXAR_OK);
    }
    overtook = nexar_op_test(op[PARTS - 1]) == NEXAR_EAGAIN;
    must(nexar_op_wait_all(op, PARTS, CHECK_PATIENCE) == NEXAR_OK);
    for (uint32_t i = 0; i < PARTS; i++)
        nexar_op_close(op[i]);
    free(memory[rank]);
    return overtook;
}

/* A busy machine may let a thread sleep until all is over, so several times; had small ones to wait for their turn, it
 * would never come true. */
static void past_bulk_both_ways(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    for (uint32_t from = 0; from < 2; from++) {
        uint32_t overtook = 0;

        for (int turn = 0; turn < 20 && overtook == 0; turn++) {
            overtook = past_bulk(comm, rank == from);
            must(nexar_broadcast(comm, &overtook, 1, NEXAR_UINT32, 0, NULL, NULL) == NEXAR_OK);
        }
        must(overtook != 0);
    }
}

static void test_o9_small_messages_overtake_bulk(void **state)
{
    (void)state;
    on_two(NULL, past_bulk_both_ways);
}

/* ---- streams ---- */

static uint64_t streams(const nexar_comm *comm)
{
    return atomic_load(&comm->net->stats.streams);
}

static void count_streams(nexar_comm *comm, void *arg)
{
    enum { SMALL = 10000, LARGE = 25 };
    uint32_t other = 1 - nexar_comm_rank(comm);
    uint8_t *bytes = bytes_of(200000);

    (void)arg;
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must(streams(comm) == 2); /* one for control messages, one for small ones */
    for (uint32_t i = 0; i < SMALL; i++)
        must(nexar_sendrecv(comm, bytes, 16, other, 1, bytes + 100, 16, other, 1, NULL, NULL) == NEXAR_OK);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must(streams(comm) == 2);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK); /* now large ones may come */
    for (uint32_t i = 0; i < LARGE; i++)
        must(nexar_sendrecv(comm, bytes, 90000, other, 1, bytes + 100000, 90000, other, 1, NULL, NULL) == NEXAR_OK);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must(streams(comm) == 2 + LARGE);
    free(bytes);
}

static void test_o10_o11_streams_are_for_large_messages(void **state)
{
    (void)state;
    on_two(NULL, count_streams);
}

/* Many small messages share packets. */
struct packets {
    nexar_conn *conn;
    uint64_t received;
};

static void read_packets(void *arg)
{
    struct packets *p = arg;
    struct nx_quic_conn_stats stats;

    must(nx_quic_conn_stats(p->conn->quic, &stats));
    p->received = stats.received_packets;
}

static void count_packets(nexar_comm *comm, void *arg)
{
    enum { SMALL = 20000 };
    struct packets p = {.conn = peer_of(comm)};
    uint64_t before, word = 0;

    (void)arg;
    must(nx_call(read_packets, &p) == NEXAR_OK);
    before = p.received;
    for (uint64_t i = 0; i < SMALL; i++) {
        if (nexar_comm_rank(comm) == 0)
            must(nexar_send(comm, &i, sizeof(i), 1, 1, NULL, NULL) == NEXAR_OK);
        else
            must(nexar_recv(comm, &word, sizeof(word), 0, 1, NULL, NULL) == NEXAR_OK && word == i);
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must(nx_call(read_packets, &p) == NEXAR_OK);
    must(nexar_comm_rank(comm) == 0 || p.received - before < SMALL / 2);
}

static void test_o11_small_messages_share_packets(void **state)
{
    (void)state;
    on_two(NULL, count_packets);
}

/* ---- sends that end early ---- */

/* Those that wait for a key that is held back end when they are asked to; those behind them keep their order. */
static void give_up(nexar_comm *comm, void *arg)
{
    enum { COUNT = 300 };
    uint32_t rank = nexar_comm_rank(comm), n = 0;
    static uint32_t number[COUNT];
    static nexar_op *op[COUNT];

    (void)arg;
    if (rank == 0) {
        must_fail(nexar_recv(comm, &n, sizeof(n), 1, 9, NULL, &soon), NEXAR_ETIMEDOUT, 1, "recv from rank 1|tag 9");
        for (uint32_t i = 0; i < COUNT; i++) {
            number[i] = i;
            must(send_on(comm, 4, &number[i], sizeof(number[i]), &op[i]) == NEXAR_OK);
            if (i == COUNT / 2)
                must(nexar_recv(comm, &n, sizeof(n), 1, 8, NULL, NULL) == NEXAR_OK); /* it has told us to stop */
        }
        must_fail(nexar_conn_send_raw_tagged(peer_of(comm), 4, &n, sizeof(n), &soon, NULL), NEXAR_ETIMEDOUT, 1,
                  "send_raw_tagged to rank 1|tag 4");
        for (uint32_t i = COUNT - 40; i < COUNT; i += 2) {
            must(nexar_op_test(op[i]) == NEXAR_EAGAIN && nexar_op_cancel(op[i]) == NEXAR_OK);
            must(nexar_op_wait(op[i], CHECK_PATIENCE) == NEXAR_ECANCELLED);
        }
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        for (uint32_t i = 0; i < COUNT; i++) {
            must(nexar_op_wait(op[i], CHECK_PATIENCE) == (i < COUNT - 40 || i % 2 != 0 ? NEXAR_OK : NEXAR_ECANCELLED));
            nexar_op_close(op[i]);
        }
    } else {
        while (atomic_load(&lane_stats(comm)->held) == 0)
            must_fail(nexar_recv(comm, &n, sizeof(n), 0, 9, NULL, &soon), NEXAR_ETIMEDOUT, 0, "recv from rank 0");
        must(nexar_send(comm, &n, sizeof(n), 0, 8, NULL, NULL) == NEXAR_OK);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        for (uint32_t i = 0; i < COUNT; i++) {
            if (i >= COUNT - 40 && i % 2 == 0)
                continue;
            must(receive_on(comm, 4, &n, sizeof(n), NULL) == NEXAR_OK && n == i);
        }
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

static void test_o2_sends_that_wait_can_be_cancelled(void **state)
{
    const nexar_config narrow = {
        .size = sizeof(narrow), .peer_timeout_ns = 20 * NX_S, .lane_bytes = 65536, .lane_messages = 16};

    (void)state;
    on_two(&narrow, give_up);
}

/* Who closes does not wait for ever for a receiver that never reads. */
static void test_close_with_a_message_that_nobody_reads(void **state)
{
    const nexar_config config = {
        .size = sizeof(config), .lane_bytes = 1 << 20, .unread_bytes = 1 << 20, .linger_ns = 300 * NX_MS};
    uint8_t *bytes = bytes_of(64 << 20);
    nexar_op *op, *waits;
    struct job job;
    nx_time begun;

    (void)state;
    job_local(&job, 2, &config);
    assert_ok(nexar_send(job.comm[0], bytes, 64 << 20, 1, 1, NULL, &op));
    assert_ok(nexar_send(job.comm[0], bytes, 64 << 20, 1, 1, NULL, &waits));
    assert_eventually(atomic_load(&lane_stats(job.comm[1])->parked) > 0);
    begun = nx_now();
    nexar_comm_close(job.comm[0]);
    job.comm[0] = NULL;
    assert_true(nx_now() - begun < 20 * NX_S);
    assert_status(nexar_op_test(op), NEXAR_EPEER);
    assert_status(nexar_op_test(waits), NEXAR_ECLOSED);
    nexar_op_close(op);
    nexar_op_close(waits);
    job_close(&job);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_o1_mixed_sizes_stay_in_order),
        cmocka_unit_test(test_o1_order_while_held_and_released),
        cmocka_unit_test(test_o9_small_messages_overtake_bulk),
        cmocka_unit_test(test_o10_o11_streams_are_for_large_messages),
        cmocka_unit_test(test_o11_small_messages_share_packets),
        cmocka_unit_test(test_o2_sends_that_wait_can_be_cancelled),
        cmocka_unit_test(test_close_with_a_message_that_nobody_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
