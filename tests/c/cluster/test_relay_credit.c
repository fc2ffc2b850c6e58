/* test_relay_credit.c - one relay machine: credit, acknowledgements, sending again, and room that is fair and
 * bounded. */
#include "relay_kit.h"

static const uint8_t zeros[NX_RELAY_BODY_MAX];

static struct nx_relay_pair *pair_of(struct bench *b, uint32_t rank)
{
    assert_non_null(b->r.pair[rank]);
    return b->r.pair[rank];
}

static uint32_t send_all(struct bench *b, uint32_t to, size_t n)
{
    uint32_t count = 0;

    while (nx_relay_send(&b->r, to, zeros, n, b->now) == NEXAR_OK)
        count++;
    assert_int_equal(nx_last_error()->status, NEXAR_EAGAIN);
    return count;
}

/* What an ACK of the machine says. */
static void said(struct bench *b, uint32_t i, uint64_t next, uint64_t limit, uint64_t bits)
{
    struct nx_relay_head h = head_of(b, i);
    uint64_t text[3];
    uint8_t sealed[NX_RELAY_HEADER];

    assert_int_equal(h.kind, NX_RELAY_ACK);
    nx_relay_sealed_head(&h, sealed);
    assert_true(relaysim_open(0, h.destination, sealed, b->sent[i].bytes + NX_RELAY_HEADER,
                              NX_RELAY_ACK_BODY + NX_RELAY_TAG, (uint8_t *)text));
    assert_int_equal(text[0], next);
    assert_int_equal(text[1], limit);
    assert_int_equal(text[2], bits);
}

static void test_credit_of_a_destination(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    assert_int_equal(send_all(&b, 3, 10), NX_RELAY_WINDOW);
    ack(&b, 3, 1, 33, 65, 0); /* they are there, but nobody takes them */
    assert_int_equal(b.room, 0);
    assert_status(nx_relay_send(&b.r, 3, "x", 1, b.now), NEXAR_EAGAIN);
    assert_ok(nx_relay_send(&b.r, 2, "x", 1, b.now)); /* others are no concern of that */
    ack(&b, 3, 2, 33, 70, 0);
    assert_int_equal(b.room, 1);
    assert_int_equal(send_all(&b, 3, 10), 5);
    ack(&b, 3, 3, 70, 134, 0);
    assert_int_equal(b.room, 2);
    assert_int_equal(pair_of(&b, 3)->open, 0);
    assert_int_equal(send_all(&b, 3, 10), 64);
    tear_down(&b);
}

/* Credit that never came is asked for. */
static void test_probes(void **state)
{
    uint32_t before;
    struct bench b;

    (void)state;
    set_up(&b);
    send_all(&b, 3, 10);
    ack(&b, 3, 1, 65, 65, 0);
    before = b.n_sent;
    wait_and_tick(&b);
    assert_int_equal(b.n_sent, before + 1);
    assert_int_equal(head_of(&b, before).kind, NX_RELAY_PROBE);
    wait_and_tick(&b); /* and again */
    assert_int_equal(head_of(&b, before + 1).kind, NX_RELAY_PROBE);
    assert_int_equal(head_of(&b, before + 1).number, head_of(&b, before).number + 1);
    ack(&b, 3, 2, 65, 129, 0);
    assert_int_equal(b.room, 1);
    tear_down(&b);
    set_up(&b); /* the other end */
    arrive(&b, 1, &(struct nx_relay_head){1, NX_RELAY_PROBE, 5, 2, 0, WORLD, 1}, zeros, 0);
    wait_and_tick(&b);
    said(&b, 0, 1, 65, 0);
    tear_down(&b);
}

