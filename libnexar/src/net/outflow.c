/* net/outflow.c - queues of messages on their way out, by key, and the rules by which they may leave.
 *
 * Owner: the peer's lock.  One key that waits holds back nobody else.  It sends nothing and calls nobody. */
#include "net/outflow.h"

#include "base/slab.h"
#include "wire/tag.h"

static struct nx_slab slab = NX_SLAB_INIT(struct nx_outflow, 256);

/* ---- by key ---- */

struct nx_key nx_outflow_key(const struct nx_send_req *req)
{
    struct nx_key key = {.lane = req->head.lane, .scope = req->head.scope, .id = req->head.id};

    if (req->head.lane == NX_LANE_COLL)
        key.id = 0;
    return key;
}

static uint64_t key_hash(const struct nx_key *key)
{
    return nx_hash_mix(nx_hash_mix(nx_hash_mix(0, key->lane), key->scope), key->id);
}

struct nx_outflow *nx_outflow_find(struct nx_peer *peer, const struct nx_key *key)
{
    for (struct nx_hash_node *n = nx_hash_first(&peer->flows, key_hash(key)); n != NULL; n = nx_hash_next(n)) {
        struct nx_outflow *flow = nx_container_of(n, struct nx_outflow, node);

        if (flow->key.lane == key->lane && flow->key.scope == key->scope && flow->key.id == key->id)
            return flow;
    }
    return NULL;
}

struct nx_outflow *nx_outflow_get(struct nx_peer *peer, const struct nx_key *key)
{
    struct nx_outflow *flow = nx_outflow_find(peer, key);

    if (flow != NULL)
        return flow;
    flow = nx_slab_get(&slab);
    if (flow == NULL)
        return NULL;
    *flow = (struct nx_outflow){.key = *key};
    nx_list_init(&flow->waiting);
    nx_list_init(&flow->inflight);
    nx_hash_insert(&peer->flows, &flow->node, key_hash(key));
    return flow;
}

void nx_outflow_tidy(struct nx_peer *peer, struct nx_outflow *flow)
{
    if (nx_outflow_stops(flow) || !nx_list_empty(&flow->inflight))
        return;
    nx_hash_remove(&peer->flows, &flow->node);
    nx_slab_put(&slab, flow);
}

/* ---- who may leave ---- */

bool nx_outflow_stops(const struct nx_outflow *flow)
{
    return flow->held || !nx_list_empty(&flow->waiting);
}

/* Collectives: the oldest operation may always go, since the receiver may be waiting for it before it takes any other.
 * */
static bool is_oldest(const struct nx_outflow *flow, const struct nx_send_req *req)
{
    if (req->head.lane != NX_LANE_COLL)
        return false;
    for (struct nx_list *pos = flow->inflight.next; pos != &flow->inflight; pos = pos->next) {
        struct nx_send_req *other = nx_container_of(pos, struct nx_send_req, link);

        if (nx_tag_sequence(other->head.id) < nx_tag_sequence(req->head.id))
            return false;
    }
    return true;
}

bool nx_outflow_may_leave(struct nx_peer *peer, const struct nx_outflow *flow, const struct nx_send_req *req)
{
    const struct nx_net_config *c = &peer->net->config;
    uint64_t limit = req->head.lane == NX_LANE_COLL ? c->inflight_bytes : c->limits.lane_bytes;

    if (flow->held)
        return false;
    return flow->bytes == 0 || flow->bytes + req->head.len <= limit || is_oldest(flow, req);
}

/* ---- waiting, and in flight ---- */

void nx_outflow_enqueue(struct nx_peer *peer, struct nx_outflow *flow, struct nx_send_req *req)
{
    struct nx_list *at = flow->waiting.prev;

    if (!nx_outflow_stops(flow))
        atomic_fetch_add(&peer->stopped, 1);
    if (req->head.lane == NX_LANE_COLL) {
        while (at != &flow->waiting && nx_container_of(at, struct nx_send_req, link)->head.id > req->head.id)
            at = at->prev;
    }
    nx_list_insert_before(at->next, &req->link);
    req->flow = flow;
    req->waiting = true;
    atomic_fetch_add_explicit(&peer->net->stats.waited, 1, memory_order_relaxed);
}

