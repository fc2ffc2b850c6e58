/* base/engine.c - who polls: a blocked caller if there is one, else the caretaker.
 *
 * Owner: whoever holds `turn` runs tasks, timers, the poll function and event handlers.  `lock` guards inbox, timers
 * and the list of followers, and is never held across one of them.  The engine decides nothing about what it runs; it
 * knows no QUIC.
 *
 * A leader is a blocked thread that holds `turn`.  Threads that block while there is a leader are followers: they sleep
 * on a futex and inherit the turn when the leader leaves.  The caretaker watches the epoll set from outside (poll on
 * its descriptor takes no event away) and takes a turn only if nobody leads; when it sees that callers lead, it parks
 * and looks again a little later. */
#include "base/engine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    WAITER_DONE = 1,
    WAITER_BATON = 2,
    WAITER_SLEEPS = 4, /* on its futex */
    WAITER_LEADS = 8,  /* in the epoll set */
};

enum {
    EVENTS = 32,
    PARK_MS = 1,
    PARK_LONG_MS = 8,
    PARK_MAX_MS = 256,
};

static struct {
    pthread_mutex_t turn;
    struct nx_mutex lock;
    int epoll;
    struct nx_event wake;
    _Atomic bool waking;
    uint32_t (*_Atomic poll)(void);
    /* lock */
    struct nx_task *inbox, **inbox_tail;
    struct nx_heap_node *timers;
    struct nx_list followers;
    /* atomic */
    _Atomic uint32_t follower_count;
    _Atomic uint32_t work;    /* tasks queued */
    _Atomic nx_time timer_at; /* of the first timer */
    _Atomic nx_time poll_at;  /* when the poll function wants to be called again */
    _Atomic uint32_t led;     /* counts the leaders that have left */
    _Atomic uint32_t callers; /* blocked threads */
    _Atomic uint32_t parked;  /* futex of the caretaker: 1 while it is parked, 2 while it sleeps long */
    _Atomic nx_time spin;
    _Atomic bool yield;
    _Atomic bool forked;
    _Atomic bool ended;
    pthread_once_t once;
    nexar_status started;
} engine = {
    .turn = PTHREAD_MUTEX_INITIALIZER,
    .lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_QUEUE},
    .epoll = -1,
    .once = PTHREAD_ONCE_INIT,
    .timer_at = NX_NEVER,
    .poll_at = NX_NEVER,
    .spin = 50 * NX_US,
};

static _Thread_local bool inside;

/* ---- timers ---- */

void nx_timer_init(struct nx_timer *timer, void (*fire)(struct nx_timer *))
{
    *timer = (struct nx_timer){.fire = fire};
}

static struct nx_timer *first_timer(void)
{
    return engine.timers == NULL ? NULL : nx_container_of(engine.timers, struct nx_timer, node);
}

static void timer_take(struct nx_timer *timer)
{
    engine.timers = nx_heap_remove(engine.timers, &timer->node);
    timer->set = false;
    atomic_store(&engine.timer_at, engine.timers == NULL ? NX_NEVER : engine.timers->at);
}

static void engine_wake(void)
{
    static const uint64_t one = 1;

    if (!atomic_exchange(&engine.waking, true)) {
        ssize_t n = write(engine.wake.fd, &one, sizeof(one));
        (void)n; /* it cannot be full: `waking` allows one write at a time */
    }
}

void nx_timer_set(struct nx_timer *timer, nx_time at)
{
    bool first;

    nx_lock(&engine.lock);
    if (timer->set)
        timer_take(timer);
    timer->set = true;
    timer->node.at = at;
    engine.timers = nx_heap_insert(engine.timers, &timer->node);
    first = engine.timers == &timer->node;
    atomic_store(&engine.timer_at, engine.timers->at);
    nx_unlock(&engine.lock);
    if (first && !inside)
        engine_wake();
}

bool nx_timer_cancel(struct nx_timer *timer)
{
    bool was_set;

    nx_lock(&engine.lock);
    was_set = timer->set;
    if (was_set)
        timer_take(timer);
    nx_unlock(&engine.lock);
    return was_set;
}

static void run_timers(nx_time now)
{
    while (atomic_load(&engine.timer_at) <= now) {
        struct nx_timer *timer;

        nx_lock(&engine.lock);
        timer = first_timer();
        if (timer != NULL && timer->node.at <= now)
            timer_take(timer);
        else
            timer = NULL;
        nx_unlock(&engine.lock);
        if (timer == NULL)
            return;
        timer->fire(timer);
    }
}

