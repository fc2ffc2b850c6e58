/* quic/conn.c - connections: connect, events, the end.
 *
 * Owner: events come on the engine.  Other threads use the handles inside nx_quic_enter/leave; the handles are closed
 * when the last of them has left after the end, so that no thread is ever inside MsQuic with a handle that is gone. */
#include "base/mem.h"
#include "identity/verify.h"
#include "quic/internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct nx_quic_buf) == sizeof(QUIC_BUFFER) &&
                   offsetof(struct nx_quic_buf, len) == offsetof(QUIC_BUFFER, Length) &&
                   offsetof(struct nx_quic_buf, base) == offsetof(QUIC_BUFFER, Buffer),
               "nx_quic_buf must be a QUIC_BUFFER");

enum {
    CLOSING = 1u << 31,
    SWEEP_AT = 64,
    SWEEP_AFTER_MS = 20,
};

static void task_run(struct nx_task *task);
static void close_run(struct nx_task *task);
static void sweep_fire(struct nx_timer *timer);

nexar_status nx_quic_conn_wrap(HQUIC handle, const struct sockaddr *remote, struct nx_quic_conn **out)
{
    struct nx_quic_conn *conn = nx_calloc(1, sizeof(*conn));

    *out = NULL;
    if (conn == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a connection");
    conn->handle = handle;
    memcpy(&conn->remote, remote, nx_quic_address_size(remote));
    atomic_init(&conn->refs, 2); /* the caller's, and MsQuic's until the end */
    nx_mutex_init(&conn->lock, NX_LOCK_CONN);
    nx_list_init(&conn->resume);
    nx_list_init(&conn->unsent);
    nx_list_init(&conn->opened);
    nx_list_init(&conn->finished);
    nx_task_init(&conn->task, task_run);
    nx_task_init(&conn->close_task, close_run);
    nx_timer_init(&conn->sweep, sweep_fire);
    nx_quic_silence_init(&conn->silence);
    conn->end_status = NEXAR_EPEER;
    snprintf(conn->end_why, sizeof(conn->end_why), "the connection was cut");
    *out = conn;
    return NEXAR_OK;
}

void nx_quic_conn_hold(struct nx_quic_conn *conn)
{
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
}

void nx_quic_conn_drop(struct nx_quic_conn *conn)
{
    struct nx_list *pos;

    if (conn == NULL || atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) != 1)
        return;
    while ((pos = nx_list_pop(&conn->opened)) != NULL)
        nx_quic_stream_put(nx_container_of(pos, struct nx_quic_stream, link));
    nx_mutex_fini(&conn->lock);
    nx_free(conn);
}

/* The queued task has a reference: whoever posts it may drop its own at once. */
static void post(struct nx_quic_conn *conn, struct nx_task *task)
{
    nx_quic_conn_hold(conn);
    if (!nx_engine_post(task))
        nx_quic_conn_drop(conn);
}

bool nx_quic_enter(struct nx_quic_conn *conn)
{
    if (atomic_fetch_add(&conn->users, 1) & CLOSING) {
        nx_quic_leave(conn);
        return false;
    }
    return true;
}

void nx_quic_leave(struct nx_quic_conn *conn)
{
    if (atomic_fetch_sub(&conn->users, 1) == (CLOSING | 1u))
        post(conn, &conn->close_task);
}

static void task_run(struct nx_task *task)
{
    struct nx_quic_conn *conn = nx_container_of(task, struct nx_quic_conn, task);

    nx_quic_run_posted(conn);
    nx_quic_conn_drop(conn);
}

void nx_quic_post(struct nx_quic_conn *conn)
{
    post(conn, &conn->task);
}

/* ---- the end ---- */

