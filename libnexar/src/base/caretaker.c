/* base/caretaker.c - the thread that looks after the engine while nobody is blocked.
 *
 * Owner: the thread itself; others wake it by the epoll set, or by `parked`.  It watches the epoll set from outside
 * (poll on its descriptor takes no event away) and takes a turn only if nobody leads; when it sees that callers lead,
 * it parks and looks again a little later.  It never leads for anybody else. */
#include "base/turn.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum {
    PARK_MS = 1,
    PARK_LONG_MS = 2, /* longer than this, callers that leave wake it */
    PARK_MAX_MS = 256,
};

/* Sleeps while callers lead; returns when they have not led for a while, or something was kicked.  While one caller
 * leads on and on it looks less and less often, and that caller wakes it when it leaves. */
static void park(void)
{
    uint32_t led = atomic_load(&nx_engine.led);
    int ms = PARK_MS;

    for (;;) {
        uint32_t mode = ms > PARK_LONG_MS ? 2 : 1;

        atomic_store(&nx_engine.parked, mode);
        /* The last caller may have left before it could see that this is going to be long. */
        if (mode == 1 || atomic_load(&nx_engine.callers) != 0)
            nx_futex_wait(&nx_engine.parked, mode, nx_now() + ms * NX_MS);
        if (atomic_exchange(&nx_engine.parked, 0) == 0)
            return;
        if (atomic_load(&nx_engine.led) != led)
            ms = PARK_MS;
        else if (atomic_load(&nx_engine.callers) == 0)
            return;
        else if (ms < PARK_MAX_MS)
            ms *= 2;
        led = atomic_load(&nx_engine.led);
    }
}

void nx_caretaker_unpark(void)
{
    if (atomic_exchange(&nx_engine.parked, 0) != 0)
        nx_futex_wake(&nx_engine.parked);
}

/* Until something happens, or is due. */
static void watch(void)
{
    struct pollfd p = {.fd = nx_engine.epoll, .events = POLLIN};
    nx_time at;

    /* A leader that leaves looks at what was promised here, after it has set what is due: one of the two sees the
     * other. */
    do {
        at = nx_turn_due();
        atomic_store(&nx_engine.asleep_till, at);
    } while (nx_turn_due() < at);
    poll(&p, 1, nx_sleep_ms(at));
    atomic_store(&nx_engine.asleep_till, 0);
}

static void *run(void *arg)
{
    uint32_t led = 0;

    (void)arg;
    while (!atomic_load(&nx_engine.ended)) {
        watch();
        if (atomic_load(&nx_engine.led) != led || !nx_turn_take()) {
            park();
            led = atomic_load(&nx_engine.led);
            continue;
        }
        nx_inside = true;
        nx_pollers_awake();
        do
            nx_turn_run();
        while (nx_turn_events(0) > 0 && atomic_load(&nx_engine.callers) == 0);
        nx_turn_run();
        while (!nx_pollers_leave() && atomic_load(&nx_engine.callers) == 0) {
            nx_pollers_awake();
            nx_turn_run();
            nx_turn_events(0);
        }
        nx_inside = false;
        nx_turn_leave();
    }
    /* A thread that ended now would run its destructors after those of the libraries it used. */
    nx_stay_away();
}

nexar_status nx_caretaker_start(void)
{
    pthread_t thread;
    nexar_status st = nx_thread_start(&thread, run, NULL, "nexar");

    if (st == NEXAR_OK)
        pthread_detach(thread);
    return st;
}
