/* Rings of cells: against a queue that cannot be wrong, through wraps of their counters, and with contents that no
 * writer of ours would write. */
#include "bulk/shm_ring.h"
#include "check.h"
#include "rng.h"

#include <stdlib.h>

enum { DATA = 16 << 10, MESSAGES = 4000, LONGEST = 3 * DATA };

struct pipe {
    struct nx_shm_ring *ring;
    struct nx_shm_tx tx;
    struct nx_shm_rx rx;
};

/* Both ends at `start`, as after that many cells and bytes. */
static void open_pipe(struct pipe *p, uint32_t start)
{
    p->ring = aligned_alloc(4096, (nx_shm_ring_size(DATA) + 4095) & ~(size_t)4095);
    assert_non_null(p->ring);
    memset(p->ring, 0, nx_shm_ring_size(DATA));
    nx_shm_tx_init(&p->tx, p->ring, DATA);
    nx_shm_rx_init(&p->rx, p->ring, DATA);
    start &= ~(uint32_t)63; /* bytes come in lines */
    p->tx.tail = p->tx.cells_taken = p->rx.next = p->rx.cells_told = start;
    p->tx.off = p->tx.bytes_taken = p->rx.off = p->rx.bytes_told = start;
    atomic_store(&p->ring->credit, start | (uint64_t)start << 32);
    for (uint32_t i = 0; i < NX_SHM_CELLS; i++)
        atomic_store(&p->ring->cell[i].seq, start + i - NX_SHM_CELLS + 1);
    if (start == 0) {
        for (uint32_t i = 0; i < NX_SHM_CELLS; i++)
            atomic_store(&p->ring->cell[i].seq, 0);
    }
}

static void close_pipe(struct pipe *p)
{
    free(p->ring);
}

static uint8_t byte_of(uint32_t message, uint64_t i)
{
    return (uint8_t)(message * 37 + i * 11 + (i >> 8));
}

/* A message on its way in. */
struct writer {
    uint32_t message;
    uint64_t nbytes, sent;
    bool first, open;
    uint8_t head[NX_SHM_HEAD], bytes[LONGEST];
};

static uint64_t length_of(uint32_t message)
{
    static const uint64_t some[] = {0, 1, 63, 64, 65, DATA / 4 - 1, DATA / 4, DATA / 4 + 1, DATA, LONGEST - 1};

    return message % 4 == 0 ? some[message / 4 % 10] : (uint64_t)message * 7919 % (message % 8 < 6 ? 300 : LONGEST);
}

static void step_writer(struct pipe *p, struct writer *w)
{
    nexar_iov iov[2];
    bool moves, fresh;
    uint64_t before;

    if (!w->open) {
        w->nbytes = length_of(w->message);
        w->sent = 0;
        w->first = w->open = true;
        memset(w->head, (int)(w->message & 0xff), sizeof(w->head));
        for (uint64_t i = 0; i < w->nbytes; i++)
            w->bytes[i] = byte_of(w->message, i);
    }
    before = w->sent;
    fresh = w->first;
    moves = nx_shm_tx_moves(&p->tx, w->nbytes - w->sent, w->first);
    iov[0] = (nexar_iov){.base = w->bytes, .nbytes = w->nbytes / 3};
    iov[1] = (nexar_iov){.base = w->bytes + w->nbytes / 3, .nbytes = w->nbytes - w->nbytes / 3};
    if (w->first && nx_shm_tx_fits(&p->tx, w->nbytes)) {
        assert_true(nx_shm_tx_put(&p->tx, w->head, sizeof(w->head), iov, w->nbytes, &w->sent, &w->first));
        w->open = false;
    } else {
        w->open = !nx_shm_tx_put(&p->tx, w->head, sizeof(w->head), iov, w->nbytes, &w->sent, &w->first);
    }
    assert_int_equal(moves, !w->open || w->sent != before || w->first != fresh);
    w->message += !w->open;
}

/* A message on its way out. */
struct reader {
    uint32_t message;
    uint64_t got;
};

static bool step_reader(struct pipe *p, struct reader *r)
{
    struct nx_shm_piece piece;
    nexar_status st = nx_shm_rx_look(&p->rx, &piece);

    if (st == NEXAR_EAGAIN)
        return false;
    assert_ok(st);
    assert_int_equal(piece.total, length_of(r->message));
    if (r->got == 0)
        assert_int_equal(piece.head[NX_SHM_HEAD - 1], r->message & 0xff);
    for (uint32_t i = 0; i < piece.len; i++)
        assert_int_equal(piece.bytes[i], byte_of(r->message, r->got + i));
    r->got += piece.len;
    assert_int_equal(piece.last, r->got == piece.total);
    if (piece.last) {
        r->message++;
        r->got = 0;
    }
    nx_shm_rx_take(&p->rx, &piece);
    return true;
}

static void run_through(uint32_t start, uint64_t seed)
{
    static struct writer w;
    struct reader r = {0};
    struct pipe p;
    struct rng rng = {seed};

    open_pipe(&p, start);
    w = (struct writer){0};
    while (r.message < MESSAGES) {
        uint32_t turns = (uint32_t)rng_below(&rng, 9);

        for (uint32_t i = 0; i < turns && w.message < MESSAGES; i++)
            step_writer(&p, &w);
        turns = (uint32_t)rng_below(&rng, 9);
        for (uint32_t i = 0; i < turns && step_reader(&p, &r); i++)
            continue;
    }
    assert_false(step_reader(&p, &r));
    close_pipe(&p);
}

