/* QUIC over loopback, both sides in this process: who is let in, streams in order whatever pauses them, sends that are
 * done exactly once whatever ends them. */
#include "base/call.h"
#include "members.h"
#include "quic/quic.h"
#include "rng.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <unistd.h>

/* ---- both ends of a connection ---- */

struct end {
    struct nx_quic_conn *conn;
    /* chosen by the test */
    const struct nx_trust *trust; /* NULL: lets everybody in */
    size_t (*receive)(void *arg, const uint8_t *bytes, size_t n);
    bool refuses_streams;
    /* what happened */
    _Atomic int certificates, connected, closed, streams, ended;
    _Atomic bool no_leaf, has_chain;
    nexar_status judged;
    nexar_status status;
    uint64_t code;
    char alpn[32], why[160];
    _Atomic uint64_t bytes;
    _Atomic bool wrong;
};

/* A stream of the peer's.  It carries the numbers 0, 1, 2, ... of 4 bytes each. */
struct sink {
    struct end *end;
    struct nx_quic_stream *stream;
    uint64_t at;
    struct rng rng;
    struct nx_timer timer;
    bool paused, over;
};

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)((i >> 2) >> 8 * (i & 3));
}

static void fill(uint8_t *to, uint64_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = byte_at(from + i);
}

/* For long ones: words are much faster than bytes. */
static bool same(const uint8_t *bytes, uint64_t from, size_t n)
{
    size_t i = 0;

    for (; i < n && ((from + i) & 3) != 0; i++) {
        if (bytes[i] != byte_at(from + i))
            return false;
    }
    for (; i + 4 <= n; i += 4) {
        uint32_t word = (uint32_t)bytes[i] | (uint32_t)bytes[i + 1] << 8 | (uint32_t)bytes[i + 2] << 16 |
                        (uint32_t)bytes[i + 3] << 24;
        if (word != (uint32_t)((from + i) >> 2))
            return false;
    }
    for (; i < n; i++) {
        if (bytes[i] != byte_at(from + i))
            return false;
    }
    return true;
}

static size_t take_all(void *arg, const uint8_t *bytes, size_t n)
{
    struct sink *s = arg;

    if (!same(bytes, s->at, n))
        s->end->wrong = true;
    s->at += n;
    s->end->bytes += n;
    return n;
}

static void go_on(struct nx_timer *timer)
{
    struct sink *s = nx_container_of(timer, struct sink, timer);

    s->paused = false;
    nx_quic_stream_resume(s->stream);
}

/* Takes some, pauses, and goes on at once or later. */
static size_t take_some(void *arg, const uint8_t *bytes, size_t n)
{
    struct sink *s = arg;
    size_t take = rng_below(&s->rng, 3) == 0 ? rng_below(&s->rng, n + 1) : n;

    if (s->paused)
        s->end->wrong = true; /* it was asked to wait */
    take_all(arg, bytes, take);
    if (take < n) {
        s->paused = true;
        if (rng_below(&s->rng, 2) == 0)
            go_on(&s->timer);
        else
            nx_timer_set(&s->timer, nx_now() + (nx_time)rng_below(&s->rng, 300) * NX_US);
    }
    return take;
}

static size_t take_nothing(void *arg, const uint8_t *bytes, size_t n)
{
    (void)arg, (void)bytes, (void)n;
    return 0;
}

static size_t receive(void *arg, const uint8_t *bytes, size_t n)
{
    struct sink *s = arg;

    if (s->over)
        s->end->wrong = true;
    return s->end->receive(arg, bytes, n);
}

static void stream_ended(void *arg, nexar_status status)
{
    struct sink *s = arg;

    (void)status;
    nx_timer_cancel(&s->timer);
    s->over = true;
    s->end->ended++;
    free(s);
}

static bool accept_stream(void *arg, struct nx_quic_stream *stream, bool bidirectional)
{
    static const struct nx_quic_stream_events events = {.receive = receive, .ended = stream_ended};
    struct end *end = arg;
    struct sink *s;

    (void)bidirectional;
    end->streams++;
    if (end->refuses_streams)
        return false;
    s = calloc(1, sizeof(*s));
    s->end = end;
    s->stream = stream;
    s->rng.state = (uint64_t)end->streams;
    nx_timer_init(&s->timer, go_on);
    nx_quic_stream_bind(stream, &events, s);
    return true;
}

