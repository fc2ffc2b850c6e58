/* Sums of vectors that ranks lend to each other, against what they should give: ranks that take their steps in random
 * order, with vectors in their heaps and elsewhere, in place and not, some of which fail in the middle. */
#include "bulk/shm_group.h"
#include "check.h"
#include "coll/near.h"
#include "rng.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    RANKS_MAX = 8,
    SLOT = 256 << 10,
    COUNT_MAX = 100000,
    HEAP = 2 << 20,
    OPERATIONS = 200,
};

struct rank {
    struct nx_near near;
    struct nx_near_loan loan[RANKS_MAX];
    struct nx_shm_heaps heaps;
    struct nx_near_job job;
    struct nx_coll_args args;
    struct nx_shape shape;
    uint8_t *plain; /* memory that is not in the heap */
    bool running;
    uint64_t done;
    uint32_t steps;
};

struct world {
    struct rng rng;
    uint32_t n;
    struct nx_shm_header *header;
    struct nx_shm shm;
    uint8_t *area, *heaps;
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

    *w = (struct world){.n = n, .rng = {seed}};
    w->header = zeroed(sizeof(*w->header));
    w->shm.seg.header = w->header;
    w->shm.size = n;
    w->area = zeroed(lines + n * 2 * SLOT);
    w->heaps = zeroed(n * (size_t)HEAP);
    for (uint32_t r = 0; r < n; r++) {
        struct rank *me = &w->rank[r];

        me->heaps = (struct nx_shm_heaps){.base = w->heaps, .nbytes = HEAP, .members = n, .self = r};
        me->near.shm = &w->shm;
        me->near.rank = (void *)w->area;
        me->near.slots = w->area + lines;
        me->near.slot = SLOT;
        me->near.heaps = &me->heaps;
        me->near.loan = me->loan;
        me->near.last.met = true;
        for (uint32_t q = 0; q < n; q++)
            me->loan[q].member = q;
        me->plain = zeroed(HEAP);
    }
}

static void teardown(struct world *w)
{
    for (uint32_t r = 0; r < w->n; r++)
        free(w->rank[r].plain);
    free(w->header);
    free(w->area);
    free(w->heaps);
}

static float value(uint64_t k, uint32_t rank, size_t i)
{
    return (float)((k * 31 + rank * 1009 + i * 7) % 8191) / 17.0f;
}

static float sum_of(uint64_t k, uint32_t n, size_t i)
{
    float sum = value(k, 0, i);

    for (uint32_t r = 1; r < n; r++)
        sum += value(k, r, i);
    return sum;
}

/* Where a vector lies: somewhere in one half of the heap, or of other memory. */
static float *place(struct world *w, uint32_t r, bool lends, uint32_t half, size_t count)
{
    uint8_t *base = lends ? w->heaps + r * (size_t)HEAP : w->rank[r].plain;
    size_t room = HEAP / 2 - count * sizeof(float);

    return (float *)(void *)(base + half * (HEAP / 2) + rng_below(&w->rng, room / 4) * 4);
}

enum lending { NOBODY, SOME, ALL };

static void begin(struct world *w, uint32_t r, uint64_t k, size_t count, enum lending lending)
{
    struct rank *me = &w->rank[r];
    bool lends = lending == ALL || (lending == SOME && rng_below(&w->rng, 2) == 0);
    float *send = place(w, r, lends, 0, count);
    float *recv = rng_below(&w->rng, 2) == 0 ? send : place(w, r, lends, 1, count);

    for (size_t i = 0; i < count; i++) {
        recv[i] = -1;
        send[i] = value(k, r, i);
    }
    me->args = (struct nx_coll_args){.call = {.coll = NX_COLL_ALL_REDUCE},
                                     .send = send,
                                     .recv = recv,
                                     .count = count,
                                     .element = sizeof(float),
                                     .fn = nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32)};
    me->shape = (struct nx_shape){.rank = r, .n = w->n, .count = count, .in_place = send == recv};
    me->job = (struct nx_near_job){.near = &me->near,
                                   .args = &me->args,
                                   .shape = &me->shape,
                                   .coll = NX_COLL_ALL_REDUCE,
                                   .k = k,
                                   .call = NX_COLL_ALL_REDUCE,
                                   .sequence = k};
    nx_near_cut(&me->job);
    assert_true(me->job.lends == (lends && count * sizeof(float) > 16384));
    me->running = true;
    me->steps = 0;
}

