/* net/match.c - flows and the rules by which messages meet receives.
 *
 * Owner: everything under the table's lock; what follows from it (copies, callbacks, notices to senders) is collected
 * in a struct nx_todo and done after the lock is released.  It moves no payload while locked, but for very small
 * ones. */
#include "net/match.h"

#include "base/slab.h"

enum { SOME = 16 };

static struct nx_slab flow_slab = NX_SLAB_INIT(struct nx_flow, 1024);

/* ---- flows ---- */

static uint64_t key_hash(const struct nx_key *key)
{
    return nx_hash_mix(nx_hash_mix(nx_hash_mix(0, (uint64_t)key->peer << 8 | key->lane), key->scope), key->id);
}

static bool key_equal(const struct nx_key *a, const struct nx_key *b)
{
    return a->peer == b->peer && a->lane == b->lane && a->scope == b->scope && a->id == b->id;
}

struct nx_flow *nx_flow_find(struct nx_lanes *lanes, const struct nx_key *key)
{
    for (struct nx_hash_node *n = nx_hash_first(&lanes->flows, key_hash(key)); n != NULL; n = nx_hash_next(n)) {
        struct nx_flow *flow = nx_container_of(n, struct nx_flow, node);

        if (key_equal(&flow->key, key))
            return flow;
    }
    return NULL;
}

struct nx_flow *nx_flow_get(struct nx_lanes *lanes, const struct nx_key *key)
{
    struct nx_flow *flow = nx_flow_find(lanes, key);

    if (flow != NULL)
        return flow;
    flow = nx_slab_get(&flow_slab);
    if (flow == NULL)
        return NULL;
    *flow = (struct nx_flow){.key = *key};
    nx_list_init(&flow->posted);
    nx_list_init(&flow->unread);
    nx_hash_insert(&lanes->flows, &flow->node, key_hash(key));
    return flow;
}

void nx_flow_unhold(struct nx_lanes *lanes, struct nx_flow *flow)
{
    lanes->peer[flow->key.peer].held -= flow->held;
    flow->held = false;
}

void nx_flow_tidy(struct nx_lanes *lanes, struct nx_flow *flow)
{
    if (!nx_list_empty(&flow->posted) || flow->count != 0 || flow->held)
        return;
    nx_hash_remove(&lanes->flows, &flow->node);
    nx_slab_put(&flow_slab, flow);
}

/* ---- what is left to do ---- */

void nx_todo_init(struct nx_todo *todo)
{
    todo->misfit_to = NULL;
    nx_list_init(&todo->done);
    nx_list_init(&todo->deliver);
    nx_list_init(&todo->drop);
}

/* A complete message and its receive, which is marked busy: nobody else touches either. */
static void deliver(struct nx_lanes *lanes, struct nx_msg *msg)
{
    struct nx_recv *recv = msg->recv;

    nx_msg_flush(lanes, msg);
    nx_msg_free(msg);
    nx_lock(&lanes->lock);
    recv->state = NX_RECV_IDLE;
    nx_unlock(&lanes->lock);
    /* It has all its bytes: a cancellation that came meanwhile was too late. */
    recv->done(recv, NEXAR_OK);
}

void nx_todo_run(struct nx_lanes *lanes, struct nx_todo *todo)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&todo->drop)) != NULL)
        nx_msg_free(nx_container_of(pos, struct nx_msg, link));
    while ((pos = nx_list_pop(&todo->deliver)) != NULL)
        deliver(lanes, nx_container_of(pos, struct nx_msg, link));
    while ((pos = nx_list_pop(&todo->done)) != NULL) {
        struct nx_recv *recv = nx_container_of(pos, struct nx_recv, link);

        recv->done(recv, recv->status);
    }
    if (todo->misfit_to != NULL)
        todo->misfit_to->misfit(todo->misfit_owner, &todo->misfit);
}

void nx_recv_end(struct nx_recv *recv, nexar_status status, struct nx_todo *todo)
{
    recv->state = NX_RECV_IDLE;
    recv->status = status;
    recv->msg = NULL;
    nx_list_push_back(&todo->done, &recv->link);
}

/* ---- accounts ---- */

bool nx_msg_enter(struct nx_lanes *lanes, struct nx_msg *msg)
{
    msg->flow = nx_flow_get(lanes, &msg->key);
    if (msg->flow == NULL)
        return false;
    msg->flow->count++;
    lanes->peer[msg->key.peer].unread_bytes += NX_MSG_COST;
    return true;
}

