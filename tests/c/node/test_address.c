/* Addresses: as text, as names, and which of them others are told - on made-up hosts. */
#include "node/address.h"

#include "identity/kit.h"
#include "node/reach.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage out;

    if (!nx_address_parse(text, 0, &out))
        fail_msg("%s is no address", text);
    return out;
}

/* ---- made-up hosts: "name address, ..."; a name with - is down, lo* is loopback ---- */

static struct nx_interfaces host(const char *text)
{
    static struct nx_interface items[32];
    struct nx_interfaces out = {.item = items};

    memset(items, 0, sizeof(items));
    while (*text != '\0') {
        char name[32], ip[64];
        int n = 0;

        assert_int_equal(sscanf(text, " %31s %63[^, ]%n", name, ip, &n), 2);
        text += n;
        text += *text == ',';
        items[out.count].up = name[0] != '-';
        items[out.count].loopback = strncmp(name, "lo", 2) == 0;
        strcpy(items[out.count].name, name[0] == '-' ? name + 1 : name);
        items[out.count++].address = address(ip);
    }
    return out;
}

static const char laptop[] =
    "lo 127.0.0.1, lo ::1, wlan0 192.168.1.7, wlan0 2001:db8::7, wlan0 fe80::7, docker0 172.17.0.1";
static const char server[] = "lo 127.0.0.1, lo ::1, eth0 10.0.0.5, eth0 fd00::5, eth1 10.1.0.5, ib0 10.2.0.5, "
                             "docker0 172.17.0.1, br-1234 172.18.0.1, vethabc 169.254.3.4, -eth2 10.3.0.5";

/* ---- what is told ---- */

struct wish {
    const char *interfaces, *bind, *advertise;
    bool loopback;
};

static nexar_status reach_of(const struct wish *wish, const struct nx_interfaces *there, struct nx_config *config,
                             struct nx_reach *out)
{
    nexar_config caller = {
        .size = sizeof(caller), .interface_ = wish->interfaces, .bind = wish->bind, .advertise = wish->advertise};

    assert_ok(nx_config_load(&caller, NULL, config));
    return nx_reach_init(config, wish->loopback, there, out);
}

/* "where it listens: what it tells", or the words of an error after "!". */
static void check(const char *there_text, struct wish wish, const char *near_text, const char *wanted)
{
    struct nx_interfaces there = host(there_text);
    struct sockaddr_storage near, listen;
    char tell[NX_TELL_MAX][NX_ADDRESS_TEXT], text[512] = "*", ip[NX_HOST_NAME];
    struct nx_config config;
    struct nx_reach reach;
    nexar_status status;
    size_t count = 0;

    if (near_text != NULL)
        near = address(near_text);
    status = reach_of(&wish, &there, &config, &reach);
    if (status == NEXAR_OK)
        status = nx_reach_listen(&reach, &there, &listen);
    if (status == NEXAR_OK && listen.ss_family != AF_UNSPEC)
        nx_host_text(&listen, text);
    if (status == NEXAR_OK)
        status = nx_reach_tell(&reach, &there, near_text == NULL ? NULL : &near, 7000, tell, &count);
    if (status != NEXAR_OK)
        snprintf(text, sizeof(text), "!%s", nexar_last_error());
    for (size_t i = 0; i < count; i++) {
        uint16_t number;

        assert_ok(nx_endpoint_parse(tell[i], ip, &number));
        assert_int_equal(number, 7000);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s %s", i == 0 ? ":" : ",", ip);
    }
    if (wanted[0] == '!' ? status == NEXAR_OK || strstr(text, wanted + 1) == NULL : strcmp(text, wanted) != 0)
        fail_msg("%s, bind %s, advertise %s, near %s on %s:\n  %s, not\n  %s", wish.interfaces, wish.bind,
                 wish.advertise, near_text, there_text, text, wanted);
    nx_config_free(&config);
}

