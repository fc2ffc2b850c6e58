/* Every collective of 1 to 8 ranks that are connected by QUIC: many roots, in place, blocks of unequal length; every
 * element, and what must not be touched. */
#include "job.h"

enum { UNTOUCHED = 0x55, GAP = 2 };

static const uint32_t sizes[] = {1, 2, 3, 5, 7, 8};

/* What one rank has for another, element by element. */
static uint64_t cell(uint32_t from, uint32_t to, size_t i)
{
    uint64_t z = (from + 1) * UINT64_C(0x9E3779B97F4A7C15) + (to + 1) * UINT64_C(0xD1B54A32D192ED03) + i;

    return (z ^ z >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
}

/* One rank's part in one call. */
struct turn {
    nexar_comm *comm;
    uint32_t rank, size, root;
    size_t count; /* of a block, or the most that one has */
    bool in_place;
    nexar_op **op;
    uint64_t *send, *recv; /* room for all blocks with gaps between them, and one more element */
    size_t room;
    size_t counts[2][JOB_RANKS], displs[2][JOB_RANKS];
};

/* Lengths of blocks between two ranks: every third one is empty. */
static size_t length(const struct turn *t, uint32_t from, uint32_t to)
{
    uint32_t k = from * 5 + to * 3;

    return k % 3 == 1 ? 0 : t->count - k % (t->count / 2 + 1);
}

/* The last rank's block first, with gaps. */
static void lay_out(size_t *displs, const size_t *counts, uint32_t n)
{
    size_t at = 1;

    for (uint32_t i = n; i-- > 0;) {
        displs[i] = at;
        at += counts[i] + GAP;
    }
}

static void put(uint64_t *to, uint32_t from, uint32_t dest, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = cell(from, dest, i);
}

static void has(const uint64_t *at, uint32_t from, uint32_t to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        must(at[i] == cell(from, to, i));
}

/* The sum of what the ranks below `n` have for `to`. */
static void has_sum(const uint64_t *at, uint32_t n, uint32_t to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t want = 0;

        for (uint32_t r = 0; r < n; r++)
            want += cell(r, to, i);
        must(at[i] == want);
    }
}

/* So many elements of the buffer are as they were before the call. */
static void untouched(const struct turn *t, const uint64_t *buf, size_t expected)
{
    size_t same = 0;

    for (size_t i = 0; i < t->room; i++)
        same += buf[i] == UINT64_C(0x5555555555555555);
    must(same == expected);
}

static void ends(const struct turn *t, nexar_status st)
{
    must(st == NEXAR_OK);
    if (t->op == NULL)
        return;
    must(nexar_op_wait(*t->op, NEXAR_FOREVER) == NEXAR_OK);
    nexar_op_close(*t->op);
}

/* ---- whole vectors ---- */

static void reduce(struct turn *t)
{
    uint64_t *recv = t->rank != t->root ? NULL : t->in_place ? t->send : t->recv;

    put(t->send, t->rank, 0, t->count);
    ends(t, nexar_reduce(t->comm, t->send, recv, t->count, NEXAR_UINT64, NEXAR_SUM, t->root, NULL, t->op));
    if (recv != NULL)
        has_sum(recv, t->size, 0, t->count);
    if (recv != t->send)
        has(t->send, t->rank, 0, t->count);
    untouched(t, t->recv, recv == t->recv ? t->room - t->count : t->room);
}

static void scan(struct turn *t)
{
    uint64_t *recv = t->in_place ? t->send : t->recv;

    put(t->send, t->rank, 0, t->count);
    ends(t, nexar_scan(t->comm, t->send, recv, t->count, NEXAR_UINT64, NEXAR_SUM, NULL, t->op));
    has_sum(recv, t->rank + 1, 0, t->count);
    untouched(t, recv, t->room - t->count);
}

static void exclusive_scan(struct turn *t)
{
    uint64_t *recv = t->in_place ? t->send : t->recv;

    put(t->send, t->rank, 0, t->count);
    ends(t, nexar_exclusive_scan(t->comm, t->send, recv, t->count, NEXAR_UINT64, NEXAR_SUM, NULL, t->op));
    has_sum(recv, t->rank, 0, t->count);
    untouched(t, recv, t->room - t->count);
}

/* ---- blocks of equal length ---- */

static void all_gather(struct turn *t)
{
    uint64_t *send = t->in_place ? t->recv + t->rank * t->count : t->send;

    put(send, t->rank, 0, t->count);
    ends(t, nexar_all_gather(t->comm, send, t->recv, t->count, NEXAR_UINT64, NULL, t->op));
    for (uint32_t r = 0; r < t->size; r++)
        has(t->recv + r * t->count, r, 0, t->count);
    untouched(t, t->recv, t->room - t->size * t->count);
}

