/* coll/reduce_scatter_direct.c - each rank gets everyone's piece of its block and adds them up.
 *
 * One round per segment; each rank sends and receives (n - 1) / n S.  By rank.
 * Pure; see build.h. */
#include "coll/direct.h"

void nx_build_reduce_scatter_direct(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t longest = nx_longest_send_block(shape);
    struct nx_direct d = {.s = s,
                          .shape = shape,
                          .owned = nx_send_block,
                          .width = longest < shape->segment ? longest : shape->segment,
                          .stride = 3 * ((int32_t)shape->n - 1)};

    if (shape->n == 1) {
        nx_build_alone(s, shape);
        return;
    }
    do {
        struct nx_slice sum;

        nx_direct_next(&d);
        sum = nx_slice(NX_BUF_RECV, nx_direct_piece(&d, shape->rank));
        if (!shape->in_place)
            sum.off -= nx_send_block(shape, shape->rank).off;
        nx_direct_sum(&d, sum, shape->in_place, (uint32_t)d.segment, NX_NONE);
    } while ((d.segment + 1) * d.width < longest && s->failure == NULL);
}
