/* bulk/shm_ring.c - cells, fragments, credit.
 *
 * Owner: the writer's side belongs to whoever holds the writer's lock, the reader's to the reading process's engine. */
#include "bulk/shm_ring.h"

#include <string.h>

_Static_assert(sizeof(struct nx_shm_cell) == NX_SHM_LINE, "a cell is one pair of cache lines");

/* ---- writing ---- */

void nx_shm_tx_init(struct nx_shm_tx *tx, struct nx_shm_ring *ring, uint32_t data)
{
    *tx = (struct nx_shm_tx){.ring = ring, .data = data};
}

/* Bytes in the ring are in whole lines, so that no two fragments share one. */
static uint32_t lines(uint32_t n)
{
    return (n + 63) & ~UINT32_C(63);
}

/* Where `n` bytes would go: never across the end. */
static uint32_t place(const struct nx_shm_tx *tx, uint32_t off, uint32_t n)
{
    uint32_t at = off & (tx->data - 1);

    return at + n > tx->data ? off + (tx->data - at) : off;
}

/* A cell, and `n` bytes; looks at what the reader has given back only when it must. */
static bool has_room(struct nx_shm_tx *tx, uint32_t n)
{
    for (int again = 0; again < 2; again++) {
        uint64_t credit;
        uint32_t off = place(tx, tx->off, n);

        if (tx->tail - tx->cells_taken < NX_SHM_CELLS && (n == 0 || off + n - tx->bytes_taken <= tx->data))
            return true;
        credit = atomic_load_explicit(&tx->ring->credit, memory_order_acquire);
        tx->cells_taken = (uint32_t)credit;
        tx->bytes_taken = (uint32_t)(credit >> 32);
    }
    return false;
}

bool nx_shm_tx_fits(struct nx_shm_tx *tx, uint64_t nbytes)
{
    uint32_t most = nx_shm_fragment(tx->data), off = tx->off;
    uint64_t fragments = (nbytes + most - 1) / most;

    if (nbytes <= NX_SHM_INLINE)
        return has_room(tx, 0);
    if (nbytes > tx->data / 2 || !has_room(tx, most))
        return false;
    for (uint64_t left = nbytes; left > 0;) {
        uint32_t n = left < most ? (uint32_t)left : most;

        off = place(tx, off, lines(n)) + lines(n);
        left -= n;
    }
    return tx->tail + fragments - tx->cells_taken <= NX_SHM_CELLS && off - tx->bytes_taken <= tx->data;
}

bool nx_shm_tx_moves(struct nx_shm_tx *tx, uint64_t left, bool first)
{
    uint32_t most = nx_shm_fragment(tx->data);

    return has_room(tx, first && left <= NX_SHM_INLINE ? 0 : lines(left < most ? (uint32_t)left : most));
}

/* Copies `n` bytes of a list, from its byte `at` on. */
static void gather(uint8_t *to, const nexar_iov *iov, uint64_t at, uint32_t n)
{
    for (; n > 0; iov++, at = 0) {
        uint32_t take;

        while (at >= iov->nbytes)
            at -= iov++->nbytes;
        take = iov->nbytes - at < n ? (uint32_t)(iov->nbytes - at) : n;
        memcpy(to, (const uint8_t *)iov->base + at, take);
        to += take;
        n -= take;
    }
}

