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
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31306d68735f786e) /* "nx_shm01" */
#define KiB UINT64_C(1024)
#define MiB (1024 * KiB)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static uint64_t pages(uint64_t n)
{
    return (n + 4095) & ~UINT64_C(4095);
}

void nx_shm_layout(uint32_t members, struct nx_shm_layout *l)
{
    uint64_t pairs = (uint64_t)members * members, data = 256 * KiB;

    while (data > 16 * KiB && data * pairs > 64 * MiB)
        data /= 2;
    *l = (struct nx_shm_layout){.members = members, .data = (uint32_t)data};
    /* Of one communicator of all members: see coll/near.c. */
    l->area_nbytes = (2 * members < 64 ? 2 * members * MiB : 64 * MiB) + members * 4 * KiB;
    l->rings = pages(sizeof(struct nx_shm_header));
    l->areas = l->rings + pairs * pages(nx_shm_ring_size(l->data));
    l->total = l->areas + NX_SHM_AREAS * l->area_nbytes;
}

static nexar_status map(struct nx_shm_seg *seg)
{
    void *p = mmap(NULL, seg->layout.total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, seg->fd, 0);

    if (p == MAP_FAILED)
        return nx_fail(NEXAR_ESYSTEM, "%llu bytes of shared memory cannot be mapped: %s",
                       (unsigned long long)seg->layout.total, strerror(errno));
    (void)madvise(p, seg->layout.total, MADV_DONTFORK);
    (void)madvise(p, seg->layout.total, MADV_DONTDUMP);
    seg->header = p;
    return NEXAR_OK;
}

nexar_status nx_shm_seg_make(uint32_t members, struct nx_shm_seg *seg)
{
    nexar_status st;

    *seg = (struct nx_shm_seg){.fd = memfd_create("nexar", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    nx_shm_layout(members, &seg->layout);
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
    return NEXAR_OK;
}

nexar_status nx_shm_seg_map(int fd, uint32_t members, struct nx_shm_seg *seg)
{
    nexar_status st = NEXAR_OK;
    struct stat status;

    *seg = (struct nx_shm_seg){.fd = fd};
    nx_shm_layout(members, &seg->layout);
    if (fcntl(fd, F_GET_SEALS) != SEALS || fstat(fd, &status) != 0 || (uint64_t)status.st_size != seg->layout.total)
        st = nx_fail(NEXAR_EPROTO, "the shared memory that came is not sealed, or not as large as it must be");
    if (st == NEXAR_OK)
        st = map(seg);
    if (st == NEXAR_OK &&
        (seg->header->magic != MAGIC || seg->header->members != members || seg->header->data != seg->layout.data))
        st = nx_fail(NEXAR_EPROTO, "the shared memory that came is not ours");
    if (st != NEXAR_OK)
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
    if (seg->header != NULL)
        munmap(seg->header, seg->layout.total);
    if (seg->fd >= 0)
        close(seg->fd);
    seg->header = NULL;
    seg->fd = -1;
}
