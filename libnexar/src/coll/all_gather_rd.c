/* coll/all_gather_rd.c - recursive doubling: partners exchange all the blocks that they have.
 *
 * log2 n rounds; (n - 1) / n S for a power of two, else idle ranks (folding, pattern.h) take S from their hosts, and
 * there are two rounds more.  Nothing is copied.
 * Pure; see build.h. */
#include "coll/build.h"

/* The blocks of the ranks for whom the workers from .. to - 1 work. */
static struct nx_slice blocks(const struct nx_shape *shape, struct nx_fold fold, uint32_t from, uint32_t to)
{
    uint32_t first = nx_fold_first(fold, from);

    return (struct nx_slice){
        .buf = NX_BUF_RECV, .off = first * shape->count, .count = (nx_fold_first(fold, to) - first) * shape->count};
}

/* Gives its block to its host and takes everything from it, its own block too. */
static void add_idle(struct nx_sched *s, const struct nx_shape *shape, struct nx_fold fold, struct nx_slice own)
{
    int32_t sent = nx_sched_send(s, shape->rank + 1, 0, own, NX_NONE, NX_NONE);

    nx_sched_recv(s, shape->rank + 1, nx_log2(fold.workers) + 1, blocks(shape, fold, 0, fold.workers),
                  shape->in_place ? sent : NX_NONE, NX_NONE);
}

void nx_build_all_gather_rd(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_fold fold = nx_fold(shape->n);
    uint32_t worker = nx_fold_worker(fold, shape->rank);
    bool is_host = nx_fold_is_host(fold, shape->rank);
    uint32_t tag = 1;
    struct nx_slice place = nx_slice(NX_BUF_RECV, nx_recv_block(shape, shape->rank));
    struct nx_slice own = shape->in_place ? place : (struct nx_slice){.buf = NX_BUF_SEND, .count = shape->count};
    int32_t have = NX_NONE;

    if (nx_fold_is_idle(fold, shape->rank)) {
        add_idle(s, shape, fold, own);
        return;
    }
    if (!shape->in_place)
        have = nx_sched_copy(s, own, place, NX_NONE, NX_NONE);
    if (is_host) {
        struct nx_slice guest = nx_slice(NX_BUF_RECV, nx_recv_block(shape, shape->rank - 1));

        have = nx_sched_join(s, have, nx_sched_recv(s, shape->rank - 1, 0, guest, NX_NONE, NX_NONE));
    }
    for (uint32_t mask = 1; mask < fold.workers; mask *= 2, tag++) {
        uint32_t ours = worker & ~(mask - 1);
        uint32_t theirs = ours ^ mask;
        uint32_t partner = nx_fold_rank(fold, worker ^ mask);
        int32_t got;

        nx_sched_send(s, partner, tag, blocks(shape, fold, ours, ours + mask), have, NX_NONE);
        got = nx_sched_recv(s, partner, tag, blocks(shape, fold, theirs, theirs + mask), NX_NONE, NX_NONE);
        if (is_host || 2 * mask < fold.workers) /* there is more to send */
            have = nx_sched_join(s, have, got);
    }
    if (is_host)
        nx_sched_send(s, shape->rank - 1, tag, blocks(shape, fold, 0, fold.workers), have, NX_NONE);
}
