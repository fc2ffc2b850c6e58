/* coll/reduce_scatter_hosts.c - each host sums its parts of a block, and sends one sum to the rank whose block it is.
 *
 * Two rounds.  The block of the p-th rank of a host is summed by the p-th of each other host (counted round, where
 * hosts have fewer), so all ranks of a host share the work and what leaves it.  Order of sums: by rank within a host;
 * the sums of the other hosts are added to the own one by host.
 * Pure; see build.h. */
#include "coll/hosts.h"

/* The rank of `host` that sums its parts of the block of `rank`. */
static uint32_t door(const struct nx_hosts *h, uint32_t host, uint32_t rank)
{
    return nx_hosts_of(h, rank) == host ? rank : nx_hosts_rank(h, host, h->places[rank] % nx_hosts_size(h, host));
}

/* `sum` = this host's parts of the block of `rank`, of which ours is `own`; `grows`: that is there already.  Returns
 * the last step. */
static int32_t sum_inside(const struct nx_hosts *h, uint32_t rank, struct nx_slice own, struct nx_slice sum, bool grows,
                          int32_t after)
{
    int32_t last = after;

    for (uint32_t p = 0; p < nx_hosts_size(h, h->own); p++) {
        uint32_t mate = nx_hosts_rank(h, h->own, p);

        if (p == h->place && p != 0)
            last = nx_sched_reduce(h->s, own, sum, last, NX_NONE);
        else if (p == h->place && !grows)
            last = nx_sched_copy(h->s, own, sum, last, NX_NONE);
        else if (p != h->place && p != 0)
            last = nx_sched_recv_reduce(h->s, mate, rank, sum, last, NX_NONE);
        else if (p != h->place)
            last = nx_sched_recv(h->s, mate, rank, sum, last, NX_NONE);
    }
    return last;
}

/* The sums that leave this host by us.  Returns the scratch that they take. */
static size_t sum_for_others(const struct nx_hosts *h)
{
    const struct nx_shape *shape = h->shape;
    size_t at = 0;

    for (uint32_t d = 1; d < shape->n; d++) {
        uint32_t rank = nx_ring_up(shape->rank, shape->n, d);
        struct nx_slice own = nx_slice(NX_BUF_SEND, nx_send_block(shape, rank));
        struct nx_slice sum = {.buf = NX_BUF_SCRATCH, .off = at, .count = own.count};
        uint32_t by = door(h, h->own, rank);

        if (by != shape->rank) {
            nx_sched_send(h->s, by, rank, own, NX_NONE, NX_NONE);
            continue;
        }
        nx_sched_send(h->s, rank, shape->n, sum, sum_inside(h, rank, own, sum, false, NX_NONE), NX_NONE);
        at += sum.count;
    }
    return at;
}

void nx_build_reduce_scatter_hosts(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice own = nx_slice(NX_BUF_SEND, nx_send_block(shape, shape->rank));
    struct nx_slice sum = {.buf = NX_BUF_RECV, .count = own.count};
    int32_t last = NX_NONE;
    struct nx_hosts h;
    size_t used;

    if (!nx_hosts_init(&h, s, shape))
        return;
    used = sum_for_others(&h);
    if (shape->in_place) {
        sum.off = own.off;
        if (h.place != 0) { /* the sum begins with another's part */
            own = (struct nx_slice){.buf = NX_BUF_SCRATCH, .off = used, .count = sum.count};
            last = nx_sched_copy(s, sum, own, NX_NONE, NX_NONE);
        }
    }
    last = sum_inside(&h, shape->rank, own, sum, shape->in_place, last);
    for (uint32_t i = 0; i < h.count; i++)
        if (i != h.own)
            last = nx_sched_recv_reduce(s, door(&h, i, shape->rank), shape->n, sum, last, NX_NONE);
    nx_hosts_fini(&h);
}