static void end(struct rank *me, bool well)
{
    me->near.last = (struct nx_near_past){.met = well && nx_near_meets(&me->job),
                                          .well = well,
                                          .call = me->job.call,
                                          .count = me->args.count,
                                          .sequence = me->job.sequence};
    if (!well) {
        atomic_store(&me->near.rank[me->shape.rank].failed, me->job.k);
        memset((void *)(uintptr_t)me->args.send, 0x7f, me->args.count * sizeof(float)); /* used for something else */
        memset(me->args.recv, 0x7f, me->args.count * sizeof(float));
    }
    me->running = false;
    me->done++;
}

/* What was given back after a failure is nobody else's business. */
static void check_left_alone(const struct rank *me)
{
    const uint8_t *send = me->args.send, *recv = me->args.recv;

    for (size_t i = 0; !me->near.last.well && i < me->args.count * sizeof(float); i++)
        assert_true(send[i] == 0x7f && recv[i] == 0x7f);
}

struct call {
    size_t count;
    enum lending lending;
    uint32_t patience;
};

static void step(struct world *w, uint32_t r, const struct call *calls)
{
    struct rank *me = &w->rank[r];
    const struct call *call = &calls[me->done];
    enum nx_near_state st;

    if (!me->running) {
        if (me->done > 0)
            check_left_alone(me);
        begin(w, r, me->done + 1, call->count, call->lending);
    }
    st = nx_near_job_step(&me->job);
    assert_true(st != NX_NEAR_MISFIT && st != NX_NEAR_NONSENSE);
    if (st == NX_NEAR_DONE) {
        const float *recv = me->args.recv;

        for (size_t i = 0; i < call->count; i++)
            assert_true(recv[i] == sum_of(me->job.k, w->n, i));
        end(me, true);
    } else if (++me->steps > call->patience && nx_near_take_back(&me->job)) {
        end(me, false);
    }
}

static void run(struct world *w, const struct call *calls, uint64_t n)
{
    uint64_t left = w->n * n;
    uint32_t idle = 0;

    while (left > 0) {
        struct rank *me = &w->rank[rng_below(&w->rng, w->n)];
        uint64_t before = me->done;
        uint32_t in_a_row = 1 + (uint32_t)rng_below(&w->rng, 8);

        for (uint32_t i = 0; i < in_a_row && me->done < n; i++)
            step(w, (uint32_t)(me - w->rank), calls);
        left -= me->done - before;
        idle = me->done != before ? 0 : idle + 1;
        assert_true(idle < 10000000);
    }
}

static const size_t counts[] = {100, 4096, 4097, 5000, 16384, 20001, 40000, COUNT_MAX};
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static void test_in_any_order(void **state)
{
    static const uint32_t sizes[] = {2, 3, 5, 7, 8};

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct call calls[OPERATIONS];
        struct world w;

        setup(&w, sizes[s], 7 + s);
        for (uint32_t i = 0; i < OPERATIONS; i++)
            calls[i] =
                (struct call){.count = counts[rng_below(&w.rng, COUNTS)],
                              .lending = (enum lending)rng_below(&w.rng, 3),
                              .patience = rng_below(&w.rng, 4) == 0 ? (uint32_t)rng_below(&w.rng, 30) : UINT32_MAX};
        run(&w, calls, OPERATIONS);
        teardown(&w);
    }
}