static void gather(struct turn *t)
{
    bool is_root = t->rank == t->root;
    uint64_t *send = is_root && t->in_place ? t->recv + t->rank * t->count : t->send;

    put(send, t->rank, 0, t->count);
    ends(t, nexar_gather(t->comm, send, is_root ? t->recv : NULL, t->count, NEXAR_UINT64, t->root, NULL, t->op));
    for (uint32_t r = 0; r < t->size && is_root; r++)
        has(t->recv + r * t->count, r, 0, t->count);
    untouched(t, t->recv, is_root ? t->room - t->size * t->count : t->room);
}

static void scatter(struct turn *t)
{
    bool is_root = t->rank == t->root;
    uint64_t *recv = is_root && t->in_place ? t->send + t->rank * t->count : t->recv;

    for (uint32_t r = 0; r < t->size && is_root; r++)
        put(t->send + r * t->count, t->rank, r, t->count);
    ends(t, nexar_scatter(t->comm, is_root ? t->send : NULL, recv, t->count, NEXAR_UINT64, t->root, NULL, t->op));
    has(recv, t->root, t->rank, t->count);
    for (uint32_t r = 0; r < t->size && is_root; r++)
        has(t->send + r * t->count, t->rank, r, t->count);
    untouched(t, t->recv, recv == t->recv ? t->room - t->count : t->room);
}

static void reduce_scatter(struct turn *t)
{
    uint64_t *recv = t->in_place ? t->send + t->rank * t->count : t->recv;

    for (uint32_t r = 0; r < t->size; r++)
        put(t->send + r * t->count, t->rank, r, t->count);
    ends(t, nexar_reduce_scatter(t->comm, t->send, recv, t->count, NEXAR_UINT64, NEXAR_SUM, NULL, t->op));
    has_sum(recv, t->size, t->rank, t->count);
    for (uint32_t r = 0; r < t->size; r++)
        if (r != t->rank || !t->in_place)
            has(t->send + r * t->count, t->rank, r, t->count);
    untouched(t, t->recv, recv == t->recv ? t->room - t->count : t->room);
}

static void all_to_all(struct turn *t)
{
    for (uint32_t r = 0; r < t->size; r++)
        put(t->send + r * t->count, t->rank, r, t->count);
    ends(t, nexar_all_to_all(t->comm, t->send, t->recv, t->count, NEXAR_UINT64, NULL, t->op));
    for (uint32_t r = 0; r < t->size; r++)
        has(t->recv + r * t->count, r, t->rank, t->count);
    untouched(t, t->recv, t->room - t->size * t->count);
}

/* ---- blocks of unequal length ---- */

/* Block r is what rank r has for everybody (from), or what the root has for rank r (to). */
static size_t unequal(struct turn *t, bool from)
{
    size_t total = 0;

    for (uint32_t r = 0; r < t->size; r++) {
        t->counts[0][r] = from ? length(t, r, 0) : length(t, 0, r);
        total += t->counts[0][r];
    }
    lay_out(t->displs[0], t->counts[0], t->size);
    return total;
}

static void all_gather_v(struct turn *t)
{
    size_t total = unequal(t, true), own = t->counts[0][t->rank];
    uint64_t *send = t->in_place ? t->recv + t->displs[0][t->rank] : t->send;

    put(send, t->rank, 0, own);
    ends(t, nexar_all_gather_v(t->comm, send, own, t->recv, t->counts[0], t->displs[0], NEXAR_UINT64, NULL, t->op));
    for (uint32_t r = 0; r < t->size; r++)
        has(t->recv + t->displs[0][r], r, 0, t->counts[0][r]);
    untouched(t, t->recv, t->room - total);
}

static void gather_v(struct turn *t)
{
    bool is_root = t->rank == t->root;
    size_t total = unequal(t, true), own = t->counts[0][t->rank];
    uint64_t *send = is_root && t->in_place ? t->recv + t->displs[0][t->rank] : t->send;

    put(send, t->rank, 0, own);
    ends(t, nexar_gather_v(t->comm, send, own, is_root ? t->recv : NULL, is_root ? t->counts[0] : NULL,
                           is_root ? t->displs[0] : NULL, NEXAR_UINT64, t->root, NULL, t->op));
    for (uint32_t r = 0; r < t->size && is_root; r++)
        has(t->recv + t->displs[0][r], r, 0, t->counts[0][r]);
    untouched(t, t->recv, is_root ? t->room - total : t->room);
}

