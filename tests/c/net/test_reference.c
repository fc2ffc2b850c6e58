/* A peer that speaks nexar/1: one stream per message, no numbers, no notices; the same limits hold. */
#include "foe_kit.h"

#include <sys/mman.h>

static struct host host;
static struct foe foe;
static uint8_t out[1 << 20], in[1 << 20];

static int setup(void **state)
{
    (void)state;
    host_open(&host, "nexar/1");
    foe = (struct foe){.quic = NULL};
    foe_connect(&foe, &host);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    foe_close(&foe);
    host_close(&host);
    return 0;
}

static uint64_t memory(void)
{
    struct nx_mem_stats stats;

    nx_mem_stats(&stats);
    return stats.bytes;
}

static void raw(uint8_t tag, uint64_t scope, uint64_t id, const void *payload, size_t n)
{
    struct nx_head head = {.tag = tag, .scope = scope, .id = id, .len = n};

    assert_true(foe_begin(&foe, out, foe_message(out, &head, payload, n), true, NULL));
}

static void data(uint32_t tag, size_t payload)
{
    static const uint8_t zeros[256 << 10];
    struct nx_message m = {.kind = NX_KIND_DATA};

    m.data = (struct nx_msg_data){.tag = tag, .src_rank = 1, .payload = nx_bytes(zeros, payload)};
    assert_true(foe_begin(&foe, out, foe_framed(out, &m), true, NULL));
}

static void rpc(uint64_t number)
{
    struct nx_message m = {.kind = NX_KIND_RPC};

    m.rpc = (struct nx_msg_rpc){.req_id = number, .payload = nx_bytes("x", 1)};
    assert_true(foe_begin(&foe, out, foe_framed(out, &m), true, NULL));
}

static void receive(nexar_lane lane, struct nx_message *m)
{
    nexar_recv_info info;

    assert_ok(nexar_conn_recv_message(host.conn, lane, in, sizeof(in), &info, NULL, NULL));
    assert_ok(nx_message_decode(in, info.nbytes, m));
}

static void number_through(uint64_t tag, uint32_t number)
{
    uint32_t got = 0;

    raw(NX_TAG_RAW_TAGGED, 0, tag, &number, sizeof(number));
    assert_ok(nexar_conn_recv_raw_tagged(host.conn, tag, &got, sizeof(got), NULL, NULL, NULL));
    assert_int_equal(got, number);
}

static void test_all_lanes(void **state)
{
    struct nx_message m;
    char protocol[16];

    (void)state;
    assert_ok(nexar_conn_protocol(host.conn, protocol, sizeof(protocol)));
    assert_string_equal(protocol, "nexar/1");
    raw(NX_TAG_RAW, 0, 0, "raw", 3);
    raw(NX_TAG_RAW_COMM, 9, 0, "comm", 4);
    raw(NX_TAG_RAW_TAGGED, 0, 9, "tagged", 6);
    assert_ok(nexar_conn_recv_raw(host.conn, in, sizeof(in), NULL, NULL, NULL));
    assert_memory_equal(in, "raw", 3);
    assert_ok(nexar_conn_recv_raw_comm(host.conn, 9, in, sizeof(in), NULL, NULL, NULL));
    assert_memory_equal(in, "comm", 4);
    assert_ok(nexar_conn_recv_raw_tagged(host.conn, 9, in, sizeof(in), NULL, NULL, NULL));
    assert_memory_equal(in, "tagged", 6);
    rpc(77);
    receive(NEXAR_LANE_RPC_REQUEST, &m);
    assert_int_equal(m.rpc.req_id, 77);
    data(5, 100000);
    receive(NEXAR_LANE_DATA, &m);
    assert_int_equal(m.data.payload.len, 100000);
    assert_ok(nexar_conn_send_raw_comm(host.conn, 3, "abc", 3, NULL, NULL));
    assert_driven(foe.heard == 1 + 8 + 8 + 3);
}

/* Frames for one lane, which nobody reads, beyond its limit: all other lanes go on.  What waits has a limit too; beyond
 * it other frames wait, since nobody can know for which lane they are, and raw lanes go on. */
