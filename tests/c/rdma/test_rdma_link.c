/* test_rdma_link.c - messages by RDMA: of every length, from whole and scattered memory, with and without room at the
 * peer; and which port, GID and packet length two ends come to. */
#include "rdma_kit.h"

#include <pthread.h>

/* ---- what there is ---- */

static void test_r3_the_module_is_built_and_whole(void **state)
{
    (void)state;
    assert_int_equal(module->abi, NEXAR_MODULE_ABI);
    assert_int_equal(module->size, sizeof(*module));
    assert_string_equal(module->name, "rdma");
    assert_int_equal(module->flags, 0);
}

static const char *library;

static const char *one_setting(const char *variable)
{
    return strcmp(variable, "NEXAR_RDMA_LIBRARY") == 0 ? library : NULL;
}

static uint32_t two(nexar_node *node)
{
    (void)node;
    return 2;
}

static uint32_t logged;

static void count_log(int level, const char *line)
{
    (void)level;
    logged += strncmp(line, "no RDMA: ", 9) == 0;
}

static void open_alone(void *arg)
{
    static struct nexar_node node;
    nexar_host host = {.size = sizeof(host), .setting = one_setting, .world_size = two, .log = count_log};
    void *self;

    fake_watch_functions(&host);
    *(nexar_status *)arg = module->open(&host, &node, &self);
    assert_null(self);
}

/* Before any other test: a process loads a library once. */
static void test_without_library_or_port_there_is_no_rdma_and_no_harm(void **state)
{
    struct fake_device down = {.name = "fake0", .down = 1, .mtu = MTU_1024, .reads = 1, .longest = 1 << 20};
    const char *const libraries[] = {"/nowhere/libibverbs.so.1", RDMA_MODULE, RDMA_VERBS};

    (void)state;
    assert_ok(nx_engine_start());
    verbs->device(0, &down);
    for (uint32_t i = 0; i < 3; i++) { /* there is none; it is another; it has a device without an active port */
        nexar_status st = NEXAR_OK;

        library = libraries[i];
        fake_run(open_alone, &st);
        assert_int_equal(st, NEXAR_ENOTSUP);
        assert_int_equal(logged, i + 1);
    }
}

/* ---- messages ---- */

static const size_t sizes[] = {0,    1,     8,     100,    4096,    8000,    8087,          8088,     8089,        8168,
                               8192, 32768, 32769, 100000, 1 << 20, 3 << 20, (1 << 20) + 1, 20000000, 16777216 + 5};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static void test_r1_messages_of_all_lanes_are_offered_and_arrive(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct fake_options o = kit_options(seed);
        struct fake_pair *pair = kit_open(&o);

        assert_true((atomic_load(&pair->node[0].link.ops)->flags & NEXAR_BULK_TAGGED) != 0);
        for (uint32_t i = 0; i < SIZES; i++)
            kit_works(pair, i, sizes[i]);
        assert_true(atomic_load(&pair->node[0].link.direct) > 0);
        fake_close(pair);
    }
}

static uint32_t longest;

static uint32_t measure(void *arg, uint8_t *bytes, uint32_t n)
{
    (void)arg;
    (void)bytes;
    longest = n > longest ? n : longest;
    return n;
}

/* A frame has the bytes of its message and no more; a large one is read to its last byte and no further. */
static void test_r4_exactly_the_bytes_of_a_message_leave(void **state)
{
    struct fake_options o = kit_options(1);
    struct fake_pair *pair = kit_open(&o);
    uint64_t before;

    (void)state;
    verbs->tamper(measure, NULL);
    kit_works(pair, 0, 5); /* the number says how long the head is: 8 */
    assert_int_equal(longest, FRAME + 8 + 5);
    kit_works(pair, 0, SLOT - FRAME - 8);
    assert_int_equal(longest, SLOT);
    assert_int_equal(verbs->counts().reads, 0);
    for (uint32_t i = 0; i < SIZES; i++) {
        before = verbs->counts().reads;
        kit_works(pair, 0, sizes[i]);
        assert_int_equal(verbs->counts().reads - before, sizes[i] > SLOT - FRAME - 8 ? 2 * sizes[i] : 0);
    }
    fake_close(pair);
}

static void test_r9_part_of_a_buffer_is_sent_from_where_it_is(void **state)
{
    enum { BYTES = 3 << 20, FROM = 4097, COUNT = 1500001 };
    struct fake_options o = kit_options(2);
    struct fake_pair *pair = kit_open(&o);
    uint8_t *p = malloc(BYTES);
    struct fake_message *m;

    (void)state;
    assert_non_null(p);
    kit_fill(p, 7, BYTES);
    assert_int_equal(fake_send(pair, 0, "head", 4, p + FROM, COUNT, false), NEXAR_EAGAIN);
    assert_driven(kit_done(pair, 0) == 1);
    assert_driven(fake_received(pair, 1) == 1);
    m = fake_take(pair, 1);
    assert_int_equal(m->nbytes, COUNT);
    assert_memory_equal(m->payload, p + FROM, COUNT);
    assert_int_equal(verbs->counts().reads, COUNT);
    fake_free(m);
    free(p);
    fake_close(pair);
}

