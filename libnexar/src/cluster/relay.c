/* cluster/relay.c - the relay machine: packets in, the way on, and what is refused.
 *
 * Owner: the machine's thread.  A relay cannot look into what it passes on, and keeps nothing of it but what waits
 * for a link: what it refuses or loses is sent again by the source.  So no packet of others ever makes it wait. */
#include "cluster/relay.h"

#include "cluster/relay_parts.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

struct nx_relay_config nx_relay_defaults(uint64_t world)
{
    return (struct nx_relay_config){.world = world,
                                    .window = NX_RELAY_WINDOW,
                                    .link_limit = (size_t)8 << 20,
                                    .flow_limit = (size_t)1 << 20,
                                    .send_limit = (size_t)64 << 20,
                                    .receive_limit = (size_t)64 << 20,
                                    .ack_delay = 2 * NX_MS,
                                    .resend_first = 500 * NX_MS,
                                    .resend_least = 50 * NX_MS,
                                    .resend_most = 5 * NX_S};
}

size_t nx_relay_bound(const struct nx_relay_config *config, uint32_t neighbours)
{
    return neighbours * config->link_limit + 2 * config->send_limit + config->receive_limit + 2 * NX_RELAY_BODY_MAX;
}

/* ---- the way on ---- */

/* The first of the best that takes something now, else that with least to do; others only where the best are broken:
 * they cost the whole graph more, and more with every one who is busy.  Never back to where it came from: tables that
 * agree do not ask for it, and where they do not, it would go to and fro until its hops are used up. */
static struct nx_relay_link *choose(struct nx_relay *r, uint32_t source, uint32_t destination, uint32_t from)
{
    const struct nx_route *route = &r->routes->to[destination];
    struct nx_relay_link *least = NULL;

    for (uint32_t i = 0; i < route->hops; i++) {
        uint32_t hop = nx_routes_hop(r->routes, source, destination, i);
        struct nx_relay_link *l = hop == from ? NULL : nx_relay_find_link(r, hop);

        if (i >= route->best && least != NULL)
            break;
        if (l == NULL || !l->up)
            continue;
        if (!l->blocked)
            return l;
        if (least == NULL || l->bytes < least->bytes)
            least = l;
    }
    return least;
}

enum nx_relay_refusal nx_relay_dispatch(struct nx_relay *r, struct nx_relay_packet *p, uint32_t from)
{
    struct nx_relay_link *l = choose(r, p->source, p->destination, from);

    if (l == NULL)
        return NX_RELAY_NO_ROUTE;
    if (from == r->rank)
        nx_relay_write_hops(p->bytes, nx_routes_limit(r->routes, p->destination));
    return nx_relay_link_send(r, l, p);
}

static enum nx_relay_refusal pass_on(struct nx_relay *r, const struct nx_relay_head *head, uint32_t from,
                                     const uint8_t *bytes, size_t n)
{
    uint64_t most = 2 * (uint64_t)r->n + 8; /* nobody needs more, and a liar gets no more */
    uint16_t hops = (uint16_t)(head->hops <= most ? head->hops - 1u : most);
    enum nx_relay_refusal why;
    struct nx_relay_packet *p;

    if (head->hops <= 1)
        return NX_RELAY_HOPS;
    if (choose(r, head->source, head->destination, from) == NULL)
        return NX_RELAY_NO_ROUTE;
    p = nx_alloc(sizeof(*p) + n);
    if (p == NULL)
        return NX_RELAY_MEMORY;
    *p = (struct nx_relay_packet){
        .refs = 1, .source = head->source, .destination = head->destination, .kind = head->kind, .n = n};
    nx_list_init(&p->link);
    memcpy(p->bytes, bytes, n);
    nx_relay_write_hops(p->bytes, hops);
    why = nx_relay_dispatch(r, p, from);
    nx_relay_packet_drop(p);
    r->stats.passed_on += why == NX_RELAY_TAKEN;
    return why;
}

static enum nx_relay_refusal look_at(const struct nx_relay *r, const struct nx_relay_head *head, size_t n)
{
    bool control = head->kind == NX_RELAY_ACK || head->kind == NX_RELAY_PROBE;

    if (head->version != NX_RELAY_VERSION_1)
        return NX_RELAY_VERSION;
    if (n < NX_RELAY_HEADER + NX_RELAY_TAG || n > NX_RELAY_PACKET_MAX || (head->kind != NX_RELAY_MESSAGE && !control) ||
        head->number == 0)
        return NX_RELAY_MALFORMED;
    if (control && n != NX_RELAY_HEADER + NX_RELAY_TAG + (head->kind == NX_RELAY_ACK ? NX_RELAY_ACK_BODY : 0))
        return NX_RELAY_MALFORMED;
    if (head->world != r->config.world)
        return NX_RELAY_WORLD;
    if (head->source >= r->n || head->destination >= r->n || head->source == head->destination)
        return NX_RELAY_UNKNOWN;
    return NX_RELAY_TAKEN;
}

