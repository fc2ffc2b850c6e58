/* base/turn.h - inside the engine: its state and who may do what with it.  For engine.c, timer.c, task.c, waiter.c and
 * caretaker.c. */
#ifndef NX_BASE_TURN_H
#define NX_BASE_TURN_H

#include "base/engine.h"

struct nx_engine {
    /* Whoever holds it is the engine. */
    pthread_mutex_t turn;
    struct nx_mutex lock;
    /* const after start */
    int epoll;
    struct nx_event wake;
    /* turn */
    uint32_t spins_missed;  /* spans that were polled in vain since one was not */
    uint32_t spins_skipped; /* idle spans to sleep through at once, before the next is polled */
    /* lock */
    struct nx_task *inbox, **inbox_tail;
    struct nx_heap_node *timers;
    struct nx_list followers;
    /* atomic */
    uint32_t (*_Atomic poll)(void);
    _Atomic bool waking;
    _Atomic uint32_t follower_count;
    _Atomic uint32_t work;       /* tasks queued */
    _Atomic nx_time timer_at;    /* of the first timer */
    _Atomic nx_time poll_at;     /* when the poll function wants to be called again */
    _Atomic nx_time asleep_till; /* when the caretaker will look again by itself; 0: it is awake, or parked */
    _Atomic uint32_t led;        /* counts the leaders that have left */
    _Atomic uint32_t callers;    /* blocked threads */
    _Atomic uint32_t parked;     /* futex of the caretaker: 1 while it is parked, 2 while it sleeps long */
    _Atomic nx_time spin;
    _Atomic bool crowded;
    _Atomic uint32_t in_flight; /* operations */
    _Atomic bool forked;
    _Atomic bool ended;
};

extern struct nx_engine nx_engine;

/* This thread holds the turn and is running, or about to run, the engine's work. */
extern _Thread_local bool nx_inside;

/* Takes the turn if nobody has it. */
static inline bool nx_turn_take(void)
{
    return pthread_mutex_trylock(&nx_engine.turn) == 0;
}

/* Gives it to a follower if there is one; else sees to it that the caretaker wakes when something is due. */
void nx_turn_leave(void);

/* With the turn: everything that can be done without looking at descriptors.  Returns when something wants to happen
 * next; 0: at once. */
nx_time nx_turn_run(void);
/* The same, when the pollers have been asked just now. */
nx_time nx_turn_go_on(void);
/* With the turn: sleeps until `until`, handles what came.  The number of events, or -1 if a signal handler ran. */
int nx_turn_events(nx_time until);

/* Any thread: when the next turn is due. */
nx_time nx_turn_due(void);
/* Any thread: makes whoever sleeps on the epoll set look up. */
void nx_turn_wake(void);

void nx_tasks_run(void);
void nx_timers_run(nx_time now);

/* There are any. */
bool nx_pollers_exist(void);
/* With the turn, as are those below: nobody will look for a while.  Sees to it that somebody is woken, if operations
 * are in flight; false: something is there already. */
bool nx_pollers_leave(void);
bool nx_pollers_poll(void);
/* False: do not sleep.  nx_pollers_awake follows in any case. */
bool nx_pollers_doze(void);
void nx_pollers_awake(void);

/* Marks the first follower as the next leader; false if there is none. */
bool nx_baton_pass(void);

nexar_status nx_caretaker_start(void);
/* Back to work, if it is parked. */
void nx_caretaker_unpark(void);

/* A moment for the other thread of this core, and for the memory to say something new. */
static inline void nx_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* The process is in exit(). */
_Noreturn void nx_stay_away(void);

/* From now on until a deadline as epoll_wait and poll want it: rounded up, since rounding down would turn the last
 * millisecond into a busy loop. */
static inline int nx_sleep_ms(nx_time until)
{
    nx_time left;

    if (until == NX_NEVER)
        return -1;
    left = until - nx_now();
    if (left <= 0)
        return 0;
    return left > 3600 * NX_S ? 3600000 : (int)((left + NX_MS - 1) / NX_MS);
}

#endif
