/* test_tcp_life.c - how links by TCP end and begin again: orderly, by a peer that is gone, in the middle of messages;
 * and what they do in between: new keys, no allocation, no descriptor that is left. */
#include "bulk/tcp_tls.h"
#include "tcp_kit.h"

#include <pthread.h>

static struct tcp_kit kit;

static int setup(void **state)
{
    (void)state;
    kit_init(&kit);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kit_free(&kit);
    return 0;
}

/* Sends and sees it arrive. */
static void one_each_way(struct fake_pair *pair, uint64_t number, size_t n)
{
    uint8_t *p = malloc(n + 1);
    uint64_t before[2] = {fake_received(pair, 0), fake_received(pair, 1)};

    assert_non_null(p);
    for (uint32_t rank = 0; rank < 2; rank++)
        assert_int_equal(kit_send(pair, rank, number, p, n, true), NEXAR_OK);
    for (uint32_t rank = 0; rank < 2; rank++) {
        assert_driven(fake_received(pair, rank) > before[rank]);
        kit_expect(pair, rank, number, n);
    }
    free(p);
}

static void test_t9_no_connection_and_no_listener_before_a_link_asks_for_one(void **state)
{
    struct fake_options o = kit_options(&kit, 1);
    struct fake_pair *pair;
    uint32_t before, open;

    (void)state;
    pair = kit_open(&o); /* starts the engine, whose descriptors stay */
    fake_close(pair);
    before = kit_descriptors();
    pair = kit_open(&o);
    open = kit_descriptors();
    assert_int_equal(open, before + 3); /* one that listens, and both ends of one connection */
    fake_close(pair);
    assert_int_equal(kit_descriptors(), before);
}

static void test_t7_closing_closes_the_connection(void **state)
{
    struct fake_options o = kit_options(&kit, 2);
    struct fake_pair *pair = kit_open(&o);
    uint8_t byte = 1;

    (void)state;
    one_each_way(pair, 1, 100);
    fake_detach(pair, 1, true);
    /* The other end is told by CLOSE: it loses nothing, and takes nothing more. */
    assert_driven(kit_send(pair, 0, 2, &byte, 1, true) == NEXAR_EPEER);
    assert_int_equal(fake_state(pair, 0), FAKE_READY);
    assert_int_equal(atomic_load(&pair->node[0].link.suspected), 0);
    fake_close(pair);
}

static void test_t3_both_ends_hear_of_a_loss_and_can_begin_again(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct fake_options o = tls ? kit_options(&kit, 3) : kit_plain(3);
        struct fake_pair *pair = kit_open(&o);

        one_each_way(pair, 1, 100);
        for (uint32_t rank = 0; rank < 2; rank++) {
            fake_detach(pair, rank, false); /* as a process that is killed: an end without CLOSE */
            assert_driven(fake_state(pair, 1 - rank) == FAKE_LOST);
            assert_true(atomic_load(&pair->node[1 - rank].link.suspected) >= 1);
            assert_non_null(strstr(pair->node[1 - rank].link.why, "127.0.0.1:"));
            fake_attach(pair, 0);
            fake_attach(pair, 1);
            assert_driven(fake_ready(pair));
            one_each_way(pair, 5, 300000);
        }
        fake_close(pair);
    }
}

/* An end in the middle of large messages, both ways, with what waits behind them. */
static void test_t2_an_end_in_the_middle_of_messages(void **state)
{
    enum { COUNT = 6, BYTES = 8 << 20 };
    static uint8_t memory[2 * COUNT][BYTES];

    (void)state;
    for (int round = 0; round < 4; round++) {
        struct fake_options o = round & 1 ? kit_options(&kit, 4) : kit_plain(4);
        struct fake_pair *pair;

        if (round & 2)
            o.setting[0][1] = o.setting[1][1] = "NEXAR_TCP_STREAMS=4";
        if ((round & 2) && (round & 1))
            o.setting[0][0] = o.setting[1][0] = "NEXAR_TCP_STREAMS=4";
        pair = kit_open(&o);
        for (uint32_t i = 0; i < 2 * COUNT; i++) {
            nexar_status st = kit_send(pair, i % 2, i, memory[i], BYTES, false);

            assert_true(st == NEXAR_OK || st == NEXAR_EAGAIN);
        }
        assert_driven(fake_received(pair, 0) + fake_received(pair, 1) >= 1);
        fake_detach(pair, 1, false);
        assert_driven(fake_state(pair, 0) == FAKE_LOST);
        fake_close(pair);
    }
}

/* A message that did not leave at once is whole all the same, and so is what follows it. */
static void test_t2_what_is_begun_is_finished(void **state)
{
    enum { BYTES = 30 << 20 };
    struct fake_options o = kit_options(&kit, 5);
    struct fake_pair *pair = kit_open(&o);
    static uint8_t large[BYTES];
    uint8_t small[100];

    (void)state;
    assert_int_equal(kit_send(pair, 0, 1, large, BYTES, false), NEXAR_EAGAIN);
    assert_int_equal(kit_send(pair, 0, 2, small, sizeof(small), true), NEXAR_OK);
    assert_driven(fake_received(pair, 1) == 2);
    assert_driven(atomic_load(&pair->node[0].link.done) == 1);
    kit_expect(pair, 1, 1, BYTES);
    kit_expect(pair, 1, 2, sizeof(small));
    fake_close(pair);
}

