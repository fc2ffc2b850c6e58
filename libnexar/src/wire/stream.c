/* wire/stream.c - heads of messages and the incremental parser of streams.
 *
 * Owner: whoever owns the parser; no state of its own.  It allocates nothing and copies nothing but the bytes of a head
 * that came in pieces, so an announced length costs no memory.  What is inside a framed message is left to
 * codec.h. */
#include "wire/stream.h"

#include "base/status.h"

enum { STATE_TAG, STATE_HEAD, STATE_PAYLOAD, STATE_IGNORE, STATE_ERROR };

/* Bytes of the head that begins with `tag`; 0: no such tag. */
static size_t head_size(uint8_t tag)
{
    switch (tag) {
    case NX_TAG_FRAMED:
    case NX_TAG_RAW:
        return 1 + 8;
    case NX_TAG_RAW_COMM:
    case NX_TAG_RAW_TAGGED:
        return 1 + 8 + 8;
    case NX_TAG_MANY:
        return 1;
    case NX_TAG_MESSAGE:
        return 48;
    default:
        return 0;
    }
}

size_t nx_head_encode(const struct nx_head *head, uint8_t out[NX_HEAD_MAX])
{
    struct nx_writer w = nx_writer(out, NX_HEAD_MAX);

    nx_write8(&w, head->tag);
    switch (head->tag) {
    case NX_TAG_MANY:
        return 1;
    case NX_TAG_FRAMED:
    case NX_TAG_RAW:
        break;
    case NX_TAG_RAW_COMM:
        nx_write64(&w, head->scope);
        break;
    case NX_TAG_RAW_TAGGED:
        nx_write64(&w, head->id);
        break;
    case NX_TAG_MESSAGE:
        if (!nx_lane_known(head->lane))
            return 0;
        nx_write8(&w, head->lane);
        nx_write16(&w, 0);
        nx_write32(&w, head->order);
        nx_write64(&w, head->scope);
        nx_write64(&w, head->id);
        nx_write64(&w, head->call);
        nx_write64(&w, head->count);
        break;
    default:
        return 0;
    }
    nx_write64(&w, head->len);
    return (size_t)(w.at - out);
}

enum nx_stream_error nx_head_decode(const uint8_t in[NX_HEAD_MAX], uint64_t limit, struct nx_head *out)
{
    struct nx_reader r = nx_reader(in, NX_HEAD_MAX);
    struct nx_head head = {.tag = nx_read8(&r), .lane = NX_LANE_BY_KIND};

    switch (head.tag) {
    case NX_TAG_RAW:
        head.lane = NX_LANE_RAW;
        break;
    case NX_TAG_RAW_COMM:
        head.lane = NX_LANE_RAW_COMM;
        head.scope = nx_read64(&r);
        break;
    case NX_TAG_RAW_TAGGED:
        head.lane = NX_LANE_RAW_TAGGED;
        head.id = nx_read64(&r);
        break;
    case NX_TAG_MESSAGE:
        head.lane = nx_read8(&r);
        if (!nx_lane_known(head.lane))
            return NX_STREAM_LANE;
        if (nx_read16(&r) != 0)
            return NX_STREAM_RESERVED;
        head.order = nx_read32(&r);
        head.scope = nx_read64(&r);
        head.id = nx_read64(&r);
        head.call = nx_read64(&r);
        head.count = nx_read64(&r);
        break;
    }
    head.len = nx_read64(&r);
    if (head.len > limit)
        return NX_STREAM_TOO_LONG;
    if (nx_lane_framed(head.lane) && head.len < NX_FRAME_HEADER)
        return NX_STREAM_TOO_SHORT;
    *out = head;
    return NX_STREAM_FINE;
}

void nx_frame_header_encode(const struct nx_frame_header *header, uint8_t out[NX_FRAME_HEADER])
{
    nx_store32(out, header->payload_length);
    out[4] = header->priority;
    out[5] = 0; /* type */
    nx_store16(out + 6, 0);
}

nexar_status nx_frame_header_decode(const uint8_t in[NX_FRAME_HEADER], uint64_t room, struct nx_frame_header *out)
{
    uint32_t length = nx_load32(in);

    *out = (struct nx_frame_header){0};
    if (in[5] != 0)
        return nx_fail(NEXAR_EPROTO, "framed message of type %u: only type 0 exists", in[5]);
    if (room < NX_FRAME_HEADER || room - NX_FRAME_HEADER < length)
        return nx_fail(NEXAR_EPROTO, "framed message announces %u bytes where at most %llu fit", length,
                       (unsigned long long)(room < NX_FRAME_HEADER ? 0 : room - NX_FRAME_HEADER));
    *out = (struct nx_frame_header){.payload_length = length, .priority = in[4]};
    return NEXAR_OK;
}

