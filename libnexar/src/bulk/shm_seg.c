/* bulk/shm_seg.c - makes and maps the segment.
 *
 * Owner: the thread that calls.  It has no name in any file system, so that nothing is left behind whoever dies; it is
 * sealed, so that nobody can make it shorter under the others. */
#include "bulk/shm_seg.h"

#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31306d68735f786e) /* "nx_shm01" */
#define KiB UINT64_C(1024)
#define MiB (1024 * KiB)
#define HUGE_PAGE (2 * MiB)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static uint64_t pages(uint64_t n)
{
    return (n + 4095) & ~UINT64_C(4095);
}

void nx_shm_layout(uint32_t members, uint64_t heap_nbytes, struct nx_shm_layout *l)
{
    uint64_t pairs = (uint64_t)members * members, data = 256 * KiB;

    while (data > 16 * KiB && data * pairs > 64 * MiB)
        data /= 2;
    *l = (struct nx_shm_layout){.members = members, .data = (uint32_t)data};
    /* Of one communicator of all members: see coll/near.c. */
    l->area_nbytes = (2 * members < 64 ? 2 * members * MiB : 64 * MiB) + members * 4 * KiB;
    l->rings = pages(sizeof(struct nx_shm_header));
    l->areas = l->rings + pairs * pages(nx_shm_ring_size(l->data));
    l->heaps = (l->areas + NX_SHM_PLACES * l->area_nbytes + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    l->heap_nbytes = heap_nbytes;
    l->total = l->heaps + members * heap_nbytes;
}

static nexar_status map(struct nx_shm_seg *seg)
{
    void *p = mmap(NULL, seg->layout.heaps, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, seg->fd, 0);

    if (p == MAP_FAILED)
        return nx_fail(NEXAR_ESYSTEM, "%llu bytes of shared memory cannot be mapped: %s",
                       (unsigned long long)seg->layout.heaps, strerror(errno));
    (void)madvise(p, seg->layout.heaps, MADV_DONTFORK);
    (void)madvise(p, seg->layout.heaps, MADV_DONTDUMP);
    seg->header = p;
    return NEXAR_OK;
}

/* After `map`.  Those that cannot do it have no heap, and so has nobody: nx_shm_seg_settle. */
static void map_heaps(struct nx_shm_seg *seg, uint32_t self)
{
    const struct nx_shm_layout *l = &seg->layout;

    seg->heaps = nx_shm_heaps_open(seg->fd, l->heaps, l->heap_nbytes, l->members, self);
    if (seg->heaps != NULL)
        atomic_fetch_add(&seg->header->reaching, 1);
}

void nx_shm_seg_settle(struct nx_shm_seg *seg)
{
    if (atomic_load(&seg->header->reaching) == seg->layout.members)
        return;
    nx_shm_heaps_close(seg->heaps);
    seg->heaps = NULL;
}

/* A file that may not become so large has no heaps: nothing else of it is large. */
static uint64_t may_have(uint32_t members, uint64_t heap_nbytes)
{
    struct nx_shm_layout l;
    struct rlimit limit;

    nx_shm_layout(members, heap_nbytes, &l);
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < l.total ? 0 : heap_nbytes;
}

nexar_status nx_shm_seg_make(uint32_t members, uint64_t heap_nbytes, struct nx_shm_seg *seg)
{
    nexar_status st;

    *seg = (struct nx_shm_seg){.fd = memfd_create("nexar", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    nx_shm_layout(members, may_have(members, heap_nbytes), &seg->layout);
    if (seg->fd < 0 || ftruncate(seg->fd, (off_t)seg->layout.total) != 0 || fcntl(seg->fd, F_ADD_SEALS, SEALS) != 0)
        st = nx_fail(NEXAR_ESYSTEM, "shared memory cannot be made: %s", strerror(errno));
    else
        st = map(seg);
    if (st != NEXAR_OK) {
        nx_shm_seg_close(seg);
        return st;
    }
    seg->header->members = members;
    seg->header->data = seg->layout.data;
    seg->header->magic = MAGIC;
    map_heaps(seg, 0);
    return NEXAR_OK;
}

/* The heaps are as large as its maker has chosen; all else follows from `members`. */
static bool lay_out(struct nx_shm_seg *seg, uint32_t members)
{
    struct nx_shm_layout *l = &seg->layout;
    struct stat status;

    nx_shm_layout(members, 0, l);
    if (fcntl(seg->fd, F_GET_SEALS) != SEALS || fstat(seg->fd, &status) != 0 || (uint64_t)status.st_size < l->heaps)
        return false;
    nx_shm_layout(members, ((uint64_t)status.st_size - l->heaps) / members & ~(HUGE_PAGE - 1), l);
    return (uint64_t)status.st_size == l->total;
}

nexar_status nx_shm_seg_map(int fd, uint32_t members, uint32_t self, struct nx_shm_seg *seg)
{
    nexar_status st = NEXAR_OK;

    *seg = (struct nx_shm_seg){.fd = fd};
    if (!lay_out(seg, members))
        st = nx_fail(NEXAR_EPROTO, "the shared memory that came is not sealed, or not as large as it must be");
    if (st == NEXAR_OK)
        st = map(seg);
    if (st == NEXAR_OK &&
        (seg->header->magic != MAGIC || seg->header->members != members || seg->header->data != seg->layout.data))
        st = nx_fail(NEXAR_EPROTO, "the shared memory that came is not ours");
    if (st == NEXAR_OK)
        map_heaps(seg, self);
    else
        nx_shm_seg_close(seg);
    return st;
}

void nx_shm_seg_forget(const struct nx_shm_seg *seg, uint32_t area)
{
    uint8_t *at = nx_shm_seg_area(seg, area);

    if (fallocate(seg->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at - (uint8_t *)seg->header,
                  (off_t)seg->layout.area_nbytes) != 0)
        memset(at, 0, seg->layout.area_nbytes);
}

void nx_shm_seg_close(struct nx_shm_seg *seg)
{
    nx_shm_heaps_close(seg->heaps);
    seg->heaps = NULL;
    if (seg->header != NULL)
        munmap(seg->header, seg->layout.heaps);
    if (seg->fd >= 0)
        close(seg->fd);
    seg->header = NULL;
    seg->fd = -1;
}
