/* coll/reduce_flat.c - everybody sends everything to the root, which adds it up.
 *
 * One round; the root receives (n - 1) S, one rank after the other.  By rank.  For small vectors.
 * In place the sum grows in scratch until it is the root's own turn: x + y has the bits of y + x.
 * Pure; see build.h. */
#include "coll/build.h"

void nx_build_reduce_flat(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t root = shape->root;
    struct nx_slice own = nx_slice(NX_BUF_SEND, nx_whole(shape));
    struct nx_slice result = nx_slice(NX_BUF_RECV, nx_whole(shape));
    struct nx_slice sum = nx_slice(shape->in_place && root != 0 ? NX_BUF_SCRATCH : NX_BUF_RECV, nx_whole(shape));
    bool begun = shape->in_place && root == 0; /* there is something in `sum` */
    int32_t last = NX_NONE;

    if (n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    if (shape->rank != root) {
        nx_sched_send(s, root, 0, own, NX_NONE, NX_NONE);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (i == root && i != 0) {
            last = nx_sched_reduce(s, shape->in_place ? sum : own, result, last, NX_NONE);
            sum = result;
        } else if (i != root && begun) {
            last = nx_sched_recv_reduce(s, i, 0, sum, last, NX_NONE);
        } else if (i != root) {
            last = nx_sched_recv(s, i, 0, sum, NX_NONE, NX_NONE);
            if (root == 0)
                last = nx_sched_reduce(s, own, sum, last, NX_NONE);
            begun = true;
        }
    }
}
