/* foe_kit.h - a node that listens on loopback, and a peer that is played by the test, byte by byte. */
#ifndef NX_TEST_FOE_KIT_H
#define NX_TEST_FOE_KIT_H

#include "base/call.h"
#include "base/turn.h"
#include "members.h"
#include "net/send.h"
#include "nexar/nexar.h"
#include "wire/codec.h"

#include <arpa/inet.h>

/* Rank 0 of two. */
struct host {
    struct nx_net net;
    struct nx_ca *ca;
    struct nx_bundle *bundle;
    struct nx_quic_config *server, *client;
    struct nx_quic_listener *listener;
    nexar_conn *conn;
    _Atomic int connected, closed, gone;
    char why[160];
};

/* Rank 1. */
struct foe {
    struct nx_quic_conn *quic;
    _Atomic int connected, closed;
    _Atomic uint64_t heard; /* bytes */
    _Atomic bool deaf;      /* takes nothing that is sent to it */
    nexar_status status;
    uint64_t code;
};

/* ---- the node ---- */

static inline nexar_status host_certificate(void *arg, nexar_conn *conn, const uint8_t *leaf, size_t leaf_len,
                                            const uint8_t *chain, size_t chain_len)
{
    (void)arg, (void)conn, (void)leaf, (void)leaf_len, (void)chain, (void)chain_len;
    return NEXAR_OK;
}

static inline void host_connected(void *arg, nexar_conn *conn)
{
    struct host *h = arg;

    nx_conn_bind(conn, h->net.peer[1]);
    h->connected++;
}

static inline bool host_control(void *arg, nexar_conn *conn, const struct nx_message *message)
{
    (void)arg, (void)conn, (void)message;
    return false;
}

static inline void host_farewell(void *arg, nexar_conn *conn)
{
    (void)arg, (void)conn;
}

static inline void host_closed(void *arg, nexar_conn *conn, nexar_status status, uint64_t code, const char *why)
{
    struct host *h = arg;

    (void)conn, (void)status, (void)code;
    snprintf(h->why, sizeof(h->why), "%s", why);
    h->closed++;
}

static inline struct nx_quic_config *host_accept(void *arg, struct nx_quic_conn *quic, const char *alpn,
                                                 const struct sockaddr *from, const struct nx_quic_conn_events **events,
                                                 void **conn_arg)
{
    static const struct nx_conn_owner owner = {.certificate = host_certificate,
                                               .connected = host_connected,
                                               .control = host_control,
                                               .farewell = host_farewell,
                                               .closed = host_closed};
    struct host *h = arg;

    (void)alpn, (void)from;
    if (h->conn != NULL || nx_conn_accept(&h->net, quic, &owner, h, events, &h->conn) != NEXAR_OK)
        return NULL;
    *conn_arg = h->conn;
    return h->server;
}

static inline void host_gone(void *arg, uint32_t peer, nexar_status why)
{
    struct host *h = arg;

    (void)peer, (void)why;
    h->gone++;
}

static inline void host_aborted(void *arg, uint32_t peer, const struct nx_msg_op_aborted *aborted)
{
    (void)arg, (void)peer, (void)aborted;
}

static inline void host_word(void *arg, uint32_t peer, const struct nx_message *message)
{
    (void)arg, (void)peer, (void)message;
}

static inline struct nx_quic_config *host_config(const struct host *h, bool client, const char *alpn)
{
    struct nx_quic_settings s = {.client = client,
                                 .alpn = {alpn, client ? NULL : "nexar/1"},
                                 .pkcs12 = h->bundle->pkcs12,
                                 .pkcs12_len = h->bundle->pkcs12_size,
                                 .want_certificate = true,
                                 .connection_window = 16 << 20,
                                 .stream_window = 256 << 10,
                                 .uni_streams = 4096,
                                 .handshake_timeout = 20 * NX_S,
                                 .idle_timeout = 60 * NX_S,
                                 .keep_alive = 1 * NX_S,
                                 .disconnect = 20 * NX_S};
    struct nx_quic_config *config;

    assert_ok(nx_quic_config_open(&s, &config));
    return config;
}

static const struct nx_lane_limits host_limits = {
    .lane_bytes = 256 << 10, .lane_messages = 64, .unread_bytes = 1 << 20};

static inline void host_open(struct host *h, const char *alpn)
{
    static const char *const alpns[] = {"libnexar/1", "nexar/1"};
    static const struct nx_net_events events = {.gone = host_gone, .aborted = host_aborted, .word = host_word};
    struct nx_net_config config = {
        .rank = 0, .size = 2, .small_bytes = 16384, .inflight_bytes = 8 << 20, .limits = host_limits};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t node[NX_NODE_ID_SIZE];

    *h = (struct host){.ca = members_ca()};
    h->bundle = members_join(h->ca, node);
    assert_ok(nx_net_init(&h->net, &config, &events, h));
    h->server = host_config(h, false, "libnexar/1");
    h->client = host_config(h, true, alpn);
    assert_ok(nx_quic_listen((struct sockaddr *)&any, alpns, 2, host_accept, h, &h->listener));
}

static inline void host_close(struct host *h)
{
    nx_net_close_ops(&h->net, 0, NEXAR_ECLOSED);
    if (h->conn != NULL)
        nx_conn_shutdown(h->conn, NX_CLOSE_DONE);
    assert_driven(h->conn == NULL || h->closed == 1);
    nx_net_wait_ops(&h->net, 0, NX_NEVER);
    nx_fence();
    nx_quic_listener_close(h->listener);
    nx_conn_drop(h->conn);
    nx_net_fini(&h->net);
    nx_quic_config_close(h->server);
    nx_quic_config_close(h->client);
    nx_bundle_free(h->bundle);
    nx_ca_free(h->ca);
    /* MsQuic frees connections some turns after they were closed, and the program may end after this. */
    nx_fence();
    assert_driven(nx_turn_due() > nx_now());
}

