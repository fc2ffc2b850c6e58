/* ends.h - QUIC over loopback, both ends of a connection in this process: what came, what was judged, what was sent. */
#ifndef NX_TEST_ENDS_H
#define NX_TEST_ENDS_H

#include "base/call.h"
#include "members.h"
#include "quic/quic.h"
#include "rng.h"

#include <arpa/inet.h>

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

static inline uint8_t byte_at(uint64_t i)
{
    return (uint8_t)((i >> 2) >> 8 * (i & 3));
}

static inline void fill(uint8_t *to, uint64_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = byte_at(from + i);
}

/* For long ones: words are much faster than bytes. */
static inline bool same(const uint8_t *bytes, uint64_t from, size_t n)
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

static inline size_t take_all(void *arg, const uint8_t *bytes, size_t n)
{
    struct sink *s = arg;

    if (!same(bytes, s->at, n))
        s->end->wrong = true;
    s->at += n;
    s->end->bytes += n;
    return n;
}

static inline void go_on(struct nx_timer *timer)
{
    struct sink *s = nx_container_of(timer, struct sink, timer);

    s->paused = false;
    nx_quic_stream_resume(s->stream);
}

/* Takes some, pauses, and goes on at once or later. */
static inline size_t take_some(void *arg, const uint8_t *bytes, size_t n)
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

static inline size_t take_nothing(void *arg, const uint8_t *bytes, size_t n)
{
    (void)arg, (void)bytes, (void)n;
    return 0;
}

static inline size_t receive(void *arg, const uint8_t *bytes, size_t n)
{
    struct sink *s = arg;

    if (s->over)
        s->end->wrong = true;
    return s->end->receive(arg, bytes, n);
}

static inline void stream_ended(void *arg, nexar_status status)
{
    struct sink *s = arg;

    (void)status;
    nx_timer_cancel(&s->timer);
    s->over = true;
    s->end->ended++;
    free(s);
}

static inline bool accept_stream(void *arg, struct nx_quic_stream *stream, bool bidirectional)
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

static inline nexar_status judge(void *arg, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                 size_t chain_len)
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

static inline void connected(void *arg, const char *alpn)
{
    struct end *end = arg;

    snprintf(end->alpn, sizeof(end->alpn), "%s", alpn);
    end->connected++;
}

static inline void closed(void *arg, nexar_status status, uint64_t code, const char *why)
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

static inline struct nx_quic_config *accept_conn(void *arg, struct nx_quic_conn *conn, const char *alpn,
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

static inline struct nx_quic_settings settings(bool client, const struct nx_bundle *bundle)
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

static inline struct nx_quic_config *config(bool client, const struct nx_bundle *bundle)
{
    struct nx_quic_settings s = settings(client, bundle);
    struct nx_quic_config *c;

    assert_ok(nx_quic_config_open(&s, &c));
    return c;
}

static inline void listen_again(void)
{
    static const char *const alpn[] = {"libnexar/1", "nexar/1"};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    assert_ok(nx_quic_listen((struct sockaddr *)&any, alpn, 2, accept_conn, NULL, &listener));
    nx_quic_listener_address(listener, &address);
}

static inline int group_setup(void **state)
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

static inline int group_teardown(void **state)
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

static inline void dial(struct end *client, struct end *server, struct nx_quic_config *with)
{
    next_server = server;
    assert_ok(nx_quic_connect(with, (struct sockaddr *)&address, "localhost", &conn_events, client, &client->conn));
}

static inline void connect_both(struct end *client, struct end *server)
{
    client->receive = client->receive == NULL ? take_all : client->receive;
    server->receive = server->receive == NULL ? take_all : server->receive;
    dial(client, server, client_config);
    assert_driven(client->connected && server->connected);
}

/* By `first`; both see it. */
static inline void close_both(struct end *first, struct end *second)
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

/* ---- sending ---- */

struct sent {
    struct nx_quic_send send;
    uint8_t head[4];
    _Atomic int done;
    nexar_status status;
};

static _Atomic int done_count, done_ok;

static inline void send_done(struct nx_quic_send *send, nexar_status status)
{
    struct sent *s = nx_container_of(send, struct sent, send);

    s->status = status;
    s->done++;
    done_ok += status == NEXAR_OK;
    done_count++;
}

static inline void sent_init(struct sent *s, const uint8_t *bytes, size_t n)
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

static inline void open_stream(void *arg)
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

static inline struct nx_quic_stream *persistent(struct end *end, bool bidirectional)
{
    struct opening o = {.end = end, .bidirectional = bidirectional};

    assert_ok(nx_call(open_stream, &o));
    assert_ok(o.status);
    return o.stream;
}

#endif