static void test_o2_full_lane_of_frames(void **state)
{
    enum { FRAMES = 90, MORE = 200, SIZE = 10000 };
    uint64_t before;
    struct nx_message m;

    (void)state;
    number_through(1, 1);
    before = memory();
    for (uint32_t i = 0; i < FRAMES; i++)
        data(i, SIZE);
    assert_driven(host.net.lanes.stats.parked > 0);
    for (uint32_t i = 0; i < 50; i++) {
        number_through(i, i);
        rpc(i);
        receive(NEXAR_LANE_RPC_REQUEST, &m);
        assert_int_equal(m.rpc.req_id, i);
    }
    for (uint32_t i = 0; i < MORE; i++)
        data(i, SIZE);
    for (uint32_t i = 0; i < 50; i++)
        number_through(i, i);
    assert_true(host.conn->frame_bytes <= host_limits.unread_bytes + host_limits.lane_bytes);
    /* Unread ones, those that wait for their lane, and buffers of both ends of streams. */
    assert_true(memory() < before + 4 * host_limits.unread_bytes + MORE * 2 * (uint64_t)SIZE);
    for (uint32_t i = 0; i < FRAMES + MORE; i++) {
        receive(NEXAR_LANE_DATA, &m);
        assert_int_equal(m.data.payload.len, SIZE);
    }
    rpc(7);
    receive(NEXAR_LANE_RPC_REQUEST, &m);
    assert_driven(host.conn->frame_bytes == 0);
    assert_int_equal(host.closed, 0);
}

/* Parts of frames on many streams: together they have a limit, and all get through in the end. */
static void test_o7_parts_of_frames(void **state)
{
    enum { STREAMS = 60, SIZE = 100000 };
    static uint8_t frame[SIZE + 1000];
    struct nx_quic_stream *stream[STREAMS];
    struct nx_message m = {.kind = NX_KIND_RPC};
    size_t n;

    (void)state;
    m.rpc = (struct nx_msg_rpc){.req_id = 1, .payload = nx_bytes(in, SIZE)};
    n = foe_framed(frame, &m);
    for (int i = 0; i < STREAMS; i++)
        assert_true(foe_begin(&foe, frame, n - 100, false, &stream[i]));
    number_through(1, 1);
    assert_driven(host.conn->frame_bytes > SIZE);
    assert_true(host.conn->frame_bytes <= host_limits.lane_bytes + SIZE + 1000);
    for (int i = STREAMS - 1; i >= 0; i--)
        assert_true(foe_more(stream[i], frame + n - 100, 100, true));
    for (int i = 0; i < STREAMS; i++) {
        receive(NEXAR_LANE_RPC_REQUEST, &m);
        assert_int_equal(m.rpc.payload.len, SIZE);
    }
    assert_driven(host.conn->frame_bytes == 0);
}

static void test_o7_frame_beyond_the_limit(void **state)
{
    struct nx_head head = {.tag = NX_TAG_FRAMED, .lane = NX_LANE_BY_KIND, .len = UINT64_C(3) << 30};
    struct nx_quic_stream *stream;

    (void)state;
    assert_true(foe_begin(&foe, out, foe_message(out, &head, NULL, 0), false, &stream));
    assert_fault(&host, &foe, "it sent a framed message of 3221225472 bytes, 262144 are allowed");
}

static void test_o8_longer_than_the_protocol_allows(void **state)
{
    struct nx_head head = {.tag = NX_TAG_RAW, .len = NX_MESSAGE_MAX + 1};
    size_t size = (size_t)NX_MESSAGE_MAX + 1;
    void *huge = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct nx_quic_stream *stream;

    (void)state;
    assert_true(huge != MAP_FAILED);
    assert_status(nexar_conn_send_raw(host.conn, huge, size, NULL, NULL), NEXAR_EMSGSIZE);
    assert_non_null(strstr(nexar_last_error(), "rank 1 speaks nexar/1"));
    munmap(huge, size);
    number_through(1, 1); /* the connection goes on */
    assert_true(foe_begin(&foe, out, foe_message(out, &head, NULL, 0), false, &stream));
    assert_fault(&host, &foe, "on one of its streams");
}

/* Heartbeats are for nobody: they fill nothing and hold up nothing. */
static void test_h1_h2_heartbeats_fill_no_lane(void **state)
{
    struct nx_message beat = {.kind = NX_KIND_HEARTBEAT}, m;
    uint64_t before;

    (void)state;
    number_through(1, 1);
    before = memory();
    for (uint32_t i = 0; i < 5000; i++) {
        beat.heartbeat.timestamp_ns = i;
        assert_true(foe_begin(&foe, out, foe_framed(out, &beat), true, NULL));
        if (i % 100 == 0)
            number_through(1, i);
    }
    rpc(4);
    receive(NEXAR_LANE_RPC_REQUEST, &m);
    assert_driven(host.net.stats.streams >= 5000);
    assert_int_equal(host.net.lanes.peer[1].unread_bytes, 0);
    assert_true(memory() < before + (8 << 20));
    /* The control lane has what was sent to it, and nothing else. */
    m = (struct nx_message){.kind = NX_KIND_BARRIER, .barrier = {.epoch = 3}};
    assert_true(foe_begin(&foe, out, foe_framed(out, &m), true, NULL));
    receive(NEXAR_LANE_CONTROL, &m);
    assert_int_equal(m.kind, NX_KIND_BARRIER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_lanes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_full_lane_of_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o7_parts_of_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o7_frame_beyond_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_longer_than_the_protocol_allows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_h1_h2_heartbeats_fill_no_lane, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
