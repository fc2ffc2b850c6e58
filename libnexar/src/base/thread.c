/* base/thread.c - mutexes with a rank, threads, futexes.
 *
 * Owner: any thread.  The rank check is a thread-local count per rank and exists only in builds without NDEBUG. */
#include "base/thread.h"

#include "base/status.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef NDEBUG
static _Thread_local uint16_t held[NX_LOCK_LOG + 1];
#endif

void nx_mutex_init(struct nx_mutex *m, enum nx_lock_rank rank)
{
    pthread_mutex_init(&m->m, NULL);
    m->rank = rank;
}

void nx_mutex_fini(struct nx_mutex *m)
{
    pthread_mutex_destroy(&m->m);
}

void nx_lock(struct nx_mutex *m)
{
#ifndef NDEBUG
    for (int rank = (int)m->rank; rank <= (int)NX_LOCK_LOG; rank++)
        assert(held[rank] == 0 && "locks are taken upwards only");
    held[m->rank]++;
#endif
    pthread_mutex_lock(&m->m);
}

void nx_unlock(struct nx_mutex *m)
{
#ifndef NDEBUG
    held[m->rank]--;
#endif
    pthread_mutex_unlock(&m->m);
}

nexar_status nx_thread_start(pthread_t *thread, void *(*run)(void *), void *arg, const char *name)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return nx_fail(NEXAR_ESYSTEM, "cannot start thread %s: %s", name, strerror(error));
    pthread_setname_np(*thread, name);
    return NEXAR_OK;
}

int nx_futex_wait(_Atomic uint32_t *word, uint32_t expected, nx_time deadline)
{
    struct timespec until = {.tv_sec = deadline / NX_S, .tv_nsec = deadline % NX_S};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline == NX_NEVER ? NULL : &until, NULL,
                      FUTEX_BITSET_MATCH_ANY);

    if (rc == 0 || errno == EAGAIN)
        return 0;
    return errno;
}

void nx_futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void nx_futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
