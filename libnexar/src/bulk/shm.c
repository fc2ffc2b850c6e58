/* bulk/shm.c - the shared-memory module: its links, its place in the engine's turns, sleeping and waking.
 *
 * Owner: the engine, but for waking, which is anybody's.  Who shares the segment, shm_group.c settles; what is in the
 * rings, shm_link.c. */
#include "bulk/shm.h"

#include "base/mem.h"
#include "base/status.h"
#include "bulk/bulk.h"
#include "bulk/shm_link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const nx_time MOURNING = 200 * NX_MS;

/* ---- sleeping and waking ---- */

static uint64_t bit(uint32_t index)
{
    return UINT64_C(1) << index;
}

static void ring(struct nx_shm *shm, uint32_t index)
{
    static const uint64_t one = 1;
    ssize_t n = write(shm->bell[index], &one, sizeof(one));

    (void)n; /* it counts; it cannot be full */
}

void nx_shm_wake(struct nx_shm *shm, uint64_t members)
{
    _Atomic uint64_t *sleepers = &shm->seg.header->sleepers;
    uint64_t asleep;

    atomic_thread_fence(memory_order_seq_cst);
    asleep = atomic_load_explicit(sleepers, memory_order_relaxed) & members;
    while (asleep != 0) {
        uint32_t i = (uint32_t)__builtin_ctzll(asleep);

        asleep &= asleep - 1;
        /* Whoever really clears it rings, so that one sleep costs one system call. */
        if (i < shm->size && (atomic_fetch_and(sleepers, ~bit(i)) & bit(i)) != 0)
            ring(shm, i);
    }
}

uint64_t nx_shm_dead(const struct nx_shm *shm)
{
    return atomic_load_explicit(&shm->seg.header->dead, memory_order_acquire);
}

static void rung(void *arg, uint32_t events)
{
    struct nx_shm *shm = arg;
    uint64_t count;
    ssize_t n = read(shm->bell[shm->self], &count, sizeof(count));

    (void)n, (void)events; /* what it is about is seen by the turn that follows */
}

/* ---- the engine's turns ---- */

void nx_shm_died(struct nx_shm *shm, uint32_t index)
{
    struct nx_shm_header *header = shm->seg.header;
    uint64_t before = atomic_fetch_or(&header->dead, bit(index));

    if ((before & bit(index)) != 0)
        return;
    atomic_store(&header->died[atomic_fetch_add(&header->deaths, 1) % NX_SHM_RANKS], (uint8_t)(index + 1));
    nx_shm_wake(shm, UINT64_MAX);
}

/* Who has died that was not told of: member + 1, or 0. */
static uint32_t next_dead(const struct nx_shm *shm)
{
    return shm->mourned == NX_SHM_RANKS ? 0 : atomic_load(&shm->seg.header->died[shm->mourned]);
}

/* The core finds out about each by itself, which takes a moment. */
static bool is_mourning(const struct nx_shm *shm)
{
    uint32_t last = shm->mourned == 0 ? 0 : atomic_load(&shm->seg.header->died[shm->mourned - 1]);

    return last != 0 && last <= shm->size && shm->half[last - 1] != NULL && nx_now() - shm->mourned_at < MOURNING;
}

/* One after the other, in the order in which they died: others may have ended because the first did. */
static void mourn(struct nx_shm *shm)
{
    uint32_t i;

    while ((i = next_dead(shm)) != 0 && !is_mourning(shm)) {
        shm->mourned++;
        shm->mourned_at = nx_now();
        if (i <= shm->size && shm->half[i - 1] != NULL)
            shm->host->suspect(shm->half[i - 1]->link, "its process has ended");
    }
}

static bool poll_rings(struct nx_poller *poller)
{
    struct nx_shm *shm = nx_container_of(poller, struct nx_shm, poller);
    bool did = false;

    mourn(shm);
    for (uint32_t i = 0; i < shm->size; i++) {
        struct nx_shm_half *half = shm->half[i];
        nexar_status st;

        if (half == NULL)
            continue;
        did = nx_shm_link_push(half) || did;
        did = nx_shm_link_receive(half, &st) || did;
        if (st != NEXAR_OK)
            shm->host->lost(half->link, "what it writes into the shared memory makes no sense");
    }
    return did;
}

static void awake(struct nx_poller *poller)
{
    struct nx_shm *shm = nx_container_of(poller, struct nx_shm, poller);
    _Atomic uint64_t *sleepers = &shm->seg.header->sleepers;

    if ((atomic_load_explicit(sleepers, memory_order_relaxed) & bit(shm->self)) != 0)
        atomic_fetch_and(sleepers, ~bit(shm->self));
}

static bool doze(struct nx_poller *poller)
{
    struct nx_shm *shm = nx_container_of(poller, struct nx_shm, poller);

    atomic_fetch_or(&shm->seg.header->sleepers, bit(shm->self));
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < shm->size; i++) {
        struct nx_shm_half *half = shm->half[i];

        if (half == NULL)
            continue;
        if (nx_shm_link_ready(half))
            return false;
        if (atomic_load_explicit(&half->queued, memory_order_relaxed) != 0)
            ring(shm, i); /* it may be at work elsewhere, and only its taking something makes room */
    }
    return next_dead(shm) == 0;
}

/* ---- links ---- */

static void settle(struct nx_shm_half *half)
{
    struct nx_shm *shm = half->shm;

    if (shm->state == NX_SHM_SHARED) {
        nx_shm_link_begin(half);
        shm->half[half->index] = half;
        shm->host->ready(half->link, &nx_shm_ops, half);
    } else if (shm->state == NX_SHM_NONE) {
        shm->host->unusable(half->link, shm->why); /* which detaches it */
    }
}