/* Engine; nobody uses the handles any more.  `inside` one of MsQuic's callbacks for this connection, or not. */
static void close_handles(struct nx_quic_conn *conn, bool inside)
{
    if (conn->handle == NULL)
        return;
    nx_timer_cancel(&conn->sweep);
    nx_quic_silence_end(conn);
    nx_quic_sweep(conn);
    nx_quic_run_posted(conn);
    nx_list_for_each_safe(pos, tmp, &conn->opened) nx_quic_api()->StreamClose(
        nx_container_of(pos, struct nx_quic_stream, link)->handle);
    /* MsQuic frees closed streams, and they the connection, after it has worked on that: see that it does once more. */
    if (!inside)
        nx_quic_api()->ConnectionShutdown(conn->handle, QUIC_CONNECTION_SHUTDOWN_FLAG_SILENT, 0);
    nx_quic_api()->ConnectionClose(conn->handle);
    conn->handle = NULL;
    nx_quic_conn_drop(conn);
}

static void close_run(struct nx_task *task)
{
    struct nx_quic_conn *conn = nx_container_of(task, struct nx_quic_conn, close_task);

    close_handles(conn, false);
    nx_quic_conn_drop(conn);
}

static void end(struct nx_quic_conn *conn)
{
    nx_quic_conn_hold(conn);
    conn->events->closed(conn->arg, conn->end_status, conn->end_code, conn->end_why);
    if (atomic_fetch_or(&conn->users, CLOSING) == 0)
        close_handles(conn, true);
    nx_quic_conn_drop(conn);
}

void nx_quic_conn_lost(struct nx_quic_conn *conn, QUIC_STATUS status)
{
    const char *text = nx_quic_status_text(status);

    conn->handle = NULL;
    conn->events->closed(conn->arg, NEXAR_EPEER, 0, text != NULL ? text : "the connection could not be set up");
    nx_quic_conn_drop(conn);
}

void nx_quic_conn_shutdown(struct nx_quic_conn *conn, uint64_t code)
{
    if (!nx_quic_enter(conn))
        return;
    nx_quic_api()->ConnectionShutdown(conn->handle, QUIC_CONNECTION_SHUTDOWN_FLAG_NONE, code);
    nx_quic_leave(conn);
    nx_engine_kick(false);
}

/* ---- events ---- */

static QUIC_STATUS certificate(struct nx_quic_conn *conn, QUIC_CONNECTION_EVENT *event)
{
    const QUIC_BUFFER *leaf = (const QUIC_BUFFER *)event->PEER_CERTIFICATE_RECEIVED.Certificate;
    const QUIC_BUFFER *chain = (const QUIC_BUFFER *)event->PEER_CERTIFICATE_RECEIVED.Chain;
    bool none = leaf == NULL || leaf->Buffer == NULL;
    nexar_status st;

    st = conn->events->certificate(conn->arg, none ? NULL : leaf->Buffer, none ? 0 : leaf->Length,
                                   chain == NULL ? NULL : chain->Buffer, chain == NULL ? 0 : chain->Length);
    nx_verify_forget_errors();
    return st == NEXAR_OK ? QUIC_STATUS_SUCCESS : QUIC_STATUS_BAD_CERTIFICATE;
}

static void connected(struct nx_quic_conn *conn, QUIC_CONNECTION_EVENT *event)
{
    /* First come, first served is the default: one 16 MiB message would hold back everything behind it. */
    QUIC_STREAM_SCHEDULING_SCHEME scheme = QUIC_STREAM_SCHEDULING_SCHEME_ROUND_ROBIN;
    char alpn[32] = "";

    nx_quic_api()->SetParam(conn->handle, QUIC_PARAM_CONN_STREAM_SCHEDULING_SCHEME, sizeof(scheme), &scheme);
    if (event->CONNECTED.NegotiatedAlpnLength < sizeof(alpn))
        memcpy(alpn, event->CONNECTED.NegotiatedAlpn, event->CONNECTED.NegotiatedAlpnLength);
    nx_quic_silence_begin(conn);
    conn->events->connected(conn->arg, alpn);
}