/* ---- many threads, and a host that mostly says not now ---- */

enum { THREADS = 3, EACH = 700 };

struct sender {
    struct fake_pair *pair;
    uint64_t first;
    pthread_t thread;
};

static void *send_some(void *arg)
{
    struct sender *s = arg;
    uint8_t *p = malloc(6000);

    for (uint64_t i = 0; i < EACH; i++) {
        if (kit_send(s->pair, 0, s->first + i, p, (s->first + i) * 7 % 6000, true) != NEXAR_OK)
            abort();
    }
    free(p);
    return NULL;
}

static void test_t1_t4_t5_nothing_is_lost_stuck_or_overtaken(void **state)
{
    struct fake_options o = kit_options(&kit, 6);
    struct sender sender[THREADS];
    uint64_t next[THREADS];
    struct fake_pair *pair;

    (void)state;
    o.again = 60;
    pair = kit_open(&o);
    for (uint64_t i = 0; i < THREADS; i++) {
        sender[i] = (struct sender){.pair = pair, .first = i << 32};
        next[i] = i << 32;
        assert_int_equal(pthread_create(&sender[i].thread, NULL, send_some, &sender[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(sender[i].thread, NULL);
    assert_driven(fake_received(pair, 1) == THREADS * EACH);
    for (int i = 0; i < THREADS * EACH; i++) {
        struct fake_message *m = fake_take(pair, 1);
        uint64_t number;

        assert_non_null(m);
        memcpy(&number, m->head, sizeof(number));
        assert_true(number >> 32 < THREADS);
        assert_true(number == next[number >> 32]++); /* in the order of each thread */
        assert_int_equal(m->nbytes, number * 7 % 6000);
        fake_free(m);
    }
    fake_close(pair);
}

static void test_t6_no_head_has_a_meaning_of_its_own(void **state)
{
    struct fake_options o = kit_options(&kit, 7);
    struct fake_pair *pair = kit_open(&o);
    uint8_t head[NEXAR_BULK_HEAD_MAX];

    (void)state;
    for (int i = 0; i < 256; i++) {
        memset(head, i, sizeof(head));
        assert_int_equal(fake_send(pair, 0, head, 1 + (uint32_t)i % NEXAR_BULK_HEAD_MAX, NULL, 0, true), NEXAR_OK);
    }
    assert_driven(fake_received(pair, 1) == 256);
    for (int i = 0; i < 256; i++) {
        struct fake_message *m = fake_take(pair, 1);

        memset(head, i, sizeof(head));
        assert_int_equal(m->head_nbytes, 1 + i % NEXAR_BULK_HEAD_MAX);
        assert_memory_equal(m->head, head, m->head_nbytes);
        fake_free(m);
    }
    fake_close(pair);
}

static void test_t10_a_link_that_has_settled_allocates_nothing(void **state)
{
    struct fake_options o = kit_options(&kit, 8);
    struct fake_pair *pair = kit_open(&o);
    struct nx_mem_stats before, after;

    (void)state;
    for (int round = 0; round < 2; round++) {
        nx_mem_stats(&before);
        for (uint64_t i = 0; i < 300; i++)
            one_each_way(pair, i, i * 13 % 4000);
        nx_mem_stats(&after);
    }
    assert_int_equal(after.allocations, before.allocations);
    fake_close(pair);
}

static void test_new_keys_in_the_middle_of_traffic(void **state)
{
    enum { BYTES = 5 << 20 };
    struct fake_options o = kit_options(&kit, 9);
    struct fake_pair *pair;
    uint64_t usual = nx_tls_key_records;

    (void)state;
    nx_tls_key_records = 10; /* 64 new keys for each message */
    pair = kit_open(&o);
    for (uint64_t i = 0; i < 6; i++)
        one_each_way(pair, i, BYTES);
    for (uint64_t i = 0; i < 100; i++)
        one_each_way(pair, i, 10);
    fake_close(pair);
    nx_tls_key_records = usual;
}

static void test_without_credentials_there_is_no_link(void **state)
{
    struct fake_options o = kit_options(&kit, 10);
    struct fake_pair *pair;

    (void)state;
    o.identity = NULL;
    pair = fake_open(&o);
    assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE && fake_state(pair, 1) == FAKE_UNUSABLE);
    assert_non_null(strstr(pair->node[0].link.why, "there are no credentials"));
    fake_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_t9_no_connection_and_no_listener_before_a_link_asks_for_one),
        cmocka_unit_test(test_t7_closing_closes_the_connection),
        cmocka_unit_test(test_t3_both_ends_hear_of_a_loss_and_can_begin_again),
        cmocka_unit_test(test_t2_an_end_in_the_middle_of_messages),
        cmocka_unit_test(test_t2_what_is_begun_is_finished),
        cmocka_unit_test(test_t1_t4_t5_nothing_is_lost_stuck_or_overtaken),
        cmocka_unit_test(test_t6_no_head_has_a_meaning_of_its_own),
        cmocka_unit_test(test_t10_a_link_that_has_settled_allocates_nothing),
        cmocka_unit_test(test_new_keys_in_the_middle_of_traffic),
        cmocka_unit_test(test_without_credentials_there_is_no_link),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
