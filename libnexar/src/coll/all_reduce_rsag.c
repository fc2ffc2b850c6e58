/* coll/all_reduce_rsag.c - halving and doubling: partners split what both have and sum a half each, then give it back.
 *
 * 2 log2 n rounds; 2 (n - 1) / n S for a power of two, else idle ranks (folding, pattern.h) and their hosts send S more
 * and take two rounds more.  Order of sums: a binary tree as in all_reduce_rd.c, but partners far apart first.
 * Pure; see build.h. */
#include "coll/build.h"

struct rsag {
    struct nx_sched *s;
    const struct nx_shape *shape;
    struct nx_fold fold;
    uint32_t worker;
    uint32_t from, to; /* the chunks that we have: of `workers` chunks */
    enum nx_buf buf;   /* where they lie */
    int32_t since;     /* the step that made them */
    int32_t gave[32];  /* per round, the step that sent the half we gave away */
};

static struct nx_range chunks(const struct rsag *r, uint32_t from, uint32_t to)
{
    return nx_chunks(nx_whole(r->shape), r->fold.workers, from, to);
}

static int32_t take(struct rsag *r, uint32_t peer, uint32_t tag, struct nx_range range)
{
    if (r->buf == NX_BUF_SEND)
        return nx_build_take(r->s, r->shape, peer, tag, range, r->since);
    return nx_sched_recv_reduce(r->s, peer, tag, nx_slice(NX_BUF_RECV, range), r->since, NX_NONE);
}

static void halve(struct rsag *r, uint32_t mask, uint32_t round)
{
    uint32_t partner = nx_fold_rank(r->fold, r->worker ^ mask);
    uint32_t middle = r->from + mask;
    int low = (r->worker & mask) == 0;
    struct nx_range give = low ? chunks(r, middle, r->to) : chunks(r, r->from, middle);
    struct nx_range keep = low ? chunks(r, r->from, middle) : chunks(r, middle, r->to);

    r->gave[round] = nx_sched_send(r->s, partner, round + 1, nx_slice(r->buf, give), r->since, NX_NONE);
    if (r->buf == NX_BUF_SEND && !r->shape->in_place)
        r->gave[round] = NX_NONE; /* nobody writes to SEND */
    r->since = take(r, partner, round + 1, keep);
    r->buf = NX_BUF_RECV;
    if (low)
        r->to = middle;
    else
        r->from = middle;
}

/* `last`: nothing comes after it. */
static void double_up(struct rsag *r, uint32_t mask, uint32_t round, uint32_t tag, bool last)
{
    uint32_t partner = nx_fold_rank(r->fold, r->worker ^ mask);
    int low = (r->worker & mask) == 0;
    uint32_t from = low ? r->to : r->from - mask;
    int32_t got;

    nx_sched_send(r->s, partner, tag, nx_slice(NX_BUF_RECV, chunks(r, r->from, r->to)), r->since, NX_NONE);
    got =
        nx_sched_recv(r->s, partner, tag, nx_slice(NX_BUF_RECV, chunks(r, from, from + mask)), r->gave[round], NX_NONE);
    if (!last)
        r->since = nx_sched_join(r->s, r->since, got);
    if (low)
        r->to += mask;
    else
        r->from -= mask;
}

void nx_build_all_reduce_rsag(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_fold fold = nx_fold(shape->n);
    uint32_t rank = shape->rank;
    uint32_t rounds = nx_log2(fold.workers);
    int host = nx_fold_is_host(fold, rank);
    struct rsag r = {.s = s,
                     .shape = shape,
                     .fold = fold,
                     .worker = nx_fold_worker(fold, rank),
                     .to = fold.workers,
                     .buf = NX_BUF_SEND,
                     .since = NX_NONE};

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    s->tags = 2 * rounds + 2;
    if (nx_fold_is_idle(fold, rank)) {
        int32_t sent = nx_sched_send(s, rank + 1, 0, nx_slice(NX_BUF_SEND, nx_whole(shape)), NX_NONE, NX_NONE);

        nx_sched_recv(s, rank + 1, 2 * rounds + 1, nx_slice(NX_BUF_RECV, nx_whole(shape)),
                      shape->in_place ? sent : NX_NONE, NX_NONE);
        return;
    }
    if (host) {
        r.since = take(&r, rank - 1, 0, nx_whole(shape));
        r.buf = NX_BUF_RECV;
    }
    for (uint32_t i = 0; i < rounds; i++)
        halve(&r, fold.workers >> (i + 1), i);
    for (uint32_t i = rounds; i-- > 0;)
        double_up(&r, fold.workers >> (i + 1), i, 2 * rounds - i, i == 0 && !host);
    if (host)
        nx_sched_send(s, rank - 1, 2 * rounds + 1, nx_slice(NX_BUF_RECV, nx_whole(shape)), r.since, NX_NONE);
}
