/* base/engine.h - the one progress engine of the process.
 *
 * "The engine" is whichever thread holds it: a thread blocked in a call polls it itself, so that no thread hop lies
 * between an event and its waiter; while nobody is blocked a caretaker thread does.  Sockets, timers and tasks run on
 * the engine, one at a time: what only they touch needs no lock.  They must be short and must not block. */
#ifndef NX_BASE_ENGINE_H
#define NX_BASE_ENGINE_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/status.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>

/* An event source in the engine's epoll set; data.ptr of its epoll_event points here.  The layout is the one that
 * MsQuic prescribes for custom execution (QUIC_SQE), so that its sockets and ours share one set; quic/lib.c asserts it.
 * */
struct nx_event {
    int fd;
    void (*ready)(struct epoll_event *event);
};

/* Work to run on the engine soon. */
struct nx_task {
    struct nx_task *next;
    void (*run)(struct nx_task *task);
    _Atomic bool queued;
};

struct nx_timer {
    struct nx_heap_node node;
    void (*fire)(struct nx_timer *timer);
    bool set;
};

/* A source of events that no descriptor tells of: memory that others write. */
struct nx_poller {
    struct nx_list link;
    /* On each turn, and on each round of a leader that spins: true if it did something. */
    bool (*poll)(struct nx_poller *poller);
    /* Before whoever holds the turn sleeps in the epoll set; false: there is something, do not.  And after.  Either may
     * be NULL. */
    bool (*doze)(struct nx_poller *poller);
    void (*awake)(struct nx_poller *poller);
};

/* Engine. */
void nx_poller_add(struct nx_poller *poller);
void nx_poller_remove(struct nx_poller *poller);

/* A blocked thread.  Lives on its stack. */
struct nx_waiter {
    struct nx_list link; /* among those who wait for the engine */
    _Atomic uint32_t word;
};

/* Starts engine and caretaker, once per process; they stay until the process ends.  NEXAR_EFORK in a forked child. */
nexar_status nx_engine_start(void);

/* The epoll set that the engine sleeps on. */
int nx_engine_epoll(void);

/* Asks to be polled on each turn; returns the milliseconds after which it wants to be polled again (UINT32_MAX: only
 * after an event).  There is one: QUIC's. */
void nx_engine_set_poll(uint32_t (*poll)(void));

/* True on a thread that is running the engine's work right now. */
bool nx_engine_inside(void);

/* NEXAR_OK where blocking is legal; NEXAR_EDEADLK on the engine, NEXAR_EFORK in a forked child. */
nexar_status nx_engine_may_block(void);

/* NEXAR_EFORK in a forked child. */
nexar_status nx_engine_alive(void);

/* Any thread. */
void nx_task_init(struct nx_task *task, void (*run)(struct nx_task *));
/* False, and nothing happens, if it is queued already. */
bool nx_engine_post(struct nx_task *task);

/* Something was handed to QUIC by a thread that will not block: see that it leaves.  `now`: take a turn at once if
 * nobody else does, else leave it to the caretaker. */
void nx_engine_kick(bool now);

/* How long a blocked thread polls before it sleeps.  `crowded`: there are more ranks on this host than cores, so that
 * it offers its core to others all the while. */
void nx_engine_set_spin(nx_time span, bool crowded);

/* Operations in flight.  While there are any, and nobody is blocked, what comes through memory wakes the caretaker. */
void nx_engine_add_work(int32_t change);
/* After one was begun by a thread that does not wait for it. */
void nx_engine_attend(void);
/* A caller may look at memory itself for about a microsecond, and so find what is about to come before it makes an
 * operation of it: begin (false: not now), NX_PEEKS times peek (true: something has come), end.  In between it is the
 * engine. */
enum { NX_PEEKS = 64 };
bool nx_engine_peek_begin(void);
bool nx_engine_peek(void);
void nx_engine_peek_end(void);

/* Any thread.  A timer fires once, on the engine. */
void nx_timer_init(struct nx_timer *timer, void (*fire)(struct nx_timer *));
void nx_timer_set(struct nx_timer *timer, nx_time at);
/* False if it was not set, or is firing now or has fired. */
bool nx_timer_cancel(struct nx_timer *timer);

/* Between two looks at memory of a caller that looks by itself: offers the core to others for a moment.  False: it has
 * looked for about a microsecond, and should wait by the engine instead. */
bool nx_engine_glance(uint32_t looks);

/* Blocks until nx_waiter_wake, driving the engine if nobody else does.
 * NEXAR_OK; NEXAR_EAGAIN at the deadline; NEXAR_EINTR if a signal handler ran; NEXAR_EDEADLK; NEXAR_EFORK. */
void nx_waiter_init(struct nx_waiter *waiter);
nexar_status nx_waiter_wait(struct nx_waiter *waiter, nx_time deadline);
/* Any thread.  The waiter may vanish as soon as this returns, not before: hold the lock under which it was registered.
 * */
void nx_waiter_wake(struct nx_waiter *waiter);

#endif
