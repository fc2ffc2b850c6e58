/* Collectives in shared memory against what they should give: ranks that take their steps in random order, operations
 * of all kinds one after the other, some of which fail in the middle on all ranks. */
#include "bulk/shm_group.h"
#include "check.h"
#include "coll/near.h"
#include "rng.h"

#include <stdlib.h>
#include <string.h>

enum {
    RANKS_MAX = 8,
    SLOT = 4096, /* small, so that there are many chunks */
    COUNT_MAX = 20000,
    OPERATIONS = 300,
};

struct rank {
    struct nx_near near;
    struct nx_near_loan loan[RANKS_MAX];
    struct nx_near_job job;
    struct nx_coll_args args;
    struct nx_shape shape;
    float *send, *recv, *expect;
    size_t recv_count;
    bool running;
};

struct world {
    struct rng rng;
    uint32_t n;
    struct nx_shm_header *header;
    struct nx_shm shm;
    void *area;
    struct rank rank[RANKS_MAX];
};

static void *zeroed(size_t nbytes)
{
    void *p = NULL;

    assert_int_equal(posix_memalign(&p, 4096, nbytes), 0);
    memset(p, 0, nbytes);
    return p;
}

static void setup(struct world *w, uint32_t n, uint64_t seed)
{
    size_t lines = (n * sizeof(struct nx_near_rank) + 4095) & ~(size_t)4095;

    *w = (struct world){.n = n};
    w->rng.state = seed;
    w->header = zeroed(sizeof(*w->header));
    w->shm.seg.header = w->header;
    w->shm.size = n;
    w->area = zeroed(lines + n * 2 * SLOT);
    for (uint32_t r = 0; r < n; r++) {
        struct rank *me = &w->rank[r];

        me->near.shm = &w->shm;
        me->near.rank = w->area;
        me->near.slots = (uint8_t *)w->area + lines;
        me->near.slot = SLOT;
        me->near.last.met = true;
        me->near.loan = me->loan;
        me->send = malloc(COUNT_MAX * RANKS_MAX * sizeof(float));
        me->recv = malloc(COUNT_MAX * RANKS_MAX * sizeof(float));
        me->expect = malloc(COUNT_MAX * RANKS_MAX * sizeof(float));
        assert_true(me->send != NULL && me->recv != NULL && me->expect != NULL);
    }
}

static void teardown(struct world *w)
{
    for (uint32_t r = 0; r < w->n; r++) {
        free(w->rank[r].send);
        free(w->rank[r].recv);
        free(w->rank[r].expect);
    }
    free(w->header);
    free(w->area);
}

/* ---- what it should give ---- */

static float value(uint64_t k, uint32_t rank, size_t i)
{
    return (float)((k * 31 + rank * 1009 + i * 7) % 8191) / 17.0f;
}

/* Element i of the sum of ranks 0 .. upto - 1, in their order. */
static float sum_of(uint64_t k, uint32_t upto, size_t i)
{
    float sum = value(k, 0, i);

    for (uint32_t r = 1; r < upto; r++)
        sum += value(k, r, i);
    return sum;
}

static bool has_send_blocks(enum nx_coll coll)
{
    return coll == NX_COLL_REDUCE_SCATTER || coll == NX_COLL_ALL_TO_ALL || coll == NX_COLL_SCATTER;
}

static bool has_recv_blocks(enum nx_coll coll)
{
    return coll == NX_COLL_ALL_GATHER || coll == NX_COLL_GATHER || coll == NX_COLL_ALL_TO_ALL;
}

static float expected(const struct world *w, enum nx_coll coll, uint64_t k, uint32_t me, uint32_t root, size_t count,
                      size_t i)
{
    uint32_t block = count == 0 ? 0 : (uint32_t)(i / count);

    switch ((int)coll) {
    case NX_COLL_ALL_REDUCE:
    case NX_COLL_REDUCE:
        return sum_of(k, w->n, i);
    case NX_COLL_BROADCAST:
        return value(k, root, i);
    case NX_COLL_ALL_GATHER:
    case NX_COLL_GATHER:
        return value(k, block, i % count);
    case NX_COLL_ALL_TO_ALL:
        return value(k, block, me * count + i % count);
    case NX_COLL_REDUCE_SCATTER:
        return sum_of(k, w->n, me * count + i);
    case NX_COLL_SCATTER:
        return value(k, root, me * count + i);
    case NX_COLL_SCAN:
        return sum_of(k, me + 1, i);
    default:
        return me == 0 ? 0.0f : sum_of(k, me, i);
    }
}