static QUIC_STATUS stream_started(struct nx_quic_conn *conn, QUIC_CONNECTION_EVENT *event)
{
    bool unidirectional = (event->PEER_STREAM_STARTED.Flags & QUIC_STREAM_OPEN_FLAG_UNIDIRECTIONAL) != 0;
    struct nx_quic_stream *stream = nx_quic_stream_wrap(conn);

    if (stream == NULL)
        return QUIC_STATUS_OUT_OF_MEMORY;
    stream->handle = event->PEER_STREAM_STARTED.Stream;
    if (!conn->events->stream(conn->arg, stream, !unidirectional)) {
        nx_quic_stream_free(stream);
        return QUIC_STATUS_USER_CANCELED;
    }
    /* Else each stream that completes sends its own MAX_STREAMS frame, in a packet of its own.  Closed in batches
     * instead. */
    event->PEER_STREAM_STARTED.Flags |= QUIC_STREAM_OPEN_FLAG_DELAY_ID_FC_UPDATES;
    nx_quic_api()->SetCallbackHandler(stream->handle, (void *)nx_quic_stream_callback, stream);
    return QUIC_STATUS_SUCCESS;
}

QUIC_STATUS nx_quic_conn_callback(HQUIC handle, void *context, QUIC_CONNECTION_EVENT *event)
{
    struct nx_quic_conn *conn = context;
    const char *text;

    (void)handle;
    switch (event->Type) {
    case QUIC_CONNECTION_EVENT_PEER_CERTIFICATE_RECEIVED:
        return certificate(conn, event);
    case QUIC_CONNECTION_EVENT_CONNECTED:
        connected(conn, event);
        break;
    case QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED:
        return stream_started(conn, event);
    case QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_TRANSPORT:
        conn->end_status = NEXAR_EPEER;
        conn->end_code = event->SHUTDOWN_INITIATED_BY_TRANSPORT.ErrorCode;
        text = nx_quic_status_text(event->SHUTDOWN_INITIATED_BY_TRANSPORT.Status);
        if (text != NULL)
            snprintf(conn->end_why, sizeof(conn->end_why), "%s", text);
        else
            snprintf(conn->end_why, sizeof(conn->end_why), "QUIC status 0x%x, error 0x%llx",
                     (unsigned)event->SHUTDOWN_INITIATED_BY_TRANSPORT.Status, (unsigned long long)conn->end_code);
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_INITIATED_BY_PEER:
        conn->end_status = NEXAR_ECLOSED;
        conn->end_code = event->SHUTDOWN_INITIATED_BY_PEER.ErrorCode;
        snprintf(conn->end_why, sizeof(conn->end_why), "it closed the connection");
        break;
    case QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE:
        if (!event->SHUTDOWN_COMPLETE.AppCloseInProgress)
            end(conn);
        break;
    default:
        break;
    }
    return QUIC_STATUS_SUCCESS;
}

/* ---- calls ---- */

nexar_status nx_quic_connect(struct nx_quic_config *config, const struct sockaddr *to, const char *server_name,
                             const struct nx_quic_conn_events *events, void *arg, struct nx_quic_conn **out)
{
    const QUIC_API_TABLE *api;
    struct nx_quic_conn *conn;
    QUIC_ADDR address = {0};
    QUIC_STATUS status;
    nexar_status st = nx_quic_open();

    *out = NULL;
    if (st != NEXAR_OK)
        return st;
    api = nx_quic_api();
    st = nx_quic_conn_wrap(NULL, to, &conn);
    if (st != NEXAR_OK)
        return st;
    conn->events = events;
    conn->arg = arg;
    conn->silence.limit = config->silence;
    memcpy(&address, to, nx_quic_address_size(to));
    *out = conn; /* before the start: the first event may come before this returns */
    status = api->ConnectionOpen(nx_quic_registration(), nx_quic_conn_callback, conn, &conn->handle);
    if (QUIC_SUCCEEDED(status)) {
        /* The name is what the peer's certificate carries, the address is where it is. */
        status = api->SetParam(conn->handle, QUIC_PARAM_CONN_REMOTE_ADDRESS, sizeof(address), &address);
        if (QUIC_SUCCEEDED(status))
            status = api->ConnectionStart(conn->handle, config->handle, to->sa_family, server_name,
                                          ntohs(((const struct sockaddr_in *)(const void *)to)->sin_port));
        if (QUIC_FAILED(status))
            api->ConnectionClose(conn->handle);
    }
    if (QUIC_FAILED(status)) {
        *out = NULL;
        nx_quic_conn_drop(conn);
        nx_quic_conn_drop(conn);
        return nx_quic_fail(status, "cannot connect");
    }
    nx_engine_kick(false);
    return NEXAR_OK;
}

