/* base/watch.h - another process of this host: the moment when it ends.
 *
 * Engine. */
#ifndef NX_BASE_WATCH_H
#define NX_BASE_WATCH_H

#include "base/engine.h"
#include "base/process.h"

struct nx_watch {
    struct nx_event event; /* fd: the process; -1: not watched */
    /* Once; it is not watched any more. */
    void (*ended)(struct nx_watch *watch);
};

void nx_watch_init(struct nx_watch *watch, void (*ended)(struct nx_watch *watch));
/* As nx_process_text has it.  What cannot be judged from here (another host, another namespace), and `self`'s own
 * process, is not watched.  False: that is no process. */
bool nx_watch_start(struct nx_watch *watch, const struct nx_process *self, const char *text, size_t n);
static inline bool nx_watch_is_on(const struct nx_watch *watch)
{
    return watch->event.fd >= 0;
}
void nx_watch_stop(struct nx_watch *watch);

#endif