void nx_relay_arrive(struct nx_relay *r, uint32_t from, const uint8_t *bytes, size_t n, nx_time now)
{
    enum nx_relay_refusal why = NX_RELAY_MALFORMED;
    struct nx_relay_head head = {0};

    if (n >= NX_RELAY_HEADER) {
        head = nx_relay_read_head(bytes);
        why = look_at(r, &head, n);
    }
    if (why == NX_RELAY_TAKEN && head.destination == r->rank)
        why = nx_relay_on_packet(r, &head, bytes, n, now);
    else if (why == NX_RELAY_TAKEN)
        why = pass_on(r, &head, from, bytes, n);
    if (why == NX_RELAY_TAKEN)
        return;
    r->stats.refused[why]++;
    r->ops->event(r->arg, &(struct nx_relay_event){.kind = NX_RELAY_REFUSED,
                                                   .why = why,
                                                   .from = from,
                                                   .source = head.source,
                                                   .destination = head.destination});
}

void nx_relay_writable(struct nx_relay *r, uint32_t neighbour)
{
    struct nx_relay_link *l = nx_relay_find_link(r, neighbour);

    if (l == NULL)
        return;
    l->blocked = false;
    nx_relay_link_pump(r, l);
}

void nx_relay_connected(struct nx_relay *r, uint32_t neighbour, bool up)
{
    struct nx_relay_link *l = nx_relay_find_link(r, neighbour);
    struct nx_list waiting;

    if (l == NULL || l->up == up)
        return;
    l->up = up;
    l->blocked = false;
    nx_list_init(&waiting);
    nx_relay_link_empty(r, l, &waiting);
    for (struct nx_list *at; (at = nx_list_pop(&waiting)) != NULL;) {
        struct nx_relay_packet *p = nx_container_of(at, struct nx_relay_packet, link);
        enum nx_relay_refusal why = nx_relay_dispatch(r, p, neighbour);

        if (why != NX_RELAY_TAKEN && p->source != r->rank) /* our own is sent again when its time comes */
            r->stats.refused[why]++;
        nx_relay_packet_drop(p);
    }
}

/* ---- pairs ---- */

struct nx_relay_pair *nx_relay_pair(struct nx_relay *r, uint32_t rank)
{
    struct nx_relay_pair *pair = r->pair[rank];

    if (pair != NULL)
        return pair;
    pair = nx_calloc(1, sizeof(*pair));
    if (pair == NULL)
        return NULL;
    pair->rank = rank;
    pair->timer.at = pair->resend_at = pair->ack_at = NX_NEVER;
    pair->wait = r->config.resend_first;
    pair->next = pair->acked = pair->expected = pair->taken = 1;
    pair->limit = pair->told = 1 + r->config.window;
    nx_list_init(&pair->wanting);
    nx_list_init(&pair->ready);
    r->pair[rank] = pair;
    return pair;
}

void nx_relay_arm(struct nx_relay *r, struct nx_relay_pair *pair)
{
    nx_time at = pair->resend_at < pair->ack_at ? pair->resend_at : pair->ack_at;

    if (at == pair->timer.at)
        return;
    if (pair->timer.at != NX_NEVER)
        r->timers = nx_heap_remove(r->timers, &pair->timer);
    pair->timer.at = at;
    if (at != NX_NEVER)
        r->timers = nx_heap_insert(r->timers, &pair->timer);
}

void nx_relay_say(struct nx_relay *r, enum nx_relay_event_kind kind, uint32_t rank, uint32_t count)
{
    r->ops->event(r->arg, &(struct nx_relay_event){.kind = kind, .rank = rank, .count = count});
}

void nx_relay_control(struct nx_relay *r, struct nx_relay_pair *pair, enum nx_relay_kind kind, const uint8_t *text,
                      size_t n)
{
    struct nx_relay_head head = {.version = NX_RELAY_VERSION_1,
                                 .kind = (uint8_t)kind,
                                 .source = r->rank,
                                 .destination = pair->rank,
                                 .world = r->config.world,
                                 .number = ++pair->control};
    struct nx_relay_packet *p = nx_relay_packet_new(r, &head, text, n);

    if (p == NULL)
        return;
    nx_relay_dispatch(r, p, r->rank);
    nx_relay_packet_drop(p);
}

