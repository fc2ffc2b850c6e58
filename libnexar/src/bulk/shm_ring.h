/* bulk/shm_ring.h - messages from one process to another in shared memory: a ring of cells, which keeps the order, and
 * a ring of bytes for what does not fit into them.
 *
 * One writer and one reader each.  A cell is valid when its number says so, which is stored last; the reader gives room
 * back by one word.  So whoever is killed leaves nothing half-owned.  What is read comes from another process and is
 * checked as if it came from a network.  Pure: no waiting, no system calls. */
#ifndef NX_BULK_SHM_RING_H
#define NX_BULK_SHM_RING_H

#include "nexar/base.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NX_SHM_LINE = 128, /* two cache lines: neighbours are fetched in pairs */
    NX_SHM_CELLS = 64,
    NX_SHM_INLINE = 56, /* payload in the cell itself */
    NX_SHM_HEAD = 56,
};

enum nx_shm_kind {
    NX_SHM_WHOLE = 1, /* head and payload in the cell */
    NX_SHM_BEGIN = 2, /* head in the cell, the first bytes in the byte ring */
    NX_SHM_MORE = 3,  /* more bytes */
};

struct nx_shm_cell {
    _Alignas(NX_SHM_LINE) _Atomic uint32_t seq; /* index + 1 */
    uint8_t kind, head_nbytes;
    uint16_t len;   /* WHOLE */
    uint64_t total; /* bytes of the payload */
    uint8_t head[NX_SHM_HEAD];
    union {
        uint8_t bytes[NX_SHM_INLINE];
        struct {
            uint32_t off, len; /* in the byte ring; `off` runs freely */
        } far;
    };
};

struct nx_shm_ring {
    _Alignas(NX_SHM_LINE) _Atomic uint64_t credit; /* the reader's: cells taken | bytes taken << 32 */
    struct nx_shm_cell cell[NX_SHM_CELLS];
    uint8_t data[]; /* a power of two */
};

/* Bytes of a ring whose byte ring has `data` of them. */
static inline size_t nx_shm_ring_size(uint32_t data)
{
    return sizeof(struct nx_shm_ring) + data;
}

/* The writer's side; private. */
struct nx_shm_tx {
    struct nx_shm_ring *ring;
    uint32_t data, tail, off, cells_taken, bytes_taken;
};

void nx_shm_tx_init(struct nx_shm_tx *tx, struct nx_shm_ring *ring, uint32_t data);
/* The most that one cell carries. */
static inline uint32_t nx_shm_fragment(uint32_t data)
{
    return data / 4;
}
/* Whether all of a message fits now. */
bool nx_shm_tx_fits(struct nx_shm_tx *tx, uint64_t nbytes);
/* Whether nx_shm_tx_put would send some of a message of which `left` bytes have not been sent. */
bool nx_shm_tx_moves(struct nx_shm_tx *tx, uint64_t left, bool first);
/* Writes a message, `*sent` of whose bytes are written already, as far as there is room; `first`: its head has not been
 * written.  False: the rest later. */
bool nx_shm_tx_put(struct nx_shm_tx *tx, const void *head, uint32_t head_nbytes, const nexar_iov *iov, uint64_t nbytes,
                   uint64_t *sent, bool *first);

/* The reader's side; private. */
struct nx_shm_rx {
    struct nx_shm_ring *ring;
    uint32_t data, next, off, cells_told, bytes_told;
    uint64_t total, got; /* of the message that is open; total 0: none is */
};

/* What the next cell has. */
struct nx_shm_piece {
    enum nx_shm_kind kind;
    uint32_t head_nbytes;
    uint8_t head[NX_SHM_HEAD];
    uint64_t total;
    const uint8_t *bytes; /* in the ring */
    uint32_t len;
    bool last; /* of its message */
};

void nx_shm_rx_init(struct nx_shm_rx *rx, struct nx_shm_ring *ring, uint32_t data);
static inline bool nx_shm_rx_ready(const struct nx_shm_rx *rx)
{
    const struct nx_shm_cell *cell = &rx->ring->cell[rx->next % NX_SHM_CELLS];

    return atomic_load_explicit(&cell->seq, memory_order_acquire) == rx->next + 1;
}
/* NEXAR_EAGAIN: there is none.  NEXAR_EPROTO: it makes no sense. */
nexar_status nx_shm_rx_look(struct nx_shm_rx *rx, struct nx_shm_piece *piece);
/* It has been taken.  True: the writer has been given room, and may be waiting for it. */
bool nx_shm_rx_take(struct nx_shm_rx *rx, const struct nx_shm_piece *piece);

#endif
