/* Join strings: the right ones, every kind of wrong one, and a token that never shows up in an error. */
#include "identity/join_string.h"

#include "identity/kit.h"

#include <ctype.h>

#define TOKEN "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define CA "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define TAIL "?token=" TOKEN "&ca=sha256:" CA

/* The reference's "random" token was the ASN.1 prefix that all keys have in common. */
static void test_s1_token_has_entropy(void **state)
{
    enum { COUNT = 1000 };
    static uint8_t tokens[COUNT][NX_TOKEN_SIZE];
    size_t ones = 0;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        assert_ok(nx_token_make(tokens[i]));
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(tokens[i], tokens[k], NX_TOKEN_SIZE);
    }
    for (int at = 0; at < NX_TOKEN_SIZE; at++) {
        bool seen[256] = {false};
        int values = 0;

        for (int i = 0; i < COUNT; i++) {
            values += !seen[tokens[i][at]];
            seen[tokens[i][at]] = true;
            ones += (size_t)__builtin_popcount(tokens[i][at]);
        }
        assert_true(values > 200); /* 251 of 256 are expected */
    }
    /* 256 000 bits: half of them, give or take 10 standard deviations */
    assert_in_range(ones, 128000 - 2530, 128000 + 2530);
}

static struct nx_join_string parsed(const char *text)
{
    struct nx_join_string join;

    assert_ok(nx_join_string_parse(text, &join));
    return join;
}

