/* QUIC over loopback: who is let in, and who is not; listeners and crowds before them. */
#include "ends.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- handshakes ---- */

static void test_handshake(void **state)
{
    struct end client = {.trust = nx_ca_trust(ca)}, server = {.trust = nx_ca_trust(ca)};
    const struct sockaddr_in *remote;
    struct nx_quic_conn_stats stats;
    char version[32];

    (void)state;
    connect_both(&client, &server);
    assert_int_equal(client.certificates, 1);
    assert_int_equal(server.certificates, 1);
    assert_false(client.no_leaf || server.no_leaf);
    assert_true(client.has_chain && server.has_chain);
    assert_string_equal(client.alpn, "libnexar/1");
    assert_string_equal(server.alpn, "libnexar/1");
    remote = (const struct sockaddr_in *)(const void *)nx_quic_conn_remote(client.conn);
    assert_int_equal(remote->sin_port, ((struct sockaddr_in *)&address)->sin_port);
    assert_ok(nx_quic_version(version, sizeof(version)));
    assert_true(version[0] == '2');
    assert_true(nx_quic_conn_stats(client.conn, &stats));
    assert_true(stats.sent_packets > 0 && stats.received_bytes > 0);
    close_both(&client, &server);
    assert_int_equal(server.status, NEXAR_ECLOSED);
    assert_int_equal(server.code, 17);
    assert_int_equal(client.status, NEXAR_EPEER);
}

static void test_stats_after_the_end(void **state)
{
    struct end client = {0}, server = {0};
    struct nx_quic_conn_stats stats = {.rtt_us = 1};

    (void)state;
    connect_both(&client, &server);
    nx_quic_conn_hold(client.conn);
    close_both(&client, &server);
    assert_false(nx_quic_conn_stats(client.conn, &stats));
    assert_int_equal(stats.rtt_us, 0);
    nx_quic_conn_shutdown(client.conn, 0); /* nothing happens */
    nx_quic_conn_drop(client.conn);
}

static void refused_by_server(struct nx_quic_config *with, bool leaf)
{
    struct end client = {0}, server = {.trust = nx_ca_trust(ca)};

    dial(&client, &server, with);
    assert_driven(client.closed && server.closed);
    nx_fence();
    assert_int_equal(server.certificates, 1);
    assert_int_equal(server.no_leaf, !leaf);
    assert_status(server.judged, NEXAR_EAUTH);
    assert_int_equal(server.connected, 0);
    assert_string_equal(client.why, "it refused our certificate");
    nx_quic_conn_drop(client.conn);
    nx_quic_conn_drop(server.conn);
}

static void test_client_without_certificate_is_refused(void **state)
{
    (void)state;
    refused_by_server(anonymous_config, false);
}

static void test_client_of_a_foreign_ca_is_refused(void **state)
{
    (void)state;
    refused_by_server(foreign_config, true);
}

static void test_client_refuses_the_server(void **state)
{
    struct end client = {.trust = nx_ca_trust(foreign)}, server = {0};

    (void)state;
    dial(&client, &server, foreign_config);
    assert_driven(client.closed && server.closed);
    nx_fence();
    assert_status(client.judged, NEXAR_EAUTH);
    assert_int_equal(client.connected, 0);
    assert_string_equal(server.why, "it refused our certificate");
    nx_quic_conn_drop(client.conn);
    nx_quic_conn_drop(server.conn);
}

/* A server that lets everybody in hears of those who have none, too. */
static void test_no_certificate_is_an_event(void **state)
{
    struct end client = {0}, server = {0};

    (void)state;
    dial(&client, &server, anonymous_config);
    assert_driven(client.connected && server.connected);
    assert_int_equal(server.certificates, 1);
    assert_true(server.no_leaf);
    close_both(&server, &client);
}

static void test_other_protocol_is_refused(void **state)
{
    struct end client = {0};

    (void)state;
    dial(&client, NULL, other_alpn_config);
    assert_driven(client.closed);
    assert_int_equal(client.connected, 0);
    assert_string_equal(client.why, "it speaks none of our protocol versions");
    nx_quic_conn_drop(client.conn);
}

static void test_refused_by_the_listener(void **state)
{
    struct end client = {0};
    int before = refused;

    (void)state;
    dial(&client, NULL, client_config);
    assert_driven(client.closed);
    assert_int_equal(refused, before + 1);
    assert_string_equal(client.why, "it refused the connection");
    nx_quic_conn_drop(client.conn);
}

static void test_nobody_there(void **state)
{
    struct end client = {0};
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(bound);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&bound, sizeof(bound)), 0);
    getsockname(fd, (struct sockaddr *)&bound, &size);
    close(fd); /* a port that is free now */
    assert_ok(
        nx_quic_connect(client_config, (struct sockaddr *)&bound, "localhost", &conn_events, &client, &client.conn));
    assert_driven(client.closed);
    assert_string_equal(client.why, "no host or no process at that address");
    nx_quic_conn_drop(client.conn);
}

/* ---- listeners ---- */

static _Atomic bool dialling;
static _Atomic uint16_t dialled_port;

