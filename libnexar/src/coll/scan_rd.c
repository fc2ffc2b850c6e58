/* coll/scan_rd.c - in round k each rank gives all it has to the one 2^k places on, and adds what comes from behind.
 *
 * ceil(log2 n) rounds of S; one more if exclusive, in which every rank gives its vector to the next one, which then
 * stands for it.  Order of sums: after round k each rank has the 2^(k + 1) ranks up to itself, those further back added
 * to those near.  For small vectors and many ranks.
 * Pure; see build.h. */
#include "coll/merge.h"

/* Merges that a rank with so many before it takes part in. */
static uint32_t merges(uint32_t before)
{
    return before == 0 ? 0 : nx_log2(nx_pow2_floor(before)) + 1;
}

/* The rounds, among the ranks from `first` on. */
static void add_rounds(struct nx_merge *m, uint32_t first, uint32_t tag)
{
    uint32_t before = m->shape->rank - first;
    uint32_t behind = m->shape->n - 1 - m->shape->rank;

    for (uint32_t d = 1; d < m->shape->n - first; d *= 2, tag++) {
        if (d <= behind)
            nx_merge_give(m, m->shape->rank + d, tag);
        if (d <= before)
            nx_merge_take(m, m->shape->rank - d, tag);
    }
}

void nx_build_scan_rd(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_merge m = {.s = s, .shape = shape, .merges = merges(shape->rank)};

    nx_merge_begin(&m);
    add_rounds(&m, 0, 0);
    if (shape->rank == 0)
        nx_build_alone(s, shape);
}

void nx_build_exclusive_scan_rd(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_merge m = {.s = s, .shape = shape, .merges = merges(shape->rank == 0 ? 0 : shape->rank - 1)};
    struct nx_slice all = nx_slice(nx_merge_home(&m), nx_whole(shape));
    int32_t sent = NX_NONE;

    if (shape->rank + 1 < shape->n)
        sent = nx_sched_send(s, shape->rank + 1, 0, nx_slice(NX_BUF_SEND, nx_whole(shape)), NX_NONE, NX_NONE);
    if (!shape->in_place)
        sent = NX_NONE; /* nobody writes to SEND */
    if (shape->rank == 0) {
        nx_sched_fill(s, all, sent, NX_NONE);
        return;
    }
    nx_merge_begin_with(&m, all,
                        nx_sched_recv(s, shape->rank - 1, 0, all, all.buf == NX_BUF_RECV ? sent : NX_NONE, NX_NONE));
    m.sent[NX_BUF_RECV] = sent;
    add_rounds(&m, 1, 1);
}
