/* coll/barrier_hosts.c - each host gathers its ranks, the hosts' first ranks meet, and let the others go.
 *
 * Between hosts ceil(log2 h) rounds of one message each, however many ranks they have.
 * Pure; see build.h. */
#include "coll/hosts.h"

void nx_build_barrier_hosts(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_nest nest = {.into = {NX_BUF_SEND, NX_BUF_RECV}};
    struct nx_shape inside, between;
    struct nx_hosts h;
    int32_t last;

    if (!nx_hosts_init(&h, s, shape))
        return;
    inside = nx_hosts_inside(&h, 0);
    inside.in_place = true;
    between = nx_hosts_between(&h, 0);
    for (uint32_t i = 0; i < h.count; i++)
        h.group[i] = nx_hosts_rank(&h, i, 0);
    last = nx_hosts_part(&h, nx_build_gather_binomial, &inside, nx_hosts_mates(&h), nest, NX_NONE);
    if (h.place == 0)
        last = nx_hosts_part(&h, nx_build_barrier_dissemination, &between, h.group, nest, last);
    else
        nx_hosts_skip(&h);
    nx_hosts_lap_end(&h, nx_hosts_part(&h, nx_build_broadcast_binomial, &inside, nx_hosts_mates(&h), nest, last));
    nx_hosts_fini(&h);
}
