/* net/reader.c - streams of a peer: bytes -> messages -> the door (arrive.h), and control messages to their handlers.
 *
 * Owner: the engine.  Payloads go through without being kept; only framed messages whose kind is not known before their
 * end are put together here, up to a limit. */
#include "net/arrive.h"
#include "net/conn.h"

#include "base/slab.h"
#include "wire/codec.h"

#include <string.h>

enum {
    OWN_FRAME_MAX = 64 * 1024, /* our control messages */
    MESSAGE_BITS = 62,         /* the longest message on libnexar/1 is what QUIC can carry */
};

struct reader {
    struct nx_source source;
    nexar_conn *conn;
    struct nx_quic_stream *stream;
    struct nx_parser parser;
    struct nx_msg *msg;      /* being written */
    struct nx_buffer *frame; /* a framed message being put together */
    struct nx_list paused;   /* in conn->paused */
    bool framed, announced;  /* the head has been dealt with */
};

static struct nx_slab slab = NX_SLAB_INIT(struct reader, 256);

static void resume(struct nx_source *source)
{
    nx_quic_stream_resume(nx_container_of(source, struct reader, source)->stream);
}

/* ---- framed messages ---- */

/* On nexar/1: a message for a lane that its kind chooses. */
static void deliver_frame(struct reader *r, struct nx_peer *peer, enum nx_lane lane, size_t n)
{
    struct nx_head head = {.tag = NX_TAG_FRAMED, .lane = (uint8_t)lane, .len = n};
    nexar_status st;

    r->source.shared = true; /* it is here already: it cannot pause */
    r->msg = nx_arrive_begin(&r->conn->net->lanes, peer->rank, &head, false, &r->source, &st);
    if (r->msg == NULL) {
        nx_conn_fault(r->conn, "%s", nexar_last_error());
        return;
    }
    if (nx_arrive_write(&r->conn->net->lanes, r->msg, r->frame->data, n) == n) {
        nx_arrive_end(&r->conn->net->lanes, r->msg, NEXAR_OK);
    } else {
        nx_arrive_end(&r->conn->net->lanes, r->msg, NEXAR_EPROTO);
        nx_conn_fault(r->conn, "its framed messages are not read and exceed the limit");
    }
    r->msg = NULL;
}

static void end_frame(struct reader *r)
{
    nexar_conn *conn = r->conn;
    struct nx_peer *peer = atomic_load(&conn->peer);
    struct nx_frame_header header;
    struct nx_message message;
    nexar_status st;

    st = nx_frame_header_decode(r->frame->data, r->frame->used, &header);
    if (st == NEXAR_OK)
        st = nx_message_decode(r->frame->data + NX_FRAME_HEADER, header.payload_length, &message);
    if (st != NEXAR_OK) {
        nx_conn_fault(conn, "%s", nexar_last_error());
    } else if (message.kind >= NX_KIND_OWN) {
        if (atomic_load(&conn->own))
            nx_conn_handle(conn, &message);
        else
            nx_conn_fault(conn, "it sent a message of libnexar/1 on nexar/1");
    } else if (message.kind != NX_KIND_HEARTBEAT && peer != NULL) {
        deliver_frame(r, peer, nx_message_lane(message.kind), NX_FRAME_HEADER + (size_t)header.payload_length);
    }
    nx_buffer_put(r->frame);
    r->frame = NULL;
}

/* Grows by what has come. */
static bool add_to_frame(struct reader *r, const uint8_t *bytes, size_t n)
{
    struct nx_buffer *frame = r->frame;

    if (frame == NULL || frame->used + n > frame->room) {
        struct nx_buffer *larger = nx_buffer_get((frame == NULL ? 0 : 2 * frame->used) + n);

        if (larger == NULL)
            return false;
        if (frame != NULL) {
            memcpy(larger->data, frame->data, frame->used);
            larger->used = frame->used;
        }
        nx_buffer_put(frame);
        r->frame = frame = larger;
    }
    memcpy(frame->data + frame->used, bytes, n);
    frame->used += n;
    return true;
}

/* ---- messages ---- */

/* False: the peer is not known yet, or the connection is at its end. */
static bool announce(struct reader *r)
{
    nexar_conn *conn = r->conn;
    struct nx_peer *peer = atomic_load(&conn->peer);
    const struct nx_head *head = &r->parser.head;
    bool own = atomic_load(&conn->own);
    nexar_status st;

    r->framed = head->tag == NX_TAG_FRAMED;
    if (r->framed) {
        uint64_t limit = own ? OWN_FRAME_MAX : conn->net->config.limits.lane_bytes;

        if (head->len <= limit)
            return true;
        nx_conn_fault(conn, "it sent a framed message of %llu bytes, %llu are allowed", (unsigned long long)head->len,
                      (unsigned long long)limit);
        return false;
    }
    if (peer == NULL) {
        if (nx_list_empty(&r->paused))
            nx_list_push_back(&conn->paused, &r->paused);
        return false;
    }
    r->msg = nx_arrive_begin(&conn->net->lanes, peer->rank, head, own && head->lane != NX_LANE_COLL, &r->source, &st);
    if (r->msg == NULL)
        nx_conn_fault(conn, "%s", nexar_last_error());
    return r->msg != NULL;
}

