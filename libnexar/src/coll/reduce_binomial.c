/* coll/reduce_binomial.c - up a binomial tree: each rank adds what its children have and passes it on.
 *
 * ceil(log2 n) rounds of S.  Order of sums, in places counted from the root: own, then the child 1 place further, then
 * those 2, 4, ... places further.  For small vectors and many ranks.
 * Pure; see build.h. */
#include "coll/tree.h"

void nx_build_reduce_binomial(struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;
    uint32_t place = nx_place_of(shape);
    uint32_t size = nx_subtree(place, n);
    struct nx_slice own = nx_slice(NX_BUF_SEND, nx_whole(shape));
    struct nx_slice sum = nx_slice(place == 0 ? NX_BUF_RECV : NX_BUF_SCRATCH, nx_whole(shape));
    bool begun = place == 0 && shape->in_place; /* there is something in `sum` */
    int32_t last = NX_NONE;

    if (n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    for (uint32_t mask = 1; mask < size && mask < n - place; mask *= 2) {
        uint32_t child = nx_rank_at(shape, place + mask);

        if (begun) {
            last = nx_sched_recv_reduce(s, child, 0, sum, last, NX_NONE);
        } else {
            last = nx_sched_recv(s, child, 0, sum, NX_NONE, NX_NONE);
            last = nx_sched_reduce(s, own, sum, last, NX_NONE);
            begun = true;
        }
    }
    if (place != 0)
        nx_sched_send(s, nx_rank_at(shape, place - size), 0, begun ? sum : own, last, NX_NONE);
}
