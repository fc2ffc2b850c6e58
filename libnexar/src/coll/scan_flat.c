/* coll/scan_flat.c - everybody sends his vector to all ranks behind him, and each adds up those before it.
 *
 * One round; the first rank sends and the last one receives (n - 1) S.  By rank.  For small vectors.
 * Pure; see build.h. */
#include "coll/build.h"

/* Sends our vector to those behind; in place from a copy, which leaves RECV free for the sum after the step that this
 * returns.  Without one NX_NONE. */
static int32_t give(struct nx_sched *s, const struct nx_shape *shape, struct nx_slice *own)
{
    int32_t kept = NX_NONE;

    if (shape->in_place) {
        own->buf = NX_BUF_SCRATCH;
        kept = nx_sched_copy(s, nx_slice(NX_BUF_RECV, nx_whole(shape)), *own, NX_NONE, NX_NONE);
    }
    for (uint32_t i = shape->rank + 1; i < shape->n; i++)
        nx_sched_send(s, i, 0, *own, kept, NX_NONE);
    return kept;
}

/* RECV = the sum of the ranks before us, of whom there are some. */
static int32_t take(struct nx_sched *s, const struct nx_shape *shape, int32_t after)
{
    struct nx_slice sum = nx_slice(NX_BUF_RECV, nx_whole(shape));

    after = nx_sched_recv(s, 0, 0, sum, after, NX_NONE);
    for (uint32_t i = 1; i < shape->rank; i++)
        after = nx_sched_recv_reduce(s, i, 0, sum, after, NX_NONE);
    return after;
}

void nx_build_scan_flat(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice own = nx_slice(NX_BUF_SEND, nx_whole(shape));
    int32_t last;

    if (shape->rank == 0) {
        for (uint32_t i = 1; i < shape->n; i++)
            nx_sched_send(s, i, 0, own, NX_NONE, NX_NONE);
        nx_build_alone(s, shape);
        return;
    }
    last = take(s, shape, give(s, shape, &own));
    nx_sched_reduce(s, own, nx_slice(NX_BUF_RECV, nx_whole(shape)), last, NX_NONE);
}

void nx_build_exclusive_scan_flat(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice own = nx_slice(NX_BUF_SEND, nx_whole(shape));
    int32_t kept = NX_NONE;

    if (shape->rank != shape->n - 1)
        kept = give(s, shape, &own);
    if (shape->rank == 0)
        nx_sched_fill(s, nx_slice(NX_BUF_RECV, nx_whole(shape)), kept, NX_NONE);
    else
        take(s, shape, kept);
}
