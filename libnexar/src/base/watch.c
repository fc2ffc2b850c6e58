/* base/watch.c - watches a process through a descriptor of it.
 *
 * Owner: the engine.  A number of a process means something in one namespace of one boot alone, and is used again. */
#include "base/watch.h"

#include "base/log.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void nx_watch_stop(struct nx_watch *watch)
{
    if (watch->event.fd < 0)
        return;
    epoll_ctl(nx_engine_epoll(), EPOLL_CTL_DEL, watch->event.fd, NULL);
    close(watch->event.fd);
    watch->event.fd = -1;
}

static void ready(struct epoll_event *event)
{
    struct nx_watch *watch = nx_container_of((struct nx_event *)event->data.ptr, struct nx_watch, event);

    nx_watch_stop(watch);
    watch->ended(watch);
}

void nx_watch_init(struct nx_watch *watch, void (*ended)(struct nx_watch *watch))
{
    *watch = (struct nx_watch){.event = {.fd = -1, .ready = ready}, .ended = ended};
}

bool nx_watch_start(struct nx_watch *watch, const struct nx_process *self, const char *text, size_t n)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &watch->event};
    char copy[NX_PROCESS_TEXT] = "";
    struct nx_process process;

    if (n >= sizeof(copy))
        return false;
    memcpy(copy, text, n);
    if (!nx_process_parse(copy, &process))
        return false;
    /* Without a boot /proc has not told about ourselves.  A thread of this process ends with it. */
    if (self->boot[0] == '\0' || strcmp(process.boot, self->boot) != 0 || process.pid_space != self->pid_space ||
        process.pid == self->pid)
        return true;
    watch->event.fd = (int)syscall(SYS_pidfd_open, process.pid, 0);
    /* If the number had been used again before it was opened, the process that was meant does not live any more. */
    if (watch->event.fd < 0 || !nx_process_lives(&process) ||
        epoll_ctl(nx_engine_epoll(), EPOLL_CTL_ADD, watch->event.fd, &event) != 0) {
        nx_debug("process %d cannot be watched", (int)process.pid);
        nx_watch_stop(watch);
    }
    return true;
}
