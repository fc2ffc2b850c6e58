/* net/reader.c - streams of a peer: bytes -> messages -> the door (arrive.h), and control messages to their handlers.
 *
 * Owner: the engine.  Payloads go through without being kept; framed messages whose kind is not known before their end
 * are put together (frame.c).  A message that cannot begin yet leaves one byte in QUIC's hands, so that QUIC comes
 * again with it, and does not take the stream for read to its end. */
#include "net/frame.h"
#include "net/match.h"
#include "net/way.h"

#include "base/slab.h"

/* The longest message on libnexar/1 is what QUIC can carry. */
#define LONGEST (UINT64_C(1) << 62)

struct reader {
    struct nx_source source;
    nexar_conn *conn;
    struct nx_quic_stream *stream;
    struct nx_parser parser;
    struct nx_msg *msg; /* being written */
    struct nx_frame frame;
    struct nx_list paused; /* in conn->paused */
    bool framed;
    bool announced; /* the head was read but could not be dealt with; its last byte was left in the stream */
    bool taken;     /* the message was small and here in one piece, and has been dealt with */
    uint64_t skip;  /* bytes of the message that another way has brought */
};

static struct nx_slab slab = NX_SLAB_INIT(struct reader, 256);

static void resume(struct nx_source *source)
{
    nx_quic_stream_resume(nx_container_of(source, struct reader, source)->stream);
}

/* It is not known yet who that is: comes again when it is. */
static void pause_until_bound(struct reader *r)
{
    if (nx_list_empty(&r->paused))
        nx_list_push_back(&r->conn->paused, &r->paused);
}

/* NEXAR_EAGAIN: not now.  Else: the connection is at its end. */
static nexar_status refuse(struct reader *r, nexar_status st)
{
    if (st != NEXAR_EAGAIN && st != NEXAR_OK)
        nx_conn_fault(r->conn, "%s", nexar_last_error());
    return st;
}

/* ---- framed messages ---- */

/* On nexar/1: a message for a lane that its kind chooses. */
static nexar_status to_lane(struct reader *r, struct nx_peer *peer, const struct nx_message *message)
{
    struct nx_lanes *lanes = &r->conn->net->lanes;
    struct nx_frame_header header;
    struct nx_head head = {.tag = NX_TAG_FRAMED, .lane = (uint8_t)nx_message_lane(message->kind)};
    nexar_status st = nx_frame_header_decode(r->frame.buf->data, r->frame.buf->used, &header);
    struct nx_msg *msg;

    if (st != NEXAR_OK)
        return st;
    head.len = NX_FRAME_HEADER + (uint64_t)header.payload_length;
    r->source.whole = true;
    msg = nx_arrive_begin(lanes, peer->rank, &head, false, &r->source, &st);
    if (msg == NULL)
        return st;
    if (nx_arrive_write(lanes, msg, r->frame.buf->data, (size_t)head.len, &st) != head.len && st == NEXAR_EAGAIN)
        st = nx_fail(NEXAR_EPROTO, "it sent more after its farewell than can have been under way");
    nx_arrive_end(lanes, msg, st);
    return st;
}

/* All its bytes are here. */
static nexar_status end_frame(struct reader *r)
{
    nexar_conn *conn = r->conn;
    struct nx_peer *peer = atomic_load(&conn->peer);
    struct nx_message message;
    nexar_status st = nx_frame_read(conn, &r->frame, &message);

    if (st != NEXAR_OK)
        return st;
    if (message.kind >= NX_KIND_OWN) {
        nx_conn_handle(conn, &message);
    } else if (message.kind != NX_KIND_HEARTBEAT && peer == NULL) {
        pause_until_bound(r);
        return NEXAR_EAGAIN;
    } else if (message.kind != NX_KIND_HEARTBEAT) {
        st = to_lane(r, peer, &message);
    }
    if (st != NEXAR_EAGAIN)
        nx_frame_drop(conn, &r->frame);
    return st;
}

static nexar_status framed_payload(struct reader *r, const uint8_t *bytes, size_t n, size_t *taken)
{
    nexar_status st = nx_frame_add(r->conn, &r->frame, bytes, n);

    *taken = st == NEXAR_OK ? n : 0;
    if (st == NEXAR_OK && r->parser.left == 0) {
        st = end_frame(r);
        if (st == NEXAR_EAGAIN) {
            nx_frame_unadd(r->conn, &r->frame);
            *taken = n - 1;
        }
    }
    return st;
}

/* ---- messages ---- */

