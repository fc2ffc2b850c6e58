/* bulk/shm.h - the segment that the ranks of one host share.
 *
 * It is mapped when the job has formed, by all ranks of the host or by none of them, and stays until the node closes.
 * Members are counted by index, in the order of their ranks.  A communicator may have an area of its own in it. */
#ifndef NX_BULK_SHM_H
#define NX_BULK_SHM_H

#include "nexar/ext.h"

#include <stdbool.h>
#include <stddef.h>

/* More ranks of a host do without. */
#define NX_SHM_RANKS 64
/* More communicators of a host do without an area. */
#define NX_SHM_AREAS 16
/* The id of one area more, which is no communicator's: what is kept of the dead (cluster/record.h). */
#define NX_SHM_RECORDS (UINT64_MAX - 1)
#define NX_SHM_PLACES (NX_SHM_AREAS + 1)

struct nx_shm;
struct nx_shm_heaps;

/* `self` of nx_shm_module; NULL if not all ranks of this host share the segment. */
struct nx_shm *nx_shm_shared(void *self);

/* UINT32_MAX: it runs on another host. */
uint32_t nx_shm_index(const struct nx_shm *shm, uint32_t world_rank);

/* Any thread.  Something was published for the members whose bits are set: those that sleep wake up. */
void nx_shm_wake(struct nx_shm *shm, uint64_t members);
/* Members whose process has ended. */
uint64_t nx_shm_dead(const struct nx_shm *shm);
/* Index of this member. */
uint32_t nx_shm_self(const struct nx_shm *shm);

/* Of all members (bulk/shm_heap.h); NULL: there are none. */
struct nx_shm_heaps *nx_shm_heaps_of(const struct nx_shm *shm);

/* Any thread, from here on.  An area of zeroed memory under an id, which one member makes before another looks for it.
 * NULL: there are as many as there can be, or it would be too large. */
void *nx_shm_area_make(struct nx_shm *shm, uint64_t id, size_t nbytes);
/* NULL: it was not made. */
void *nx_shm_area_find(struct nx_shm *shm, uint64_t id, size_t nbytes);
/* This member does not use it any more.  When all of `members` have left, or died, it is there for another. */
void nx_shm_area_leave(struct nx_shm *shm, uint64_t id, uint64_t members);

#endif
