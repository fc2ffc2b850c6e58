/* What is kept of messages that nobody reads: by key, by peer, by communicators that are not known; and what waits. */
#include "lane_kit.h"

#include "base/pool.h"

static const struct nx_lane_limits tight = {.lane_bytes = 16384, .lane_messages = 32, .unread_bytes = 65536};
static struct table t;
static uint8_t bytes[65536];

static int setup(void **state)
{
    (void)state;
    table_open(&t, &tight);
    return 0;
}

static int setup_wide(void **state)
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

/* Writes as much as is taken; returns how much that was. */
static size_t write_all(struct table *table, struct feed *f, size_t n, nexar_status *st)
{
    size_t at = 0;

    *st = NEXAR_OK;
    while (at < n && *st == NEXAR_OK)
        at += nx_arrive_write(&table->lanes, f->msg, bytes + at, n - at < 1000 ? n - at : 1000, st);
    return at;
}

/* ---- one key ---- */

static void test_o2_full_key_waits_alone(void **state)
{
    static struct got g;
    struct feed full, other;
    nexar_status st;
    size_t taken;

    (void)state;
    feed_init(&full, false);
    assert_ok(feed_begin(&t, &full, tagged(1, 77), 0, 20000));
    taken = write_all(&t, &full, 20000, &st);
    assert_status(st, NEXAR_EAGAIN);
    assert_int_equal(taken, tight.lane_bytes);
    assert_int_equal(full.resumed, 0);
    /* Another message of this key begins, but not one byte of it is kept. */
    feed_init(&other, false);
    assert_ok(feed_begin(&t, &other, tagged(1, 77), 1, 10));
    assert_status(feed_write(&t, &other, bytes, 10), NEXAR_EAGAIN);
    /* All others go on: keys, lanes, peers. */
    number_message(&t, tagged(1, 78), 2, 1);
    number_message(&t, key_of(1, NX_LANE_CONTROL, 0, 0), 0, 2);
    number_message(&t, key_of(1, NX_LANE_RPC_REQUEST, 0, 0), 0, 3);
    number_message(&t, p2p(1, 77), 0, 4);
    number_message(&t, tagged(2, 77), 0, 5);
    assert_int_equal(receive_number(&t, tagged(1, 78)), 1);
    /* A receive comes: both go on, one by one. */
    got_init(&g, tagged(1, 77), 20000);
    g.recv.dst = bytes + 32768;
    nx_lane_post(&t.lanes, &g.recv);
    assert_int_equal(full.resumed, 1);
    assert_int_equal(nx_arrive_write(&t.lanes, full.msg, bytes, 20000 - taken, &st), 20000 - taken);
    feed_end(&t, &full, NEXAR_OK);
    assert_ended(&g, NEXAR_OK);
    assert_ok(feed_write(&t, &other, bytes, 10)); /* there is room again */
    feed_end(&t, &other, NEXAR_OK);
}

static void test_o2_sender_is_held_and_released(void **state)
{
    uint32_t i;

    (void)state;
    for (i = 0; t.held == 0; i++)
        number_message(&t, tagged(1, 5), i, i);
    assert_int_equal(i, tight.lane_messages / 2 + 1);
    assert_int_equal(t.held_key.id, 5);
    number_message(&t, tagged(1, 5), i, i); /* was on its way */
    for (uint32_t k = 0; k <= i; k++) {
        assert_int_equal(receive_number(&t, tagged(1, 5)), k);
        assert_int_equal(t.released, i - k <= tight.lane_messages / 8);
    }
    assert_int_equal(t.held, 1);
    /* The same by bytes. */
    message(&t, tagged(1, 6), i + 1, bytes, tight.lane_bytes / 2);
    assert_int_equal(t.held, 1);
    message(&t, tagged(1, 6), i + 2, bytes, 1);
    assert_int_equal(t.held, 2);
    assert_int_equal(t.lanes.peer[1].held, 1);
    nx_lanes_peer_gone(&t.lanes, 1, NEXAR_EPEER);
    assert_int_equal(t.lanes.peer[1].held, 0);
}

