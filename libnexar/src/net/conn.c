/* net/conn.c - the life of a connection: dial or accept, certificate, persistent streams, control messages, the end.
 *
 * Owner: QUIC's events come on the engine.  Who the peer is, is decided by the connection's owner (cluster/); until
 * then its messages are not read.  It does not dial again. */
#include "net/conn.h"

#include "net/way.h"
#include "wire/codec.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    CONTROL_MAX = 4096,           /* archive of one of our control messages */
    CONTROL_BACKLOG_MAX = 4 << 20 /* of such messages that the peer does not take */
};

/* ---- addresses ---- */

void nx_address_text(const struct sockaddr *address, char *text, size_t cap)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)address;

        if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr)) {
            inet_ntop(AF_INET, &a->sin6_addr.s6_addr[12], host, sizeof(host));
            snprintf(text, cap, "%s:%u", host, ntohs(a->sin6_port));
        } else {
            inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host));
            snprintf(text, cap, "[%s]:%u", host, ntohs(a->sin6_port));
        }
    } else {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)address;

        inet_ntop(AF_INET, &a->sin_addr, host, sizeof(host));
        snprintf(text, cap, "%s:%u", host, ntohs(a->sin_port));
    }
}

nexar_status nx_address_of(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)out;
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)out;
    char host[INET6_ADDRSTRLEN + 16];
    const char *colon = strrchr(text, ':');
    unsigned port;
    size_t n;

    memset(out, 0, sizeof(*out));
    if (colon == NULL || sscanf(colon + 1, "%5u", &port) != 1 || port == 0 || port > 65535)
        return NEXAR_EPROTO;
    n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        snprintf(host, sizeof(host), "%.*s", (int)(n - 2), text + 1);
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host, &six->sin6_addr) == 1 ? NEXAR_OK : NEXAR_EPROTO;
    }
    snprintf(host, sizeof(host), "%.*s", (int)n, text);
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &four->sin_addr) == 1 ? NEXAR_OK : NEXAR_EPROTO;
}

void nx_conn_address(const nexar_conn *conn, char *text, size_t cap)
{
    nx_address_text((const struct sockaddr *)nx_quic_conn_remote(conn->quic), text, cap);
}

/* ---- references ---- */

static void run_flush(struct nx_task *task)
{
    nexar_conn *conn = nx_container_of(task, nexar_conn, flush);

    nx_outbox_flush(&conn->control);
    nx_conn_drop(conn);
}

static nexar_status new_conn(struct nx_net *net, const struct nx_conn_owner *owner, void *arg, nexar_conn **out)
{
    nexar_conn *conn = nx_calloc(1, sizeof(*conn));

    *out = conn;
    if (conn == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a connection");
    conn->net = net;
    conn->owner = owner;
    conn->owner_arg = arg;
    conn->dialled_rank = NEXAR_NO_RANK;
    atomic_init(&conn->refs, 2); /* the caller's, and QUIC's until the end */
    nx_outbox_init(&conn->control);
    nx_outbox_init(&conn->small);
    nx_mutex_init(&conn->lock, NX_LOCK_CONN);
    nx_list_init(&conn->slots);
    nx_list_init(&conn->paused);
    nx_list_init(&conn->frames);
    nx_task_init(&conn->flush, run_flush);
    return NEXAR_OK;
}

void nx_conn_hold(nexar_conn *conn)
{
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
}

void nx_conn_drop(nexar_conn *conn)
{
    if (conn == NULL || atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) != 1)
        return;
    nx_ext_free_all(conn);
    nx_links_free(conn);
    nx_outbox_fini(&conn->control);
    nx_outbox_fini(&conn->small);
    nx_mutex_fini(&conn->lock);
    nx_quic_conn_drop(conn->quic);
    nx_free(conn);
}

/* ---- events of QUIC ---- */

static nexar_status certificate(void *arg, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain, size_t chain_len)
{
    nexar_conn *conn = arg;

    return conn->owner->certificate(conn->owner_arg, conn, leaf, leaf_len, chain, chain_len);
}

/* One stream for control messages, one for small ones; each begins with the tag that says so. */
static nexar_status open_streams(nexar_conn *conn)
{
    static const struct {
        enum nx_quic_priority priority;
        size_t box;
    } wanted[] = {{NX_QUIC_CONTROL, offsetof(nexar_conn, control)}, {NX_QUIC_SMALL, offsetof(nexar_conn, small)}};
    static const uint8_t many = NX_TAG_MANY;
    nexar_status st = NEXAR_OK;

    for (int i = 0; st == NEXAR_OK && i < 2; i++) {
        struct nx_outbox *box = (struct nx_outbox *)(void *)((char *)conn + wanted[i].box);
        struct nx_quic_stream *stream;

        st = nx_quic_stream_open(conn->quic, wanted[i].priority, false, NULL, NULL, &stream);
        if (st == NEXAR_OK)
            st = nx_outbox_put(box, &many, 1, NULL, 0, false);
        if (st == NEXAR_OK)
            nx_outbox_open(box, stream);
    }
    return st;
}

static void connected(void *arg, const char *alpn)
{
    nexar_conn *conn = arg;

    conn->connected = true;
    snprintf(conn->alpn, sizeof(conn->alpn), "%s", alpn);
    atomic_store(&conn->own, strcmp(alpn, "libnexar/1") == 0);
    if (atomic_load(&conn->own) && open_streams(conn) != NEXAR_OK) {
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
        return;
    }
    conn->owner->connected(conn->owner_arg, conn);
}

static bool stream(void *arg, struct nx_quic_stream *quic, bool bidirectional)
{
    return nx_conn_stream(arg, quic, bidirectional);
}

