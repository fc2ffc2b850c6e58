/* coll/scatter_linear.c - the root sends everybody his block.
 *
 * One round; no more than NX_PEERS_AT_ONCE blocks are under way.  For large blocks, and for those of unequal length.
 * Pure; see build.h. */
#include "coll/tree.h"

void nx_build_scatter_linear(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice own = {.buf = NX_BUF_RECV, .count = shape->count};
    int32_t sent[NX_PEERS_AT_ONCE];

    if (shape->rank != shape->root) {
        nx_sched_recv(s, shape->root, 0, own, NX_NONE, NX_NONE);
        return;
    }
    for (uint32_t place = 1; place < shape->n; place++) {
        uint32_t peer = nx_rank_at(shape, place);
        int32_t *slot = &sent[place % NX_PEERS_AT_ONCE];

        *slot = nx_sched_send(s, peer, 0, nx_slice(NX_BUF_SEND, nx_send_block(shape, peer)),
                              place > NX_PEERS_AT_ONCE ? *slot : NX_NONE, NX_NONE);
    }
    if (!shape->in_place) {
        struct nx_range place = nx_send_block(shape, shape->rank);

        own.count = place.count;
        nx_sched_copy(s, nx_slice(NX_BUF_SEND, place), own, NX_NONE, NX_NONE);
    }
}
