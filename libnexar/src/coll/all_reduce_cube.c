/* coll/all_reduce_cube.c - halves the vector with each neighbour of a hypercube without summing, sums a slice by rank,
 * then doubles what everybody has.
 *
 * 2 log2 n rounds of one message; each rank sends and receives (log2 n / 2 + 1) S.  By rank.  Scratch: up to
 * (log2 n) S.  Between small vectors, which are sent whole, and large ones, where bytes count more than messages.  Only
 * for 2, 4, 8 and 16 ranks; others run the schedule of bruck.
 * Pure; see build.h. */
#include "coll/build.h"

enum { RANKS_MAX = 16 };

/* What one rank has given to the sum of the slices that are ours now. */
struct piece {
    uint32_t from;
    struct nx_slice at;
    int32_t ready; /* the step that brings it; NX_NONE: it is there */
};

struct cube {
    struct nx_sched *s;
    const struct nx_shape *shape;
    struct piece piece[RANKS_MAX];
    uint32_t pieces;
    uint32_t low, high; /* the slices that are ours now */
    size_t used;        /* of scratch */
    int32_t read;       /* when this step is done, nothing more is read from where sums of others will be */
    uint32_t tag;
};

static size_t start_of(const struct nx_shape *shape, uint32_t slice)
{
    return slice == shape->n ? shape->count : nx_chunk(nx_whole(shape), shape->n, slice).off;
}

static struct nx_slice take_scratch(struct cube *c, size_t count)
{
    struct nx_slice out = {.buf = NX_BUF_SCRATCH, .off = c->used, .count = count};

    c->used += count;
    return out;
}

/* The part of a piece that lies in these slices. */
static struct nx_slice part_of(const struct cube *c, const struct piece *p, uint32_t low, uint32_t high)
{
    return (struct nx_slice){.buf = p->at.buf,
                             .off = p->at.off + start_of(c->shape, low) - start_of(c->shape, c->low),
                             .count = start_of(c->shape, high) - start_of(c->shape, low)};
}

/* Sends all pieces of these slices, in one message. */
static void send_pieces(struct cube *c, uint32_t peer, uint32_t low, uint32_t high)
{
    struct nx_slice all = part_of(c, &c->piece[0], low, high), to = all;
    int32_t last = NX_NONE;

    if (c->pieces > 1) {
        all = take_scratch(c, c->pieces * all.count);
        to.buf = NX_BUF_SCRATCH;
        for (uint32_t i = 0; i < c->pieces; i++) {
            to.off = all.off + i * to.count;
            last = nx_sched_copy(c->s, part_of(c, &c->piece[i], low, high), to, c->piece[i].ready, last);
        }
    }
    last = nx_sched_send(c->s, peer, c->tag, all, last, NX_NONE);
    if (c->shape->in_place)
        c->read = c->read == NX_NONE ? last : nx_sched_join(c->s, c->read, last);
}

/* One half goes to a neighbour, and the other comes. */
static void halve(struct cube *c, uint32_t distance)
{
    uint32_t peer = c->shape->rank ^ distance, middle = c->low + distance, n = c->pieces;
    bool upper = (c->shape->rank & distance) != 0;
    uint32_t low = upper ? middle : c->low, high = upper ? c->high : middle;
    struct nx_slice come;
    size_t each;
    int32_t got;

    send_pieces(c, peer, upper ? c->low : middle, upper ? middle : c->high);
    each = start_of(c->shape, high) - start_of(c->shape, low);
    come = take_scratch(c, n * each);
    got = nx_sched_recv(c->s, peer, c->tag++, come, NX_NONE, NX_NONE);
    for (uint32_t i = 0; i < n; i++) {
        c->piece[i].at = part_of(c, &c->piece[i], low, high);
        /* The neighbour has put its pieces in the same order. */
        c->piece[c->pieces++] = (struct piece){.from = c->piece[i].from ^ distance,
                                               .at = {.buf = NX_BUF_SCRATCH, .off = come.off + i * each, .count = each},
                                               .ready = got};
    }
    c->low = low;
    c->high = high;
}

/* x + y has the bits of y + x, so in place the sum grows where the first piece is, until it is our own turn. */
static int32_t add_up(struct cube *c)
{
    const struct piece *of[RANKS_MAX];
    struct nx_slice result = nx_slice(NX_BUF_RECV, nx_chunk(nx_whole(c->shape), c->shape->n, c->shape->rank));
    struct nx_slice sum;
    int32_t last;

    for (uint32_t i = 0; i < c->pieces; i++)
        of[c->piece[i].from] = &c->piece[i];
    sum = c->shape->in_place && c->shape->rank != 0 ? of[0]->at : result;
    last = c->shape->in_place ? of[0]->ready : nx_sched_copy(c->s, of[0]->at, result, of[0]->ready, NX_NONE);
    for (uint32_t i = 1; i < c->pieces; i++) {
        if (i == c->shape->rank && c->shape->in_place) {
            last = nx_sched_reduce(c->s, sum, result, last, NX_NONE);
            sum = result;
        } else {
            last = nx_sched_reduce(c->s, of[i]->at, sum, last, of[i]->ready);
        }
    }
    return last;
}

static void double_up(struct cube *c, int32_t have)
{
    const struct nx_shape *shape = c->shape;

    for (uint32_t d = 1; d < shape->n; d *= 2, c->tag++) {
        uint32_t peer = shape->rank ^ d, own = shape->rank & ~(d - 1);
        struct nx_range ours = {.off = start_of(shape, own)}, theirs = {.off = start_of(shape, own ^ d)};
        int32_t got;

        ours.count = start_of(shape, own + d) - ours.off;
        theirs.count = start_of(shape, (own ^ d) + d) - theirs.off;
        nx_sched_send(c->s, peer, c->tag, nx_slice(NX_BUF_RECV, ours), have, NX_NONE);
        got = nx_sched_recv(c->s, peer, c->tag, nx_slice(NX_BUF_RECV, theirs), c->read, NX_NONE);
        if (2 * d < shape->n)
            have = nx_sched_join(c->s, have, got);
    }
}

void nx_build_all_reduce_cube(struct nx_sched *s, const struct nx_shape *shape)
{
    struct cube c = {.s = s, .shape = shape, .pieces = 1, .high = shape->n, .read = NX_NONE};

    if (shape->n == 1 || shape->n > RANKS_MAX || nx_pow2_floor(shape->n) != shape->n) {
        nx_build_all_reduce_bruck(s, shape);
        return;
    }
    c.piece[0] = (struct piece){.from = shape->rank, .at = nx_slice(NX_BUF_SEND, nx_whole(shape)), .ready = NX_NONE};
    for (uint32_t d = shape->n / 2; d >= 1; d /= 2)
        halve(&c, d);
    double_up(&c, add_up(&c));
}