/* ---- tasks ---- */

void nx_task_init(struct nx_task *task, void (*run)(struct nx_task *))
{
    task->next = NULL;
    task->run = run;
    atomic_init(&task->queued, false);
}

bool nx_engine_post(struct nx_task *task)
{
    if (atomic_exchange(&task->queued, true))
        return false;
    nx_lock(&engine.lock);
    task->next = NULL;
    if (engine.inbox == NULL)
        engine.inbox_tail = &engine.inbox;
    *engine.inbox_tail = task;
    engine.inbox_tail = &task->next;
    nx_unlock(&engine.lock);
    atomic_fetch_add(&engine.work, 1);
    if (!inside)
        engine_wake();
    return true;
}

static void run_tasks(void)
{
    struct nx_task *task;

    if (atomic_load(&engine.work) == 0)
        return;
    atomic_store(&engine.work, 0);
    nx_lock(&engine.lock);
    task = engine.inbox;
    engine.inbox = NULL;
    nx_unlock(&engine.lock);
    while (task != NULL) {
        struct nx_task *next = task->next;
        /* Cleared first: it may be posted again, or freed, by its own run. */
        atomic_store(&task->queued, false);
        task->run(task);
        task = next;
    }
}

/* ---- a turn ---- */

static void wake_ready(struct epoll_event *event)
{
    uint64_t count;
    ssize_t n;

    (void)event;
    atomic_store(&engine.waking, false);
    n = read(engine.wake.fd, &count, sizeof(count));
    (void)n;
}

/* The process is in exit(). */
static _Noreturn void stay_away(void)
{
    for (;;)
        pause();
}

/* Everything that can be done without looking at descriptors.  Returns when something wants to happen next. */
static nx_time run_due(void)
{
    uint32_t (*poll_fn)(void) = atomic_load_explicit(&engine.poll, memory_order_acquire);
    nx_time now = nx_now(), at = NX_NEVER;
    uint32_t ms = UINT32_MAX;

    if (atomic_load_explicit(&engine.ended, memory_order_relaxed)) {
        /* The process is in exit(): whoever still blocks gives up the turn and stays out of the way. */
        pthread_mutex_unlock(&engine.turn);
        stay_away();
    }
    run_tasks();
    run_timers(now);
    if (poll_fn != NULL)
        ms = poll_fn();
    if (ms != UINT32_MAX)
        at = now + ms * NX_MS;
    atomic_store(&engine.poll_at, at);
    if (atomic_load(&engine.timer_at) < at)
        at = atomic_load(&engine.timer_at);
    return atomic_load(&engine.work) != 0 ? 0 : at;
}

/* Sleeps until `until`, handles what came.  The number of events, or -1 if a signal handler ran. */
static int run_events(nx_time until)
{
    struct epoll_event events[EVENTS];
    int n, ms = 0;

    if (until == NX_NEVER) {
        ms = -1;
    } else if (until > 0) {
        nx_time left = until - nx_now();
        /* Rounded up: rounding down would turn the last millisecond into a busy loop. */
        if (left > 0)
            ms = left > 3600 * NX_S ? 3600000 : (int)((left + NX_MS - 1) / NX_MS);
    }
    n = epoll_wait(engine.epoll, events, EVENTS, ms);
    for (int i = 0; i < n; i++)
        ((struct nx_event *)events[i].data.ptr)->ready(&events[i]);
    return n < 0 && errno == EINTR ? -1 : n;
}

/* ---- leading and following ---- */

static void unpark(void);

static void pass_baton(void)
{
    struct nx_list *first;

    if (atomic_load(&engine.follower_count) == 0)
        return;
    nx_lock(&engine.lock);
    first = engine.followers.next;
    if (first != &engine.followers) {
        struct nx_waiter *w = nx_container_of(first, struct nx_waiter, link);
        if (atomic_fetch_or(&w->word, WAITER_BATON) & WAITER_SLEEPS)
            nx_futex_wake(&w->word);
    }
    nx_unlock(&engine.lock);
}

static void leave_turn(void)
{
    pthread_mutex_unlock(&engine.turn);
    pass_baton();
}

