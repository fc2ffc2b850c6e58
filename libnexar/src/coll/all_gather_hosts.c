/* coll/all_gather_hosts.c - each block goes once to each other host, to a rank that shows it to its mates.
 *
 * Two rounds.  Rank p of a host sends its block to its mates and to the p-th rank of each other host (counted round,
 * where hosts have fewer), so all ranks of a host share what comes from others.
 * Pure; see build.h. */
#include "coll/hosts.h"

/* The rank of `host` that gets the block of `rank` from there. */
static uint32_t door(const struct nx_hosts *h, uint32_t host, uint32_t rank)
{
    return nx_hosts_rank(h, host, h->places[rank] % nx_hosts_size(h, host));
}

static void send_to_mates(const struct nx_hosts *h, uint32_t tag, struct nx_slice block, int32_t after)
{
    for (uint32_t p = 0; p < nx_hosts_size(h, h->own); p++)
        if (p != h->place)
            nx_sched_send(h->s, nx_hosts_rank(h, h->own, p), tag, block, after, NX_NONE);
}

void nx_build_all_gather_hosts(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice place = nx_slice(NX_BUF_RECV, nx_recv_block(shape, shape->rank));
    struct nx_slice own = shape->in_place ? place : (struct nx_slice){.buf = NX_BUF_SEND, .count = place.count};
    struct nx_hosts h;

    if (!nx_hosts_init(&h, s, shape))
        return;
    for (uint32_t d = 1; d < h.count; d++)
        nx_sched_send(s, door(&h, nx_ring_up(h.own, h.count, d), shape->rank), shape->rank, own, NX_NONE, NX_NONE);
    send_to_mates(&h, shape->rank, own, NX_NONE);
    for (uint32_t d = 1; d < shape->n; d++) {
        uint32_t rank = nx_ring_down(shape->rank, shape->n, d);
        uint32_t from = nx_hosts_of(&h, rank) == h.own ? rank : door(&h, h.own, rank);
        struct nx_slice block = nx_slice(NX_BUF_RECV, nx_recv_block(shape, rank));

        if (from == shape->rank)
            send_to_mates(&h, rank, block, nx_sched_recv(s, rank, rank, block, NX_NONE, NX_NONE));
        else
            nx_sched_recv(s, from, rank, block, NX_NONE, NX_NONE);
    }
    if (!shape->in_place)
        nx_sched_copy(s, own, place, NX_NONE, NX_NONE);
    nx_hosts_fini(&h);
}
