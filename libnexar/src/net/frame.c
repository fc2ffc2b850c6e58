/* net/frame.c - the memory of framed messages that are being put together.
 *
 * Owner: the engine.  A peer may begin one on each of its streams, so what they hold together has a limit; beyond it
 * only the first that is not whole goes on, so that whole ones that wait for their lane hold up no other lane; when
 * those hold unread_bytes, none does. */
#include "net/frame.h"

#include "wire/codec.h"

#include <string.h>

enum {
    OWN_MAX = 64 * 1024,        /* our control messages */
    OWN_TOGETHER = 1024 * 1024, /* several of them, of a peer that is known */
};

void nx_frame_init(struct nx_frame *frame, struct nx_source *source)
{
    *frame = (struct nx_frame){.source = source};
    nx_list_init(&frame->link);
}

uint64_t nx_frame_limit(nexar_conn *conn)
{
    return atomic_load(&conn->own) ? OWN_MAX : conn->net->config.limits.lane_bytes;
}

static uint64_t budget(nexar_conn *conn)
{
    if (atomic_load(&conn->peer) == NULL)
        return OWN_MAX;
    return atomic_load(&conn->own) ? OWN_TOGETHER : conn->net->config.limits.lane_bytes;
}

/* Of whole ones, and one that becomes it. */
static uint64_t most(nexar_conn *conn)
{
    bool stranger = atomic_load(&conn->peer) == NULL;

    return budget(conn) + (stranger ? (uint64_t)OWN_MAX : conn->net->config.limits.unread_bytes);
}

/* The one that may always go on: the first that is not whole. */
static bool is_first(nexar_conn *conn, const struct nx_frame *frame)
{
    nx_list_for_each_safe(pos, tmp, &conn->frames)
    {
        const struct nx_frame *other = nx_container_of(pos, struct nx_frame, link);

        if (!other->whole)
            return other == frame;
    }
    return false;
}

/* One that is whole has only its last byte to come again. */
static bool must_wait(nexar_conn *conn, const struct nx_frame *frame, size_t n)
{
    uint64_t others = conn->frame_bytes - (frame->buf == NULL ? 0 : frame->buf->used);

    if (frame->whole || others == 0 || conn->frame_bytes + n <= budget(conn))
        return false;
    return conn->frame_bytes + n > most(conn) || !is_first(conn, frame);
}

static bool grow(struct nx_frame *frame, size_t n)
{
    size_t used = frame->buf == NULL ? 0 : frame->buf->used;
    struct nx_buffer *larger;

    if (frame->buf != NULL && used + n <= frame->buf->room)
        return true;
    larger = nx_buffer_get(2 * used + n);
    if (larger == NULL)
        return false;
    if (used != 0)
        memcpy(larger->data, frame->buf->data, used);
    larger->used = used;
    nx_buffer_put(frame->buf);
    frame->buf = larger;
    return true;
}

nexar_status nx_frame_add(nexar_conn *conn, struct nx_frame *frame, const uint8_t *bytes, size_t n)
{
    if (nx_list_empty(&frame->link))
        nx_list_push_back(&conn->frames, &frame->link);
    frame->waits = must_wait(conn, frame, n);
    if (frame->waits)
        return NEXAR_EAGAIN;
    if (!grow(frame, n))
        return nx_fail(NEXAR_ENOMEM, "there is no memory for its message");
    memcpy(frame->buf->data + frame->buf->used, bytes, n);
    frame->buf->used += n;
    conn->frame_bytes += n;
    return NEXAR_OK;
}

void nx_frame_unadd(nexar_conn *conn, struct nx_frame *frame)
{
    frame->buf->used--;
    conn->frame_bytes--;
}

static void resume_waiting(nexar_conn *conn)
{
    nx_list_for_each_safe(pos, tmp, &conn->frames)
    {
        struct nx_frame *frame = nx_container_of(pos, struct nx_frame, link);

        if (!frame->waits)
            continue;
        frame->waits = false;
        frame->source->resume(frame->source);
    }
}

nexar_status nx_frame_read(nexar_conn *conn, struct nx_frame *frame, struct nx_message *message)
{
    struct nx_frame_header header;
    nexar_status st = nx_frame_header_decode(frame->buf->data, frame->buf->used, &header);

    if (st == NEXAR_OK)
        st = nx_message_decode(frame->buf->data + NX_FRAME_HEADER, header.payload_length, message);
    if (st != NEXAR_OK)
        return st;
    if (atomic_load(&conn->own) != (message->kind >= NX_KIND_OWN) && message->kind != NX_KIND_HEARTBEAT)
        return nx_fail(NEXAR_EPROTO, "it sent %s, which the protocol in use does not have",
                       nx_message_name(message->kind));
    if (!frame->whole) {
        frame->whole = true;
        resume_waiting(conn); /* another is the first now */
    }
    return NEXAR_OK;
}

void nx_frame_drop(nexar_conn *conn, struct nx_frame *frame)
{
    if (frame->buf != NULL)
        conn->frame_bytes -= frame->buf->used;
    nx_list_remove(&frame->link);
    nx_buffer_put(frame->buf);
    nx_frame_init(frame, frame->source);
    resume_waiting(conn);
}
