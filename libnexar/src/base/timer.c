/* base/timer.c - timers of the engine.
 *
 * Owner: the engine's lock; a timer fires on the engine, without it.  It keeps no clock of its own. */
#include "base/turn.h"

void nx_timer_init(struct nx_timer *timer, void (*fire)(struct nx_timer *))
{
    *timer = (struct nx_timer){.fire = fire};
}

/* With the lock. */
static void take(struct nx_timer *timer)
{
    nx_engine.timers = nx_heap_remove(nx_engine.timers, &timer->node);
    timer->set = false;
    atomic_store(&nx_engine.timer_at, nx_engine.timers == NULL ? NX_NEVER : nx_engine.timers->at);
}

void nx_timer_set(struct nx_timer *timer, nx_time at)
{
    bool first;

    nx_lock(&nx_engine.lock);
    if (timer->set)
        take(timer);
    timer->set = true;
    timer->node.at = at;
    nx_engine.timers = nx_heap_insert(nx_engine.timers, &timer->node);
    first = nx_engine.timers == &timer->node;
    atomic_store(&nx_engine.timer_at, nx_engine.timers->at);
    nx_unlock(&nx_engine.lock);
    if (first && !nx_inside)
        nx_turn_wake();
}

bool nx_timer_cancel(struct nx_timer *timer)
{
    bool was_set;

    nx_lock(&nx_engine.lock);
    was_set = timer->set;
    if (was_set)
        take(timer);
    nx_unlock(&nx_engine.lock);
    return was_set;
}

/* The first timer if it is due, no longer set. */
static struct nx_timer *take_due(nx_time now)
{
    struct nx_timer *timer = NULL;

    nx_lock(&nx_engine.lock);
    if (nx_engine.timers != NULL && nx_engine.timers->at <= now) {
        timer = nx_container_of(nx_engine.timers, struct nx_timer, node);
        take(timer);
    }
    nx_unlock(&nx_engine.lock);
    return timer;
}

void nx_timers_run(nx_time now)
{
    while (atomic_load(&nx_engine.timer_at) <= now) {
        struct nx_timer *timer = take_due(now);

        if (timer == NULL)
            return;
        timer->fire(timer);
    }
}
