/* bulk/shm_area.c - memory in the segment: areas of communicators, and each member's heap.
 *
 * Owner: any thread.  An area's entry changes by single atomic operations.  A heap belongs to one process, whose list
 * of blocks is its own, under a lock; the others only read and write what is in it. */
#include "bulk/shm_group.h"

#include "base/mem.h"
#include "base/status.h"

/* ---- areas ---- */

static struct nx_shm_area *find(struct nx_shm *shm, uint64_t id, uint32_t *index)
{
    for (uint32_t i = 0; i < NX_SHM_AREAS; i++) {
        struct nx_shm_area *area = &shm->seg.header->area[i];

        if (atomic_load_explicit(&area->id, memory_order_acquire) == id) {
            *index = i;
            return area;
        }
    }
    return NULL;
}

nexar_status nx_shm_area_make(struct nx_shm *shm, uint64_t id, size_t nbytes, void **area)
{
    bool fits = nbytes <= shm->seg.layout.area_nbytes;

    *area = NULL;
    for (uint32_t i = 0; i < NX_SHM_AREAS; i++) {
        struct nx_shm_area *a = &shm->seg.header->area[i];
        uint64_t none = 0;

        if (!atomic_compare_exchange_strong(&a->id, &none, 1))
            continue;
        a->nbytes = nbytes;
        atomic_store(&a->left, 0);
        atomic_store(&a->state, fits ? NX_SHM_MADE : NX_SHM_FAILED);
        atomic_store_explicit(&a->id, id, memory_order_release);
        if (fits)
            *area = nx_shm_seg_area(&shm->seg, i);
        return fits ? NEXAR_OK : nx_fail(NEXAR_ENOMEM, "%zu bytes are too many for shared memory", nbytes);
    }
    return nx_fail(NEXAR_ENOMEM, "there are %d communicators in this host's shared memory already", NX_SHM_AREAS);
}

nexar_status nx_shm_area_find(struct nx_shm *shm, uint64_t id, size_t *nbytes, void **area)
{
    uint32_t i;
    struct nx_shm_area *a = find(shm, id, &i);

    *area = NULL;
    if (a == NULL)
        return NEXAR_EAGAIN;
    *nbytes = a->nbytes;
    if (atomic_load(&a->state) != NX_SHM_MADE || *nbytes > shm->seg.layout.area_nbytes)
        return NEXAR_ENOMEM;
    *area = nx_shm_seg_area(&shm->seg, i);
    return NEXAR_OK;
}

void nx_shm_area_leave(struct nx_shm *shm, uint64_t id, uint64_t members)
{
    uint64_t self = UINT64_C(1) << shm->self, left;
    uint32_t i;
    struct nx_shm_area *a = find(shm, id, &i);

    if (a == NULL)
        return;
    left = atomic_fetch_or(&a->left, self) | self;
    if ((members & ~(left | nx_shm_dead(shm))) != 0)
        return;
    /* The last one: nobody looks at it any more. */
    if (!atomic_compare_exchange_strong(&a->id, &id, 1))
        return;
    if (atomic_load(&a->state) == NX_SHM_MADE)
        nx_shm_seg_forget(&shm->seg, nx_shm_seg_area(&shm->seg, i), shm->seg.layout.area_nbytes);
    atomic_store(&a->id, 0);
}

/* ---- heaps ---- */

enum { PAGE = 4096 };

/* A part of the heap, all of which lie one behind the other. */
struct nx_shm_block {
    struct nx_shm_block *next;
    uint64_t at, nbytes;
    bool used;
};

static struct nx_shm_block *new_block(uint64_t at, uint64_t nbytes, struct nx_shm_block *next)
{
    struct nx_shm_block *b = nx_alloc(sizeof(*b));

    if (b != NULL)
        *b = (struct nx_shm_block){.next = next, .at = at, .nbytes = nbytes};
    return b;
}

/* With the lock. */
static struct nx_shm_block *take(struct nx_shm *shm, uint64_t nbytes)
{
    if (shm->heap == NULL)
        shm->heap = new_block(0, shm->seg.layout.heap_nbytes, NULL);
    for (struct nx_shm_block *b = shm->heap; b != NULL; b = b->next) {
        struct nx_shm_block *rest;

        if (b->used || b->nbytes < nbytes)
            continue;
        if (b->nbytes > nbytes) {
            rest = new_block(b->at + nbytes, b->nbytes - nbytes, b->next);
            if (rest == NULL)
                return NULL;
            b->next = rest;
            b->nbytes = nbytes;
        }
        b->used = true;
        return b;
    }
    return NULL;
}

void *nx_shm_heap_alloc(struct nx_shm *shm, size_t nbytes)
{
    struct nx_shm_block *b = NULL;
    uint64_t size = ((uint64_t)nbytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);

    if (nbytes == 0 || nbytes > shm->seg.layout.heap_nbytes)
        return NULL;
    nx_lock(&shm->lock);
    b = take(shm, size);
    nx_unlock(&shm->lock);
    return b == NULL ? NULL : nx_shm_seg_heap(&shm->seg, shm->self) + b->at;
}

void nx_shm_heap_free(struct nx_shm *shm, void *p)
{
    uint64_t at = (uint64_t)((uint8_t *)p - nx_shm_seg_heap(&shm->seg, shm->self));
    struct nx_shm_block *before = NULL, *b;

    nx_lock(&shm->lock);
    for (b = shm->heap; b != NULL && (b->at != at || !b->used); b = b->next)
        before = b;
    if (b != NULL) {
        nx_shm_seg_forget(&shm->seg, p, b->nbytes);
        b->used = false;
    }
    for (struct nx_shm_block *first = before != NULL && !before->used ? before : b; b != NULL && first->next != NULL;) {
        struct nx_shm_block *next = first->next;

        if (first->used || next->used)
            break;
        first->nbytes += next->nbytes;
        first->next = next->next;
        nx_free(next);
    }
    nx_unlock(&shm->lock);
}

bool nx_shm_heap_has(const struct nx_shm *shm, const void *p, size_t nbytes, uint64_t *offset)
{
    uintptr_t base = (uintptr_t)nx_shm_seg_heap(&shm->seg, shm->self), at = (uintptr_t)p;

    *offset = at - base;
    return at >= base && *offset <= shm->seg.layout.heap_nbytes && nbytes <= shm->seg.layout.heap_nbytes - *offset;
}

void *nx_shm_heap_at(const struct nx_shm *shm, uint32_t member, uint64_t offset, size_t nbytes)
{
    uint64_t size = shm->seg.layout.heap_nbytes;

    if (member >= shm->size || offset > size || nbytes > size - offset)
        return NULL;
    return nx_shm_seg_heap(&shm->seg, member) + offset;
}

void nx_shm_heap_fini(struct nx_shm *shm)
{
    while (shm->heap != NULL) {
        struct nx_shm_block *b = shm->heap;

        shm->heap = b->next;
        nx_free(b);
    }
}