static void test_o2_held_keys_are_limited(void **state)
{
    const struct nx_lane_limits few = {.lane_bytes = 16384, .lane_messages = 1, .unread_bytes = 64 << 20};
    static struct table many;
    uint64_t keys = NX_HELD_MAX + 50;

    (void)state;
    table_open(&many, &few);
    for (uint32_t i = 0; i < keys; i++)
        message(&many, tagged(1, i), i, NULL, 0);
    assert_int_equal(many.held, NX_HELD_MAX);
    for (uint32_t i = 0; i < 100; i++) {
        static struct got g;

        post(&many, &g, tagged(1, i), 0);
        assert_ended(&g, NEXAR_OK);
    }
    assert_int_equal(many.released, 100);
    for (uint32_t i = 0; i < 200; i++)
        message(&many, tagged(1, keys + i), (uint32_t)keys + i, NULL, 0);
    assert_int_equal(many.held, NX_HELD_MAX + 100);
    table_close(&many);
}

/* ---- one peer ---- */

static void test_o3_full_peer(void **state)
{
    static struct got g, small;
    struct feed shared, own, others;
    uint32_t order = 0;
    nexar_status st;

    (void)state;
    /* Messages of their own streams stop at three quarters. */
    for (st = NEXAR_OK; st == NEXAR_OK; order++) {
        feed_init(&own, false);
        assert_ok(feed_begin(&t, &own, tagged(1, order), order, 10000));
        (void)write_all(&t, &own, 10000, &st);
        if (st == NEXAR_OK)
            feed_end(&t, &own, NEXAR_OK);
    }
    assert_in_range(t.lanes.peer[1].unread_bytes, tight.unread_bytes / 4 * 3 - 1000, tight.unread_bytes / 4 * 3);
    /* Small ones on their common stream go on to the limit. */
    feed_init(&shared, true);
    for (;; order++) {
        st = feed_begin(&t, &shared, tagged(1, order), order, 1000);
        if (st != NEXAR_OK)
            break;
        st = feed_write(&t, &shared, bytes, 1000);
        if (st != NEXAR_OK)
            break;
        feed_end(&t, &shared, NEXAR_OK);
    }
    assert_status(st, NEXAR_EAGAIN);
    assert_in_range(t.lanes.peer[1].unread_bytes, tight.unread_bytes - 2000, tight.unread_bytes + NX_MSG_COST);
    /* Other peers do not notice. */
    feed_init(&others, true);
    assert_ok(feed_begin(&t, &others, tagged(2, 1), 0, 1000));
    assert_ok(feed_write(&t, &others, bytes, 1000));
    feed_end(&t, &others, NEXAR_OK);
    /* Whoever is waited for comes in, and whoever is read makes room. */
    assert_int_equal(shared.resumed, 0);
    post(&t, &small, tagged(1, order), 1000);
    assert_int_equal(shared.resumed, 1);
    if (shared.msg == NULL)
        assert_ok(feed_begin(&t, &shared, tagged(1, order), order, 1000));
    assert_ok(feed_write(&t, &shared, bytes, 1000));
    feed_end(&t, &shared, NEXAR_OK);
    assert_ended(&small, NEXAR_OK);
    order++;
    st = feed_begin(&t, &shared, tagged(1, order), order, 1000);
    if (st == NEXAR_OK)
        st = feed_write(&t, &shared, bytes, 1000);
    assert_status(st, NEXAR_EAGAIN);
    for (uint32_t i = 0; i < 3; i++) {
        got_init(&g, tagged(1, i), 10000);
        g.recv.dst = bytes;
        nx_lane_post(&t.lanes, &g.recv);
        assert_ended(&g, NEXAR_OK);
    }
    assert_int_equal(shared.resumed, 2);
    if (shared.msg == NULL)
        assert_ok(feed_begin(&t, &shared, tagged(1, order), order, 1000));
    assert_ok(feed_write(&t, &shared, bytes, 1000));
    feed_end(&t, &shared, NEXAR_OK);
    feed_end(&t, &own, NEXAR_EPEER);
}

