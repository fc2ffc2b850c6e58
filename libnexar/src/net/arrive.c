/* net/arrive.c - messages as they come in: announced, written piece by piece, ended.
 *
 * Owner: begin, write and end run on the engine, so an incomplete message is touched by one thread; the table's lock
 * decides who writes into a receive's memory.  A message that nobody waits for is buffered as its bytes come, never by
 * its announced length. */
#include "net/arrive.h"

#include "net/match.h"

#include <string.h>

/* ---- sources ---- */

void nx_source_init(struct nx_source *source, void (*resume)(struct nx_source *))
{
    *source = (struct nx_source){.resume = resume};
    nx_list_init(&source->link);
}

void nx_source_forget(struct nx_lanes *lanes, struct nx_source *source)
{
    nx_lock(&lanes->lock);
    nx_list_remove(&source->link);
    nx_unlock(&lanes->lock);
}

/* Once for each time that it pauses: it may be in the list already. */
static void stall(struct nx_lanes *lanes, uint32_t peer, struct nx_source *source)
{
    nx_list_remove(&source->link);
    nx_list_push_back(&lanes->peer[peer].stalled, &source->link);
    atomic_fetch_add_explicit(&lanes->stats.parked, 1, memory_order_relaxed);
}

/* ---- begin ---- */

/* Whether somebody waits for this message now: then it needs no room. */
static bool wanted(struct nx_lanes *lanes, struct nx_msg *msg, bool ordered, struct nx_scope *scope)
{
    return (!ordered || nx_order_next(lanes, msg, scope)) && nx_recv_for(lanes, &msg->key, scope) != NULL;
}

/* Whether it must wait before it begins.  One that is alone on its stream can wait there later, when its bytes come;
 * so does one whose turn it is while others wait for theirs: somebody may want those. */
static bool must_wait(struct nx_lanes *lanes, const struct nx_msg *msg, bool ordered, struct nx_scope *scope,
                      const struct nx_source *source)
{
    const struct nx_lane_limits *l = &lanes->limits;
    struct nx_flow *flow;

    if (!source->shared && !source->whole)
        return false;
    if (nx_lanes_full(lanes, msg->key.peer))
        return !ordered || !nx_order_holds_up(lanes, msg, scope);
    flow = source->whole && !source->shared ? nx_flow_find(lanes, &msg->key) : NULL;
    return flow != NULL && (flow->count >= l->lane_messages || flow->bytes + msg->len > l->lane_bytes);
}

/* An empty message has nothing that could wait in its stream; a sender that was told to stop could have known better.
 */
static bool too_many(struct nx_lanes *lanes, const struct nx_msg *msg)
{
    struct nx_flow *flow = msg->len == 0 ? nx_flow_find(lanes, &msg->key) : NULL;
    const struct nx_lane_peer *peer = &lanes->peer[msg->key.peer];

    return (flow != NULL && flow->held && flow->count >= 2 * lanes->limits.lane_messages) ||
           peer->unread_bytes >= (peer->draining ? 4 : 2) * lanes->limits.unread_bytes;
}

/* With the lock.  NEXAR_ECLOSED: it is for nobody. */
static nexar_status admit(struct nx_lanes *lanes, struct nx_msg *msg, bool ordered, struct nx_source *source,
                          struct nx_todo *todo)
{
    struct nx_scope *scope = NULL;
    nexar_status st = NEXAR_OK;

    if (msg->key.lane == NX_LANE_P2P || msg->key.lane == NX_LANE_COLL)
        scope = nx_scope_for_arrival(lanes, msg->key.peer, msg->key.scope, &st);
    if (st != NEXAR_OK)
        return st;
    msg->recalled = ordered && nx_recalled(lanes, msg, false);
    if (!msg->recalled && must_wait(lanes, msg, ordered, scope, source) && !wanted(lanes, msg, ordered, scope)) {
        stall(lanes, msg->key.peer, source);
        return NEXAR_EAGAIN;
    }
    if (!msg->recalled && too_many(lanes, msg) && !wanted(lanes, msg, ordered, scope))
        return nx_fail(NEXAR_EPROTO, "it sent more messages than may be unread");
    if (!nx_msg_enter(lanes, msg))
        return nx_fail(NEXAR_ENOMEM, "no memory for a message");
    if (msg->recalled)
        nx_recalled(lanes, msg, true);
    if (!ordered)
        nx_msg_admit(lanes, msg, scope, todo);
    else if (!nx_order_take(lanes, msg, scope, todo))
        st = nx_fail(NEXAR_EPROTO, "it sent message %u of a lane out of turn", msg->order);
    if (st != NEXAR_OK)
        nx_msg_leave(lanes, msg);
    return st;
}

struct nx_msg *nx_arrive_begin(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, bool ordered,
                               struct nx_source *source, nexar_status *st)
{
    struct nx_msg *msg = nx_msg_new(peer, head, source);
    struct nx_todo todo;

