/* rpc/queue.c - calls wait for threads, and threads for calls.
 *
 * Owner: the lock of struct nx_rpc.  At most one idle thread of a queue looks for what comes by driving the engine, and
 * only for a moment after it was busy, since it keeps the engine from others; the rest sleep. */
#include "rpc/desk.h"

#include <errno.h>

/* How long an idle thread drives the engine; and how long a call waits for a busy thread before another is woken. */
#define LOOK (2 * NX_MS)
#define PATIENCE NX_MS
/* Functions that take less time, as a rule, are not worth another thread. */
#define SHORT (50 * NX_US)

/* With the lock. */
static void wake_sleeper(struct nx_desk_queue *queue)
{
    if (queue->sleepers == 0)
        return;
    atomic_fetch_add(&queue->word, 1);
    nx_futex_wake(&queue->word);
}

static void look_after(struct nexar_desk *desk, struct nx_desk_queue *queue)
{
    if (queue->timed)
        return;
    queue->timed = true;
    atomic_fetch_add(&desk->refs, 1);
    nx_timer_set(&queue->timer, nx_after(nx_now(), PATIENCE));
}

static void timer_fired(struct nexar_desk *desk, struct nx_desk_queue *queue)
{
    nx_lock(&desk->rpc->lock);
    queue->timed = false;
    if (!nx_list_empty(&queue->requests)) {
        wake_sleeper(queue);
        if (queue->sleepers > 1)
            look_after(desk, queue);
    }
    nx_unlock(&desk->rpc->lock);
    nx_desk_drop(desk);
}

static void ours_fired(struct nx_timer *timer)
{
    struct nexar_desk *desk = nx_container_of(timer, struct nexar_desk, queue[NX_DESK_OURS].timer);

    timer_fired(desk, &desk->queue[NX_DESK_OURS]);
}

static void theirs_fired(struct nx_timer *timer)
{
    struct nexar_desk *desk = nx_container_of(timer, struct nexar_desk, queue[NX_DESK_THEIRS].timer);

    timer_fired(desk, &desk->queue[NX_DESK_THEIRS]);
}

void nx_desk_wake(struct nexar_desk *desk, struct nx_desk_queue *queue)
{
    if (queue->looker != NULL) {
        nx_waiter_wake(queue->looker);
        queue->looker = NULL;
    } else if (queue->busy == 0 || queue->typical > SHORT) {
        wake_sleeper(queue);
    } else if (queue->sleepers != 0) {
        look_after(desk, queue);
    }
}

/* With the lock: the oldest call that somebody waits for, its state changed; late ones are answered by the caller. */
static struct nexar_request *take(struct nx_desk_queue *queue)
{
    struct nexar_request *request;

    if (nx_list_empty(&queue->requests))
        return NULL;
    request = nx_container_of(queue->requests.next, struct nexar_request, link);
    nx_rpc_unqueue(request);
    request->state = NX_REQUEST_TAKEN;
    return request;
}

static void refuse_late(struct nexar_request *request)
{
    struct nx_rpc *rpc = request->rpc;

    nx_lock(&rpc->lock);
    nx_hash_remove(&rpc->requests, &request->node);
    nx_unlock(&rpc->lock);
    if (nx_rpc_enter(rpc)) {
        nx_rpc_hold(rpc);
        nx_request_refuse(request, NX_RPC_LATE);
        nx_rpc_leave(rpc);
        nx_rpc_drop(rpc);
    } else {
        nx_request_free(request);
    }
}

/* With the lock, which it gives up meanwhile: until something may have come.  A thread looks for a moment, then
 * sleeps. */
static nexar_status wait(struct nexar_desk *desk, struct nx_desk_queue *queue, bool *looked, nx_time deadline)
{
    struct nx_rpc *rpc = desk->rpc;
    nx_time until = nx_after(nx_now(), LOOK);
    nexar_status st = NEXAR_OK;
    struct nx_waiter waiter;
    uint32_t seen;

    if (!*looked && queue->looker == NULL) {
        *looked = true;
        nx_waiter_init(&waiter);
        queue->looker = &waiter;
        nx_unlock(&rpc->lock);
        st = nx_waiter_wait(&waiter, until < deadline ? until : deadline);
        nx_lock(&rpc->lock);
        if (queue->looker == &waiter)
            queue->looker = NULL;
        return st == NEXAR_EAGAIN && nx_now() < deadline ? NEXAR_OK : st;
    }
    queue->sleepers++;
    seen = atomic_load(&queue->word);
    nx_unlock(&rpc->lock);
    switch (nx_futex_wait(&queue->word, seen, deadline)) {
    case ETIMEDOUT:
        st = NEXAR_EAGAIN;
        break;
    case EINTR:
        st = NEXAR_EINTR;
        break;
    default:
        break;
    }
    nx_lock(&rpc->lock);
    queue->sleepers--;
    return st;
}

nexar_status nx_desk_take(struct nexar_desk *desk, struct nx_desk_queue *queue, nx_time deadline,
                          struct nexar_request **out)
{
    struct nx_rpc *rpc = desk->rpc;
    nexar_status st = NEXAR_OK;
    bool looked = false;

    *out = NULL;
    nx_lock(&rpc->lock);
    while (*out == NULL && st == NEXAR_OK) {
        *out = take(queue);
        if (*out == NULL && desk->comm == NULL)
            st = NEXAR_ECLOSED;
        else if (*out == NULL)
            st = wait(desk, queue, &looked, deadline);
        if (*out == NULL && st == NEXAR_EAGAIN)
            *out = take(queue); /* it may have come at the last moment */
        if (*out != NULL && (*out)->deadline != NX_NEVER && nx_now() >= (*out)->deadline) {
            nx_unlock(&rpc->lock);
            refuse_late(*out);
            *out = NULL;
            nx_rpc_room(rpc); /* it may be long until the next is taken */
            st = NEXAR_OK;
            nx_lock(&rpc->lock);
        }
    }
    if (*out != NULL)
        queue->busy++;
    /* Who is about to be busy for long leaves what is behind it to others. */
    if (*out != NULL && !nx_list_empty(&queue->requests)) {
        if (queue->typical > SHORT)
            wake_sleeper(queue);
        else if (queue->sleepers != 0)
            look_after(desk, queue);
    }
    nx_unlock(&rpc->lock);
    if (*out != NULL)
        nx_rpc_room(rpc);
    return *out != NULL ? NEXAR_OK : st;
}

void nx_desk_handled(struct nexar_desk *desk, struct nx_desk_queue *queue, nx_time span)
{
    nx_lock(&desk->rpc->lock);
    queue->busy--;
    queue->typical += (span - queue->typical) / 8;
    nx_unlock(&desk->rpc->lock);
}

void nx_desk_wake_all(struct nx_desk_queue *queue)
{
    if (queue->looker != NULL)
        nx_waiter_wake(queue->looker);
    queue->looker = NULL;
    atomic_fetch_add(&queue->word, 1);
    for (uint32_t i = 0; i < queue->sleepers; i++)
        nx_futex_wake(&queue->word);
}

void nx_desk_queue_init(struct nexar_desk *desk)
{
    static void (*const fired[NX_DESK_QUEUES])(struct nx_timer *) = {
        [NX_DESK_OURS] = ours_fired, [NX_DESK_THEIRS] = theirs_fired};

    for (int i = 0; i < NX_DESK_QUEUES; i++) {
        nx_list_init(&desk->queue[i].requests);
        nx_timer_init(&desk->queue[i].timer, fired[i]);
    }
}