static void test_right_strings(void **state)
{
    static const struct {
        const char *text, *host;
        unsigned port;
    } table[] = {
        {"nexar://seed:7000" TAIL, "seed", 7000},
        {"nexar://node-1.cluster_a.example.com:1" TAIL, "node-1.cluster_a.example.com", 1},
        {"nexar://10.0.0.1:65535" TAIL, "10.0.0.1", 65535},
        {"nexar://[::1]:7000" TAIL, "::1", 7000},
        {"nexar://[fe80::1:2]:7000" TAIL, "fe80::1:2", 7000},
        {"nexar://[::ffff:10.0.0.1]:7000" TAIL, "::ffff:10.0.0.1", 7000},
        {"nexar://10.example:7000" TAIL, "10.example", 7000},
        {"nexar://seed:7000?ca=sha256:" CA "&token=" TOKEN, "seed", 7000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct nx_join_string join = parsed(table[i].text);

        assert_int_equal(join.host_count, 1);
        assert_string_equal(join.hosts[0].name, table[i].host);
        assert_int_equal(join.hosts[0].port, table[i].port);
        for (int k = 0; k < 32; k++) {
            assert_int_equal(join.token[k], k);
            assert_int_equal(join.ca_sha256[k], k);
        }
    }
}

static void test_several_addresses(void **state)
{
    struct nx_join_string join = parsed("nexar://10.0.0.1:7000" TAIL "&host=[2001:db8::1]:7001&host=seed.local:7002");

    (void)state;
    assert_int_equal(join.host_count, 3);
    assert_string_equal(join.hosts[1].name, "2001:db8::1");
    assert_int_equal(join.hosts[1].port, 7001);
    assert_string_equal(join.hosts[2].name, "seed.local");
    assert_int_equal(join.hosts[2].port, 7002);
    join = parsed("nexar://a:1?host=b:2&token=" TOKEN "&host=c:3&ca=sha256:" CA);
    assert_int_equal(join.host_count, 3);
    assert_string_equal(join.hosts[2].name, "c");
}

#define L60 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh"

static const struct {
    const char *text, *words;
} wrong[] = {
    {"", "it is empty"},
    {"http://seed:7000" TAIL, "does not begin with nexar://"},
    {"nexar:/seed:7000" TAIL, "does not begin with nexar://"},
    {"NEXAR://seed:7000" TAIL, "does not begin with nexar://"},
    {"seed:7000" TAIL, "does not begin with nexar://"},
    {TOKEN, "does not begin with nexar://"},
    {" nexar://seed:7000" TAIL, "character 1 is a space"},
    {"nexar://seed:7000" TAIL "\n", "is a space, a line end"},
    {"nexar://seed:7000" TAIL " ", "is a space"},
    {"nexar://se\xc3\xa9"
     "d:7000" TAIL,
     "character 11 is"},
    {"nexar://seed:7000", "nothing after the address"},
    {"nexar://seed:7000&token=" TOKEN "&ca=sha256:" CA, "nothing after the address"},
    {"nexar://seed:7000/" TAIL, "a / where the address ends"},
    {"nexar://" TAIL, "address 1 has no port"},
    {"nexar://seed" TAIL, "address 1 has no port"},
    {"nexar://:7000" TAIL, "the host of address 1 is empty"},
    {"nexar://seed:" TAIL, "the port of address 1"},
    {"nexar://seed:0" TAIL, "the port of address 1"},
    {"nexar://seed:07000" TAIL, "the port of address 1"},
    {"nexar://seed:65536" TAIL, "the port of address 1"},
    {"nexar://seed:100000" TAIL, "the port of address 1"},
    {"nexar://seed:4294967297" TAIL, "the port of address 1"},
    {"nexar://seed:+700" TAIL, "the port of address 1"},
    {"nexar://seed:70o0" TAIL, "the port of address 1"},
    {"nexar://seed:" TOKEN TAIL, "the port of address 1"},
    {"nexar://::1:7000" TAIL, "IPv6 addresses need brackets"},
    {"nexar://[::1:7000" TAIL, "address 1 has no closing bracket"},
    {"nexar://[::1]" TAIL, "address 1 has no port"},
    {"nexar://[::1]7000" TAIL, "address 1 has no port"},
    {"nexar://[]:7000" TAIL, "the host of address 1 is not an IPv6 address"},
    {"nexar://[10.0.0.1]:7000" TAIL, "the host of address 1 is not an IPv6 address"},
    {"nexar://[::g]:7000" TAIL, "the host of address 1 is not an IPv6 address"},
    {"nexar://[fe80::1%eth0]:7000" TAIL, "has a zone"},
    {"nexar://10.0.0:7000" TAIL, "is not an IPv4 address"},
    {"nexar://10.0.0.256:7000" TAIL, "is not an IPv4 address"},
    {"nexar://10.0.0.1.2:7000" TAIL, "is not an IPv4 address"},
    {"nexar://123:7000" TAIL, "is not an IPv4 address"},
    {"nexar://a..b:7000" TAIL, "the host of address 1 has an empty part"},
    {"nexar://.a:7000" TAIL, "the host of address 1 has an empty part"},
    {"nexar://" TOKEN "@seed:7000" TAIL, "a character that no host name has"},
    {"nexar://se,ed:7000" TAIL, "a character that no host name has"},
    {"nexar://" L60 "abcd:7000" TAIL, "a part is too long"},
    {"nexar://" L60 "." L60 "." L60 "." L60 ".abcdefghij:7000" TAIL, "the host of address 1 is too long"},
    {"nexar://seed:7000?ca=sha256:" CA, "the token is missing"},
    {"nexar://seed:7000?token=&ca=sha256:" CA, "the token has 0 characters instead of 43"},
    {"nexar://seed:7000?token=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh&ca=sha256:" CA, "42 characters instead of 43"},
    {"nexar://seed:7000?token=" TOKEN "=&ca=sha256:" CA, "44 characters instead of 43"},
    {"nexar://seed:7000?token=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+&ca=sha256:" CA, "the token has a character"},
    {"nexar://seed:7000?token=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9&ca=sha256:" CA, "the token has a character"},
    {"nexar://seed:7000?token=" TOKEN "&token=" TOKEN "&ca=sha256:" CA, "two tokens"},
    {"nexar://seed:7000?token=" TOKEN, "the fingerprint of the CA is missing"},
    {"nexar://seed:7000?token=" TOKEN "&ca=" CA, "ca does not begin with sha256:"},
    {"nexar://seed:7000?token=" TOKEN "&ca=", "ca does not begin with sha256:"},
    {"nexar://seed:7000?token=" TOKEN "&ca=sha1:" CA, "ca does not begin with sha256:"},
    {"nexar://seed:7000?token=" TOKEN "&ca=sha256:" CA "0", "ca has 65 digits instead of 64"},
    {"nexar://seed:7000?token=" TOKEN "&ca=sha256:", "ca has 0 digits instead of 64"},
    {"nexar://seed:7000?token=" TOKEN "&ca=sha256:g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
     "no hexadecimal digit"},
    {"nexar://seed:7000" TAIL "&ca=sha256:" CA, "two values of ca"},
    {"nexar://seed:7000" TAIL "&", "parameter 3 has no value"},
    {"nexar://seed:7000?&token=" TOKEN "&ca=sha256:" CA, "parameter 1 has no value"},
    {"nexar://seed:7000?" TOKEN "&ca=sha256:" CA, "parameter 1 has no value"},
    {"nexar://seed:7000?" TOKEN "=&ca=sha256:" CA, "parameter 1 is unknown"},
    {"nexar://seed:7000?AAECAwQFBgc0=x&ca=sha256:" CA, "parameter 1 is unknown"},
    {"nexar://seed:7000?=" TOKEN "&ca=sha256:" CA, "parameter 1 is unknown"},
    {"nexar://seed:7000" TAIL "&rank=3", "unknown parameter \"rank\""},
    {"nexar://seed:7000?tokne=" TOKEN "&ca=sha256:" CA, "unknown parameter \"tokne\""},
    {"nexar://seed:7000?Token=" TOKEN "&ca=sha256:" CA, "unknown parameter \"Token\""},
    {"nexar://seed:7000?token:" TOKEN "&ca=sha256:" CA, "parameter 1 has no value"},
    {"nexar://seed:7000" TAIL "&host=", "address 2 has no port"},
    {"nexar://seed:7000" TAIL "&host=b:2&host=c", "address 3 has no port"},
    {"nexar://seed:7000" TAIL "&host=" TOKEN, "address 2 has no port"},
    {"nexar://a:1" TAIL "&host=a:1&host=a:1&host=a:1&host=a:1&host=a:1&host=a:1&host=a:1&host=a:1",
     "more than 8 addresses"},
};

/* No run of 6 characters of the token may be in a sentence. */
static void assert_no_token(const char *sentence)
{
    static const char token[] = TOKEN;

    for (size_t i = 0; i + 6 <= sizeof(TOKEN) - 1; i++) {
        char piece[7] = {0};

        memcpy(piece, token + i, 6);
        if (strstr(sentence, piece) != NULL)
            fail_msg("the sentence \"%s\" repeats the token", sentence);
    }
}

static void test_wrong_strings_name_the_part_and_never_the_token(void **state)
{
    struct nx_join_string zeros;

    (void)state;
    memset(&zeros, 0, sizeof(zeros));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct nx_join_string join;
        nexar_status status = nx_join_string_parse(wrong[i].text, &join);

        if (status != NEXAR_ECONFIG || strstr(nexar_last_error(), wrong[i].words) == NULL)
            fail_msg("\"%s\": %s, \"%s\"", wrong[i].text, nexar_status_name(status), nexar_last_error());
        if (strncmp(nexar_last_error(), "join string: ", 13) != 0)
            fail_msg("\"%s\" does not say of what", nexar_last_error());
        assert_no_token(nexar_last_error());
        assert_memory_equal(&join, &zeros, sizeof(join));
    }
}