/* ---- one operation ---- */

static void begin(struct world *w, uint32_t r, enum nx_coll coll, uint64_t k, uint32_t root, size_t count)
{
    struct rank *me = &w->rank[r];
    size_t sends = coll == NX_COLL_BARRIER ? 0 : count * (has_send_blocks(coll) ? w->n : 1);
    bool gets = (coll != NX_COLL_REDUCE && coll != NX_COLL_GATHER) || r == root;

    me->recv_count = coll == NX_COLL_BARRIER || !gets ? 0 : count * (has_recv_blocks(coll) ? w->n : 1);
    for (size_t i = 0; i < sends; i++)
        me->send[i] = value(k, r, i);
    for (size_t i = 0; i < me->recv_count; i++) {
        me->expect[i] = expected(w, coll, k, r, root, count, i);
        me->recv[i] = coll == NX_COLL_BROADCAST && r == root ? me->send[i] : -1.0f;
    }
    me->args = (struct nx_coll_args){.call = {.coll = coll, .root = root},
                                     .send = me->send,
                                     .recv = me->recv,
                                     .count = count,
                                     .element = sizeof(float),
                                     .fn = nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32)};
    me->shape = (struct nx_shape){.rank = r, .n = w->n, .root = root, .count = count};
    me->job = (struct nx_near_job){.near = &me->near,
                                   .args = &me->args,
                                   .shape = &me->shape,
                                   .coll = coll,
                                   .k = k,
                                   .call = (uint64_t)coll << 8 | root,
                                   .sequence = k};
    nx_near_cut(&me->job);
    assert_int_equal(me->job.chunks % 2, 1);
    me->running = true;
}

static void end(struct rank *me, bool well)
{
    me->near.last = (struct nx_near_past){.met = well && nx_near_meets(&me->job),
                                          .well = well,
                                          .call = me->job.call,
                                          .count = me->args.count,
                                          .sequence = me->job.sequence};
    if (!well)
        atomic_store(&me->near.rank[me->shape.rank].failed, me->job.k);
    me->running = false;
}

/* What all ranks call, one after the other, each at its own pace. */
struct call {
    enum nx_coll coll;
    uint32_t root;
    size_t count;
    uint32_t patience; /* steps after which a rank that is in it fails */
};

static void step(struct world *w, uint32_t r, const struct call *calls, uint64_t *done, uint32_t *steps)
{
    struct rank *me = &w->rank[r];
    const struct call *call = &calls[*done];
    enum nx_near_state st;

    if (!me->running) {
        begin(w, r, call->coll, *done + 1, call->root, call->count);
        *steps = 0;
    }
    st = nx_near_job_step(&me->job);
    assert_true(st != NX_NEAR_MISFIT);
    if (st == NX_NEAR_DONE) {
        for (size_t x = 0; x < me->recv_count; x++)
            assert_true(me->recv[x] == me->expect[x]);
        end(me, true);
    } else if (++*steps > call->patience) {
        end(me, false);
    }
    *done += !me->running;
}

static void run(struct world *w, const struct call *calls, uint64_t n)
{
    uint64_t done[RANKS_MAX] = {0}, left = w->n * n;
    uint32_t steps[RANKS_MAX] = {0}, idle = 0;

    while (left > 0) {
        uint32_t r = (uint32_t)rng_below(&w->rng, w->n);
        uint64_t before = done[r];
        uint32_t in_a_row = 1 + (uint32_t)rng_below(&w->rng, 8); /* some run ahead */

        for (uint32_t i = 0; i < in_a_row && done[r] < n; i++)
            step(w, r, calls, &done[r], &steps[r]);
        left -= done[r] - before;
        idle = done[r] != before ? 0 : idle + 1;
        assert_true(idle < 10000000); /* none waits for ever */
    }
}

static const enum nx_coll kinds[] = {
    NX_COLL_ALL_REDUCE, NX_COLL_BROADCAST,      NX_COLL_BARRIER,        NX_COLL_REDUCE,
    NX_COLL_ALL_GATHER, NX_COLL_REDUCE_SCATTER, NX_COLL_ALL_TO_ALL,     NX_COLL_GATHER,
    NX_COLL_SCATTER,    NX_COLL_SCAN,           NX_COLL_EXCLUSIVE_SCAN,
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };
static const size_t counts[] = {0, 1, 2, 23, 24, 25, 100, 1000, 1024, 1025, 4096, 4097, 5000, COUNT_MAX};
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static void test_all_kinds_in_any_order(void **state)
{
    static const uint32_t sizes[] = {2, 3, 5, 7, 8};

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct call calls[OPERATIONS];
        struct world w;

        setup(&w, sizes[s], 7 + s);
        for (uint32_t i = 0; i < OPERATIONS; i++) {
            calls[i] =
                (struct call){.coll = kinds[rng_below(&w.rng, KINDS)],
                              .root = (uint32_t)rng_below(&w.rng, w.n),
                              .count = counts[rng_below(&w.rng, COUNTS)],
                              .patience = rng_below(&w.rng, 4) == 0 ? (uint32_t)rng_below(&w.rng, 60) : UINT32_MAX};
        }
        run(&w, calls, OPERATIONS);
        teardown(&w);
    }
}

