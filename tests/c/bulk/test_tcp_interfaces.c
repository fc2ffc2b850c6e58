/* test_tcp_interfaces.c - several connections over several interfaces, in a network namespace of this program's own. */
#include "bulk/tcp.h"
#include "tcp_kit.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_lists_of_interfaces(void **state)
{
    (void)state;
    assert_true(nx_tcp_interface_listed("eth", "eth1"));
    assert_true(nx_tcp_interface_listed("ib,eth", "eth1"));
    assert_false(nx_tcp_interface_listed("eth0,ib", "eth1"));
    assert_true(nx_tcp_interface_listed("=eth0,eth1", "eth1"));
    assert_false(nx_tcp_interface_listed("=eth", "eth1"));
    assert_false(nx_tcp_interface_listed("^lo,docker", "docker0"));
    assert_true(nx_tcp_interface_listed("^lo,docker", "eth1"));
    assert_true(nx_tcp_interface_listed("^=eth0", "eth01"));
}

/* An address, as that of an interface of its own. */
static bool add_interface(int fd, const char *name, const char *address)
{
    struct ifreq r = {0};
    struct sockaddr_in a = {.sin_family = AF_INET};

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    inet_pton(AF_INET, address, &a.sin_addr);
    memcpy(&r.ifr_addr, &a, sizeof(a));
    if (ioctl(fd, SIOCSIFADDR, &r) != 0 || ioctl(fd, SIOCGIFFLAGS, &r) != 0)
        return false;
    r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &r) == 0;
}

/* Established connections of this namespace that begin at this address. */
static int connections(const char *address)
{
    FILE *file = fopen("/proc/net/tcp", "r");
    char line[256], text[16];
    struct in_addr a;
    int n = 0;

    assert_non_null(file);
    inet_pton(AF_INET, address, &a);
    snprintf(text, sizeof(text), " %08X:", a.s_addr);
    while (fgets(line, sizeof(line), file) != NULL) {
        char *local = strstr(line, text);

        n += local != NULL && local < line + 8 && strstr(line, " 01 ") != NULL;
    }
    fclose(file);
    return n;
}

static void test_connections_take_different_interfaces(void **state)
{
    enum { BYTES = 4 << 20 };
    static uint8_t memory[BYTES];
    struct fake_options o = kit_plain(1);
    struct fake_pair *pair;

    (void)state;
    for (int i = 0; i < 2; i++) {
        o.setting[i][1] = "NEXAR_TCP_STREAMS=4";
        o.setting[i][2] = "NEXAR_INTERFACE=lo:";
        o.address[i] = "10.98.0.1:1000";
    }
    pair = kit_open(&o);
    assert_int_equal(connections("10.98.0.1") + connections("10.99.0.1"), 8); /* both ends of four */
    assert_true(connections("10.98.0.1") >= 2 && connections("10.99.0.1") >= 2);
    for (uint64_t i = 0; i < 5; i++) {
        nexar_status st = kit_send(pair, 0, i, memory, BYTES, true);

        assert_int_equal(st, NEXAR_OK);
        assert_driven(fake_received(pair, 1) == i + 1);
        kit_expect(pair, 1, i, BYTES);
    }
    fake_close(pair);
}

/* An address that is offered and does not answer costs no link: all connections then take the first. */
static bool spoil(void *arg, uint32_t from, void *bytes, size_t n)
{
    struct nx_tcp_words w;

    (void)arg;
    (void)from;
    if (nx_tcp_words_read(bytes, n, &w) && w.word == NX_TCP_OFFER) {
        char *colon = strchr(w.address[1], ':');

        assert_int_equal(w.addresses, 2);
        memset(colon + 1, '1', strlen(colon + 1)); /* a port of which nobody knows */
        nx_tcp_words_write(bytes, &w);
    }
    return true;
}

static void test_an_interface_that_does_not_answer_is_left_out(void **state)
{
    struct fake_options o = kit_plain(2);
    struct fake_pair *pair;

    (void)state;
    o.words = spoil;
    for (int i = 0; i < 2; i++) {
        o.setting[i][1] = "NEXAR_TCP_STREAMS=2";
        o.setting[i][2] = "NEXAR_INTERFACE=lo:";
        o.address[i] = "10.98.0.1:1000";
    }
    pair = kit_open(&o);
    assert_int_equal(connections("10.98.0.1"), 4);
    fake_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_of_interfaces),
        cmocka_unit_test(test_connections_take_different_interfaces),
        cmocka_unit_test(test_an_interface_that_does_not_answer_is_left_out),
    };
    int fd;

    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        puts("no network namespace can be made here");
        return 77;
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (!add_interface(fd, "lo", "127.0.0.1") || !add_interface(fd, "lo:0", "10.98.0.1") ||
        !add_interface(fd, "lo:1", "10.99.0.1")) {
        puts("no interfaces can be made here");
        return 77;
    }
    close(fd);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
