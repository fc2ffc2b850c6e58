/* coll/broadcast_chain.c - from rank to rank, cut into segments that are passed on as they come.
 *
 * n - 1 rounds for the first segment, one more for each other; nobody sends more than S.  For large vectors.
 * Pure; see build.h. */
#include "coll/tree.h"

void nx_build_broadcast_chain(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t place = nx_place_of(shape);
    int32_t sent[NX_WINDOW] = {NX_NONE, NX_NONE, NX_NONE, NX_NONE};
    int32_t came[NX_WINDOW] = {NX_NONE, NX_NONE, NX_NONE, NX_NONE};
    size_t at = 0;

    if (n == 1)
        return;
    do {
        struct nx_slice piece = nx_slice(NX_BUF_RECV, nx_piece(nx_whole(shape), at, shape->segment));
        uint32_t tag = (uint32_t)(at / shape->segment);
        size_t lap = tag % NX_WINDOW;

        if (place != 0)
            came[lap] = nx_sched_recv(s, nx_rank_at(shape, place - 1), tag, piece, came[lap], sent[lap]);
        if (place != n - 1)
            sent[lap] = nx_sched_send(s, nx_rank_at(shape, place + 1), tag, piece, came[lap], sent[lap]);
        at += shape->segment;
    } while (at < shape->count && s->failure == NULL);
}
