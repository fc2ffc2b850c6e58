/* coll/reduce_scatter_ring.c - partial sums travel round the ring, each to the rank whose block it is.
 *
 * n - 1 rounds of a block each; each rank sends (n - 1) / n S, and only to its neighbour.  Cut into laps of a segment
 * of each block, so that the reduction of one lap overlaps the flight of the next.  Order of sums: block i begins at
 * rank i + 1 and goes round, ((x_i+1 + x_i+2) + ...) + x_i.  Scratch: two segments for each lap under way.
 * Pure; see build.h. */
#include "coll/build.h"

struct lap {
    size_t number;
    size_t width;    /* most elements of a segment */
    int32_t sent[2]; /* the last step that sent from each of its two slots */
    int32_t end;     /* its result, of the last lap in this place of the window */
};

static struct nx_range segment(const struct nx_shape *shape, const struct lap *lap, uint32_t block)
{
    return nx_piece(nx_send_block(shape, block), lap->number * lap->width, lap->width);
}

static struct nx_slice slot(const struct lap *lap, uint32_t which, size_t count)
{
    size_t place = 2 * (lap->number % NX_WINDOW) + which;

    return (struct nx_slice){.buf = NX_BUF_SCRATCH, .off = place * lap->width, .count = count};
}

/* The last round: the block is our own. */
static int32_t take_result(struct nx_sched *s, const struct nx_shape *shape, const struct lap *lap, uint32_t tag)
{
    uint32_t prev = nx_ring_down(shape->rank, shape->n, 1);
    struct nx_range piece = segment(shape, lap, shape->rank);
    struct nx_slice result = {.buf = NX_BUF_RECV, .count = piece.count};
    int32_t got;

    if (shape->in_place) {
        result.off = piece.off;
        return nx_sched_recv_reduce(s, prev, tag, result, lap->end, NX_NONE);
    }
    result.off = piece.off - nx_send_block(shape, shape->rank).off;
    got = nx_sched_recv(s, prev, tag, result, lap->end, NX_NONE);
    return nx_sched_reduce(s, nx_slice(NX_BUF_SEND, piece), result, got, NX_NONE);
}

static void add_lap(struct nx_sched *s, const struct nx_shape *shape, struct lap *lap)
{
    uint32_t n = shape->n;
    uint32_t next = nx_ring_up(shape->rank, n, 1);
    uint32_t prev = nx_ring_down(shape->rank, n, 1);
    uint32_t tag = (uint32_t)lap->number * (n - 1);
    struct nx_slice out = nx_slice(NX_BUF_SEND, segment(shape, lap, prev));
    int32_t have = lap->end;

    for (uint32_t r = 0; r + 2 < n; r++) {
        struct nx_range piece = segment(shape, lap, nx_ring_down(shape->rank, n, r + 2));
        struct nx_slice in = slot(lap, r % 2, piece.count);
        int32_t sent = nx_sched_send(s, next, tag + r, out, have, NX_NONE);

        if (r != 0)
            lap->sent[(r - 1) % 2] = sent;
        have = nx_sched_recv(s, prev, tag + r, in, lap->sent[r % 2], NX_NONE);
        have = nx_sched_reduce(s, nx_slice(NX_BUF_SEND, piece), in, have, NX_NONE);
        out = in;
    }
    have = nx_sched_send(s, next, tag + n - 2, out, have, NX_NONE);
    if (n > 2)
        lap->sent[(n - 3) % 2] = have;
    lap->end = take_result(s, shape, lap, tag + n - 2);
}

void nx_build_reduce_scatter_ring(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t longest = nx_longest_send_block(shape);
    struct lap laps[NX_WINDOW];
    size_t number = 0;

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    for (size_t i = 0; i < NX_WINDOW; i++)
        laps[i] = (struct lap){
            .width = longest < shape->segment ? longest : shape->segment, .sent = {NX_NONE, NX_NONE}, .end = NX_NONE};
    do {
        struct lap *lap = &laps[number % NX_WINDOW];

        lap->number = number++;
        add_lap(s, shape, lap);
    } while (number * laps[0].width < longest && s->failure == NULL);
}