/* The memory is the sender's again when `done` says so, and not before. */
static void test_r10_memory_is_read_before_it_is_given_back(void **state)
{
    enum { BYTES = 2000000 };
    struct fake_options o = kit_options(3);
    struct fake_pair *pair = kit_open(&o);
    uint8_t *p = malloc(BYTES);

    (void)state;
    assert_non_null(p);
    for (uint64_t i = 0; i < 20; i++) {
        verbs->pause(1);
        assert_int_equal(kit_send(pair, 0, i, p, BYTES, false), NEXAR_EAGAIN);
        assert_int_equal(kit_done(pair, 0), i);
        verbs->pause(0);
        assert_driven(kit_done(pair, 0) == i + 1);
        memset(p, 0xee, BYTES);
        assert_driven(fake_received(pair, 1) == i + 1);
        kit_expect(pair, 1, i, BYTES);
        assert_driven(verbs->counts().registrations == 2); /* each end's own memory */
    }
    free(p);
    fake_close(pair);
}

static void test_scattered_memory(void **state)
{
    enum { BYTES = 300000 };
    static uint8_t whole[BYTES];
    struct fake_options o = kit_options(4);
    struct fake_pair *pair = kit_open(&o);
    uint64_t count = 0;

    (void)state;
    kit_fill(whole, 9, BYTES);
    for (uint32_t n = 1; n <= 40; n += 3) { /* also more pieces than a frame has */
        for (uint32_t total = 100; total <= BYTES; total *= 7) {
            nexar_iov iov[40];
            size_t at = 0;
            struct fake_message *m;
            nexar_status st;

            for (uint32_t i = 0; i < n; i++) {
                size_t len = i + 1 == n ? total - at : i % 4 == 0 ? 0 : (total - at) / (n - i);

                iov[i] = (nexar_iov){.base = len == 0 ? NULL : whole + at, .nbytes = len};
                at += len;
            }
            st = fake_send_iov(pair, 1, "h", 1, iov, n, n % 2 == 0);
            assert_true(st == NEXAR_OK || (st == NEXAR_EAGAIN && n % 2 == 1));
            count++;
            assert_driven(fake_received(pair, 0) == count);
            m = fake_take(pair, 0);
            assert_int_equal(m->nbytes, total);
            assert_memory_equal(m->payload, whole, total);
            fake_free(m);
        }
    }
    fake_close(pair);
}

/* Far more than there are buffers, while the peer takes nothing, and then slowly. */
static void test_r2_no_message_meets_an_empty_queue(void **state)
{
    enum { COUNT = 1000 };
    uint8_t p[2][200], last[4096];

    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct fake_options o = kit_options(seed + 10);
        struct fake_pair *pair;

        o.again = 30;
        pair = kit_open(&o);
        for (uint64_t i = 0; i < COUNT; i++) {
            for (uint32_t rank = 0; rank < 2; rank++)
                assert_int_equal(kit_send(pair, rank, i, p[rank], i % 200, true), NEXAR_OK);
        }
        assert_int_equal(kit_send(pair, 0, COUNT, last, sizeof(last), true), NEXAR_OK);
        assert_driven(fake_received(pair, 0) == COUNT && fake_received(pair, 1) == COUNT + 1);
        for (uint64_t i = 0; i < COUNT; i++) {
            kit_expect(pair, 0, i, i % 200);
            kit_expect(pair, 1, i, i % 200);
        }
        kit_expect(pair, 1, COUNT, sizeof(last));
        assert_int_equal(verbs->counts().rnr, 0);
        fake_close(pair);
    }
}

static void test_credits_run_out_and_come_back(void **state)
{
    enum { COUNT = 100, BYTES = 1000 };
    static uint8_t p[COUNT][BYTES];
    struct fake_options o = kit_options(5);
    struct fake_pair *pair = kit_open(&o);
    const nexar_bulk_ops *ops = atomic_load(&pair->node[0].link.ops);
    void *self = atomic_load(&pair->node[0].link.ops_self);

    (void)state;
    verbs->pause(1);
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(kit_send(pair, 0, i, p[i], BYTES, false), i < CREDITS ? NEXAR_OK : NEXAR_EAGAIN);
    assert_int_equal(ops->backlog(self), (COUNT - CREDITS) * BYTES);
    assert_int_equal(kit_done(pair, 0), 0);
    verbs->pause(0);
    assert_driven(kit_done(pair, 0) == COUNT - CREDITS);
    assert_driven(fake_received(pair, 1) == COUNT);
    assert_int_equal(ops->backlog(self), 0);
    for (uint64_t i = 0; i < COUNT; i++)
        kit_expect(pair, 1, i, BYTES);
    fake_close(pair);
}

