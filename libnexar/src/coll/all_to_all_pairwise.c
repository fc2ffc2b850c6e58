/* coll/all_to_all_pairwise.c - in round d each rank sends to the one d places further and receives from as far back.
 *
 * n - 1 rounds of a block each, NX_PEERS_AT_ONCE of them at the same time; each rank sends (n - 1) / n S.
 * Pure; see build.h. */
#include "coll/build.h"

void nx_build_all_to_all_pairwise(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t rank = shape->rank;
    int32_t window = 2 * NX_PEERS_AT_ONCE; /* steps */

    for (uint32_t d = 1; d < n; d++) {
        uint32_t to = nx_ring_up(rank, n, d);
        uint32_t from = nx_ring_down(rank, n, d);
        int32_t before = (int32_t)s->count < window ? NX_NONE : (int32_t)s->count - window;

        nx_sched_send(s, to, 0, nx_slice(NX_BUF_SEND, nx_send_block(shape, to)), before, NX_NONE);
        nx_sched_recv(s, from, 0, nx_slice(NX_BUF_RECV, nx_recv_block(shape, from)),
                      before == NX_NONE ? NX_NONE : before + 1, NX_NONE);
    }
    nx_sched_copy(s, nx_slice(NX_BUF_SEND, nx_send_block(shape, rank)),
                  nx_slice(NX_BUF_RECV, nx_recv_block(shape, rank)), NX_NONE, NX_NONE);
}