static void scatter_v(struct turn *t)
{
    bool is_root = t->rank == t->root;
    size_t own = (unequal(t, false), t->counts[0][t->rank]);
    uint64_t *recv = is_root && t->in_place ? t->send + t->displs[0][t->rank] : t->recv;

    for (uint32_t r = 0; r < t->size && is_root; r++)
        put(t->send + t->displs[0][r], t->root, r, t->counts[0][r]);
    ends(t, nexar_scatter_v(t->comm, is_root ? t->send : NULL, is_root ? t->counts[0] : NULL,
                            is_root ? t->displs[0] : NULL, recv, own, NEXAR_UINT64, t->root, NULL, t->op));
    has(recv, t->root, t->rank, own);
    untouched(t, t->recv, recv == t->recv ? t->room - own : t->room);
}

static void reduce_scatter_v(struct turn *t)
{
    size_t own = (unequal(t, false), t->counts[0][t->rank]), at = 0;
    uint64_t *recv = t->recv;

    for (uint32_t r = 0; r < t->size; r++) {
        put(t->send + at, t->rank, r, t->counts[0][r]);
        if (r == t->rank && t->in_place)
            recv = t->send + at;
        at += t->counts[0][r];
    }
    ends(t, nexar_reduce_scatter_v(t->comm, t->send, recv, t->counts[0], NEXAR_UINT64, NEXAR_SUM, NULL, t->op));
    has_sum(recv, t->size, t->rank, own);
    untouched(t, t->recv, recv == t->recv ? t->room - own : t->room);
}

static void all_to_all_v(struct turn *t)
{
    size_t total = 0;

    for (uint32_t r = 0; r < t->size; r++) {
        t->counts[0][r] = length(t, t->rank, r);
        t->counts[1][r] = length(t, r, t->rank);
        total += t->counts[1][r];
    }
    lay_out(t->displs[0], t->counts[0], t->size);
    lay_out(t->displs[1], t->counts[1], t->size);
    for (uint32_t r = 0; r < t->size; r++)
        put(t->send + t->displs[0][r], t->rank, r, t->counts[0][r]);
    ends(t, nexar_all_to_all_v(t->comm, t->send, t->counts[0], t->displs[0], t->recv, t->counts[1], t->displs[1],
                               NEXAR_UINT64, NULL, t->op));
    for (uint32_t r = 0; r < t->size; r++)
        has(t->recv + t->displs[1][r], r, t->rank, t->counts[1][r]);
    untouched(t, t->recv, t->room - total);
}

/* ---- all of them ---- */

static const struct {
    void (*turn)(struct turn *t);
    bool has_root;
} collectives[] = {
    {reduce, true},        {scan, false},    {exclusive_scan, false}, {all_gather, false},
    {gather, true},        {scatter, true},  {reduce_scatter, false}, {all_to_all, false},
    {all_gather_v, false}, {gather_v, true}, {scatter_v, true},       {reduce_scatter_v, false},
    {all_to_all_v, false},
};

static const size_t lengths[] = {0, 1, 7, 1000, 20011};

/* Twice each, the second time from the plan that was kept; every other one by an op.  `arg`: so many lengths. */
static void every_collective(nexar_comm *comm, void *arg)
{
    const size_t *most = arg;
    uint32_t size = nexar_comm_size(comm);
    size_t room = size * (lengths[*most - 1] + GAP) + 2, nbytes = room * sizeof(uint64_t);
    struct turn t = {.comm = comm, .rank = nexar_comm_rank(comm), .size = size, .send = malloc(nbytes)};
    nexar_op *op;
    unsigned turns = 0;

    t.recv = malloc(nbytes);
    must(t.send != NULL && t.recv != NULL);
    for (size_t k = 0; k < sizeof(collectives) / sizeof(collectives[0]); k++)
        for (size_t c = 0; c < *most; c++)
            for (t.root = 0; t.root < (collectives[k].has_root ? size : 1); t.root += 1 + size / 4)
                for (int again = 0; again < 4; again++) {
                    t.count = lengths[c];
                    t.room = size * (t.count + GAP) + 2;
                    t.in_place = again >= 2;
                    t.op = turns++ % 4 < 2 ? NULL : &op;
                    memset(t.send, UNTOUCHED, t.room * sizeof(uint64_t));
                    memset(t.recv, UNTOUCHED, t.room * sizeof(uint64_t));
                    collectives[k].turn(&t);
                }
    free(t.send);
    free(t.recv);
}

static void test_every_collective(void **state)
{
    size_t most = sizeof(lengths) / sizeof(lengths[0]);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct job job;

        job_local(&job, sizes[i], NULL);
        job_each(&job, every_collective, &most);
        job_close(&job);
    }
}