static void *dial_on(void *arg)
{
    while (dialling) {
        struct sockaddr_in to = {
            .sin_family = AF_INET, .sin_port = dialled_port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct end client = {0};

        if (nx_quic_connect(client_config, (struct sockaddr *)&to, "localhost", &conn_events, &client, &client.conn) !=
            NEXAR_OK)
            return arg;
        for (int i = 0; !client.closed; i++) {
            poll(NULL, 0, 1);
            if (i == 3)
                nx_quic_conn_shutdown(client.conn, 0);
        }
        nx_fence();
        nx_quic_conn_drop(client.conn);
    }
    return NULL;
}

static struct end crowd[64];
static _Atomic unsigned crowd_at;
static _Atomic bool crowd_over;

static struct nx_quic_config *accept_crowd(void *arg, struct nx_quic_conn *conn, const char *alpn,
                                           const struct sockaddr *from, const struct nx_quic_conn_events **events,
                                           void **conn_arg)
{
    struct end *end = &crowd[crowd_at++ % 64];

    (void)arg, (void)alpn, (void)from;
    if (crowd_over)
        refused++; /* after the listener was closed */
    *events = &conn_events;
    *conn_arg = end;
    accepted++;
    nx_quic_conn_drop(conn); /* it is ours no longer: its peer will end it */
    return server_config;
}

static void test_listener_closes_under_fire(void **state)
{
    static const char *const alpn[] = {"libnexar/1"};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    pthread_t thread[3];

    (void)state;
    for (int i = 0; i < 64; i++)
        crowd[i].receive = take_all;
    dialled_port = ((struct sockaddr_in *)&address)->sin_port;
    dialling = true;
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, dial_on, NULL);
    for (int round = 0; round < 8; round++) {
        struct nx_quic_listener *l;
        struct sockaddr_storage bound;
        int seen = accepted;

        crowd_over = false;
        assert_ok(nx_quic_listen((struct sockaddr *)&any, alpn, 1, accept_crowd, NULL, &l));
        nx_quic_listener_address(l, &bound);
        dialled_port = ((struct sockaddr_in *)&bound)->sin_port;
        assert_eventually(accepted > seen + round % 3);
        nx_quic_listener_close(l);
        refused = 0;
        crowd_over = true;
        poll(NULL, 0, 3); /* they still dial */
        assert_int_equal(refused, 0);
    }
    dialling = false;
    for (int i = 0; i < 3; i++) {
        void *bad;

        pthread_join(thread[i], &bad);
        assert_null(bad);
    }
}

static void test_address_in_use(void **state)
{
    static const char *const alpn[] = {"libnexar/1"};
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(bound);
    struct nx_quic_listener *second;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    (void)state;
    assert_status(nx_quic_listen((struct sockaddr *)&address, alpn, 1, accept_conn, NULL, &second), NEXAR_ESYSTEM);
    assert_string_equal(nexar_last_error(), "cannot listen: this process listens there already");
    assert_null(second);
    assert_int_equal(bind(fd, (struct sockaddr *)&bound, sizeof(bound)), 0);
    getsockname(fd, (struct sockaddr *)&bound, &size);
    assert_status(nx_quic_listen((struct sockaddr *)&bound, alpn, 1, accept_conn, NULL, &second), NEXAR_ESYSTEM);
    assert_string_equal(nexar_last_error(), "cannot listen: the address is in use");
    close(fd);
    nx_quic_listener_close(NULL);
}

/* Strangers who send garbage, and 200 who come in and say nothing: others are served all the same. */
static void test_silent_crowd(void **state)
{
    enum { SILENT = 200 };
    struct end *silent = calloc(2 * SILENT, sizeof(*silent)), client = {0}, server = {0};
    struct sent sent = {0};
    struct rng rng = {.state = 5};
    uint8_t bytes[1200];

    (void)state;
    for (int i = 0; i < SILENT; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);

        rng_fill(&rng, bytes, sizeof(bytes));
        bytes[0] |= 0xc0; /* as a long header */
        if (i % 2 == 0)
            memcpy(bytes + 1, "\0\0\0\1", 4); /* of version 1 */
        sendto(fd, bytes, i % 3 == 0 ? 50 : sizeof(bytes), 0, (struct sockaddr *)&address, sizeof(address));
        close(fd);
        dial(&silent[2 * i], &silent[2 * i + 1], client_config);
        assert_driven(silent[2 * i].connected && silent[2 * i + 1].connected);
    }
    connect_both(&client, &server);
    done_count = 0;
    fill(bytes, 0, sizeof(bytes));
    sent_init(&sent, bytes, sizeof(bytes));
    assert_ok(nx_quic_message_send(client.conn, &sent.send, true, NULL));
    assert_driven(server.bytes == sizeof(bytes) && done_count == 1);
    close_both(&client, &server);
    for (int i = 0; i < 2 * SILENT; i += 2)
        nx_quic_conn_shutdown(silent[i].conn, 0);
    for (int i = 0; i < 2 * SILENT; i++) {
        assert_driven(silent[i].closed);
        nx_quic_conn_drop(silent[i].conn);
    }
    nx_fence();
    free(silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_stats_after_the_end),
        cmocka_unit_test(test_client_without_certificate_is_refused),
        cmocka_unit_test(test_client_of_a_foreign_ca_is_refused),
        cmocka_unit_test(test_client_refuses_the_server),
        cmocka_unit_test(test_no_certificate_is_an_event),
        cmocka_unit_test(test_other_protocol_is_refused),
        cmocka_unit_test(test_refused_by_the_listener),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_address_in_use),
        cmocka_unit_test(test_silent_crowd),
        cmocka_unit_test(test_listener_closes_under_fire),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