/* Holding the turn: polls, then sleeps, until the waiter is woken. */
static nexar_status lead(struct nx_waiter *w, nx_time deadline)
{
    nx_time spin = atomic_load_explicit(&engine.spin, memory_order_relaxed), idle_since = 0;
    bool yield = atomic_load_explicit(&engine.yield, memory_order_relaxed);
    nexar_status st;

    atomic_fetch_or(&w->word, WAITER_LEADS);
    inside = true;
    for (;;) {
        nx_time next = run_due(), now;
        int n;

        if (atomic_load(&w->word) & WAITER_DONE) {
            st = NEXAR_OK;
            break;
        }
        now = nx_now();
        if (now >= deadline) {
            st = NEXAR_EAGAIN;
            break;
        }
        if (idle_since == 0)
            idle_since = now;
        if (now - idle_since < spin) {
            n = run_events(0);
            if (n == 0 && yield)
                sched_yield();
        } else {
            n = run_events(next < deadline ? next : deadline);
        }
        if (n > 0)
            idle_since = 0;
        if (n < 0) {
            st = NEXAR_EINTR;
            break;
        }
    }
    inside = false;
    atomic_fetch_add_explicit(&engine.led, 1, memory_order_relaxed);
    return st;
}

/* Not holding the turn: sleeps until woken, or until the turn is free. */
static nexar_status follow(struct nx_waiter *w, nx_time deadline)
{
    nexar_status st = NEXAR_OK;
    uint32_t word;

    nx_lock(&engine.lock);
    nx_list_push_back(&engine.followers, &w->link);
    atomic_fetch_add(&engine.follower_count, 1);
    nx_unlock(&engine.lock);
    /* The leader may have left before it could see us. */
    if (pthread_mutex_trylock(&engine.turn) == 0) {
        pthread_mutex_unlock(&engine.turn);
    } else {
        word = atomic_fetch_or(&w->word, WAITER_SLEEPS) | WAITER_SLEEPS;
        while ((word & (WAITER_DONE | WAITER_BATON)) == 0) {
            int error = nx_futex_wait(&w->word, word, deadline);
            if (error == ETIMEDOUT || error == EINTR) {
                st = error == EINTR ? NEXAR_EINTR : NEXAR_EAGAIN;
                break;
            }
            word = atomic_load(&w->word);
        }
    }
    nx_lock(&engine.lock);
    nx_list_remove(&w->link);
    atomic_fetch_sub(&engine.follower_count, 1);
    word = atomic_fetch_and(&w->word, ~(uint32_t)(WAITER_SLEEPS | WAITER_BATON));
    nx_unlock(&engine.lock);
    /* A baton that came while we were leaving for another reason goes to the next. */
    if ((word & WAITER_BATON) && ((word & WAITER_DONE) || st != NEXAR_OK))
        pass_baton();
    return (word & WAITER_DONE) ? NEXAR_OK : st;
}

void nx_waiter_init(struct nx_waiter *waiter)
{
    nx_list_init(&waiter->link);
    atomic_init(&waiter->word, 0);
}

nexar_status nx_waiter_wait(struct nx_waiter *w, nx_time deadline)
{
    nexar_status st = nx_engine_may_block();

    if (st != NEXAR_OK)
        return st;
    atomic_fetch_add_explicit(&engine.callers, 1, memory_order_relaxed);
    for (;;) {
        if (atomic_load(&w->word) & WAITER_DONE) {
            st = NEXAR_OK;
            break;
        }
        if (pthread_mutex_trylock(&engine.turn) == 0) {
            st = lead(w, deadline);
            leave_turn();
            break;
        }
        st = follow(w, deadline);
        if (st != NEXAR_OK)
            break;
    }
    atomic_fetch_and(&w->word, ~(uint32_t)WAITER_LEADS);
    if (atomic_fetch_sub(&engine.callers, 1) == 1 && atomic_load(&engine.parked) == 2)
        unpark();
    return st;
}

void nx_waiter_wake(struct nx_waiter *w)
{
    uint32_t before = atomic_fetch_or(&w->word, WAITER_DONE);

    if (before & WAITER_SLEEPS)
        nx_futex_wake(&w->word);
    else if ((before & WAITER_LEADS) && !inside)
        engine_wake();
}

/* ---- the caretaker ---- */

/* Sleeps while callers lead; returns when they have not led for a while, or something was kicked.  While one caller
 * leads on and on it looks less and less often, and that caller wakes it when it leaves. */
