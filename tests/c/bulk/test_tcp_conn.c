/* test_tcp_conn.c - messages over TCP, plain and sealed, on one connection and on several, to a host that often says
 * not now. */
#include "tcp_kit.h"

#include "bulk/tcp.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>

enum { PLAIN = 1, STREAMS = 2 };

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

static struct fake_options make(uint64_t seed, int kind)
{
    struct fake_options o = kind & PLAIN ? kit_plain(seed) : kit_options(&kit, seed);

    for (int i = 0; i < 2 && (kind & STREAMS); i++)
        o.setting[i][kind & PLAIN ? 1 : 0] = "NEXAR_TCP_STREAMS=3";
    return o;
}

/* Both ways at once; every third is to be copied. */
static void exchange(struct fake_pair *pair, const size_t *sizes, size_t count)
{
    uint8_t **memory = calloc(2 * count, sizeof(*memory));
    uint64_t waiting[2] = {0, 0};

    assert_non_null(memory);
    for (size_t i = 0; i < count; i++) {
        for (uint32_t rank = 0; rank < 2; rank++) {
            uint8_t *p = memory[2 * i + rank] = malloc(sizes[i] + 1);
            nexar_status st;

            assert_non_null(p);
            st = kit_send(pair, rank, i, p, sizes[i], i % 3 == 0);
            assert_true(st == NEXAR_OK || st == NEXAR_EAGAIN);
            if (st == NEXAR_OK)
                memset(p, 0xee, sizes[i]); /* it is ours again */
            else
                waiting[rank]++;
        }
    }
    for (uint32_t rank = 0; rank < 2; rank++) {
        assert_driven(fake_received(pair, rank) == count);
        assert_driven(atomic_load(&pair->node[rank].link.done) == waiting[rank]);
        for (size_t i = 0; i < count; i++)
            kit_expect(pair, rank, i, sizes[i]);
        assert_null(fake_take(pair, rank));
    }
    for (size_t i = 0; i < 2 * count; i++)
        free(memory[i]);
    free(memory);
}

static const size_t some_sizes[] = {8,      0,      1,       4096, 4097,  0,       16384, 16385, 17000, 65536,  100000,
                                    262144, 262145, 3 << 20, 5,    40000, 1 << 20, 20,    0,     12345, 800000, 7};

static void for_all_kinds(uint32_t again, uint32_t memory, const size_t *sizes, size_t count)
{
    for (int kind = 0; kind < 4; kind++) {
        struct fake_options o = make(7 + (uint64_t)kind, kind);
        struct fake_pair *pair;

        o.again = again;
        o.memory = memory;
        pair = kit_open(&o);
        exchange(pair, sizes, count);
        assert_int_equal(fake_state(pair, 0), FAKE_READY);
        assert_int_equal(fake_state(pair, 1), FAKE_READY);
        fake_close(pair);
    }
}

static void test_exchange(void **state)
{
    (void)state;
    for_all_kinds(0, 100, some_sizes, sizeof(some_sizes) / sizeof(some_sizes[0]));
}

static void test_exchange_with_a_host_that_says_not_now(void **state)
{
    (void)state;
    for_all_kinds(30, 50, some_sizes, sizeof(some_sizes) / sizeof(some_sizes[0]));
}

static void test_thousands_of_small(void **state)
{
    enum { COUNT = 5000 };
    static size_t sizes[COUNT];
    struct rng rng = {.state = 5};

    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        sizes[i] = rng_below(&rng, 200);
    for_all_kinds(1, 50, sizes, COUNT);
}

static void test_huge(void **state)
{
    static const size_t sizes[] = {20 << 20, 3, 9 << 20};

    (void)state;
    for_all_kinds(2, 100, sizes, 3);
}

/* ---- within a host ---- */

static struct sockaddr_storage address_of(int family, const char *text, uint16_t port)
{
    struct sockaddr_storage out = {.ss_family = (sa_family_t)family};
    struct sockaddr_in *a4 = (struct sockaddr_in *)&out;
    struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&out;

    assert_int_equal(inet_pton(family, text, family == AF_INET ? (void *)&a4->sin_addr : (void *)&a6->sin6_addr), 1);
    *(family == AF_INET ? &a4->sin_port : &a6->sin6_port) = htons(port);
    return out;
}

static void test_same_address(void **state)
{
    struct sockaddr_storage a = address_of(AF_INET, "10.0.0.7", 1), b = address_of(AF_INET, "10.0.0.7", 2);
    struct sockaddr_storage c = address_of(AF_INET, "10.0.0.8", 1), d = address_of(AF_INET6, "fe80::7", 1);
    struct sockaddr_storage e = address_of(AF_INET6, "fe80::7", 2), f = address_of(AF_INET6, "fe80::8", 1);
    struct sockaddr_storage none = {0};

    (void)state;
    assert_true(nx_tcp_same_address(&a, &b));
    assert_false(nx_tcp_same_address(&a, &c));
    assert_false(nx_tcp_same_address(&a, &d));
    assert_true(nx_tcp_same_address(&d, &e));
    assert_false(nx_tcp_same_address(&d, &f));
    assert_false(nx_tcp_same_address(&none, &none));
}

/* Both ends of each connection are descriptors of this process. */
static void test_within_a_host_nothing_is_paced(void **state)
{
    enum { DESCRIPTORS = 1024 };
    struct fake_options o = make(1, PLAIN | STREAMS);
    struct fake_pair *pair = kit_open(&o);
    int ends = 0;

    (void)state;
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof(peer);
        char name[16] = "";

        if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.ss_family != AF_INET)
            continue;
        size = sizeof(name);
        if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size) != 0)
            continue;
        assert_string_equal(name, "reno");
        ends++;
    }
    assert_int_equal(ends, 6);
    fake_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),           cmocka_unit_test(test_exchange_with_a_host_that_says_not_now),
        cmocka_unit_test(test_thousands_of_small), cmocka_unit_test(test_huge),
        cmocka_unit_test(test_same_address),       cmocka_unit_test(test_within_a_host_nothing_is_paced),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
