/* net/order.c - messages that carry a number, because streams may swap them: each has its turn.
 *
 * Owner: the table's lock.  Numbers count per peer and lane, and between two ranks of a communicator per communicator.
 * A message is in turn as soon as its head is, wherever its payload may be. */
#include "net/match.h"

enum { WINDOW = 1 << 20 }; /* how far a message may be ahead of its turn */

static uint32_t *next_of(struct nx_lanes *lanes, const struct nx_key *key, struct nx_scope *scope)
{
    if (key->lane == NX_LANE_P2P)
        return &scope->peer[key->peer].recv_order;
    return &lanes->peer[key->peer].recv_order[key->lane];
}

/* What is counted together. */
static uint64_t scope_of(const struct nx_key *key)
{
    return key->lane == NX_LANE_P2P ? key->scope : 0;
}

static uint64_t hash_of(const struct nx_key *key, uint32_t order)
{
    return nx_hash_mix(nx_hash_mix(nx_hash_mix(0, (uint64_t)key->peer << 8 | key->lane), scope_of(key)), order);
}

struct nx_msg *nx_order_early(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order)
{
    struct nx_hash_node *n = nx_hash_first(&lanes->early, hash_of(key, order));

    for (; n != NULL; n = nx_hash_next(n)) {
        struct nx_msg *msg = nx_container_of(n, struct nx_msg, early_node);

        if (msg->order == order && msg->key.peer == key->peer && msg->key.lane == key->lane &&
            scope_of(&msg->key) == scope_of(key))
            return msg;
    }
    return NULL;
}

bool nx_order_next(struct nx_lanes *lanes, const struct nx_msg *msg, struct nx_scope *scope)
{
    return msg->order == *next_of(lanes, &msg->key, scope);
}

bool nx_order_passed(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order, struct nx_scope *scope)
{
    return order - *next_of(lanes, key, scope) > UINT32_MAX / 2;
}

bool nx_order_holds_up(struct nx_lanes *lanes, const struct nx_msg *msg, struct nx_scope *scope)
{
    return nx_order_next(lanes, msg, scope) && nx_order_early(lanes, &msg->key, msg->order + 1) != NULL;
}

bool nx_order_take(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo)
{
    uint32_t *next = next_of(lanes, &msg->key, scope);
    struct nx_key key = msg->key;

    msg->ordered = true;
    if (msg->order != *next) {
        if (msg->order - *next > WINDOW || nx_order_early(lanes, &key, msg->order) != NULL)
            return false;
        msg->early = true;
        nx_hash_insert(&lanes->early, &msg->early_node, hash_of(&key, msg->order));
        if (msg->order == *next + 1)
            nx_lanes_unstall(lanes, key.peer, UINT32_MAX); /* the one that holds it up may be among those that wait */
        return true;
    }
    while (msg != NULL) {
        if (msg->early)
            nx_hash_remove(&lanes->early, &msg->early_node);
        msg->early = false;
        ++*next;
        nx_msg_admit(lanes, msg, scope, todo);
        msg = nx_order_early(lanes, &key, *next);
    }
    return true;
}

void nx_order_drop(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_todo *todo)
{
    struct nx_hash_node *node = nx_hash_walk(&lanes->early, NULL);

    while (node != NULL) {
        struct nx_msg *msg = nx_container_of(node, struct nx_msg, early_node);

        node = nx_hash_walk(&lanes->early, node);
        if (scope == NULL || (msg->key.lane == NX_LANE_P2P && msg->key.scope == scope->id))
            nx_msg_discard(lanes, msg, todo); /* which takes it out of the table */
    }
}