const struct sockaddr_storage *nx_quic_conn_remote(const struct nx_quic_conn *conn)
{
    return &conn->remote;
}

bool nx_quic_conn_local(struct nx_quic_conn *conn, struct sockaddr_storage *out)
{
    QUIC_ADDR address = {0};
    uint32_t size = sizeof(address);
    QUIC_STATUS status;

    if (!nx_quic_enter(conn))
        return false;
    status = nx_quic_api()->GetParam(conn->handle, QUIC_PARAM_CONN_LOCAL_ADDRESS, &size, &address);
    nx_quic_leave(conn);
    memset(out, 0, sizeof(*out));
    memcpy(out, &address, sizeof(address));
    return QUIC_SUCCEEDED(status);
}

bool nx_quic_conn_stats(struct nx_quic_conn *conn, struct nx_quic_conn_stats *out)
{
    QUIC_STATISTICS_V2 s = {0};
    uint32_t size = sizeof(s);
    QUIC_STATUS status;

    *out = (struct nx_quic_conn_stats){0};
    if (!nx_quic_enter(conn))
        return false;
    status = nx_quic_api()->GetParam(conn->handle, QUIC_PARAM_CONN_STATISTICS_V2, &size, &s);
    nx_quic_leave(conn);
    *out = (struct nx_quic_conn_stats){.rtt_us = s.Rtt,
                                       .sent_bytes = s.SendTotalBytes,
                                       .received_bytes = s.RecvTotalBytes,
                                       .sent_packets = s.SendTotalPackets,
                                       .received_packets = s.RecvTotalPackets,
                                       .lost_packets = s.SendSuspectedLostPackets - s.SendSpuriousLostPackets};
    return QUIC_SUCCEEDED(status);
}

/* ---- streams that have finished ---- */

void nx_quic_sweep(struct nx_quic_conn *conn)
{
    struct nx_list *pos;

    nx_quic_conn_hold(conn); /* the last of them may have the last reference */
    while ((pos = nx_list_pop(&conn->finished)) != NULL) {
        struct nx_quic_stream *stream = nx_container_of(pos, struct nx_quic_stream, link);

        nx_quic_api()->StreamClose(stream->handle);
        nx_quic_stream_free(stream);
    }
    conn->finished_count = 0;
    nx_quic_conn_drop(conn);
}

static void sweep_fire(struct nx_timer *timer)
{
    nx_quic_sweep(nx_container_of(timer, struct nx_quic_conn, sweep));
}

void nx_quic_finished(struct nx_quic_stream *stream)
{
    struct nx_quic_conn *conn = stream->conn;

    nx_list_push_back(&conn->finished, &stream->link);
    if (conn->handle == NULL) {
        /* One that another thread opened while the connection ended: there is no batch to wait for any more. */
        nx_quic_sweep(conn);
        return;
    }
    if (++conn->finished_count == 1)
        nx_timer_set(&conn->sweep, nx_now() + SWEEP_AFTER_MS * NX_MS);
    if (conn->finished_count >= SWEEP_AT) {
        nx_timer_cancel(&conn->sweep);
        nx_quic_sweep(conn);
    }
}
