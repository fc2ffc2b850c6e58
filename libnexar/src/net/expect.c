/* net/expect.c - a receive that its caller looks out for itself, instead of posting it.
 *
 * Owner: the engine, that is the caller while it looks at memory.  A message for it that is here in one piece, and
 * whose turn it is, goes straight into its memory; any other one takes the usual way. */
#include "net/arrive.h"
#include "net/match.h"

#include <string.h>

void nx_expect(struct nx_lanes *lanes, struct nx_recv *recv, struct nx_scope *scope)
{
    lanes->expected = recv;
    lanes->expected_scope = scope;
}

bool nx_expected(const struct nx_lanes *lanes)
{
    return lanes->expected != NULL;
}

void nx_expect_no_more(struct nx_lanes *lanes)
{
    lanes->expected = NULL;
}

static bool is_for(const struct nx_recv *recv, uint32_t peer, const struct nx_head *head)
{
    const struct nx_key *key = &recv->key;

    return head->lane == NX_LANE_P2P && head->scope == key->scope && head->len <= recv->cap &&
           (key->peer == peer || key->peer == NX_ANY_PEER) &&
           (key->id == head->id || (nx_id_any(key->id) && key->id >> 32 == head->id >> 32));
}

/* With the lock: it is the next one, and nobody and nothing was there before. */
static bool is_next(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head)
{
    const struct nx_recv *recv = lanes->expected;
    struct nx_scope *scope = lanes->expected_scope;
    struct nx_key key = {.peer = peer, .lane = NX_LANE_P2P, .scope = head->scope, .id = head->id};

    return !scope->stopped && !scope->peer[peer].stranger && head->order == scope->peer[peer].recv_order &&
           lanes->early.count == 0 && nx_list_empty(&lanes->peer[peer].recalled) &&
           nx_recv_for(lanes, &key, scope) == NULL && nx_msg_unread(lanes, &recv->key) == NULL;
}

bool nx_arrive_expected(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, struct nx_source *source,
                        const uint8_t *payload)
{
    struct nx_recv *recv = lanes->expected;
    bool mine;

    if (recv == NULL || !is_for(recv, peer, head))
        return false;
    nx_lock(&lanes->lock);
    mine = is_next(lanes, peer, head);
    if (mine) {
        nx_list_remove(&source->link);
        lanes->expected_scope->peer[peer].recv_order++;
    }
    nx_unlock(&lanes->lock);
    if (!mine)
        return false;
    if (head->len != 0)
        memcpy(recv->dst, payload, head->len);
    recv->from = peer;
    recv->id = head->id;
    recv->len = head->len;
    nx_expect_no_more(lanes);
    return true;
}
