/* quic/stream.c - streams: bytes up in order, pause and resume, gather sends down.
 *
 * Owner: events come on the engine.  Sends may come from any thread, one at a time per stream.  It frames nothing. */
#include "base/slab.h"
#include "quic/internal.h"

static struct nx_slab streams = NX_SLAB_INIT(struct nx_quic_stream, 256);

struct nx_quic_stream *nx_quic_stream_wrap(struct nx_quic_conn *conn)
{
    struct nx_quic_stream *stream = nx_slab_get(&streams);

    if (stream == NULL)
        return NULL;
    *stream = (struct nx_quic_stream){.conn = conn};
    nx_list_init(&stream->link);
    nx_list_init(&stream->resume_link);
    nx_quic_conn_hold(conn);
    return stream;
}

void nx_quic_stream_put(struct nx_quic_stream *stream)
{
    nx_slab_put(&streams, stream);
}

void nx_quic_stream_free(struct nx_quic_stream *stream)
{
    nx_quic_conn_drop(stream->conn);
    nx_quic_stream_put(stream);
}

void nx_quic_stream_bind(struct nx_quic_stream *stream, const struct nx_quic_stream_events *events, void *arg)
{
    stream->events = events;
    stream->arg = arg;
}

/* ---- receiving ---- */

static void received(struct nx_quic_stream *stream, QUIC_STREAM_EVENT *event)
{
    uint64_t taken = 0;

    for (uint32_t i = 0; i < event->RECEIVE.BufferCount; i++) {
        const QUIC_BUFFER *b = &event->RECEIVE.Buffers[i];
        size_t n = stream->events->receive(stream->arg, b->Buffer, b->Length);

        taken += n;
        if (n < b->Length)
            break;
    }
    /* Less than all: MsQuic keeps the rest and says nothing more until receiving is enabled again. */
    event->RECEIVE.TotalBufferLength = taken;
}

static void ended(struct nx_quic_stream *stream, nexar_status status)
{
    if (stream->ended)
        return;
    stream->ended = true;
    if (stream->events != NULL)
        stream->events->ended(stream->arg, status);
    nx_lock(&stream->conn->lock);
    nx_list_remove(&stream->resume_link);
    nx_unlock(&stream->conn->lock);
}

void nx_quic_stream_resume(struct nx_quic_stream *stream)
{
    struct nx_quic_conn *conn = stream->conn;

    nx_lock(&conn->lock);
    if (nx_list_empty(&stream->resume_link))
        nx_list_push_back(&conn->resume, &stream->resume_link);
    nx_unlock(&conn->lock);
    nx_quic_post(conn);
}

static void close_unsent(struct nx_quic_stream *stream)
{
    nx_quic_api()->StreamClose(stream->handle);
    nx_quic_stream_free(stream);
}

void nx_quic_run_posted(struct nx_quic_conn *conn)
{
    for (;;) {
        struct nx_list *pos, *unsent;

        nx_lock(&conn->lock);
        pos = nx_list_pop(&conn->resume);
        unsent = nx_list_pop(&conn->unsent);
        nx_unlock(&conn->lock);
        /* Streams end on the engine, and this is the engine: they are still there. */
        if (pos != NULL)
            nx_quic_api()->StreamReceiveSetEnabled(nx_container_of(pos, struct nx_quic_stream, resume_link)->handle,
                                                   TRUE);
        if (unsent != NULL)
            close_unsent(nx_container_of(unsent, struct nx_quic_stream, link));
        if (pos == NULL && unsent == NULL)
            return;
    }
}

QUIC_STATUS nx_quic_stream_callback(HQUIC handle, void *context, QUIC_STREAM_EVENT *event)
{
    struct nx_quic_stream *stream = context;
    struct nx_quic_send *send;

    (void)handle;
    switch (event->Type) {
    case QUIC_STREAM_EVENT_RECEIVE:
        if (stream->events != NULL)
            received(stream, event);
        break;
    case QUIC_STREAM_EVENT_SEND_COMPLETE:
        send = event->SEND_COMPLETE.ClientContext;
        send->done(send, event->SEND_COMPLETE.Canceled ? NEXAR_EPEER : NEXAR_OK);
        break;
    case QUIC_STREAM_EVENT_PEER_SEND_SHUTDOWN:
        ended(stream, NEXAR_OK);
        break;
    case QUIC_STREAM_EVENT_PEER_SEND_ABORTED:
        ended(stream, NEXAR_EPROTO);
        break;
    case QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE:
        ended(stream, NEXAR_EPEER);
        if (!stream->persistent && !event->SHUTDOWN_COMPLETE.AppCloseInProgress)
            nx_quic_finished(stream);
        break;
    default:
        break;
    }
    return QUIC_STATUS_SUCCESS;
}

