/* coll/merge.h - a sum that grows by whole vectors: a partner's is received beside ours and the two are added there, so
 * that nobody waits for his own send.  The sum moves to and fro between RECV and scratch, and ends in RECV.  Pure. */
#ifndef NX_COLL_MERGE_H
#define NX_COLL_MERGE_H

#include "coll/build.h"

struct nx_merge {
    struct nx_sched *s;
    const struct nx_shape *shape;
    uint32_t merges; /* to come; the last one ends in RECV */
    struct nx_slice have;
    int32_t since;          /* the step that made it */
    int32_t sent[NX_BUFS];  /* the last step that sends from a buffer */
    int32_t added[NX_BUFS]; /* the last step that reads from it to add */
};

/* Where a sum may begin that the merges to come do not overwrite. */
static inline enum nx_buf nx_merge_home(const struct nx_merge *m)
{
    return m->merges % 2 == 1 ? NX_BUF_SCRATCH : NX_BUF_RECV;
}

static inline void nx_merge_begin_with(struct nx_merge *m, struct nx_slice have, int32_t since)
{
    m->have = have;
    m->since = since;
    for (int i = 0; i < NX_BUFS; i++)
        m->sent[i] = m->added[i] = NX_NONE;
}

/* Begins in SEND, unless the first merge would overwrite it. */
static inline void nx_merge_begin(struct nx_merge *m)
{
    struct nx_slice own = nx_slice(m->shape->in_place ? NX_BUF_RECV : NX_BUF_SEND, nx_whole(m->shape));

    nx_merge_begin_with(m, own, NX_NONE);
    if (m->shape->in_place && nx_merge_home(m) == NX_BUF_SCRATCH) {
        m->have.buf = NX_BUF_SCRATCH;
        m->since = nx_sched_copy(m->s, own, m->have, NX_NONE, NX_NONE);
        m->added[NX_BUF_RECV] = m->since;
    }
}

/* Sends the sum as it is. */
static inline void nx_merge_give(struct nx_merge *m, uint32_t partner, uint32_t tag)
{
    m->sent[m->have.buf] = nx_sched_send(m->s, partner, tag, m->have, m->since, NX_NONE);
}

/* Adds what comes from `partner`. */
static inline void nx_merge_take(struct nx_merge *m, uint32_t partner, uint32_t tag)
{
    enum nx_buf to = m->merges-- % 2 == 1 ? NX_BUF_RECV : NX_BUF_SCRATCH;
    struct nx_slice sum = nx_slice(to, nx_whole(m->shape));
    int32_t got = nx_sched_recv(m->s, partner, tag, sum, m->sent[to], m->added[to]);

    m->since = nx_sched_reduce(m->s, m->have, sum, got, m->since);
    m->added[m->have.buf] = m->since;
    m->have = sum;
}

#endif
