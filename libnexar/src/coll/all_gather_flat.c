/* coll/all_gather_flat.c - everybody sends his block to everybody.
 *
 * One round; each rank sends n - 1 times its block.  For small blocks: nothing is faster than one round.
 * Pure; see build.h. */
#include "coll/build.h"

void nx_build_all_gather_flat(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    struct nx_slice place = nx_slice(NX_BUF_RECV, nx_recv_block(shape, shape->rank));
    struct nx_slice own = shape->in_place ? place : (struct nx_slice){.buf = NX_BUF_SEND, .count = place.count};

    for (uint32_t d = 1; d < n; d++)
        nx_sched_send(s, nx_ring_up(shape->rank, n, d), 0, own, NX_NONE, NX_NONE);
    for (uint32_t d = 1; d < n; d++) {
        uint32_t peer = nx_ring_down(shape->rank, n, d);

        nx_sched_recv(s, peer, 0, nx_slice(NX_BUF_RECV, nx_recv_block(shape, peer)), NX_NONE, NX_NONE);
    }
    if (!shape->in_place)
        nx_sched_copy(s, own, place, NX_NONE, NX_NONE);
}
