/* base/waiter.c - blocked threads: one leads, the others follow.
 *
 * Owner: a waiter belongs to the thread that blocks; `word` is how others reach it.  A leader holds the turn and sleeps
 * in the epoll set.  Threads that block while there is a leader are followers: they sleep on a futex.  The turn is
 * never given back without offering it to a follower (nx_turn_leave), and a follower that is offered it takes it even
 * if it has nothing left to wait for, so that the offer is never lost. */
#include "base/turn.h"

#include <errno.h>
#include <sched.h>

enum {
    WAITER_DONE = 1,
    WAITER_BATON = 2,  /* the turn was offered to it */
    WAITER_SLEEPS = 4, /* on its futex */
    WAITER_LEADS = 8,  /* in the epoll set */
};

enum { SKIP_SHIFT_MAX = 6 };

bool nx_baton_pass(void)
{
    struct nx_list *first;

    if (atomic_load(&nx_engine.follower_count) == 0)
        return false;
    nx_lock(&nx_engine.lock);
    first = nx_engine.followers.next;
    if (first != &nx_engine.followers) {
        struct nx_waiter *w = nx_container_of(first, struct nx_waiter, link);
        if (atomic_fetch_or(&w->word, WAITER_BATON) & WAITER_SLEEPS)
            nx_futex_wake(&w->word);
    }
    nx_unlock(&nx_engine.lock);
    return first != &nx_engine.followers;
}

/* Polling in vain costs more than time: whoever would send the event may want this very core.  So each miss doubles how
 * often the engine sleeps at once before it polls again.  How long to poll now: */
static nx_time spin_span(bool crowded)
{
    /* Ranks that share cores: a look at descriptors alone costs as much as sleeping on them. */
    if (crowded && !nx_pollers_exist())
        return 0;
    if (nx_engine.spins_skipped != 0) {
        nx_engine.spins_skipped--;
        return 0;
    }
    return atomic_load_explicit(&nx_engine.spin, memory_order_relaxed);
}

static void spin_missed(void)
{
    if (nx_engine.spins_missed < SKIP_SHIFT_MAX)
        nx_engine.spins_missed++;
    nx_engine.spins_skipped = (1u << nx_engine.spins_missed) - 1;
}

enum {
    LOOKS_FIRST = NX_PEEKS, /* at memory alone, before descriptors are looked at: about a microsecond */
    LOOKS = 16,
    LOOKS_CROWDED = 32, /* of a caller that gives its core away each time */
};

/* One round of polling, memory first.  The number of events, or -1 if a signal handler ran. */
static int look(struct nx_waiter *w, uint32_t looks)
{
    for (uint32_t i = 0; i < looks && nx_pollers_exist(); i++) {
        if (nx_pollers_poll())
            return 1;
        if (atomic_load_explicit(&w->word, memory_order_relaxed) & WAITER_DONE)
            return 0;
        nx_pause();
    }
    return nx_turn_events(0);
}

bool nx_engine_glance(uint32_t looks)
{
    bool crowded = atomic_load_explicit(&nx_engine.crowded, memory_order_relaxed);

    if (crowded)
        sched_yield();
    else
        nx_pause();
    return looks < (crowded ? LOOKS_CROWDED : LOOKS_FIRST);
}

bool nx_engine_peek_begin(void)
{
    if (nx_inside || !nx_pollers_exist() || !nx_turn_take())
        return false;
    nx_inside = true;
    nx_pollers_awake();
    return true;
}

bool nx_engine_peek(void)
{
    if (nx_pollers_poll())
        return true;
    nx_pause();
    return false;
}

void nx_engine_peek_end(void)
{
    nx_inside = false;
    if (!nx_pollers_leave())
        nx_turn_wake();
    nx_turn_leave();
}

