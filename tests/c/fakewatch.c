/* fakewatch.c - descriptors, timers, jobs and poll functions of modules on the real engine, for fakehost.c.
 *
 * Owner: the engine, except for job_post.  A watch that has ended is freed after the turn, as the library does it. */
#include "fakehost.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct nexar_watch {
    struct nx_event event;
    struct nx_poller poller;
    struct nx_timer timer;
    struct nx_task task, end;
    void (*ready)(void *arg, uint32_t events);
    int (*poll)(void *arg);
    void (*run)(void *arg);
    void *arg;
    enum kind { FD, POLL, TIMER, JOB } kind;
    bool over;
};

static nexar_watch *make(enum kind kind, void *arg)
{
    nexar_watch *w = calloc(1, sizeof(*w));

    if (w == NULL || !nx_engine_inside())
        abort();
    w->kind = kind;
    w->arg = arg;
    return w;
}

static void fd_ready(struct epoll_event *event)
{
    nexar_watch *w = nx_container_of((struct nx_event *)event->data.ptr, nexar_watch, event);

    if (!w->over)
        w->ready(w->arg, event->events);
}

static nexar_status watch_fd(nexar_node *node, int fd, uint32_t events, void (*ready)(void *arg, uint32_t events),
                             void *arg, nexar_watch **out)
{
    nexar_watch *w = make(FD, arg);
    struct epoll_event event = {.events = events, .data.ptr = &w->event};

    (void)node;
    w->event = (struct nx_event){.fd = fd, .ready = fd_ready};
    w->ready = ready;
    if (epoll_ctl(nx_engine_epoll(), EPOLL_CTL_ADD, fd, &event) != 0)
        abort();
    *out = w;
    return NEXAR_OK;
}

static nexar_status watch_change(nexar_watch *w, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = &w->event};

    if (!nx_engine_inside() || epoll_ctl(nx_engine_epoll(), EPOLL_CTL_MOD, w->event.fd, &event) != 0)
        abort();
    return NEXAR_OK;
}

static bool poller_poll(struct nx_poller *poller)
{
    nexar_watch *w = nx_container_of(poller, nexar_watch, poller);

    return w->poll(w->arg) != 0;
}

static nexar_status watch_poll(nexar_node *node, int (*poll)(void *arg), void *arg, nexar_watch **out)
{
    nexar_watch *w = make(POLL, arg);

    (void)node;
    w->poll = poll;
    w->poller = (struct nx_poller){.poll = poller_poll};
    nx_poller_add(&w->poller);
    *out = w;
    return NEXAR_OK;
}

static void timer_fire(struct nx_timer *timer)
{
    nexar_watch *w = nx_container_of(timer, nexar_watch, timer);

    w->run(w->arg);
}

static nexar_status watch_timer(nexar_node *node, void (*fire)(void *arg), void *arg, nexar_watch **out)
{
    nexar_watch *w = make(TIMER, arg);

    (void)node;
    w->run = fire;
    nx_timer_init(&w->timer, timer_fire);
    *out = w;
    return NEXAR_OK;
}

static void timer_set(nexar_watch *w, int64_t nanoseconds)
{
    nx_timer_set(&w->timer, nx_now() + nanoseconds);
}

static void job_run(struct nx_task *task)
{
    nexar_watch *w = nx_container_of(task, nexar_watch, task);

    if (!w->over)
        w->run(w->arg);
}

static nexar_status watch_job(nexar_node *node, void (*run)(void *arg), void *arg, nexar_watch **out)
{
    nexar_watch *w = make(JOB, arg);

    (void)node;
    w->run = run;
    nx_task_init(&w->task, job_run);
    *out = w;
    return NEXAR_OK;
}

static void job_post(nexar_watch *w)
{
    (void)nx_engine_post(&w->task);
}

static void end_watch(struct nx_task *task)
{
    free(nx_container_of(task, nexar_watch, end));
}

static void unwatch(nexar_watch *w)
{
    if (w == NULL)
        return;
    if (w->over || !nx_engine_inside())
        abort();
    w->over = true;
    if (w->kind == FD)
        epoll_ctl(nx_engine_epoll(), EPOLL_CTL_DEL, w->event.fd, NULL);
    else if (w->kind == POLL)
        nx_poller_remove(&w->poller);
    else if (w->kind == TIMER)
        nx_timer_cancel(&w->timer);
    nx_task_init(&w->end, end_watch);
    nx_engine_post(&w->end);
}

void fake_watch_functions(nexar_host *host)
{
    host->watch_fd = watch_fd;
    host->watch_change = watch_change;
    host->watch_poll = watch_poll;
    host->watch_timer = watch_timer;
    host->timer_set = timer_set;
    host->watch_job = watch_job;
    host->job_post = job_post;
    host->unwatch = unwatch;
}
