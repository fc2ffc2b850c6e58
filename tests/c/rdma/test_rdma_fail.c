/* test_rdma_fail.c - links by RDMA that fail: peers that are gone, devices that report trouble, words and frames that
 * make no sense; and that nothing is left of them, and they can begin again. */
#include "rdma_kit.h"

static bool is_over(const struct fake_pair *pair, uint32_t rank)
{
    return fake_state(pair, rank) == FAKE_LOST;
}

static void again(struct fake_pair *pair)
{
    for (uint32_t rank = 0; rank < 2; rank++)
        fake_detach(pair, rank, false);
    for (uint32_t rank = 0; rank < 2; rank++)
        fake_attach(pair, rank);
    assert_driven(fake_ready(pair));
    for (uint32_t rank = 0; rank < 2; rank++) {
        struct fake_message *m;

        while ((m = fake_take(pair, rank)) != NULL)
            fake_free(m);
    }
    kit_works(pair, 1, 100);
    kit_works(pair, 2, 1000000);
}

/* ---- agreeing ---- */

struct words {
    struct fake_pair *pair;
    uint32_t rank;
    uint8_t bytes[64];
    size_t n;
};

static void tell(void *arg)
{
    struct words *w = arg;
    nexar_link *link = &w->pair->node[w->rank].link;

    if (link->half != NULL)
        module->told(link->half, w->bytes, w->n);
}

static bool keep_back(void *arg, uint32_t from, void *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    return from != *(const uint32_t *)arg;
}

static void detach_all(struct fake_pair *pair)
{
    fake_detach(pair, 0, false);
    fake_detach(pair, 1, false);
}

/* Words that are short, long, of another version, out of turn, and of any bytes at all. */
static void test_r7_words_that_make_no_sense(void **state)
{
    uint32_t silent = 0;
    struct fake_options o = kit_options(1);
    struct fake_pair *pair;
    struct rng rng = {.state = 5};
    static const uint8_t some[][12] = {
        {1, 1, 0},                                 /* places: none */
        {1, 2, 0, 0},                              /* of another version */
        {1, 1, 17, 0},                             /* more than there can be */
        {1, 1, 1, 0, 9},                           /* of an unknown kind, and short */
        {2, 1, 0, 0, 1, 2, 3, 0, 1, 2, 3, 0},      /* a queue pair, out of turn */
        {2, 1, 0, 0, 255, 255, 255, 255, 1, 2, 3}, /* a number that is none */
        {3, 1, 0, 0},                              /* up, out of turn */
        {3, 1, 0},
        {0},
    };

    (void)state;
    o.words = keep_back;
    o.arg = &silent;
    for (uint32_t i = 0; i < 300; i++) {
        struct words w = {.rank = 1, .n = i < 9 ? sizeof(some[0]) - i % 2 * 8 : rng_below(&rng, 64)};

        pair = fake_open(&o);
        w.pair = pair;
        for (size_t k = 0; k < w.n; k++)
            w.bytes[k] = i < 9 ? some[i][k] : (uint8_t)rng_next(&rng);
        if (i >= 9 && i % 2 == 0 && w.n > 4) { /* nearly good */
            w.bytes[0] = (uint8_t)(1 + i % 3);
            w.bytes[1] = 1;
            w.bytes[2] = w.n == 28;
            w.bytes[3] = 0;
        }
        fake_run(tell, &w);
        assert_driven(fake_state(pair, 1) == FAKE_UNUSABLE);
        assert_true(pair->node[1].link.why[0] != '\0');
        assert_int_equal(fake_state(pair, 0), FAKE_ATTACHED);
        fake_close(pair);
    }
}