static void test_credit_that_is_not_kept_to(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    message(&b, 2, NX_RELAY_WINDOW + 1, 1);
    was_refused(&b, NX_RELAY_CREDIT, 1);
    for (uint64_t i = 1; i <= NX_RELAY_WINDOW; i++)
        message(&b, 2, i, 1);
    wait_and_tick(&b);
    message(&b, 2, NX_RELAY_WINDOW + 1, 1); /* nothing was taken */
    was_refused(&b, NX_RELAY_CREDIT, 2);
    nx_free(nx_relay_take(&b.r, 2, b.now));
    message(&b, 2, NX_RELAY_WINDOW + 1, 1); /* it was not told yet, so it cannot know */
    was_refused(&b, NX_RELAY_CREDIT, 3);
    wait_and_tick(&b);
    said(&b, b.n_sent - 1, NX_RELAY_WINDOW + 1, NX_RELAY_WINDOW + 2, 0);
    message(&b, 2, NX_RELAY_WINDOW + 1, 1);
    assert_int_equal(b.n_refused, 3);
    tear_down(&b);
}

static void lie(struct bench *b, uint64_t number, uint64_t next, uint64_t limit, uint64_t bits)
{
    static uint32_t before;

    before = b->n_refused;
    ack(b, 3, number, next, limit, bits);
    was_refused(b, NX_RELAY_LIE, before + 1);
    assert_int_equal(b->refused.source, 3);
    assert_int_equal(pair_of(b, 3)->open, 4);
}

static void test_acknowledgements_that_lie(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    for (uint32_t i = 0; i < 6; i++)
        assert_ok(nx_relay_send(&b.r, 3, "x", 1, b.now));
    ack(&b, 3, 10, 3, 67, 0);
    lie(&b, 11, 8, 72, 0);                 /* what was never sent */
    lie(&b, 11, UINT64_MAX, 0, 0);         /* and more of it */
    lie(&b, 11, 3, 67, 8);                 /* 7 */
    lie(&b, 11, 3, 67, (uint64_t)1 << 63); /* 67 */
    lie(&b, 11, 2, 67, 0);                 /* takes back what it had */
    lie(&b, 11, 3, 66, 0);                 /* and its credit */
    lie(&b, 11, 3, 68, 0);                 /* more credit than a window */
    lie(&b, 11, 3, UINT64_MAX, 0);
    ack(&b, 3, 11, 3, 67, 7); /* 4, 5 and 6: true */
    assert_int_equal(pair_of(&b, 3)->open, 1);
    tear_down(&b);
}

static void test_order_and_what_is_early(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    message(&b, 2, 3, 3);
    message(&b, 2, 64, 64);
    assert_null(nx_relay_take(&b.r, 2, b.now));
    wait_and_tick(&b);
    said(&b, 0, 1, 65, 2 | (uint64_t)1 << 62);
    message(&b, 2, 1, 1);
    assert_int_equal(b.arrived, 1);
    message(&b, 2, 2, 2);
    for (uint32_t i = 1; i <= 3; i++) {
        struct nx_relay_message *m = nx_relay_take(&b.r, 2, b.now);

        assert_true(m != NULL && m->number == i && m->n == i);
        nx_free(m);
    }
    assert_null(nx_relay_take(&b.r, 2, b.now));
    assert_int_equal(b.r.stats.received, 64);
    assert_int_equal(b.r.early, 64);
    wait_and_tick(&b);
    said(&b, 1, 4, 68, (uint64_t)1 << 59);
    tear_down(&b);
}

/* Sixteen at once are acknowledged at once; fewer, a little later. */
static void test_when_it_acknowledges(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    message(&b, 2, 1, 1);
    assert_int_equal(nx_relay_due(&b.r), b.now + b.config.ack_delay);
    for (uint64_t i = 2; i <= NX_RELAY_WINDOW / 4; i++)
        message(&b, 2, i, 1);
    assert_int_equal(nx_relay_due(&b.r), b.now);
    nx_relay_tick(&b.r, b.now);
    assert_int_equal(b.n_sent, 1);
    assert_int_equal(nx_relay_due(&b.r), NX_NEVER);
    message(&b, 2, 1, 1); /* again: ours is lost */
    wait_and_tick(&b);
    said(&b, 1, 17, 65, 0);
    tear_down(&b);
}