static void test_all_arrives_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++)
        run_through(0, seed);
}

static void test_counters_wrap(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++)
        run_through(UINT32_MAX - 20000 * (uint32_t)seed, seed);
}

static void test_a_full_ring_takes_nothing_more(void **state)
{
    uint8_t head[NX_SHM_HEAD] = {0}, bytes[DATA] = {0};
    nexar_iov iov = {.base = bytes, .nbytes = sizeof(bytes)};
    struct nx_shm_piece piece;
    struct pipe p;
    uint64_t sent;
    bool first;

    (void)state;
    open_pipe(&p, 0);
    for (uint32_t i = 0; i < NX_SHM_CELLS; i++) {
        sent = 0;
        first = true;
        assert_true(nx_shm_tx_put(&p.tx, head, sizeof(head), &iov, 8, &sent, &first));
    }
    assert_false(nx_shm_tx_fits(&p.tx, 0));
    sent = 0;
    first = true;
    assert_false(nx_shm_tx_put(&p.tx, head, sizeof(head), &iov, 8, &sent, &first));
    assert_true(first && sent == 0);
    for (uint32_t i = 0; i < NX_SHM_CELLS / 4; i++) {
        assert_ok(nx_shm_rx_look(&p.rx, &piece));
        /* Room comes back a quarter at a time. */
        assert_int_equal(nx_shm_rx_take(&p.rx, &piece), i == NX_SHM_CELLS / 4 - 1);
    }
    assert_true(nx_shm_tx_fits(&p.tx, 0));
    close_pipe(&p);
}

/* What a peer that lies may write: an error, never a read outside. */
static void test_contents_that_cannot_be(void **state)
{
    static const struct {
        uint8_t kind;
        uint16_t len;
        uint64_t total;
        uint32_t off, far;
    } table[] = {
        {0, 0, 0, 0, 0},
        {9, 0, 0, 0, 0},
        {NX_SHM_WHOLE, NX_SHM_INLINE + 1, NX_SHM_INLINE + 1, 0, 0},
        {NX_SHM_WHOLE, 8, 9, 0, 0},
        {NX_SHM_BEGIN, 0, 100, 0, 0},
        {NX_SHM_BEGIN, 0, 10, 0, 11},
        {NX_SHM_BEGIN, 0, UINT64_MAX, 0, DATA / 4 + 1},
        {NX_SHM_BEGIN, 0, 1 << 20, DATA - 8, 64},
        {NX_SHM_BEGIN, 0, 1 << 20, DATA, 64},
        {NX_SHM_BEGIN, 0, 1 << 20, UINT32_MAX - 63, 64},
        {NX_SHM_MORE, 0, 1 << 20, 0, 64},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct nx_shm_piece piece;
        struct nx_shm_cell *cell;
        struct pipe p;

        open_pipe(&p, 0);
        cell = &p.ring->cell[0];
        cell->kind = table[i].kind;
        cell->head_nbytes = NX_SHM_HEAD;
        cell->len = table[i].len;
        cell->total = table[i].total;
        if (table[i].kind != NX_SHM_WHOLE) {
            cell->far.off = table[i].off;
            cell->far.len = table[i].far;
        }
        atomic_store(&cell->seq, 1);
        assert_int_equal(nx_shm_rx_look(&p.rx, &piece), NEXAR_EPROTO);
        close_pipe(&p);
    }
}

/* Anything at all. */
static void test_noise(void **state)
{
    struct rng seed = {7};

    (void)state;
    for (int run = 0; run < 300; run++) {
        struct nx_shm_piece piece;
        struct pipe p;

        open_pipe(&p, 0);
        for (uint32_t i = 0; i < NX_SHM_CELLS; i++) {
            struct nx_shm_cell *cell = &p.ring->cell[i];

            cell->kind = (uint8_t)rng_below(&seed, 5);
            cell->head_nbytes = (uint8_t)rng_below(&seed, 70);
            cell->len = (uint16_t)rng_below(&seed, 80);
            cell->total = rng_below(&seed, 3) == 0 ? cell->len : rng_below(&seed, DATA);
            cell->far.off = rng_below(&seed, 4) == 0 ? (uint32_t)rng_below(&seed, UINT32_MAX) : p.rx.off;
            cell->far.len = (uint32_t)rng_below(&seed, DATA / 3);
            atomic_store(&cell->seq, i + 1);
        }
        while (nx_shm_rx_look(&p.rx, &piece) == NEXAR_OK) {
            const uint8_t *begin = (const uint8_t *)p.ring, *end = begin + nx_shm_ring_size(DATA);

            assert_true(piece.bytes >= begin && piece.bytes + piece.len <= end);
            nx_shm_rx_take(&p.rx, &piece);
        }
        close_pipe(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_arrives_in_order),
        cmocka_unit_test(test_counters_wrap),
        cmocka_unit_test(test_a_full_ring_takes_nothing_more),
        cmocka_unit_test(test_contents_that_cannot_be),
        cmocka_unit_test(test_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