/* One end prepares nothing, or says nothing: the other does not wait for ever. */
static void test_r7_an_end_that_fails_leaves_nobody_waiting(void **state)
{
    uint32_t silent = 0;
    struct fake_options o = kit_options(2);
    struct fake_pair *pair;

    (void)state;
    verbs->refuse(1 << 20, ACCESS_LOCAL_WRITE); /* no memory for frames */
    pair = fake_open(&o);
    assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE && fake_state(pair, 1) == FAKE_UNUSABLE);
    assert_non_null(strstr(pair->node[0].link.why, "memory"));
    fake_close(pair);
    verbs->refuse(0, 0);

    o.setting[1][1] = "NEXAR_RDMA_GID=0"; /* link-local and RoCE v1, which ... */
    o.setting[0][1] = "NEXAR_RDMA_GID=2"; /* ... reaches no v2 */
    pair = fake_open(&o);
    assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE && fake_state(pair, 1) == FAKE_UNUSABLE);
    assert_non_null(strstr(pair->node[0].link.why, "reaches"));
    fake_close(pair);

    o = kit_options(2);
    o.words = keep_back;
    o.arg = &silent;
    pair = fake_open(&o);
    assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE && fake_state(pair, 1) == FAKE_UNUSABLE);
    assert_non_null(strstr(pair->node[1].link.why, "in time"));
    fake_close(pair);
}

/* Ports that were chosen, and do not reach each other: no message has depended on them. */
static void test_ports_that_do_not_reach_each_other(void **state)
{
    struct fake_options o = kit_options(2);
    struct fake_pair *pair;

    (void)state;
    verbs->cut(1);
    pair = fake_open(&o);
    assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE && fake_state(pair, 1) == FAKE_UNUSABLE);
    assert_non_null(strstr(pair->node[0].link.why, "retry"));
    assert_int_equal(atomic_load(&pair->node[0].link.suspected), 0);
    fake_close(pair);
}

/* ---- ends ---- */

static void test_a_peer_that_is_gone_is_suspected(void **state)
{
    struct fake_options o = kit_options(3);
    struct fake_pair *pair = kit_open(&o);
    uint8_t byte = 1;

    (void)state;
    kit_works(pair, 1, 100);
    fake_detach(pair, 1, false);
    assert_int_equal(fake_state(pair, 0), FAKE_READY);
    kit_send(pair, 0, 2, &byte, 1, true);
    assert_driven(is_over(pair, 0));
    assert_int_equal(atomic_load(&pair->node[0].link.suspected), 1);
    assert_non_null(strstr(pair->node[0].link.why, "retry"));
    again(pair);
    fake_close(pair);
}

/* Ends in the middle of everything: each completion comes once, and no card touches memory that is gone. */
static void test_r8_everything_is_given_back_at_any_moment(void **state)
{
    enum { COUNT = 40 };
    static const size_t some[] = {100, 9000, 50000, 2000000, 8000};
    uint8_t *p[2][COUNT];

    (void)state;
    for (uint64_t round = 0; round < 60 / CHECK_SHORTER; round++) {
        struct fake_options o = kit_options(100 + round);
        struct fake_pair *pair = kit_open(&o);
        uint64_t taken[2] = {0};

        for (uint32_t rank = 0; rank < 2; rank++) {
            for (uint64_t i = 0; i < COUNT; i++) {
                p[rank][i] = malloc(some[i % 5]);
                assert_non_null(p[rank][i]);
                taken[rank] += kit_send(pair, rank, i, p[rank][i], some[i % 5], false) == NEXAR_EAGAIN;
            }
        }
        if (round % 3 == 1)
            verbs->cut(1);
        else if (round % 3 == 2)
            assert_driven(fake_received(pair, 1) >= round % COUNT);
        if (round % 2 == 0)
            assert_true(kit_done(pair, 0) <= taken[0]);
        detach_all(pair);
        for (uint32_t rank = 0; rank < 2; rank++) { /* from now on it is freed memory for the card */
            assert_int_equal(kit_done(pair, rank) + atomic_load(&pair->node[rank].link.failed), taken[rank]);
            for (uint64_t i = 0; i < COUNT; i++)
                free(p[rank][i]);
        }
        assert_int_equal(verbs->counts().registrations, 0);
        verbs->cut(0);
        if (round % 5 == 0)
            again(pair);
        fake_close(pair);
        assert_int_equal(verbs->counts().live, 0);
    }
}