/* Waits no longer. */
static void unqueue(struct nx_peer *peer, struct nx_outflow *flow, struct nx_send_req *req)
{
    nx_list_remove(&req->link);
    req->waiting = false;
    if (!nx_outflow_stops(flow))
        atomic_fetch_sub(&peer->stopped, 1);
}

bool nx_outflow_withdraw(struct nx_peer *peer, struct nx_send_req *req)
{
    if (!req->waiting)
        return false;
    unqueue(peer, req->flow, req);
    nx_outflow_tidy(peer, req->flow);
    return true;
}

struct nx_send_req *nx_outflow_next(struct nx_peer *peer, struct nx_outflow *flow)
{
    struct nx_send_req *req;

    if (nx_list_empty(&flow->waiting))
        return NULL;
    req = nx_container_of(flow->waiting.next, struct nx_send_req, link);
    if (!nx_outflow_may_leave(peer, flow, req))
        return NULL;
    /* Before the flow is seen to have stopped no longer: who sends then must get a later number. */
    nx_outflow_number(req);
    unqueue(peer, flow, req);
    nx_outflow_leave(flow, req);
    return req;
}

void nx_outflow_number(struct nx_send_req *req)
{
    if (req->order == NULL || req->numbered)
        return;
    req->head.order = atomic_fetch_add(req->order, 1);
    req->numbered = true;
}

bool nx_outflow_unnumber(struct nx_send_req *req)
{
    uint32_t next = req->head.order + 1;

    if (req->numbered && !atomic_compare_exchange_strong(req->order, &next, req->head.order))
        return false;
    req->numbered = false;
    return true;
}

void nx_outflow_leave(struct nx_outflow *flow, struct nx_send_req *req)
{
    req->flow = flow;
    nx_list_push_back(&flow->inflight, &req->link);
    flow->bytes += req->head.len;
}

void nx_outflow_land(struct nx_send_req *req)
{
    nx_list_remove(&req->link);
    req->flow->bytes -= req->head.len;
}

/* ---- held back, ended ---- */

nexar_status nx_outflow_hold(struct nx_peer *peer, const struct nx_key *key, bool hold)
{
    struct nx_outflow *flow = nx_outflow_find(peer, key);
    bool stopped;

    if (hold && (flow == NULL || !flow->held) && peer->held >= NX_HELD_MAX)
        return nx_fail(NEXAR_EPROTO, "it held back more than %d keys", NX_HELD_MAX);
    if (hold && flow == NULL)
        flow = nx_outflow_get(peer, key);
    /* Without memory for it, messages wait at the receiver's end. */
    if (flow == NULL || flow->held == hold)
        return NEXAR_OK;
    stopped = nx_outflow_stops(flow);
    flow->held = hold;
    peer->held += hold ? 1 : UINT32_MAX;
    if (nx_outflow_stops(flow) && !stopped)
        atomic_fetch_add(&peer->stopped, 1);
    else if (!nx_outflow_stops(flow) && stopped)
        atomic_fetch_sub(&peer->stopped, 1);
    return NEXAR_OK;
}

void nx_outflow_end(struct nx_peer *peer, struct nx_list *ended)
{
    struct nx_hash_node *node, *next;

    for (node = nx_hash_walk(&peer->flows, NULL); node != NULL; node = next) {
        struct nx_outflow *flow = nx_container_of(node, struct nx_outflow, node);

        next = nx_hash_walk(&peer->flows, node);
        if (nx_outflow_stops(flow))
            atomic_fetch_sub(&peer->stopped, 1);
        peer->held -= flow->held;
        flow->held = false;
        for (struct nx_list *pos = flow->waiting.next; pos != &flow->waiting; pos = pos->next)
            nx_container_of(pos, struct nx_send_req, link)->waiting = false;
        nx_list_splice(ended, &flow->waiting);
        nx_outflow_tidy(peer, flow);
    }
}

uint64_t nx_outflow_backlog(struct nx_peer *peer)
{
    struct nx_hash_node *node;
    uint64_t bytes = 0;

    for (node = nx_hash_walk(&peer->flows, NULL); node != NULL; node = nx_hash_walk(&peer->flows, node)) {
        struct nx_outflow *flow = nx_container_of(node, struct nx_outflow, node);

        /* An empty message is something too. */
        bytes += flow->bytes + !nx_list_empty(&flow->inflight) + !nx_list_empty(&flow->waiting);
    }
    return bytes;
}
