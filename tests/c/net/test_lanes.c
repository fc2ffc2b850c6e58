/* Lanes: which message meets which receive, what is too large, what a lost peer leaves behind. */
#include "lane_kit.h"

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

/* ---- one message, one receive ---- */

static void test_message_and_receive(void **state)
{
    static struct got before, after;

    (void)state;
    post(&t, &before, p2p(1, 5), GOT_CAP);
    assert_pending(&before);
    number_message(&t, p2p(1, 5), 0, 10);
    number_message(&t, p2p(1, 5), 1, 11);
    assert_int_equal(got_number(&before), 10);
    post(&t, &after, p2p(1, 5), GOT_CAP);
    assert_int_equal(got_number(&after), 11);
    assert_int_equal(after.recv.from, 1);
    assert_int_equal(after.recv.id, 5);
    assert_int_equal(atomic_load(&t.lanes.stats.unexpected), 1);
    assert_int_equal(atomic_load(&t.lanes.stats.copies), 4); /* the first went straight to its place */
}

/* Pieces go into the receive's memory as they come, also when it is posted in the middle. */
static void test_in_pieces(void **state)
{
    static struct got g;
    static uint8_t bytes[GOT_CAP];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    for (uint32_t turn = 0; turn < 9; turn++) {
        struct feed f;
        size_t at = 0;

        feed_init(&f, false);
        assert_ok(feed_begin(&t, &f, tagged(0, 1), turn, sizeof(bytes)));
        for (uint32_t piece = 0; piece < 8; piece++, at += GOT_CAP / 8) {
            if (piece == turn)
                post(&t, &g, tagged(0, 1), GOT_CAP);
            assert_ok(feed_write(&t, &f, bytes + at, GOT_CAP / 8));
        }
        if (turn < 8)
            assert_pending(&g);
        feed_end(&t, &f, NEXAR_OK);
        if (turn == 8)
            post(&t, &g, tagged(0, 1), GOT_CAP);
        assert_ended(&g, NEXAR_OK);
        assert_memory_equal(g.bytes, bytes, GOT_CAP);
    }
}

static void test_keys_are_apart(void **state)
{
    const struct nx_key keys[] = {
        p2p(0, 1),
        p2p(1, 1),
        p2p(0, 2),
        key_of(0, NX_LANE_P2P, 8, 1),
        tagged(0, 1),
        tagged(0, 2),
        tagged(1, 1),
        key_of(0, NX_LANE_RAW, 0, 0),
        key_of(0, NX_LANE_RAW_COMM, 1, 0),
        key_of(0, NX_LANE_RAW_COMM, 2, 0),
        key_of(0, NX_LANE_CONTROL, 0, 0),
        key_of(0, NX_LANE_DATA, 0, 0),
        key_of(0, NX_LANE_RPC_REQUEST, 0, 0),
        key_of(0, NX_LANE_RPC_RESPONSE, 0, 0),
        key_of(0, NX_LANE_RELAY, 0, 0),
    };
    enum { KEYS = sizeof(keys) / sizeof(keys[0]) };
    static struct got g[KEYS];
    uint32_t order[PEERS][NX_LANE_COLL + 1] = {{0}};
    struct nx_scope *other;

    (void)state;
    assert_ok(nx_scope_open(&t.lanes, 8, NULL, NULL, &other));
    for (uint32_t i = 0; i < KEYS; i++)
        post(&t, &g[i], keys[i], GOT_CAP);
    for (uint32_t k = 0; k < KEYS; k++) {
        uint32_t i = (k * 7 + 3) % KEYS;
        bool apart = keys[i].scope == 8; /* has numbers of its own */

        number_message(&t, keys[i], apart ? 0 : order[keys[i].peer][keys[i].lane]++, 100 + i);
        assert_int_equal(got_number(&g[i]), 100 + i);
    }
    nx_scope_close(&t.lanes, other);
}

/* A framed message: its first 8 bytes are apart. */
static void test_prefix(void **state)
{
    static struct got g;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        got_init(&g, key_of(1, NX_LANE_DATA, 0, 0), 4);
        g.recv.skip = 8;
        if (i == 0)
            nx_lane_post(&t.lanes, &g.recv);
        message(&t, key_of(1, NX_LANE_DATA, 0, 0), i, "12345678abcd", 12);
        if (i == 1)
            nx_lane_post(&t.lanes, &g.recv);
        assert_ended(&g, NEXAR_OK);
        assert_int_equal(g.recv.len, 4);
        assert_memory_equal(g.recv.prefix, "12345678", 8);
        assert_memory_equal(g.bytes, "abcd", 4);
    }
    /* One that is shorter than its header. */
    got_init(&g, key_of(1, NX_LANE_DATA, 0, 0), 4);
    g.recv.skip = 8;
    message(&t, key_of(1, NX_LANE_DATA, 0, 0), 2, "1234", 4);
    nx_lane_post(&t.lanes, &g.recv);
    assert_ended(&g, NEXAR_EPROTO);
}

/* ---- several ---- */