const char *nx_stream_error_text(enum nx_stream_error error)
{
    switch (error) {
    case NX_STREAM_FINE:
        return "fine";
    case NX_STREAM_UNKNOWN_TAG:
        return "unknown tag";
    case NX_STREAM_NOT_SPOKEN:
        return "a tag that this protocol does not have";
    case NX_STREAM_NESTED:
        return "a stream of many messages inside another";
    case NX_STREAM_LANE:
        return "unknown lane";
    case NX_STREAM_RESERVED:
        return "reserved bits are set";
    case NX_STREAM_TOO_LONG:
        return "message longer than the limit";
    case NX_STREAM_TOO_SHORT:
        return "framed message shorter than its header";
    case NX_STREAM_CUT:
        return "the stream ended inside a message";
    }
    return "?";
}

void nx_parser_init(struct nx_parser *p, enum nx_dialect dialect, uint64_t limit)
{
    *p = (struct nx_parser){.dialect = dialect, .limit = limit};
}

static enum nx_parse fail(struct nx_parser *p, enum nx_stream_error error)
{
    p->state = STATE_ERROR;
    p->error = error;
    return NX_PARSE_ERROR;
}

static enum nx_stream_error check_tag(const struct nx_parser *p, uint8_t tag)
{
    if (head_size(tag) == 0)
        return NX_STREAM_UNKNOWN_TAG;
    if (p->dialect == NX_DIALECT_REFERENCE && (tag == NX_TAG_MANY || tag == NX_TAG_MESSAGE))
        return NX_STREAM_NOT_SPOKEN;
    if (p->many && tag == NX_TAG_MANY)
        return NX_STREAM_NESTED;
    return NX_STREAM_FINE;
}

/* Moves bytes from `in` to the head until it has `need`. */
static bool collect(struct nx_parser *p, struct nx_reader *in, size_t need)
{
    size_t there = (size_t)(in->end - in->at);
    size_t take = need - p->have < there ? need - p->have : there;

    if (take != 0)
        memcpy(p->raw + p->have, nx_read(in, take), take);
    p->have = (uint8_t)(p->have + take);
    return p->have == need;
}

static enum nx_parse next_head(struct nx_parser *p, struct nx_reader *in)
{
    enum nx_stream_error error;

    for (;;) {
        if (p->state == STATE_TAG) {
            if (!collect(p, in, 1))
                return NX_PARSE_MORE;
            error = check_tag(p, p->raw[0]);
            if (error != NX_STREAM_FINE)
                return fail(p, error);
            if (p->raw[0] == NX_TAG_MANY) {
                p->many = true;
                p->have = 0;
                continue;
            }
            p->state = STATE_HEAD;
        }
        if (!collect(p, in, head_size(p->raw[0])))
            return NX_PARSE_MORE;
        error = nx_head_decode(p->raw, p->limit, &p->head);
        if (error != NX_STREAM_FINE)
            return fail(p, error);
        p->have = 0;
        p->left = p->head.len;
        p->state = STATE_PAYLOAD;
        return NX_PARSE_HEAD;
    }
}

enum nx_parse nx_parser_next(struct nx_parser *p, struct nx_reader *in, struct nx_reader *piece)
{
    size_t there = (size_t)(in->end - in->at);

    *piece = (struct nx_reader){0};
    switch (p->state) {
    case STATE_TAG:
    case STATE_HEAD:
        return next_head(p, in);
    case STATE_PAYLOAD:
        if (p->left == 0) {
            p->state = p->many ? STATE_TAG : STATE_IGNORE;
            return NX_PARSE_END;
        }
        if (there == 0)
            return NX_PARSE_MORE;
        if (p->left < there)
            there = (size_t)p->left;
        *piece = nx_reader(nx_read(in, there), there);
        p->left -= there;
        return NX_PARSE_PAYLOAD;
    case STATE_IGNORE:
        in->at = in->end;
        return NX_PARSE_MORE;
    default:
        return NX_PARSE_ERROR;
    }
}

enum nx_stream_error nx_parser_finish(struct nx_parser *p)
{
    if (p->state == STATE_HEAD || (p->state == STATE_PAYLOAD && p->left != 0))
        fail(p, NX_STREAM_CUT);
    return p->error;
}