/* ---- sending ---- */

nexar_status nx_quic_stream_open(struct nx_quic_conn *conn, enum nx_quic_priority priority, bool bidirectional,
                                 const struct nx_quic_stream_events *events, void *arg, struct nx_quic_stream **out)
{
    const QUIC_API_TABLE *api = nx_quic_api();
    struct nx_quic_stream *stream;
    uint16_t value = (uint16_t)priority;
    QUIC_STATUS status;

    *out = NULL;
    stream = nx_quic_stream_wrap(conn);
    if (stream == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a stream");
    stream->persistent = true;
    stream->events = events;
    stream->arg = arg;
    status =
        api->StreamOpen(conn->handle, bidirectional ? QUIC_STREAM_OPEN_FLAG_NONE : QUIC_STREAM_OPEN_FLAG_UNIDIRECTIONAL,
                        nx_quic_stream_callback, stream, &stream->handle);
    if (QUIC_FAILED(status)) {
        nx_quic_stream_free(stream);
        return nx_quic_fail(status, "cannot open a stream");
    }
    api->SetParam(stream->handle, QUIC_PARAM_STREAM_PRIORITY, sizeof(value), &value);
    status = api->StreamStart(stream->handle, QUIC_STREAM_START_FLAG_NONE);
    if (QUIC_FAILED(status)) {
        api->StreamClose(stream->handle);
        nx_quic_stream_free(stream);
        return nx_quic_fail(status, "cannot start a stream");
    }
    nx_list_push_back(&conn->opened, &stream->link);
    nx_quic_conn_drop(conn); /* it lives as long as the connection's object, which must not live as long as itself */
    *out = stream;
    return NEXAR_OK;
}

static nexar_status lost(void)
{
    return nx_fail(NEXAR_EPEER, "the connection is gone");
}

nexar_status nx_quic_stream_send(struct nx_quic_stream *stream, struct nx_quic_send *send, bool last)
{
    struct nx_quic_conn *conn = stream->conn;
    QUIC_STATUS status;

    if (!nx_quic_enter(conn))
        return lost();
    status = nx_quic_api()->StreamSend(stream->handle, (const QUIC_BUFFER *)(const void *)send->buf, send->bufs,
                                       last ? QUIC_SEND_FLAG_FIN : QUIC_SEND_FLAG_NONE, send);
    nx_quic_leave(conn);
    if (QUIC_FAILED(status))
        return status == QUIC_STATUS_OUT_OF_MEMORY ? nx_quic_fail(status, "cannot send") : lost();
    return NEXAR_OK;
}

nexar_status nx_quic_message_send(struct nx_quic_conn *conn, struct nx_quic_send *send, bool last,
                                  struct nx_quic_stream **out)
{
    const QUIC_API_TABLE *api = nx_quic_api();
    struct nx_quic_stream *stream;
    QUIC_STATUS status;
    QUIC_SEND_FLAGS flags = QUIC_SEND_FLAG_START | (last ? QUIC_SEND_FLAG_FIN : QUIC_SEND_FLAG_NONE);

    if (out != NULL)
        *out = NULL;
    stream = nx_quic_stream_wrap(conn);
    if (stream == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a stream");
    if (!nx_quic_enter(conn)) {
        nx_quic_stream_free(stream);
        return lost();
    }
    status = api->StreamOpen(conn->handle, QUIC_STREAM_OPEN_FLAG_UNIDIRECTIONAL, nx_quic_stream_callback, stream,
                             &stream->handle);
    if (QUIC_SUCCEEDED(status)) {
        if (out != NULL)
            *out = stream; /* before the send: it may be done before this returns */
        status = api->StreamSend(stream->handle, (const QUIC_BUFFER *)(const void *)send->buf, send->bufs, flags, send);
        if (QUIC_FAILED(status)) {
            /* Closing a stream is for the engine. */
            nx_lock(&conn->lock);
            nx_list_push_back(&conn->unsent, &stream->link);
            nx_unlock(&conn->lock);
            nx_quic_post(conn);
        }
    } else {
        nx_quic_stream_free(stream);
    }
    nx_quic_leave(conn);
    if (QUIC_SUCCEEDED(status))
        return NEXAR_OK;
    if (out != NULL)
        *out = NULL;
    return status == QUIC_STATUS_OUT_OF_MEMORY ? nx_quic_fail(status, "cannot send") : lost();
}
