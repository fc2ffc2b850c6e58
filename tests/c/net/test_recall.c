/* Messages that their sender takes back: before they come, while they wait for their turn, while they are unread; and
 * those for which it is too late. */
#include "lane_kit.h"

/* The next message has its turn, and nothing of the one before is seen. */
static void next_comes(struct table *t, uint32_t order)
{
    struct got got;

    message(t, p2p(1, 5), order, "next", 4);
    post(t, &got, p2p(1, 5), 100);
    assert_int_equal(got.done, 1);
    assert_int_equal(got.status, NEXAR_OK);
    assert_int_equal(got.recv.len, 4);
    assert_memory_equal(got.bytes, "next", 4);
    assert_int_equal(t->lanes.peer[1].recalls, 0);
    assert_int_equal(atomic_load(&t->lanes.stats.unread_bytes), 0);
}

static void test_before_it_comes(void **state)
{
    struct nx_key key = p2p(1, 5);
    struct table t;

    (void)state;
    table_open(&t, NULL);
    assert_ok(nx_lanes_recall(&t.lanes, &key, 0));
    assert_int_equal(t.lanes.peer[1].recalls, 1);
    message(&t, key, 0, "gone", 4);
    next_comes(&t, 1);
    table_close(&t);
}

/* Another message of the same number, or the same message of another peer, is not meant. */
static void test_only_that_one(void **state)
{
    struct nx_key key = p2p(1, 5);
    struct table t;
    struct got got;

    (void)state;
    table_open(&t, NULL);
    assert_ok(nx_lanes_recall(&t.lanes, &key, 0));
    message(&t, p2p(2, 5), 0, "two", 3);
    message(&t, tagged(1, 5), 0, "tag", 3);
    post(&t, &got, p2p(2, 5), 100);
    assert_int_equal(got.status, NEXAR_OK);
    post(&t, &got, tagged(1, 5), 100);
    assert_int_equal(got.status, NEXAR_OK);
    assert_int_equal(t.lanes.peer[1].recalls, 1);
    table_close(&t); /* which forgets it */
}

/* There is no room for it, or so much of it that its stream waits: it goes on, and what comes is thrown away. */
static void test_while_it_is_unread(void **state)
{
    static uint8_t bytes[100000];
    struct nx_key key = p2p(1, 5);
    struct table t;
    struct feed f;

    (void)state;
    for (int part = 0; part < 2; part++) {
        table_open(&t, NULL);
        feed_init(&f, false);
        assert_ok(feed_begin(&t, &f, key, 0, sizeof(bytes)));
        if (part == 1) {
            nexar_status st;
            size_t taken = nx_arrive_write(&t.lanes, f.msg, bytes, sizeof(bytes), &st);

            assert_true(st == NEXAR_EAGAIN && taken < sizeof(bytes));
        }
        assert_ok(nx_lanes_recall(&t.lanes, &key, 0));
        assert_int_equal(f.resumed, part);
        assert_ok(feed_write(&t, &f, bytes, 1000)); /* however much of it */
        feed_end(&t, &f, NEXAR_OK);
        next_comes(&t, 1);
        table_close(&t);
    }
}

static void test_while_it_waits_for_its_turn(void **state)
{
    struct nx_key key = p2p(1, 5);
    struct table t;
    struct feed f;

    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        table_open(&t, NULL);
        feed_init(&f, false);
        assert_ok(feed_begin(&t, &f, key, 1, 8));
        assert_ok(feed_write(&t, &f, "gone", 4));
        assert_ok(nx_lanes_recall(&t.lanes, &key, 1));
        assert_ok(feed_write(&t, &f, "gone", 4));
        if (whole)
            feed_end(&t, &f, NEXAR_OK);
        message(&t, p2p(1, 6), 0, "turn", 4);
        if (!whole)
            feed_end(&t, &f, NEXAR_OK);
        message(&t, p2p(1, 6), 2, "last", 4);
        for (int i = 0; i < 2; i++) {
            struct got got;

            post(&t, &got, p2p(1, 6), 100);
            assert_int_equal(got.status, NEXAR_OK);
            assert_memory_equal(got.bytes, i == 0 ? "turn" : "last", 4);
        }
        next_comes(&t, 3);
        table_close(&t);
    }
}

/* It is whole, or somebody receives it: it stays. */
static void test_too_late(void **state)
{
    struct nx_key key = p2p(1, 5);
    struct table t;
    struct feed f;
    struct got got;

    (void)state;
    table_open(&t, NULL);
    message(&t, key, 0, "whole", 5);
    assert_ok(nx_lanes_recall(&t.lanes, &key, 0));
    post(&t, &got, key, 100);
    assert_int_equal(got.status, NEXAR_OK);
    assert_ok(nx_lanes_recall(&t.lanes, &key, 0)); /* it is gone */
    post(&t, &got, key, 100);
    feed_init(&f, false);
    assert_ok(feed_begin(&t, &f, key, 1, 8));
    assert_ok(feed_write(&t, &f, "half", 4));
    assert_ok(nx_lanes_recall(&t.lanes, &key, 1));
    assert_ok(feed_write(&t, &f, "full", 4));
    feed_end(&t, &f, NEXAR_OK);
    assert_int_equal(got.status, NEXAR_OK);
    assert_memory_equal(got.bytes, "halffull", 8);
    next_comes(&t, 2);
    table_close(&t);
}

/* Only so many can be on their way. */
static void test_too_many(void **state)
{
    struct nx_key key = p2p(1, 5);
    uint32_t order = 0;
    struct table t;

    (void)state;
    table_open(&t, NULL);
    while (order < 4096)
        assert_ok(nx_lanes_recall(&t.lanes, &key, order++));
    assert_status(nx_lanes_recall(&t.lanes, &key, order), NEXAR_EPROTO);
    nx_lanes_peer_gone(&t.lanes, 1, NEXAR_EPEER);
    assert_int_equal(t.lanes.peer[1].recalls, 0);
    table_close(&t);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_it_comes),    cmocka_unit_test(test_only_that_one),
        cmocka_unit_test(test_while_it_is_unread), cmocka_unit_test(test_while_it_waits_for_its_turn),
        cmocka_unit_test(test_too_late),           cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
