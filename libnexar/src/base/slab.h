/* base/slab.h - a free list of objects of one size, so that what comes and goes with every message costs no allocation.
 * */
#ifndef NX_BASE_SLAB_H
#define NX_BASE_SLAB_H

#include "base/mem.h"
#include "base/thread.h"

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
    return object != NULL ? object : nx_alloc(slab->size);
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
