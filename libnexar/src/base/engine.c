/* base/engine.c - a turn of the engine, and its life from the first use to the end of the process.
 *
 * Owner: whoever holds the turn runs tasks, timers, the poll function and event handlers; `lock` is never held across
 * one of them.  The engine decides nothing about what it runs; it knows no QUIC.  Who takes turns: waiter.c for blocked
 * callers, caretaker.c while there are none. */
#include "base/engine.h"

#include "base/turn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 32 };

struct nx_engine nx_engine = {
    .turn = PTHREAD_MUTEX_INITIALIZER,
    .lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_QUEUE},
    .epoll = -1,
    .timer_at = NX_NEVER,
    .poll_at = NX_NEVER,
    .spin = 50 * NX_US,
};
_Thread_local bool nx_inside;

/* ---- a turn ---- */

void nx_turn_wake(void)
{
    static const uint64_t one = 1;

    if (!atomic_exchange(&nx_engine.waking, true)) {
        ssize_t n = write(nx_engine.wake.fd, &one, sizeof(one));
        (void)n; /* it cannot be full: `waking` allows one write at a time */
    }
}

static void wake_ready(struct epoll_event *event)
{
    uint64_t count;
    ssize_t n;

    (void)event;
    /* Read first: a wake between the two writes nothing, but what it is about is seen by the turn that follows.  The
     * other way round its write could be read here, and `waking` would stay set for ever. */
    n = read(nx_engine.wake.fd, &count, sizeof(count));
    (void)n;
    atomic_store(&nx_engine.waking, false);
}

_Noreturn void nx_stay_away(void)
{
    for (;;)
        pause();
}

nx_time nx_turn_due(void)
{
    nx_time at = atomic_load(&nx_engine.poll_at), timer_at = atomic_load(&nx_engine.timer_at);

    if (atomic_load(&nx_engine.work) != 0)
        return 0;
    return timer_at < at ? timer_at : at;
}

static nx_time run_turn(bool pollers)
{
    uint32_t (*poll)(void) = atomic_load_explicit(&nx_engine.poll, memory_order_acquire);
    nx_time now = nx_now();
    uint32_t ms = UINT32_MAX;

    if (atomic_load_explicit(&nx_engine.ended, memory_order_relaxed)) {
        /* The process is in exit(): whoever still blocks gives up the turn and stays out of the way. */
        pthread_mutex_unlock(&nx_engine.turn);
        nx_stay_away();
    }
    nx_tasks_run();
    nx_timers_run(now);
    if (pollers)
        nx_pollers_poll();
    if (poll != NULL)
        ms = poll();
    atomic_store(&nx_engine.poll_at, ms == UINT32_MAX ? NX_NEVER : now + ms * NX_MS);
    return nx_turn_due();
}

nx_time nx_turn_run(void)
{
    return run_turn(true);
}

nx_time nx_turn_go_on(void)
{
    return run_turn(false);
}

int nx_turn_events(nx_time until)
{
    struct epoll_event events[EVENTS];
    bool sleeps = until != 0;
    int n;

    if (sleeps && !nx_pollers_doze())
        until = 0;
    n = epoll_wait(nx_engine.epoll, events, EVENTS, nx_sleep_ms(until));
    if (sleeps)
        nx_pollers_awake();
    for (int i = 0; i < n; i++)
        ((struct nx_event *)events[i].data.ptr)->ready(&events[i]);
    return n;
}

void nx_turn_leave(void)
{
    pthread_mutex_unlock(&nx_engine.turn);
    atomic_thread_fence(memory_order_seq_cst);
    if (!nx_baton_pass() && nx_turn_due() < atomic_load(&nx_engine.asleep_till))
        nx_turn_wake();
}

void nx_engine_kick(bool now)
{
    if (nx_inside)
        return;
    if (now && nx_turn_take()) {
        nx_inside = true;
        nx_turn_run(); /* first, so that what was handed over leaves before anything else is looked at */
        if (nx_turn_events(0) > 0)
            nx_turn_run();
        nx_inside = false;
        atomic_fetch_add_explicit(&nx_engine.led, 1, memory_order_relaxed);
        nx_turn_leave();
    } else if (atomic_load(&nx_engine.parked) != 0) {
        nx_caretaker_unpark();
    }
}

/* ---- life ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static nexar_error failure; /* of the start; NEXAR_OK if there was none */

static void in_child(void)
{
    atomic_store(&nx_engine.forked, true);
}

/* At exit no thread may be inside MsQuic when its destructor runs: take the turn and keep it. */
static void at_exit(void)
{
    if (atomic_load(&nx_engine.forked))
        return;
    atomic_store(&nx_engine.ended, true);
    nx_turn_wake();
    if (!nx_inside) {
        struct timespec soon;

        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_sec += 1;
        /* A stuck callback must not keep the process from ending. */
        (void)pthread_mutex_timedlock(&nx_engine.turn, &soon);
    }
}

static void start(void)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = &nx_engine.wake};

    nx_list_init(&nx_engine.followers);
    nx_engine.wake = (struct nx_event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = wake_ready};
    nx_engine.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (nx_engine.epoll < 0 || nx_engine.wake.fd < 0 ||
        epoll_ctl(nx_engine.epoll, EPOLL_CTL_ADD, nx_engine.wake.fd, &event) != 0) {
        nx_error_set(&failure, NEXAR_ESYSTEM, NEXAR_NO_RANK, "cannot create descriptors for the engine: %s",
                     strerror(errno));
        return;
    }
    pthread_atfork(NULL, NULL, in_child);
    if (nx_caretaker_start() == NEXAR_OK)
        atexit(at_exit);
    else
        failure = *nx_last_error();
}

nexar_status nx_engine_start(void)
{
    pthread_once(&once, start);
    return failure.status != NEXAR_OK ? nx_fail_with(&failure) : nx_engine_alive();
}

int nx_engine_epoll(void)
{
    return nx_engine.epoll;
}

void nx_engine_set_poll(uint32_t (*poll)(void))
{
    atomic_store_explicit(&nx_engine.poll, poll, memory_order_release);
}

void nx_engine_set_spin(nx_time span, bool crowded)
{
    atomic_store(&nx_engine.spin, span);
    atomic_store(&nx_engine.crowded, crowded);
}

void nx_engine_add_work(int32_t change)
{
    atomic_fetch_add_explicit(&nx_engine.in_flight, (uint32_t)change, memory_order_relaxed);
}

void nx_engine_attend(void)
{
    if (nx_inside || !nx_pollers_exist() || !nx_turn_take())
        return;
    nx_inside = true;
    while (!nx_pollers_leave()) {
        nx_pollers_awake();
        nx_turn_run();
        nx_turn_events(0); /* however long memory keeps it: others must hear of us, and we of their end */
    }
    nx_inside = false;
    atomic_fetch_add_explicit(&nx_engine.led, 1, memory_order_relaxed);
    nx_turn_leave();
}

bool nx_engine_inside(void)
{
    return nx_inside;
}

nexar_status nx_engine_alive(void)
{
    if (atomic_load_explicit(&nx_engine.forked, memory_order_relaxed))
        return nx_fail(NEXAR_EFORK, "nexar was opened before this process was forked; open it in the child instead");
    return NEXAR_OK;
}

nexar_status nx_engine_may_block(void)
{
    if (nx_inside)
        return nx_fail(NEXAR_EDEADLK, "a blocking call inside a callback of the library would wait for itself");
    return nx_engine_alive();
}
