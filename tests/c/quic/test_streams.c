/* Streams over loopback: in order whatever pauses them, each send done exactly once, nothing left behind. */
#include "ends.h"

/* ---- sending ---- */

/* Sends `total` bytes on a stream in pieces of random sizes, some of several buffers. */
static void send_randomly(struct nx_quic_stream *stream, const uint8_t *bytes, size_t total, struct rng *rng,
                          struct sent *sent, size_t count)
{
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        size_t left = total - at, n = i + 1 == count ? left : rng_below(rng, 2 * left / (count - i) + 1);
        size_t first = rng_below(rng, n + 1);

        sent_init(&sent[i], bytes + at, first);
        sent[i].send.buf[1] =
            (struct nx_quic_buf){.len = (uint32_t)(n - first), .base = (uint8_t *)(uintptr_t)bytes + at + first};
        sent[i].send.bufs = 2;
        assert_ok(nx_quic_stream_send(stream, &sent[i].send, i + 1 == count));
        at += n;
    }
}

/* Streams in both directions at once, received by sinks that pause at random places. */
static void test_pause_and_resume(void **state)
{
    enum { TOTAL = 6 << 20, PIECES = 100 };
    struct end client = {.receive = take_some}, server = {.receive = take_some};
    struct sent *sent = calloc(4 * PIECES, sizeof(*sent));
    uint8_t *bytes = malloc(TOTAL);
    struct rng rng = {.state = 1};

    (void)state;
    fill(bytes, 0, TOTAL);
    done_count = done_ok = 0;
    connect_both(&client, &server);
    send_randomly(persistent(&client, false), bytes, TOTAL, &rng, sent, PIECES);
    send_randomly(persistent(&server, false), bytes, TOTAL, &rng, sent + PIECES, PIECES);
    send_randomly(persistent(&client, true), bytes, TOTAL / 4, &rng, sent + 2 * PIECES, PIECES);
    send_randomly(persistent(&server, true), bytes, TOTAL / 4, &rng, sent + 3 * PIECES, PIECES);
    assert_driven(client.bytes == TOTAL + TOTAL / 4 && server.bytes == TOTAL + TOTAL / 4);
    assert_driven(done_count == 4 * PIECES);
    assert_int_equal(done_ok, 4 * PIECES);
    close_both(&client, &server);
    free(bytes);
    free(sent);
}

static void test_many_small_messages(void **state)
{
    enum { MESSAGES = 10000 };
    struct end client = {0}, server = {0};
    struct sent *sent = calloc(MESSAGES, sizeof(*sent));
    uint64_t total = 0;

    (void)state;
    done_count = done_ok = 0;
    connect_both(&client, &server);
    for (int i = 0; i < MESSAGES; i++) {
        fill(sent[i].head, 0, 4);
        sent_init(&sent[i], sent[i].head, (size_t)i % 5);
        total += (uint64_t)i % 5;
        assert_ok(nx_quic_message_send(client.conn, &sent[i].send, true, NULL));
    }
    assert_driven(server.streams == MESSAGES && server.ended == MESSAGES && done_count == MESSAGES);
    assert_int_equal(done_ok, MESSAGES);
    assert_int_equal(server.bytes, total);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(sent[i].done, 1);
    close_both(&client, &server);
    free(sent);
}

static void test_large_message_in_parts(void **state)
{
    enum { HALF = 32 << 20 };
    struct end client = {0}, server = {0};
    uint8_t *bytes = malloc(2 * HALF);
    struct sent sent[2] = {0};
    struct nx_quic_stream *stream = NULL;

    (void)state;
    fill(bytes, 0, 2 * HALF);
    done_count = done_ok = 0;
    connect_both(&client, &server);
    sent_init(&sent[0], bytes, HALF);
    sent_init(&sent[1], bytes + HALF, HALF);
    assert_ok(nx_quic_message_send(client.conn, &sent[0].send, false, &stream));
    assert_non_null(stream);
    assert_ok(nx_quic_stream_send(stream, &sent[1].send, true));
    assert_driven(server.bytes == 2 * HALF && done_count == 2 && server.ended == 1);
    assert_int_equal(done_ok, 2);
    close_both(&server, &client);
    free(bytes);
}

static void test_refused_stream(void **state)
{
    struct end client = {0}, server = {.refuses_streams = true};
    struct sent sent = {0};
    uint8_t bytes[100] = {0};

    (void)state;
    done_count = 0;
    connect_both(&client, &server);
    sent_init(&sent, bytes, sizeof(bytes));
    assert_ok(nx_quic_message_send(client.conn, &sent.send, true, NULL));
    assert_driven(done_count == 1 && server.streams == 1);
    assert_int_equal(server.ended, 0);
    close_both(&client, &server);
}

/* ---- memory ---- */

static void one_life(void)
{
    struct end client = {0}, server = {0};
    struct sent sent[20] = {0};
    uint8_t bytes[1000];

    fill(bytes, 0, sizeof(bytes));
    done_count = 0;
    connect_both(&client, &server);
    persistent(&server, true);
    for (int i = 0; i < 20; i++) {
        sent_init(&sent[i], bytes, sizeof(bytes));
        assert_ok(nx_quic_message_send(client.conn, &sent[i].send, true, NULL));
    }
    assert_driven(done_count == 20 && server.bytes == 20 * sizeof(bytes));
    close_both(&client, &server);
    nx_fence();
}

static void test_nothing_is_left(void **state)
{
    uint64_t blocks;

    (void)state;
    one_life();
    blocks = live_blocks();
    for (int i = 0; i < 20; i++)
        one_life();
    assert_int_equal(live_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pause_and_resume),       cmocka_unit_test(test_many_small_messages),
        cmocka_unit_test(test_large_message_in_parts), cmocka_unit_test(test_refused_stream),
        cmocka_unit_test(test_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