/* Holding the turn: polls, then sleeps, until the waiter is woken. */
static nexar_status lead(struct nx_waiter *w, nx_time deadline)
{
    bool crowded = atomic_load_explicit(&nx_engine.crowded, memory_order_relaxed);
    nx_time spin = 0, idle_since = 0;
    uint32_t looks = crowded ? 1 : LOOKS_FIRST;
    bool looked = false;

    nx_pollers_awake();
    for (;;) {
        nx_time next = looked ? nx_turn_go_on() : nx_turn_run(), now;
        int n;

        if (atomic_load(&w->word) & WAITER_DONE) {
            if (looked)
                nx_engine.spins_missed = 0; /* other events, as signs of life are, prove nothing */
            return NEXAR_OK;
        }
        now = nx_now();
        if (now >= deadline)
            return NEXAR_EAGAIN;
        if (idle_since == 0) {
            idle_since = now;
            spin = spin_span(crowded);
        }
        if (now - idle_since < spin) {
            /* Whatever makes a turn worth while is an event, or due, or in the waiter. */
            do {
                n = look(w, looks);
                /* The rank that would send may want this core; the next time, at the latest. */
                if (n == 0 && looks != LOOKS_FIRST)
                    sched_yield();
                looks = crowded ? 1 : LOOKS;
            } while (n == 0 && (now = nx_now()) - idle_since < spin && now < nx_turn_due() && now < deadline &&
                     (atomic_load(&w->word) & WAITER_DONE) == 0);
            looked = true;
        } else {
            looked = false;
            if (spin != 0)
                spin_missed();
            spin = 0;
            n = nx_turn_events(next < deadline ? next : deadline);
        }
        if (n > 0) {
            idle_since = 0;
            looks = crowded ? 1 : LOOKS_FIRST;
        }
        if (n < 0)
            return NEXAR_EINTR;
    }
}

/* On its futex, until woken or offered the turn. */
static nexar_status sleep_on(struct nx_waiter *w, nx_time deadline)
{
    uint32_t word = atomic_fetch_or(&w->word, WAITER_SLEEPS) | WAITER_SLEEPS;

    while ((word & (WAITER_DONE | WAITER_BATON)) == 0) {
        int error = nx_futex_wait(&w->word, word, deadline);

        if (error == ETIMEDOUT)
            return NEXAR_EAGAIN;
        if (error == EINTR)
            return NEXAR_EINTR;
        word = atomic_load(&w->word);
    }
    return NEXAR_OK;
}

/* Not holding the turn: sleeps until woken, or until the turn is free.  True: with the turn. */
static bool follow(struct nx_waiter *w, nx_time deadline, nexar_status *st)
{
    bool leads;
    uint32_t word;

    nx_lock(&nx_engine.lock);
    nx_list_push_back(&nx_engine.followers, &w->link);
    atomic_fetch_add(&nx_engine.follower_count, 1);
    nx_unlock(&nx_engine.lock);
    /* The leader may have left before it could see us; if it has not, it will. */
    atomic_thread_fence(memory_order_seq_cst);
    leads = nx_turn_take();
    if (!leads)
        *st = sleep_on(w, deadline);
    nx_lock(&nx_engine.lock);
    nx_list_remove(&w->link);
    atomic_fetch_sub(&nx_engine.follower_count, 1);
    word = atomic_fetch_and(&w->word, ~(uint32_t)(WAITER_SLEEPS | WAITER_BATON));
    nx_unlock(&nx_engine.lock);
    /* Whoever has the turn now, if it is not us, offers it again when it leaves. */
    if (!leads && (word & WAITER_BATON))
        leads = nx_turn_take();
    return leads;
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
    atomic_fetch_add(&nx_engine.callers, 1);
    while (st == NEXAR_OK && (atomic_load(&w->word) & WAITER_DONE) == 0) {
        if (!nx_turn_take() && !follow(w, deadline, &st))
            continue;
        atomic_fetch_or(&w->word, WAITER_LEADS);
        nx_inside = true;
        if (st == NEXAR_OK)
            st = lead(w, deadline);
        nx_inside = false;
        if (!nx_pollers_leave())
            nx_turn_wake(); /* the caretaker's */
        atomic_fetch_add_explicit(&nx_engine.led, 1, memory_order_relaxed);
        nx_turn_leave();
        break;
    }
    if (atomic_fetch_and(&w->word, ~(uint32_t)WAITER_LEADS) & WAITER_DONE)
        st = NEXAR_OK;
    if (atomic_fetch_sub(&nx_engine.callers, 1) == 1 && atomic_load(&nx_engine.parked) == 2)
        nx_caretaker_unpark();
    return st;
}

void nx_waiter_wake(struct nx_waiter *w)
{
    uint32_t before = atomic_fetch_or(&w->word, WAITER_DONE);

    if (before & WAITER_SLEEPS)
        nx_futex_wake(&w->word);
    else if ((before & WAITER_LEADS) && !nx_inside)
        nx_turn_wake();
}