/* ---- what devices report ---- */

/* For that reason; or, of one end, because an answer that was under way met a queue pair that is gone. */
static void both_lost(struct fake_pair *pair, const char *why)
{
    assert_driven(is_over(pair, 0) && is_over(pair, 1));
    for (uint32_t rank = 0; rank < 2; rank++) {
        if (strstr(pair->node[rank].link.why, why) == NULL && strstr(pair->node[rank].link.why, "retry") == NULL)
            fail_msg("\"%s\" does not say \"%s\"", pair->node[rank].link.why, why);
    }
}

static void test_events_of_devices(void **state)
{
    struct fake_device usual = {
        .name = "fake0", .mtu = MTU_4096, .reads = 16, .longest = 8 << 20, .gid = {{"::ffff:127.0.0.1", 2}}};
    struct fake_options o = kit_options(4);
    struct fake_pair *pair = kit_open(&o);

    (void)state;
    verbs->event(0, EVENT_QP_FATAL);
    both_lost(pair, "fake0");
    again(pair);
    usual.down = 1;
    verbs->device(0, &usual);
    verbs->event(0, EVENT_PORT_ERR);
    both_lost(pair, "port error");
    fake_attach(pair, 0); /* it worked once: it may again, and says so in the same way */
    fake_attach(pair, 1);
    both_lost(pair, "no port");
    usual.down = 0;
    verbs->device(0, &usual);
    again(pair);
    verbs->event(0, EVENT_DEVICE_FATAL); /* from this there is no way back, in this node */
    both_lost(pair, "catastrophic");
    fake_attach(pair, 0);
    fake_attach(pair, 1);
    assert_driven(is_over(pair, 0) && is_over(pair, 1));
    fake_close(pair);
    pair = kit_open(&o); /* another has opened it anew */
    kit_works(pair, 1, 50000);
    fake_close(pair);
}

static void test_packets_that_are_lost(void **state)
{
    static uint8_t p[1 << 20];
    struct fake_options o = kit_options(5);

    (void)state;
    for (uint32_t i = 0; i < 10; i++) {
        struct fake_pair *pair = kit_open(&o);
        uint64_t taken = 0;

        verbs->cut(1);
        for (uint64_t k = 0; k < 50; k++)
            taken += kit_send(pair, 0, k, p, k % 3 == 0 ? sizeof(p) : 700, k % 2 == 0) == NEXAR_EAGAIN;
        assert_driven(is_over(pair, 0));
        assert_int_equal(kit_done(pair, 0) + atomic_load(&pair->node[0].link.failed), taken);
        assert_int_equal(kit_send(pair, 0, 1, p, 1, true), NEXAR_EPEER);
        verbs->cut(0);
        again(pair);
        fake_close(pair);
    }
}

/* ---- frames that make no sense ---- */

/* Of struct nx_rdma_frame and struct nx_rdma_piece, from the beginning of the frame. */
enum { KIND = 0, HEAD = 1, PIECES = 2, EATEN = 4, ACKS = 8, FINISHED = 12, NBYTES = 16, PIECE = FRAME + 8 };

struct change {
    uint32_t at, value; /* 32 bits are added there */
    uint32_t cut;       /* bytes at the end */
    bool large;         /* of an announcement */
};

static _Atomic bool armed;

static uint32_t spoil(void *arg, uint8_t *bytes, uint32_t n)
{
    const struct change *c = arg;
    uint32_t value;

    if (bytes[KIND] != (c->large ? 2 : 1) || !atomic_exchange(&armed, false))
        return n;
    memcpy(&value, bytes + c->at, 4);
    value += c->value;
    memcpy(bytes + c->at, &value, 4);
    return n - c->cut;
}