static nexar_status judge(void *arg, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain, size_t chain_len)
{
    struct end *end = arg;
    uint8_t node[NX_NODE_ID_SIZE];

    end->certificates++;
    end->no_leaf = leaf == NULL;
    end->has_chain = chain != NULL && chain_len != 0;
    end->judged =
        end->trust == NULL ? NEXAR_OK : nx_verify_member(end->trust, leaf, leaf_len, (int64_t)time(NULL), node, NULL);
    return end->judged;
}

static void connected(void *arg, const char *alpn)
{
    struct end *end = arg;

    snprintf(end->alpn, sizeof(end->alpn), "%s", alpn);
    end->connected++;
}

static void closed(void *arg, nexar_status status, uint64_t code, const char *why)
{
    struct end *end = arg;

    end->status = status;
    end->code = code;
    snprintf(end->why, sizeof(end->why), "%s", why);
    end->closed++;
}

static const struct nx_quic_conn_events conn_events = {
    .certificate = judge, .connected = connected, .stream = accept_stream, .closed = closed};

/* ---- the server, the client, their credentials ---- */

static struct nx_ca *ca, *foreign;
static struct nx_bundle *server_bundle, *client_bundle, *foreign_bundle;
static struct nx_quic_config *server_config, *client_config, *anonymous_config, *foreign_config, *other_alpn_config;
static struct nx_quic_listener *listener;
static struct sockaddr_storage address;

/* The ends that the next connections get, in order. */
static struct end *_Atomic next_server;
static _Atomic int accepted, refused;

static struct nx_quic_config *accept_conn(void *arg, struct nx_quic_conn *conn, const char *alpn,
                                          const struct sockaddr *from, const struct nx_quic_conn_events **events,
                                          void **conn_arg)
{
    struct end *end = atomic_exchange(&next_server, NULL);

    (void)arg, (void)alpn;
    if (end == NULL || from->sa_family != AF_INET) {
        refused++;
        return NULL;
    }
    accepted++;
    end->conn = conn;
    *events = &conn_events;
    *conn_arg = end;
    return server_config;
}

static struct nx_quic_settings settings(bool client, const struct nx_bundle *bundle)
{
    return (struct nx_quic_settings){.client = client,
                                     .alpn = {"libnexar/1", "nexar/1"},
                                     .pkcs12 = bundle == NULL ? NULL : bundle->pkcs12,
                                     .pkcs12_len = bundle == NULL ? 0 : bundle->pkcs12_size,
                                     .want_certificate = true,
                                     .connection_window = 4 << 20,
                                     .stream_window = 1 << 20,
                                     .uni_streams = 200,
                                     .bidi_streams = 10,
                                     .handshake_timeout = 20 * NX_S,
                                     .idle_timeout = 60 * NX_S,
                                     .keep_alive = 1 * NX_S,
                                     .disconnect = 20 * NX_S};
}

static struct nx_quic_config *config(bool client, const struct nx_bundle *bundle)
{
    struct nx_quic_settings s = settings(client, bundle);
    struct nx_quic_config *c;

    assert_ok(nx_quic_config_open(&s, &c));
    return c;
}

static void listen_again(void)
{
    static const char *const alpn[] = {"libnexar/1", "nexar/1"};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    assert_ok(nx_quic_listen((struct sockaddr *)&any, alpn, 2, accept_conn, NULL, &listener));
    nx_quic_listener_address(listener, &address);
}

static int group_setup(void **state)
{
    struct nx_quic_settings other;
    uint8_t node[NX_NODE_ID_SIZE];

    (void)state;
    ca = members_ca();
    foreign = members_ca();
    server_bundle = members_join(ca, node);
    client_bundle = members_join(ca, node);
    foreign_bundle = members_join(foreign, node);
    server_config = config(false, server_bundle);
    client_config = config(true, client_bundle);
    anonymous_config = config(true, NULL);
    foreign_config = config(true, foreign_bundle);
    other = settings(true, client_bundle);
    other.alpn[0] = "something/else";
    other.alpn[1] = NULL;
    assert_ok(nx_quic_config_open(&other, &other_alpn_config));
    listen_again();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    nx_fence();
    nx_quic_listener_close(listener);
    nx_quic_config_close(server_config);
    nx_quic_config_close(client_config);
    nx_quic_config_close(anonymous_config);
    nx_quic_config_close(foreign_config);
    nx_quic_config_close(other_alpn_config);
    nx_bundle_free(server_bundle);
    nx_bundle_free(client_bundle);
    nx_bundle_free(foreign_bundle);
    nx_ca_free(ca);
    nx_ca_free(foreign);
    return 0;
}

