/* net/arrive.c - messages as they come in: announced, written piece by piece, ended.
 *
 * Owner: begin, write and end run on the engine, so an incomplete message is touched by one thread; the table's lock
 * decides who writes into a receive's memory.  A message that nobody waits for is buffered as its bytes come, never by
 * its announced length. */
#include "net/arrive.h"

#include "net/match.h"

#include "base/slab.h"

#include <string.h>

enum {
    CHUNK_MIN = 1024,
    CHUNK_MAX = 256 * 1024,
    ORDER_WINDOW = 1 << 20, /* how far a message may be ahead of its turn */
};

static struct nx_slab msg_slab = NX_SLAB_INIT(struct nx_msg, 1024);

/* ---- payload ---- */

void nx_msg_free(struct nx_msg *msg)
{
    while (msg->first != NULL) {
        struct nx_buffer *next = msg->first->next;

        nx_buffer_put(msg->first);
        msg->first = next;
    }
    nx_slab_put(&msg_slab, msg);
}

void nx_msg_put(struct nx_msg *msg, const uint8_t *bytes, size_t n)
{
    struct nx_recv *recv = msg->recv;

    while (n > 0 && msg->delivered < recv->skip) {
        recv->prefix[msg->delivered++] = *bytes++;
        n--;
    }
    if (n == 0)
        return;
    if (recv->fn != NULL)
        nx_reduce_feed(&msg->reduce, bytes, n);
    else
        memcpy(recv->dst + (msg->delivered - recv->skip), bytes, n);
    msg->delivered += n;
}

void nx_msg_flush(struct nx_lanes *lanes, struct nx_msg *msg)
{
    while (msg->first != NULL) {
        struct nx_buffer *chunk = msg->first;

        nx_msg_put(msg, chunk->data, chunk->used);
        atomic_fetch_add_explicit(&lanes->stats.copies, chunk->used, memory_order_relaxed);
        msg->first = chunk->next;
        nx_buffer_put(chunk);
    }
    msg->last = NULL;
}

/* Keeps bytes until a receive comes.  Chunks grow with what has come, not with what was announced. */
static nexar_status append(struct nx_msg *msg, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        size_t take;

        if (msg->last == NULL || msg->last->used == msg->last->room) {
            size_t size = msg->got < CHUNK_MIN ? CHUNK_MIN : msg->got < CHUNK_MAX ? (size_t)msg->got : CHUNK_MAX;
            struct nx_buffer *chunk = nx_buffer_get(n > size && n <= CHUNK_MAX ? n : size);

            if (chunk == NULL)
                return nx_fail(NEXAR_ENOMEM, "no memory for a message that nobody waits for yet");
            if (msg->last == NULL)
                msg->first = chunk;
            else
                msg->last->next = chunk;
            msg->last = chunk;
        }
        take = msg->last->room - msg->last->used;
        if (take > n)
            take = n;
        memcpy(msg->last->data + msg->last->used, bytes, take);
        msg->last->used += take;
        bytes += take;
        n -= take;
    }
    return NEXAR_OK;
}

/* ---- begin ---- */

static struct nx_msg *new_msg(uint32_t peer, const struct nx_head *head, struct nx_source *source)
{
    struct nx_msg *msg = nx_slab_get(&msg_slab);

    if (msg == NULL)
        return NULL;
    *msg = (struct nx_msg){
        .key = {.peer = peer, .lane = head->lane, .scope = head->scope, .id = head->id},
        .len = head->len,
        .call = head->call,
        .count = head->count,
        .order = head->order,
        .source = source,
    };
    nx_list_init(&msg->link);
    nx_list_init(&msg->scope_link);
    return msg;
}

/* Counts the turns of one sender and keeps what came too early. */
struct turns {
    uint32_t *next;
    struct nx_list *early;
};

static struct turns turns_of(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope)
{
    struct nx_lane_peer *peer = &lanes->peer[msg->key.peer];

    if (msg->key.lane == NX_LANE_P2P)
        return (struct turns){&scope->peer[msg->key.peer].recv_order, &scope->peer[msg->key.peer].early};
    return (struct turns){&peer->recv_order[msg->key.lane], &peer->early[msg->key.lane]};
}

/* Before its turn: kept by order.  False if it repeats one, or is too far ahead. */
static bool keep_early(struct nx_msg *msg, struct turns t)
{
    struct nx_list *at = t.early->prev;

    if (msg->order - *t.next > ORDER_WINDOW)
        return false;
    for (; at != t.early; at = at->prev) {
        uint32_t order = nx_container_of(at, struct nx_msg, link)->order;

        if (order == msg->order)
            return false;
        if (order - *t.next < msg->order - *t.next)
            break;
    }
    msg->early = true;
    nx_list_insert_before(at->next, &msg->link);
    return true;
}

static void admit_early(struct nx_lanes *lanes, struct turns t, struct nx_scope *scope, struct nx_todo *todo)
{
    while (!nx_list_empty(t.early)) {
        struct nx_msg *msg = nx_container_of(t.early->next, struct nx_msg, link);

        if (msg->order != *t.next)
            return;
        ++*t.next;
        nx_list_remove(&msg->link);
        nx_msg_admit(lanes, msg, scope, todo);
    }
}

struct nx_msg *nx_arrive_begin(struct nx_lanes *lanes, uint32_t peer, const struct nx_head *head, bool ordered,
                               struct nx_source *source, nexar_status *st)
{
    struct nx_msg *msg = new_msg(peer, head, source);
    struct nx_scope *scope = NULL;
    struct nx_todo todo;
    bool fine = true;

