/* bulk/shm.h - the segment that the ranks of one host share.
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

/* UINT32_MAX: it runs on another host. */
uint32_t nx_shm_index(const struct nx_shm *shm, uint32_t world_rank);

/* Any thread.  Something was published for the members whose bits are set: those that sleep wake up. */
void nx_shm_wake(struct nx_shm *shm, uint64_t members);
/* Members whose process has ended. */
uint64_t nx_shm_dead(const struct nx_shm *shm);
#endif
