/* coll/scan_chain.c - the sum goes from rank to rank, cut into segments; each rank keeps what it sees.
 *
 * n - 1 rounds for the first segment, one more for each other; nobody sends more than S.  By rank.  For large vectors.
 * Pure; see build.h. */
#include "coll/build.h"

struct chain {
    struct nx_sched *s;
    const struct nx_shape *shape;
    size_t segment;
    int32_t sent[NX_WINDOW]; /* per segment of the window, the step that sent it on */
    int32_t kept[NX_WINDOW]; /* exclusive, in place: the step that put the result into RECV */
};

static struct nx_slice slot(const struct chain *c, size_t count)
{
    return (struct nx_slice){.buf = NX_BUF_SCRATCH, .off = c->segment % NX_WINDOW * c->shape->segment, .count = count};
}

static int32_t give(const struct chain *c, struct nx_slice from, int32_t a0, int32_t a1)
{
    return nx_sched_send(c->s, c->shape->rank + 1, (uint32_t)c->segment, from, a0, a1);
}

static int32_t take(const struct chain *c, struct nx_slice to, int32_t after)
{
    return nx_sched_recv(c->s, c->shape->rank - 1, (uint32_t)c->segment, to, after, NX_NONE);
}

static void add_inclusive(struct chain *c, struct nx_range range)
{
    const struct nx_shape *shape = c->shape;
    int32_t *sent = &c->sent[c->segment % NX_WINDOW];
    int32_t *kept = &c->kept[c->segment % NX_WINDOW];

    if (shape->rank == 0) {
        *sent = give(c, nx_slice(NX_BUF_SEND, range), *sent, NX_NONE);
        return;
    }
    *kept = nx_build_take(c->s, shape, shape->rank - 1, (uint32_t)c->segment, range, *kept);
    if (shape->rank + 1 < shape->n)
        *sent = give(c, nx_slice(NX_BUF_RECV, range), *kept, *sent);
}

/* Passes on the sum with our own part, keeps it without. */
static void add_exclusive(struct chain *c, struct nx_range range)
{
    const struct nx_shape *shape = c->shape;
    int32_t *sent = &c->sent[c->segment % NX_WINDOW];
    int32_t *kept = &c->kept[c->segment % NX_WINDOW];
    struct nx_slice own = nx_slice(NX_BUF_SEND, range);
    struct nx_slice result = nx_slice(NX_BUF_RECV, range);
    struct nx_slice other = slot(c, range.count);
    int32_t got, added;

    if (shape->rank == 0) {
        *sent = give(c, own, *sent, NX_NONE);
        nx_sched_fill(c->s, result, shape->in_place ? *sent : NX_NONE, NX_NONE);
    } else if (shape->rank == shape->n - 1) {
        *kept = take(c, result, *kept);
    } else if (shape->in_place) { /* where our part lies grows what we pass on */
        got = take(c, other, *kept);
        added = nx_sched_reduce(c->s, other, result, got, NX_NONE);
        *sent = give(c, result, added, NX_NONE);
        *kept = nx_sched_copy(c->s, other, result, *sent, NX_NONE);
    } else {
        got = take(c, result, *sent);
        added = nx_sched_copy(c->s, own, other, *sent, NX_NONE);
        added = nx_sched_reduce(c->s, result, other, got, added);
        *sent = give(c, other, added, NX_NONE);
    }
}

static void build(struct nx_sched *s, const struct nx_shape *shape, void (*add)(struct chain *c, struct nx_range range))
{
    struct chain c = {.s = s, .shape = shape};
    size_t at = 0;

    for (size_t i = 0; i < NX_WINDOW; i++)
        c.sent[i] = c.kept[i] = NX_NONE;
    do {
        add(&c, nx_piece(nx_whole(shape), at, shape->segment));
        at += shape->segment;
        c.segment++;
    } while (at < shape->count && s->failure == NULL);
}

void nx_build_scan_chain(struct nx_sched *s, const struct nx_shape *shape)
{
    if (shape->n != 1)
        build(s, shape, add_inclusive);
    if (shape->rank == 0)
        nx_build_alone(s, shape);
}

void nx_build_exclusive_scan_chain(struct nx_sched *s, const struct nx_shape *shape)
{
    if (shape->n != 1)
        build(s, shape, add_exclusive);
    else
        nx_sched_fill(s, nx_slice(NX_BUF_RECV, nx_whole(shape)), NX_NONE, NX_NONE);
}