void nx_relay_reroute(struct nx_relay *r, const struct nx_routes *routes, nx_time now)
{
    r->routes = routes;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->pair[i] != NULL)
            nx_relay_send_again(r, r->pair[i], now);
    }
    nx_relay_tell_room(r);
}

void nx_relay_gone(struct nx_relay *r, uint32_t rank)
{
    struct nx_relay_pair *pair = rank < r->n ? r->pair[rank] : NULL;
    uint32_t lost;

    if (rank >= r->n || rank == r->rank || r->gone[rank])
        return;
    r->gone[rank] = true;
    if (pair == NULL)
        return;
    lost = nx_relay_forget_sent(r, pair);
    nx_relay_forget_early(r, pair);
    nx_list_remove(&pair->wanting);
    pair->wants = 0;
    pair->resend_at = pair->ack_at = NX_NEVER;
    nx_relay_arm(r, pair);
    nx_relay_tell_room(r);
    if (lost > 0)
        nx_relay_say(r, NX_RELAY_LOST, rank, lost);
}

/* ---- life ---- */

nexar_status nx_relay_init(struct nx_relay *r, const struct nx_topology *t, const struct nx_routes *routes,
                           const struct nx_relay_config *config, const struct nx_relay_ops *ops, void *arg)
{
    uint32_t links = routes->n == t->n ? nx_topology_degree(t, routes->rank) : 0;

    *r =
        (struct nx_relay){.n = t->n, .rank = routes->rank, .config = *config, .ops = ops, .arg = arg, .routes = routes};
    nx_list_init(&r->wanting);
    nx_hash_init(&r->flows);
    if (routes->n != t->n || config->window == 0 || config->window > NX_RELAY_WINDOW)
        return nx_fail(NEXAR_EINVAL, "a relay of %u ranks with a table of %u and a window of %u", t->n, routes->n,
                       config->window);
    if (config->link_limit < NX_RELAY_PACKET_MAX || config->flow_limit < NX_RELAY_PACKET_MAX ||
        config->send_limit < 8 * NX_RELAY_PACKET_MAX)
        return nx_fail(NEXAR_EINVAL, "a relay where the longest packet has no room");
    r->link = nx_calloc((size_t)links + 1, sizeof(*r->link));
    r->pair = nx_calloc(r->n, sizeof(struct nx_relay_pair *));
    r->gone = nx_calloc(r->n, sizeof(*r->gone));
    if (r->link == NULL || r->pair == NULL || r->gone == NULL) {
        nx_relay_fini(r);
        return nx_fail(NEXAR_ENOMEM, "no memory for a relay among %u ranks", t->n);
    }
    for (uint32_t i = 0; i < links; i++, r->n_links++) {
        r->link[i] = (struct nx_relay_link){.rank = nx_topology_neighbour(t, r->rank, i), .up = true};
        nx_list_init(&r->link[i].flows);
    }
    return NEXAR_OK;
}

void nx_relay_fini(struct nx_relay *r)
{
    for (uint32_t i = 0; r->link != NULL && i < r->n_links; i++) {
        struct nx_list waiting;

        nx_list_init(&waiting);
        nx_relay_link_empty(r, &r->link[i], &waiting);
        for (struct nx_list *at; (at = nx_list_pop(&waiting)) != NULL;)
            nx_relay_packet_drop(nx_container_of(at, struct nx_relay_packet, link));
    }
    for (uint32_t i = 0; r->pair != NULL && i < r->n; i++) {
        struct nx_relay_pair *pair = r->pair[i];

        if (pair == NULL)
            continue;
        nx_relay_forget_sent(r, pair);
        nx_relay_forget_early(r, pair);
        for (struct nx_list *at; (at = nx_list_pop(&pair->ready)) != NULL;)
            nx_free(nx_container_of(at, struct nx_relay_message, link));
        nx_free(pair);
    }
    nx_hash_fini(&r->flows);
    nx_free(r->link);
    nx_free(r->pair);
    nx_free(r->gone);
    r->gone = NULL;
    r->link = NULL;
    r->pair = NULL;
}

nx_time nx_relay_due(const struct nx_relay *r)
{
    return r->timers == NULL ? NX_NEVER : r->timers->at;
}

void nx_relay_tick(struct nx_relay *r, nx_time now)
{
    while (r->timers != NULL && r->timers->at <= now) {
        struct nx_relay_pair *pair = nx_container_of(r->timers, struct nx_relay_pair, timer);

        if (pair->ack_at <= now)
            nx_relay_send_ack(r, pair);
        if (pair->resend_at <= now)
            nx_relay_on_resend(r, pair, now);
        nx_relay_arm(r, pair);
    }
}
