/* coll/gather_linear.c - everybody sends his block to the root.
 *
 * One round; nobody but the root sees other ranks' blocks.  No more than NX_PEERS_AT_ONCE blocks are under way: whoever
 * comes later waits for an empty message from the root.  For large blocks, and for those of unequal length.
 * Pure; see build.h. */
#include "coll/tree.h"

void nx_build_gather_linear(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice own = {.buf = NX_BUF_SEND, .count = shape->count};
    struct nx_slice nothing = {.buf = NX_BUF_SEND};
    int32_t came[NX_PEERS_AT_ONCE];

    if (shape->rank != shape->root) {
        int32_t go = NX_NONE;

        if (nx_place_of(shape) > NX_PEERS_AT_ONCE)
            go = nx_sched_recv(s, shape->root, 0, (struct nx_slice){.buf = NX_BUF_SCRATCH}, NX_NONE, NX_NONE);
        nx_sched_send(s, shape->root, 0, own, go, NX_NONE);
        return;
    }
    for (uint32_t place = 1; place < shape->n; place++) {
        uint32_t peer = nx_rank_at(shape, place);
        int32_t *slot = &came[place % NX_PEERS_AT_ONCE];
        int32_t before = place > NX_PEERS_AT_ONCE ? *slot : NX_NONE;

        *slot = nx_sched_recv(s, peer, 0, nx_slice(NX_BUF_RECV, nx_recv_block(shape, peer)), before, NX_NONE);
        if (place > NX_PEERS_AT_ONCE)
            nx_sched_send(s, peer, 0, nothing, before, NX_NONE);
    }
    if (!shape->in_place) {
        struct nx_range place = nx_recv_block(shape, shape->rank);

        own.count = place.count;
        nx_sched_copy(s, own, nx_slice(NX_BUF_RECV, place), NX_NONE, NX_NONE);
    }
}