/* As MPI has it: the receive that was posted first, the message that was sent first. */
static void test_first_posted_first_served(void **state)
{
    static struct got exact[2], any_tag[2], any[2];

    (void)state;
    post(&t, &any_tag[0], p2p(1, NX_ANY_ID), GOT_CAP);
    post(&t, &exact[0], p2p(1, 5), GOT_CAP);
    post(&t, &any[0], p2p(NX_ANY_PEER, NX_ANY_ID), GOT_CAP);
    post(&t, &exact[1], p2p(1, 5), GOT_CAP);
    post(&t, &any_tag[1], p2p(1, NX_ANY_ID), GOT_CAP);
    post(&t, &any[1], p2p(NX_ANY_PEER, 5), GOT_CAP);
    number_message(&t, p2p(2, 9), 0, 0); /* fits the third alone */
    assert_int_equal(got_number(&any[0]), 0);
    assert_int_equal(any[0].recv.from, 2);
    assert_int_equal(any[0].recv.id, 9);
    for (uint32_t i = 0; i < 5; i++)
        number_message(&t, p2p(1, 5), i, 10 + i);
    assert_int_equal(got_number(&any_tag[0]), 10);
    assert_int_equal(got_number(&exact[0]), 11);
    assert_int_equal(got_number(&exact[1]), 12);
    assert_int_equal(got_number(&any_tag[1]), 13);
    assert_int_equal(got_number(&any[1]), 14);
}

static void test_any_takes_what_came_first(void **state)
{
    (void)state;
    number_message(&t, p2p(2, 3), 0, 1);
    number_message(&t, p2p(0, 3), 0, 2);
    number_message(&t, p2p(2, 4), 1, 3);
    number_message(&t, p2p(0, 4), 1, 4);
    assert_int_equal(receive_number(&t, p2p(NX_ANY_PEER, 4)), 3);
    assert_int_equal(receive_number(&t, p2p(0, NX_ANY_ID)), 2);
    assert_int_equal(receive_number(&t, p2p(NX_ANY_PEER, NX_ANY_ID)), 1);
    assert_int_equal(receive_number(&t, p2p(NX_ANY_PEER, NX_ANY_ID)), 4);
}

/* Memory is asked for when the message is there; where there is none it stays. */
static void test_own_memory(void **state)
{
    static struct got g, other;
    uint8_t bytes[100] = {1, 2};

    (void)state;
    for (int posted_first = 0; posted_first < 2; posted_first++) {
        got_init(&g, p2p(1, 5), 100);
        g.recv.own = true;
        g.recv.dst = NULL;
        if (posted_first)
            nx_lane_post(&t.lanes, &g.recv);
        else
            message(&t, p2p(1, 5), 0, bytes, 100);
        assert_null(g.recv.dst);
        if (posted_first) {
            message(&t, p2p(1, 5), 1, bytes, 100);
        } else {
            nx_mem_fail_at(1);
            nx_lane_post(&t.lanes, &g.recv);
            assert_ended(&g, NEXAR_ENOMEM);
            assert_null(g.recv.dst);
            g.done = 0;
            nx_lane_post(&t.lanes, &g.recv);
        }
        assert_ended(&g, NEXAR_OK);
        assert_int_equal(g.recv.len, 100);
        assert_memory_equal(g.recv.dst, bytes, 100);
        nx_free(g.recv.dst);
    }
    /* The next that waits gets it. */
    got_init(&g, p2p(1, 6), 100);
    g.recv.own = true;
    g.recv.dst = NULL;
    nx_lane_post(&t.lanes, &g.recv);
    post(&t, &other, p2p(1, NX_ANY_ID), GOT_CAP);
    nx_mem_fail_at(1);
    message(&t, p2p(1, 6), 2, bytes, 100);
    assert_ended(&g, NEXAR_ENOMEM);
    assert_ended(&other, NEXAR_OK);
}

/* ---- too large ---- */

static void test_o8_too_large_stays(void **state)
{
    static struct got small, large;
    uint8_t bytes[100] = {1};

    (void)state;
    /* It was posted before the message came, and another that fits after it. */
    post(&t, &small, p2p(1, 5), 99);
    post(&t, &large, p2p(1, 5), 100);
    message(&t, p2p(1, 5), 0, bytes, 100);
    assert_ended(&small, NEXAR_EMSGSIZE);
    assert_int_equal(small.recv.len, 100);
    assert_int_equal(small.recv.from, 1);
    assert_ended(&large, NEXAR_OK);
    /* It came first. */
    message(&t, p2p(1, 5), 1, bytes, 100);
    for (int i = 0; i < 2; i++) {
        post(&t, &small, p2p(NX_ANY_PEER, NX_ANY_ID), 99);
        assert_ended(&small, NEXAR_EMSGSIZE);
        assert_int_equal(small.recv.id, 5);
    }
    post(&t, &large, p2p(1, 5), 100);
    assert_ended(&large, NEXAR_OK);
}

/* ---- oneself, probing ---- */