static void test_empty_messages_are_bounded(void **state)
{
    struct feed f;
    nexar_status st = NEXAR_OK;
    uint32_t i = 0;

    (void)state;
    for (; st == NEXAR_OK && i < 100000; i++) {
        feed_init(&f, false);
        st = feed_begin(&t, &f, tagged(1, i), i, 0);
        if (st == NEXAR_OK)
            feed_end(&t, &f, NEXAR_OK);
    }
    assert_status(st, NEXAR_EPROTO);
    assert_in_range(t.lanes.peer[1].unread_bytes, 2 * tight.unread_bytes, 2 * tight.unread_bytes + NX_MSG_COST);
    /* Of one key, of which the sender was told to stop. */
    for (i = 0, st = NEXAR_OK; st == NEXAR_OK; i++) {
        feed_init(&f, false);
        st = feed_begin(&t, &f, tagged(2, 1), i, 0);
        if (st == NEXAR_OK)
            feed_end(&t, &f, NEXAR_OK);
    }
    assert_status(st, NEXAR_EPROTO);
    assert_int_equal(i, 2 * tight.lane_messages + 1);
}

/* Records that a peer makes us keep cost what they are said to cost. */
static void test_cost_of_a_message(void **state)
{
    static struct table wide;
    struct nx_mem_stats before, after;
    enum { MESSAGES = 4000 };

    (void)state;
    table_open(&wide, NULL);
    nx_mem_stats(&before);
    for (uint32_t i = 0; i < MESSAGES; i++)
        message(&wide, tagged(1, i), i, bytes, 1);
    nx_mem_stats(&after);
    assert_true(after.bytes - before.bytes <= wide.lanes.peer[1].unread_bytes);
    table_close(&wide);
}

/* ---- lengths are what comes, not what is announced ---- */

static void test_o7_announced_length_costs_nothing(void **state)
{
    static const uint64_t lengths[] = {UINT64_C(1) << 32, UINT64_C(1) << 40, (UINT64_C(1) << 62) - 1};
    struct nx_mem_stats before, after;
    struct feed f[3];

    (void)state;
    nx_mem_stats(&before);
    for (uint32_t i = 0; i < 3; i++) {
        feed_init(&f[i], false);
        assert_ok(feed_begin(&t, &f[i], tagged(1, i), i, lengths[i]));
    }
    nx_mem_stats(&after);
    assert_in_range(after.bytes, before.bytes, before.bytes + 3 * NX_MSG_COST);
    for (uint32_t i = 0; i < 3; i++)
        assert_ok(feed_write(&t, &f[i], bytes, 100));
    nx_mem_stats(&after);
    assert_in_range(after.bytes, before.bytes, before.bytes + 3 * (NX_MSG_COST + 1024));
    for (uint32_t i = 0; i < 3; i++)
        feed_end(&t, &f[i], NEXAR_EPEER);
}

/* ---- communicators that are not known ---- */

static void test_unknown_communicators_are_bounded(void **state)
{
    enum { ORPHANS = 256 };
    struct nx_scope *scope;
    struct feed f;

    (void)state;
    for (uint32_t i = 0; i < ORPHANS; i++)
        message(&t, key_of(1, NX_LANE_P2P, 1000 + i, 0), 0, NULL, 0);
    feed_init(&f, false);
    assert_status(feed_begin(&t, &f, key_of(1, NX_LANE_P2P, 5000, 0), 0, 4), NEXAR_EPROTO);
    assert_non_null(strstr(nexar_last_error(), "communicators that are not known"));
    assert_status(feed_begin(&t, &f, key_of(1, NX_LANE_COLL, 5000, 0), 0, 4), NEXAR_EPROTO);
    number_message(&t, key_of(2, NX_LANE_P2P, 6000, 0), 0, 3); /* another peer has its own */
    /* Whoever claims one makes room for another. */
    assert_ok(nx_scope_open(&t.lanes, 1000, NULL, NULL, &scope));
    message(&t, key_of(1, NX_LANE_P2P, 5000, 0), 0, NULL, 0);
    nx_scope_close(&t.lanes, scope);
    /* What comes for one that was closed is dropped, whoever sends it, until it is opened again. */
    number_message(&t, key_of(1, NX_LANE_P2P, 1000, 0), 77, 3);
    number_message(&t, key_of(2, NX_LANE_COLL, 1000, 1 << 24), 0, 3);
    assert_int_equal(atomic_load(&t.lanes.stats.stale), 2);
    assert_ok(nx_scope_open(&t.lanes, 1000, NULL, NULL, &scope));
    number_message(&t, key_of(1, NX_LANE_P2P, 1000, 4), 0, 8);
    assert_int_equal(receive_number(&t, key_of(1, NX_LANE_P2P, 1000, 4)), 8);
    assert_status(nx_scope_open(&t.lanes, 1000, NULL, NULL, &scope), NEXAR_EINVAL);
    assert_ok(nx_scope_open(&t.lanes, 6000, NULL, NULL, &scope));
    assert_int_equal(receive_number(&t, key_of(2, NX_LANE_P2P, 6000, 0)), 3); /* it was there before */
}

