/* base/pool.c - size classes 256 B, 1 KiB, 4 KiB, ... 16 MiB; what is larger is not kept.
 *
 * Owner: any thread; each class has its own lock, held for one list operation.  Buffers are not cleared.  It sets no
 * limit to what is given out: lanes and send queues count their own bytes. */
#include "base/pool.h"

#include "base/mem.h"
#include "base/thread.h"

enum {
    TIERS = 9,
    FIRST_SHIFT = 8,
    CACHED_BYTES_PER_TIER = 16 << 20,
    STOCK_ROOM = 1024, /* buffers up to this size are made in stocks */
    STOCK = 16,
};

struct tier {
    struct nx_mutex lock;
    struct nx_buffer *free;
    size_t cached;
};

#define TIER_INIT                                                       \
    {                                                                   \
        .lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_POOL } \
    }
static struct tier tiers[TIERS] = {TIER_INIT, TIER_INIT, TIER_INIT, TIER_INIT, TIER_INIT,
                                   TIER_INIT, TIER_INIT, TIER_INIT, TIER_INIT};

static _Atomic uint64_t taken, reused, live_bytes;

static size_t tier_size(uint32_t tier)
{
    return (size_t)1 << (FIRST_SHIFT + 2 * tier);
}

static uint32_t tier_of(size_t size)
{
    uint32_t tier = 0;

    while (tier < TIERS && tier_size(tier) < size)
        tier++;
    return tier;
}

/* A job that has settled allocates nothing, even if a rank falls behind for once and some messages more have to be
 * kept: whoever needs one small buffer more will need others soon. */
static void stock_up(uint32_t tier)
{
    struct tier *c = &tiers[tier];
    size_t room = tier_size(tier);

    if (room > STOCK_ROOM)
        return;
    for (int i = 1; i < STOCK; i++) {
        struct nx_buffer *spare = nx_alloc(sizeof(*spare) + room);

        if (spare == NULL)
            return;
        spare->room = room;
        spare->tier = tier;
        nx_lock(&c->lock);
        spare->next = c->free;
        c->free = spare;
        c->cached += room;
        nx_unlock(&c->lock);
    }
}

struct nx_buffer *nx_buffer_get(size_t size)
{
    uint32_t tier = tier_of(size);
    size_t room = tier < TIERS ? tier_size(tier) : size;
    struct nx_buffer *buf = NULL;

    if (tier < TIERS) {
        struct tier *c = &tiers[tier];

        nx_lock(&c->lock);
        buf = c->free;
        if (buf != NULL) {
            c->free = buf->next;
            c->cached -= room;
        }
        nx_unlock(&c->lock);
        if (buf != NULL)
            atomic_fetch_add_explicit(&reused, 1, memory_order_relaxed);
    }
    if (buf == NULL) {
        if (room > SIZE_MAX - sizeof(*buf))
            return NULL;
        buf = nx_alloc(sizeof(*buf) + room);
        if (buf == NULL)
            return NULL;
        if (tier < TIERS)
            stock_up(tier);
    }
    buf->next = NULL;
    buf->room = room;
    buf->used = 0;
    buf->tier = tier;
    atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&live_bytes, room, memory_order_relaxed);
    return buf;
}

void nx_buffer_put(struct nx_buffer *buf)
{
    struct tier *c;

    if (buf == NULL)
        return;
    atomic_fetch_sub_explicit(&live_bytes, buf->room, memory_order_relaxed);
    if (buf->tier < TIERS) {
        c = &tiers[buf->tier];
        nx_lock(&c->lock);
        if (c->cached + buf->room <= CACHED_BYTES_PER_TIER) {
            buf->next = c->free;
            c->free = buf;
            c->cached += buf->room;
            buf = NULL;
        }
        nx_unlock(&c->lock);
    }
    nx_free(buf);
}

void nx_pool_stats(struct nx_pool_stats *out)
{
    *out = (struct nx_pool_stats){
        .taken = atomic_load(&taken), .reused = atomic_load(&reused), .live_bytes = atomic_load(&live_bytes)};
    for (int i = 0; i < TIERS; i++) {
        nx_lock(&tiers[i].lock);
        out->cached_bytes += tiers[i].cached;
        nx_unlock(&tiers[i].lock);
    }
}

void nx_pool_trim(void)
{
    for (int i = 0; i < TIERS; i++) {
        struct nx_buffer *buf;

        nx_lock(&tiers[i].lock);
        buf = tiers[i].free;
        tiers[i].free = NULL;
        tiers[i].cached = 0;
        nx_unlock(&tiers[i].lock);
        while (buf != NULL) {
            struct nx_buffer *next = buf->next;
            nx_free(buf);
            buf = next;
        }
    }
}