static void test_oneself(void **state)
{
    struct nx_head head = {.lane = NX_LANE_P2P, .scope = SCOPE, .id = 3, .len = 4};
    uint32_t number = 9;

    (void)state;
    for (number = 0; number < 5; number++)
        assert_ok(nx_arrive_local(&t.lanes, 0, &head, &number));
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(receive_number(&t, p2p(0, 3)), i);
    head.scope = 99;
    assert_ok(nx_arrive_local(&t.lanes, 0, &head, &number));
    head.scope = SCOPE;
    head.len = UINT64_C(1) << 60;
    nx_mem_fail_at(1);
    assert_status(nx_arrive_local(&t.lanes, 0, &head, &number), NEXAR_ENOMEM);
    nx_mem_fail_at(0);
}

static void test_probe(void **state)
{
    const struct nx_key any = p2p(NX_ANY_PEER, NX_ANY_ID);
    uint32_t from;
    uint64_t id, len;

    (void)state;
    assert_status(nx_lane_probe(&t.lanes, &any, 0, &from, &id, &len), NEXAR_EAGAIN);
    number_message(&t, p2p(2, 4), 0, 1);
    assert_ok(nx_lane_probe(&t.lanes, &any, 0, &from, &id, &len));
    assert_true(from == 2 && id == 4 && len == 4);
    assert_int_equal(receive_number(&t, p2p(2, 4)), 1);
    nx_lanes_peer_gone(&t.lanes, 2, NEXAR_EPEER);
    assert_status(nx_lane_probe(&t.lanes, &(struct nx_key){.peer = 2, .lane = NX_LANE_P2P, .scope = SCOPE, .id = 4},
                                NX_NEVER, &from, &id, &len),
                  NEXAR_EPEER);
}

/* ---- a peer is gone ---- */

static const enum nx_lane all_lanes[] = {NX_LANE_CONTROL, NX_LANE_DATA,     NX_LANE_RPC_REQUEST, NX_LANE_RPC_RESPONSE,
                                         NX_LANE_RAW,     NX_LANE_RAW_COMM, NX_LANE_RAW_TAGGED,  NX_LANE_RELAY,
                                         NX_LANE_P2P,     NX_LANE_COLL};
enum { LANES = sizeof(all_lanes) / sizeof(all_lanes[0]) };

static void test_o6_every_receive_from_a_lost_peer_ends(void **state)
{
    static struct got lost[2 * LANES], other[LANES], any, any_tag, late;
    struct nx_scope *second;
    struct feed f;

    (void)state;
    assert_ok(nx_scope_open(&t.lanes, 8, NULL, NULL, &second));
    number_message(&t, p2p(1, 500), 0, 17); /* complete and unread */
    feed_init(&f, false);
    assert_ok(feed_begin(&t, &f, p2p(1, 501), 1, 100)); /* begun */
    assert_ok(feed_write(&t, &f, "abc", 3));
    for (uint32_t i = 0; i < LANES; i++) {
        post(&t, &lost[i], key_of(1, all_lanes[i], SCOPE, i), 4);
        post(&t, &lost[LANES + i], key_of(1, all_lanes[i], 8, 1000 + i), 4);
        post(&t, &other[i], key_of(2, all_lanes[i], SCOPE, i), 4);
    }
    post(&t, &any, key_of(NX_ANY_PEER, NX_LANE_P2P, 8, 3), 4);
    post(&t, &any_tag, key_of(1, NX_LANE_P2P, 8, NX_ANY_ID), 4);
    feed_end(&t, &f, NEXAR_EPEER); /* its stream goes first */
    nx_lanes_peer_gone(&t.lanes, 1, NEXAR_EPEER);
    for (uint32_t i = 0; i < 2 * LANES; i++)
        assert_ended(&lost[i], NEXAR_EPEER);
    assert_ended(&any_tag, NEXAR_EPEER);
    assert_ended(&any, NEXAR_EPEER);
    assert_int_equal(any.recv.from, 1); /* who it was */
    for (uint32_t i = 0; i < LANES; i++)
        assert_pending(&other[i]);
    /* What comes later ends at once; what had come is still there. */
    post(&t, &late, p2p(1, 501), 4);
    assert_ended(&late, NEXAR_EPEER);
    assert_status(nx_lane_peer_status(&t.lanes, 1), NEXAR_EPEER);
    assert_int_equal(receive_number(&t, p2p(1, 500)), 17);
    for (uint32_t i = 0; i < LANES; i++)
        nx_lane_cancel(&t.lanes, &other[i].recv, NEXAR_ECANCELLED);
    nx_scope_close(&t.lanes, second);
}

static void test_peer_that_left(void **state)
{
    static struct got from_it, any;

    (void)state;
    post(&t, &from_it, p2p(1, 4), 4);
    post(&t, &any, p2p(NX_ANY_PEER, 4), 4);
    nx_lanes_peer_gone(&t.lanes, 1, NEXAR_ECLOSED);
    assert_ended(&from_it, NEXAR_ECLOSED);
    assert_pending(&any); /* others are still there */
    number_message(&t, p2p(2, 4), 0, 3);
    assert_int_equal(got_number(&any), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_message_and_receive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_posted_first_served, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_takes_what_came_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o8_too_large_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_oneself, setup, teardown),
        cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o6_every_receive_from_a_lost_peer_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peer_that_left, setup, teardown),
    };

    if (nx_engine_start() != NEXAR_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