/* ---- a peer that leaves ---- */

/* What is on its way is taken in, whatever the limits say; but no more than can be. */
static void test_draining(void **state)
{
    static struct got g;
    struct feed waits, shared;
    nexar_status st;
    uint32_t order = 1;

    (void)state;
    feed_init(&waits, false);
    assert_ok(feed_begin(&t, &waits, tagged(1, 1), 0, 20000));
    assert_int_equal(write_all(&t, &waits, 20000, &st), tight.lane_bytes);
    feed_init(&shared, true);
    while (feed_begin(&t, &shared, tagged(1, 2), order, 0) == NEXAR_OK) {
        feed_end(&t, &shared, NEXAR_OK);
        order++;
    }
    nx_lanes_drain(&t.lanes, 1);
    assert_int_equal(waits.resumed, 1);
    assert_int_equal(shared.resumed, 1);
    assert_int_equal(nx_arrive_write(&t.lanes, waits.msg, bytes, 3616, &st), 3616);
    feed_end(&t, &waits, NEXAR_OK);
    assert_ok(feed_begin(&t, &shared, tagged(1, 2), order++, 0));
    feed_end(&t, &shared, NEXAR_OK);
    nx_lanes_peer_gone(&t.lanes, 1, NEXAR_ECLOSED);
    got_init(&g, tagged(1, 1), 20000);
    g.recv.dst = bytes + 32768;
    nx_lane_post(&t.lanes, &g.recv);
    assert_ended(&g, NEXAR_OK); /* complete and unread: still receivable */
    for (st = NEXAR_OK; st == NEXAR_OK; order++) {
        feed_init(&waits, false);
        assert_ok(feed_begin(&t, &waits, tagged(1, 1), order, 20000));
        (void)write_all(&t, &waits, 20000, &st);
        feed_end(&t, &waits, st == NEXAR_OK ? NEXAR_OK : NEXAR_EPEER);
    }
    assert_status(st, NEXAR_EPROTO);
    assert_in_range(t.lanes.peer[1].unread_bytes, 3 * tight.unread_bytes, 4 * tight.unread_bytes);
}

/* ---- memory ---- */

static void test_out_of_memory(void **state)
{
    struct nx_pool_stats pool;
    uint64_t live;
    int failed = 0;

    (void)state;
    nx_pool_stats(&pool);
    live = pool.live_bytes;
    for (uint64_t nth = 1; nth < 30; nth++) {
        static struct table torture;
        struct feed f;
        nexar_status st;
        bool begun;

        table_open(&torture, &tight);
        nx_pool_trim();
        nx_mem_fail_at(nth);
        feed_init(&f, false);
        st = feed_begin(&torture, &f, p2p(1, 900 + nth), 0, 5000);
        begun = st == NEXAR_OK;
        if (begun)
            (void)write_all(&torture, &f, 5000, &st);
        nx_mem_fail_at(0);
        if (begun)
            feed_end(&torture, &f, st == NEXAR_OK ? NEXAR_OK : NEXAR_EPEER);
        assert_true(st == NEXAR_OK || st == NEXAR_ENOMEM);
        failed += st != NEXAR_OK;
        assert_int_equal(torture.lanes.peer[1].unread_bytes, st == NEXAR_OK ? 5000 + NX_MSG_COST : 0);
        table_close(&torture);
    }
    assert_in_range(failed, 1, 28);
    nx_pool_stats(&pool);
    assert_int_equal(pool.live_bytes, live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cost_of_a_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_full_key_waits_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_sender_is_held_and_released, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o2_held_keys_are_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o3_full_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_messages_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o7_announced_length_costs_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_communicators_are_bounded, setup_wide, teardown),
        cmocka_unit_test_setup_teardown(test_draining, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