static void dial(struct end *client, struct end *server, struct nx_quic_config *with)
{
    next_server = server;
    assert_ok(nx_quic_connect(with, (struct sockaddr *)&address, "localhost", &conn_events, client, &client->conn));
}

static void connect_both(struct end *client, struct end *server)
{
    client->receive = client->receive == NULL ? take_all : client->receive;
    server->receive = server->receive == NULL ? take_all : server->receive;
    dial(client, server, client_config);
    assert_driven(client->connected && server->connected);
}

/* By `first`; both see it. */
static void close_both(struct end *first, struct end *second)
{
    nx_quic_conn_shutdown(first->conn, 17);
    assert_driven(first->closed && second->closed);
    nx_fence();
    assert_int_equal(first->closed, 1);
    assert_int_equal(second->closed, 1);
    assert_false(first->wrong || second->wrong);
    nx_quic_conn_drop(first->conn);
    nx_quic_conn_drop(second->conn);
}

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

/* ---- sending ---- */

struct sent {
    struct nx_quic_send send;
    uint8_t head[4];
    _Atomic int done;
    nexar_status status;
};

static _Atomic int done_count, done_ok;

static void send_done(struct nx_quic_send *send, nexar_status status)
{
    struct sent *s = nx_container_of(send, struct sent, send);

    s->status = status;
    s->done++;
    done_ok += status == NEXAR_OK;
    done_count++;
}

static void sent_init(struct sent *s, const uint8_t *bytes, size_t n)
{
    s->send.buf[0] = (struct nx_quic_buf){.len = (uint32_t)n, .base = (uint8_t *)(uintptr_t)bytes};
    s->send.bufs = 1;
    s->send.done = send_done;
    s->done = 0;
}

struct opening {
    struct end *end;
    struct nx_quic_stream *stream;
    nexar_status status;
    bool bidirectional;
};

static void open_stream(void *arg)
{
    static const struct nx_quic_stream_events events = {.receive = receive, .ended = stream_ended};
    struct opening *o = arg;
    struct sink *s = NULL;

    if (o->bidirectional) {
        s = calloc(1, sizeof(*s));
        s->end = o->end;
        nx_timer_init(&s->timer, go_on);
    }
    o->status =
        nx_quic_stream_open(o->end->conn, NX_QUIC_SMALL, o->bidirectional, s == NULL ? NULL : &events, s, &o->stream);
    if (s != NULL)
        s->stream = o->stream;
    if (o->status != NEXAR_OK)
        free(s);
}

static struct nx_quic_stream *persistent(struct end *end, bool bidirectional)
{
    struct opening o = {.end = end, .bidirectional = bidirectional};

    assert_ok(nx_call(open_stream, &o));
    assert_ok(o.status);
    return o.stream;
}

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
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_stats_after_the_end),
        cmocka_unit_test(test_client_without_certificate_is_refused),
        cmocka_unit_test(test_client_of_a_foreign_ca_is_refused),
        cmocka_unit_test(test_client_refuses_the_server),
        cmocka_unit_test(test_no_certificate_is_an_event),
        cmocka_unit_test(test_other_protocol_is_refused),
        cmocka_unit_test(test_refused_by_the_listener),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_many_small_messages),
        cmocka_unit_test(test_large_message_in_parts),
        cmocka_unit_test(test_refused_stream),
        cmocka_unit_test(test_send_after_the_end),
        cmocka_unit_test(test_lost_while_sends_are_pending),
        cmocka_unit_test(test_senders_race_with_the_end),
        cmocka_unit_test(test_address_in_use),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_silent_crowd),
        cmocka_unit_test(test_listener_closes_under_fire),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