static void test_default(void **state)
{
    struct wish none = {0};

    (void)state;
    check(laptop, none, NULL, "*: 192.168.1.7, 2001:db8::7");
    check(laptop, none, "192.168.1.7", "*: 192.168.1.7, 2001:db8::7");
    check(laptop, none, "2001:db8::7", "*: 2001:db8::7, 192.168.1.7");
    check(laptop, none, "172.17.0.1", "*: 172.17.0.1, 192.168.1.7, 2001:db8::7"); /* the seed is in a container */
    check(server, none, NULL, "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5");
    check(server, none, "10.0.0.5", "*: 10.0.0.5, fd00::5, 10.1.0.5, 10.2.0.5");
    check(server, none, "10.2.0.5", "*: 10.2.0.5, 10.0.0.5, 10.1.0.5, fd00::5");
    check(server, none, "10.99.0.1", "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5"); /* gone meanwhile */
    check("eth0 10.0.0.5, eth0 10.0.0.6, eth0 fd00::5, eth0 fd00::6", none, "10.0.0.6", "*: 10.0.0.6, fd00::5");
    check("lo 127.0.0.1, docker0 172.17.0.1, docker1 172.18.0.1", none, NULL, "*: 172.17.0.1, 172.18.0.1");
    check("lo 127.0.0.1, eth0 169.254.1.2, eth0 fe80::1", none, NULL, "*: 169.254.1.2");
    check("lo 127.0.0.1, eth0 169.254.1.2, eth1 10.0.0.1", none, NULL, "*: 10.0.0.1");
    check("lo 127.0.0.1, eth0 fe80::1", none, NULL, "!no interface that is up has an address for others");
    check("lo 127.0.0.1, lo:1 127.0.1.1, -eth0 10.0.0.5", none, NULL,
          "!there are lo (127.0.0.1), lo:1 (127.0.1.1), eth0 (10.0.0.5, down)");
    check("", none, NULL, "!there are none");
}

/* B2: the reference listens on 127.0.0.1, where no other host reaches it, and advertises nothing. */
static void test_b2_loopback_only_if_all_are_here(void **state)
{
    struct wish none = {0}, here = {.loopback = true};

    (void)state;
    check(laptop, none, "127.0.0.1", "*: 192.168.1.7, 2001:db8::7");
    check("lo 127.0.0.1, eth0 10.0.0.1", none, NULL, "*: 10.0.0.1");
    check("lo 127.0.0.1, eth0 10.0.0.1", (struct wish){.bind = "127.0.1.1"}, NULL,
          "!config.bind is 127.0.1.1, which no other host reaches");
    check("lo 127.0.0.1, eth0 127.0.1.1", none, NULL, "!no interface that is up");
    check(laptop, here, NULL, "127.0.0.1: 127.0.0.1");
    check(laptop, here, "127.0.0.1", "127.0.0.1: 127.0.0.1");
    check(laptop, here, "192.168.1.7", "127.0.0.1: 127.0.0.1");
    check("lo ::1, eth0 10.0.0.1", here, NULL, "::1: ::1");
    check("-lo 127.0.0.1, eth0 10.0.0.1", here, NULL,
          "!which has no loopback interface that is up; there are lo (127.0.0.1, down)");
}