bool nx_shm_tx_put(struct nx_shm_tx *tx, const void *head, uint32_t head_nbytes, const nexar_iov *iov, uint64_t nbytes,
                   uint64_t *sent, bool *first)
{
    uint32_t most = nx_shm_fragment(tx->data);

    do {
        uint64_t left = nbytes - *sent;
        uint32_t n = left < most ? (uint32_t)left : most;
        bool whole = *first && nbytes <= NX_SHM_INLINE;
        struct nx_shm_cell *cell = &tx->ring->cell[tx->tail % NX_SHM_CELLS];

        if (!has_room(tx, whole ? 0 : lines(n)))
            return false;
        cell->total = nbytes;
        if (*first) {
            cell->head_nbytes = (uint8_t)head_nbytes;
            memcpy(cell->head, head, head_nbytes);
        }
        if (whole) {
            cell->kind = NX_SHM_WHOLE;
            cell->len = (uint16_t)n;
            gather(cell->bytes, iov, 0, n);
        } else {
            uint32_t off = place(tx, tx->off, lines(n));

            gather(tx->ring->data + (off & (tx->data - 1)), iov, *sent, n);
            cell->kind = *first ? NX_SHM_BEGIN : NX_SHM_MORE;
            cell->far.off = off;
            cell->far.len = n;
            tx->off = off + lines(n);
        }
        *sent += n;
        *first = false;
        tx->tail++;
        atomic_store_explicit(&cell->seq, tx->tail, memory_order_release);
    } while (*sent < nbytes);
    return true;
}

/* ---- reading ---- */

void nx_shm_rx_init(struct nx_shm_rx *rx, struct nx_shm_ring *ring, uint32_t data)
{
    *rx = (struct nx_shm_rx){.ring = ring, .data = data};
}

static bool look_head(const struct nx_shm_cell *cell, struct nx_shm_piece *p)
{
    p->head_nbytes = cell->head_nbytes;
    if (p->head_nbytes == 0 || p->head_nbytes > sizeof(p->head))
        return false;
    memcpy(p->head, cell->head, p->head_nbytes);
    return true;
}

/* The bytes that a cell is about: false if they are not where bytes can be. */
static bool look_far(const struct nx_shm_rx *rx, const struct nx_shm_cell *cell, struct nx_shm_piece *p)
{
    uint32_t off = cell->far.off, at = off & (rx->data - 1);

    p->len = cell->far.len;
    p->bytes = rx->ring->data + at;
    return p->len > 0 && p->len <= nx_shm_fragment(rx->data) && at + p->len <= rx->data && off - rx->off < rx->data;
}

nexar_status nx_shm_rx_look(struct nx_shm_rx *rx, struct nx_shm_piece *p)
{
    const struct nx_shm_cell *cell = &rx->ring->cell[rx->next % NX_SHM_CELLS];
    bool open = rx->total != 0;
    uint64_t left;

    if (!nx_shm_rx_ready(rx))
        return NEXAR_EAGAIN;
    p->kind = (enum nx_shm_kind)cell->kind;
    p->total = cell->total;
    if (p->kind == NX_SHM_WHOLE) {
        p->len = cell->len;
        p->bytes = cell->bytes;
        p->last = true;
        return !open && p->len <= NX_SHM_INLINE && p->total == p->len && look_head(cell, p) ? NEXAR_OK : NEXAR_EPROTO;
    }
    if ((p->kind != NX_SHM_BEGIN && p->kind != NX_SHM_MORE) || open != (p->kind == NX_SHM_MORE) ||
        !look_far(rx, cell, p))
        return NEXAR_EPROTO;
    if (open)
        p->total = rx->total;
    else if (!look_head(cell, p))
        return NEXAR_EPROTO;
    left = p->total - (open ? rx->got : 0);
    p->last = p->len == left;
    return p->len <= left ? NEXAR_OK : NEXAR_EPROTO;
}

bool nx_shm_rx_take(struct nx_shm_rx *rx, const struct nx_shm_piece *p)
{
    if (p->kind != NX_SHM_WHOLE) {
        uint32_t at = (uint32_t)(p->bytes - rx->ring->data);
        uint32_t skip = (at - rx->off) & (rx->data - 1);

        rx->off += skip + lines(p->len);
        rx->got = p->kind == NX_SHM_BEGIN ? p->len : rx->got + p->len;
        rx->total = p->last ? 0 : p->total;
    }
    rx->next++;
    if (rx->next - rx->cells_told < NX_SHM_CELLS / 4 && rx->off - rx->bytes_told < rx->data / 4)
        return false;
    rx->cells_told = rx->next;
    rx->bytes_told = rx->off;
    atomic_store_explicit(&rx->ring->credit, rx->next | (uint64_t)rx->off << 32, memory_order_release);
    return true;
}