    if (msg == NULL) {
        *st = nx_fail(NEXAR_ENOMEM, "no memory for a message");
        return NULL;
    }
    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    nx_list_remove(&source->link);
    *st = admit(lanes, msg, ordered, source, &todo);
    if (*st == NEXAR_ECLOSED) {
        atomic_fetch_add_explicit(&lanes->stats.stale, 1, memory_order_relaxed);
        msg->discard = true;
        *st = NEXAR_OK;
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    if (*st == NEXAR_OK)
        return msg;
    nx_msg_free(msg);
    return NULL;
}

/* ---- write ---- */

/* The receive, marked busy, has got `n` bytes. */
static void wrote(struct nx_lanes *lanes, struct nx_msg *msg, uint64_t n)
{
    struct nx_recv *recv = msg->recv;
    struct nx_todo todo;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    msg->got += n;
    recv->state = NX_RECV_MATCHED;
    if (recv->status != NEXAR_OK)
        nx_msg_withdraw(lanes, msg, &todo); /* cancelled meanwhile */
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Bytes of an unread message that may be kept now. */
static size_t room_for(struct nx_lanes *lanes, struct nx_msg *msg, size_t n)
{
    const struct nx_lane_limits *l = &lanes->limits;
    uint64_t peer = lanes->peer[msg->key.peer].unread_bytes, room = n;
    uint64_t most = l->unread_bytes / 4 * 3; /* the rest is for streams that others need, too */

    /* Whoever leaves has windows full of data under way, and no more than that. */
    if (lanes->peer[msg->key.peer].draining)
        return peer + n <= 4 * l->unread_bytes ? n : 0;
    if (msg->source->whole)
        return n; /* it was looked at when it began */
    if (msg->source->shared)
        return (size_t)less(room, peer < l->unread_bytes ? l->unread_bytes - peer : 0);
    room = less(room, peer < most ? most - peer : 0);
    if (msg->flow->count > l->lane_messages)
        return 0;
    return (size_t)less(room, msg->flow->bytes < l->lane_bytes ? l->lane_bytes - msg->flow->bytes : 0);
}

/* With the lock: the stream waits until there is a receive, or room. */
static nexar_status pause(struct nx_lanes *lanes, struct nx_msg *msg)
{
    if (lanes->peer[msg->key.peer].draining)
        return nx_fail(NEXAR_EPROTO, "it sent more after its farewell than can have been under way");
    msg->parked = true;
    if (msg->source->shared)
        stall(lanes, msg->key.peer, msg->source);
    else
        atomic_fetch_add_explicit(&lanes->stats.parked, 1, memory_order_relaxed);
    return NEXAR_EAGAIN;
}

/* Keeps what there is room for. */
static size_t keep(struct nx_lanes *lanes, struct nx_msg *msg, const uint8_t *bytes, size_t take, nexar_status *st)
{
    struct nx_todo todo;
    nexar_status kept = nx_msg_append(msg, bytes, take);

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    msg->keeping = false;
    msg->got += take;
    if (kept == NEXAR_OK && msg->recv != NULL && msg->recv->status != NEXAR_OK)
        nx_msg_withdraw(lanes, msg, &todo); /* posted and cancelled meanwhile */
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    if (kept == NEXAR_OK)
        return take;
    *st = kept;
    return 0;
}

size_t nx_arrive_write(struct nx_lanes *lanes, struct nx_msg *msg, const uint8_t *bytes, size_t n, nexar_status *st)
{
    size_t take;

    *st = NEXAR_OK;
    nx_lock(&lanes->lock);
    msg->parked = false;
    nx_list_remove(&msg->source->link);
    if (msg->discard || msg->recalled) {
        nx_unlock(&lanes->lock);
        return n;
    }
    if (msg->returning) {
        msg->parked = true; /* not for long */
        nx_unlock(&lanes->lock);
        *st = NEXAR_EAGAIN;
        return 0;
    }
    if (msg->recv != NULL) {
        msg->recv->state = NX_RECV_BUSY;
        nx_unlock(&lanes->lock);
        nx_msg_flush(lanes, msg);
        nx_msg_put(msg, bytes, n);
        wrote(lanes, msg, n);
        return n;
    }
    take = room_for(lanes, msg, n);
    if (take > 0)
        nx_msg_account(lanes, msg, (int64_t)take);
    if (take < n)
        *st = pause(lanes, msg);
    msg->keeping = take > 0;
    nx_unlock(&lanes->lock);
    return take > 0 ? keep(lanes, msg, bytes, take, st) : 0;
}

/* ---- straight into a receive's memory ---- */

nexar_status nx_arrive_place(struct nx_lanes *lanes, struct nx_msg *msg, uint8_t **at, uint64_t *n, bool wait)
{
    const struct nx_recv *recv;
    nexar_status st = NEXAR_OK;

    nx_lock(&lanes->lock);
    msg->parked = false;
    nx_list_remove(&msg->source->link);
    recv = msg->recv;
    if (msg->returning ||
        (recv == NULL && wait && !msg->discard && !msg->recalled && !lanes->peer[msg->key.peer].draining)) {
        msg->parked = true;
        st = NEXAR_EAGAIN;
    } else if (recv == NULL || recv->fn != NULL || recv->pieces != NULL || msg->got < recv->skip) {
        st = NEXAR_ENOTSUP;
    } else {
        msg->recv->state = NX_RECV_BUSY;
    }
    nx_unlock(&lanes->lock);
    if (st != NEXAR_OK)
        return st;
    nx_msg_flush(lanes, msg);
    *at = recv->dst + (msg->delivered - recv->skip);
    *n = less(*n, msg->len - msg->got);
    return NEXAR_OK;
}

void nx_arrive_placed(struct nx_lanes *lanes, struct nx_msg *msg, uint64_t n)
{
    msg->delivered += n;
    wrote(lanes, msg, n);
}

void nx_arrive_move(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_source *source)
{
    nx_lock(&lanes->lock);
    msg->parked = false;
    nx_list_remove(&msg->source->link);
    msg->source = source;
    nx_unlock(&lanes->lock);
}

/* ---- end ---- */

void nx_arrive_end(struct nx_lanes *lanes, struct nx_msg *msg, nexar_status status)
{
    struct nx_recv *recv;
    bool mine;

    nx_lock(&lanes->lock);
    msg->complete = true;
    if (msg->source != NULL)
        nx_list_remove(&msg->source->link);
    msg->source = NULL;
    if (msg->returning) {
        msg->cut = true; /* not all of it has come, so this is no good end; whoever takes it back frees it */
        nx_unlock(&lanes->lock);
        return;
    }
    recv = msg->recv;
    mine = recv != NULL || msg->discard || status != NEXAR_OK;
    if (recv != NULL)
        recv->state = NX_RECV_BUSY;
    else if (mine)
        nx_msg_leave(lanes, msg);
    nx_unlock(&lanes->lock);
    if (recv != NULL) {
        if (status == NEXAR_OK)
            nx_msg_flush(lanes, msg);
        nx_lock(&lanes->lock);
        recv->state = NX_RECV_IDLE;
        recv->msg = NULL;
        nx_unlock(&lanes->lock);
    }
    if (mine)
        nx_msg_free(msg);
    if (recv != NULL)
        recv->done(recv, status);
}

/* ---- all in one ---- */

nexar_status nx_arrive_small(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, bool ordered,
                             struct nx_source *source, const uint8_t *payload)
{
    struct nx_msg *msg = nx_msg_new(peer, head, NULL);
    struct nx_todo todo;
    nexar_status st;

    if (msg == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a message");
    if (head->len != 0)
        memcpy(msg->bytes, payload, head->len);
    msg->got = head->len;
    msg->small = msg->complete = true;
    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    nx_list_remove(&source->link);
    st = admit(lanes, msg, ordered, source, &todo);
    if (st == NEXAR_OK && msg->flow != NULL)
        nx_msg_account(lanes, msg, (int64_t)head->len); /* nobody waited for it */
    if (st == NEXAR_ECLOSED)
        atomic_fetch_add_explicit(&lanes->stats.stale, 1, memory_order_relaxed);
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    if (st != NEXAR_OK)
        nx_msg_free(msg);
    return st == NEXAR_ECLOSED ? NEXAR_OK : st;
}

/* ---- to oneself ---- */

nexar_status nx_arrive_local(struct nx_lanes *lanes, uint32_t self, const struct nx_head *head, const void *payload)
{
    struct nx_msg *msg = nx_msg_new(self, head, NULL);
    nexar_status st = NEXAR_ENOMEM;
    struct nx_scope *scope;
    struct nx_todo todo;

    if (msg == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a message");
    nx_todo_init(&todo);
    if (nx_msg_append(msg, payload, head->len) == NEXAR_OK) {
        msg->got = head->len;
        msg->complete = true;
        nx_lock(&lanes->lock);
        scope = nx_scope_for_arrival(lanes, self, head->scope, &st);
        if (scope != NULL && nx_msg_enter(lanes, msg)) {
            nx_msg_account(lanes, msg, (int64_t)head->len);
            nx_msg_admit(lanes, msg, scope, &todo);
            msg = NULL;
        }
        nx_unlock(&lanes->lock);
    }
    nx_todo_run(lanes, &todo);
    if (msg == NULL)
        return NEXAR_OK;
    nx_msg_free(msg);
    if (st == NEXAR_ECLOSED)
        return nx_fail(st, "the communicator is closed");
    return nx_fail(NEXAR_ENOMEM, "no memory to keep a message of %llu bytes to oneself", (unsigned long long)head->len);
}