static void park(void)
{
    uint32_t led = atomic_load(&engine.led);
    int ms = PARK_MS;

    for (;;) {
        uint32_t mode = ms > PARK_LONG_MS ? 2 : 1;

        atomic_store(&engine.parked, mode);
        nx_futex_wait(&engine.parked, mode, nx_now() + ms * NX_MS);
        if (atomic_exchange(&engine.parked, 0) == 0)
            return;
        if (atomic_load(&engine.led) != led)
            ms = PARK_MS;
        else if (atomic_load(&engine.callers) == 0)
            return;
        else if (ms < PARK_MAX_MS)
            ms *= 2;
        led = atomic_load(&engine.led);
    }
}

static void unpark(void)
{
    if (atomic_exchange(&engine.parked, 0) != 0)
        nx_futex_wake(&engine.parked);
}

static void *caretaker(void *arg)
{
    uint32_t led = 0;

    (void)arg;
    while (!atomic_load(&engine.ended)) {
        struct pollfd p = {.fd = engine.epoll, .events = POLLIN};
        nx_time at = atomic_load(&engine.poll_at), timer_at = atomic_load(&engine.timer_at);
        int ms = -1;

        if (timer_at < at)
            at = timer_at;
        if (at != NX_NEVER) {
            nx_time left = at - nx_now();
            ms = left <= 0 ? 0 : (int)((left + NX_MS - 1) / NX_MS);
        }
        poll(&p, 1, ms);
        if (atomic_load(&engine.led) != led || pthread_mutex_trylock(&engine.turn) != 0) {
            park();
            led = atomic_load(&engine.led);
            continue;
        }
        inside = true;
        do
            run_due();
        while (run_events(0) > 0 && atomic_load(&engine.callers) == 0);
        run_due();
        inside = false;
        leave_turn();
    }
    /* A thread that ended now would run its destructors after those of the libraries it used. */
    stay_away();
}

void nx_engine_kick(bool now)
{
    if (inside)
        return;
    if (now && pthread_mutex_trylock(&engine.turn) == 0) {
        inside = true;
        run_due();
        inside = false;
        atomic_fetch_add_explicit(&engine.led, 1, memory_order_relaxed);
        leave_turn();
    } else if (atomic_load(&engine.parked) != 0) {
        unpark();
    }
}

/* ---- life ---- */

static void in_child(void)
{
    atomic_store(&engine.forked, true);
}

/* At exit no thread may be inside MsQuic when its destructor runs: take the turn and keep it. */
static void at_exit(void)
{
    if (atomic_load(&engine.forked))
        return;
    atomic_store(&engine.ended, true);
    engine_wake();
    if (!inside) {
        struct timespec soon;

        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_sec += 1;
        (void)pthread_mutex_timedlock(&engine.turn, &soon); /* a stuck callback must not keep the process from ending */
    }
}

static void start(void)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = &engine.wake};
    pthread_t thread;

    nx_list_init(&engine.followers);
    engine.wake = (struct nx_event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = wake_ready};
    engine.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (engine.epoll < 0 || engine.wake.fd < 0 || epoll_ctl(engine.epoll, EPOLL_CTL_ADD, engine.wake.fd, &event) != 0) {
        engine.started = nx_fail(NEXAR_ESYSTEM, "cannot create descriptors for the engine: %s", strerror(errno));
        return;
    }
    pthread_atfork(NULL, NULL, in_child);
    engine.started = nx_thread_start(&thread, caretaker, NULL, "nexar");
    if (engine.started != NEXAR_OK)
        return;
    pthread_detach(thread);
    atexit(at_exit);
}

nexar_status nx_engine_start(void)
{
    pthread_once(&engine.once, start);
    return engine.started != NEXAR_OK ? engine.started : nx_engine_alive();
}

int nx_engine_epoll(void)
{
    return engine.epoll;
}

void nx_engine_set_poll(uint32_t (*poll_fn)(void))
{
    atomic_store_explicit(&engine.poll, poll_fn, memory_order_release);
}

void nx_engine_set_spin(nx_time span, bool yield)
{
    atomic_store(&engine.spin, span);
    atomic_store(&engine.yield, yield);
}

bool nx_engine_inside(void)
{
    return inside;
}

nexar_status nx_engine_alive(void)
{
    if (atomic_load_explicit(&engine.forked, memory_order_relaxed))
        return nx_fail(NEXAR_EFORK, "nexar was opened before this process was forked; open it in the child instead");
    return NEXAR_OK;
}

nexar_status nx_engine_may_block(void)
{
    if (inside)
        return nx_fail(NEXAR_EDEADLK, "a blocking call inside a callback of the library would wait for itself");
    return nx_engine_alive();
}