static void test_interfaces(void **state)
{
    static const struct {
        const char *spec, *wanted;
    } table[] = {
        {"eth", "*: 10.0.0.5, 10.1.0.5, fd00::5"},
        {"eth,ib", "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5"},
        {"ib,eth", "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5"},
        {"eth1", "10.1.0.5: 10.1.0.5"},
        {"=eth1", "10.1.0.5: 10.1.0.5"},
        {"=eth1,ib0", "*: 10.1.0.5, 10.2.0.5"},
        {"=eth", "!interface \"=eth\": none that is up matches and has an address for others; there are lo "
                 "(127.0.0.1), lo (::1), eth0"},
        {"=eth2", "!eth2 (10.3.0.5, down)"},
        {"eth2", "!none that is up matches"},
        {"wlan", "!none that is up matches"},
        {"^lo,docker", "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5"},
        {"^eth", "10.2.0.5: 10.2.0.5"},
        {"^eth,ib", "*: 172.17.0.1, 172.18.0.1, 169.254.3.4"},
        {"^=eth0", "*: 10.1.0.5, 10.2.0.5"},
        {"^=eth", "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5"},
        {"^x", "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5"},
        {"docker", "172.17.0.1: 172.17.0.1"},
        {"veth", "169.254.3.4: 169.254.3.4"},
        {"lo", "*: 127.0.0.1, ::1"},
        {"^", "!config.interface_ is \"^\"; it can be beginnings of names"},
        {"=", "!config.interface_ is \"=\""},
        {"eth0,", "!config.interface_ is \"eth0,\""},
        {",eth0", "!config.interface_"},
        {"eth0,^lo", "!config.interface_"},
        {"=^eth0", "!config.interface_"},
        {"eth0, eth1", "!config.interface_"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        check(server, (struct wish){.interfaces = table[i].spec}, NULL, table[i].wanted);
    check(server, (struct wish){.interfaces = "eth"}, "10.1.0.5", "*: 10.1.0.5, 10.0.0.5, fd00::5");
    check(server, (struct wish){.interfaces = "eth"}, "10.2.0.5", "*: 10.0.0.5, 10.1.0.5, fd00::5");
    check(server, (struct wish){.interfaces = "=ib0", .loopback = true}, NULL, "127.0.0.1: 127.0.0.1");
}

static void test_bind_and_advertise(void **state)
{
    (void)state;
    check(server, (struct wish){.bind = "10.1.0.5"}, "10.0.0.5", "10.1.0.5: 10.1.0.5");
    check(server, (struct wish){.bind = "fd00::5"}, NULL, "fd00::5: fd00::5");
    check(server, (struct wish){.bind = "[fd00::5]"}, NULL, "fd00::5: fd00::5");
    check(server, (struct wish){.bind = "127.0.0.1"}, NULL, "127.0.0.1: 127.0.0.1");
    check(server, (struct wish){.bind = "10.1.0.5", .loopback = true}, NULL, "10.1.0.5: 10.1.0.5");
    check(server, (struct wish){.bind = "::"}, NULL, "*: 10.0.0.5, 10.1.0.5, 10.2.0.5, fd00::5");
    check(server, (struct wish){.bind = "0.0.0.0"}, NULL, "0.0.0.0: 10.0.0.5, 10.1.0.5, 10.2.0.5");
    check(server, (struct wish){.bind = "10.9.9.9"}, NULL,
          "!bind: 10.9.9.9 is not an address of this host; there are lo");
    check(server, (struct wish){.bind = "10.3.0.5"}, NULL, "!bind: 10.3.0.5 is not an address of this host");
    check(server, (struct wish){.bind = "eth0"}, NULL, "!config.bind is \"eth0\"; it takes an IPv4 or IPv6 address");
    check(server, (struct wish){.bind = "10.1.0.5:7000"}, NULL, "!config.bind is \"10.1.0.5:7000\"");
    check(server, (struct wish){.advertise = "198.51.100.7"}, "10.0.0.5", "*: 198.51.100.7");
    check(server, (struct wish){.advertise = "198.51.100.7,[2001:db8::9],10.0.0.5,127.0.0.1"}, NULL,
          "*: 198.51.100.7, 2001:db8::9, 10.0.0.5, 127.0.0.1");
    check(server, (struct wish){.advertise = "198.51.100.7", .bind = "10.0.0.5"}, NULL, "10.0.0.5: 198.51.100.7");
    check(server, (struct wish){.advertise = "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5"}, NULL,
          "!config.advertise has more than 4 addresses");
    check(server, (struct wish){.advertise = "198.51.100.7,"}, NULL, "!an address is missing");
    check(server, (struct wish){.advertise = "127.0.1.1"}, NULL, "!means something on this host alone");
    check(server, (struct wish){.advertise = "0.0.0.0"}, NULL, "!means something on this host alone");
    check(server, (struct wish){.advertise = "198.51.100.7:80"}, NULL,
          "!\"198.51.100.7:80\" is neither an address nor the name of a host");
}

/* ---- names ---- */

static void settle(const char *name, const char *found_text, const char *there_text, const char *wanted)
{
    struct nx_interfaces found = host(found_text),
                         copy = {.item = malloc(sizeof(*found.item) * 32), .count = found.count};
    struct sockaddr_storage list[32] = {{0}};
    struct nx_resolved out;
    char text[512] = "";

    for (size_t i = 0; i < found.count; i++)
        list[i] = found.item[i].address;
    found = host(there_text);
    memcpy(copy.item, found.item, sizeof(*found.item) * 32);
    found.count = copy.count;
    copy.count = host(there_text).count;
    if (nx_resolve_settle(name, list, found.count, &copy, &out) != NEXAR_OK)
        snprintf(text, sizeof(text), "!%s", nexar_last_error());
    for (size_t i = 0; i < out.count; i++) {
        char one[NX_ADDRESS_TEXT];

        nx_host_text(&out.address[i], one);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i == 0 ? "" : ", ", one);
    }
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", out.here ? " here" : "",
             out.loopback ? " loopback" : "");
    if (strcmp(text, wanted) != 0)
        fail_msg("%s (%s): %s, not %s", name, found_text, text, wanted);
    free(copy.item);
}