static void closed(void *arg, nexar_status status, uint64_t code, const char *why)
{
    nexar_conn *conn = arg;
    struct nx_peer *peer = atomic_load(&conn->peer);
    bool left = conn->bye_received && (status == NEXAR_ECLOSED || conn->bye_acked);
    char text[160];

    atomic_store(&conn->ended, true);
    nx_outbox_close(&conn->control);
    nx_outbox_close(&conn->small);
    if (conn->fault[0] != '\0')
        why = conn->fault;
    else if (status == NEXAR_ECLOSED && code == NX_CLOSE_ABORTED)
        why = "it gave up";
    else if (status == NEXAR_ECLOSED && code == NX_CLOSE_PROTOCOL)
        why = "it says that this rank broke the protocol";
    else if (status == NEXAR_ECLOSED && code == NX_CLOSE_REFUSED)
        why = "it does not take this rank for a member";
    snprintf(text, sizeof(text), "%s", why);
    nx_links_end(conn, conn->bye_acked);
    conn->owner->closed(conn->owner_arg, conn, status, code, text);
    if (peer != NULL)
        nx_peer_gone(peer, left, text);
    nx_conn_drop(conn);
}

static const struct nx_quic_conn_events quic_events = {
    .certificate = certificate, .connected = connected, .stream = stream, .closed = closed};

/* ---- calls ---- */

nexar_status nx_conn_dial(struct nx_net *net, struct nx_quic_config *config, const struct sockaddr *to,
                          const struct nx_conn_owner *owner, void *owner_arg, nexar_conn **out)
{
    nexar_conn *conn;
    nexar_status st = new_conn(net, owner, owner_arg, &conn);

    *out = NULL;
    if (st != NEXAR_OK)
        return st;
    conn->dialled = true;
    /* The name is the one that every certificate of the cluster carries; who it is, its node id says. */
    st = nx_quic_connect(config, to, "localhost", &quic_events, conn, &conn->quic);
    if (st != NEXAR_OK) {
        nx_conn_drop(conn);
        nx_conn_drop(conn);
        return st;
    }
    *out = conn;
    return NEXAR_OK;
}

nexar_status nx_conn_accept(struct nx_net *net, struct nx_quic_conn *quic, const struct nx_conn_owner *owner,
                            void *owner_arg, const struct nx_quic_conn_events **events, nexar_conn **out)
{
    nexar_conn *conn;
    nexar_status st = new_conn(net, owner, owner_arg, &conn);

    *out = NULL;
    if (st != NEXAR_OK)
        return st;
    conn->quic = quic;
    *events = &quic_events;
    *out = conn;
    return NEXAR_OK;
}

void nx_conn_bind(nexar_conn *conn, struct nx_peer *peer)
{
    atomic_store(&conn->peer, peer);
    if (nx_links_init(conn) != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
    nx_peer_up(peer, conn);
    nx_conn_resume_paused(conn);
}

void nx_conn_shutdown(nexar_conn *conn, enum nx_close_code code)
{
    nx_outbox_close(&conn->control);
    nx_outbox_close(&conn->small);
    nx_quic_conn_shutdown(conn->quic, code);
}

void nx_conn_fault(nexar_conn *conn, const char *format, ...)
{
    struct nx_peer *peer = atomic_load(&conn->peer);
    va_list args;

    va_start(args, format);
    if (conn->fault[0] == '\0')
        vsnprintf(conn->fault, sizeof(conn->fault), format, args);
    va_end(args);
    nx_conn_shutdown(conn, NX_CLOSE_PROTOCOL);
    if (peer != NULL)
        nx_peer_gone(peer, false, conn->fault); /* at once: what it has begun to send ends for this reason */
}

void nx_conn_lost(nexar_conn *conn, const char *why)
{
    struct nx_peer *peer = atomic_load(&conn->peer);

    if (conn->fault[0] == '\0')
        snprintf(conn->fault, sizeof(conn->fault), "%s", why);
    nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
    if (peer != NULL)
        nx_peer_gone(peer, false, conn->fault);
}

nexar_status nx_conn_control(nexar_conn *conn, const struct nx_message *message, bool later)
{
    uint8_t bytes[NX_HEAD_MAX + NX_FRAME_HEADER + CONTROL_MAX];
    struct nx_head head = {.tag = NX_TAG_FRAMED, .lane = NX_LANE_BY_KIND};
    size_t archive, n;
    nexar_status st = nx_message_size(message, &archive);

    if (st != NEXAR_OK)
        return st;
    if (archive > CONTROL_MAX)
        return nx_fail(NEXAR_EINVAL, "a control message of %zu bytes is too long", archive);
    if (!atomic_load(&conn->own))
        return NEXAR_OK; /* nexar/1 has none of our messages */
    if (nx_outbox_backlog(&conn->control) > CONTROL_BACKLOG_MAX)
        return nx_fail(NEXAR_EPEER, "it does not take our control messages");
    head.len = NX_FRAME_HEADER + archive;
    n = nx_head_encode(&head, bytes);
    nx_frame_header_encode(&(struct nx_frame_header){.payload_length = (uint32_t)archive}, bytes + n);
    n += NX_FRAME_HEADER;
    st = nx_message_encode(message, bytes + n, archive);
    if (st == NEXAR_OK)
        st = nx_outbox_put(&conn->control, bytes, n + archive, NULL, 0, !later);
    if (st == NEXAR_OK && later) {
        nx_conn_hold(conn);
        if (!nx_engine_post(&conn->flush))
            nx_conn_drop(conn);
    }
    return st;
}
