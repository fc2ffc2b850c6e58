/* base/thread.h - mutexes with a rank, threads, futexes.
 *
 * A thread may lock only upwards in the order of enum nx_lock_rank; debug builds assert it.  Locks are held for
 * look-ups and list operations, never across a copy, a callback or a call into MsQuic. */
#ifndef NX_BASE_THREAD_H
#define NX_BASE_THREAD_H

#include "base/clock.h"
#include "nexar/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum nx_lock_rank {
    NX_LOCK_NODE = 1, /* a node's or a seed's tables: peers, communicators */
    NX_LOCK_COMM,     /* a communicator's sequence and plans */
    NX_LOCK_EXEC,     /* one running schedule */
    NX_LOCK_LANES,    /* a node's lane table */
    NX_LOCK_PEER,     /* a peer: its connection and what waits for it */
    NX_LOCK_CONN,     /* a connection: its queues and slots */
    NX_LOCK_OP,       /* an op's waiters */
    NX_LOCK_QUEUE,    /* completions, timers, inboxes */
    NX_LOCK_POOL,     /* buffer pool and free lists */
    NX_LOCK_LOG,
};

struct nx_mutex {
    pthread_mutex_t m;
    enum nx_lock_rank rank;
};

void nx_mutex_init(struct nx_mutex *m, enum nx_lock_rank rank);
void nx_mutex_fini(struct nx_mutex *m);
void nx_lock(struct nx_mutex *m);
void nx_unlock(struct nx_mutex *m);

/* Starts a thread that takes no signals: they belong to the program's own threads. */
nexar_status nx_thread_start(pthread_t *thread, void *(*run)(void *), void *arg, const char *name);

/* Sleeps while *word == expected, at most until `deadline`.  0 when woken or the word differs, else ETIMEDOUT or EINTR.
 * */
int nx_futex_wait(_Atomic uint32_t *word, uint32_t expected, nx_time deadline);
void nx_futex_wake(_Atomic uint32_t *word);
void nx_futex_wake_all(_Atomic uint32_t *word);

#endif
