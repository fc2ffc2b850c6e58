/* Messages of collectives in the lane table: for one that runs, for one that is to come, for one that has ended. */
#include "lane_kit.h"

#include "wire/tag.h"

static struct table t;

static int set_up(void **state)
{
    (void)state;
    table_open(&t, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(t.holds, 0); /* whoever is told of a misfit gives back what was held for him */
    table_close(&t);
    return 0;
}

static nexar_status collective(struct feed *f, uint64_t id, uint64_t call, uint64_t len)
{
    struct nx_head head = {.lane = NX_LANE_COLL, .scope = SCOPE, .id = id, .call = call, .count = 1, .len = len};
    nexar_status st;

    feed_init(f, false);
    f->msg = nx_arrive_begin(&t.lanes, 2, &head, false, &f->source, &st);
    return f->msg == NULL ? st : NEXAR_OK;
}

static void step(uint64_t sequence, uint64_t number, uint64_t call)
{
    struct feed f;

    assert_ok(collective(&f, sequence << NX_TAG_STEP_BITS | number, call, 4));
    assert_ok(feed_write(&t, &f, "word", 4));
    feed_end(&t, &f, NEXAR_OK);
}

static void whole_collective(uint64_t sequence, uint64_t call)
{
    step(sequence, 0, call);
}

static void post_collective(struct got *g, uint64_t sequence, uint64_t call)
{
    got_init(g, key_of(2, NX_LANE_COLL, SCOPE, sequence << 24), 4);
    g->recv.call = call;
    g->recv.count = 1;
    nx_lane_post(&t.lanes, &g->recv);
}

static void test_collective_messages(void **state)
{
    static struct got g;
    struct nx_coll_call call = {.sequence = 1, .call = 77, .count = 1};
    uint64_t their_call, their_count;
    uint32_t peer;

    (void)state;
    nx_list_init(&call.link);
    whole_collective(1, 77); /* a faster rank is there already */
    assert_true(nx_scope_begin(&t.lanes, t.scope, &call, &peer, &their_call, &their_count));
    post_collective(&g, 1, 77);
    assert_ended(&g, NEXAR_OK);
    /* It runs, and somebody calls another one. */
    whole_collective(1, 78);
    assert_int_equal(t.mismatches, 1);
    assert_int_equal(t.misfit.peer, 2);
    post_collective(&g, 1, 77);
    whole_collective(1, 78);
    assert_ended(&g, NEXAR_EMISMATCH);
    assert_int_equal(g.recv.their_call, 78);
    whole_collective(1, 77); /* nobody takes it before the end */
    nx_scope_end(&t.lanes, t.scope, &call, true);
    assert_int_equal(atomic_load(&t.lanes.stats.stale), 1);
    whole_collective(1, 77); /* too late */
    assert_int_equal(atomic_load(&t.lanes.stats.stale), 2);
    assert_int_equal(atomic_load(&t.lanes.stats.unread_bytes), 0);
    /* The next one has other values than one that is there. */
    whole_collective(2, 5);
    call = (struct nx_coll_call){.sequence = 2, .call = 6, .count = 1};
    nx_list_init(&call.link);
    assert_false(nx_scope_begin(&t.lanes, t.scope, &call, &peer, &their_call, &their_count));
    assert_int_equal(peer, 2);
    assert_int_equal(their_call, 5);
    nx_scope_end(&t.lanes, t.scope, &call, true);
}

/* One that begins and ends here, without a message. */
static void run(uint64_t sequence, uint64_t called, bool well)
{
    struct nx_coll_call call = {.sequence = sequence, .call = called, .count = 1};
    uint64_t their_call, their_count;
    uint32_t peer;

    nx_list_init(&call.link);
    assert_true(nx_scope_begin(&t.lanes, t.scope, &call, &peer, &their_call, &their_count));
    nx_scope_end(&t.lanes, t.scope, &call, well);
}

static void assert_misfit(uint64_t sequence, uint64_t call, bool known, uint64_t our_call)
{
    assert_int_equal(t.mismatches, 1);
    t.mismatches = 0;
    assert_int_equal(t.misfit.peer, 2);
    assert_int_equal(t.misfit.sequence, sequence);
    assert_int_equal(t.misfit.call, call);
    assert_int_equal(t.misfit.count, 1);
    assert_int_equal(t.misfit.known, known);
    assert_int_equal(t.misfit.our_call, our_call);
}

/* Two ranks that only send are both done before the other's message comes. */
static void test_c8_late_messages(void **state)
{
    (void)state;
    run(1, 77, true);
    whole_collective(1, 78);
    assert_misfit(1, 78, true, 77);
    run(2, 77, false);
    whole_collective(2, 78); /* whoever failed has said so */
    assert_int_equal(t.mismatches, 0);
    run(3, 77, true);
    step(3, NX_TAG_STEP_MAX, 77); /* somebody waits for a third rank, and says what he called */
    assert_int_equal(t.mismatches, 0);
    step(3, NX_TAG_STEP_MAX, 78);
    assert_misfit(3, 78, true, 77);
    assert_int_equal(atomic_load(&t.lanes.stats.unread_bytes), 0);
    assert_true(nx_scope_ended_well(&t.lanes, SCOPE, 1));
    assert_false(nx_scope_ended_well(&t.lanes, SCOPE, 2));
    assert_false(nx_scope_ended_well(&t.lanes, SCOPE, 4));
    assert_false(nx_scope_ended_well(&t.lanes, SCOPE + 1, 1));
}

/* Each call differs from the one before, and that is remembered so many times. */
static void test_c8_very_late_messages(void **state)
{
    enum { LAST = 3 * NX_COLL_RUNS };

    (void)state;
    for (uint64_t i = 1; i <= LAST; i++)
        run(i, 1000 + i, i != 5);
    for (uint64_t i = 0; i <= LAST; i++) {
        whole_collective(i, 78);
        if (i == 0 || i == 5) /* the one never was, the other failed */
            assert_int_equal(t.mismatches, 0);
        else
            assert_misfit(i, 78, i > LAST - NX_COLL_RUNS, i > LAST - NX_COLL_RUNS ? 1000 + i : 0);
        step(i, NX_TAG_STEP_MAX, 1000 + i);
        assert_int_equal(t.mismatches, 0);
    }
}

/* The same call again and again, however often. */
static void test_c8_messages_for_calls_in_a_row(void **state)
{
    enum { LAST = 1000 };

    (void)state;
    for (uint64_t i = 1; i <= LAST; i++)
        run(i, i <= LAST / 2 ? 77 : 79, true);
    for (uint64_t i = 1; i <= LAST; i++) {
        whole_collective(i, 78);
        assert_misfit(i, 78, true, i <= LAST / 2 ? 77 : 79);
    }
}

/* Where it is not known any more which of them failed, nothing is said. */
static void test_c8_many_failed(void **state)
{
    enum { FAILED = NX_COLL_FAILED + 10, LAST = FAILED + 10 };

    (void)state;
    for (uint64_t i = 1; i <= LAST; i++)
        run(2 * i, 77, true), run(2 * i + 1, 77, i > FAILED);
    for (uint64_t i = 1; i <= LAST; i++) {
        whole_collective(2 * i + 1, 78);
        if (i > FAILED)
            assert_misfit(2 * i + 1, 78, true, 77);
        whole_collective(2 * i, 78);
        if (i > 10)
            assert_misfit(2 * i, 78, true, 77);
        assert_int_equal(t.mismatches, 0);
    }
}

/* They need not end in order. */
static void test_c8_late_for_one_that_took_long(void **state)
{
    struct nx_coll_call slow[2];
    uint64_t their_call, their_count;
    uint32_t peer;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        slow[i] = (struct nx_coll_call){.sequence = i + 1, .call = 77, .count = 1};
        nx_list_init(&slow[i].link);
        assert_true(nx_scope_begin(&t.lanes, t.scope, &slow[i], &peer, &their_call, &their_count));
    }
    for (uint64_t i = 3; i <= 200; i++)
        run(i, 76, true);
    nx_scope_end(&t.lanes, t.scope, &slow[0], true);
    nx_scope_end(&t.lanes, t.scope, &slow[1], false);
    whole_collective(2, 78);
    assert_int_equal(t.mismatches, 0);
    whole_collective(1, 78);
    assert_misfit(1, 78, true, 77);
    whole_collective(3, 78);
    assert_misfit(3, 78, true, 76);
}

/* Another rank has ended it before it began here. */
static void test_c8_late_for_one_that_was_dropped(void **state)
{
    struct nx_coll_call call = {.sequence = 1};

    (void)state;
    nx_list_init(&call.link);
    nx_scope_drop(&t.lanes, t.scope, &call);
    whole_collective(1, 78);
    assert_int_equal(t.mismatches, 0);
    nx_scope_undrop(&t.lanes, &call);
    run(1, 77, false);
    whole_collective(1, 78);
    assert_int_equal(t.mismatches, 0);
    assert_int_equal(atomic_load(&t.lanes.stats.stale), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_collective_messages),
        TEST(test_c8_late_messages),
        TEST(test_c8_very_late_messages),
        TEST(test_c8_messages_for_calls_in_a_row),
        TEST(test_c8_many_failed),
        TEST(test_c8_late_for_one_that_took_long),
        TEST(test_c8_late_for_one_that_was_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
