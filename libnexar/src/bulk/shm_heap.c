/* bulk/shm_heap.c - see shm_heap.h.
 *
 * Owner: any thread, under one lock of the process: blocks are given out and freed rarely.  Memory is taken from the
 * system when a block is given out, so that nobody who touches it later finds that there is none.  It does not know
 * what operations do with blocks. */
#include "bulk/shm_heap.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE (UINT64_C(2) << 20)
#define LARGE (UINT64_C(1) << 20) /* blocks from this size on lie on huge pages */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* A part of the heap, all of which lie one behind the other. */
struct nx_shm_block {
    struct nx_shm_block *next;
    uint64_t at, nbytes;
    bool used;
    bool revoked; /* some of it: others may still have the pages that were there, so it is never given out again */
};

static struct nx_mutex lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_POOL};
static struct nx_list all = {.next = &all, .prev = &all}; /* struct nx_shm_heaps.link */

static uint64_t up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

static uint64_t page(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint8_t *own(const struct nx_shm_heaps *heaps)
{
    return heaps->base + heaps->self * heaps->nbytes;
}

nexar_status nx_shm_heap_size(const char *setting, uint32_t members, uint64_t *nbytes)
{
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);
    unsigned long long value;
    char *end;

    *nbytes = pages * page() / 2 / members & ~(HUGE_PAGE - 1);
    if (setting == NULL || *setting == '\0')
        return NEXAR_OK;
    errno = 0;
    value = strtoull(setting, &end, 10);
    if (end != setting && *end != '\0' && strchr("kmg", *end) != NULL) {
        unsigned shift = *end == 'k' ? 10 : *end == 'm' ? 20 : 30;

        value = value > UINT64_MAX >> shift ? UINT64_MAX : value << shift;
        end++;
    }
    if (end == setting || *end != '\0' || *setting < '0' || *setting > '9' || errno != 0 || value > UINT64_C(1) << 40)
        return nx_fail(NEXAR_ECONFIG, "NEXAR_SHM_HEAP is \"%s\"; 0 to 1024g are allowed", setting);
    *nbytes = up(value, HUGE_PAGE);
    return NEXAR_OK;
}

/* ---- all of it ---- */