static void test_long_strings(void **state)
{
    char *text = malloc(NX_JOIN_STRING_LIMIT + 2);
    struct nx_join_string join;

    (void)state;
    memset(text, 'a', NX_JOIN_STRING_LIMIT + 1);
    text[NX_JOIN_STRING_LIMIT + 1] = '\0';
    memcpy(text, "nexar://", 8);
    assert_refused(nx_join_string_parse(text, &join), NEXAR_ECONFIG, "longer than 4096 characters");
    text[NX_JOIN_STRING_LIMIT] = '\0';
    assert_refused(nx_join_string_parse(text, &join), NEXAR_ECONFIG, "nothing after the address");
    free(text);
}

/* Any one character lost, doubled or exchanged: refused, or read as a string that differs. */
static void test_typos(void **state)
{
    static const char text[] = "nexar://[2001:db8::1]:7000" TAIL "&host=10.0.0.1:7001";
    struct nx_join_string right = parsed(text), join;
    char copy[sizeof(text) + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        memcpy(copy, text, i);
        memcpy(copy + i, text + i + 1, sizeof(text) - i - 1); /* lost */
        if (nx_join_string_parse(copy, &join) == NEXAR_OK)
            assert_memory_not_equal(&join, &right, sizeof(join));
        else
            assert_no_token(nexar_last_error());
        memcpy(copy, text, i + 1);
        memcpy(copy + i + 1, text + i, sizeof(text) - i); /* doubled */
        if (nx_join_string_parse(copy, &join) == NEXAR_OK)
            assert_memory_not_equal(&join, &right, sizeof(join));
        else
            assert_no_token(nexar_last_error());
        for (int c = 1; c < 256; c++) {
            memcpy(copy, text, sizeof(text));
            copy[i] = (char)c;
            if (nx_join_string_parse(copy, &join) != NEXAR_OK)
                assert_no_token(nexar_last_error());
            else if (toupper(c) != toupper(text[i])) /* the case of hexadecimal digits does not matter */
                assert_memory_not_equal(&join, &right, sizeof(join));
        }
    }
}

