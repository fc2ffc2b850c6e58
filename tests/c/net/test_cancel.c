/* Receives that end early: before their message, in the middle of it, too late; and what becomes of the message. */
#include "lane_kit.h"

#include "base/pool.h"
#include "rng.h"

#include <pthread.h>
#include <sched.h>

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

static void cancel(struct got *g)
{
    nx_lane_cancel(&t.lanes, &g->recv, NEXAR_ECANCELLED);
}

static void test_before_its_message(void **state)
{
    static struct got exact, any;

    (void)state;
    post(&t, &exact, tagged(1, 5), GOT_CAP);
    post(&t, &any, p2p(NX_ANY_PEER, NX_ANY_ID), GOT_CAP);
    cancel(&exact);
    cancel(&any);
    assert_ended(&exact, NEXAR_ECANCELLED);
    assert_ended(&any, NEXAR_ECANCELLED);
    assert_false(exact.recv.spoilt || any.recv.spoilt);
    number_message(&t, tagged(1, 5), 0, 1);
    number_message(&t, p2p(1, 5), 0, 2);
    assert_int_equal(receive_number(&t, tagged(1, 5)), 1);
    assert_int_equal(receive_number(&t, p2p(1, 5)), 2);
}

static void test_too_late(void **state)
{
    static struct got g;

    (void)state;
    post(&t, &g, tagged(1, 5), GOT_CAP);
    number_message(&t, tagged(1, 5), 0, 1);
    cancel(&g);
    assert_int_equal(got_number(&g), 1);
}

/* A message of which a part has come. */
static void begin_half(struct feed *f, struct nx_key key, uint32_t order, const char *half)
{
    feed_init(f, false);
    assert_ok(feed_begin(&t, f, key, order, 8));
    assert_ok(feed_write(&t, f, half, 4));
}

static void end_half(struct feed *f, const char *half)
{
    assert_ok(feed_write(&t, f, half, 4));
    feed_end(&t, f, NEXAR_OK);
}

static void receive_text(struct nx_key key, const char *text)
{
    static struct got g;

    post(&t, &g, key, GOT_CAP);
    assert_ended(&g, NEXAR_OK);
    assert_int_equal(g.recv.len, strlen(text));
    assert_memory_equal(g.bytes, text, strlen(text));
}

static void test_in_the_middle(void **state)
{
    static struct got g;
    struct feed f;

    (void)state;
    post(&t, &g, tagged(1, 5), GOT_CAP);
    begin_half(&f, tagged(1, 5), 0, "abcd");
    assert_memory_equal(g.bytes, "abcd", 4);
    cancel(&g);
    assert_ended(&g, NEXAR_ECANCELLED);
    assert_false(g.recv.spoilt);
    memset(g.bytes, 0, sizeof(g.bytes)); /* it is the caller's again */
    end_half(&f, "efgh");
    receive_text(tagged(1, 5), "abcdefgh");
    assert_int_equal(g.done, 1);
}

/* Between its last byte and its end. */
static void test_whole_but_not_ended(void **state)
{
    static struct got g;
    struct feed f;

    (void)state;
    post(&t, &g, tagged(1, 5), GOT_CAP);
    begin_half(&f, tagged(1, 5), 0, "abcd");
    assert_ok(feed_write(&t, &f, "efgh", 4));
    cancel(&g);
    assert_pending(&g);
    feed_end(&t, &f, NEXAR_OK);
    assert_ended(&g, NEXAR_OK);
}

/* The header of a framed message comes back with it. */
static void test_prefix_in_the_middle(void **state)
{
    static struct got g;
    struct nx_key key = key_of(1, NX_LANE_DATA, 0, 0);
    struct feed f;

    (void)state;
    for (uint32_t cut = 1; cut < 12; cut++) {
        got_init(&g, key, GOT_CAP);
        g.recv.skip = 8;
        nx_lane_post(&t.lanes, &g.recv);
        feed_init(&f, false);
        assert_ok(feed_begin(&t, &f, key, cut - 1, 12));
        assert_ok(feed_write(&t, &f, "01234567abcd", cut));
        cancel(&g);
        assert_ended(&g, NEXAR_ECANCELLED);
        assert_ok(feed_write(&t, &f, &"01234567abcd"[cut], 12 - cut));
        feed_end(&t, &f, NEXAR_OK);
        got_init(&g, key, GOT_CAP);
        g.recv.skip = 8;
        nx_lane_post(&t.lanes, &g.recv);
        assert_ended(&g, NEXAR_OK);
        assert_memory_equal(g.recv.prefix, "01234567", 8);
        assert_memory_equal(g.bytes, "abcd", 4);
    }
}

