/* base/pool.h - buffers for payloads: size classes of powers of four with bounded free lists, shared by the whole
 * process. */
#ifndef NX_BASE_POOL_H
#define NX_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

struct nx_buffer {
    struct nx_buffer *next; /* for whoever holds the buffer */
    size_t room;
    size_t used;
    uint32_t tier;
    _Alignas(16) uint8_t data[];
};

struct nx_pool_stats {
    uint64_t taken;        /* buffers given out, ever */
    uint64_t reused;       /* of these from a free list */
    uint64_t live_bytes;   /* given out now */
    uint64_t cached_bytes; /* in free lists */
};

/* Room for at least `size` bytes, contents undefined; NULL when memory is short. */
struct nx_buffer *nx_buffer_get(size_t size);
/* NULL is legal. */
void nx_buffer_put(struct nx_buffer *buf);

void nx_pool_stats(struct nx_pool_stats *out);

/* Gives the free lists back to the system. */
void nx_pool_trim(void);

#endif
