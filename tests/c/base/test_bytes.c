/* Reader and writer: little endian, never past the end, failed for good after the first step too far. */
#include "base/bytes.h"
#include "check.h"
#include "rng.h"

static void test_little_endian(void **state)
{
    uint8_t b[15];
    static const uint8_t wanted[15] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
                                       0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08};
    struct nx_writer w = nx_writer(b, sizeof(b));
    struct nx_reader r = nx_reader(b, sizeof(b));

    (void)state;
    nx_write8(&w, 0x01);
    nx_write16(&w, 0x0203);
    nx_write32(&w, 0x04050607);
    nx_write64(&w, UINT64_C(0x08090a0b0c0d0e0f));
    assert_false(w.failed);
    assert_ptr_equal(w.at, w.end);
    assert_memory_equal(b, wanted, sizeof(b));
    assert_int_equal(nx_read8(&r), 0x01);
    assert_int_equal(nx_read16(&r), 0x0203);
    assert_int_equal(nx_read32(&r), 0x04050607);
    assert_true(nx_read64(&r) == UINT64_C(0x08090a0b0c0d0e0f));
    assert_false(r.failed);
}

/* Memory of exactly that size, so that a sanitizer sees a step too far. */
static void test_bounds(void **state)
{
    struct rng rng = {.state = 2};

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t n = rng_below(&rng, 20), left = n;
        uint8_t *memory = malloc(n == 0 ? 1 : n);
        struct nx_reader r = nx_reader(memory, n);
        struct nx_writer w = nx_writer(memory, n);
        bool failed = false;

        memset(memory, 0xee, n == 0 ? 1 : n);
        for (int step = 0; step < 8; step++) {
            size_t want = rng_below(&rng, 9);
            uint8_t bytes[9] = {0};

            if (failed || want > left)
                failed = true;
            else
                left -= want;
            nx_write_bytes(&w, bytes, want);
            assert_int_equal(nx_read(&r, want) == NULL, failed);
            assert_int_equal(r.failed, failed);
            assert_int_equal(w.failed, failed);
            assert_true(w.at <= w.end && r.at <= r.end);
        }
        if (failed) {
            const uint8_t *at = r.at;

            assert_true((nx_read8(&r) | nx_read16(&r) | nx_read32(&r) | nx_read64(&r)) == 0);
            assert_ptr_equal(r.at, at);
            assert_null(nx_write(&w, 0));
        }
        free(memory);
    }
}

static void test_nothing(void **state)
{
    struct nx_reader r = nx_reader(NULL, 0);
    struct nx_writer w = nx_writer(NULL, 0);

    (void)state;
    nx_write_bytes(&w, NULL, 0);
    nx_read(&r, 0);
    assert_false(w.failed || r.failed);
    nx_read8(&r);
    nx_write8(&w, 1);
    assert_true(w.failed && r.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little_endian),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
