/* rpc/desk.h - the functions of a communicator, and the queues in which calls of them wait for threads.
 *
 * All under the lock of struct nx_rpc, but for what is const or atomic. */
#ifndef NX_RPC_DESK_H
#define NX_RPC_DESK_H

#include "rpc/rpc.h"

/* Functions in C, which threads of the library handle; and those whose calls threads of the program take. */
enum { NX_DESK_OURS, NX_DESK_THEIRS, NX_DESK_QUEUES };

struct nx_desk_queue {
    struct nx_list requests;  /* nexar_request.link */
    struct nx_waiter *looker; /* drives the engine; NULL once it was woken */
    uint32_t sleepers;        /* threads in the futex */
    uint32_t busy;            /* threads that have a call */
    nx_time typical;          /* time of a call, smoothed */
    _Atomic uint32_t word;
    struct nx_timer timer; /* somebody shall see to calls that wait for a busy thread */
    bool timed;
};

struct nexar_desk {
    struct nx_rpc *rpc; /* a reference */
    _Atomic uint32_t refs;
    /* lock */
    struct nx_list link;    /* rpc->desks */
    const nexar_comm *comm; /* NULL: closed */
    uint64_t id;
    struct nx_list functions; /* struct nx_desk_function */
    struct nx_desk_queue queue[NX_DESK_QUEUES];
    bool work; /* the engine knows that calls may come */
    /* for functions in C */
    pthread_t *threads;            /* owned; each thread has a reference to the desk */
    uint32_t thread_count;         /* started */
    uint32_t threads_alive;        /* of these, not at their end */
    _Atomic uint32_t threads_word; /* of who waits for their end */
    nexar_comm *kept;              /* a reference, for functions that outlast the communicator; NULL before it closes */
};

void nx_desk_drop(struct nexar_desk *desk);

/* ---- crew.c ---- */

/* Lock.  Threads for functions in C, as many as are configured, or as the system has.  NEXAR_ENOMEM, NEXAR_ESYSTEM. */
nexar_status nx_crew_start(struct nexar_desk *desk);
/* The desk is closed: waits for them, but for the one that calls this.  Those that are still at work at the deadline
 * are left to themselves; how many. */
uint32_t nx_crew_end(struct nexar_desk *desk, nx_time deadline);
/* This thread runs one of its functions. */
bool nx_crew_is_here(const struct nexar_desk *desk);

/* ---- queue.c ---- */

void nx_desk_queue_init(struct nexar_desk *desk);
/* With the lock: a call has come. */
void nx_desk_wake(struct nexar_desk *desk, struct nx_desk_queue *queue);
/* With the lock: all threads see that it is closed. */
void nx_desk_wake_all(struct nx_desk_queue *queue);
/* NEXAR_OK: a call, which is the caller's, and nx_desk_handled follows.  Else as nexar_desk_next. */
nexar_status nx_desk_take(struct nexar_desk *desk, struct nx_desk_queue *queue, nx_time deadline,
                          struct nexar_request **out);
/* It took so long. */
void nx_desk_handled(struct nexar_desk *desk, struct nx_desk_queue *queue, nx_time span);

#endif
