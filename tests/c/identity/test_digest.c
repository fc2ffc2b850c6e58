/* Known answers, boundaries between pieces, comparison at every position. */
#include "identity/kit.h"

static void assert_hex(const uint8_t *bytes, size_t size, const char *hex)
{
    char text[129];

    nx_hex(bytes, size, text);
    assert_string_equal(text, hex);
}

static void test_sha256_known_answers(void **state)
{
    uint8_t out[NX_SHA256_SIZE];

    (void)state;
    assert_ok(nx_sha256("abc", 3, out)); /* FIPS 180-4 */
    assert_hex(out, sizeof(out), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_ok(nx_sha256(NULL, 0, out));
    assert_hex(out, sizeof(out), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_hmac_known_answer(void **state)
{
    const char *text = "what do ya want for nothing?";
    uint8_t out[NX_SHA256_SIZE];

    (void)state;
    assert_ok(nx_hmac_sha256("Jefe", 4, text, strlen(text), out)); /* RFC 4231, case 2 */
    assert_hex(out, sizeof(out), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void test_spans_know_their_borders(void **state)
{
    static const char *const splits[][3] = {
        {"abc", "def", "g"}, {"ab", "cdef", "g"}, {"abcdef", "", "g"}, {"abcdefg", "", ""}};
    uint8_t out[4][NX_SHA256_SIZE], again[NX_SHA256_SIZE];

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct nx_span spans[3];

        for (int k = 0; k < 3; k++)
            spans[k] = (struct nx_span){splits[i][k], strlen(splits[i][k])};
        assert_ok(nx_sha256_spans(spans, 3, out[i]));
        assert_ok(nx_sha256_spans(spans, 3, again));
        assert_memory_equal(out[i], again, NX_SHA256_SIZE);
        assert_ok(nx_sha256_spans(spans, 2, again));
        assert_memory_not_equal(out[i], again, NX_SHA256_SIZE);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(out[i], out[k], NX_SHA256_SIZE);
    }
}

static void test_s5_comparison_sees_every_bit(void **state)
{
    uint8_t a[64], b[64];

    (void)state;
    assert_ok(nx_random(a, sizeof(a)));
    memcpy(b, a, sizeof(a));
    assert_true(nx_equal(a, b, sizeof(a)));
    for (size_t bit = 0; bit < 8 * sizeof(a); bit++) {
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(nx_equal(a, b, sizeof(a)));
        assert_true(nx_equal(a, b, bit / 8));
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_random_differs(void **state)
{
    uint8_t a[32], b[32];

    (void)state;
    assert_ok(nx_random(a, sizeof(a)));
    assert_ok(nx_random(b, sizeof(b)));
    assert_memory_not_equal(a, b, sizeof(a));
}

static void test_hmac_refuses_a_key_over_the_limit(void **state)
{
    (void)state;
    assert_refused(nx_hmac_sha256("", (size_t)INT32_MAX + 1, "", 0, (uint8_t[NX_SHA256_SIZE]){0}), NEXAR_ESYSTEM,
                   "HMAC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_known_answers),     cmocka_unit_test(test_hmac_known_answer),
        cmocka_unit_test(test_spans_know_their_borders), cmocka_unit_test(test_s5_comparison_sees_every_bit),
        cmocka_unit_test(test_random_differs),           cmocka_unit_test(test_hmac_refuses_a_key_over_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
