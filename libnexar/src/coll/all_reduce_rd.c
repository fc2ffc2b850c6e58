/* coll/all_reduce_rd.c - recursive doubling: in each round partners exchange all they have and both add.
 *
 * log2 n rounds of S each, two more where n is no power of two (folding, pattern.h).  Order of sums: a binary tree over
 * ranks in a row, e.g. ((x0 + x1) + (x2 + x3)) + ((x4 + x5) + (x6 + x7)); idle ranks pair with their neighbour first.
 * Pure; see build.h. */
#include "coll/merge.h"

void nx_build_all_reduce_rd(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_fold fold = nx_fold(shape->n);
    uint32_t rank = shape->rank;
    uint32_t rounds = nx_log2(fold.workers);
    uint32_t worker = nx_fold_worker(fold, rank);
    int host = nx_fold_is_host(fold, rank);
    struct nx_merge m = {.s = s, .shape = shape, .merges = rounds + (host ? 1 : 0)};

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    s->tags = rounds + 2;
    if (nx_fold_is_idle(fold, rank)) {
        int32_t sent = nx_sched_send(s, rank + 1, 0, nx_slice(NX_BUF_SEND, nx_whole(shape)), NX_NONE, NX_NONE);

        nx_sched_recv(s, rank + 1, rounds + 1, nx_slice(NX_BUF_RECV, nx_whole(shape)), shape->in_place ? sent : NX_NONE,
                      NX_NONE);
        return;
    }
    nx_merge_begin(&m);
    if (host)
        nx_merge_take(&m, rank - 1, 0);
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t partner = nx_fold_rank(fold, worker ^ (UINT32_C(1) << i));

        nx_merge_give(&m, partner, i + 1);
        nx_merge_take(&m, partner, i + 1);
    }
    if (host)
        nx_merge_give(&m, rank - 1, rounds + 1);
}
