/* Order numbers: messages that come out of turn, again, or too far ahead. */
#include "lane_kit.h"

#include "rng.h"

static struct table t;

static int setup(void **state)
{
    (void)state;
    table_open(&t, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    table_close(&t);
    return 0;
}

static void test_o1_backwards(void **state)
{
    static struct got g;

    (void)state;
    post(&t, &g, tagged(1, 5), GOT_CAP);
    for (uint32_t i = 500; i-- > 1;)
        number_message(&t, tagged(1, 5), i, i);
    assert_pending(&g);
    number_message(&t, tagged(1, 5), 0, 0);
    assert_int_equal(got_number(&g), 0);
    for (uint32_t i = 1; i < 500; i++)
        assert_int_equal(receive_number(&t, tagged(1, 5)), i);
}

struct shuffled {
    struct nx_key key;
    uint32_t order;
};

enum { GROUPS = 6, KEYS = 4 };

static struct nx_key key_in_group(uint32_t group, uint32_t i)
{
    static const enum nx_lane lane[GROUPS] = {NX_LANE_RAW_TAGGED, NX_LANE_RAW_COMM, NX_LANE_P2P,
                                              NX_LANE_RAW_TAGGED, NX_LANE_P2P,      NX_LANE_P2P};

    return key_of(group < 3 ? 1 : 2, lane[group], group == 5 ? 8 : SCOPE, i % KEYS);
}

/* Several lanes, peers and communicators, shuffled: each counts by itself, keys within one share its numbers. */
static void test_o1_shuffled(void **state)
{
    enum { EACH = 300 };
    static struct shuffled m[GROUPS * EACH];
    struct rng rng = {.state = 11};
    struct nx_scope *second;

    (void)state;
    assert_ok(nx_scope_open(&t.lanes, 8, NULL, NULL, &second));
    for (uint32_t g = 0; g < GROUPS; g++) {
        for (uint32_t i = 0; i < EACH; i++)
            m[g * EACH + i] = (struct shuffled){.key = key_in_group(g, i), .order = i};
    }
    for (size_t i = GROUPS * EACH; i > 1; i--) {
        size_t k = rng_below(&rng, i);
        struct shuffled swap = m[k];

        m[k] = m[i - 1];
        m[i - 1] = swap;
    }
    for (size_t i = 0; i < GROUPS * EACH; i++)
        number_message(&t, m[i].key, m[i].order, m[i].order);
    for (uint32_t g = 0; g < GROUPS; g++) {
        for (uint32_t i = 0; i < EACH; i++)
            assert_int_equal(receive_number(&t, key_in_group(g, i)), i);
    }
    assert_int_equal(t.lanes.early.count, 0);
    nx_scope_close(&t.lanes, second);
}

/* It is the head that has its turn: whoever waits for the payload holds up nobody. */
static void test_turn_is_that_of_the_head(void **state)
{
    static struct got first, second;
    struct feed f;

    (void)state;
    feed_init(&f, false);
    post(&t, &first, tagged(1, 1), 1000);
    post(&t, &second, tagged(1, 2), 1000);
    number_message(&t, tagged(1, 2), 1, 22);
    assert_pending(&second);
    assert_ok(feed_begin(&t, &f, tagged(1, 1), 0, 4));
    assert_int_equal(got_number(&second), 22);
    assert_ok(feed_write(&t, &f, "abcd", 4));
    feed_end(&t, &f, NEXAR_OK);
    assert_ended(&first, NEXAR_OK);
}

/* One that has begun before its turn is delivered while it still comes. */
static void test_early_and_incomplete(void **state)
{
    static struct got g;
    struct feed f;

    (void)state;
    feed_init(&f, false);
    assert_ok(feed_begin(&t, &f, tagged(1, 2), 1, 6));
    assert_ok(feed_write(&t, &f, "ab", 2));
    post(&t, &g, tagged(1, 2), 100);
    number_message(&t, tagged(1, 1), 0, 1);
    assert_ok(feed_write(&t, &f, "cd", 2));
    assert_ok(feed_write(&t, &f, "ef", 2));
    assert_pending(&g);
    feed_end(&t, &f, NEXAR_OK);
    assert_ended(&g, NEXAR_OK);
    assert_memory_equal(g.bytes, "abcdef", 6);
}

static void expect_fault(struct nx_key key, uint32_t order)
{
    struct feed f;

    feed_init(&f, false);
    assert_status(feed_begin(&t, &f, key, order, 4), NEXAR_EPROTO);
    assert_non_null(strstr(nexar_last_error(), "out of turn"));
    assert_true(nx_list_empty(&f.source.link));
}

static void test_duplicates_are_a_fault(void **state)
{
    uint64_t unread;

    (void)state;
    number_message(&t, tagged(1, 5), 0, 0);
    number_message(&t, tagged(1, 5), 1, 1);
    number_message(&t, tagged(1, 5), 7, 7);
    unread = t.lanes.peer[1].unread_bytes;
    expect_fault(tagged(1, 5), 0);
    expect_fault(tagged(1, 6), 1); /* another key of the same lane */
    expect_fault(tagged(1, 5), 7); /* one that waits for its turn */
    assert_int_equal(t.lanes.peer[1].unread_bytes, unread);
    number_message(&t, tagged(2, 5), 0, 0); /* another peer's */
    assert_int_equal(receive_number(&t, tagged(1, 5)), 0);
    assert_int_equal(receive_number(&t, tagged(1, 5)), 1);
}

static void test_too_far_ahead_is_a_fault(void **state)
{
    enum { WINDOW = 1 << 20 };

    (void)state;
    expect_fault(tagged(1, 5), WINDOW + 1);
    expect_fault(tagged(1, 5), UINT32_MAX);
    number_message(&t, tagged(1, 5), WINDOW, 0);
    number_message(&t, tagged(1, 5), 0, 0);
    number_message(&t, tagged(1, 5), WINDOW + 1, 0);
    expect_fault(tagged(1, 5), WINDOW + 2);
}

static void test_numbers_wrap(void **state)
{
    const uint32_t start = UINT32_MAX - 3;

    (void)state;
    t.lanes.peer[1].recv_order[NX_LANE_RAW_TAGGED] = start;
    for (uint32_t i = 8; i-- > 0;)
        number_message(&t, tagged(1, 5), start + i, i);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(receive_number(&t, tagged(1, 5)), i);
    expect_fault(tagged(1, 5), start);
}

/* What nobody else can bring into turn goes with its communicator, or with the table. */
static void test_early_messages_are_dropped(void **state)
{
    struct nx_scope *second;
    struct feed f;

    (void)state;
    assert_ok(nx_scope_open(&t.lanes, 8, NULL, NULL, &second));
    number_message(&t, key_of(1, NX_LANE_P2P, 8, 0), 3, 3);
    number_message(&t, p2p(1, 0), 3, 3);
    feed_init(&f, false);
    assert_ok(feed_begin(&t, &f, key_of(1, NX_LANE_P2P, 8, 0), 2, 10));
    assert_ok(feed_write(&t, &f, "abc", 3));
    assert_int_equal(t.lanes.early.count, 3);
    nx_scope_close(&t.lanes, second);
    assert_int_equal(t.lanes.early.count, 1);
    assert_ok(feed_write(&t, &f, "abc", 3)); /* to nobody */
    feed_end(&t, &f, NEXAR_OK);
    assert_int_equal(atomic_load(&t.lanes.stats.unread_bytes), 4);
}

/* Those that have come early leave no room, and the one that they wait for is on a stream that waits for room; somebody
 * wants one of the early ones. */
static void early_without_room(bool late_first)
{
    static const struct nx_lane_limits tight = {.lane_bytes = 8192, .lane_messages = 1000, .unread_bytes = 16384};
    static uint8_t bytes[2000];
    static struct table small;
    static struct got g;
    struct feed late;

    table_open(&small, &tight);
    for (uint32_t i = 2; !nx_lanes_full(&small.lanes, 1); i++)
        message(&small, tagged(1, i), i, bytes, i < 6 ? sizeof(bytes) : 0);
    feed_init(&late, true);
    if (late_first) {
        assert_status(feed_begin(&small, &late, tagged(1, 0), 0, 100), NEXAR_EAGAIN);
        assert_int_equal(late.resumed, 0);
        message(&small, tagged(1, 1), 1, NULL, 0);
        assert_int_equal(late.resumed, 1);
    } else {
        message(&small, tagged(1, 1), 1, NULL, 0);
    }
    post(&small, &g, tagged(1, 2), GOT_CAP);
    assert_ok(feed_begin(&small, &late, tagged(1, 0), 0, 100));
    assert_ended(&g, NEXAR_OK);
    assert_ok(feed_write(&small, &late, bytes, 100)); /* there is room again */
    feed_end(&small, &late, NEXAR_OK);
    table_close(&small);
}

static void test_o3_early_messages_do_not_lock_out_their_turn(void **state)
{
    (void)state;
    early_without_room(false);
    early_without_room(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_o1_backwards, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o1_shuffled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turn_is_that_of_the_head, setup, teardown),
        cmocka_unit_test_setup_teardown(test_early_and_incomplete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicates_are_a_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_far_ahead_is_a_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers_wrap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_early_messages_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o3_early_messages_do_not_lock_out_their_turn, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
