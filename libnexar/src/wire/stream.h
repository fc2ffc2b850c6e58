/* wire/stream.h - what is on a stream: heads of messages, and the parser that finds them in pieces of bytes.
 *
 * A stream begins with a tag.  Tags 1-4 and NX_TAG_MESSAGE carry one message, and what follows it is ignored;
 * NX_TAG_MANY says that messages follow back to back, each with its own tag, until the stream ends. */
#ifndef NX_WIRE_STREAM_H
#define NX_WIRE_STREAM_H

#include "base/bytes.h"
#include "nexar/base.h"
#include "wire/lane.h"

enum nx_tag {
    NX_TAG_FRAMED = 0x01,     /* len u64, then the 8-byte header and the archive */
    NX_TAG_RAW = 0x02,        /* len u64 */
    NX_TAG_RAW_COMM = 0x03,   /* scope u64, len u64 */
    NX_TAG_RAW_TAGGED = 0x04, /* id u64, len u64 */
    NX_TAG_MANY = 0x40,       /* the tag alone */
    NX_TAG_MESSAGE = 0x41,    /* lane u8, 0 u16, order u32, scope u64, id u64, call u64, count u64, len u64 */
};

#define NX_HEAD_MAX 48

/* What a tag does not carry is 0; `lane` is NX_LANE_BY_KIND for NX_TAG_FRAMED. */
struct nx_head {
    uint8_t tag;
    uint8_t lane;
    uint32_t order; /* number within (lane, key), where several streams could swap messages */
    uint64_t scope; /* communicator */
    uint64_t id;    /* tag of the user, or see wire/tag.h */
    uint64_t call;  /* fingerprint of the collective call */
    uint64_t count; /* elements of the collective call */
    uint64_t len;   /* bytes after the head */
};

/* Returns the bytes written; 0 if there is no such tag or lane. */
size_t nx_head_encode(const struct nx_head *head, uint8_t out[NX_HEAD_MAX]);

/* In front of each archive. */
#define NX_FRAME_HEADER 8

struct nx_frame_header {
    uint32_t payload_length; /* of the archive */
    uint8_t priority;        /* enum nexar_priority; informative, so any value is accepted */
};

void nx_frame_header_encode(const struct nx_frame_header *header, uint8_t out[NX_FRAME_HEADER]);

/* `room` is how long the message may be, header included: head.len, or where there is no head the limit.  NEXAR_EPROTO
 * if the header is wrong or announces more; `out` is then zero. */
nexar_status nx_frame_header_decode(const uint8_t in[NX_FRAME_HEADER], uint64_t room, struct nx_frame_header *out);

enum nx_dialect {
    NX_DIALECT_REFERENCE, /* nexar/1: tags 1-4 alone */
    NX_DIALECT_OWN,       /* libnexar/1: all tags */
};

enum nx_stream_error {
    NX_STREAM_FINE,
    NX_STREAM_UNKNOWN_TAG,
    NX_STREAM_NOT_SPOKEN, /* a tag of libnexar/1 on a connection that agreed on nexar/1 */
    NX_STREAM_NESTED,     /* NX_TAG_MANY inside NX_TAG_MANY */
    NX_STREAM_LANE,
    NX_STREAM_RESERVED,
    NX_STREAM_TOO_LONG,
    NX_STREAM_TOO_SHORT, /* a framed message without room for its header */
    NX_STREAM_CUT,       /* the stream ended inside a message */
};

/* A static phrase: "unknown tag". */
const char *nx_stream_error_text(enum nx_stream_error error);

/* A whole head at `in`, NX_HEAD_MAX bytes of memory; its message may have `limit` bytes. */
enum nx_stream_error nx_head_decode(const uint8_t in[NX_HEAD_MAX], uint64_t limit, struct nx_head *out);

enum nx_parse {
    NX_PARSE_MORE,    /* all bytes are consumed: come again with the next ones */
    NX_PARSE_HEAD,    /* parser.head is complete; nothing of the payload is consumed */
    NX_PARSE_PAYLOAD, /* `piece` is part of the payload, in the caller's bytes */
    NX_PARSE_END,     /* of the message in parser.head */
    NX_PARSE_ERROR,   /* parser.error says why; nothing more will come of this stream */
};

/* Holds the bytes of one head and nothing else.  The first three are for reading. */
struct nx_parser {
    struct nx_head head;
    enum nx_stream_error error;
    bool many; /* the stream began with NX_TAG_MANY */

    uint64_t limit, left;
    enum nx_dialect dialect;
    uint8_t state;
    uint8_t have;
    uint8_t raw[NX_HEAD_MAX];
};

/* A message of more than `limit` bytes after its head is an error. */
void nx_parser_init(struct nx_parser *p, enum nx_dialect dialect, uint64_t limit);

/* One step: takes from `in` exactly the bytes of what it reports.  A caller that cannot take the payload now stops
 * calling, and goes on later with the bytes that are left; one that can take only part of it gives only that part. */
enum nx_parse nx_parser_next(struct nx_parser *p, struct nx_reader *in, struct nx_reader *piece);

/* The stream has ended and all its bytes are consumed: NX_STREAM_FINE, or what is wrong with that. */
enum nx_stream_error nx_parser_finish(struct nx_parser *p);

#endif
