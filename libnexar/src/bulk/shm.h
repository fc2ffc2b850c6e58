/* bulk/shm.h - the segment that the ranks of one host share, for those who put more than messages into it.
 *
 * It is mapped when the job has formed, by all ranks of the host or by none of them, and stays until the node closes.
 * Members are counted by index, in the order of their ranks. */
#ifndef NX_BULK_SHM_H
#define NX_BULK_SHM_H

#include "nexar/ext.h"

#include <stdbool.h>

/* More ranks of a host do without. */
#define NX_SHM_RANKS 64

struct nx_shm;

/* `self` of nx_shm_module; NULL if not all ranks of this host share the segment. */
struct nx_shm *nx_shm_shared(void *self);

uint32_t nx_shm_size(const struct nx_shm *shm);
uint32_t nx_shm_self(const struct nx_shm *shm);
/* UINT32_MAX: it runs on another host. */
uint32_t nx_shm_index(const struct nx_shm *shm, uint32_t world_rank);

/* Any thread.  Something was published for the members whose bits are set: those that sleep wake up. */
void nx_shm_wake(struct nx_shm *shm, uint64_t members);
/* Members whose process has ended. */
uint64_t nx_shm_dead(const struct nx_shm *shm);
/* Members that are not asleep. */
uint32_t nx_shm_awake(const struct nx_shm *shm);

/* ---- areas: memory of a communicator ----
 *
 * One member makes it, under an id, the others find it.  Any thread. */

/* Zeroed.  NEXAR_ENOMEM, which the others learn, too. */
nexar_status nx_shm_area_make(struct nx_shm *shm, uint64_t id, size_t nbytes, void **area);
/* NEXAR_EAGAIN: it has not been made yet.  NEXAR_ENOMEM: its maker had no room. */
nexar_status nx_shm_area_find(struct nx_shm *shm, uint64_t id, size_t *nbytes, void **area);
/* This member does not use it any more.  When `members` have left, or died, there is room for another. */
void nx_shm_area_leave(struct nx_shm *shm, uint64_t id, uint64_t members);

/* ---- heap: memory of one member that all can reach ---- */

/* Any thread.  Aligned to 4096; NULL: there is no room. */
void *nx_shm_heap_alloc(struct nx_shm *shm, size_t nbytes);
void nx_shm_heap_free(struct nx_shm *shm, void *p);
/* Whether all of it is in this member's heap; `offset` says where, for the others. */
bool nx_shm_heap_has(const struct nx_shm *shm, const void *p, size_t nbytes, uint64_t *offset);
/* What `member` calls `offset`, or NULL if so many bytes there are not in its heap. */
void *nx_shm_heap_at(const struct nx_shm *shm, uint32_t member, uint64_t offset, size_t nbytes);

#endif