/* Tells the sender to stop when a flow has reached its limits, and to go on when it is nearly empty. */
static void check(struct nx_lanes *lanes, struct nx_flow *flow)
{
    const struct nx_lane_limits *l = &lanes->limits;
    uint32_t *held = &lanes->peer[flow->key.peer].held;

    /* Half of the limit is for what is on its way while the sender has not heard it yet. */
    if (!flow->held && *held < NX_HELD_MAX && (flow->bytes > l->lane_bytes / 2 || flow->count > l->lane_messages / 2)) {
        flow->held = true;
        ++*held;
        atomic_fetch_add_explicit(&lanes->stats.held, 1, memory_order_relaxed);
        lanes->events.hold(lanes->owner, &flow->key, true);
    } else if (flow->held && flow->bytes <= l->lane_bytes / 8 && flow->count <= l->lane_messages / 8) {
        flow->held = false;
        --*held;
        lanes->events.hold(lanes->owner, &flow->key, false);
    }
}

static void account(struct nx_lanes *lanes, struct nx_msg *msg, int64_t bytes)
{
    msg->flow->bytes += (uint64_t)bytes;
    lanes->peer[msg->key.peer].unread_bytes += (uint64_t)bytes;
    atomic_fetch_add_explicit(&lanes->stats.unread_bytes, (uint64_t)bytes, memory_order_relaxed);
}

void nx_msg_account(struct nx_lanes *lanes, struct nx_msg *msg, int64_t bytes)
{
    msg->buffered += (uint64_t)bytes;
    account(lanes, msg, bytes);
    /* A collective is never held back by key: what it waits for might be behind what is held. */
    if (msg->ordered)
        check(lanes, msg->flow);
}

void nx_msg_unpark(struct nx_msg *msg)
{
    if (!msg->parked)
        return;
    msg->parked = false;
    nx_list_remove(&msg->source->link);
    msg->source->resume(msg->source);
}

void nx_lanes_unstall(struct nx_lanes *lanes, uint32_t peer, uint32_t most)
{
    struct nx_list *pos;

    while (most-- > 0 && (pos = nx_list_pop(&lanes->peer[peer].stalled)) != NULL) {
        struct nx_source *source = nx_container_of(pos, struct nx_source, link);

        source->resume(source);
    }
}

void nx_msg_leave(struct nx_lanes *lanes, struct nx_msg *msg)
{
    struct nx_flow *flow = msg->flow;
    uint32_t peer = msg->key.peer;

    nx_list_remove(&msg->link);
    nx_list_remove(&msg->scope_link);
    if (msg->early) {
        msg->early = false;
        nx_hash_remove(&lanes->early, &msg->early_node);
    }
    if (flow == NULL)
        return;
    account(lanes, msg, -(int64_t)msg->buffered);
    msg->flow = NULL;
    flow->count--;
    lanes->peer[peer].unread_bytes -= NX_MSG_COST;
    if (flow->held)
        check(lanes, flow);
    nx_flow_tidy(lanes, flow);
    /* Not for every message, and not all: those that wait would take turns at finding no room again.  Whoever posts a
     * receive lets all of them try. */
    if (lanes->peer[peer].unread_bytes <= lanes->limits.unread_bytes / 4 * 3)
        nx_lanes_unstall(lanes, peer, SOME);
}

void nx_msg_discard(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_todo *todo)
{
    nx_msg_leave(lanes, msg);
    msg->discard = true;
    nx_msg_unpark(msg);
    if (msg->complete)
        nx_list_push_back(&todo->drop, &msg->link);
}

/* ---- meeting ---- */

