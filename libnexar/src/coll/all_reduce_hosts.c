/* coll/all_reduce_hosts.c - sums inside each host first, then between hosts, by slices.
 *
 * As many slices as the smallest host has ranks, fewer of a short vector.  Reduce-scatter within the host, all_reduce
 * among the ranks that have the same slice, one of each host, all_gather within the host.  h hosts: each sends
 * 2 (h - 1) / h S to the others.  Order of sums: by rank within a host, then by host; short slices of more than 8
 * hosts as a tree.
 * Pure; see build.h. */
#include "coll/hosts.h"

#include "base/mem.h"

enum {
    SLICES_OF_SEGMENT = 32, /* its part that is worth a slice of its own */
    HOSTS_AT_ONCE = 8,      /* that send to each other what is short */
};

struct slices {
    struct nx_hosts hosts;
    uint32_t count;
    struct nx_range *of; /* per place of this host; empty for those that own none */
};

static void cut(struct slices *c, struct nx_range range)
{
    uint32_t places = nx_hosts_size(&c->hosts, c->hosts.own);

    for (uint32_t p = 0; p < places; p++)
        c->of[p] =
            p < c->count ? nx_chunk(range, c->count, p) : (struct nx_range){.off = range.off + range.count, .count = 0};
}

/* The sum of the host's parts of each slice, on its owner. */
static int32_t sum_inside(struct slices *c, struct nx_range range, int32_t after)
{
    struct nx_hosts *h = &c->hosts;
    struct nx_shape inner = nx_hosts_inside(h, c->of[h->place].count);
    struct nx_nest nest = {.into = {NX_BUF_SEND, NX_BUF_RECV}};

    inner.in_place = h->shape->in_place;
    if (c->count == 1) {
        inner.count = range.count;
        inner.segment = range.count + 1;
        nest.offset[NX_BUF_SEND] = nest.offset[NX_BUF_RECV] = range.off;
        return nx_hosts_part(h, nx_build_reduce_flat, &inner, nx_hosts_mates(h), nest, after);
    }
    inner.segment = range.count + 1;
    inner.send_blocks = c->of;
    nest.offset[NX_BUF_RECV] = inner.in_place ? 0 : c->of[h->place].off;
    return nx_hosts_part(h, nx_build_reduce_scatter_direct, &inner, nx_hosts_mates(h), nest, after);
}

/* The same among the owners of a slice. */
static int32_t sum_between(struct slices *c, int32_t after)
{
    struct nx_hosts *h = &c->hosts;
    struct nx_range slice = c->of[h->place];
    struct nx_shape inner = nx_hosts_between(h, slice.count);
    struct nx_nest nest = {.into = {NX_BUF_RECV, NX_BUF_RECV}, .offset = {slice.off, slice.off}};
    bool is_short = slice.count <= h->shape->segment / SLICES_OF_SEGMENT;
    nx_build_fn build = nx_build_all_reduce_direct;

    if (h->count == 2 || (is_short && h->count <= HOSTS_AT_ONCE))
        build = nx_build_all_reduce_flat;
    else if (is_short)
        build = nx_build_all_reduce_rd;
    if (h->place >= c->count) {
        nx_hosts_skip(h);
        return after;
    }
    for (uint32_t i = 0; i < h->count; i++)
        h->group[i] = nx_hosts_rank(h, i, h->place);
    inner.in_place = true;
    return nx_hosts_part(h, build, &inner, h->group, nest, after);
}

static int32_t spread_inside(struct slices *c, struct nx_range range, int32_t after)
{
    struct nx_hosts *h = &c->hosts;
    struct nx_shape inner = nx_hosts_inside(h, c->of[h->place].count);
    struct nx_nest nest = {.into = {NX_BUF_RECV, NX_BUF_RECV}};

    if (c->count == 1) {
        inner.count = range.count;
        inner.segment = range.count + 1;
        nest.offset[NX_BUF_RECV] = range.off;
        return nx_hosts_part(h, nx_build_broadcast_binomial, &inner, nx_hosts_mates(h), nest, after);
    }
    inner.in_place = true;
    inner.recv_blocks = c->of;
    return nx_hosts_part(h, nx_build_all_gather_flat, &inner, nx_hosts_mates(h), nest, after);
}

void nx_build_all_reduce_hosts(struct nx_sched *s, const struct nx_shape *shape)
{
    struct slices c = {.count = 1};
    size_t worth = shape->segment / SLICES_OF_SEGMENT + 1;
    size_t at = 0, width;

    if (!nx_hosts_init(&c.hosts, s, shape))
        return;
    if (shape->count / worth > 1)
        c.count = shape->count / worth < c.hosts.least ? (uint32_t)(shape->count / worth) : c.hosts.least;
    width = nx_hosts_width(shape, nx_mul_capped(shape->segment, c.count));
    c.of = nx_calloc(nx_hosts_size(&c.hosts, c.hosts.own), sizeof(*c.of));
    if (c.of == NULL)
        s->failure = "no memory";
    while (s->failure == NULL) {
        struct nx_range range = nx_piece(nx_whole(shape), at, width);
        int32_t last = nx_hosts_lap_begin(&c.hosts);

        cut(&c, range);
        last = sum_inside(&c, range, last);
        last = sum_between(&c, last);
        nx_hosts_lap_end(&c.hosts, spread_inside(&c, range, last));
        at += range.count;
        if (at >= shape->count)
            break;
    }
    nx_free(c.of);
    nx_hosts_fini(&c.hosts);
}
