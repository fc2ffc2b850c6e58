/* UTF-8: all sequences of up to three bytes and the edges of four, against an encoder. */
#include "wire/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* The bytes of a code point, packed big-endian into one number with the length on top. */
static uint64_t pack(const uint8_t *p, size_t n)
{
    uint64_t packed = n;

    for (size_t i = 0; i < n; i++)
        packed = packed << 8 | p[i];
    return packed;
}

static size_t encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

static bool is_code_point(uint32_t c)
{
    return c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
}

/* Every code point is accepted whole and refused when cut. */
static void test_all_code_points(void **state)
{
    uint8_t p[4];

    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        size_t n = encode(c, p);

        assert_int_equal(nx_utf8_valid(p, n), is_code_point(c));
        if (n > 1)
            assert_false(nx_utf8_valid(p, n - 1));
    }
    assert_true(nx_utf8_valid(NULL, 0));
}

/* Decodes without asking whether the form is the shortest one; the length that the first byte announces, 0 if it
 * cannot. */
static size_t decode(const uint8_t *p, uint32_t *c)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF8 ? 4 : 0;

    *c = n <= 1 ? p[0] : p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | (p[i] & 0x3F);
    return n;
}

/* A sequence is valid exactly if encoding what it means gives it back. */
static bool expect(const uint8_t *p, size_t n)
{
    uint8_t again[4];
    uint32_t c;

    if (decode(p, &c) != n || !is_code_point(c))
        return false;
    return encode(c, again) == n && pack(p, n) == pack(again, n);
}

static void test_all_sequences(void **state)
{
    uint8_t p[4];

    (void)state;
    for (uint32_t x = 0; x < 1 << 8; x++) {
        p[0] = (uint8_t)x;
        assert_int_equal(nx_utf8_valid(p, 1), expect(p, 1));
    }
    for (uint32_t x = 0xC0 << 8; x < 1 << 16; x++) {
        p[0] = (uint8_t)(x >> 8);
        p[1] = (uint8_t)x;
        assert_int_equal(nx_utf8_valid(p, 2), expect(p, 2));
    }
    for (uint32_t x = 0xE0 << 16; x < 1 << 24; x++) {
        p[0] = (uint8_t)(x >> 16);
        p[1] = (uint8_t)(x >> 8);
        p[2] = (uint8_t)x;
        p[3] = 0x80;
        /* A first byte of four takes the fourth; after a valid three the fourth stands alone and is wrong. */
        if (nx_utf8_valid(p, 4) != expect(p, 4) || nx_utf8_valid(p, 3) != expect(p, 3))
            fail_msg("%06x", x);
    }
}

static void test_wrong_in_the_middle(void **state)
{
    char text[] = "ascii \xE2\x82\xAC and more";

    (void)state;
    assert_true(nx_utf8_valid(text, sizeof(text) - 1));
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        char kept = text[i];

        text[i] = (char)0xFF;
        assert_false(nx_utf8_valid(text, sizeof(text) - 1));
        text[i] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_code_points),
        cmocka_unit_test(test_all_sequences),
        cmocka_unit_test(test_wrong_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