/* The message goes to the next receive that waits for it. */
static void test_next_receive_gets_it(void **state)
{
    static struct got first, small, any;
    struct feed f;

    (void)state;
    post(&t, &first, p2p(1, 5), GOT_CAP);
    begin_half(&f, p2p(1, 5), 0, "abcd");
    post(&t, &small, p2p(1, 5), 7);
    post(&t, &any, p2p(NX_ANY_PEER, NX_ANY_ID), 8);
    cancel(&first);
    assert_ended(&small, NEXAR_EMSGSIZE);
    assert_pending(&any);
    end_half(&f, "efgh");
    assert_ended(&any, NEXAR_OK);
    assert_memory_equal(any.bytes, "abcdefgh", 8);
}

/* Several come back; whoever asks next gets the one that was sent first, and probing sees it too. */
static void come_back(const int *order_of_cancelling)
{
    static struct got g[3];
    struct nx_key any = p2p(NX_ANY_PEER, NX_ANY_ID);
    static const char *const text[] = {"aaaabbbb", "ccccdddd", "eeeeffff"};
    struct feed f[3];
    uint32_t first = t.scope->peer[1].recv_order, from;
    uint64_t id, len;

    for (uint32_t i = 0; i < 3; i++) {
        post(&t, &g[i], p2p(1, 5), GOT_CAP);
        begin_half(&f[i], p2p(1, 5), first + i, text[i]);
    }
    number_message(&t, p2p(1, 5), first + 3, 4);
    for (int i = 0; i < 3; i++)
        cancel(&g[order_of_cancelling[i]]);
    assert_ok(nx_lane_probe(&t.lanes, &any, 0, &from, &id, &len));
    assert_int_equal(len, 8);
    for (int i = 2; i >= 0; i--)
        end_half(&f[i], text[i] + 4);
    receive_text(p2p(1, 5), text[0]);
    receive_text(any, text[1]);
    receive_text(p2p(1, NX_ANY_ID), text[2]);
    assert_int_equal(receive_number(&t, any), 4);
}

static void test_o1_messages_come_back_in_order(void **state)
{
    (void)state;
    come_back((const int[]){0, 1, 2});
    come_back((const int[]){2, 1, 0});
    come_back((const int[]){1, 2, 0});
    come_back((const int[]){1, 0, 2});
}

/* So much of it has come that there is no place for it: it is lost, and the receive says so. */
static void test_too_much_has_come(void **state)
{
    static struct got g;
    static uint8_t bytes[100000];
    static uint8_t room[200000];
    struct feed f;

    (void)state;
    got_init(&g, tagged(1, 5), sizeof(room));
    g.recv.dst = room;
    nx_lane_post(&t.lanes, &g.recv);
    feed_init(&f, false);
    assert_ok(feed_begin(&t, &f, tagged(1, 5), 0, sizeof(room)));
    assert_ok(feed_write(&t, &f, bytes, sizeof(bytes)));
    cancel(&g);
    assert_ended(&g, NEXAR_ECANCELLED);
    assert_true(g.recv.spoilt);
    assert_ok(feed_write(&t, &f, bytes, sizeof(bytes))); /* to nobody */
    feed_end(&t, &f, NEXAR_OK);
    number_message(&t, tagged(1, 5), 1, 6);
    assert_int_equal(receive_number(&t, tagged(1, 5)), 6);
}

static void test_no_memory_to_take_it_back(void **state)
{
    static struct got g;
    struct feed f;
    int lost = 0;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        nx_pool_trim();
        post(&t, &g, tagged(1, 5), GOT_CAP);
        begin_half(&f, tagged(1, 5), i, "abcd");
        if (i == 0)
            nx_mem_fail_at(1);
        cancel(&g);
        nx_mem_fail_at(0);
        assert_ended(&g, NEXAR_ECANCELLED);
        lost += g.recv.spoilt;
        end_half(&f, "efgh");
        if (!g.recv.spoilt)
            receive_text(tagged(1, 5), "abcdefgh");
    }
    assert_int_equal(lost, 1);
}

/* Its stream breaks off: the receive ends with that, or was cancelled before. */
static void test_stream_breaks_off(void **state)
{
    static struct got g;
    struct feed f;

    (void)state;
    post(&t, &g, tagged(1, 5), GOT_CAP);
    begin_half(&f, tagged(1, 5), 0, "abcd");
    feed_end(&t, &f, NEXAR_EPEER);
    assert_ended(&g, NEXAR_EPEER);
    post(&t, &g, tagged(1, 5), GOT_CAP);
    begin_half(&f, tagged(1, 5), 1, "abcd");
    cancel(&g);
    feed_end(&t, &f, NEXAR_EPEER);
    assert_ended(&g, NEXAR_ECANCELLED);
    cancel(&g);
    assert_int_equal(g.done, 1);
}

