/* bulk/shm_area.c - areas of communicators in the segment.
 *
 * Owner: any thread.  An entry of the table changes by single atomic operations.  It does not know what is in an area:
 * coll/near.c does. */
#include "bulk/shm_group.h"

static struct nx_shm_area *find(struct nx_shm *shm, uint64_t id, uint32_t *index)
{
    for (uint32_t i = 0; i < NX_SHM_PLACES; i++) {
        struct nx_shm_area *area = &shm->seg.header->area[i];

        *index = i;
        if (atomic_load_explicit(&area->id, memory_order_acquire) == id)
            return area;
    }
    return NULL;
}

void *nx_shm_area_make(struct nx_shm *shm, uint64_t id, size_t nbytes)
{
    for (uint32_t i = 0; i < NX_SHM_PLACES && nbytes <= shm->seg.layout.area_nbytes; i++) {
        struct nx_shm_area *area = &shm->seg.header->area[i];
        uint64_t none = 0;

        if (!atomic_compare_exchange_strong(&area->id, &none, NX_SHM_AREA_BUSY))
            continue;
        atomic_store(&area->left, 0);
        atomic_store_explicit(&area->id, id, memory_order_release);
        return nx_shm_seg_area(&shm->seg, i);
    }
    return NULL;
}

void *nx_shm_area_find(struct nx_shm *shm, uint64_t id, size_t nbytes)
{
    uint32_t i;

    return nbytes <= shm->seg.layout.area_nbytes && find(shm, id, &i) != NULL ? nx_shm_seg_area(&shm->seg, i) : NULL;
}

void nx_shm_area_leave(struct nx_shm *shm, uint64_t id, uint64_t members)
{
    uint64_t self = UINT64_C(1) << shm->self, left;
    uint32_t i;
    struct nx_shm_area *area = find(shm, id, &i);

    if (area == NULL)
        return;
    left = atomic_fetch_or(&area->left, self) | self;
    if ((members & ~(left | nx_shm_dead(shm))) != 0)
        return;
    /* The last one, or one of several that see that nobody else looks at it any more. */
    if (!atomic_compare_exchange_strong(&area->id, &id, NX_SHM_AREA_BUSY))
        return;
    nx_shm_seg_forget(&shm->seg, i);
    atomic_store_explicit(&area->id, 0, memory_order_release);
}