static void test_sending_again(void **state)
{
    nx_time last, span = 0;
    struct bench b;

    (void)state;
    set_up(&b);
    assert_ok(nx_relay_send(&b.r, 2, "1", 1, b.now));
    assert_ok(nx_relay_send(&b.r, 2, "2", 1, b.now));
    assert_ok(nx_relay_send(&b.r, 2, "3", 1, b.now));
    b.now += 100 * NX_MS;
    ack(&b, 2, 1, 1, 65, 1); /* 2 is there: a round trip of 100 ms, give or take 50 */
    assert_int_equal(nx_relay_due(&b.r), b.now + 300 * NX_MS);
    for (uint32_t i = 0; i < 7; i++) { /* later and later, but not without end */
        last = b.now;
        wait_and_tick(&b);
        assert_true(b.now - last >= span && b.now - last <= b.config.resend_most);
        span = b.now - last;
        assert_int_equal(b.n_sent, 3 + 2 * (i + 1));
        assert_int_equal(head_of(&b, b.n_sent - 2).number, 1);
        assert_int_equal(head_of(&b, b.n_sent - 1).number, 3);
        assert_memory_equal(b.sent[b.n_sent - 2].bytes, b.sent[0].bytes, b.sent[0].n); /* sealed once */
    }
    assert_int_equal(span, b.config.resend_most);
    assert_int_equal(b.r.stats.resent, 14);
    ack(&b, 2, 2, 4, 68, 0);
    assert_int_equal(nx_relay_due(&b.r), NX_NEVER);
    assert_int_equal(pair_of(&b, 2)->wait, 300 * NX_MS); /* what was sent twice says nothing of the time it takes */
    tear_down(&b);
}

/* A relay dies: what waits for it goes the other way at once, what it may have had as soon as there are new tables. */
static void test_after_a_death(void **state)
{
    uint32_t dead = 1;
    struct nx_outage outage = {.n_dead = 1, .dead = &dead};
    struct nx_routes routes;
    struct bench b;

    (void)state;
    set_up(&b);
    for (uint32_t i = 0; i < 4; i++) {
        b.full = i < 2 ? UINT32_MAX : b.sent[0].to;
        assert_ok(nx_relay_send(&b.r, 3, "x", 1, b.now));
    }
    dead = b.sent[0].to;
    assert_int_equal(b.n_sent, 3); /* the third waits for the first way, the fourth has taken the other at once */
    assert_int_equal(head_of(&b, 2).number, 4);
    nx_relay_connected(&b.r, dead, false);
    assert_int_equal(b.n_sent, 4);
    assert_int_equal(b.r.stats.waiting, 0);
    assert_true(b.sent[2].to == 6 - dead && b.sent[3].to == 6 - dead);
    assert_ok(nx_routes_make(&b.topology, 0, &outage, &routes));
    nx_relay_reroute(&b.r, &routes, b.now);
    assert_int_equal(nx_relay_due(&b.r), b.now);
    nx_relay_tick(&b.r, b.now);
    assert_int_equal(b.n_sent, 8); /* all four: nobody knows what was lost */
    for (uint32_t i = 4; i < 8; i++)
        assert_true(b.sent[i].to == 6 - dead && head_of(&b, i).number == i - 3);
    tear_down(&b);
    nx_routes_fini(&routes);
}

static void fill(struct bench *b, uint32_t destination, size_t n, uint64_t number)
{
    struct nx_relay_head h = head(NX_RELAY_MESSAGE, 4, destination, number);

    arrive(b, 5, &h, zeros, n);
}

/* A connection that takes nothing: one destination gets its share of the queue and no more, another still has room, and
 * they take turns when it goes on. */
