/* bulk/shm_seg.h - the segment itself: what is where in it.
 *
 *     header | rings, by ordered pair | areas | heaps, by member
 *
 * What is never touched costs nothing.  Every word has one writer, but for `sleepers`, `dead` and the table of areas,
 * which are changed by single atomic operations: there are no locks. */
#ifndef NX_BULK_SHM_SEG_H
#define NX_BULK_SHM_SEG_H

#include "bulk/shm_heap.h"
#include "bulk/shm_ring.h"

struct nx_shm_area {
    _Atomic uint64_t id;   /* 0: free; NX_SHM_AREA_BUSY: being made, or unmade */
    _Atomic uint64_t left; /* members that do not use it any more */
};

#define NX_SHM_AREA_BUSY UINT64_MAX

struct nx_shm_header {
    uint64_t magic;
    uint32_t members, data;                          /* bytes of each byte ring */
    _Alignas(NX_SHM_LINE) _Atomic uint64_t sleepers; /* bit r: member r sleeps, or is about to */
    _Alignas(NX_SHM_LINE) _Atomic uint64_t dead;
    _Atomic uint32_t deaths;
    _Atomic uint8_t died[NX_SHM_RANKS]; /* in the order in which they did: member + 1; 0: none yet */
    _Atomic uint32_t reaching;          /* members that have mapped the heaps */
    _Alignas(NX_SHM_LINE) struct nx_shm_area area[NX_SHM_PLACES];
};

/* Where everything is. */
struct nx_shm_layout {
    uint32_t members, data;
    uint64_t area_nbytes, heap_nbytes;   /* of each */
    uint64_t rings, areas, heaps, total; /* offsets; of the heaps on a huge page */
};

void nx_shm_layout(uint32_t members, uint64_t heap_nbytes, struct nx_shm_layout *layout);

struct nx_shm_seg {
    struct nx_shm_layout layout;
    struct nx_shm_header *header;
    struct nx_shm_heaps *heaps; /* NULL: there are none, or they could not be mapped */
    int fd;                     /* owned */
};

/* A new one, with heaps of at most so many bytes, a multiple of 2 MiB.  NEXAR_ESYSTEM. */
nexar_status nx_shm_seg_make(uint32_t members, uint64_t heap_nbytes, struct nx_shm_seg *seg);
/* One that came from another member: sealed, as large as ours would be but for the heaps, for as many members.  Takes
 * the descriptor.
 * NEXAR_EPROTO, NEXAR_ESYSTEM. */
nexar_status nx_shm_seg_map(int fd, uint32_t members, uint32_t self, struct nx_shm_seg *seg);
/* All have mapped it: the heaps are used if all reach them. */
void nx_shm_seg_settle(struct nx_shm_seg *seg);
void nx_shm_seg_close(struct nx_shm_seg *seg);

static inline struct nx_shm_ring *nx_shm_seg_ring(const struct nx_shm_seg *seg, uint32_t from, uint32_t to)
{
    uint64_t pair = (uint64_t)from * seg->layout.members + to;
    uint8_t *base = (uint8_t *)seg->header + seg->layout.rings;

    return (struct nx_shm_ring *)(void *)(base + pair * ((nx_shm_ring_size(seg->layout.data) + 4095) & ~(size_t)4095));
}

static inline uint8_t *nx_shm_seg_area(const struct nx_shm_seg *seg, uint32_t i)
{
    return (uint8_t *)seg->header + seg->layout.areas + i * seg->layout.area_nbytes;
}

/* Gives the memory of an area back to the system: it is zero when it is used again. */
void nx_shm_seg_forget(const struct nx_shm_seg *seg, uint32_t area);

#endif
