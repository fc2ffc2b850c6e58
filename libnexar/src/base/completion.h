/* base/completion.h - cookies of finished ops, and the descriptor that tells an event loop about them. */
#ifndef NX_BASE_COMPLETION_H
#define NX_BASE_COMPLETION_H

#include "base/thread.h"

struct nx_completions {
    struct nx_mutex lock;
    int fd;           /* eventfd; -1 until it is asked for */
    uint64_t *cookie; /* ring */
    size_t room, first, count;
    size_t reserved; /* promised by nx_completion_reserve and not yet pushed */
};

void nx_completions_init(struct nx_completions *c);
void nx_completions_fini(struct nx_completions *c);

/* Makes room for one push, so that the push itself cannot fail.  NEXAR_ENOMEM. */
nexar_status nx_completion_reserve(struct nx_completions *c);
void nx_completion_push(struct nx_completions *c, uint64_t cookie);
/* False if there is none. */
bool nx_completion_pop(struct nx_completions *c, uint64_t *cookie);
/* NEXAR_ESYSTEM. */
nexar_status nx_completion_fd(struct nx_completions *c, int32_t *fd);

#endif
