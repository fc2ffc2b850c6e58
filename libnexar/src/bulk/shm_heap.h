/* bulk/shm_heap.h - memory that a rank gives to its user, and that all ranks of the host reach.
 *
 * Each member has a heap in the segment.  A block of it belongs to the user until it is freed, also when the node has
 * closed by then: what is mapped stays until the last one is freed.  The others use it only while an operation lends it
 * to them (coll/near_direct.c). */
#ifndef NX_BULK_SHM_HEAP_H
#define NX_BULK_SHM_HEAP_H

#include "base/list.h"
#include "bulk/shm.h"

#include <sys/types.h>

struct nx_shm_block;

struct nx_shm_heaps {
    /* const after it was opened */
    uint8_t *base;   /* of all members' heaps, one behind the other */
    uint64_t nbytes; /* of each */
    uint32_t members, self;
    uint64_t offset; /* in the file */
    int fd;          /* borrowed from the segment; -1: the node has closed */
    /* the lock of shm_heap.c */
    struct nx_list link;         /* of the process */
    struct nx_shm_block *blocks; /* owned; used and free ones, by address */
    uint64_t used;               /* how many of them are */
};

/* How large each heap of a new segment is: as NEXAR_SHM_HEAP says (NULL: not set), else all together half of the host's
 * memory.  NEXAR_ECONFIG. */
nexar_status nx_shm_heap_size(const char *setting, uint32_t members, uint64_t *nbytes);

/* Maps all heaps, which begin at `offset` of the descriptor.  NULL: not possible. */
struct nx_shm_heaps *nx_shm_heaps_open(int fd, uint64_t offset, uint64_t nbytes, uint32_t members, uint32_t self);
/* The node closes; it frees them itself when nothing in them is used any more.  NULL is legal. */
void nx_shm_heaps_close(struct nx_shm_heaps *heaps);

/* ---- any thread ---- */

/* Zeroed, whole pages.  NULL: there is no room, or not so much memory. */
void *nx_shm_heap_alloc(struct nx_shm_heaps *heaps, size_t nbytes);
/* False: it is none of this process's blocks. */
bool nx_shm_heap_free(void *p);

/* Whether all of it is in this member's heap; *offset: where, for the others. */
static inline bool nx_shm_heap_has(const struct nx_shm_heaps *heaps, const void *p, size_t nbytes, uint64_t *offset)
{
    *offset = (uint64_t)(uintptr_t)p - (uint64_t)(uintptr_t)(heaps->base + heaps->self * heaps->nbytes);
    return *offset < heaps->nbytes && nbytes <= heaps->nbytes - *offset;
}

/* What `member` calls `offset`; NULL if so many bytes are not there in its heap. */
static inline uint8_t *nx_shm_heap_at(const struct nx_shm_heaps *heaps, uint32_t member, uint64_t offset, size_t nbytes)
{
    if (member >= heaps->members || offset >= heaps->nbytes || nbytes > heaps->nbytes - offset)
        return NULL;
    return heaps->base + member * heaps->nbytes + offset;
}

/* From now on what others do to the pages of this part of a block of ours is not seen here, nor what we do by them;
 * what it holds stays.  False: no memory. */
bool nx_shm_heap_revoke(const void *p, size_t nbytes);

#endif
