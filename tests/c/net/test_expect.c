/* Receives that their caller looks out for: who gets a message that comes in one piece. */
#include "lane_kit.h"

static struct table t;
static struct feed stream; /* of many */

static int setup(void **state)
{
    (void)state;
    table_open(&t, NULL);
    feed_init(&stream, true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nx_expect_no_more(&t.lanes);
    table_close(&t);
    return 0;
}

static void expect(struct got *g, struct nx_key key, size_t cap)
{
    got_init(g, key, cap);
    nx_expect(&t.lanes, &g->recv, t.scope);
}

/* As dock.c hands them in.  True: who looked out for it has it. */
static bool whole(struct nx_key key, uint32_t order, const void *bytes, size_t n)
{
    struct nx_head head = {.lane = key.lane, .scope = key.scope, .id = key.id, .order = order, .len = n};

    if (nx_arrive_expected(&t.lanes, key.peer, &head, &stream.source, bytes))
        return true;
    if (n <= NX_MSG_SMALL)
        assert_ok(nx_arrive_small(&t.lanes, key.peer, &head, key.lane != NX_LANE_COLL, &stream.source, bytes));
    else
        message(&t, key, order, bytes, n);
    return false;
}

static void assert_got(const struct got *g, uint32_t from, uint64_t id, const void *bytes, size_t n)
{
    assert_false(nx_expected(&t.lanes));
    assert_int_equal(g->recv.from, from);
    assert_int_equal(g->recv.id, id);
    assert_int_equal(g->recv.len, n);
    assert_memory_equal(g->bytes, bytes, n);
    assert_int_equal(g->done, 0);
}

static void test_straight(void **state)
{
    static struct got g;
    static uint8_t bytes[GOT_CAP];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
    expect(&g, p2p(1, 5), GOT_CAP);
    assert_true(whole(p2p(1, 5), 0, bytes, GOT_CAP));
    assert_got(&g, 1, 5, bytes, GOT_CAP);
    assert_false(whole(p2p(1, 5), 1, "next", 4)); /* nobody looks out any more */
    assert_int_equal(atomic_load(&t.lanes.stats.unexpected), 1);
    assert_true(nx_lane_take(&t.lanes, &g.recv));
    expect(&g, p2p(1, 5), GOT_CAP);
    assert_true(whole(p2p(1, 5), 2, "", 0));
    assert_got(&g, 1, 5, bytes, 0);
    expect(&g, p2p(NX_ANY_PEER, NX_ANY_ID), 2);
    assert_true(whole(p2p(2, 9), 0, "ab", 2));
    assert_got(&g, 2, 9, "ab", 2);
    assert_int_equal(t.lanes.peer[1].unread_bytes, 0);
}

/* Another peer, tag, space, communicator or lane; more than fits. */
static void test_another(void **state)
{
    static struct got g;
    const uint64_t space = UINT64_C(1) << 32;

    (void)state;
    expect(&g, p2p(1, 5), 4);
    assert_false(whole(p2p(2, 5), 0, "x", 1));
    assert_false(whole(p2p(1, 6), 0, "x", 1));
    assert_false(whole(p2p(1, 5 + space), 1, "x", 1));
    assert_false(whole(key_of(1, NX_LANE_P2P, SCOPE + 1, 5), 0, "x", 1));
    assert_false(whole(tagged(1, 5), 0, "x", 1));
    assert_false(whole(p2p(1, 5), 2, "12345", 5));
    assert_true(nx_expected(&t.lanes));
    assert_false(whole(p2p(1, 5), 3, "1234", 4)); /* not before the one that does not fit */
    expect(&g, p2p(NX_ANY_PEER, NX_ANY_ID), 4);
    assert_false(whole(p2p(2, 7), 1, "x", 1)); /* others have been waiting for longer */
    assert_true(nx_expected(&t.lanes));
}

/* Receives that were posted before go first. */
static void test_posted_first(void **state)
{
    static struct got posted, any, g;

    (void)state;
    post(&t, &posted, p2p(1, 5), GOT_CAP);
    post(&t, &any, p2p(NX_ANY_PEER, NX_ANY_ID), GOT_CAP);
    expect(&g, p2p(1, 5), GOT_CAP);
    assert_false(whole(p2p(1, 5), 0, "a", 1));
    assert_ended(&posted, NEXAR_OK);
    assert_false(whole(p2p(1, 5), 1, "b", 1));
    assert_ended(&any, NEXAR_OK);
    assert_true(whole(p2p(1, 5), 2, "c", 1));
    assert_got(&g, 1, 5, "c", 1);
}

/* Each message has its turn; one that waits for its turn comes when it is there. */
static void test_in_order(void **state)
{
    static struct got g, late;

    (void)state;
    expect(&g, p2p(1, 5), GOT_CAP);
    assert_false(whole(p2p(1, 5), 1, "b", 1));
    assert_false(whole(p2p(1, 5), 0, "a", 1)); /* with another one behind it */
    assert_true(nx_expected(&t.lanes));
    assert_true(nx_lane_take(&t.lanes, &g.recv));
    assert_int_equal(g.bytes[0], 'a');
    assert_true(nx_lane_take(&t.lanes, &g.recv));
    assert_int_equal(g.bytes[0], 'b');
    expect(&g, p2p(1, 5), GOT_CAP);
    assert_true(whole(p2p(1, 5), 2, "c", 1));
    assert_got(&g, 1, 5, "c", 1);
    post(&t, &late, p2p(1, 5), GOT_CAP);
    assert_false(whole(p2p(1, 5), 3, "d", 1));
    assert_ended(&late, NEXAR_OK);
}

/* Its sender takes it back before it comes. */
static void test_taken_back(void **state)
{
    struct nx_key key = p2p(1, 5);
    static struct got g;

    (void)state;
    expect(&g, key, GOT_CAP);
    assert_ok(nx_lanes_recall(&t.lanes, &key, 0));
    assert_false(whole(key, 0, "a", 1));
    assert_true(nx_expected(&t.lanes));
    assert_true(whole(key, 1, "b", 1));
    assert_got(&g, 1, 5, "b", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_straight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_posted_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_taken_back, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
