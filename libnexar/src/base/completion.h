/* base/completion.h - cookies of finished ops, and the descriptor that tells an event loop about them. */
#ifndef NX_BASE_COMPLETION_H
#define NX_BASE_COMPLETION_H

#include "base/thread.h"

/* Shared by a node and all its ops: it goes with the last of them. */
struct nx_completions {
    _Atomic uint32_t refs;
    struct nx_mutex lock;
    int fd;           /* eventfd; -1 until it is asked for */
    uint64_t *cookie; /* ring */
    size_t room, first, count;
    size_t reserved; /* promised by nx_completion_reserve and not yet pushed */
};

/* One reference; NULL when memory is short. */
struct nx_completions *nx_completions_new(void);
void nx_completions_hold(struct nx_completions *c);
/* NULL is legal. */
void nx_completions_drop(struct nx_completions *c);

/* Makes room for one push, so that the push itself cannot fail.  NEXAR_ENOMEM. */
nexar_status nx_completion_reserve(struct nx_completions *c);
void nx_completion_push(struct nx_completions *c, uint64_t cookie);
/* False if there is none. */
bool nx_completion_pop(struct nx_completions *c, uint64_t *cookie);
/* NEXAR_ESYSTEM. */
nexar_status nx_completion_fd(struct nx_completions *c, int32_t *fd);

#endif
