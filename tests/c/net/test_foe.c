/* A peer that breaks the protocol, or promises more than it sends: memory stays, and both ends hear what was wrong. */
#include "foe_kit.h"

#include "base/pool.h"

static struct host host;
static struct foe foe;
static uint8_t out[1 << 20];

static int setup(void **state)
{
    (void)state;
    host_open(&host, "libnexar/1");
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

/* Whatever was sent before is dealt with when this message has come. */
static void number_through(uint64_t tag, uint32_t order, uint32_t number)
{
    struct nx_head head = {.tag = NX_TAG_MESSAGE, .lane = NX_LANE_RAW_TAGGED, .id = tag, .order = order, .len = 4};
    uint32_t got = 0;

    assert_true(foe_begin(&foe, out, foe_message(out, &head, &number, 4), true, NULL));
    assert_ok(nexar_conn_recv_raw_tagged(host.conn, tag, &got, sizeof(got), NULL, NULL, NULL));
    assert_int_equal(got, number);
}

/* ---- o7: what is announced ---- */

static void test_o7_announced_gigabytes_cost_nothing(void **state)
{
    static const struct {
        uint8_t lane;
        uint64_t len;
    } claims[] = {
        {NX_LANE_RAW_TAGGED, UINT64_C(1) << 32}, {NX_LANE_RAW, (UINT64_C(1) << 62) - 1},
        {NX_LANE_P2P, UINT64_C(1) << 40},        {NX_LANE_COLL, UINT64_C(1) << 33},
        {NX_LANE_CONTROL, UINT64_C(1) << 35},    {NX_LANE_RELAY, UINT64_C(1) << 61},
    };
    enum { CLAIMS = sizeof(claims) / sizeof(claims[0]), EACH = 100 };
    struct nx_quic_stream *stream;
    uint64_t before;

    (void)state;
    number_through(1000, 0, 1); /* warm */
    before = memory();
    for (uint32_t i = 0; i < EACH; i++) {
        for (uint32_t k = 0; k < CLAIMS; k++) {
            struct nx_head head = {.tag = NX_TAG_MESSAGE,
                                   .lane = claims[k].lane,
                                   .id = i,
                                   .scope = 1,
                                   .order = i + (claims[k].lane == NX_LANE_RAW_TAGGED),
                                   .len = claims[k].len};

            assert_true(foe_begin(&foe, out, foe_message(out, &head, "abc", 3), false, &stream));
        }
    }
    number_through(1000, EACH + 1, 2);
    assert_driven(host.net.lanes.peer[1].unread_bytes >= EACH * CLAIMS * (uint64_t)(NX_MSG_COST + 3));
    /* A record and a first chunk for each, of both ends of a stream; of 2^32 bytes nothing. */
    assert_in_range(memory(), before, before + EACH * CLAIMS * (uint64_t)4096);
    assert_int_equal(host.closed, 0);
}

static void test_o7_framed_gigabytes_are_refused(void **state)
{
    struct nx_head head = {.tag = NX_TAG_FRAMED, .lane = NX_LANE_BY_KIND, .len = UINT64_C(4) << 30};
    uint64_t before = memory();

    (void)state;
    assert_true(foe_begin(&foe, out, foe_message(out, &head, NULL, 0), false, &(struct nx_quic_stream *){NULL}));
    assert_fault(&host, &foe, "it sent a framed message of 4294967296 bytes, 65536 are allowed");
    assert_true(memory() < before + 65536);
}

/* A frame header that announces more than its message has. */
static void test_o7_frame_header_lies(void **state)
{
    struct nx_head head = {.tag = NX_TAG_FRAMED, .lane = NX_LANE_BY_KIND, .len = 100};
    uint8_t payload[100] = {0};

    (void)state;
    nx_frame_header_encode(&(struct nx_frame_header){.payload_length = UINT32_MAX}, payload);
    assert_true(foe_begin(&foe, out, foe_message(out, &head, payload, sizeof(payload)), true, NULL));
    assert_fault(&host, &foe, "");
    assert_true(host.why[0] != '\0');
}

/* ---- o8: what cannot be read ---- */

static void send_bytes(const void *bytes, size_t n)
{
    foe_begin(&foe, bytes, n, true, NULL);
}

static void test_o8_unknown_tag(void **state)
{
    (void)state;
    send_bytes("\x77garbage", 8);
    assert_fault(&host, &foe, "on one of its streams");
}

static void test_o8_unknown_lane(void **state)
{
    struct nx_head head = {.tag = NX_TAG_MESSAGE, .lane = NX_LANE_RAW, .len = 1};
    size_t n = foe_message(out, &head, "x", 1);

    (void)state;
    out[1] = 200;
    send_bytes(out, n);
    assert_fault(&host, &foe, "on one of its streams");
}

static void test_o8_stream_ends_inside_a_message(void **state)
{
    struct nx_head head = {.tag = NX_TAG_MESSAGE, .lane = NX_LANE_RAW_TAGGED, .id = 3, .len = 1000};
    nexar_error error = {.size = sizeof(error)};
    nexar_op *op;

    (void)state;
    assert_ok(nexar_conn_recv_raw_tagged(host.conn, 3, out + 65536, 1000, NULL, NULL, &op));
    send_bytes(out, foe_message(out, &head, out + 65536, 999));
    assert_fault(&host, &foe, "one of its streams ended inside a message");
    /* Whoever waits for it hears of it, and so does whoever asks later. */
    assert_status(nexar_op_wait(op, CHECK_PATIENCE), NEXAR_EPEER);
    assert_ok(nexar_op_error(op, &error));
    assert_int_equal(error.peer, 1);
    nexar_op_close(op);
    assert_status(nexar_conn_recv_raw_tagged(host.conn, 3, out, 1000, NULL, NULL, NULL), NEXAR_EPEER);
    assert_non_null(strstr(nexar_last_error(), "ended inside a message"));
    assert_status(nexar_conn_send_raw_tagged(host.conn, 3, out, 1000, NULL, NULL), NEXAR_EPEER);
    assert_non_null(strstr(nexar_last_error(), "rank 1"));
}

static void test_o8_undecodable_frame(void **state)
{
    struct nx_message bye = {.kind = NX_KIND_BYE};
    size_t n = foe_framed(out, &bye);

    (void)state;
    memset(out + n - 48, 0xff, 48);
    send_bytes(out, n);
    assert_fault(&host, &foe, "");
    assert_true(host.why[0] != '\0');
}

static void test_o8_message_of_the_other_protocol(void **state)
{
    struct nx_message barrier = {.kind = NX_KIND_BARRIER};

    (void)state;
    send_bytes(out, foe_framed(out, &barrier));
    assert_fault(&host, &foe, "which the protocol in use does not have");
}

static void test_o8_unexpected_control_message(void **state)
{
    struct nx_message hello = {.kind = NX_KIND_JOIN_GO};

    (void)state;
    send_bytes(out, foe_framed(out, &hello));
    assert_fault(&host, &foe, "it sent an unexpected");
}

/* A framed message for the user that is none: the receive says so, and the next one is received. */
static void test_o8_undecodable_archive(void **state)
{
    struct nx_head head = {.tag = NX_TAG_MESSAGE, .lane = NX_LANE_RPC_REQUEST, .len = NX_FRAME_HEADER + 64};
    uint8_t payload[NX_FRAME_HEADER + 64];

    (void)state;
    memset(payload, 0xee, sizeof(payload));
    nx_frame_header_encode(&(struct nx_frame_header){.payload_length = 64}, payload);
    send_bytes(out, foe_message(out, &head, payload, sizeof(payload)));
    assert_status(nexar_conn_recv_message(host.conn, NEXAR_LANE_RPC_REQUEST, out + 65536, 65536, NULL, NULL, NULL),
                  NEXAR_EPROTO);
    assert_non_null(strstr(nexar_last_error(), "recv_message from rank 1"));
    assert_non_null(strstr(nexar_last_error(), "what came is no message: "));
    number_through(5, 0, 1); /* the connection goes on */
}

static void test_o1_number_given_twice(void **state)
{
    struct nx_head head = {.tag = NX_TAG_MESSAGE, .lane = NX_LANE_RAW_TAGGED, .id = 3, .order = 1, .len = 1};

    (void)state;
    number_through(1, 0, 1);
    number_through(1, 1, 2);
    send_bytes(out, foe_message(out, &head, "x", 1));
    assert_fault(&host, &foe, "it sent message 1 of a lane out of turn");
}

/* ---- keys that it holds back ---- */

static size_t hold_bytes(uint8_t *at, uint8_t lane, uint64_t id, bool hold)
{
    struct nx_message m = {.kind = hold ? NX_KIND_HOLD : NX_KIND_RELEASE};

    m.hold = (struct nx_msg_hold){.lane = lane, .id = id};
    return foe_framed(at, &m);
}

static struct nx_quic_stream *control_stream(void)
{
    static const uint8_t many = NX_TAG_MANY;
    struct nx_quic_stream *stream = foe_lasting(&foe);

    assert_true(foe_more(stream, &many, 1, false));
    return stream;
}

static uint32_t held(void)
{
    struct nx_peer *peer = host.net.peer[1];
    uint32_t n;

    nx_lock(&peer->lock);
    n = peer->held;
    nx_unlock(&peer->lock);
    return n;
}

static void test_o2_held_keys_are_bounded(void **state)
{
    struct nx_quic_stream *control = control_stream();
    uint64_t before = memory();
    uint64_t id = 0;

    (void)state;
    while (id < NX_HELD_MAX)
        assert_true(foe_more(control, out, hold_bytes(out, NX_LANE_RAW_TAGGED, id++, true), false));
    assert_driven(held() == NX_HELD_MAX);
    assert_true(memory() < before + NX_HELD_MAX * (uint64_t)512);
    /* The same again, and others in their place: this may go on for ever. */
    for (uint64_t i = 0; i < 2000; i++) {
        assert_true(foe_more(control, out, hold_bytes(out, NX_LANE_RAW_TAGGED, i, true), false));
        assert_true(foe_more(control, out, hold_bytes(out, NX_LANE_RAW_TAGGED, i, false), false));
        assert_true(foe_more(control, out, hold_bytes(out, NX_LANE_RAW_TAGGED, id++, true), false));
    }
    number_through(1, 0, 1);
    assert_driven(held() == NX_HELD_MAX && host.closed == 0);
    /* One that is not held leaves at once. */
    assert_ok(nexar_conn_send_raw_tagged(host.conn, 1, out, 10, NULL, NULL));
    /* One more. */
    for (uint64_t i = 0; i < 100000 && !foe.closed; i++) {
        if (!foe_more(control, out, hold_bytes(out, NX_LANE_RAW_TAGGED, id++, true), false))
            break;
    }
    assert_fault(&host, &foe, "it held back more than 4096 keys");
    assert_int_equal(held(), 0);
    assert_true(memory() < before + NX_HELD_MAX * (uint64_t)1024);
}

static void test_o2_collectives_cannot_be_held_back(void **state)
{
    (void)state;
    assert_true(foe_more(control_stream(), out, hold_bytes(out, NX_LANE_COLL, 0, true), false));
    assert_fault(&host, &foe, "it held back a lane that there is not");
}

/* A held key waits here, alone; what waits ends with its deadline, by being cancelled, or with the connection. */
static void test_o2_held_key(void **state)
{
    const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 20 * NX_MS};
    struct nx_quic_stream *control = control_stream();
    nexar_op *op[3];
    uint64_t heard;

    (void)state;
    assert_true(foe_more(control, out, hold_bytes(out, NX_LANE_RAW_TAGGED, 7, true), false));
    assert_driven(held() == 1);
    for (int i = 0; i < 3; i++)
        assert_ok(nexar_conn_send_raw_tagged(host.conn, 7, out, i == 1 ? 200000 : 10, NULL, &op[i]));
    assert_status(nexar_conn_send_raw_tagged(host.conn, 7, out, 10, &soon, NULL), NEXAR_ETIMEDOUT);
    assert_non_null(strstr(nexar_last_error(), "rank 1"));
    assert_ok(nexar_conn_send_raw_tagged(host.conn, 8, out, 10, NULL, NULL));
    assert_ok(nexar_conn_send_raw_tagged(host.conn, 8, out, 300000, NULL, NULL));
    for (int i = 0; i < 3; i++)
        assert_status(nexar_op_test(op[i]), NEXAR_EAGAIN);
    heard = foe.heard;
    assert_ok(nexar_op_cancel(op[1]));
    assert_status(nexar_op_wait(op[1], CHECK_PATIENCE), NEXAR_ECANCELLED);
    assert_true(foe_more(control, out, hold_bytes(out, NX_LANE_RAW_TAGGED, 7, false), false));
    assert_ok(nexar_op_wait(op[0], CHECK_PATIENCE));
    assert_ok(nexar_op_wait(op[2], CHECK_PATIENCE));
    assert_driven(foe.heard == heard + 2 * (NX_HEAD_MAX + 10));
    for (int i = 0; i < 3; i++)
        nexar_op_close(op[i]);
    assert_true(foe_more(control, out, hold_bytes(out, NX_LANE_RAW, 0, true), false));
    assert_driven(held() == 1);
    assert_ok(nexar_conn_send_raw(host.conn, out, 10, NULL, &op[0]));
    nx_quic_conn_shutdown(foe.quic, 0);
    assert_status(nexar_op_wait(op[0], CHECK_PATIENCE), NEXAR_EPEER);
    nexar_op_close(op[0]);
}

