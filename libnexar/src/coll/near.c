/* coll/near.c - a communicator's area in shared memory, and whose turn it is there.
 *
 * Owner: as near.h says of the fields.  Operations take turns in the order in which they began; one that ends early
 * before its turn is passed over when that comes.  How they run is in near_run.c. */
#include "coll/near.h"

#include "base/mem.h"
#include "coll/op.h"
#include "comm/comms.h"
#include "net/way.h"

#include <sched.h>
#include <string.h>

enum {
    PAGE = 4096,
    SLOT_MIN = 128 << 10,
    SLOT_MAX = 1 << 20,
    SLOTS_ALL = 32 << 20, /* of all ranks, one of two */
    SKIPS = 64,
};

/* ---- the area ---- */

static size_t slot_of(uint32_t size)
{
    size_t slot = SLOTS_ALL / size / PAGE * PAGE;

    return slot < SLOT_MIN ? SLOT_MIN : slot > SLOT_MAX ? SLOT_MAX : slot;
}

static size_t lines_of(uint32_t size)
{
    return (size * sizeof(struct nx_near_rank) + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* The ranks of the communicator as members of the host; 0: not all of them are. */
static uint64_t members_of(const nexar_comm *comm, struct nx_shm *shm)
{
    uint64_t members = 0;

    for (uint32_t i = 0; i < comm->size; i++) {
        uint32_t index = nx_shm_index(shm, nx_comm_world(comm, i));

        if (index == UINT32_MAX)
            return 0;
        members |= UINT64_C(1) << index;
    }
    return members;
}

static struct nx_near_loan *make_loans(const nexar_comm *comm, const struct nx_shm *shm)
{
    struct nx_near_loan *loan = nx_calloc(comm->size, sizeof(*loan));

    for (uint32_t i = 0; loan != NULL && i < comm->size; i++)
        loan[i].member = nx_shm_index(shm, nx_comm_world(comm, i));
    return loan;
}

/* NULL: no area, or no memory; the others learn of the latter by what never comes of us. */
static struct nx_near *open_area(nexar_comm *comm, struct nx_shm *shm, uint64_t members, bool make)
{
    size_t slot = slot_of(comm->size), lines = lines_of(comm->size), nbytes = lines + comm->size * 2 * slot;
    uint8_t *area = make ? nx_shm_area_make(shm, comm->id, nbytes) : nx_shm_area_find(shm, comm->id, nbytes);
    struct nx_near *near = area == NULL ? NULL : nx_calloc(1, sizeof(*near));

    if (near == NULL)
        return NULL;
    near->loan = make_loans(comm, shm);
    if (near->loan == NULL) {
        nx_free(near);
        return NULL;
    }
    near->comm = comm;
    near->shm = shm;
    near->heaps = nx_shm_heaps_of(shm);
    near->rank = (struct nx_near_rank *)(void *)area;
    near->slots = area + lines;
    near->slot = slot;
    near->stats = nx_way_stats_of(comm->net, "shm");
    near->members = members;
    near->others = members & ~(UINT64_C(1) << nx_shm_self(shm));
    near->last.met = true;
    atomic_init(&near->turn, 1);
    nx_list_init(&near->link);
    return near;
}

/* Who has left before this rank had anything to do with the area: nobody says it a second time.  Whoever leaves from
 * now on finds the area. */
static void note_gone(struct nx_near *near)
{
    nexar_comm *comm = near->comm;
    uint64_t gone = 0;

    for (uint32_t i = 0; i < comm->size; i++) {
        if (i != comm->rank && nx_lane_peer_status(&comm->net->lanes, nx_comm_world(comm, i)) == NEXAR_ECLOSED)
            gone |= UINT64_C(1) << i;
    }
    nx_lock(&comm->comms->near_lock);
    near->gone |= gone;
    nx_unlock(&comm->comms->near_lock);
}

struct nx_near *nx_near_of(nexar_comm *comm, bool make)
{
    struct nx_shm *shm = comm->net->shm;
    uint64_t members;

    if (atomic_load_explicit(&comm->near_known, memory_order_acquire) || shm == NULL)
        return comm->near;
    members = comm->size > 1 ? members_of(comm, shm) : 0;
    if (members != 0)
        comm->near = open_area(comm, shm, members, make);
    atomic_store_explicit(&comm->near_known, true, memory_order_release);
    if (comm->near != NULL)
        note_gone(comm->near);
    return comm->near;
}

void nx_near_quiesce(nexar_comm *comm)
{
    bool busy;

    do {
        nx_lock(&comm->lock);
        busy = comm->near != NULL && comm->near->busy != 0;
        nx_unlock(&comm->lock);
        if (busy)
            sched_yield(); /* it ends, or becomes an op, within microseconds */
    } while (busy);
}

void nx_near_detach(nexar_comm *comm)
{
    struct nx_near *near = comm->near;

    if (near != NULL)
        nx_shm_area_leave(near->shm, comm->id, near->members);
}

void nx_near_free(nexar_comm *comm)
{
    if (comm->near == NULL)
        return;
    nx_free(comm->near->skip);
    nx_free(comm->near->loan);
    nx_free(comm->near);
    comm->near = NULL;
}

/* ---- turns ---- */

/* Room to note of each one that runs that it is to be passed over, so that ending it cannot fail. */
static bool reserve(struct nx_near *near)
{
    size_t need = (size_t)(near->numbered + 2 - atomic_load_explicit(&near->turn, memory_order_relaxed));
    size_t cap = near->skip_cap == 0 ? SKIPS : 2 * near->skip_cap;
    uint64_t *skip;

    if (need <= near->skip_cap)
        return true;
    skip = nx_alloc(cap * sizeof(*skip));
    if (skip == NULL)
        return false;
    if (near->skips != 0)
        memcpy(skip, near->skip, near->skips * sizeof(*skip));
    nx_free(near->skip);
    near->skip = skip;
    near->skip_cap = cap;
    return true;
}

uint64_t nx_near_enter(struct nx_near *near)
{
    return reserve(near) ? ++near->numbered : 0;
}

/* With the communicator's lock.  True, and it is forgotten, if it was noted. */
static bool was_skipped(struct nx_near *near, uint64_t k)
{
    for (size_t i = 0; i < near->skips; i++) {
        if (near->skip[i] == k) {
            near->skip[i] = near->skip[--near->skips];
            return true;
        }
    }
    return false;
}

static void say_failed(struct nx_near *near, uint64_t k)
{
    atomic_store_explicit(&near->rank[near->comm->rank].failed, k, memory_order_release);
    nx_shm_wake(near->shm, near->others);
}

/* With the communicator's lock: the operation whose turn it is now, if it has begun here. */
static struct nx_coll_op *find_next(struct nx_near *near, uint64_t turn)
{
    for (struct nx_list *pos = near->comm->running.next; pos != &near->comm->running; pos = pos->next) {
        struct nx_coll_op *op = nx_container_of(pos, struct nx_coll_op, link);

        if (op->job.near != NULL && op->job.k == turn)
            return op;
    }
    return NULL;
}

static void count(struct nx_near *near, const struct nx_near_job *job)
{
    atomic_fetch_add_explicit(&near->stats->messages_sent, job->chunks, memory_order_relaxed);
    atomic_fetch_add_explicit(&near->stats->bytes_sent, job->nbytes, memory_order_relaxed);
}

bool nx_near_leave(struct nx_near *near, uint64_t k, const struct nx_near_job *job)
{
    nexar_comm *comm = near->comm;
    struct nx_coll_op *op = NULL;
    uint64_t turn;
    bool alone;

    nx_lock(&comm->lock);
    turn = atomic_load_explicit(&near->turn, memory_order_relaxed);
    alone = near->busy == k;
    if (alone)
        near->busy = 0;
    if (k != turn) {
        near->skip[near->skips++] = k;
        nx_unlock(&comm->lock);
        return false;
    }
    near->last = (struct nx_near_past){0};
    if (job != NULL)
        count(near, job);
    if (job != NULL)
        near->last = (struct nx_near_past){.met = nx_near_meets(job),
                                           .well = true,
                                           .call = job->call,
                                           .count = job->args->count,
                                           .sequence = job->sequence};
    else
        say_failed(near, turn);
    while (was_skipped(near, ++turn)) {
        near->last = (struct nx_near_past){0};
        say_failed(near, turn);
    }
    atomic_store_explicit(&near->turn, turn, memory_order_release);
    if (turn <= near->numbered)
        op = find_next(near, turn);
    if (op != NULL || !alone) /* the engine has not looked after it */
        nx_near_await(near, op, NULL);
    nx_unlock(&comm->lock);
    return op != NULL;
}