/* So that huge pages of the file are huge pages here.  NULL: not possible. */
static uint8_t *map_aligned(int fd, uint64_t offset, uint64_t total)
{
    uint8_t *room = mmap(NULL, total + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *base;
    uint64_t before;

    if (room == MAP_FAILED)
        return NULL;
    base = (uint8_t *)(uintptr_t)up((uintptr_t)room, HUGE_PAGE);
    before = (uint64_t)(base - room);
    if (mmap(base, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, (off_t)offset) ==
        MAP_FAILED) {
        munmap(room, total + HUGE_PAGE);
        return NULL;
    }
    if (before != 0)
        munmap(room, before);
    munmap(base + total, HUGE_PAGE - before);
    (void)madvise(base, total, MADV_DONTDUMP);
    return base;
}

struct nx_shm_heaps *nx_shm_heaps_open(int fd, uint64_t offset, uint64_t nbytes, uint32_t members, uint32_t self)
{
    struct nx_shm_heaps *heaps = nbytes == 0 ? NULL : nx_calloc(1, sizeof(*heaps));
    struct nx_shm_block *block = heaps == NULL ? NULL : nx_calloc(1, sizeof(*block));

    if (block == NULL) {
        nx_free(heaps);
        return NULL;
    }
    block->nbytes = nbytes;
    *heaps = (struct nx_shm_heaps){.base = map_aligned(fd, offset, members * nbytes),
                                   .nbytes = nbytes,
                                   .members = members,
                                   .self = self,
                                   .fd = fd,
                                   .offset = offset,
                                   .blocks = block};
    nx_list_init(&heaps->link);
    if (heaps->base == NULL) {
        nx_free(block);
        nx_free(heaps);
        return NULL;
    }
    nx_lock(&lock);
    nx_list_push_back(&all, &heaps->link);
    nx_unlock(&lock);
    return heaps;
}

/* With the lock: the node has closed, and no block is used. */
static void destroy(struct nx_shm_heaps *heaps)
{
    nx_list_remove(&heaps->link);
    munmap(own(heaps), heaps->nbytes);
    while (heaps->blocks != NULL) {
        struct nx_shm_block *b = heaps->blocks;

        heaps->blocks = b->next;
        nx_free(b);
    }
    nx_free(heaps);
}

void nx_shm_heaps_close(struct nx_shm_heaps *heaps)
{
    uint64_t before, behind;

    if (heaps == NULL)
        return;
    nx_lock(&lock);
    before = heaps->self * heaps->nbytes;
    behind = (heaps->members - heaps->self - 1) * heaps->nbytes;
    if (before != 0)
        munmap(heaps->base, before);
    if (behind != 0)
        munmap(own(heaps) + heaps->nbytes, behind);
    heaps->fd = -1;
    if (heaps->used == 0)
        destroy(heaps);
    nx_unlock(&lock);
}

/* ---- blocks ---- */

/* With the lock: cuts a block in two.  False: no memory. */
static bool cut(struct nx_shm_block *b, uint64_t nbytes)
{
    struct nx_shm_block *rest;

    if (nbytes == b->nbytes)
        return true;
    rest = nx_alloc(sizeof(*rest));
    if (rest == NULL)
        return false;
    *rest = (struct nx_shm_block){.next = b->next, .at = b->at + nbytes, .nbytes = b->nbytes - nbytes};
    b->next = rest;
    b->nbytes = nbytes;
    return true;
}

/* With the lock: the first room of so many bytes.  NULL: there is none, or no memory. */
static struct nx_shm_block *take(struct nx_shm_heaps *heaps, uint64_t nbytes, uint64_t unit)
{
    for (struct nx_shm_block *b = heaps->blocks; b != NULL; b = b->next) {
        uint64_t at = up(b->at, unit), before = at - b->at;

        if (b->used || b->nbytes < before || b->nbytes - before < nbytes)
            continue;
        if (before != 0) {
            if (!cut(b, before))
                return NULL;
            b = b->next;
        }
        if (!cut(b, nbytes))
            return NULL; /* what was cut before is joined by the next free */
        b->used = true;
        heaps->used++;
        return b;
    }
    return NULL;
}

/* With the lock: free blocks that are neighbours become one. */
static void join(struct nx_shm_heaps *heaps)
{
    for (struct nx_shm_block *b = heaps->blocks; b != NULL;) {
        struct nx_shm_block *next = b->next;

        if (next == NULL || b->used || next->used) {
            b = next;
            continue;
        }
        b->nbytes += next->nbytes;
        b->next = next->next;
        nx_free(next);
    }
}

/* With the lock.  Its memory goes back to the system, so it is zero when it is used again. */
static void give_back(struct nx_shm_heaps *heaps, struct nx_shm_block *b)
{
    uint8_t *p = own(heaps) + b->at;

    heaps->used--;
    if (b->revoked) {
        (void)madvise(p, b->nbytes, MADV_DONTNEED);
    } else {
        if (madvise(p, b->nbytes, MADV_REMOVE) != 0)
            memset(p, 0, b->nbytes);
        b->used = false;
        join(heaps);
    }
    if (heaps->used == 0 && heaps->fd < 0)
        destroy(heaps);
}

/* Its pages are there, or there is no memory for them. */
static bool populate(const struct nx_shm_heaps *heaps, const struct nx_shm_block *b)
{
    uint8_t *p = own(heaps) + b->at;

    if (b->nbytes >= LARGE)
        (void)madvise(p, b->nbytes, MADV_HUGEPAGE);
    if (madvise(p, b->nbytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL) /* the system does not know it */
        return false;
    return fallocate(heaps->fd, 0, (off_t)(heaps->offset + heaps->self * heaps->nbytes + b->at), (off_t)b->nbytes) == 0;
}

void *nx_shm_heap_alloc(struct nx_shm_heaps *heaps, size_t nbytes)
{
    uint64_t size = up(nbytes == 0 ? 1 : nbytes, page());
    struct nx_shm_block *b;

    if (nbytes > heaps->nbytes)
        return NULL;
    nx_lock(&lock);
    b = take(heaps, size, size >= LARGE ? HUGE_PAGE : page());
    nx_unlock(&lock);
    if (b == NULL)
        return NULL;
    if (populate(heaps, b))
        return own(heaps) + b->at;
    nx_lock(&lock);
    give_back(heaps, b);
    nx_unlock(&lock);
    return NULL;
}

/* With the lock: the block in which this is. */
static struct nx_shm_block *find(const void *p, struct nx_shm_heaps **heaps)
{
    for (struct nx_list *pos = all.next; pos != &all; pos = pos->next) {
        uint64_t at;

        *heaps = nx_container_of(pos, struct nx_shm_heaps, link);
        if (!nx_shm_heap_has(*heaps, p, 1, &at))
            continue;
        for (struct nx_shm_block *b = (*heaps)->blocks; b != NULL; b = b->next) {
            if (at >= b->at && at - b->at < b->nbytes)
                return b;
        }
    }
    return NULL;
}

bool nx_shm_heap_free(void *p)
{
    struct nx_shm_heaps *heaps;
    struct nx_shm_block *b;

    nx_lock(&lock);
    b = find(p, &heaps);
    if (b != NULL)
        give_back(heaps, b);
    nx_unlock(&lock);
    return b != NULL;
}

bool nx_shm_heap_revoke(const void *p, size_t nbytes)
{
    uint8_t *from = (uint8_t *)((uintptr_t)p & ~(uintptr_t)(page() - 1));
    uint64_t n = up((uint64_t)((uintptr_t)p - (uintptr_t)from) + nbytes, page());
    struct nx_shm_heaps *heaps;
    struct nx_shm_block *b;
    void *copy = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool done = false;

    if (copy == MAP_FAILED)
        return false;
    nx_lock(&lock);
    b = find(p, &heaps);
    if (b != NULL) {
        memcpy(copy, from, n);
        done = mremap(copy, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, from) != MAP_FAILED;
        b->revoked = b->revoked || done;
    }
    nx_unlock(&lock);
    if (!done)
        munmap(copy, n);
    return done;
}