    *st = NEXAR_OK;
    if (msg == NULL) {
        *st = nx_fail(NEXAR_ENOMEM, "no memory for a message");
        return NULL;
    }
    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    if (head->lane == NX_LANE_P2P || head->lane == NX_LANE_COLL) {
        scope = nx_scope_for_arrival(lanes, head->scope);
        fine = scope != NULL;
    }
    fine = fine && nx_msg_enter(lanes, msg);
    if (fine && ordered) {
        struct turns t = turns_of(lanes, msg, scope);

        msg->ordered = true;
        if (msg->order == *t.next) {
            ++*t.next;
            nx_msg_admit(lanes, msg, scope, &todo);
            admit_early(lanes, t, scope, &todo);
        } else {
            fine = keep_early(msg, t);
        }
    } else if (fine) {
        nx_msg_admit(lanes, msg, scope, &todo);
    }
    if (!fine)
        nx_msg_leave(lanes, msg);
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    if (fine)
        return msg;
    nx_msg_free(msg);
    *st = nx_fail(NEXAR_EPROTO, "a message out of turn, or for too many communicators that are not known here");
    return NULL;
}

/* ---- write ---- */

/* With a receive: straight into its memory. */
static void write_through(struct nx_lanes *lanes, struct nx_msg *msg, const uint8_t *bytes, size_t n)
{
    struct nx_recv *recv = msg->recv, *ended = NULL;

    nx_msg_flush(lanes, msg);
    nx_msg_put(msg, bytes, n);
    msg->got += n;
    nx_lock(&lanes->lock);
    recv->state = NX_RECV_MATCHED;
    if (recv->status != NEXAR_OK) {
        /* Cancelled meanwhile: the rest of the message goes nowhere. */
        recv->state = NX_RECV_IDLE;
        recv->msg = NULL;
        msg->recv = NULL;
        msg->discard = true;
        ended = recv;
    }
    nx_unlock(&lanes->lock);
    if (ended != NULL)
        ended->done(ended, ended->status);
}

/* Bytes of an unread message that may be kept now. */
static size_t room_for(struct nx_lanes *lanes, struct nx_msg *msg, size_t n)
{
    uint64_t peer = lanes->peer[msg->key.peer].unread_bytes, flow = msg->flow->bytes;
    uint64_t room;

    if (lanes->peer[msg->key.peer].draining)
        return n;
    if (msg->source->shared) {
        /* It cannot pause, and a sender that obeys is stopped by then: twice the limit is a breach. */
        return peer + n <= 2 * lanes->limits.unread_bytes ? n : 0;
    }
    if (peer >= lanes->limits.unread_bytes || flow >= lanes->limits.lane_bytes)
        return 0;
    room = lanes->limits.lane_bytes - flow;
    if (room > lanes->limits.unread_bytes - peer)
        room = lanes->limits.unread_bytes - peer;
    return room < n ? (size_t)room : n;
}

size_t nx_arrive_write(struct nx_lanes *lanes, struct nx_msg *msg, const uint8_t *bytes, size_t n)
{
    size_t take;

    nx_lock(&lanes->lock);
    if (msg->discard) {
        nx_unlock(&lanes->lock);
        return n;
    }
    if (msg->recv != NULL) {
        msg->recv->state = NX_RECV_BUSY;
        nx_unlock(&lanes->lock);
        write_through(lanes, msg, bytes, n);
        return n;
    }
    take = room_for(lanes, msg, n);
    if (take < n && !msg->source->shared) {
        msg->parked = take == 0;
        atomic_fetch_add_explicit(&lanes->stats.parked, take == 0, memory_order_relaxed);
    }
    if (take > 0)
        nx_msg_account(lanes, msg, take);
    nx_unlock(&lanes->lock);
    if (take > 0 && append(msg, bytes, take) != NEXAR_OK)
        take = 0;
    msg->got += take;
    return take;
}

/* ---- end ---- */

void nx_arrive_end(struct nx_lanes *lanes, struct nx_msg *msg, nexar_status status)
{
    struct nx_recv *recv;
    bool mine;

    nx_lock(&lanes->lock);
    recv = msg->recv;
    mine = recv != NULL || msg->discard || status != NEXAR_OK;
    if (recv != NULL)
        recv->state = NX_RECV_BUSY;
    else if (mine)
        nx_msg_leave(lanes, msg);
    msg->complete = true;
    msg->source = NULL;
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

/* ---- to oneself ---- */

nexar_status nx_arrive_local(struct nx_lanes *lanes, uint32_t self, const struct nx_head *head, const void *payload)
{
    struct nx_msg *msg = new_msg(self, head, NULL);
    struct nx_scope *scope;
    struct nx_todo todo;

    if (msg == NULL || append(msg, payload, head->len) != NEXAR_OK)
        goto fail;
    msg->got = head->len;
    msg->complete = true;
    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    scope = nx_scope_for_arrival(lanes, head->scope);
    if (scope == NULL || !nx_msg_enter(lanes, msg)) {
        nx_unlock(&lanes->lock);
        goto fail;
    }
    nx_msg_account(lanes, msg, head->len);
    nx_msg_admit(lanes, msg, scope, &todo);
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    return NEXAR_OK;
fail:
    if (msg != NULL)
        nx_msg_free(msg);
    return nx_fail(NEXAR_ENOMEM, "no memory to keep a message of %llu bytes to oneself", (unsigned long long)head->len);
}
