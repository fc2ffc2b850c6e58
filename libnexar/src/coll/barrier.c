/* coll/barrier.c - dissemination: in round k each rank tells the one 2^k places on that it and all it heard of came.
 *
 * ceil(log2 n) rounds of empty messages.  A round's send waits for all receives before it: that is what makes it a
 * barrier.
 * Pure; see build.h. */
#include "coll/build.h"

void nx_build_barrier_dissemination(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice nothing = {.buf = NX_BUF_RECV};
    int32_t heard = NX_NONE;
    uint32_t tag = 0;

    for (uint32_t distance = 1; distance < shape->n; distance *= 2, tag++) {
        nx_sched_send(s, nx_ring_up(shape->rank, shape->n, distance), tag, nothing, heard, NX_NONE);
        heard = nx_sched_recv(s, nx_ring_down(shape->rank, shape->n, distance), tag, nothing, heard, NX_NONE);
    }
}
