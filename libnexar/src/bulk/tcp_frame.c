/* bulk/tcp_frame.c - frames, preamble, hello and words: written and read, every byte checked.
 *
 * Owner: nobody; it keeps no state.  It does not know what is done with a message, nor who may send one. */
#include "bulk/tcp_frame.h"

#include "base/bytes.h"

#include <string.h>

/* ---- frames ---- */

static uint64_t length_of(const struct nx_tcp_frame *f)
{
    if (f->kind == NX_TCP_MESSAGE)
        return f->total;
    if (f->kind == NX_TCP_PART)
        return f->total - f->offset < NX_TCP_PIECE ? f->total - f->offset : NX_TCP_PIECE;
    return 0;
}

size_t nx_tcp_frame_write(uint8_t *to, const struct nx_tcp_frame *f)
{
    uint32_t head_nbytes = f->offset == 0 ? f->head_nbytes : 0;

    to[0] = (uint8_t)f->kind;
    to[1] = (uint8_t)head_nbytes;
    nx_store16(to + 2, 0);
    nx_store32(to + 4, f->seq);
    nx_store64(to + 8, f->total);
    nx_store64(to + 16, f->offset);
    if (head_nbytes != 0)
        memcpy(to + NX_TCP_FRAME, f->head, head_nbytes);
    return NX_TCP_FRAME + head_nbytes;
}

static bool is_frame(const struct nx_tcp_frame *f)
{
    bool headed = f->head_nbytes >= 1 && f->head_nbytes <= NEXAR_BULK_HEAD_MAX;

    switch ((int)f->kind) {
    case NX_TCP_MESSAGE:
        return headed && f->offset == 0 && f->total <= NX_TCP_TOTAL_MAX;
    case NX_TCP_PART:
        return (f->offset == 0 ? headed : f->head_nbytes == 0) && f->total > NX_TCP_PIECE &&
               f->total <= NX_TCP_TOTAL_MAX && f->offset < f->total && f->offset % NX_TCP_PIECE == 0;
    case NX_TCP_HELLO:
        return f->head_nbytes == NEXAR_BULK_HEAD_MAX && f->seq == 0 && f->total == 0 && f->offset == 0;
    case NX_TCP_CLOSE:
        return f->head_nbytes == 0 && f->total == 0 && f->offset == 0;
    default:
        return false;
    }
}

enum nx_tcp_read nx_tcp_frame_read(const uint8_t *bytes, size_t n, struct nx_tcp_frame *f, size_t *used)
{
    if (n < NX_TCP_FRAME)
        return NX_TCP_SHORT;
    *f = (struct nx_tcp_frame){.kind = (enum nx_tcp_kind)bytes[0],
                               .head_nbytes = bytes[1],
                               .seq = nx_load32(bytes + 4),
                               .total = nx_load64(bytes + 8),
                               .offset = nx_load64(bytes + 16),
                               .head = bytes + NX_TCP_FRAME};
    if (nx_load16(bytes + 2) != 0 || !is_frame(f))
        return NX_TCP_BAD;
    if (n - NX_TCP_FRAME < f->head_nbytes)
        return NX_TCP_SHORT;
    f->len = length_of(f);
    *used = NX_TCP_FRAME + f->head_nbytes;
    return NX_TCP_OK;
}

/* ---- order ---- */

enum nx_tcp_turn nx_tcp_flow_turn(const struct nx_tcp_flow *flow, const struct nx_tcp_frame *f, bool alone)
{
    uint32_t ahead = f->seq - flow->seq;

    if (ahead >= UINT32_C(1) << 31)
        return NX_TCP_NEVER;
    if (ahead == 0 && f->offset == flow->offset)
        return f->offset == 0 || f->total == flow->total ? NX_TCP_NOW : NX_TCP_NEVER;
    if (alone || (ahead == 0 && f->offset < flow->offset))
        return NX_TCP_NEVER;
    return NX_TCP_LATER;
}

bool nx_tcp_flow_done(struct nx_tcp_flow *flow, const struct nx_tcp_frame *f)
{
    flow->total = f->total;
    flow->offset += f->len;
    if (flow->offset != flow->total)
        return false;
    flow->seq++;
    flow->offset = 0;
    return true;
}

/* ---- preamble and hello ---- */

static const uint8_t magic[4] = {'n', 'x', 'T', '1'};