static void test_settled_names(void **state)
{
    static const char small[] = "lo 127.0.0.1, lo ::1, eth0 10.0.0.5, eth0 fe80::5, -eth1 10.1.0.5, eth0 fd00::5";

    (void)state;
    settle("node-1", "a 10.0.0.9", small, "10.0.0.9");
    settle("node-1", "a 10.0.0.9, a fd00::9, a 10.0.0.9", small, "10.0.0.9, fd00::9");
    settle("localhost", "a ::1, a 127.0.0.1", small, "::1, 127.0.0.1 loopback");
    settle("127.0.0.1", "a 127.0.0.1", small, "127.0.0.1 loopback");
    settle("::1", "a ::1", small, "::1 loopback");
    settle("10.0.0.5", "a 10.0.0.5", small, "10.0.0.5");
    settle("myself", "a 127.0.1.1", small, "127.0.0.1, 10.0.0.5, fd00::5 here");
    settle("127.0.1.1", "a 127.0.1.1", small, "127.0.0.1, 10.0.0.5, fd00::5 here");
    settle("myself", "a 127.0.0.1, a ::1", small, "127.0.0.1, 10.0.0.5, fd00::5 here");
    settle("myself", "a 127.0.1.1, a 10.0.0.5", small, "10.0.0.5, 127.0.0.1, fd00::5 here");
    settle("nowhere", "", small, "!nowhere: it has no address");
    settle("many",
           "a 10.0.0.1, a 10.0.0.2, a 10.0.0.3, a 10.0.0.4, a 10.0.0.5, a 10.0.0.6, a 10.0.0.7, a 10.0.0.8, a 10.0.0.9",
           small, "10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6, 10.0.0.7, 10.0.0.8");
}

static void test_resolve(void **state)
{
    struct nx_interfaces there;
    struct nx_resolved out;
    char text[NX_ADDRESS_TEXT];
    nexar_status status;

    (void)state;
    assert_ok(nx_interfaces_get(&there));
    assert_ok(nx_resolve("localhost", 7000, &there, &out));
    assert_true(out.loopback && !out.here && out.count >= 1);
    nx_endpoint_text(&out.address[0], text);
    assert_true(strcmp(text, "127.0.0.1:7000") == 0 || strcmp(text, "[::1]:7000") == 0);
    assert_ok(nx_resolve("[2001:db8::1]", 1, &there, &out));
    assert_int_equal(out.count, 1);
    nx_endpoint_text(&out.address[0], text);
    assert_string_equal(text, "[2001:db8::1]:1");
    assert_false(out.loopback);
    status = nx_resolve("no such host", 1, &there, &out);
    assert_true(status == NEXAR_ECONFIG || status == NEXAR_EAGAIN); /* a host without a network cannot know */
    assert_non_null(strstr(nexar_last_error(), "no such host: "));
    assert_int_equal(out.count, 0);
    nx_interfaces_free(&there);
}

/* ---- text ---- */