static void test_fair_and_bounded(void **state)
{
    const size_t n = 4096, packet = NX_RELAY_HEADER + n + NX_RELAY_TAG;
    uint32_t share, turns;
    struct bench b;

    (void)state;
    set_up(&b);
    b.room_for = 0;
    share = (uint32_t)(b.config.flow_limit / packet);
    for (uint32_t i = 0; i < share + 10; i++)
        fill(&b, 1, n, i + 1);
    was_refused(&b, NX_RELAY_FULL, 10);
    assert_int_equal(b.r.stats.waiting, share * packet);
    for (uint32_t i = 0; i < 5; i++)
        fill(&b, 2, n, i + 1);
    assert_int_equal(b.n_refused, 10);
    for (turns = 0; turns < 10; turns++) {
        b.room_for = 1;
        nx_relay_writable(&b.r, 1);
        assert_int_equal(b.n_sent, turns + 1);
        assert_int_equal(head_of(&b, turns).destination, 1 + turns % 2);
        assert_int_equal(head_of(&b, turns).number, 1 + turns / 2);
    }
    assert_int_equal(b.r.stats.waiting, (share - 5) * packet);
    b.room_for = UINT32_MAX;
    forget(&b);
    assert_ok(nx_relay_send(&b.r, 5, "x", 1, b.now)); /* the other connection was never in the way */
    assert_int_equal(b.sent[0].to, 5);
    tear_down(&b);
}

static void test_the_queue_of_a_link_is_bounded(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    nx_relay_fini(&b.r);
    b.config.link_limit = NX_RELAY_PACKET_MAX + 1000;
    assert_ok(nx_relay_init(&b.r, &b.topology, &b.routes, &b.config, &kit_ops, &b));
    b.room_for = 0;
    fill(&b, 1, NX_RELAY_BODY_MAX, 1);
    fill(&b, 2, 1000 - NX_RELAY_HEADER - NX_RELAY_TAG, 1); /* just fits */
    assert_int_equal(b.n_refused, 0);
    fill(&b, 2, 0, 2);
    was_refused(&b, NX_RELAY_FULL, 1);
    assert_int_equal(b.r.stats.waiting, b.config.link_limit);
    tear_down(&b);
}

/* Early ones never take the room of those that fill the gap. */
static void test_room_for_what_arrives(void **state)
{
    uint32_t kept = 0;
    struct bench b;

    (void)state;
    set_up(&b);
    nx_relay_fini(&b.r);
    b.config.receive_limit = 20000;
    assert_ok(nx_relay_init(&b.r, &b.topology, &b.routes, &b.config, &kit_ops, &b));
    for (uint64_t i = 2; i < 20; i++)
        message(&b, 2, i, 1000);
    assert_int_equal(b.r.early, 10000);
    assert_int_equal(b.r.stats.refused[NX_RELAY_FULL], 8);
    message(&b, 4, 1, 1000);
    message(&b, 2, 1, 1000);
    assert_int_equal(b.arrived, 2);
    message(&b, 4, 2, 1000); /* 12 000 are ready now */
    was_refused(&b, NX_RELAY_FULL, 9);
    for (struct nx_relay_message *m; (m = nx_relay_take(&b.r, 2, b.now)) != NULL; kept++)
        nx_free(m);
    assert_int_equal(kept, 11);
    message(&b, 4, 2, 1000);
    assert_int_equal(b.r.stats.received, 2000);
    tear_down(&b);
}

