/* comm/memory.c - memory for the arrays of a user, in what the ranks of a host share if there is room.
 *
 * Owner: any thread.  A block knows by its place where it came from, so it needs no communicator to be freed.  What
 * collectives gain by it is in coll/near_direct.c. */
#include "base/engine.h"
#include "base/mem.h"
#include "bulk/shm_heap.h"
#include "comm/comm.h"

enum { ALIGNED = 4096 };

/* Before the memory that is given out: what was allocated. */
static void **origin(void *p)
{
    return (void **)p - 1;
}

static void *ordinary(size_t nbytes)
{
    void *all = nbytes > PTRDIFF_MAX - 2 * ALIGNED ? NULL : nx_calloc(1, nbytes + 2 * ALIGNED), *p;

    if (all == NULL)
        return NULL;
    p = (void *)(((uintptr_t)all + 2 * ALIGNED - 1) & ~(uintptr_t)(ALIGNED - 1));
    *origin(p) = all;
    return p;
}

nexar_status nexar_comm_alloc(nexar_comm *comm, size_t nbytes, void **out)
{
    nexar_status st = nx_comm_check(comm, "alloc", false);
    struct nx_shm_heaps *heaps;

    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "alloc: there is no place for the memory");
    *out = NULL;
    if (st != NEXAR_OK)
        return st;
    heaps = comm->net->shm == NULL ? NULL : nx_shm_heaps_of(comm->net->shm);
    if (heaps != NULL)
        *out = nx_shm_heap_alloc(heaps, nbytes);
    if (*out == NULL)
        *out = ordinary(nbytes);
    return *out != NULL ? NEXAR_OK : nx_fail(NEXAR_ENOMEM, "alloc: there are no %zu bytes", nbytes);
}

void nexar_comm_free(void *p)
{
    if (p == NULL || nx_engine_alive() != NEXAR_OK) /* a forked child: it is its parent's */
        return;
    if (!nx_shm_heap_free(p))
        nx_free(*origin(p));
}
