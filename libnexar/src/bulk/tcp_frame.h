/* bulk/tcp_frame.h - what two ranks say to each other on a TCP connection, as bytes.  Pure functions: no socket, no
 * clock, no memory of their own.
 *
 *      u8 kind | u8 head_nbytes | u16 0 | u32 seq | u64 total | u64 offset      24 bytes, little endian, then
 *      the head, if offset is 0, then len bytes of payload
 *
 * A message goes whole, or, on a link of several connections, in pieces: `offset` is a multiple of NX_TCP_PIECE and the
 * length follows from it.  `seq` counts the messages of a link, whichever connection they take. */
#ifndef NX_BULK_TCP_FRAME_H
#define NX_BULK_TCP_FRAME_H

#include "nexar/ext.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NX_TCP_FRAME 24
#define NX_TCP_FRAME_MAX (NX_TCP_FRAME + NEXAR_BULK_HEAD_MAX)
#define NX_TCP_PIECE ((uint64_t)256 << 10)
#define NX_TCP_TOTAL_MAX (UINT64_C(1) << 62)
#define NX_TCP_STREAMS_MAX 16
#define NX_TCP_PREAMBLE 16
#define NX_TCP_SECRET 32
#define NX_TCP_ADDRESSES 8
#define NX_TCP_ADDRESS 64

/* ---- frames ---- */

enum nx_tcp_kind {
    NX_TCP_MESSAGE = 1, /* whole */
    NX_TCP_PART = 2,    /* a piece of one that is longer than NX_TCP_PIECE */
    NX_TCP_HELLO = 3,   /* the first of each side; its head is struct nx_tcp_hello */
    NX_TCP_CLOSE = 4,   /* the last; `seq` messages were sent */
};

struct nx_tcp_frame {
    enum nx_tcp_kind kind;
    uint32_t head_nbytes;
    uint32_t seq;
    uint64_t total, offset;
    uint64_t len;        /* of the payload behind it */
    const uint8_t *head; /* in the bytes it was read from */
};

enum nx_tcp_read { NX_TCP_OK, NX_TCP_SHORT, NX_TCP_BAD };

/* Room for NX_TCP_FRAME_MAX; returns the bytes written.  `len` and what a kind does not have are not looked at. */
size_t nx_tcp_frame_write(uint8_t *to, const struct nx_tcp_frame *frame);

/* The frame's header and head at the beginning of `n` bytes; `*used` of them.  NX_TCP_SHORT: more are needed, of which
 * those that are there may still turn out bad. */
enum nx_tcp_read nx_tcp_frame_read(const uint8_t *bytes, size_t n, struct nx_tcp_frame *frame, size_t *used);

/* ---- the order of what arrives on the connections of one link ---- */

struct nx_tcp_flow {
    uint32_t seq;    /* of the message that is expected */
    uint64_t offset; /* of its next piece */
    uint64_t total;  /* of that message, once its first piece has come */
};

enum nx_tcp_turn { NX_TCP_NOW, NX_TCP_LATER, NX_TCP_NEVER };

/* Whether the payload of a NX_TCP_MESSAGE or NX_TCP_PART is what comes next.  `alone`: on the link's only connection,
 * where there is no later. */
enum nx_tcp_turn nx_tcp_flow_turn(const struct nx_tcp_flow *flow, const struct nx_tcp_frame *frame, bool alone);
/* All of that frame has come; true if its message is complete. */
bool nx_tcp_flow_done(struct nx_tcp_flow *flow, const struct nx_tcp_frame *frame);

/* ---- before a connection is trusted ---- */

/* The dialer's first bytes, in clear: which offer it answers.  "nxT1" | u8 stream | 3 zeros | u64 token. */
void nx_tcp_preamble_write(uint8_t to[NX_TCP_PREAMBLE], uint64_t token, uint8_t stream);
bool nx_tcp_preamble_read(const uint8_t bytes[NX_TCP_PREAMBLE], uint64_t *token, uint8_t *stream);

struct nx_tcp_hello {
    uint32_t from, to, stream; /* stream: its number, and from bit 8 on that of the attempt to dial */
    uint64_t token;
    uint8_t mac[32]; /* over all that and the TLS session, with the offer's secret */
};

void nx_tcp_hello_write(uint8_t to[NEXAR_BULK_HEAD_MAX], const struct nx_tcp_hello *hello);
bool nx_tcp_hello_read(const uint8_t bytes[NEXAR_BULK_HEAD_MAX], struct nx_tcp_hello *hello);

/* ---- words over the authenticated connection ---- */

enum nx_tcp_word { NX_TCP_WISH = 1, NX_TCP_OFFER = 2 };

/* A wish is what a side was set to; the offer of the side that is dialled settles it. */
struct nx_tcp_words {
    enum nx_tcp_word word;
    bool tls;
    uint8_t streams; /* 1 to NX_TCP_STREAMS_MAX */
    /* of an offer */
    uint8_t addresses;
    uint64_t token;
    uint8_t secret[NX_TCP_SECRET];
    char address[NX_TCP_ADDRESSES][NX_TCP_ADDRESS]; /* "10.0.0.7:41234", "[fe80::1%eth0]:41234" */
};

#define NX_TCP_WORDS_MAX (8 + 8 + NX_TCP_SECRET + NX_TCP_ADDRESSES * NX_TCP_ADDRESS)

/* Room for NX_TCP_WORDS_MAX; returns the bytes written. */
size_t nx_tcp_words_write(uint8_t *to, const struct nx_tcp_words *words);
bool nx_tcp_words_read(const void *bytes, size_t n, struct nx_tcp_words *words);

#endif