/* Those that the defaults choose for other numbers of ranks or sizes; enough ranks for all windows. */
static void test_every_algorithm(void **state)
{
    static const char *const tunes[] = {
        "reduce:0-:direct,all_gather:0-:ring,gather:0-:linear,scatter:0-:linear,all_to_all:0-:pairwise",
        "reduce:0-:binomial,all_gather:0-:rd,reduce_scatter:0-:ring,all_to_all:0-:bruck,gather:0-:binomial,"
        "scatter:0-:binomial,scan:0-:rd,exclusive_scan:0-:rd,all_gather_v:0-:ring,reduce_scatter_v:0-:ring",
        "reduce:0-:chain,all_gather:0-:bruck,reduce_scatter:0-:halving,scan:0-:chain,exclusive_scan:0-:chain,"
        "reduce_scatter_v:0-:halving",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(tunes) / sizeof(tunes[0]); i++)
        for (uint32_t n = 4; n <= 11; n += 7) {
            size_t most = n == 4 ? 4 : 3;
            struct job job;

            assert_int_equal(setenv("NEXAR_COLL_TUNE", tunes[i], 1), 0);
            job_local(&job, n, NULL);
            job_each(&job, every_collective, &most);
            job_close(&job);
        }
}

/* Also if the test fails, lest those that follow have other orders of sums. */
static int untune(void **state)
{
    (void)state;
    return unsetenv("NEXAR_COLL_TUNE");
}

/* ---- the order of sums, and averages ---- */

static float noise(uint32_t rank, size_t i)
{
    return (float)((double)(cell(rank, 0, i) >> 11) / 1e15 - 4.0);
}

/* ((x0 + x1) + x2) + ... of the ranks below n. */
static float by_rank(uint32_t n, size_t i)
{
    float sum = noise(0, i);

    for (uint32_t r = 1; r < n; r++)
        sum += noise(r, i);
    return sum;
}

/* The same bits whatever the size: below and above all thresholds of the defaults. */
static void sums_by_rank(nexar_comm *comm, void *arg)
{
    static const size_t counts[4] = {5, 5000, 100000, 1500000};
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);

    (void)arg;
    for (size_t c = 0; c < (JOB_SHORTER == 1 ? 4 : 3); c++) {
        size_t count = counts[c] * size, own = counts[c];
        float *x = malloc(count * sizeof(*x)), *y = malloc(count * sizeof(*y));

        must(x != NULL && y != NULL);
        for (size_t i = 0; i < count; i++)
            x[i] = noise(rank, i);
        must(nexar_reduce(comm, x, y, count, NEXAR_FLOAT32, NEXAR_SUM, 1, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < count && rank == 1; i++)
            must(y[i] == by_rank(size, i));
        must(nexar_reduce_scatter(comm, x, y, own, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < own; i++)
            must(y[i] == by_rank(size, rank * own + i));
        must(nexar_reduce_scatter(comm, x, y, own, NEXAR_FLOAT32, NEXAR_AVG, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < own; i++)
            must(y[i] == by_rank(size, rank * own + i) / (float)size);
        must(nexar_scan(comm, x, y, own, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < own; i++)
            must(y[i] == by_rank(rank + 1, i));
        must(nexar_reduce(comm, x, x, own, NEXAR_FLOAT32, NEXAR_AVG, 0, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < own && rank == 0; i++)
            must(x[i] == by_rank(size, i) / (float)size);
        free(x);
        free(y);
    }
}

static void test_sums_are_by_rank_at_every_size(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 5, NULL);
    job_each(&job, sums_by_rank, NULL);
    job_close(&job);
}

static void identities(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    int16_t i = (int16_t)(rank + 3), least;
    float f = (float)rank, greatest;

    (void)arg;
    must(nexar_exclusive_scan(comm, &i, &least, 1, NEXAR_INT16, NEXAR_MAX, NULL, NULL) == NEXAR_OK);
    must(least == (rank == 0 ? INT16_MIN : (int16_t)(rank + 2)));
    must(nexar_exclusive_scan(comm, &f, &greatest, 1, NEXAR_FLOAT32, NEXAR_MIN, NULL, NULL) == NEXAR_OK);
    must(rank == 0 ? greatest > 3.4e38f : greatest == 0.0f);
}

static void test_the_first_of_an_exclusive_scan(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, identities, NULL);
    job_close(&job);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_collective),
        cmocka_unit_test_teardown(test_every_algorithm, untune),
        cmocka_unit_test(test_sums_are_by_rank_at_every_size),
        cmocka_unit_test(test_the_first_of_an_exclusive_scan),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