/* Nothing goes through the slots. */
static void test_nothing_is_copied(void **state)
{
    struct call call = {.count = COUNT_MAX, .lending = ALL, .patience = UINT32_MAX};
    struct world w;

    (void)state;
    setup(&w, 3, 5);
    run(&w, &call, 1);
    for (size_t i = 0; i < w.n * 2 * (size_t)SLOT; i++)
        assert_int_equal(w.rank[0].near.slots[i], 0);
    for (uint32_t r = 0; r < w.n; r++)
        assert_true(w.rank[r].job.direct && w.rank[r].job.chunks == 3);
    teardown(&w);
}

/* What another rank says is looked at before it is used. */
static void test_lies_are_found(void **state)
{
    static const uint64_t lies[][2] = {
        {HEAP + 1, 1}, {1, HEAP + 1}, {UINT64_MAX, 1}, {1, UINT64_MAX}, {HEAP - 4000 * 4, 1},
        {2, 1},        {1, 3},        {0, 1},          {1, 0},          {1, UINT64_C(1) << 63 | 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct world w;

        setup(&w, 2, 3);
        begin(&w, 0, 1, 5000, ALL);
        begin(&w, 1, 1, 5000, ALL);
        assert_int_equal(nx_near_job_step(&w.rank[1].job), NX_NEAR_WAITS);
        memcpy(w.rank[1].near.rank[1].line[nx_near_parity(1, 0)].data, lies[i], sizeof(lies[i]));
        for (int again = 0; again < 2; again++) {
            assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_NONSENSE);
            assert_int_equal(w.rank[0].job.peer, 1);
        }
        teardown(&w);
    }
}

/* A rank that has taken back what it lent is not touched any more. */
static void test_what_is_taken_back_is_left_alone(void **state)
{
    struct nx_near_want want;
    struct world w;

    (void)state;
    setup(&w, 2, 3);
    for (uint32_t r = 0; r < 2; r++)
        begin(&w, r, 1, 5000, ALL);
    assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_WAITS);
    assert_int_equal(nx_near_job_step(&w.rank[1].job), NX_NEAR_MORE);
    assert_true(nx_near_take_back(&w.rank[0].job));
    end(&w.rank[0], false);
    for (int again = 0; again < 2; again++)
        assert_int_equal(nx_near_job_step(&w.rank[1].job), NX_NEAR_WAITS);
    nx_near_job_want(&w.rank[1].job, &want);
    assert_int_equal(want.rank, 0);
    assert_false(nx_near_there(&want));
    check_left_alone(&w.rank[0]);
    teardown(&w);
}

/* Who is at it is waited for, unless it is dead. */
static void test_who_touches_is_waited_for(void **state)
{
    struct world w;

    (void)state;
    setup(&w, 2, 3);
    for (uint32_t r = 0; r < 2; r++)
        begin(&w, r, 1, 5000, ALL);
    assert_int_equal(nx_near_job_step(&w.rank[0].job), NX_NEAR_WAITS);
    atomic_store(&w.rank[1].near.rank[1].touches, 3);
    w.rank[0].job.since = INT64_MAX / 2; /* for ever */
    assert_false(nx_near_take_back(&w.rank[0].job));
    atomic_store(&w.rank[1].near.rank[1].touches, 4);
    assert_true(nx_near_take_back(&w.rank[0].job));
    atomic_store(&w.rank[1].near.rank[1].touches, 3);
    atomic_store(&w.header->dead, 2);
    assert_true(nx_near_take_back(&w.rank[0].job));
    teardown(&w);
}

/* ---- heaps ---- */

static struct nx_shm_heaps *open_heaps(int *fd, uint32_t self)
{
    struct nx_shm_heaps *heaps;

    if (*fd < 0) {
        *fd = memfd_create("heaps", MFD_CLOEXEC);
        assert_int_equal(ftruncate(*fd, 3 * HEAP), 0);
    }
    heaps = nx_shm_heaps_open(*fd, HEAP, HEAP, 2, self);
    assert_non_null(heaps);
    return heaps;
}