void nx_shm_settled(struct nx_shm *shm)
{
    if (shm->state == NX_SHM_SHARED) {
        shm->poller = (struct nx_poller){.poll = poll_rings, .doze = doze, .awake = awake};
        nx_poller_add(&shm->poller);
        shm->polled = true;
    }
    for (uint32_t i = 0; i < shm->size; i++) {
        if (shm->half[i] != NULL)
            settle(shm->half[i]);
    }
}

nexar_status nx_shm_tell_all(struct nx_shm *shm, const void *bytes, size_t n)
{
    nexar_status st = NEXAR_OK;

    for (uint32_t i = 0; i < shm->size && st == NEXAR_OK; i++) {
        if (shm->half[i] != NULL)
            st = shm->host->tell(shm->half[i]->link, bytes, n);
    }
    return st;
}

/* Which ranks of this host there are: known when the first link is there. */
static nexar_status count_members(struct nx_shm *shm)
{
    uint32_t own = shm->host->rank(shm->node), size = shm->host->world_size(shm->node);

    for (uint32_t rank = 0; rank < size; rank++) {
        if (rank != own && !shm->host->near(shm->node, rank))
            continue;
        if (shm->size == NX_SHM_RANKS) {
            shm->size = 0;
            return nx_fail(NEXAR_ENOTSUP, "there are more than %d ranks on this host", NX_SHM_RANKS);
        }
        if (rank == own)
            shm->self = shm->size;
        shm->world[shm->size++] = rank;
    }
    for (uint32_t i = 0; i < shm->size; i++)
        shm->wire[i] = (struct nx_shm_wire){.shm = shm, .index = i, .fd = -1};
    shm->bell[shm->self] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (shm->bell[shm->self] < 0)
        return nx_fail(NEXAR_ESYSTEM, "no descriptor to be woken by: %s", strerror(errno));
    return shm->host->watch_fd(shm->node, shm->bell[shm->self], EPOLLIN, rung, shm, &shm->ringing);
}

static nexar_status attach(void *self, nexar_link *link, void **out)
{
    struct nx_shm *shm = self;
    nexar_status st = shm->size == 0 ? count_members(shm) : NEXAR_OK;
    struct nx_shm_half *half;
    uint32_t index;

    if (st != NEXAR_OK)
        return st;
    index = nx_shm_index(shm, shm->host->link_rank(link));
    half = index == UINT32_MAX ? NULL : nx_calloc(1, sizeof(*half));
    if (half == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a link");
    *half = (struct nx_shm_half){.shm = shm, .link = link, .index = index};
    nx_list_init(&half->queue);
    nx_mutex_init(&half->lock, NX_LOCK_QUEUE);
    *out = half;
    shm->half[index] = half;
    shm->attached++;
    if (shm->state == NX_SHM_FORMING)
        nx_shm_group_joined(shm);
    else
        settle(half);
    return NEXAR_OK;
}

static void told(void *arg, const void *bytes, size_t n)
{
    struct nx_shm_half *half = arg;

    if (half->index == 0)
        nx_shm_group_told(half->shm, bytes, n);
}

static void detach(void *arg, int orderly)
{
    struct nx_shm_half *half = arg;
    struct nx_shm *shm = half->shm;

    (void)orderly;
    shm->half[half->index] = NULL;
    nx_shm_link_end(half);
    nx_free(half);
    nx_shm_group_left(shm);
}

/* ---- a node ---- */

static nexar_status open_node(const nexar_host *host, nexar_node *node, void **self)
{
    struct nx_shm *shm;
    uint64_t nbytes;
    nexar_status st = nx_shm_heap_size(host->setting("NEXAR_SHM_HEAP"), 1, &nbytes);

    *self = NULL;
    if (st != NEXAR_OK)
        return st;
    *self = shm = nx_calloc(1, sizeof(*shm));
    if (shm == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the shared memory of this host");
    shm->host = host;
    shm->node = node;
    shm->listener = -1;
    shm->seg.fd = -1;
    for (uint32_t i = 0; i < NX_SHM_RANKS; i++)
        shm->bell[i] = -1;
    nx_list_init(&shm->strangers);
    return NEXAR_OK;
}

static void close_node(void *self)
{
    struct nx_shm *shm = self;

    if (shm->polled)
        nx_poller_remove(&shm->poller);
    nx_shm_group_close(shm);
    shm->host->unwatch(shm->ringing);
    for (uint32_t i = 0; i < NX_SHM_RANKS; i++) {
        if (shm->bell[i] >= 0)
            close(shm->bell[i]);
    }
    nx_shm_seg_close(&shm->seg);
    nx_free(shm);
}

const nexar_module nx_shm_module = {
    .size = sizeof(nx_shm_module),
    .abi = NEXAR_MODULE_ABI,
    .flags = NEXAR_MODULE_NEAR,
    .name = "shm",
    .open = open_node,
    .attach = attach,
    .told = told,
    .detach = detach,
    .close = close_node,
};

/* ---- for others ---- */

struct nx_shm *nx_shm_shared(void *self)
{
    struct nx_shm *shm = self;

    return shm != NULL && shm->state == NX_SHM_SHARED ? shm : NULL;
}

struct nx_shm_heaps *nx_shm_heaps_of(const struct nx_shm *shm)
{
    return shm->seg.heaps;
}

uint32_t nx_shm_self(const struct nx_shm *shm)
{
    return shm->self;
}

uint32_t nx_shm_index(const struct nx_shm *shm, uint32_t world_rank)
{
    for (uint32_t i = 0; i < shm->size; i++) {
        if (shm->world[i] == world_rank)
            return i;
    }
    return UINT32_MAX;
}
