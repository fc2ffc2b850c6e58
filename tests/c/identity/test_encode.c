/* Hexadecimal and base64url: known answers, every length, every wrong character, one spelling per value. */
#include "identity/kit.h"

static void test_hex_known_answer(void **state)
{
    uint8_t bytes[] = {0x00, 0x0f, 0xa5, 0xff}, back[4];
    char text[9];

    (void)state;
    nx_hex(bytes, 4, text);
    assert_string_equal(text, "000fa5ff");
    assert_true(nx_unhex("000FA5fF", 8, back, 4));
    assert_memory_equal(bytes, back, 4);
}

static void test_base64url_known_answers(void **state)
{
    /* RFC 4648, section 10, without padding */
    static const char *const texts[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    const uint8_t special[] = {0xfb, 0xff, 0xbf};
    char text[16];

    (void)state;
    for (size_t n = 0; n <= 6; n++) {
        nx_base64url("foobar", n, text);
        assert_string_equal(text, texts[n]);
        assert_int_equal(strlen(text), NX_BASE64URL_LENGTH(n));
    }
    nx_base64url(special, 3, text);
    assert_string_equal(text, "-_-_");
}

static void test_every_length_comes_back(void **state)
{
    uint8_t bytes[67], back[67];
    char text[140];

    (void)state;
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        assert_ok(nx_random(bytes, n));
        nx_hex(bytes, n, text);
        assert_true(nx_unhex(text, strlen(text), back, n));
        assert_memory_equal(bytes, back, n);
        nx_base64url(bytes, n, text);
        assert_true(nx_unbase64url(text, strlen(text), back, n));
        assert_memory_equal(bytes, back, n);
    }
}

static void test_wrong_lengths(void **state)
{
    uint8_t out[8];

    (void)state;
    assert_false(nx_unhex("0011", 4, out, 1));
    assert_false(nx_unhex("0011", 4, out, 3));
    assert_false(nx_unhex("001", 3, out, 1));
    assert_false(nx_unbase64url("Zm9v", 4, out, 2));
    assert_false(nx_unbase64url("Zm9v", 4, out, 4));
    assert_false(nx_unbase64url("Z", 1, out, 0));
    assert_false(nx_unbase64url("", 0, out, SIZE_MAX));
}

static void test_every_wrong_character(void **state)
{
    uint8_t out[4];

    (void)state;
    for (int c = 0; c < 256; c++) {
        char hex[] = "00112233", base64[] = "Zm9v";
        bool is_hex = c != 0 && strchr("0123456789abcdefABCDEF", c) != NULL;
        bool is_base64 =
            c != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", c) != NULL;

        hex[c % 8] = (char)c;
        base64[c % 4] = (char)c;
        assert_int_equal(nx_unhex(hex, 8, out, 4), is_hex);
        assert_int_equal(nx_unbase64url(base64, 4, out, 3), is_base64);
    }
}

static void test_spare_bits_must_be_zero(void **state)
{
    uint8_t out[2];

    (void)state;
    assert_true(nx_unbase64url("Zg", 2, out, 1));
    assert_false(nx_unbase64url("Zh", 2, out, 1));
    assert_true(nx_unbase64url("Zm8", 3, out, 2));
    assert_false(nx_unbase64url("Zm9", 3, out, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex_known_answer),        cmocka_unit_test(test_base64url_known_answers),
        cmocka_unit_test(test_every_length_comes_back), cmocka_unit_test(test_wrong_lengths),
        cmocka_unit_test(test_every_wrong_character),   cmocka_unit_test(test_spare_bits_must_be_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
