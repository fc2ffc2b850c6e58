/* coll/all_reduce_rd.c - recursive doubling: in each round partners exchange all they have and both add.
 *
 * log2 n rounds of S each, two more where n is no power of two (folding, pattern.h).  Order of sums: a binary tree over
 * ranks in a row, e.g. ((x0 + x1) + (x2 + x3)) + ((x4 + x5) + (x6 + x7)); idle ranks pair with their neighbour first.
 * The sum moves to and fro between RECV and scratch: the partner's part is received beside ours and the two are added
 * there, so that nobody waits for his own send.
 * Pure; see build.h. */
#include "coll/build.h"

struct rd {
    struct nx_sched *s;
    const struct nx_shape *shape;
    struct nx_slice have;
    int32_t since;          /* the step that made it */
    int32_t sent[NX_BUFS];  /* the last step that sends from a buffer */
    int32_t added[NX_BUFS]; /* the last step that reads from it to add */
    uint32_t merges;        /* to come; the last one ends in RECV */
};

static void merge(struct rd *r, uint32_t partner, uint32_t tag)
{
    enum nx_buf to = r->merges-- % 2 == 1 ? NX_BUF_RECV : NX_BUF_SCRATCH;
    struct nx_slice sum = nx_slice(to, nx_whole(r->shape));
    int32_t got = nx_sched_recv(r->s, partner, tag, sum, r->sent[to], r->added[to]);

    r->since = nx_sched_reduce(r->s, r->have, sum, got, r->since);
    r->added[r->have.buf] = r->since;
    r->have = sum;
}

/* Where the sum begins: in SEND, unless the first merge would overwrite it. */
static void begin(struct rd *r)
{
    r->have = nx_slice(r->shape->in_place ? NX_BUF_RECV : NX_BUF_SEND, nx_whole(r->shape));
    r->since = NX_NONE;
    for (int i = 0; i < NX_BUFS; i++)
        r->sent[i] = r->added[i] = NX_NONE;
    if (r->shape->in_place && r->merges % 2 == 1) {
        struct nx_slice kept = nx_slice(NX_BUF_SCRATCH, nx_whole(r->shape));

        r->since = nx_sched_copy(r->s, r->have, kept, NX_NONE, NX_NONE);
        r->added[NX_BUF_RECV] = r->since;
        r->have = kept;
    }
}

void nx_build_all_reduce_rd(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_fold fold = nx_fold(shape->n);
    uint32_t rank = shape->rank;
    uint32_t rounds = nx_log2(fold.workers);
    uint32_t worker = nx_fold_worker(fold, rank);
    int host = nx_fold_is_host(fold, rank);
    struct rd r = {.s = s, .shape = shape, .merges = rounds + (host ? 1 : 0)};

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    if (nx_fold_is_idle(fold, rank)) {
        int32_t sent = nx_sched_send(s, rank + 1, 0, nx_slice(NX_BUF_SEND, nx_whole(shape)), NX_NONE, NX_NONE);

        nx_sched_recv(s, rank + 1, rounds + 1, nx_slice(NX_BUF_RECV, nx_whole(shape)), shape->in_place ? sent : NX_NONE,
                      NX_NONE);
        return;
    }
    begin(&r);
    if (host)
        merge(&r, rank - 1, 0);
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t partner = nx_fold_rank(fold, worker ^ (UINT32_C(1) << i));

        r.sent[r.have.buf] = nx_sched_send(s, partner, i + 1, r.have, r.since, NX_NONE);
        merge(&r, partner, i + 1);
    }
    if (host)
        nx_sched_send(s, rank - 1, rounds + 1, r.have, r.since, NX_NONE);
}
