/* coll/reduce_chain.c - the sum goes from rank to rank, cut into segments, and from the last one to the root.
 *
 * n rounds for the first segment, one more for each other; no rank sends more than S or, the root, receives more than
 * 2 S.  By rank.  For large vectors: least bytes for everybody, most of them on their way at the same time.
 * Pure; see build.h. */
#include "coll/build.h"

struct chain {
    struct nx_sched *s;
    const struct nx_shape *shape;
    int32_t sent[NX_WINDOW]; /* per segment of the window, the step that sent it on */
    int32_t came[NX_WINDOW]; /* at the root, the step that received the result */
};

/* Adds our part of a segment to what the rank before us has, and sends it on. */
static int32_t pass(const struct chain *c, size_t segment, struct nx_range range)
{
    const struct nx_shape *shape = c->shape;
    uint32_t next = shape->rank == shape->n - 1 ? shape->root : shape->rank + 1;
    uint32_t tag = (uint32_t)(2 * segment);
    size_t lap = segment % NX_WINDOW;
    struct nx_slice own = nx_slice(NX_BUF_SEND, range);
    struct nx_slice slot = {.buf = NX_BUF_SCRATCH, .off = lap * shape->segment, .count = range.count};
    int32_t got;

    if (shape->rank == 0)
        return nx_sched_send(c->s, next, tag, own, c->sent[lap], NX_NONE);
    got = nx_sched_recv(c->s, shape->rank - 1, tag, slot, c->sent[lap], NX_NONE);
    got = nx_sched_reduce(c->s, own, slot, got, NX_NONE);
    return nx_sched_send(c->s, next, shape->rank == shape->n - 1 ? tag + 1 : tag, slot, got, NX_NONE);
}

static void add_segment(struct chain *c, size_t segment, struct nx_range range)
{
    const struct nx_shape *shape = c->shape;
    uint32_t tag = (uint32_t)(2 * segment);
    size_t lap = segment % NX_WINDOW;

    if (shape->rank == shape->root && shape->root == shape->n - 1) {
        c->came[lap] = nx_build_take(c->s, shape, shape->rank - 1, tag, range, c->came[lap]);
        return;
    }
    c->sent[lap] = pass(c, segment, range);
    if (shape->rank == shape->root) /* in place our own part must have been added, or sent */
        c->came[lap] = nx_sched_recv(c->s, shape->n - 1, tag + 1, nx_slice(NX_BUF_RECV, range), c->sent[lap], NX_NONE);
}

void nx_build_reduce_chain(struct nx_sched *s, const struct nx_shape *shape)
{
    struct chain c = {.s = s, .shape = shape};
    size_t at = 0;

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    for (size_t i = 0; i < NX_WINDOW; i++)
        c.sent[i] = c.came[i] = NX_NONE;
    do {
        add_segment(&c, at / shape->segment, nx_piece(nx_whole(shape), at, shape->segment));
        at += shape->segment;
    } while (at < shape->count && s->failure == NULL);
}
