/* test_relay.c - one relay machine: what packets look like, which it passes on and how far, and what it refuses. */
#include "relay_kit.h"

#include "base/bytes.h"

static uint8_t bytes[NX_RELAY_PACKET_MAX + 1];
static const uint8_t zeros[NX_RELAY_BODY_MAX];

static void test_a_packet_to_the_byte(void **state)
{
    static const uint8_t wanted[NX_RELAY_HEADER] = {1, 1, 14, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9, 0,
                                                    0, 0, 0,  0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
    struct bench b;

    (void)state;
    set_up(&b);
    assert_ok(nx_relay_send(&b.r, 3, "abc", 3, b.now));
    assert_int_equal(b.n_sent, 1);
    assert_int_equal(b.sent[0].n, NX_RELAY_HEADER + 3 + NX_RELAY_TAG);
    assert_memory_equal(b.sent[0].bytes, wanted, sizeof(wanted)); /* 14 hops: twice 3 and 8 */
    assert_memory_not_equal(b.sent[0].bytes + NX_RELAY_HEADER, "abc", 3);
    tear_down(&b);
}

static void refuse(struct bench *b, struct nx_relay_head h, size_t n, enum nx_relay_refusal why)
{
    uint32_t before = b->n_refused;
    uint64_t counted = b->r.stats.refused[why];

    nx_relay_arrive(&b->r, 5, bytes, make(&h, zeros, n, bytes), b->now);
    was_refused(b, why, before + 1);
    assert_int_equal(b->r.stats.refused[why], counted + 1);
    assert_true(b->refused.from == 5 && b->refused.source == h.source && b->refused.destination == h.destination);
    assert_true(b->n_sent == 0 && b->arrived == 0);
}

static void test_packets_that_make_no_sense(void **state)
{
    struct nx_relay_head h = head(NX_RELAY_MESSAGE, 2, 0, 1);
    struct bench b;

    (void)state;
    set_up(&b);
    for (size_t n = 0; n < NX_RELAY_HEADER + NX_RELAY_TAG; n++) {
        make(&h, zeros, 0, bytes);
        nx_relay_arrive(&b.r, 1, bytes, n, b.now);
        was_refused(&b, NX_RELAY_MALFORMED, (uint32_t)n + 1);
    }
    h.version = 2;
    refuse(&b, h, 3, NX_RELAY_VERSION);
    h = head(NX_RELAY_MESSAGE, 2, 0, 0);
    refuse(&b, h, 3, NX_RELAY_MALFORMED);
    h = head((enum nx_relay_kind)0, 2, 0, 1);
    refuse(&b, h, 3, NX_RELAY_MALFORMED);
    h = head((enum nx_relay_kind)4, 2, 0, 1);
    refuse(&b, h, 3, NX_RELAY_MALFORMED);
    h = head(NX_RELAY_ACK, 2, 0, 1);
    refuse(&b, h, NX_RELAY_ACK_BODY - 1, NX_RELAY_MALFORMED);
    refuse(&b, h, NX_RELAY_ACK_BODY + 1, NX_RELAY_MALFORMED);
    h = head(NX_RELAY_PROBE, 2, 3, 1); /* also one for somebody else */
    refuse(&b, h, 1, NX_RELAY_MALFORMED);
    h = head(NX_RELAY_MESSAGE, 2, 0, 1);
    h.world = WORLD - 1;
    refuse(&b, h, 3, NX_RELAY_WORLD);
    refuse(&b, head(NX_RELAY_MESSAGE, 6, 0, 1), 3, NX_RELAY_UNKNOWN);
    refuse(&b, head(NX_RELAY_MESSAGE, 2, 6, 1), 3, NX_RELAY_UNKNOWN);
    refuse(&b, head(NX_RELAY_MESSAGE, 2, UINT32_MAX, 1), 3, NX_RELAY_UNKNOWN);
    refuse(&b, head(NX_RELAY_MESSAGE, 0, 0, 1), 3, NX_RELAY_UNKNOWN);
    refuse(&b, head(NX_RELAY_MESSAGE, 3, 3, 1), 3, NX_RELAY_UNKNOWN);
    h = head(NX_RELAY_MESSAGE, 2, 0, 1);
    make(&h, zeros, NX_RELAY_BODY_MAX, bytes);
    nx_relay_arrive(&b.r, 5, bytes, NX_RELAY_PACKET_MAX + 1, b.now);
    assert_int_equal(b.refused.why, NX_RELAY_MALFORMED);
    tear_down(&b);
}

/* S6 of the reference: any neighbour could speak in the name of any rank. */
static void test_forged_packets(void **state)
{
    struct nx_relay_head h = head(NX_RELAY_MESSAGE, 2, 0, 1);
    size_t n = make(&h, zeros, 10, bytes);
    uint32_t refused = 0;
    struct bench b;

    (void)state;
    set_up(&b);
    for (size_t i = 4; i < n; i++) { /* every bit but those of version, kind and hops */
        for (uint32_t bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1 << bit);
            nx_relay_arrive(&b.r, 1, bytes, n, b.now);
            bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    refused = b.n_refused + (uint32_t)b.r.stats.passed_on; /* another destination: it is not ours to open */
    assert_int_equal(refused, 8 * (n - 4));
    assert_int_equal(b.r.stats.refused[NX_RELAY_FORGED], 1 + 63 + 8 * 26); /* source 3, any number but 0, the seal */
    assert_int_equal(b.arrived, 0);
    bytes[1] = NX_RELAY_ACK; /* of another kind: nothing that is sealed becomes something else */
    h = head(NX_RELAY_MESSAGE, 2, 0, 1);
    n = make(&h, zeros, NX_RELAY_ACK_BODY, bytes);
    bytes[1] = NX_RELAY_ACK;
    nx_relay_arrive(&b.r, 1, bytes, n, b.now);
    assert_int_equal(b.refused.why, NX_RELAY_FORGED);
    h.world = WORLD - 1; /* of another world, made to look like one of this */
    n = make(&h, zeros, 10, bytes);
    nx_store64(bytes + 12, WORLD);
    nx_relay_arrive(&b.r, 1, bytes, n, b.now);
    assert_int_equal(b.refused.why, NX_RELAY_FORGED);
    for (uint32_t i = 0; i < 6; i++)
        assert_null(b.r.pair[i]); /* and nothing was made for anybody */
    message(&b, 2, 1, 10);
    assert_int_equal(b.arrived, 1);
    tear_down(&b);
}

static void test_replayed_packets(void **state)
{
    struct nx_relay_message *m;
    struct bench b;

    (void)state;
    set_up(&b);
    message(&b, 2, 1, 5);
    message(&b, 2, 1, 5);
    was_refused(&b, NX_RELAY_OLD, 1);
    message(&b, 2, 3, 5); /* early */
    message(&b, 2, 3, 5);
    was_refused(&b, NX_RELAY_OLD, 2);
    m = nx_relay_take(&b.r, 2, b.now);
    assert_true(m != NULL && m->number == 1 && m->n == 5);
    nx_free(m);
    assert_null(nx_relay_take(&b.r, 2, b.now));
    message(&b, 2, 1, 5);
    was_refused(&b, NX_RELAY_OLD, 3);
    assert_int_equal(b.arrived, 1);
    assert_ok(nx_relay_send(&b.r, 2, "x", 1, b.now));
    ack(&b, 2, 7, 2, 65, 0);
    ack(&b, 2, 7, 2, 65, 0);
    was_refused(&b, NX_RELAY_OLD, 4);
    ack(&b, 2, 6, 1, 65, 0); /* overtaken */
    was_refused(&b, NX_RELAY_OLD, 5);
    arrive(&b, 1, &(struct nx_relay_head){1, NX_RELAY_PROBE, 5, 2, 0, WORLD, 8}, zeros, 0);
    arrive(&b, 1, &(struct nx_relay_head){1, NX_RELAY_PROBE, 5, 2, 0, WORLD, 8}, zeros, 0);
    was_refused(&b, NX_RELAY_OLD, 6);
    tear_down(&b);
}

static void pass(struct bench *b, uint32_t from, uint32_t source, uint32_t destination, uint16_t hops)
{
    struct nx_relay_head h = head(NX_RELAY_MESSAGE, source, destination, 1);

    h.hops = hops;
    arrive(b, from, &h, "text", 4);
}

static void test_passing_on(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b);
    pass(&b, 5, 4, 2, 6);
    assert_int_equal(b.sent[0].to, 1);
    assert_int_equal(head_of(&b, 0).hops, 5);
    assert_int_equal(head_of(&b, 0).source, 4);
    pass(&b, 5, 4, 2, 2); /* 1 may open it, but pass it on no more */
    assert_int_equal(head_of(&b, 1).hops, 1);
    pass(&b, 5, 4, 2, 1);
    was_refused(&b, NX_RELAY_HOPS, 1);
    pass(&b, 5, 4, 2, 0);
    was_refused(&b, NX_RELAY_HOPS, 2);
    pass(&b, 5, 4, 2, UINT16_MAX); /* nobody needs so many */
    assert_int_equal(head_of(&b, 2).hops, 2 * 6 + 8);
    assert_int_equal(b.r.stats.passed_on, 3);
    assert_int_equal(b.r.stats.arrived, 0);
    tear_down(&b);
}

/* Where the only way is the one it came by, tables disagree: it would go to and fro. */
static void test_never_back(void **state)
{
    struct nx_topology_link link = {.a = 0, .b = 1};
    struct nx_outage outage = {.n_links = 1, .links = &link};
    struct nx_routes routes;
    struct bench b;

    (void)state;
    set_up(&b);
    nx_relay_connected(&b.r, 1, false);
    pass(&b, 5, 4, 2, 9);
    was_refused(&b, NX_RELAY_NO_ROUTE, 1);
    assert_ok(nx_routes_make(&b.topology, 0, &outage, &routes));
    nx_relay_reroute(&b.r, &routes, b.now);
    assert_int_equal(routes.to[2].hop[0], 5);
    pass(&b, 5, 4, 2, 9);
    was_refused(&b, NX_RELAY_NO_ROUTE, 2);
    assert_ok(nx_relay_send(&b.r, 2, "x", 1, b.now)); /* its own goes that way */
    assert_true(b.n_sent == 1 && b.sent[0].to == 5);
    nx_routes_fini(&routes);
    tear_down(&b);
}

static void test_ranks_that_are_gone(void **state)
{
    struct nx_relay_message *m;
    struct bench b;

    (void)state;
    set_up(&b);
    message(&b, 2, 1, 1);
    message(&b, 2, 3, 1);
    assert_ok(nx_relay_send(&b.r, 2, "x", 1, b.now));
    assert_ok(nx_relay_send(&b.r, 2, "x", 1, b.now));
    nx_relay_gone(&b.r, 2);
    nx_relay_gone(&b.r, 2);
    nx_relay_gone(&b.r, 4); /* never heard of */
    assert_int_equal(b.lost, 2);
    assert_int_equal(b.r.stats.unacknowledged, 0);
    assert_status(nx_relay_send(&b.r, 2, "x", 1, b.now), NEXAR_EPEER);
    assert_status(nx_relay_send(&b.r, 4, "x", 1, b.now), NEXAR_EPEER);
    message(&b, 2, 2, 1);
    was_refused(&b, NX_RELAY_UNKNOWN, 1);
    message(&b, 4, 1, 1);
    was_refused(&b, NX_RELAY_UNKNOWN, 2);
    m = nx_relay_take(&b.r, 2, b.now); /* what was in order has arrived */
    assert_non_null(m);
    nx_free(m);
    assert_null(nx_relay_take(&b.r, 2, b.now));
    assert_int_equal(b.r.stats.received, 0);
    assert_int_equal(nx_relay_due(&b.r), NX_NEVER);
    tear_down(&b);
}

static void test_calls_that_are_wrong(void **state)
{
    struct nx_relay other;
    struct bench b;

    (void)state;
    set_up(&b);
    assert_status(nx_relay_send(&b.r, 0, "x", 1, b.now), NEXAR_EINVAL);
    assert_status(nx_relay_send(&b.r, 6, "x", 1, b.now), NEXAR_EINVAL);
    assert_status(nx_relay_send(&b.r, 1, zeros, NX_RELAY_BODY_MAX + 1, b.now), NEXAR_EMSGSIZE);
    b.no_seal = true;
    assert_status(nx_relay_send(&b.r, 1, "x", 1, b.now), NEXAR_ESYSTEM);
    b.no_seal = false;
    assert_ok(nx_relay_send(&b.r, 1, zeros, 0, b.now)); /* still the first */
    assert_int_equal(head_of(&b, 0).number, 1);
    assert_null(nx_relay_take(&b.r, 0, b.now));
    assert_null(nx_relay_take(&b.r, 77, b.now));
    nx_relay_gone(&b.r, 77);
    nx_relay_connected(&b.r, 3, false); /* no neighbour */
    nx_relay_writable(&b.r, 3);
    b.config.window = NX_RELAY_WINDOW + 1;
    assert_status(nx_relay_init(&other, &b.topology, &b.routes, &b.config, &kit_ops, &b), NEXAR_EINVAL);
    b.config = nx_relay_defaults(WORLD);
    b.config.flow_limit = NX_RELAY_PACKET_MAX - 1;
    assert_status(nx_relay_init(&other, &b.topology, &b.routes, &b.config, &kit_ops, &b), NEXAR_EINVAL);
    tear_down(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_packet_to_the_byte), cmocka_unit_test(test_packets_that_make_no_sense),
        cmocka_unit_test(test_forged_packets),       cmocka_unit_test(test_replayed_packets),
        cmocka_unit_test(test_passing_on),           cmocka_unit_test(test_never_back),
        cmocka_unit_test(test_ranks_that_are_gone),  cmocka_unit_test(test_calls_that_are_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