static void test_frames_that_make_no_sense(void **state)
{
    static uint8_t p[3 << 20];
    static const struct change changes[] = {
        {.at = KIND, .value = 7},
        {.at = KIND, .value = 2},
        {.at = KIND, .value = 1},
        {.at = HEAD, .value = 1},
        {.at = HEAD, .value = 100},
        {.at = HEAD, .value = 0xf8}, /* none */
        {.at = PIECES, .value = 1},
        {.at = EATEN, .value = 1},
        {.at = EATEN, .value = 0x80000000},
        {.at = ACKS, .value = 9},
        {.at = FINISHED, .value = 1},
        {.at = FINISHED, .value = 0xffffffff},
        {.at = NBYTES, .value = 1},
        {.at = NBYTES + 4, .value = 0x80000000},
        {.at = NBYTES, .cut = 1},
        {.at = NBYTES, .cut = 8 + 500},
        {.at = NBYTES, .cut = FRAME + 8 + 499},
        {.large = true, .at = PIECES, .value = 0xffff}, /* none */
        {.large = true, .at = PIECES, .value = 16},
        {.large = true, .at = NBYTES, .value = 1},
        {.large = true, .at = NBYTES + 4, .value = 1},
        {.large = true, .at = PIECE + 8, .value = 1},
        {.large = true, .at = PIECE + 12, .value = 0xffffffff},
        {.large = true, .at = PIECE + 16, .value = 1000},  /* a key that is none, or another's */
        {.large = true, .at = PIECE + 4, .value = 0x4000}, /* memory that is not the sender's */
        {.large = true, .at = PIECE, .value = 0x80000000},
        {.large = true, .at = PIECE + 20, .value = 1},
        {.large = true, .cut = 1},
        {.large = true, .cut = 24},
    };

    (void)state;
    for (uint32_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct fake_options o = kit_options(200 + i);
        struct change c = changes[i];
        struct fake_pair *pair;

        o.again = 0;
        pair = kit_open(&o);
        verbs->tamper(spoil, &c);
        atomic_store(&armed, true);
        assert_true(kit_send(pair, 0, 0, p, c.large ? sizeof(p) : 500, false) != NEXAR_ENOMEM);
        assert_driven(is_over(pair, 1));
        assert_int_equal(fake_received(pair, 1), 0);
        verbs->tamper(NULL, NULL);
        again(pair);
        fake_close(pair);
    }
}

/* Any bytes at all: whatever follows, nothing is touched that must not be, and both ends can begin again. */
static uint32_t scramble(void *arg, uint8_t *bytes, uint32_t n)
{
    struct rng *rng = arg;

    if (rng_below(rng, 20) != 0)
        return n;
    for (uint64_t k = 1 + rng_below(rng, 4); k > 0; k--)
        bytes[rng_below(rng, n < 64 ? n : 64)] = (uint8_t)rng_next(rng);
    return n;
}

static void test_frames_of_any_bytes(void **state)
{
    static uint8_t p[100000];
    struct rng rng = {.state = 9};

    (void)state;
    for (uint32_t round = 0; round < 100 / CHECK_SHORTER; round++) {
        struct fake_options o = kit_options(300 + round);
        struct fake_pair *pair = kit_open(&o);

        verbs->tamper(scramble, &rng);
        for (uint64_t i = 0; i < 100; i++)
            kit_send(pair, (uint32_t)i % 2, i, p, i % 7 == 0 ? sizeof(p) : i, true);
        assert_driven(is_over(pair, 0) || is_over(pair, 1) || (fake_received(pair, 0) + fake_received(pair, 1) == 100));
        detach_all(pair);
        verbs->tamper(NULL, NULL);
        again(pair);
        fake_close(pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_r7_words_that_make_no_sense, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r7_an_end_that_fails_leaves_nobody_waiting, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_ports_that_do_not_reach_each_other, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_a_peer_that_is_gone_is_suspected, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r8_everything_is_given_back_at_any_moment, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_events_of_devices, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_packets_that_are_lost, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_frames_that_make_no_sense, kit_setup, kit_teardown),
        /* A peer that believes in buffers that are not there meets none. */
        cmocka_unit_test_setup_teardown(test_frames_of_any_bytes, kit_setup, kit_teardown_any),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
