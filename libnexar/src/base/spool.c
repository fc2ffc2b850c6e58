/* base/spool.c - a thread that writes files, and ends when there are none left.
 *
 * Owner: the spool's lock; a file belongs to the thread that writes it.  It knows nothing of what it writes, and never
 * tries twice: a disk that is full is a line in the log. */
#include "base/spool.h"

#include "base/engine.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAITING_MAX = 16 };

struct job {
    struct nx_list link;
    char *text;
    size_t n;
    char path[];
};

static struct {
    struct nx_mutex lock;
    struct nx_list jobs;
    uint32_t count;
    bool ready; /* the list is initialised */
    bool running;
    _Atomic uint32_t busy; /* futex: 1 while there is something to write */
} spool = {.lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_QUEUE}};

static nexar_status write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(fd, text, n);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return NEXAR_ESYSTEM;
        text += wrote;
        n -= (size_t)wrote;
    }
    return NEXAR_OK;
}

nexar_status nx_spool_write(const char *path, const char *text, size_t n)
{
    size_t cap = strlen(path) + 16;
    char *beside = nx_alloc(cap);
    nexar_status st = NEXAR_OK;
    int fd, error = 0;

    if (beside == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to write %s", path);
    snprintf(beside, cap, "%s.XXXXXX", path);
    fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0) {
        st = nx_fail(NEXAR_ESYSTEM, "cannot write %s: %s", path, strerror(errno));
        nx_free(beside);
        return st;
    }
    if (write_all(fd, text, n) != NEXAR_OK || fchmod(fd, 0644) != 0)
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && rename(beside, path) != 0)
        error = errno;
    if (error != 0) {
        unlink(beside);
        st = nx_fail(NEXAR_ESYSTEM, "cannot write %s: %s", path, strerror(error));
    }
    nx_free(beside);
    return st;
}

/* With the lock: what is to be written next, or NULL, and the thread ends. */
static struct job *next(void)
{
    struct nx_list *pos = nx_list_pop(&spool.jobs);

    if (pos != NULL) {
        spool.count--;
        return nx_container_of(pos, struct job, link);
    }
    spool.running = false;
    atomic_store(&spool.busy, 0);
    nx_futex_wake(&spool.busy);
    return NULL;
}

static void *run(void *arg)
{
    struct job *job;

    (void)arg;
    for (;;) {
        nx_lock(&spool.lock);
        job = next();
        nx_unlock(&spool.lock);
        if (job == NULL)
            return NULL;
        if (nx_spool_write(job->path, job->text, job->n) != NEXAR_OK)
            nx_warn("%s", nexar_last_error());
        else
            nx_info("wrote %s", job->path);
        nx_free(job->text);
        nx_free(job);
    }
}

/* A program that ends because of an error would take the file about it along. */
static void at_exit(void)
{
    if (nx_engine_alive() == NEXAR_OK)
        nx_spool_wait(2 * NX_S);
}

/* With the lock. */
static bool enter(struct job *job)
{
    if (!spool.ready) {
        nx_list_init(&spool.jobs);
        spool.ready = atexit(at_exit) == 0;
    }
    if (spool.count >= WAITING_MAX)
        return false;
    nx_list_push_back(&spool.jobs, &job->link);
    spool.count++;
    atomic_store(&spool.busy, 1);
    return true;
}

void nx_spool_post(const char *path, char *text, size_t n)
{
    size_t length = strlen(path) + 1;
    struct job *job = nx_alloc(sizeof(*job) + length);
    pthread_t thread;
    bool entered = false, start = false;

    if (job != NULL) {
        *job = (struct job){.text = text, .n = n};
        memcpy(job->path, path, length);
        nx_lock(&spool.lock);
        entered = enter(job);
        start = entered && !spool.running;
        spool.running = spool.running || entered;
        nx_unlock(&spool.lock);
    }
    if (!entered) {
        nx_warn("%s is not written: too much is to be written at once", path);
        nx_free(job);
        nx_free(text);
        return;
    }
    if (!start)
        return;
    if (nx_thread_start(&thread, run, NULL, "nexar-spool") == NEXAR_OK)
        pthread_detach(thread);
    else
        run(NULL); /* rather late than never */
}

void nx_spool_wait(nx_time most)
{
    nx_time until = nx_after(nx_now(), most);

    while (atomic_load(&spool.busy) != 0 && nx_now() < until)
        nx_futex_wait(&spool.busy, 1, until);
    nx_futex_wake(&spool.busy); /* one wakes the next */
}
