/* cluster/relay_link.c - the relay machine: what waits for the connection to a neighbour.
 *
 * Owner: the machine's thread.  Destinations take turns, packet by packet, and none may fill the queue: one that is
 * slow costs the others its turn and no more.  What finds no room is refused, never waited for: two relays that
 * waited for each other's room would stand for ever. */
#include "cluster/relay_parts.h"

#include "base/mem.h"

struct flow { /* what waits for one link and one destination; there is none without packets */
    struct nx_hash_node node;
    struct nx_list link; /* of the link's flows */
    uint32_t neighbour, destination;
    size_t bytes;
    struct nx_list packets;
};

struct nx_relay_link *nx_relay_find_link(struct nx_relay *r, uint32_t rank)
{
    uint32_t lo = 0, hi = r->n_links;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (r->link[mid].rank < rank)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->n_links && r->link[lo].rank == rank ? &r->link[lo] : NULL;
}

static struct flow *flow_of(struct nx_relay *r, struct nx_relay_link *l, uint32_t destination)
{
    uint64_t hash = nx_hash_mix(nx_hash_mix(0, l->rank), destination);
    struct flow *f;

    for (struct nx_hash_node *at = nx_hash_first(&r->flows, hash); at != NULL; at = nx_hash_next(at)) {
        f = nx_container_of(at, struct flow, node);
        if (f->neighbour == l->rank && f->destination == destination)
            return f;
    }
    f = nx_alloc(sizeof(*f));
    if (f == NULL)
        return NULL;
    *f = (struct flow){.neighbour = l->rank, .destination = destination};
    nx_list_init(&f->packets);
    nx_hash_insert(&r->flows, &f->node, hash);
    nx_list_push_back(&l->flows, &f->link);
    return f;
}

/* The first packet of the flow, with the queue's reference to it; the flow ends with its last one. */
static struct nx_relay_packet *leave(struct nx_relay *r, struct nx_relay_link *l, struct flow *f)
{
    struct nx_relay_packet *p = nx_container_of(nx_list_pop(&f->packets), struct nx_relay_packet, link);

    p->queued = false;
    f->bytes -= p->n;
    l->bytes -= p->n;
    r->stats.waiting -= p->n;
    nx_list_remove(&f->link);
    if (!nx_list_empty(&f->packets)) {
        nx_list_push_back(&l->flows, &f->link); /* its turn is over */
        return p;
    }
    nx_hash_remove(&r->flows, &f->node);
    nx_free(f);
    return p;
}

enum nx_relay_refusal nx_relay_link_send(struct nx_relay *r, struct nx_relay_link *l, struct nx_relay_packet *p)
{
    struct flow *f;

    if (!l->blocked && nx_list_empty(&l->flows)) {
        l->blocked = !r->ops->send(r->arg, l->rank, p->bytes, p->n);
        if (!l->blocked)
            return NX_RELAY_TAKEN;
    }
    if (l->bytes + p->n > r->config.link_limit)
        return NX_RELAY_FULL;
    f = flow_of(r, l, p->destination);
    if (f == NULL)
        return NX_RELAY_MEMORY;
    if (f->bytes + p->n > r->config.flow_limit) /* it is not empty: one packet always fits */
        return NX_RELAY_FULL;
    nx_list_push_back(&f->packets, &p->link);
    p->queued = true;
    p->refs++;
    f->bytes += p->n;
    l->bytes += p->n;
    r->stats.waiting += p->n;
    return NX_RELAY_TAKEN;
}

void nx_relay_link_pump(struct nx_relay *r, struct nx_relay_link *l)
{
    while (l->up && !l->blocked && !nx_list_empty(&l->flows)) {
        struct flow *f = nx_container_of(l->flows.next, struct flow, link);
        struct nx_relay_packet *p = nx_container_of(f->packets.next, struct nx_relay_packet, link);
        bool done = p->source == r->rank && p->kind == NX_RELAY_MESSAGE && p->refs == 1; /* has its ACK meanwhile */

        if (!done && !r->ops->send(r->arg, l->rank, p->bytes, p->n)) {
            l->blocked = true;
            return;
        }
        nx_relay_packet_drop(leave(r, l, f));
    }
}

void nx_relay_link_empty(struct nx_relay *r, struct nx_relay_link *l, struct nx_list *out)
{
    while (!nx_list_empty(&l->flows)) {
        struct flow *f = nx_container_of(l->flows.next, struct flow, link);

        nx_list_push_back(out, &leave(r, l, f)->link);
    }
}