/* Large ones end after small ones that began later. */
static void expect_all(struct fake_pair *pair, uint32_t rank, const size_t *lengths, uint32_t n, uint64_t count)
{
    uint64_t sum = 0, small = 0;

    for (uint64_t i = 0; i < count; i++) {
        struct fake_message *m = fake_take(pair, rank);
        uint64_t number;
        uint8_t *expected;

        assert_non_null(m);
        memcpy(&number, m->head, sizeof(number));
        assert_true(number < count);
        sum += number;
        assert_int_equal(m->nbytes, lengths[(number + 1 - rank) % n]);
        if (m->nbytes < 8000) {
            assert_true(small <= number);
            small = number;
        }
        expected = malloc(m->nbytes + 1);
        assert_non_null(expected);
        kit_fill(expected, number, m->nbytes);
        assert_memory_equal(m->payload, expected, m->nbytes);
        free(expected);
        fake_free(m);
    }
    assert_int_equal(sum, count * (count - 1) / 2);
}

/* Lengths of all kinds both ways at once; both ends finish large messages at the same time, again and again. */
static void test_large_both_ways(void **state)
{
    enum { COUNT = 400 };
    static const size_t some[] = {9000, 20000, 40000, 10, 70000, 8192, 300000, 0, 33000};
    static uint8_t p[2][COUNT][300000];

    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct fake_options o = kit_options(seed + 20);
        struct fake_pair *pair;

        o.again = (uint32_t)seed * 20;
        pair = kit_open(&o);
        for (uint64_t i = 0; i < COUNT; i++) {
            for (uint32_t rank = 0; rank < 2; rank++) {
                nexar_status st = kit_send(pair, rank, i, p[rank][i], some[(i + rank) % 9], false);

                assert_true(st == NEXAR_OK || st == NEXAR_EAGAIN);
            }
        }
        assert_driven(fake_received(pair, 0) == COUNT && fake_received(pair, 1) == COUNT);
        expect_all(pair, 0, some, 9, COUNT);
        expect_all(pair, 1, some, 9, COUNT);
        fake_close(pair);
    }
}

struct sender {
    struct fake_pair *pair;
    uint32_t rank, number;
};

enum { EACH = 500 };

static void *send_many(void *arg)
{
    struct sender *s = arg;
    uint8_t p[20000];

    for (uint64_t i = 0; i < EACH; i++)
        EXPECT(kit_send(s->pair, s->rank, i * 4 + s->number, p, (size_t)(i * 37 % sizeof(p)), true) == NEXAR_OK);
    return NULL;
}

static void test_several_threads_send(void **state)
{
    struct fake_options o = kit_options(6);
    struct fake_pair *pair = kit_open(&o);
    struct sender s[8];
    pthread_t thread[8];

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        s[i] = (struct sender){.pair = pair, .rank = i % 2, .number = i / 2};
        assert_int_equal(pthread_create(&thread[i], NULL, send_many, &s[i]), 0);
    }
    for (uint32_t i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
    for (uint32_t rank = 0; rank < 2; rank++) {
        uint64_t seen[4] = {0};

        assert_driven(fake_received(pair, rank) == 4 * EACH);
        for (uint32_t i = 0; i < 4 * EACH; i++) { /* of each thread in its order */
            struct fake_message *m = fake_take(pair, rank);
            uint64_t number;

            memcpy(&number, m->head, sizeof(number));
            assert_int_equal(m->nbytes, number / 4 * 37 % 20000);
            if (m->nbytes < 8000) { /* large ones end later */
                assert_true(number / 4 >= seen[number % 4]);
                seen[number % 4] = number / 4;
            }
            fake_free(m);
        }
    }
    fake_close(pair);
}

/* ---- memory that cannot be registered ---- */

