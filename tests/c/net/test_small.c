/* Messages that are so small that they arrive, and are received, in one go. */
#include "lane_kit.h"

#include "base/mem.h"

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
    table_close(&t);
    return 0;
}

static nexar_status small(struct nx_key key, uint32_t order, const void *bytes, size_t n)
{
    struct nx_head head = {.lane = key.lane, .scope = key.scope, .id = key.id, .order = order, .len = n};

    return nx_arrive_small(&t.lanes, key.peer, &head, key.lane != NX_LANE_COLL, &stream.source, bytes);
}

static nexar_status small_number(struct nx_key key, uint32_t order)
{
    return small(key, order, &order, sizeof(order));
}

/* Takes one that is there, without waiting. */
static bool take(struct got *g, struct nx_key key, size_t cap)
{
    got_init(g, key, cap);
    return nx_lane_take(&t.lanes, &g->recv);
}

static void test_somebody_waits(void **state)
{
    static struct got g, any, tiny;
    uint8_t bytes[NX_MSG_SMALL];

    (void)state;
    memset(bytes, 7, sizeof(bytes));
    post(&t, &tiny, p2p(1, 5), NX_MSG_SMALL - 1);
    post(&t, &g, p2p(1, 5), GOT_CAP);
    post(&t, &any, p2p(NX_ANY_PEER, NX_ANY_ID), GOT_CAP);
    assert_ok(small(p2p(1, 5), 0, bytes, sizeof(bytes)));
    assert_ended(&tiny, NEXAR_EMSGSIZE);
    assert_ended(&g, NEXAR_OK);
    assert_int_equal(g.recv.len, NX_MSG_SMALL);
    assert_int_equal(g.recv.from, 1);
    assert_memory_equal(g.bytes, bytes, sizeof(bytes));
    assert_pending(&any);
    assert_ok(small(p2p(2, 6), 0, NULL, 0));
    assert_ended(&any, NEXAR_OK);
    assert_int_equal(any.recv.len, 0);
    assert_int_equal(any.recv.from, 2);
    assert_int_equal(any.recv.id, 6);
    assert_int_equal(atomic_load(&t.lanes.stats.unexpected), 0);
}

static void test_nobody_waits(void **state)
{
    static struct got g;

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        assert_ok(small_number(p2p(1, 5), i));
    assert_int_equal(atomic_load(&t.lanes.stats.unread_bytes), 16);
    assert_int_equal(t.lanes.peer[1].unread_bytes, 4 * (NX_MSG_COST + 4));
    assert_false(take(&g, p2p(1, 6), GOT_CAP));
    assert_false(take(&g, p2p(2, 5), GOT_CAP));
    assert_false(take(&g, p2p(1, 5), 3)); /* the long way says why, and it stays */
    assert_true(take(&g, p2p(1, 5), 4));
    assert_int_equal(g.recv.len, 4);
    assert_int_equal(g.bytes[0], 0);
    assert_int_equal(g.done, 0);
    assert_int_equal(receive_number(&t, p2p(1, 5)), 1);
    assert_true(take(&g, p2p(NX_ANY_PEER, NX_ANY_ID), GOT_CAP));
    assert_int_equal(g.bytes[0], 2);
    assert_int_equal(g.recv.from, 1);
    assert_int_equal(g.recv.id, 5);
    assert_int_equal(receive_number(&t, p2p(NX_ANY_PEER, 5)), 3);
    assert_false(take(&g, p2p(1, 5), GOT_CAP));
    assert_int_equal(t.lanes.peer[1].unread_bytes, 0);
}

/* One that comes in pieces is not taken before it is whole, nor then: it has other ways. */
static void test_in_pieces(void **state)
{
    static struct got g;
    struct feed f;

    (void)state;
    feed_init(&f, true);
    assert_ok(feed_begin(&t, &f, p2p(1, 5), 0, 8));
    assert_ok(feed_write(&t, &f, "half", 4));
    assert_false(take(&g, p2p(1, 5), GOT_CAP));
    assert_ok(feed_write(&t, &f, "half", 4));
    feed_end(&t, &f, NEXAR_OK);
    assert_ok(small_number(p2p(1, 5), 1));
    assert_false(take(&g, p2p(1, 5), GOT_CAP)); /* nor is it overtaken */
    post(&t, &g, p2p(1, 5), GOT_CAP);
    assert_ended(&g, NEXAR_OK);
    assert_memory_equal(g.bytes, "halfhalf", 8);
    assert_true(take(&g, p2p(1, 5), GOT_CAP));
}

/* Streams swap messages: each has its turn all the same. */
static void test_before_their_turn(void **state)
{
    static struct got first, g;

    (void)state;
    post(&t, &first, p2p(1, 5), GOT_CAP);
    for (uint32_t i = 5; i > 0; i--) {
        assert_pending(&first);
        assert_ok(small_number(p2p(1, 5), i));
        assert_false(take(&g, p2p(1, 5), GOT_CAP));
    }
    assert_ok(small_number(p2p(1, 5), 0));
    assert_int_equal(got_number(&first), 0);
    for (uint32_t i = 1; i <= 5; i++)
        assert_int_equal(receive_number(&t, p2p(1, 5)), i);
    assert_status(small_number(p2p(1, 5), 3), NEXAR_EPROTO); /* it has been */
    assert_int_equal(t.lanes.peer[1].unread_bytes, 0);
}