void nx_tcp_preamble_write(uint8_t to[NX_TCP_PREAMBLE], uint64_t token, uint8_t stream)
{
    memset(to, 0, NX_TCP_PREAMBLE);
    memcpy(to, magic, sizeof(magic));
    to[4] = stream;
    nx_store64(to + 8, token);
}

bool nx_tcp_preamble_read(const uint8_t bytes[NX_TCP_PREAMBLE], uint64_t *token, uint8_t *stream)
{
    *token = nx_load64(bytes + 8);
    *stream = bytes[4];
    return memcmp(bytes, magic, sizeof(magic)) == 0 && bytes[5] == 0 && nx_load16(bytes + 6) == 0;
}

void nx_tcp_hello_write(uint8_t to[NEXAR_BULK_HEAD_MAX], const struct nx_tcp_hello *h)
{
    memset(to, 0, NEXAR_BULK_HEAD_MAX);
    memcpy(to, magic, sizeof(magic));
    nx_store32(to + 4, h->from);
    nx_store32(to + 8, h->to);
    nx_store32(to + 12, h->stream);
    nx_store64(to + 16, h->token);
    memcpy(to + 32, h->mac, sizeof(h->mac));
}

bool nx_tcp_hello_read(const uint8_t bytes[NEXAR_BULK_HEAD_MAX], struct nx_tcp_hello *h)
{
    h->from = nx_load32(bytes + 4);
    h->to = nx_load32(bytes + 8);
    h->stream = nx_load32(bytes + 12);
    h->token = nx_load64(bytes + 16);
    memcpy(h->mac, bytes + 32, sizeof(h->mac));
    return memcmp(bytes, magic, sizeof(magic)) == 0 && nx_load64(bytes + 24) == 0 && nx_load64(bytes + 64) == 0 &&
           nx_load64(bytes + 72) == 0;
}

/* ---- words ---- */

/* u8 version 1 | u8 word | u8 tls | u8 streams | u8 addresses | 3 zeros; of an offer then u64 token | secret | each
 * address as u8 length and text. */
size_t nx_tcp_words_write(uint8_t *to, const struct nx_tcp_words *words)
{
    bool offer = words->word == NX_TCP_OFFER;
    uint8_t *at = to + 8;

    to[0] = 1;
    to[1] = (uint8_t)words->word;
    to[2] = words->tls;
    to[3] = words->streams;
    nx_store32(to + 4, offer ? words->addresses : 0);
    if (!offer)
        return 8;
    nx_store64(at, words->token);
    memcpy(at + 8, words->secret, NX_TCP_SECRET);
    at += 8 + NX_TCP_SECRET;
    for (uint8_t i = 0; i < words->addresses; i++) {
        size_t n = strlen(words->address[i]);

        *at++ = (uint8_t)n;
        memcpy(at, words->address[i], n);
        at += n;
    }
    return (size_t)(at - to);
}

static bool read_address(struct nx_reader *r, char *to)
{
    size_t n = nx_read8(r);
    const uint8_t *text = nx_read(r, n);

    if (text == NULL || n == 0 || n >= NX_TCP_ADDRESS)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    }
    memcpy(to, text, n);
    to[n] = '\0';
    return true;
}

bool nx_tcp_words_read(const void *bytes, size_t n, struct nx_tcp_words *words)
{
    struct nx_reader r = nx_reader(bytes, n);
    uint8_t version = nx_read8(&r);
    uint8_t tls;
    uint32_t addresses;
    const uint8_t *secret;

    *words = (struct nx_tcp_words){.word = (enum nx_tcp_word)nx_read8(&r)};
    tls = nx_read8(&r);
    words->tls = tls != 0;
    words->streams = nx_read8(&r);
    addresses = nx_read32(&r);
    if (version != 1 || tls > 1 || words->streams < 1 || words->streams > NX_TCP_STREAMS_MAX ||
        addresses > NX_TCP_ADDRESSES)
        return false;
    words->addresses = (uint8_t)addresses;
    if (words->word == NX_TCP_WISH)
        return !r.failed && r.at == r.end && addresses == 0;
    if (words->word != NX_TCP_OFFER || addresses == 0)
        return false;
    words->token = nx_read64(&r);
    secret = nx_read(&r, NX_TCP_SECRET);
    if (secret == NULL)
        return false;
    memcpy(words->secret, secret, NX_TCP_SECRET);
    for (uint8_t i = 0; i < words->addresses; i++) {
        if (!read_address(&r, words->address[i]))
            return false;
    }
    return r.at == r.end;
}