static void test_addresses_as_text(void **state)
{
    static const char *const none[] = {
        "",   "x", "10.0.0", "10.0.0.256",  "10.0.0.1:7", "::1:::",    "[::1",      "::1]",   "[10.0.0.1]",
        "[]", "%", "::1%",   "::1%nothing", "[::1]:7",    " 10.0.0.1", "10.0.0.1 ", "0x7f.1", "1"};
    static const struct {
        const char *text, *back;
    } good[] = {
        {"10.0.0.1", "10.0.0.1:7"},
        {"::1", "[::1]:7"},
        {"[::1]", "[::1]:7"},
        {"2001:DB8:0::1", "[2001:db8::1]:7"},
        {"::ffff:10.0.0.1", "[::ffff:10.0.0.1]:7"},
        {"fe80::1%lo", "[fe80::1%1]:7"},
        {"0.0.0.0", "0.0.0.0:7"},
    };
    struct sockaddr_storage out;
    char text[NX_ADDRESS_TEXT], longest[400];

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        if (nx_address_parse(none[i], 7, &out))
            fail_msg("\"%s\" is an address", none[i]);
    }
    memset(longest, '1', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_false(nx_address_parse(longest, 7, &out));
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(nx_address_parse(good[i].text, 7, &out));
        nx_endpoint_text(&out, text);
        assert_string_equal(text, good[i].back);
    }
}

static void test_endpoints(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {
        {"0.0.0.0:7000", "0.0.0.0", 7000},
        {"[::]:0", "::", 0},
        {"node-1.example:65535", "node-1.example", 65535},
        {"localhost:1", "localhost", 1},
        {"[fe80::1%2]:9", "fe80::1%2", 9},
    };
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "has no port"},
        {"host", "has no port"},
        {"[::1]", "has no port"},
        {"::1:7", "is ambiguous"},
        {"host:", "not a number"},
        {"host:x", "not a number"},
        {"host:65536", "not a number"},
        {"host:-1", "not a number"},
        {"host: 1", "not a number"},
        {"host:1x", "not a number"},
        {"host:000001", "not a number"},
        {":7", "has no host"},
        {"[]:7", "has no host"},
        {"[::1]7", "has no port"},
    };
    char host_name[NX_HOST_NAME], longest[NX_HOST_NAME + 8];
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_ok(nx_endpoint_parse(good[i].text, host_name, &port));
        assert_string_equal(host_name, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(nx_endpoint_parse(bad[i].text, host_name, &port), NEXAR_EINVAL, bad[i].words);
    memset(longest, 'a', NX_HOST_NAME);
    strcpy(longest + NX_HOST_NAME, ":7");
    assert_refused(nx_endpoint_parse(longest, host_name, &port), NEXAR_EINVAL, "too long a name");
    assert_ok(nx_endpoint_parse(longest + 1, host_name, &port));
}

/* ---- this host ---- */

static void test_interfaces_and_routes_of_this_host(void **state)
{
    struct sockaddr_storage from, to = address("127.0.0.1");
    struct nx_interfaces there;
    bool loopback = false, known = false;

    (void)state;
    assert_ok(nx_interfaces_get(&there));
    for (size_t i = 0; i < there.count; i++)
        loopback =
            loopback || (there.item[i].loopback && there.item[i].up && nx_address_same(&there.item[i].address, &to));
    assert_true(loopback);
    assert_true(nx_route((struct sockaddr *)&to, &from));
    assert_true(nx_address_same(&from, &to));
    assert_int_equal(((struct sockaddr_in *)&from)->sin_port, 0);
    to = address("255.255.255.255"); /* needs a permission that nobody asks for */
    assert_false(nx_route((struct sockaddr *)&to, &from));
    if (nx_route_default(&from)) { /* a host without a network has none */
        assert_false(nx_address_is_loopback(&from));
        for (size_t i = 0; i < there.count; i++)
            known = known || nx_address_same(&there.item[i].address, &from);
        assert_true(known);
    }
    nx_interfaces_free(&there);
}

static nexar_status list(void *arg)
{
    struct nx_interfaces there;
    nexar_status status = nx_interfaces_get(&there);

    (void)arg;
    nx_interfaces_free(&there);
    return status;
}

static void test_allocations_fail(void **state)
{
    (void)state;
    torture(list, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_b2_loopback_only_if_all_are_here),
        cmocka_unit_test(test_interfaces),
        cmocka_unit_test(test_bind_and_advertise),
        cmocka_unit_test(test_settled_names),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_addresses_as_text),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_interfaces_and_routes_of_this_host),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