static void test_memory_that_cannot_be_registered(void **state)
{
    static uint8_t p[3 << 20];
    struct fake_options o = kit_options(7);
    struct fake_pair *pair;

    (void)state;
    o.memory = 100;
    pair = kit_open(&o);
    verbs->refuse(sizeof(p), ACCESS_REMOTE_READ);
    assert_int_equal(kit_send(pair, 0, 1, p, sizeof(p), false), NEXAR_ENOMEM); /* not taken: another way */
    kit_works(pair, 2, 5000);
    /* At the receiver: through memory of the module's. */
    verbs->refuse(sizeof(p), ACCESS_LOCAL_WRITE);
    kit_works(pair, 3, sizeof(p));
    assert_int_equal(atomic_load(&pair->node[0].link.direct), 0);
    /* In the middle of messages. */
    for (uint64_t i = 0; i < 20; i++) {
        verbs->refuse(0, 0);
        assert_int_equal(kit_send(pair, 0, 4 + i, p, sizeof(p), false), NEXAR_EAGAIN);
        if (i % 2 == 0)
            assert_driven(verbs->counts().reads % sizeof(p) != 0 || kit_done(pair, 0) == i + 1);
        verbs->refuse(sizeof(p), ACCESS_LOCAL_WRITE);
        assert_driven(fake_received(pair, 1) == 3 + i);
        assert_driven(kit_done(pair, 0) == i + 1);
        kit_expect(pair, 1, 4 + i, sizeof(p));
    }
    fake_close(pair);
}

/* ---- port, GID, packets ---- */

static void test_r6_port_gid_and_mtu_are_chosen(void **state)
{
    struct fake_device slow = {.name = "fake0",
                               .mtu = MTU_1024,
                               .reads = 1,
                               .longest = 1 << 16,
                               .gid = {{"fe80::1", 0}, {"fe80::1", 2}, {"::ffff:10.1.0.1", 0}, {"::ffff:10.1.0.1", 2}}};
    struct fake_device far = {.name = "fake1",
                              .mtu = MTU_4096,
                              .reads = 16,
                              .longest = 8 << 20,
                              .gid = {{"fd00::9", 2}, {"::ffff:10.2.0.1", 2}}};
    struct fake_device card = {.name = "fake0",
                               .infiniband = 1,
                               .mtu = MTU_2048,
                               .reads = 4,
                               .longest = 1 << 30,
                               .lid = 77,
                               .gid = {{"fe80::1234", 0}, {"fe80::5678", 0}}};
    struct fake_options o = kit_options(8);
    struct fake_pair *pair;

    (void)state;
    verbs->device(0, &slow); /* with an address of its own, RoCE v2 */
    o.address[0] = o.address[1] = "10.1.0.1:4000";
    pair = kit_open(&o);
    assert_int_equal(verbs->counts().mtu, MTU_1024);
    assert_int_equal(verbs->counts().index, 3);
    kit_works(pair, 1, 1 << 20);
    fake_close(pair);

    verbs->device(1, &far); /* that of the route, of two */
    o.address[0] = o.address[1] = "10.2.0.1:4000";
    pair = kit_open(&o);
    assert_int_equal(verbs->counts().mtu, MTU_4096);
    assert_int_equal(verbs->counts().index, 1);
    fake_close(pair);
    o.address[0] = o.address[1] = "[fd00::9]:4000";
    pair = kit_open(&o);
    assert_int_equal(verbs->counts().index, 0);
    fake_close(pair);

    for (uint32_t i = 0; i < 2; i++) { /* overridden, at both ends; the packets of one */
        o.setting[i][1] = "NEXAR_RDMA_DEVICE=fake1";
        o.setting[i][2] = "NEXAR_RDMA_GID=1";
        o.setting[i][3] = "NEXAR_RDMA_PORT=1";
    }
    o.setting[1][4] = "NEXAR_RDMA_MTU=2048";
    pair = kit_open(&o);
    assert_int_equal(verbs->counts().index, 1);
    assert_int_equal(verbs->counts().mtu, MTU_2048);
    kit_works(pair, 2, 1 << 20);
    fake_close(pair);

    verbs->device(0, &card);
    o = kit_options(9);
    o.setting[0][1] = o.setting[1][1] = "NEXAR_RDMA_DEVICE=fake0";
    pair = kit_open(&o);
    assert_int_equal(verbs->counts().lid, 77);
    assert_int_equal(verbs->counts().mtu, MTU_2048);
    kit_works(pair, 3, 1 << 20);
    fake_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_library_or_port_there_is_no_rdma_and_no_harm, kit_setup,
                                        kit_teardown),
        cmocka_unit_test_setup_teardown(test_r3_the_module_is_built_and_whole, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r1_messages_of_all_lanes_are_offered_and_arrive, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r4_exactly_the_bytes_of_a_message_leave, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r9_part_of_a_buffer_is_sent_from_where_it_is, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r10_memory_is_read_before_it_is_given_back, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_scattered_memory, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r2_no_message_meets_an_empty_queue, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_credits_run_out_and_come_back, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_large_both_ways, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_several_threads_send, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_memory_that_cannot_be_registered, kit_setup, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r6_port_gid_and_mtu_are_chosen, kit_setup, kit_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
