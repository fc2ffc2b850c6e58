/* coll/reduce_scatter_halving.c - recursive halving: partners split what both have and add a half each.
 *
 * log2 n rounds; (n - 1) / n S for a power of two, else idle ranks (folding, pattern.h) give S to their hosts first and
 * get their blocks last.  Order of sums: a binary tree over the ranks, partners far apart first; idle ranks pair with
 * their neighbour before that.  Scratch: S.
 * Pure; see build.h. */
#include "coll/build.h"

struct halving {
    struct nx_sched *s;
    const struct nx_shape *shape;
    struct nx_fold fold;
    uint32_t worker;
    uint32_t from, to; /* the workers for whose ranks we have sums */
    enum nx_buf buf;   /* where they lie: SEND as long as there is nothing added yet, then scratch, at the same place */
    int32_t since;     /* the step that made them */
};

/* The blocks of the ranks first .. last - 1. */
static struct nx_range blocks(const struct nx_shape *shape, uint32_t first, uint32_t last)
{
    struct nx_range begin = nx_send_block(shape, first);
    struct nx_range end = nx_send_block(shape, last - 1);

    return (struct nx_range){.off = begin.off, .count = end.off + end.count - begin.off};
}

static struct nx_range work(const struct halving *h, uint32_t from, uint32_t to)
{
    return blocks(h->shape, nx_fold_first(h->fold, from), nx_fold_first(h->fold, to));
}

/* Adds what comes from a peer to what we have of `range`. */
static void take(struct halving *h, uint32_t peer, uint32_t tag, struct nx_range range)
{
    struct nx_slice sum = nx_slice(NX_BUF_SCRATCH, range);

    if (h->buf == NX_BUF_SCRATCH) {
        h->since = nx_sched_recv_reduce(h->s, peer, tag, sum, h->since, NX_NONE);
        return;
    }
    h->since = nx_sched_recv(h->s, peer, tag, sum, NX_NONE, NX_NONE);
    h->since = nx_sched_reduce(h->s, nx_slice(NX_BUF_SEND, range), sum, h->since, NX_NONE);
    h->buf = NX_BUF_SCRATCH;
}

static void halve(struct halving *h, uint32_t mask, uint32_t tag)
{
    uint32_t partner = nx_fold_rank(h->fold, h->worker ^ mask);
    uint32_t middle = h->from + mask;
    bool low = (h->worker & mask) == 0;
    struct nx_range give = low ? work(h, middle, h->to) : work(h, h->from, middle);
    struct nx_range keep = low ? work(h, h->from, middle) : work(h, middle, h->to);

    nx_sched_send(h->s, partner, tag, nx_slice(h->buf, give), h->since, NX_NONE);
    take(h, partner, tag, keep);
    if (low)
        h->to = middle;
    else
        h->from = middle;
}

void nx_build_reduce_scatter_halving(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_fold fold = nx_fold(shape->n);
    uint32_t rank = shape->rank;
    struct nx_range own = nx_send_block(shape, rank);
    struct nx_slice result = {.buf = NX_BUF_RECV, .off = shape->in_place ? own.off : 0, .count = own.count};
    struct halving h = {.s = s,
                        .shape = shape,
                        .fold = fold,
                        .worker = nx_fold_worker(fold, rank),
                        .to = fold.workers,
                        .buf = NX_BUF_SEND,
                        .since = NX_NONE};
    uint32_t tag = 1;

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    if (nx_fold_is_idle(fold, rank)) {
        struct nx_slice all = nx_slice(NX_BUF_SEND, blocks(shape, 0, shape->n));
        int32_t sent = nx_sched_send(s, rank + 1, 0, all, NX_NONE, NX_NONE);

        nx_sched_recv(s, rank + 1, nx_log2(fold.workers) + 1, result, shape->in_place ? sent : NX_NONE, NX_NONE);
        return;
    }
    if (nx_fold_is_host(fold, rank))
        take(&h, rank - 1, 0, blocks(shape, 0, shape->n));
    for (uint32_t mask = fold.workers / 2; mask > 0; mask /= 2)
        halve(&h, mask, tag++);
    nx_sched_copy(s, nx_slice(NX_BUF_SCRATCH, own), result, h.since, NX_NONE);
    if (nx_fold_is_host(fold, rank))
        nx_sched_send(s, rank - 1, tag, nx_slice(NX_BUF_SCRATCH, nx_send_block(shape, rank - 1)), h.since, NX_NONE);
}