/* Each kind with each size, twice in a row. */
static void test_each_size(void **state)
{
    struct call calls[COUNTS * KINDS * 2];
    struct world w;
    uint32_t n = 0;

    (void)state;
    for (uint32_t c = 0; c < COUNTS; c++) {
        for (uint32_t i = 0; i < KINDS * 2; i++)
            calls[n++] =
                (struct call){.coll = kinds[i / 2], .root = 1 + i % 2, .count = counts[c], .patience = UINT32_MAX};
    }
    setup(&w, 3, 1);
    run(&w, calls, n);
    teardown(&w);
}

/* ---- ranks that do not call the same ---- */

static void test_who_called_something_else_is_found(void **state)
{
    struct world w;

    (void)state;
    setup(&w, 2, 3);
    begin(&w, 0, NX_COLL_ALL_REDUCE, 1, 0, 10);
    begin(&w, 1, NX_COLL_ALL_REDUCE, 1, 0, 11);
    assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_WAITS);
    assert_int_equal(nx_near_job_step(&w.rank[1].job), NX_NEAR_MISFIT);
    assert_int_equal(w.rank[1].job.peer, 0);
    assert_int_equal(w.rank[1].job.their_count, 10);
    assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_MISFIT);
    assert_int_equal(w.rank[0].job.their_count, 11);
    teardown(&w);
}

/* Who called something else and has given up is not compared with: its reason is on its way. */
static void test_who_has_given_up_is_waited_for(void **state)
{
    struct nx_near_want want;
    struct world w;

    (void)state;
    setup(&w, 2, 3);
    begin(&w, 0, NX_COLL_ALL_REDUCE, 1, 0, 10);
    begin(&w, 1, NX_COLL_ALL_REDUCE, 1, 0, 11);
    assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_WAITS);
    end(&w.rank[0], false);
    assert_int_equal(nx_near_job_step(&w.rank[1].job), NX_NEAR_WAITS);
    nx_near_job_want(&w.rank[1].job, &want);
    assert_false(nx_near_there(&want));
    teardown(&w);
}

/* Two roots wait for nobody: the next operation finds it. */
static void test_two_roots_are_found_by_what_follows(void **state)
{
    struct world w;

    (void)state;
    setup(&w, 2, 3);
    for (uint32_t r = 0; r < 2; r++) {
        begin(&w, r, NX_COLL_BROADCAST, 1, r, 10);
        assert_int_equal(nx_near_job_step(&w.rank[r].job), NX_NEAR_DONE);
        end(&w.rank[r], true);
    }
    begin(&w, 0, NX_COLL_BARRIER, 2, 0, 0);
    assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_MISFIT);
    assert_int_equal(w.rank[0].job.peer, 1);
    teardown(&w);
}

/* What a rank that has left did not publish will not come; what it did is enough. */
static void test_what_a_rank_that_left_still_owes(void **state)
{
    struct world w;
    uint32_t rank = 9;

    (void)state;
    setup(&w, 3, 3);
    for (uint32_t r = 0; r < 3; r++)
        begin(&w, r, NX_COLL_BARRIER, 1, 0, 0);
    assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_WAITS);
    assert_int_equal(nx_near_job_step(&w.rank[2].job), NX_NEAR_WAITS);
    assert_false(nx_near_job_lacks(&w.rank[0].job, 1u << 2, &rank));
    assert_true(nx_near_job_lacks(&w.rank[0].job, 1u << 1, &rank));
    assert_int_equal(rank, 1);
    teardown(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds_in_any_order),
        cmocka_unit_test(test_each_size),
        cmocka_unit_test(test_who_called_something_else_is_found),
        cmocka_unit_test(test_who_has_given_up_is_waited_for),
        cmocka_unit_test(test_two_roots_are_found_by_what_follows),
        cmocka_unit_test(test_what_a_rank_that_left_still_owes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