/* ---- another thread cancels while bytes come ---- */

enum { ROUNDS = 3000, LENGTH = 4000, PIECE = 500 };

static struct got raced[2];
static _Atomic uint32_t turn;  /* of the round whose receive may be cancelled */
static _Atomic uint32_t seen;  /* by the one that cancels */
static _Atomic size_t written; /* bytes of this round's message; one more when it has ended */
static _Atomic bool over;

static void dawdle(struct rng *rng, size_t most)
{
    for (size_t i = rng_below(rng, most); i > 0; i--)
        (void)atomic_load(&over);
}

/* Gives up the core only when it takes long: on a busy machine that costs a lot. */
static void relax(uint32_t *spins)
{
    if (++*spins % 20000 == 0)
        sched_yield();
}

static void *cancel_all(void *arg)
{
    struct rng rng = {.state = 3};
    uint32_t spins = 0;

    while (!over) {
        size_t target = rng_below(&rng, LENGTH / PIECE + 1) * PIECE + rng_below(&rng, 2);
        uint32_t now = turn;

        if (now == 0 || now == seen) {
            relax(&spins);
            continue;
        }
        seen = now;
        while (written < target)
            relax(&spins);
        dawdle(&rng, 300);
        nx_lane_cancel(&t.lanes, &raced[0].recv, NEXAR_ECANCELLED);
        if (rng_below(&rng, 2) == 0)
            nx_lane_cancel(&t.lanes, &raced[0].recv, NEXAR_ETIMEDOUT);
        turn = 0;
    }
    return arg;
}

/* As the engine writes: what is not taken is given again when the source is resumed. */
static void write_raced(struct feed *f, const uint8_t *bytes, struct rng *rng)
{
    bool slow = rng_below(rng, 4) == 0;
    nexar_status st;
    size_t at = 0;

    while (at < LENGTH) {
        int resumed = f->resumed;
        size_t n = nx_arrive_write(&t.lanes, f->msg, bytes + at, PIECE, &st);

        at += n;
        if (n < PIECE) {
            assert_status(st, NEXAR_EAGAIN);
            assert_eventually(f->resumed != resumed);
        }
        written = at;
        dawdle(rng, 300);
        if (slow)
            sched_yield();
    }
}

/* One round; true if the receive was cancelled. */
static bool race(uint32_t round, struct rng *rng)
{
    static uint8_t bytes[LENGTH];
    uint32_t spins = 0;
    struct feed f;

    for (size_t k = 0; k < LENGTH; k++)
        bytes[k] = (uint8_t)(k * round);
    feed_init(&f, false);
    post(&t, &raced[0], tagged(1, 5), GOT_CAP);
    written = 0;
    turn = round;
    while (seen != round && turn != 0)
        relax(&spins);
    assert_ok(feed_begin(&t, &f, tagged(1, 5), round - 1, LENGTH));
    write_raced(&f, bytes, rng);
    feed_end(&t, &f, NEXAR_OK);
    written = LENGTH + 1;
    while (turn != 0) /* it has its turn, too */
        relax(&spins);
    assert_int_equal(raced[0].done, 1);
    if (raced[0].status == NEXAR_OK) {
        assert_memory_equal(raced[0].bytes, bytes, LENGTH);
        return false;
    }
    assert_status(raced[0].status, NEXAR_ECANCELLED);
    assert_false(raced[0].recv.spoilt);
    post(&t, &raced[1], tagged(1, 5), GOT_CAP);
    assert_ended(&raced[1], NEXAR_OK);
    assert_memory_equal(raced[1].bytes, bytes, LENGTH);
    return true;
}

static void test_race_with_the_engine(void **state)
{
    struct rng rng = {.state = 4};
    nx_time until = nx_now() + CHECK_PATIENCE;
    uint32_t cancelled = 0, round = 0;
    pthread_t thread;

    (void)state;
    over = false;
    turn = seen = 0;
    pthread_create(&thread, NULL, cancel_all, NULL);
    /* Until both have won often. */
    while (round < ROUNDS || cancelled < 20 || round - cancelled < 20) {
        assert_true(nx_now() < until);
        cancelled += race(++round, &rng);
    }
    over = true;
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_before_its_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whole_but_not_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefix_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_receive_gets_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_o1_messages_come_back_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_much_has_come, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_to_take_it_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_breaks_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_race_with_the_engine, setup, teardown),
    };

    if (nx_engine_start() != NEXAR_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
