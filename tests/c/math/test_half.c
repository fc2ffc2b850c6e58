/* tests/c/math/test_half.c - float16 and bfloat16: every value, every place where rounding changes its mind, and sums
 * of them in every set of kernels. */
#include "math/half.h"

#include "base/cpu.h"
#include "reduce_oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

static const nexar_dtype halves[] = {NEXAR_FLOAT16, NEXAR_BFLOAT16};

static float to_float(nexar_dtype dtype, uint16_t bits)
{
    return dtype == NEXAR_FLOAT16 ? nx_f32_of_f16(bits) : nx_f32_of_bf16(bits);
}

static uint16_t to_half(nexar_dtype dtype, float f)
{
    return dtype == NEXAR_FLOAT16 ? nx_f16_of_f32(f) : nx_bf16_of_f32(f);
}

static void test_every_half_is_a_float_and_comes_back(void **state)
{
    (void)state;
    for (size_t d = 0; d < 2; d++)
        for (uint32_t bits = 0; bits <= UINT16_MAX; bits++) {
            float f = to_float(halves[d], (uint16_t)bits);

            if (oracle_is_nan(halves[d], bits)) {
                assert_true(isnan(f));
                assert_int_equal(to_half(halves[d], f), oracle_nan(halves[d]));
            } else {
                assert_true((double)f == oracle_double_of_half(halves[d], bits));
                assert_int_equal(to_half(halves[d], f), bits);
            }
        }
}

/* Between each half and the next: just above it, the middle and what is next to that, just below the next. */
static void test_c13_rounding_is_to_the_nearest_and_ties_to_even(void **state)
{
    (void)state;
    for (size_t d = 0; d < 2; d++)
        for (uint32_t bits = 0; bits < UINT16_MAX; bits++) {
            float from = to_float(halves[d], (uint16_t)bits);
            float to = to_float(halves[d], (uint16_t)(bits + 1));
            float middle = from / 2 + to / 2; /* the float is wide enough, but for the least subnormal bfloat16s */
            float around[5] = {nextafterf(from, to), nextafterf(middle, from), middle, nextafterf(middle, to),
                               nextafterf(to, from)};

            if (!isfinite(from) || isnan(to))
                continue;
            if (!isfinite(to)) /* 65520 and its like: half way to what the next would be */
                around[2] = from + (from - to_float(halves[d], (uint16_t)(bits - 1))) / 2;
            for (size_t i = 0; i < 5; i++)
                assert_int_equal(to_half(halves[d], around[i]), oracle_half_of_double(halves[d], (double)around[i]));
        }
    assert_int_equal(nx_f16_of_f32(65519.996f), 0x7bff);
    assert_int_equal(nx_f16_of_f32(65520.0f), 0x7c00);
    assert_int_equal(nx_f16_of_f32(0x1p-25f), 0x0000); /* a tie with zero, which is even */
    assert_int_equal(nx_f16_of_f32(0x1.8p-24f), 0x0002);
    assert_int_equal(nx_f16_of_f32(-0x1.000002p-25f), 0x8001);
    assert_int_equal(nx_f16_of_f32(0x1.ffcp-15f), 0x0400); /* from a subnormal up to the least normal */
}

/* ---- in the kernels ---- */

static const struct nx_reduce_set *set_here(size_t i)
{
    const struct nx_reduce_set *const sets[] = {&nx_reduce_scalar, nx_reduce_avx2, nx_reduce_avx512, nx_reduce_neon};

    return sets[i] != NULL && (sets[i]->needs & ~nx_cpu_features()) == 0 ? sets[i] : NULL;
}

/* 0.9995 + 1.0, which was 1.0 in the reference wherever no vector was: on tails, and on ARM everywhere. */
static void test_c13_carries_reach_the_exponent(void **state)
{
    enum { MOST = 70 };
    uint16_t acc[MOST];
    uint16_t in[MOST];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (size_t count = 1; count <= MOST && set_here(i) != NULL; count++) {
            for (size_t k = 0; k < count; k++) {
                acc[k] = 0x3bff;
                in[k] = 0x3c00;
            }
            set_here(i)->reduce[NEXAR_SUM][NEXAR_FLOAT16](acc, in, count);
            for (size_t k = 0; k < count; k++)
                assert_int_equal(acc[k], 0x4000);
        }
}

/* Every half with some others, by every operator. */
static void test_c13_every_half_in_every_set(void **state)
{
    enum { ALL = 65536 };
    static uint16_t in[ALL];
    static uint16_t acc[ALL];
    static uint16_t want[ALL];
    static const uint16_t others[] = {0x0001, 0x83ff, 0x3c00, 0x3bff, 0x8400, 0x7bff, 0x3f80, 0x2e66};

    (void)state;
    for (size_t d = 0; d < 2; d++)
        for (nexar_reduce_op op = NEXAR_SUM; op <= NEXAR_MAX; op++)
            for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++) {
                for (uint32_t x = 0; x < ALL; x++) {
                    in[x] = others[k];
                    want[x] = (uint16_t)oracle_reduce(op, halves[d], x, others[k]);
                }
                for (size_t i = 0; i < 4; i++) {
                    if (set_here(i) == NULL)
                        continue;
                    for (uint32_t x = 0; x < ALL; x++)
                        acc[x] = (uint16_t)x;
                    set_here(i)->reduce[op][halves[d]](acc, in, ALL);
                    assert_memory_equal(acc, want, sizeof(acc));
                }
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half_is_a_float_and_comes_back),
        cmocka_unit_test(test_c13_rounding_is_to_the_nearest_and_ties_to_even),
        cmocka_unit_test(test_c13_carries_reach_the_exponent),
        cmocka_unit_test(test_c13_every_half_in_every_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
