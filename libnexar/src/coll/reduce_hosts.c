/* coll/reduce_hosts.c - sums inside each host first, on one rank of it, then those of all hosts on the root.
 *
 * Each host sends S once, the root's gets it from each other host.  Cut into segments, so that one is summed inside
 * while another is between hosts.  Order of sums: by rank within a host, then by host.
 * Pure; see build.h. */
#include "coll/hosts.h"

void nx_build_reduce_hosts(struct nx_sched *s, const struct nx_shape *shape)
{
    size_t width = nx_hosts_width(shape, shape->segment);
    bool is_root = shape->rank == shape->root;
    struct nx_hosts h;
    uint32_t to, leader;
    size_t at = 0;

    if (!nx_hosts_init(&h, s, shape))
        return;
    to = nx_hosts_of(&h, shape->root);
    leader = h.own == to ? h.places[shape->root] : 0;
    for (uint32_t i = 0; i < h.count; i++)
        h.group[i] = i == to ? shape->root : nx_hosts_rank(&h, i, 0);
    if (h.place == leader && !is_root)
        h.scratch = NX_WINDOW * (width < shape->count ? width : shape->count); /* the sums of this host */
    do {
        struct nx_range piece = nx_piece(nx_whole(shape), at, width);
        struct nx_shape inside = nx_hosts_inside(&h, piece.count);
        struct nx_shape between = nx_hosts_between(&h, piece.count);
        enum nx_buf sum = is_root ? NX_BUF_RECV : NX_BUF_SCRATCH;
        size_t place = is_root ? piece.off : h.lap % NX_WINDOW * (h.scratch / NX_WINDOW);
        struct nx_nest nest = {.into = {NX_BUF_SEND, sum}, .offset = {piece.off, place}};
        int32_t last = nx_hosts_lap_begin(&h);

        inside.root = leader;
        inside.in_place = shape->in_place && is_root;
        last = nx_hosts_part(&h, nx_build_reduce_flat, &inside, nx_hosts_mates(&h), nest, last);
        between.root = to;
        between.in_place = is_root;
        nest = (struct nx_nest){.into = {sum, sum}, .offset = {place, place}};
        if (h.place == leader)
            last = nx_hosts_part(&h, nx_build_reduce_flat, &between, h.group, nest, last);
        nx_hosts_lap_end(&h, last);
        at += piece.count;
    } while (at < shape->count && s->failure == NULL);
    nx_hosts_fini(&h);
}
