/* coll/all_reduce_direct.c - each rank owns a slice: it gets everyone's piece of it, sums, and sends the sum to all.
 *
 * Two rounds per segment; each rank sends and receives 2 (n - 1) / n S, as a ring does, but with 2 latencies instead of
 * 2 (n - 1).  By rank.  Scratch: NX_WINDOW segments of each peer, whatever S; a segment's pieces are received when the
 * window has moved on to it, so memory in flight is bounded on both sides.
 * Pure; see build.h. */
#include "coll/build.h"

/* All segments have the same steps, so that a step's number tells those of the segments before it:
 * n - 1 sends of pieces, receives of pieces, reductions, sends of the sum, receives of sums. */
struct direct {
    struct nx_sched *s;
    const struct nx_shape *shape;
    size_t width;   /* most elements of a piece */
    size_t segment; /* now */
    int32_t begin;  /* number of its first step */
    int32_t window; /* steps of a whole window, or 0 while there is none behind */
};

/* The current segment of the slice that `owner` owns. */
static struct nx_range piece(const struct direct *d, uint32_t owner)
{
    return nx_piece(nx_chunk(nx_whole(d->shape), d->shape->n, owner), d->segment * d->width, d->width);
}

/* Where a peer's piece of our slice waits to be summed. */
static struct nx_slice slot(const struct direct *d, uint32_t peer)
{
    uint32_t n = d->shape->n;
    size_t place = d->segment % NX_WINDOW * (n - 1) + nx_ring_down(peer, n, d->shape->rank) - 1;

    return (struct nx_slice){.buf = NX_BUF_SCRATCH, .off = place * d->width, .count = piece(d, d->shape->rank).count};
}

static int32_t piece_received(const struct direct *d, uint32_t peer)
{
    int32_t peers = (int32_t)d->shape->n - 1;

    return d->begin + peers + (int32_t)nx_ring_down(peer, d->shape->n, d->shape->rank) - 1;
}

/* Adds up our slice in the order of ranks; returns the last step.  x + y has the bits of y + x, so the sum may grow in
 * a peer's slot until our own turn, in place, or begin with x1 on rank 0, not in place: nothing is ever copied. */
static int32_t add_sum(const struct direct *d)
{
    uint32_t rank = d->shape->rank;
    bool in_place = d->shape->in_place;
    uint32_t first = rank == 0 && !in_place ? 1 : 0;
    struct nx_slice own = nx_slice(in_place ? NX_BUF_RECV : NX_BUF_SEND, piece(d, rank));
    struct nx_slice sum = nx_slice(NX_BUF_RECV, piece(d, rank));
    int32_t last = first == rank ? NX_NONE : piece_received(d, first);

    if (in_place && rank != 0)
        sum = slot(d, 0);
    for (uint32_t i = 0; i < d->shape->n; i++) {
        if (i == first)
            continue;
        if (i != rank) {
            last = nx_sched_reduce(d->s, slot(d, i), sum, last, piece_received(d, i));
        } else if (in_place) {
            last = nx_sched_reduce(d->s, sum, own, last, NX_NONE);
            sum = own;
        } else {
            last = nx_sched_reduce(d->s, own, sum, last, NX_NONE);
        }
    }
    return last;
}

static void add_segment(struct direct *d)
{
    struct nx_sched *s = d->s;
    uint32_t n = d->shape->n;
    uint32_t rank = d->shape->rank;
    uint32_t direct_to = d->shape->in_place ? rank : rank == 0 ? 1 : 0; /* whose piece is the begin of the sum */
    uint32_t tag = (uint32_t)(2 * d->segment);
    int32_t peers = (int32_t)n - 1;
    int32_t moved = d->window == 0 ? NX_NONE : d->begin - d->window + 3 * peers - 1; /* the sum of a window ago */
    int32_t summed;

    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);
        int32_t before = d->window == 0 ? NX_NONE : d->begin - d->window + (int32_t)k - 1;

        nx_sched_send(s, peer, tag, nx_slice(NX_BUF_SEND, piece(d, peer)), before, NX_NONE);
    }
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);
        struct nx_slice to = peer == direct_to ? nx_slice(NX_BUF_RECV, piece(d, rank)) : slot(d, peer);

        nx_sched_recv(s, peer, tag, to, moved, NX_NONE);
    }
    summed = add_sum(d);
    for (uint32_t k = 1; k < n; k++)
        nx_sched_send(s, nx_ring_up(rank, n, k), tag + 1, nx_slice(NX_BUF_RECV, piece(d, rank)), summed, NX_NONE);
    for (uint32_t k = 1; k < n; k++) {
        uint32_t peer = nx_ring_up(rank, n, k);

        /* In place the sum comes to where our piece lies; if not, this keeps receives within the window. */
        nx_sched_recv(s, peer, tag + 1, nx_slice(NX_BUF_RECV, piece(d, peer)), d->begin + (int32_t)k - 1, NX_NONE);
    }
}

void nx_build_all_reduce_direct(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t longest = nx_chunk(nx_whole(shape), shape->n, 0).count;
    struct direct d = {.s = s, .shape = shape, .width = longest < shape->segment ? longest : shape->segment};

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    do {
        d.begin = (int32_t)s->count;
        d.window = d.segment < NX_WINDOW ? 0 : NX_WINDOW * 5 * ((int32_t)shape->n - 1);
        add_segment(&d);
        d.segment++;
    } while (d.segment * d.width < longest && s->failure == NULL);
}
