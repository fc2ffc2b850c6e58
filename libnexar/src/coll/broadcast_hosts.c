/* coll/broadcast_hosts.c - from the root to one rank of each host, and from there to the others of the host.
 *
 * Short vectors down two binomial trees; long ones along two chains, cut into segments that are passed on as they come.
 * Each host gets S once.
 * Pure; see build.h. */
#include "coll/hosts.h"

void nx_build_broadcast_hosts(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t width = nx_hosts_width(shape, shape->segment);
    nx_build_fn build = shape->count > width ? nx_build_broadcast_chain : nx_build_broadcast_binomial;
    struct nx_hosts h;
    uint32_t from, leader;
    size_t at = 0;

    if (!nx_hosts_init(&h, s, shape))
        return;
    from = nx_hosts_of(&h, shape->root);
    leader = h.own == from ? h.places[shape->root] : 0;
    for (uint32_t i = 0; i < h.count; i++)
        h.group[i] = i == from ? shape->root : nx_hosts_rank(&h, i, 0);
    do {
        struct nx_range piece = nx_piece(nx_whole(shape), at, width);
        struct nx_shape between = nx_hosts_between(&h, piece.count);
        struct nx_shape inside = nx_hosts_inside(&h, piece.count);
        struct nx_nest nest = {.into = {NX_BUF_RECV, NX_BUF_RECV}, .offset = {piece.off, piece.off}};
        int32_t last = nx_hosts_lap_begin(&h);

        between.root = from;
        inside.root = leader;
        if (h.place == leader)
            last = nx_hosts_part(&h, build, &between, h.group, nest, last);
        else
            nx_hosts_skip(&h);
        nx_hosts_lap_end(&h, nx_hosts_part(&h, build, &inside, nx_hosts_mates(&h), nest, last));
        at += piece.count;
    } while (at < shape->count && s->failure == NULL);
    nx_hosts_fini(&h);
}
