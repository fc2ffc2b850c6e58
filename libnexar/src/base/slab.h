/* base/slab.h - a free list of objects of one size, so that what comes and goes with every message costs no allocation.
 * */
#ifndef NX_BASE_SLAB_H
#define NX_BASE_SLAB_H

#include "base/mem.h"
#include "base/thread.h"

enum { NX_SLAB_STOCK = 8 }; /* objects that are made together */

struct nx_slab {
    struct nx_mutex lock;
    size_t size;    /* of an object */
    uint32_t keep;  /* free ones that are kept at most */
    uint32_t count; /* free ones */
    void *free;
};

#define NX_SLAB_INIT(type, keep_max)                                                                             \
    {                                                                                                            \
        .lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_POOL}, .size = sizeof(type), .keep = (keep_max) \
    }

static inline void nx_slab_put(struct nx_slab *slab, void *object)
{
    nx_lock(&slab->lock);
    if (slab->count < slab->keep) {
        *(void **)object = slab->free;
        slab->free = object;
        slab->count++;
        object = NULL;
    }
    nx_unlock(&slab->lock);
    nx_free(object);
}

/* Makes one, and some more to keep: what needs one more than ever before will need others soon, and a job that has
 * settled should allocate nothing even if a rank falls behind for once. */
static inline void *nx_slab_make(struct nx_slab *slab)
{
    void *object = nx_alloc(slab->size);

    for (int i = 1; object != NULL && i < NX_SLAB_STOCK; i++) {
        void *spare = nx_alloc(slab->size);

        if (spare == NULL)
            break;
        nx_slab_put(slab, spare);
    }
    return object;
}

/* Contents undefined; NULL when memory is short. */
static inline void *nx_slab_get(struct nx_slab *slab)
{
    void *object;

    nx_lock(&slab->lock);
    object = slab->free;
    if (object != NULL) {
        slab->free = *(void **)object;
        slab->count--;
    }
    nx_unlock(&slab->lock);
    return object != NULL ? object : nx_slab_make(slab);
}

/* Gives the free ones back to the system. */
static inline void nx_slab_trim(struct nx_slab *slab)
{
    void *object;

    nx_lock(&slab->lock);
    object = slab->free;
    slab->free = NULL;
    slab->count = 0;
    nx_unlock(&slab->lock);
    while (object != NULL) {
        void *next = *(void **)object;
        nx_free(object);
        object = next;
    }
}

#endif
