/* net/cancel.c - receives that end early, and what becomes of the messages that they had begun to get.
 *
 * Owner: the table's lock; bytes are copied back without it, while the message is marked so that the engine keeps away.
 * A receive that gives up must not take a message with it: whoever asks next gets it. */
#include "net/match.h"

/* With the lock: to the next receive that it fits, or back to its place among the unread. */
static void put_back(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo)
{
    struct nx_recv *recv;
    struct nx_list *at;

    while ((recv = nx_recv_for(lanes, &msg->key, scope)) != NULL) {
        nx_list_remove(&recv->link);
        if (nx_msg_match(lanes, msg, recv, todo))
            return;
    }
    /* Others may have come back before it, and some of those have come after it. */
    for (at = msg->flow->unread.next; at != &msg->flow->unread; at = at->next) {
        if (nx_container_of(at, struct nx_msg, link)->number > msg->number)
            break;
    }
    nx_list_insert_before(at, &msg->link);
    if (scope == NULL)
        return;
    for (at = scope->unread.next; at != &scope->unread; at = at->next) {
        if (nx_container_of(at, struct nx_msg, scope_link)->number > msg->number)
            break;
    }
    nx_list_insert_before(at, &msg->scope_link);
}

/* With the lock.  False: it has no place. */
static bool give_back(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_todo *todo)
{
    struct nx_scope *scope = NULL;

    if (msg->key.lane == NX_LANE_P2P) {
        scope = nx_scope_find(lanes, msg->key.scope);
        if (scope == NULL)
            return false;
    }
    if (!nx_msg_enter(lanes, msg))
        return false;
    msg->buffered = 0;
    nx_msg_account(lanes, msg, (int64_t)msg->got);
    put_back(lanes, msg, scope, todo);
    nx_msg_unpark(msg);
    return true;
}

/* What has come can be kept, and is as it came. */
static bool can_go_back(const struct nx_lanes *lanes, const struct nx_msg *msg)
{
    return msg->key.lane != NX_LANE_COLL && msg->got <= lanes->limits.lane_bytes &&
           lanes->peer[msg->key.peer].unread_bytes + msg->got <= lanes->limits.unread_bytes;
}

void nx_msg_withdraw(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_todo *todo)
{
    struct nx_recv *recv = msg->recv;
    bool back = can_go_back(lanes, msg);

    if (msg->got == msg->len)
        return; /* too late: it is whole */
    if (back) {
        recv->state = NX_RECV_BUSY;
        msg->returning = true;
        nx_unlock(&lanes->lock);
        back = nx_msg_take_back(msg) == NEXAR_OK;
        nx_lock(&lanes->lock);
        msg->returning = false;
    }
    msg->recv = NULL;
    nx_recv_end(recv, recv->status, todo);
    if (msg->cut) {
        nx_list_push_back(&todo->drop, &msg->link);
    } else if (!back || !give_back(lanes, msg, todo)) {
        recv->spoilt = true;
        msg->discard = true;
        nx_msg_unpark(msg);
    }
}

void nx_lane_cancel(struct nx_lanes *lanes, struct nx_recv *recv, nexar_status why)
{
    struct nx_todo todo;
    struct nx_flow *flow;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    switch (recv->state) {
    case NX_RECV_POSTED:
        nx_list_remove(&recv->link);
        flow = nx_key_any(&recv->key) ? NULL : nx_flow_find(lanes, &recv->key);
        if (flow != NULL)
            nx_flow_tidy(lanes, flow);
        nx_recv_end(recv, why, &todo);
        break;
    case NX_RECV_MATCHED:
        /* Between two pieces.  While the engine keeps one, it sees to this itself when it has. */
        recv->status = why;
        if (!recv->msg->keeping)
            nx_msg_withdraw(lanes, recv->msg, &todo);
        break;
    case NX_RECV_BUSY:
        /* Whoever is at its memory sees it afterwards. */
        if (recv->status == NEXAR_OK)
            recv->status = why;
        break;
    case NX_RECV_IDLE:
        break;
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}