static void test_taken_back(void **state)
{
    struct nx_key key = p2p(1, 5);
    static struct got g;

    (void)state;
    assert_ok(nx_lanes_recall(&t.lanes, &key, 0));
    assert_ok(small_number(key, 0));
    assert_false(take(&g, key, GOT_CAP));
    assert_int_equal(t.lanes.peer[1].recalls, 0);
    assert_ok(small_number(key, 1));
    assert_ok(nx_lanes_recall(&t.lanes, &key, 1)); /* too late: it is whole */
    assert_int_equal(receive_number(&t, key), 1);
}

/* There is no room for more of this peer's: its stream waits, until there is, or somebody asks. */
static void test_no_room(void **state)
{
    static const struct nx_lane_limits tight = {.lane_bytes = 16384, .lane_messages = 32, .unread_bytes = 8192};
    static struct got g, other;
    uint32_t n = 0;

    (void)state;
    table_close(&t);
    table_open(&t, &tight);
    while (small_number(p2p(1, 5), n) == NEXAR_OK)
        n++;
    assert_int_equal(n, tight.unread_bytes / (NX_MSG_COST + 4) + 1);
    assert_status(small_number(p2p(1, 5), n), NEXAR_EAGAIN);
    assert_int_equal(stream.resumed, 0);
    message(&t, p2p(2, 5), 0, "other", 5); /* another's */
    post(&t, &other, p2p(1, 6), GOT_CAP);
    assert_int_equal(stream.resumed, 1);
    assert_status(small_number(p2p(1, 5), n), NEXAR_EAGAIN); /* it was not that one */
    for (uint32_t i = 0; i < n; i++) {
        assert_true(take(&g, p2p(1, 5), 4));
        assert_int_equal(g.bytes[0], i);
    }
    assert_int_equal(stream.resumed, 2);
    assert_ok(small_number(p2p(1, 5), n));
    assert_true(take(&g, p2p(1, 5), 4));
    nx_lane_cancel(&t.lanes, &other.recv, NEXAR_ECANCELLED);
    assert_ended(&other, NEXAR_ECANCELLED);
}

/* For a sum, for a communicator that is closed, for a collective that is over. */
static void test_for_others(void **state)
{
    struct nx_head head = {.lane = NX_LANE_COLL, .scope = SCOPE, .id = 1 << 24, .len = 16};
    const int64_t two[2] = {1, 2};
    struct nx_scope *second;
    static struct got g;
    int64_t sum[2] = {10, 20};

    (void)state;
    got_init(&g, key_of(2, NX_LANE_COLL, SCOPE, 1 << 24), sizeof(sum));
    g.recv.dst = (uint8_t *)sum;
    g.recv.fn = nx_reduce_kernel(NEXAR_SUM, NEXAR_INT64);
    g.recv.element = 8;
    nx_lane_post(&t.lanes, &g.recv);
    assert_ok(nx_arrive_small(&t.lanes, 2, &head, false, &stream.source, (const uint8_t *)two));
    assert_ended(&g, NEXAR_OK);
    assert_true(sum[0] == 11 && sum[1] == 22);
    /* The other way round. */
    head.id = 2 << 24;
    assert_ok(nx_arrive_small(&t.lanes, 2, &head, false, &stream.source, (const uint8_t *)two));
    g.done = 0;
    g.recv.key.id = head.id;
    nx_lane_post(&t.lanes, &g.recv);
    assert_ended(&g, NEXAR_OK);
    assert_true(sum[0] == 12 && sum[1] == 24);
    assert_ok(nx_scope_open(&t.lanes, 8, NULL, NULL, &second));
    nx_scope_close(&t.lanes, second);
    assert_ok(small(key_of(1, NX_LANE_P2P, 8, 3), 0, "late", 4));
    assert_int_equal(atomic_load(&t.lanes.stats.stale), 1);
    assert_int_equal(t.lanes.peer[1].unread_bytes, 0);
}

static void test_memory_is_short(void **state)
{
    static struct got g;
    struct nx_mem_stats before, after;
    uint64_t nth = 1;
    uint32_t order = 0;

    (void)state;
    do {
        nexar_status st;

        nx_mem_stats(&before);
        nx_mem_fail_at(nth++);
        st = small(p2p(1, 5), order, &order, sizeof(order));
        nx_mem_fail_at(0);
        nx_mem_stats(&after);
        assert_true(st == NEXAR_OK || st == NEXAR_ENOMEM);
        if (st == NEXAR_OK)
            assert_int_equal(receive_number(&t, p2p(1, 5)), order++);
        assert_int_equal(t.lanes.peer[1].unread_bytes, 0);
    } while (nth < 20);
    assert_false(take(&g, p2p(1, 5), GOT_CAP));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_somebody_waits), TEST(test_nobody_waits), TEST(test_in_pieces),  TEST(test_before_their_turn),
        TEST(test_taken_back),     TEST(test_no_room),      TEST(test_for_others), TEST(test_memory_is_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
