/* net/recall.c - messages that their sender takes back.
 *
 * Owner: the table's lock.  The bytes of such a message come all the same, since its sender's memory is free only when
 * they have; they are thrown away, and the message has its turn like any other, so that those behind it have theirs. */
#include "net/match.h"

#include "base/mem.h"

/* As many as there can be streams of one peer. */
enum { RECALLS_MAX = 4096 };

/* One that has not come yet. */
struct nx_recall {
    struct nx_list link;
    struct nx_key key;
    uint32_t order;
};

static struct nx_msg *find_unread(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order)
{
    struct nx_flow *flow = nx_flow_find(lanes, key);

    if (flow == NULL)
        return NULL;
    for (struct nx_list *pos = flow->unread.next; pos != &flow->unread; pos = pos->next) {
        struct nx_msg *msg = nx_container_of(pos, struct nx_msg, link);

        if (msg->ordered && msg->order == order)
            return msg;
    }
    return NULL;
}

static void forget(struct nx_lanes *lanes, struct nx_recall *recall)
{
    nx_list_remove(&recall->link);
    lanes->peer[recall->key.peer].recalls--;
    nx_free(recall);
}

/* With the lock. */
static nexar_status remember(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order)
{
    struct nx_lane_peer *peer = &lanes->peer[key->peer];
    struct nx_recall *recall;

    if (peer->recalls >= RECALLS_MAX)
        return nx_fail(NEXAR_EPROTO, "it took back more messages than it can have sent");
    recall = nx_alloc(sizeof(*recall));
    if (recall == NULL)
        return NEXAR_OK; /* then it is received, or waits to be */
    *recall = (struct nx_recall){.key = *key, .order = order};
    nx_list_push_back(&peer->recalled, &recall->link);
    peer->recalls++;
    nx_lanes_unstall(lanes, key->peer, UINT32_MAX); /* it may be one of those that wait for room */
    return NEXAR_OK;
}

nexar_status nx_lanes_recall(struct nx_lanes *lanes, const struct nx_key *key, uint32_t order)
{
    nexar_status st = NEXAR_OK;
    struct nx_scope *scope = NULL;
    struct nx_todo todo;
    struct nx_msg *msg;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    if (key->lane == NX_LANE_P2P)
        scope = nx_scope_find(lanes, key->scope);
    if ((msg = find_unread(lanes, key, order)) != NULL) {
        if (!msg->complete)
            nx_msg_discard(lanes, msg, &todo);
    } else if ((msg = nx_order_early(lanes, key, order)) != NULL) {
        msg->recalled = true;
        nx_msg_unpark(msg);
    } else if (key->lane == NX_LANE_P2P && scope == NULL) {
        st = remember(lanes, key, order);
    } else if (!nx_order_passed(lanes, key, order, scope)) {
        st = remember(lanes, key, order);
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    return st;
}

bool nx_recalled(struct nx_lanes *lanes, const struct nx_msg *msg, bool come)
{
    struct nx_lane_peer *peer = &lanes->peer[msg->key.peer];

    nx_list_for_each_safe(pos, tmp, &peer->recalled)
    {
        struct nx_recall *recall = nx_container_of(pos, struct nx_recall, link);

        if (recall->order != msg->order || recall->key.lane != msg->key.lane || recall->key.scope != msg->key.scope ||
            recall->key.id != msg->key.id)
            continue;
        if (come)
            forget(lanes, recall);
        return true;
    }
    return false;
}

void nx_recall_forget(struct nx_lanes *lanes, uint32_t peer)
{
    nx_list_for_each_safe(pos, tmp, &lanes->peer[peer].recalled)
        forget(lanes, nx_container_of(pos, struct nx_recall, link));
}