/* ---- a peer that takes nothing ---- */

/* Notices that it does not take are not gathered for ever. */
static void test_o7_notices_that_nobody_takes(void **state)
{
    enum { BATCH = 40 };
    struct nx_quic_stream *stream = control_stream();
    uint64_t before = memory();
    uint32_t order = 0;

    (void)state;
    foe.deaf = true;
    host.net.lanes.limits.lane_messages = 1; /* each unread message is one notice, and one more when it is read */
    while (!host.closed) {
        struct nx_head head = {.tag = NX_TAG_MESSAGE, .lane = NX_LANE_RAW_TAGGED};
        size_t n = 0;

        for (head.id = 0; head.id < BATCH; head.id++) {
            head.order = order++;
            n += foe_message(out + n, &head, NULL, 0);
        }
        if (!foe_more(stream, out, n, false))
            break;
        for (uint64_t id = BATCH; id-- > 0 && !host.closed;) {
            nexar_status st = nexar_conn_recv_raw_tagged(host.conn, id, NULL, 0, NULL, NULL, NULL);

            assert_true(st == NEXAR_OK || st == NEXAR_EPEER);
        }
        assert_true(memory() < before + (32 << 20));
    }
    assert_driven(host.closed && foe.closed);
    assert_int_equal(foe.code, NX_CLOSE_ABORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_o7_announced_gigabytes_cost_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o7_framed_gigabytes_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o7_frame_header_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_unknown_tag, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_unknown_lane, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_stream_ends_inside_a_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_undecodable_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_message_of_the_other_protocol, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_unexpected_control_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_undecodable_archive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o1_number_given_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_held_keys_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_collectives_cannot_be_held_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_held_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o7_notices_that_nobody_takes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