/* Own messages: an 8th of the room for one destination, all of it for all; and a partition holds up nobody else. */
static void test_room_for_what_is_sent(void **state)
{
    struct nx_topology_link links[] = {{.a = 0, .b = 1}, {.a = 3, .b = 4}};
    struct nx_outage outage = {.n_links = 2, .links = links};
    uint32_t one, all = 0;
    struct nx_routes routes;
    struct bench b;

    (void)state;
    set_up(&b);
    nx_relay_fini(&b.r);
    b.config.send_limit = 8 * NX_RELAY_PACKET_MAX;
    assert_ok(nx_relay_init(&b.r, &b.topology, &b.routes, &b.config, &kit_ops, &b));
    b.room_for = 0;
    one = send_all(&b, 2, 5000);
    assert_int_equal(one, NX_RELAY_PACKET_MAX / (NX_RELAY_HEADER + 5000 + NX_RELAY_TAG));
    for (uint32_t to = 1; to < 6; to++)
        all += to == 2 ? one : send_all(&b, to, 5000);
    assert_int_equal(all, 5 * one);
    assert_ok(nx_routes_make(&b.topology, 0, &outage, &routes)); /* 1, 2 and 3 are behind the breaks */
    nx_relay_reroute(&b.r, &routes, b.now);
    assert_int_equal(b.r.stranded, 3 * one * (NX_RELAY_HEADER + 5000 + NX_RELAY_TAG));
    assert_status(nx_relay_send(&b.r, 2, "x", 1, b.now), NEXAR_EAGAIN);
    nx_relay_gone(&b.r, 1);
    assert_int_equal(b.lost, one);
    assert_int_equal(b.r.stranded, 2 * one * (NX_RELAY_HEADER + 5000 + NX_RELAY_TAG));
    ack(&b, 2, 1, 1 + one, 65 + one, 0); /* said before the break, and late */
    assert_int_equal(b.room, 0);         /* there still is no path */
    nx_relay_reroute(&b.r, &b.routes, b.now);
    assert_int_equal(b.room, 1);
    assert_int_equal(b.r.stranded, 0);
    tear_down(&b);
    nx_routes_fini(&routes);
}

static void test_no_memory(void **state)
{
    uint64_t blocks;
    struct bench b;

    (void)state;
    set_up(&b);
    blocks = live_blocks();
    for (uint64_t nth = 1; nth <= 2; nth++) {
        nx_mem_fail_at(nth);
        assert_status(nx_relay_send(&b.r, 2, "x", 1, b.now), NEXAR_ENOMEM);
        nx_mem_fail_at(0);
    }
    nx_mem_fail_at(1);
    message(&b, 4, 1, 1);
    nx_mem_fail_at(2);
    message(&b, 4, 1, 1);
    was_refused(&b, NX_RELAY_MEMORY, 2);
    nx_mem_fail_at(1);
    fill(&b, 2, 10, 1);
    was_refused(&b, NX_RELAY_MEMORY, 3);
    b.room_for = 0;
    nx_mem_fail_at(2);
    fill(&b, 2, 10, 1);
    was_refused(&b, NX_RELAY_MEMORY, 4);
    nx_mem_fail_at(0);
    assert_int_equal(live_blocks(), blocks + 1); /* the pair of 2; that of 4 found none */
    message(&b, 4, 1, 1);
    nx_mem_fail_at(1); /* of the ACK */
    wait_and_tick(&b);
    nx_mem_fail_at(0);
    assert_int_equal(b.arrived, 1);
    tear_down(&b);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        set_up(&b);
        nx_relay_fini(&b.r);
        nx_mem_fail_at(nth);
        assert_status(nx_relay_init(&b.r, &b.topology, &b.routes, &b.config, &kit_ops, &b), NEXAR_ENOMEM);
        nx_mem_fail_at(0);
        tear_down(&b);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credit_of_a_destination),
        cmocka_unit_test(test_probes),
        cmocka_unit_test(test_credit_that_is_not_kept_to),
        cmocka_unit_test(test_acknowledgements_that_lie),
        cmocka_unit_test(test_order_and_what_is_early),
        cmocka_unit_test(test_when_it_acknowledges),
        cmocka_unit_test(test_sending_again),
        cmocka_unit_test(test_after_a_death),
        cmocka_unit_test(test_fair_and_bounded),
        cmocka_unit_test(test_the_queue_of_a_link_is_bounded),
        cmocka_unit_test(test_room_for_what_arrives),
        cmocka_unit_test(test_room_for_what_is_sent),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