/* Blocks of random sizes do not overlap, are zero, and all comes back. */
static void test_blocks(void **state)
{
    enum { BLOCKS = 12 };
    uint8_t *block[BLOCKS] = {0};
    size_t size[BLOCKS];
    struct rng rng = {4};
    int fd = -1;
    struct nx_shm_heaps *heaps = open_heaps(&fd, 1);
    uint64_t offset;

    (void)state;
    for (int turn = 0; turn < 400; turn++) {
        size_t b = rng_below(&rng, BLOCKS);

        if (block[b] == NULL) {
            size[b] = rng_below(&rng, HEAP / 6);
            block[b] = nx_shm_heap_alloc(heaps, size[b]);
            for (size_t i = 0; block[b] != NULL && i < size[b]; i++)
                assert_int_equal(block[b][i], 0);
            if (block[b] != NULL) {
                assert_true(nx_shm_heap_has(heaps, block[b], size[b], &offset));
                assert_int_equal(offset % 4096, 0);
                memset(block[b], (int)b + 1, size[b]);
            }
        } else {
            for (size_t i = 0; i < size[b]; i++)
                assert_int_equal(block[b][i], b + 1);
            assert_true(nx_shm_heap_free(block[b]));
            block[b] = NULL;
        }
    }
    for (size_t b = 0; b < BLOCKS; b++)
        assert_true(block[b] == NULL || nx_shm_heap_free(block[b]));
    block[0] = nx_shm_heap_alloc(heaps, HEAP);
    assert_non_null(block[0]);
    assert_null(nx_shm_heap_alloc(heaps, 1));
    assert_null(nx_shm_heap_alloc(heaps, SIZE_MAX));
    nx_shm_heaps_close(heaps);
    memset(block[0], 1, HEAP); /* it outlives the node */
    assert_true(nx_shm_heap_free(block[0]));
    assert_false(nx_shm_heap_free(block));
    close(fd);
}

/* What is revoked keeps what it holds, and others do not see it any more. */
static void test_revoked(void **state)
{
    int fd = -1;
    struct nx_shm_heaps *mine = open_heaps(&fd, 0), *theirs = open_heaps(&fd, 1);
    uint8_t *p = nx_shm_heap_alloc(mine, 20000), *seen;
    uint64_t offset;

    (void)state;
    assert_non_null(p);
    assert_true(nx_shm_heap_has(mine, p, 20000, &offset));
    assert_false(nx_shm_heap_has(theirs, p, 20000, &offset));
    assert_true(nx_shm_heap_has(mine, p, 20000, &offset));
    seen = nx_shm_heap_at(theirs, 0, offset, 20000);
    memset(p, 5, 20000);
    assert_int_equal(seen[19999], 5);
    assert_true(nx_shm_heap_revoke(p + 100, 19900));
    memset(seen, 6, 20000);
    for (size_t i = 0; i < 20000; i++)
        assert_int_equal(p[i], 5);
    assert_true(nx_shm_heap_free(p));
    assert_ptr_not_equal(nx_shm_heap_alloc(mine, 4096), p);
    nx_shm_heaps_close(theirs);
    nx_shm_heaps_close(mine);
    assert_true(nx_shm_heap_free(p + 20480)); /* the other block, which comes next */
    close(fd);
}

static void test_sizes_of_heaps(void **state)
{
    static const char *const wrong[] = {"x", "-1", "1t", "64mb", " 1", "99999999999999999999", "2000g"};
    uint64_t n;

    (void)state;
    assert_ok(nx_shm_heap_size(NULL, 4, &n));
    assert_true(n > 0 && n % HEAP == 0);
    assert_ok(nx_shm_heap_size("0", 4, &n));
    assert_int_equal(n, 0);
    assert_ok(nx_shm_heap_size("1", 4, &n));
    assert_int_equal(n, HEAP);
    assert_ok(nx_shm_heap_size("64m", 4, &n));
    assert_int_equal(n, 64 << 20);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(nx_shm_heap_size(wrong[i], 4, &n), NEXAR_ECONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_any_order),
        cmocka_unit_test(test_nothing_is_copied),
        cmocka_unit_test(test_lies_are_found),
        cmocka_unit_test(test_what_is_taken_back_is_left_alone),
        cmocka_unit_test(test_who_touches_is_waited_for),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_sizes_of_heaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