/* `payload`: what is here of it. */
static nexar_status announce(struct reader *r, const struct nx_reader *payload)
{
    nexar_conn *conn = r->conn;
    struct nx_peer *peer = atomic_load(&conn->peer);
    const struct nx_head *head = &r->parser.head;
    bool ordered = head->tag == NX_TAG_MESSAGE && head->lane != NX_LANE_COLL; /* other tags have no number */
    nexar_status st;

    r->framed = head->tag == NX_TAG_FRAMED;
    if (r->framed) {
        uint64_t limit = nx_frame_limit(conn);

        if (head->len <= limit)
            return NEXAR_OK;
        return nx_fail(NEXAR_EPROTO, "it sent a framed message of %llu bytes, %llu are allowed",
                       (unsigned long long)head->len, (unsigned long long)limit);
    }
    if (peer == NULL) {
        pause_until_bound(r);
        return NEXAR_EAGAIN;
    }
    r->source.shared = r->parser.many;
    if (atomic_load_explicit(&conn->cut, memory_order_relaxed) != 0 &&
        (r->msg = nx_dock_claim(conn, head, &r->source, &r->skip)) != NULL)
        return NEXAR_OK;
    if (r->parser.many && head->len <= NX_MSG_SMALL && head->len <= (uint64_t)(payload->end - payload->at)) {
        st = nx_arrive_small(&conn->net->lanes, peer->rank, head, ordered, &r->source, payload->at);
        r->taken = st == NEXAR_OK;
        return st;
    }
    r->msg = nx_arrive_begin(&conn->net->lanes, peer->rank, head, ordered, &r->source, &st);
    return st;
}

static void finish(struct reader *r)
{
    struct nx_net_stats *stats = &r->conn->net->stats;

    if (r->framed)
        return;
    atomic_fetch_add_explicit(&stats->messages_received, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->bytes_received, r->parser.head.len, memory_order_relaxed);
    if (!r->taken)
        nx_arrive_end(&r->conn->net->lanes, r->msg, NEXAR_OK);
    r->taken = false;
    r->msg = NULL;
    r->conn->received++;
    nx_conn_drained(r->conn);
}

/* Of a message for a lane: returns how many bytes were taken. */
static size_t write(struct reader *r, const uint8_t *bytes, size_t n, nexar_status *st)
{
    size_t skip = r->skip < n ? (size_t)r->skip : n;

    r->skip -= skip;
    if (skip == n && n != 0)
        return n;
    return skip + nx_arrive_write(&r->conn->net->lanes, r->msg, bytes + skip, n - skip, st);
}

static size_t receive(void *arg, const uint8_t *bytes, size_t n)
{
    struct reader *r = arg;
    struct nx_reader in = nx_reader(bytes, n), piece;
    nexar_status st = NEXAR_OK;
    size_t taken;
    bool again = r->announced;

    if (again)
        nx_read8(&in);
    while (!atomic_load(&r->conn->ended) && r->conn->fault[0] == '\0') {
        switch (again ? NX_PARSE_HEAD : nx_parser_next(&r->parser, &in, &piece)) {
        case NX_PARSE_MORE:
            return n;
        case NX_PARSE_HEAD:
            again = false;
            st = refuse(r, announce(r, &in));
            r->announced = st == NEXAR_EAGAIN;
            if (r->announced)
                return (size_t)(in.at - bytes) - 1;
            break;
        case NX_PARSE_PAYLOAD:
            taken = (size_t)(piece.end - piece.at);
            if (r->framed)
                st = framed_payload(r, piece.at, taken, &taken);
            else if (!r->taken)
                taken = write(r, piece.at, taken, &st);
            if (refuse(r, st) == NEXAR_EAGAIN) {
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
            break;
        }
    }
    return n; /* nobody reads any more */
}

static void ended(void *arg, nexar_status status)
{
    struct reader *r = arg;
    nexar_conn *conn = r->conn;

    if (status == NEXAR_OK && nx_parser_finish(&r->parser) != NX_STREAM_FINE)
        nx_conn_fault(conn, "one of its streams ended inside a message");
    if (status == NEXAR_EPROTO)
        nx_conn_fault(conn, "it cut one of its streams");
    if (r->msg != NULL)
        nx_arrive_end(&conn->net->lanes, r->msg, NEXAR_EPEER);
    nx_frame_drop(conn, &r->frame);
    nx_source_forget(&conn->net->lanes, &r->source);
    nx_list_remove(&r->paused);
    nx_slab_put(&slab, r);
    nx_conn_drop(conn);
}

bool nx_conn_stream(nexar_conn *conn, struct nx_quic_stream *stream, bool bidirectional)
{
    static const struct nx_quic_stream_events events = {.receive = receive, .ended = ended};
    bool own = atomic_load(&conn->own);
    struct reader *r;

    if (bidirectional)
        return false;
    r = nx_slab_get(&slab);
    if (r == NULL) {
        nx_conn_fault(conn, "there is no memory for its stream"); /* which may carry what others wait for */
        return false;
    }
    *r = (struct reader){.conn = conn, .stream = stream};
    nx_source_init(&r->source, resume);
    nx_frame_init(&r->frame, &r->source);
    nx_list_init(&r->paused);
    nx_parser_init(&r->parser, own ? NX_DIALECT_OWN : NX_DIALECT_REFERENCE, own ? LONGEST : NX_MESSAGE_MAX);
    nx_conn_hold(conn);
    atomic_fetch_add_explicit(&conn->net->stats.streams, 1, memory_order_relaxed);
    nx_quic_stream_bind(stream, &events, r);
    return true;
}

void nx_conn_resume_paused(nexar_conn *conn)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&conn->paused)) != NULL)
        resume(&nx_container_of(pos, struct reader, paused)->source);
}
