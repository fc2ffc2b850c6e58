/* net/lane.c - posting receives, probing, and the end of a peer.
 *
 * Owner: the table's lock.  It moves no bytes itself: arrive.c brings them, match.c says where they go. */
#include "net/lane.h"

#include "net/match.h"

#include <string.h>

nexar_status nx_lanes_init(struct nx_lanes *lanes, uint32_t size, const struct nx_lane_limits *limits,
                           const struct nx_lane_events *events, void *owner)
{
    *lanes = (struct nx_lanes){.size = size, .limits = *limits, .events = *events, .owner = owner};
    nx_mutex_init(&lanes->lock, NX_LOCK_LANES);
    nx_hash_init(&lanes->flows);
    nx_hash_init(&lanes->scopes);
    nx_hash_init(&lanes->early);
    lanes->peer = nx_calloc(size, sizeof(*lanes->peer));
    if (lanes->peer == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the lanes of %u peers", size);
    for (uint32_t i = 0; i < size; i++)
        nx_list_init(&lanes->peer[i].stalled);
    for (uint32_t i = 0; i < size; i++)
        nx_list_init(&lanes->peer[i].recalled);
    return NEXAR_OK;
}

void nx_lanes_fini(struct nx_lanes *lanes)
{
    struct nx_hash_node *node;
    struct nx_todo todo;

    if (lanes->peer == NULL)
        return;
    while ((node = nx_hash_walk(&lanes->scopes, NULL)) != NULL)
        nx_scope_close(lanes, nx_container_of(node, struct nx_scope, node));
    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    for (uint32_t i = 0; i < lanes->size; i++)
        nx_recall_forget(lanes, i);
    nx_order_drop(lanes, NULL, &todo);
    while ((node = nx_hash_walk(&lanes->flows, NULL)) != NULL) {
        struct nx_flow *flow = nx_container_of(node, struct nx_flow, node);

        nx_flow_unhold(lanes, flow);
        if (!nx_list_empty(&flow->unread)) {
            nx_msg_discard(lanes, nx_container_of(flow->unread.next, struct nx_msg, link), &todo);
            continue; /* with its last message the flow goes too */
        }
        flow->count = 0;
        nx_flow_tidy(lanes, flow);
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    nx_hash_fini(&lanes->flows);
    nx_hash_fini(&lanes->scopes);
    nx_hash_fini(&lanes->early);
    nx_free(lanes->peer);
    lanes->peer = NULL;
    nx_mutex_fini(&lanes->lock);
}

static nexar_status gone(struct nx_lanes *lanes, uint32_t peer)
{
    return peer == NX_ANY_PEER ? NEXAR_OK : lanes->peer[peer].gone;
}

/* What this receive waits for may be on a stream that waits for room. */
static void unstall(struct nx_lanes *lanes, uint32_t peer)
{
    for (uint32_t i = 0; i < lanes->size; i++) {
        if (peer == i || peer == NX_ANY_PEER)
            nx_lanes_unstall(lanes, i, UINT32_MAX);
    }
}

void nx_lane_post(struct nx_lanes *lanes, struct nx_recv *recv)
{
    struct nx_msg *msg;
    struct nx_todo todo;
    struct nx_scope *scope;
    struct nx_flow *flow;

    nx_todo_init(&todo);
    nx_list_init(&recv->link);
    recv->msg = NULL;
    recv->status = NEXAR_OK;
    recv->spoilt = false;
    nx_lock(&lanes->lock);
    recv->number = lanes->number++;
    msg = nx_msg_unread(lanes, &recv->key);
    if (msg != NULL) {
        /* One that is too large stays where it is. */
        if (msg->key.lane != NX_LANE_COLL && msg->len > recv->skip && msg->len - recv->skip > recv->cap) {
            recv->from = msg->key.peer;
            recv->id = msg->key.id;
            recv->len = msg->len - recv->skip;
            nx_recv_end(recv, NEXAR_EMSGSIZE, &todo);
        } else if (!nx_msg_match(lanes, msg, recv, &todo) && recv->status != NEXAR_ENOMEM) {
            nx_msg_discard(lanes, msg, &todo);
        }
    } else if (gone(lanes, recv->key.peer) != NEXAR_OK) {
        nx_recv_end(recv, gone(lanes, recv->key.peer), &todo);
    } else if (nx_key_any(&recv->key)) {
        scope = nx_scope_find(lanes, recv->key.scope);
        recv->state = NX_RECV_POSTED;
        if (scope != NULL)
            nx_list_push_back(&scope->wildcards, &recv->link);
        else
            nx_recv_end(recv, NEXAR_ECLOSED, &todo);
        unstall(lanes, recv->key.peer);
    } else {
        flow = nx_flow_get(lanes, &recv->key);
        recv->state = NX_RECV_POSTED;
        if (flow != NULL)
            nx_list_push_back(&flow->posted, &recv->link);
        else
            nx_recv_end(recv, NEXAR_ENOMEM, &todo);
        unstall(lanes, recv->key.peer);
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}

bool nx_lane_take(struct nx_lanes *lanes, struct nx_recv *recv)
{
    struct nx_msg *msg;

    nx_lock(&lanes->lock);
    msg = nx_msg_unread(lanes, &recv->key);
    if (msg == NULL || !msg->small || msg->len > recv->cap) {
        nx_unlock(&lanes->lock);
        return false;
    }
    recv->from = msg->key.peer;
    recv->id = msg->key.id;
    recv->len = msg->len;
    nx_msg_leave(lanes, msg);
    nx_unlock(&lanes->lock);
    if (msg->len != 0)
        memcpy(recv->dst, msg->bytes, msg->len);
    atomic_fetch_add_explicit(&lanes->stats.copies, msg->len, memory_order_relaxed);
    nx_msg_free(msg);
    return true;
}

void nx_lane_discard(struct nx_lanes *lanes, const struct nx_key *key)
{
    struct nx_todo todo;
    struct nx_msg *msg;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    msg = nx_msg_unread(lanes, key);
    if (msg != NULL)
        nx_msg_discard(lanes, msg, &todo);
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}

/* With the lock: true if there is one, or can be none any more. */
static bool look(struct nx_lanes *lanes, const struct nx_key *key, nexar_status *st, uint32_t *from, uint64_t *id,
                 uint64_t *len)
{
    struct nx_msg *msg = nx_msg_unread(lanes, key);

    *st = NEXAR_OK;
    if (msg != NULL) {
        *from = msg->key.peer;
        *id = msg->key.id;
        *len = msg->len;
        return true;
    }
    if (gone(lanes, key->peer) != NEXAR_OK)
        *st = NEXAR_EPEER;
    return *st != NEXAR_OK;
}

nexar_status nx_lane_probe(struct nx_lanes *lanes, const struct nx_key *key, nx_time deadline, uint32_t *from,
                           uint64_t *id, uint64_t *len)
{
    struct nx_probe probe = {.key = *key};
    nexar_status st = NEXAR_OK, waited = NEXAR_OK;
    struct nx_scope *scope;
    bool found;

    for (;;) {
        nx_waiter_init(&probe.waiter);
        nx_lock(&lanes->lock);
        found = look(lanes, key, &st, from, id, len);
        scope = nx_scope_find(lanes, key->scope);
        if (scope != NULL && scope->stopped)
            scope = NULL;
        if (!found && waited == NEXAR_OK && scope != NULL)
            nx_list_push_back(&scope->probes, &probe.link);
        nx_unlock(&lanes->lock);
        if (found)
            return st;
        if (waited != NEXAR_OK || scope == NULL)
            return scope == NULL ? NEXAR_ECLOSED : waited;
        do
            waited = nx_waiter_wait(&probe.waiter, deadline);
        while (waited == NEXAR_EINTR);
        nx_lock(&lanes->lock);
        nx_list_remove(&probe.link);
        nx_unlock(&lanes->lock);
    }
}

nexar_status nx_lane_peer_status(struct nx_lanes *lanes, uint32_t peer)
{
    nexar_status st;

    nx_lock(&lanes->lock);
    st = gone(lanes, peer);
    nx_unlock(&lanes->lock);
    return st;
}

void nx_lanes_drain(struct nx_lanes *lanes, uint32_t peer)
{
    struct nx_hash_node *node;

    nx_lock(&lanes->lock);
    lanes->peer[peer].draining = true;
    for (node = nx_hash_walk(&lanes->flows, NULL); node != NULL; node = nx_hash_walk(&lanes->flows, node)) {
        struct nx_flow *flow = nx_container_of(node, struct nx_flow, node);

        if (flow->key.peer != peer)
            continue;
        nx_list_for_each_safe(pos, tmp, &flow->unread) nx_msg_unpark(nx_container_of(pos, struct nx_msg, link));
    }
    for (node = nx_hash_walk(&lanes->early, NULL); node != NULL; node = nx_hash_walk(&lanes->early, node)) {
        struct nx_msg *msg = nx_container_of(node, struct nx_msg, early_node);

        if (msg->key.peer == peer)
            nx_msg_unpark(msg);
    }
    nx_lanes_unstall(lanes, peer, UINT32_MAX);
    nx_unlock(&lanes->lock);
}

void nx_lanes_peer_gone(struct nx_lanes *lanes, uint32_t peer, nexar_status why)
{
    struct nx_hash_node *node, *next;
    struct nx_todo todo;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    if (lanes->peer[peer].gone == NEXAR_OK)
        lanes->peer[peer].gone = why;
    nx_recall_forget(lanes, peer);
    for (node = nx_hash_walk(&lanes->flows, NULL); node != NULL; node = next) {
        struct nx_flow *flow = nx_container_of(node, struct nx_flow, node);

        next = nx_hash_walk(&lanes->flows, node);
        if (flow->key.peer != peer)
            continue;
        nx_list_for_each_safe(pos, tmp, &flow->posted)
        {
            nx_list_remove(pos);
            nx_recv_end(nx_container_of(pos, struct nx_recv, link), why, &todo);
        }
        nx_flow_unhold(lanes, flow);
        nx_flow_tidy(lanes, flow);
    }
    for (node = nx_hash_walk(&lanes->scopes, NULL); node != NULL; node = nx_hash_walk(&lanes->scopes, node)) {
        struct nx_scope *scope = nx_container_of(node, struct nx_scope, node);

        if (scope->peer[peer].stranger)
            continue;
        nx_list_for_each_safe(pos, tmp, &scope->wildcards)
        {
            struct nx_recv *recv = nx_container_of(pos, struct nx_recv, link);

            if (recv->key.peer != peer && (recv->key.peer != NX_ANY_PEER || why != NEXAR_EPEER))
                continue;
            nx_list_remove(pos);
            recv->from = peer;
            nx_recv_end(recv, why, &todo);
        }
        nx_list_for_each_safe(pos, tmp, &scope->probes)
            nx_waiter_wake(&nx_container_of(pos, struct nx_probe, link)->waiter);
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}