/* False: no more bytes of this call can be taken; `*taken` says how many were. */
static bool payload(struct reader *r, const struct nx_reader *piece, size_t *taken)
{
    size_t n = (size_t)(piece->end - piece->at);

    *taken = n;
    if (r->framed) {
        if (add_to_frame(r, piece->at, n))
            return true;
        nx_conn_fault(r->conn, "there is no memory for its message");
        return false;
    }
    *taken = nx_arrive_write(&r->conn->net->lanes, r->msg, piece->at, n);
    if (*taken < n && r->source.shared)
        nx_conn_fault(r->conn, "its messages are not read and exceed the limit of %llu bytes",
                      (unsigned long long)r->conn->net->config.limits.unread_bytes);
    return *taken == n;
}

static void finish(struct reader *r)
{
    struct nx_net_stats *stats = &r->conn->net->stats;

    if (r->framed) {
        end_frame(r);
        return;
    }
    atomic_fetch_add_explicit(&stats->messages_received, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->bytes_received, r->parser.head.len, memory_order_relaxed);
    nx_arrive_end(&r->conn->net->lanes, r->msg, NEXAR_OK);
    r->msg = NULL;
    r->conn->received++;
    nx_conn_drained(r->conn);
}

static size_t receive(void *arg, const uint8_t *bytes, size_t n)
{
    struct reader *r = arg;
    struct nx_reader in = nx_reader(bytes, n), piece;
    size_t taken;

    for (;;) {
        enum nx_parse what;

        if (atomic_load(&r->conn->ended) || r->conn->fault[0] != '\0')
            return n; /* nobody reads any more */
        if (r->announced) {
            r->announced = false;
            what = NX_PARSE_HEAD;
        } else {
            what = nx_parser_next(&r->parser, &in, &piece);
        }
        switch (what) {
        case NX_PARSE_MORE:
            return n;
        case NX_PARSE_HEAD:
            r->source.shared = r->parser.many;
            if (!announce(r)) {
                r->announced = r->conn->fault[0] == '\0';
                return r->announced ? (size_t)(in.at - bytes) : n;
            }
            break;
        case NX_PARSE_PAYLOAD:
            if (!payload(r, &piece, &taken)) {
                /* The parser has counted the piece: give back what was not taken. */
                r->parser.left += (size_t)(piece.end - piece.at) - taken;
                return (size_t)(piece.at - bytes) + taken;
            }
            break;
        case NX_PARSE_END:
            finish(r);
            break;
        case NX_PARSE_ERROR:
            nx_conn_fault(r->conn, "%s on one of its streams", nx_stream_error_text(r->parser.error));
            return n;
        }
    }
}

static void ended(void *arg, nexar_status status)
{
    struct reader *r = arg;
    struct nx_reader nothing = nx_reader(NULL, 0), piece;

    /* The end of a message without payload may still be due. */
    if (status == NEXAR_OK && r->parser.error == NX_STREAM_FINE && !r->announced && (r->msg != NULL || r->framed) &&
        nx_parser_next(&r->parser, &nothing, &piece) == NX_PARSE_END)
        finish(r);
    if (status == NEXAR_OK && nx_parser_finish(&r->parser) != NX_STREAM_FINE)
        nx_conn_fault(r->conn, "one of its streams ended inside a message");
    if (status == NEXAR_EPROTO)
        nx_conn_fault(r->conn, "it cut one of its streams");
    if (r->msg != NULL)
        nx_arrive_end(&r->conn->net->lanes, r->msg, NEXAR_EPEER);
    nx_buffer_put(r->frame);
    nx_list_remove(&r->paused);
    nx_conn_drop(r->conn);
    nx_slab_put(&slab, r);
}

bool nx_conn_stream(nexar_conn *conn, struct nx_quic_stream *stream, bool bidirectional)
{
    static const struct nx_quic_stream_events events = {.receive = receive, .ended = ended};
    bool own = atomic_load(&conn->own);
    struct reader *r;

    if (bidirectional)
        return false;
    r = nx_slab_get(&slab);
    if (r == NULL)
        return false;
    *r = (struct reader){.source = {.resume = resume}, .conn = conn, .stream = stream};
    nx_list_init(&r->paused);
    nx_parser_init(&r->parser, own ? NX_DIALECT_OWN : NX_DIALECT_REFERENCE,
                   own ? UINT64_C(1) << MESSAGE_BITS : NX_MESSAGE_MAX);
    nx_conn_hold(conn);
    nx_quic_stream_bind(stream, &events, r);
    return true;
}

void nx_conn_resume_paused(nexar_conn *conn)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&conn->paused)) != NULL)
        resume(&nx_container_of(pos, struct reader, paused)->source);
}
