/* The end of a connection: sends are done exactly once whatever ends them, and whoever sends meanwhile. */
#include "ends.h"

#include <pthread.h>

/* ---- the end of a connection ---- */

static void test_send_after_the_end(void **state)
{
    struct end client = {0}, server = {0};
    struct nx_quic_stream *stream, *none;
    struct sent sent = {0};
    uint8_t byte = 0;

    (void)state;
    done_count = 0;
    connect_both(&client, &server);
    stream = persistent(&client, false);
    nx_quic_conn_hold(client.conn);
    nx_quic_conn_shutdown(client.conn, 0);
    assert_driven(client.closed && server.closed);
    nx_fence();
    sent_init(&sent, &byte, 1);
    assert_status(nx_quic_message_send(client.conn, &sent.send, true, NULL), NEXAR_EPEER);
    assert_status(nx_quic_message_send(client.conn, &sent.send, false, &none), NEXAR_EPEER);
    assert_null(none);
    nx_fence();
    assert_int_equal(done_count, 0);
    (void)stream; /* is gone with the connection */
    nx_quic_conn_drop(client.conn);
    nx_quic_conn_drop(client.conn);
    nx_quic_conn_drop(server.conn);
}

/* The receiver takes nothing, so most of it is still here when the connection goes. */
static void lost_while_sending(bool by_sender)
{
    enum { SENDS = 60, SIZE = 300000 };
    struct end client = {0}, server = {.receive = take_nothing};
    uint8_t *bytes = calloc(1, SIZE);
    struct sent sent[SENDS] = {0};

    done_count = done_ok = 0;
    connect_both(&client, &server);
    for (int i = 0; i < SENDS; i++) {
        sent_init(&sent[i], bytes, SIZE);
        if (i % 3 == 0)
            sent_init(&sent[i], NULL, 0); /* empty ones too */
        assert_ok(nx_quic_message_send(client.conn, &sent[i].send, true, NULL));
    }
    assert_driven(server.streams > 0);
    close_both(by_sender ? &client : &server, by_sender ? &server : &client);
    assert_driven(done_count == SENDS);
    nx_fence();
    for (int i = 0; i < SENDS; i++)
        assert_int_equal(sent[i].done, 1);
    assert_true(done_ok < SENDS);
    assert_int_equal(server.ended, server.streams);
    free(bytes);
}

static void test_lost_while_sends_are_pending(void **state)
{
    (void)state;
    lost_while_sending(true);
    lost_while_sending(false);
}

/* ---- threads that send while the connection ends ---- */

enum { SENDERS = 3, PER_SENDER = 2000 };

struct sender {
    pthread_t thread;
    struct end *end;
    struct nx_quic_stream *stream; /* of the first sender */
    struct sent sent[PER_SENDER];
    int taken;
    nexar_status bad;
};

static uint8_t sender_bytes[4];

static void *send_until_refused(void *arg)
{
    struct sender *s = arg;

    for (int i = 0; i < PER_SENDER; i++) {
        nexar_status st;

        sent_init(&s->sent[i], sender_bytes, 4);
        if (s->stream != NULL && i % 2 == 0)
            st = nx_quic_stream_send(s->stream, &s->sent[i].send, false);
        else
            st = nx_quic_message_send(s->end->conn, &s->sent[i].send, true, NULL);
        if (st == NEXAR_OK)
            s->taken++;
        else if (st != NEXAR_EPEER)
            s->bad = st;
    }
    /* Whoever sends has a reference; it may be the last. */
    nx_quic_conn_drop(s->end->conn);
    return NULL;
}

static void test_senders_race_with_the_end(void **state)
{
    enum { ROUNDS = 150 };
    static struct sender sender[SENDERS];
    struct rng rng = {.state = 4};
    int cut = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct end client = {0}, server = {0};
        int taken = 0;

        done_count = done_ok = 0;
        connect_both(&client, &server);
        sender[0].stream = persistent(&client, false);
        for (int i = 0; i < SENDERS; i++) {
            sender[i].end = &client;
            sender[i].taken = 0;
            sender[i].bad = NEXAR_OK;
            nx_quic_conn_hold(client.conn);
            pthread_create(&sender[i].thread, NULL, send_until_refused, &sender[i]);
        }
        for (size_t i = rng_below(&rng, 200); i > 0; i--)
            nx_engine_kick(true);
        nx_quic_conn_shutdown(round % 2 == 0 ? client.conn : server.conn, 0);
        if (round % 3 == 0)
            nx_engine_kick(true);
        nx_quic_conn_drop(client.conn);
        for (int i = 0; i < SENDERS; i++) {
            pthread_join(sender[i].thread, NULL);
            assert_status(sender[i].bad, NEXAR_OK);
            taken += sender[i].taken;
        }
        assert_driven(client.closed && server.closed && done_count == taken);
        nx_fence();
        assert_int_equal(done_count, taken);
        for (int i = 0; i < SENDERS; i++) {
            for (int k = 0; k < PER_SENDER; k++)
                assert_true(sender[i].sent[k].done <= 1);
        }
        cut += taken < SENDERS * PER_SENDER;
        nx_quic_conn_drop(server.conn);
    }
    assert_true(cut > ROUNDS / 4); /* it was a race */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send_after_the_end),
        cmocka_unit_test(test_lost_while_sends_are_pending),
        cmocka_unit_test(test_senders_race_with_the_end),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