bool nx_msg_match(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_recv *recv, struct nx_todo *todo)
{
    recv->from = msg->key.peer;
    recv->id = msg->key.id;
    recv->len = msg->len - (msg->len < recv->skip ? msg->len : recv->skip);
    if (msg->key.lane == NX_LANE_COLL && (msg->call != recv->call || msg->count != recv->count)) {
        recv->their_call = msg->call;
        recv->their_count = msg->count;
        nx_recv_end(recv, NEXAR_EMISMATCH, todo);
        return false;
    }
    if (msg->len < recv->skip || (msg->key.lane == NX_LANE_COLL && recv->len != recv->cap)) {
        nx_recv_end(recv, NEXAR_EPROTO, todo);
        return false;
    }
    if (recv->len > recv->cap) {
        nx_recv_end(recv, NEXAR_EMSGSIZE, todo);
        return false;
    }
    if (recv->own && recv->len != 0 && (recv->dst = nx_alloc(recv->len)) == NULL) {
        nx_recv_end(recv, NEXAR_ENOMEM, todo);
        return false;
    }
    nx_msg_leave(lanes, msg);
    recv->msg = msg;
    recv->status = NEXAR_OK;
    msg->recv = recv;
    if (recv->fn != NULL)
        nx_reduce_stream_init(&msg->reduce, recv->fn, recv->element, recv->dst, recv->cap / recv->element);
    if (msg->small && recv->fn == NULL) {
        nx_msg_flush(lanes, msg);
        nx_recv_end(recv, NEXAR_OK, todo);
        nx_list_push_back(&todo->drop, &msg->link);
    } else if (msg->complete) {
        recv->state = NX_RECV_BUSY;
        nx_list_push_back(&todo->deliver, &msg->link);
    } else {
        recv->state = NX_RECV_MATCHED;
        nx_msg_unpark(msg);
    }
    return true;
}

static bool wildcard_matches(const struct nx_key *pattern, const struct nx_key *key)
{
    return (pattern->peer == NX_ANY_PEER || pattern->peer == key->peer) &&
           (pattern->id == key->id || (nx_id_any(pattern->id) && pattern->id >> 32 == key->id >> 32));
}

struct nx_recv *nx_recv_for(struct nx_lanes *lanes, const struct nx_key *key, struct nx_scope *scope)
{
    struct nx_flow *flow = nx_flow_find(lanes, key);
    struct nx_recv *first = NULL;

    if (flow != NULL && !nx_list_empty(&flow->posted))
        first = nx_container_of(flow->posted.next, struct nx_recv, link);
    if (key->lane != NX_LANE_P2P || scope == NULL)
        return first;
    nx_list_for_each_safe(pos, tmp, &scope->wildcards)
    {
        struct nx_recv *recv = nx_container_of(pos, struct nx_recv, link);

        if (first != NULL && first->number < recv->number)
            break;
        if (wildcard_matches(&recv->key, key))
            return recv;
    }
    return first;
}

static void wake_probes(struct nx_scope *scope, const struct nx_key *key)
{
    nx_list_for_each_safe(pos, tmp, &scope->probes)
    {
        struct nx_probe *probe = nx_container_of(pos, struct nx_probe, link);

        if (wildcard_matches(&probe->key, key))
            nx_waiter_wake(&probe->waiter);
    }
}

void nx_msg_admit(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo)
{
    struct nx_recv *recv;

    msg->number = lanes->number++;
    if (msg->recalled) {
        nx_msg_discard(lanes, msg, todo);
        return;
    }
    while ((recv = nx_recv_for(lanes, &msg->key, scope)) != NULL) {
        nx_list_remove(&recv->link);
        if (nx_msg_match(lanes, msg, recv, todo))
            return;
        if (msg->key.lane == NX_LANE_COLL) {
            nx_msg_discard(lanes, msg, todo);
            return;
        }
    }
    if (msg->key.lane == NX_LANE_COLL && nx_scope_unwanted(lanes, msg, scope, todo)) {
        nx_msg_discard(lanes, msg, todo);
        return;
    }
    atomic_fetch_add_explicit(&lanes->stats.unexpected, 1, memory_order_relaxed);
    nx_list_push_back(&msg->flow->unread, &msg->link);
    if (msg->key.lane == NX_LANE_P2P) {
        nx_list_push_back(&scope->unread, &msg->scope_link);
        wake_probes(scope, &msg->key);
    } else if (msg->key.lane == NX_LANE_COLL) {
        nx_list_push_back(&scope->coll_unread, &msg->scope_link);
    }
    if (msg->ordered)
        check(lanes, msg->flow);
}

struct nx_msg *nx_msg_unread(struct nx_lanes *lanes, const struct nx_key *key)
{
    struct nx_scope *scope;

    if (!nx_key_any(key)) {
        struct nx_flow *flow = nx_flow_find(lanes, key);

        if (flow == NULL || nx_list_empty(&flow->unread))
            return NULL;
        return nx_container_of(flow->unread.next, struct nx_msg, link);
    }
    scope = nx_scope_find(lanes, key->scope);
    if (scope == NULL)
        return NULL;
    nx_list_for_each_safe(pos, tmp, &scope->unread)
    {
        struct nx_msg *msg = nx_container_of(pos, struct nx_msg, scope_link);

        if (wildcard_matches(key, &msg->key))
            return msg;
    }
    return NULL;
}