/* ---- its peer ---- */

static inline nexar_status foe_certificate(void *arg, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                           size_t chain_len)
{
    (void)arg, (void)leaf, (void)leaf_len, (void)chain, (void)chain_len;
    return NEXAR_OK;
}

static inline void foe_connected(void *arg, const char *alpn)
{
    struct foe *f = arg;

    (void)alpn;
    f->connected++;
}

static inline size_t foe_receive(void *arg, const uint8_t *bytes, size_t n)
{
    struct foe *f = arg;

    (void)bytes;
    if (f->deaf)
        return 0;
    f->heard += n;
    return n;
}

static inline void foe_ended(void *arg, nexar_status status)
{
    (void)arg, (void)status;
}

static inline bool foe_stream(void *arg, struct nx_quic_stream *stream, bool bidirectional)
{
    static const struct nx_quic_stream_events events = {.receive = foe_receive, .ended = foe_ended};

    (void)bidirectional;
    nx_quic_stream_bind(stream, &events, arg);
    return true;
}

static inline void foe_closed(void *arg, nexar_status status, uint64_t code, const char *why)
{
    struct foe *f = arg;

    (void)why;
    f->status = status;
    f->code = code;
    f->closed++;
}

static inline void foe_connect(struct foe *f, struct host *h)
{
    static const struct nx_quic_conn_events events = {
        .certificate = foe_certificate, .connected = foe_connected, .stream = foe_stream, .closed = foe_closed};
    struct sockaddr_storage to;

    nx_quic_listener_address(h->listener, &to);
    assert_ok(nx_quic_connect(h->client, (struct sockaddr *)&to, "localhost", &events, f, &f->quic));
    assert_driven(f->connected && h->connected);
}

static inline void foe_close(struct foe *f)
{
    nx_quic_conn_shutdown(f->quic, 0);
    assert_driven(f->closed);
    nx_fence();
    nx_quic_conn_drop(f->quic);
}

struct foe_send {
    struct nx_quic_send send;
    uint8_t bytes[];
};

static inline void foe_sent(struct nx_quic_send *send, nexar_status status)
{
    (void)status;
    free(nx_container_of(send, struct foe_send, send));
}

static inline struct nx_quic_send *foe_copy(const void *bytes, size_t n)
{
    struct foe_send *s = calloc(1, sizeof(*s) + n);

    assert_non_null(s);
    if (n != 0)
        memcpy(s->bytes, bytes, n);
    s->send.buf[0] = (struct nx_quic_buf){.len = (uint32_t)n, .base = s->bytes};
    s->send.bufs = 1;
    s->send.done = foe_sent;
    return &s->send;
}

/* A stream that begins with these bytes, and ends if it is the `last`; false: the connection is gone. */
static inline bool foe_begin(struct foe *f, const void *bytes, size_t n, bool last, struct nx_quic_stream **stream)
{
    struct nx_quic_send *send = foe_copy(bytes, n);

    if (nx_quic_message_send(f->quic, send, last, stream) == NEXAR_OK)
        return true;
    foe_sent(send, NEXAR_EPEER);
    return false;
}

struct foe_opening {
    struct foe *foe;
    struct nx_quic_stream *stream;
    nexar_status status;
};

static inline void foe_opened(void *arg)
{
    struct foe_opening *o = arg;

    o->status = nx_quic_stream_open(o->foe->quic, NX_QUIC_BULK, false, NULL, NULL, &o->stream);
}

/* A stream that stays for as long as the foe does: who goes on sending while the node may end the connection needs it,
 * since one of foe_begin is gone when it has ended. */
static inline struct nx_quic_stream *foe_lasting(struct foe *f)
{
    struct foe_opening o = {.foe = f};

    assert_ok(nx_call(foe_opened, &o));
    assert_ok(o.status);
    return o.stream;
}

static inline bool foe_more(struct nx_quic_stream *stream, const void *bytes, size_t n, bool last)
{
    struct nx_quic_send *send = foe_copy(bytes, n);

    if (nx_quic_stream_send(stream, send, last) == NEXAR_OK)
        return true;
    foe_sent(send, NEXAR_EPEER);
    return false;
}

/* Head and payload. */
static inline size_t foe_message(uint8_t *out, const struct nx_head *head, const void *payload, size_t n)
{
    size_t at = nx_head_encode(head, out);

    assert_true(at != 0);
    if (n != 0)
        memcpy(out + at, payload, n);
    return at + n;
}

/* A framed message of ours. */
static inline size_t foe_framed(uint8_t *out, const struct nx_message *message)
{
    struct nx_head head = {.tag = NX_TAG_FRAMED, .lane = NX_LANE_BY_KIND};
    size_t archive, at;

    assert_ok(nx_message_size(message, &archive));
    head.len = NX_FRAME_HEADER + archive;
    at = nx_head_encode(&head, out);
    nx_frame_header_encode(&(struct nx_frame_header){.payload_length = (uint32_t)archive}, out + at);
    assert_ok(nx_message_encode(message, out + at + NX_FRAME_HEADER, archive));
    return at + NX_FRAME_HEADER + archive;
}

/* The node ends the connection, and both know why. */
static inline void assert_fault(struct host *h, struct foe *f, const char *why)
{
    assert_driven(h->closed && f->closed);
    if (strstr(h->why, why) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", h->why, why);
    assert_status(f->status, NEXAR_ECLOSED);
    assert_int_equal(f->code, NX_CLOSE_PROTOCOL);
    assert_driven(h->gone == 1);
}

#endif
