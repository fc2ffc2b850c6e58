/* coll/all_reduce_compressed.c - the direct all_reduce with all elements in fewer bits: what is sent is encoded.
 *
 * Each rank owns a slice: it gets everyone's piece of it, decodes and adds them by rank, its own one too, encodes the
 * sum once, and all decode the same bytes.  Slices are cut where blocks end, so that the result does not depend on n's
 * slices nor on the segment.  Two rounds per segment; each rank sends 2 (n - 1) / n of the encoded size.
 * Pure; see build.h. */
#include "coll/build.h"

/* All segments have the same number of steps, in the order of this struct, so that a step's number tells that of the
 * same one a window before.  k is a distance round the ring, 0 the rank itself. */
struct dense {
    struct nx_sched *s;
    const struct nx_shape *shape;
    size_t width; /* elements of a segment of a slice, a multiple of the unit */
    size_t words; /* of it, encoded */
    size_t segment;
    int32_t begin;  /* number of the segment's first step */
    int32_t window; /* steps of a whole window, or 0 while there is none behind */
};

enum part { ENCODE, SEND, RECV, ADD, ENCODE_SUM, DECODE_OWN, SEND_SUM, RECV_SUM, DECODE, SENT };

/* The number of a step in its segment: `k` from 0 for ENCODE and, by rank, ADD; from 1 for the others. */
static int32_t number(const struct dense *d, enum part part, uint32_t k)
{
    int32_t n = (int32_t)d->shape->n;
    int32_t p = n - 1;
    const int32_t begins[] = {
        [ENCODE] = 0,
        [SEND] = n - 1,
        [RECV] = n + p - 1,
        [ADD] = n + 2 * p,
        [ENCODE_SUM] = 2 * n + 2 * p,
        [DECODE_OWN] = 2 * n + 2 * p + 1,
        [SEND_SUM] = 2 * n + 2 * p + 1,
        [RECV_SUM] = 2 * n + 3 * p + 1,
        [DECODE] = 2 * n + 4 * p + 1,
        [SENT] = 2 * n + 5 * p + 1,
    };

    return begins[part] + (int32_t)k;
}

static int32_t step(const struct dense *d, enum part part, uint32_t k)
{
    return d->begin + number(d, part, k);
}

/* The same one a window ago, after which its slot in scratch is free. */
static int32_t before(const struct dense *d, enum part part, uint32_t k)
{
    return d->window == 0 ? NX_NONE : step(d, part, k) - d->window;
}

static struct nx_range slice(const struct nx_shape *shape, uint32_t owner)
{
    size_t unit = nx_compress_unit(&shape->compress);
    size_t units = shape->count / unit + (shape->count % unit != 0);
    struct nx_range chunk = nx_chunk((struct nx_range){.off = 0, .count = units}, shape->n, owner);

    return nx_piece(nx_whole(shape), chunk.off * unit, chunk.count * unit);
}

/* The current segment of the slice that a rank owns. */
static struct nx_slice piece(const struct dense *d, enum nx_buf buf, uint32_t owner)
{
    return nx_slice(buf, nx_piece(slice(d->shape, owner), d->segment * d->width, d->width));
}

/* Scratch, in each window's slot: what goes to the others, and came from them; the sum, and the others' sums. */
enum place { OUT, IN, SUM, SUMS };

static struct nx_slice coded(const struct dense *d, enum place place, uint32_t k, uint32_t owner)
{
    uint32_t n = d->shape->n;
    const uint32_t at[] = {[OUT] = 0, [IN] = n - 1, [SUM] = 2 * n - 1, [SUMS] = 2 * n - 1};
    size_t slot = d->segment % NX_WINDOW * (3 * n - 1) + at[place] + k;

    return (struct nx_slice){.buf = NX_BUF_SCRATCH,
                             .off = slot * d->words,
                             .count = nx_compress_words(&d->shape->compress, piece(d, NX_BUF_RECV, owner).count)};
}

/* Everyone's piece of our slice, added up by rank in RECV. */
static void gather_and_add(const struct dense *d, uint32_t tag)
{
    uint32_t n = d->shape->n;
    uint32_t rank = d->shape->rank;

    for (uint32_t k = 0; k < n; k++) {
        uint32_t owner = k == 0 ? rank : nx_ring_up(rank, n, k);

        nx_sched_encode(d->s, piece(d, NX_BUF_SEND, owner), coded(d, OUT, k, owner),
                        k == 0 ? before(d, ADD, rank) : before(d, SEND, k), NX_NONE);
    }
    for (uint32_t k = 1; k < n; k++) {
        uint32_t owner = nx_ring_up(rank, n, k);

        nx_sched_send(d->s, owner, tag, coded(d, OUT, k, owner), step(d, ENCODE, k), NX_NONE);
    }
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);

        nx_sched_recv(d->s, peer, tag, coded(d, IN, k, rank), before(d, ADD, peer), NX_NONE);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = nx_ring_down(i, n, rank);
        int32_t last = i == 0 ? step(d, ENCODE, 0) : step(d, ADD, i - 1); /* in place, SEND is free now */

        nx_sched_decode(d->s, coded(d, k == 0 ? OUT : IN, k, rank), i, piece(d, NX_BUF_RECV, rank), i != 0, last,
                        k == 0 ? NX_NONE : step(d, RECV, k));
    }
}

/* The sum, once more encoded, to everybody and to ourselves. */
static void spread(const struct dense *d, uint32_t tag)
{
    uint32_t n = d->shape->n;
    uint32_t rank = d->shape->rank;
    struct nx_slice own = piece(d, NX_BUF_RECV, rank);
    struct nx_slice sum = coded(d, SUM, 0, rank);
    int32_t sent;

    nx_sched_encode(d->s, own, sum, step(d, ADD, n - 1), n == 1 ? before(d, DECODE_OWN, 0) : before(d, SENT, n - 1));
    sent = nx_sched_decode(d->s, sum, rank, own, false, step(d, ENCODE_SUM, 0), NX_NONE);
    for (uint32_t k = 1; k < n; k++)
        nx_sched_send(d->s, nx_ring_up(rank, n, k), tag, sum, step(d, ENCODE_SUM, 0), NX_NONE);
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);

        nx_sched_recv(d->s, peer, tag, coded(d, SUMS, k, peer), before(d, DECODE, k), NX_NONE);
    }
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);

        nx_sched_decode(d->s, coded(d, SUMS, k, peer), peer, piece(d, NX_BUF_RECV, peer), false, step(d, RECV_SUM, k),
                        step(d, ENCODE, k)); /* in place, the piece has gone */
    }
    for (uint32_t k = 1; k < n; k++)
        sent = nx_sched_join(d->s, sent, step(d, SEND_SUM, k));
}

void nx_build_all_reduce_compressed(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t unit = nx_compress_unit(&shape->compress);
    struct dense d = {.s = s, .shape = shape};
    size_t longest;
    uint32_t segments = 0;

    if (nx_compress_is_sparse(&shape->compress)) {
        nx_build_all_reduce_sparse(s, shape);
        return;
    }
    longest = slice(shape, 0).count;
    d.width = (shape->segment + unit - 1) / unit * unit;
    d.width = longest < d.width ? longest : d.width;
    d.words = nx_compress_words(&shape->compress, d.width);
    do {
        d.segment = segments;
        d.begin = (int32_t)s->count;
        gather_and_add(&d, 2 * segments);
        spread(&d, 2 * segments + 1);
        if (++segments >= NX_WINDOW)
            d.window = NX_WINDOW * ((int32_t)s->count - d.begin);
    } while (segments * d.width < longest && s->failure == NULL);
}