static void test_b4_string_carries_the_token_unchanged(void **state)
{
    struct nx_join_string join, back;

    (void)state;
    for (int i = 0; i < 200; i++) {
        char *text;

        memset(&join, 0, sizeof(join));
        assert_ok(nx_token_make(join.token));
        assert_ok(nx_random(join.ca_sha256, NX_SHA256_SIZE));
        join.host_count = 1 + (size_t)i % NX_JOIN_HOSTS;
        for (size_t k = 0; k < join.host_count; k++) {
            static const char *const names[] = {"10.1.2.3", "2001:db8::5", "seed.example.com"};

            strcpy(join.hosts[k].name, names[(k + (size_t)i) % 3]);
            join.hosts[k].port = (uint16_t)(i * 327 + 1);
        }
        assert_ok(nx_join_string_format(&join, &text));
        assert_ok(nx_join_string_parse(text, &back));
        assert_memory_equal(&join, &back, sizeof(join));
        nx_free_secret(text);
    }
}

static void test_format_fits(void **state)
{
    struct nx_join_string join = {.host_count = NX_JOIN_HOSTS}, back;
    char *text;

    (void)state;
    for (size_t k = 0; k < NX_JOIN_HOSTS; k++) {
        strcpy(join.hosts[k].name, L60 "." L60 "." L60 "." L60 ".abcdefg");
        join.hosts[k].port = 65535;
    }
    assert_ok(nx_join_string_format(&join, &text));
    assert_true(strlen(text) <= NX_JOIN_STRING_LIMIT);
    assert_ok(nx_join_string_parse(text, &back));
    assert_memory_equal(&join, &back, sizeof(join));
    nx_free_secret(text);

    join = (struct nx_join_string){.host_count = 1, .hosts = {{"10.0.0.1", 7000}}};
    assert_ok(nx_join_string_format(&join, &text));
    assert_true(strlen(text) < 160);
    nx_free_secret(text);
}

static void test_format_refuses_what_it_could_not_read(void **state)
{
    struct nx_join_string join = {.host_count = 0};
    char *text;

    (void)state;
    assert_refused(nx_join_string_format(&join, &text), NEXAR_EINVAL, "1 to 8 addresses, not 0");
    join.host_count = 9;
    assert_refused(nx_join_string_format(&join, &text), NEXAR_EINVAL, "1 to 8 addresses, not 9");
    join = (struct nx_join_string){.host_count = 1, .hosts = {{"seed", 0}}};
    assert_refused(nx_join_string_format(&join, &text), NEXAR_EINVAL, "needs a port");
    join.hosts[0] = (struct nx_join_host){"se&ed", 1};
    assert_refused(nx_join_string_format(&join, &text), NEXAR_EINVAL, "no host name has");
    join.hosts[0] = (struct nx_join_host){"fe80::1%eth0", 1};
    assert_refused(nx_join_string_format(&join, &text), NEXAR_EINVAL, "zone");
    assert_null(text);
}

static nexar_status format(void *arg)
{
    char *text;
    nexar_status status = nx_join_string_format(arg, &text);

    nx_free_secret(text);
    return status;
}

static void test_allocations_fail(void **state)
{
    struct nx_join_string join = parsed("nexar://a:1" TAIL);

    (void)state;
    torture(format, &join);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s1_token_has_entropy),
        cmocka_unit_test(test_right_strings),
        cmocka_unit_test(test_several_addresses),
        cmocka_unit_test(test_wrong_strings_name_the_part_and_never_the_token),
        cmocka_unit_test(test_long_strings),
        cmocka_unit_test(test_typos),
        cmocka_unit_test(test_b4_string_carries_the_token_unchanged),
        cmocka_unit_test(test_format_fits),
        cmocka_unit_test(test_format_refuses_what_it_could_not_read),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
