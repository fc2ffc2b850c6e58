/* tests/c/math/test_reduce.c - every kernel bit for bit against the scalar ones; those against what the header
 * promises. */
#include "math/reduce.h"
#include "math/reduce_table.h"

#include "base/cpu.h"
#include "rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define TAILS 68
#define SHIFTS 16
#define BIG 8

static const nexar_dtype dtypes[] = {NEXAR_FLOAT32, NEXAR_FLOAT64, NEXAR_INT32, NEXAR_INT64};
static const nexar_reduce_op ops[] = {NEXAR_SUM, NEXAR_PROD, NEXAR_MIN, NEXAR_MAX};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NAN32 0x7fc00000u
#define NAN64 0x7ff8000000000000u

static const uint32_t edges32[] = {
    0x00000000, 0x80000000, /* zeros */
    0x3f800000, 0xbf800000, /* ones */
    0x00000001, 0x80000001, /* least subnormals */
    0x007fffff, 0x00800000, /* greatest subnormal, least normal */
    0x7f7fffff, 0xff7fffff, /* greatest */
    0x7f800000, 0xff800000, /* infinities */
    0x7fc00000, 0xffc00000, /* quiet NaNs */
    0x7fc12345, 0xffffffff, /* with payload */
    0x7f800001, 0xffbfffff, /* signalling */
    0x7fffffff, 0x00000002, /* as integers: greatest, small */
    0x00010000, 0x0000ffff,
};

static const uint64_t edges64[] = {
    0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x0000000000000001,
    0x8000000000000001, 0x000fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff, 0xffefffffffffffff,
    0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000, 0x7ff8000012345678,
    0xffffffffffffffff, 0x7ff0000000000001, 0xfff7ffffffffffff, 0x7fffffffffffffff, 0x00000000ffffffff,
    0x0000000100000000, 0x123456789abcdef0,
};

/* Random bits, every third element from the edge values. */
static void fill(struct rng *rng, unsigned char *p, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = rng_next(rng);
        bool edge = rng_below(rng, 3) == 0;

        if (size == 4) {
            uint32_t bits32 = edge ? edges32[rng_below(rng, COUNT(edges32))] : (uint32_t)bits;
            memcpy(p + i * size, &bits32, size);
        } else {
            bits = edge ? edges64[rng_below(rng, COUNT(edges64))] : bits;
            memcpy(p + i * size, &bits, size);
        }
    }
}

/* One kernel against the scalar one, for all tails, with acc and in off alignment by all distances, and nothing beyond
 * the end touched. */
static void compare(nx_reduce_fn fn, nx_reduce_fn oracle, size_t size, struct rng *rng)
{
    unsigned char in[SHIFTS + TAILS * BIG];
    unsigned char acc[SHIFTS + TAILS * BIG + SHIFTS];
    unsigned char want[sizeof(acc)];

    for (size_t shift = 0; shift < SHIFTS; shift++)
        for (size_t count = 0; count < TAILS; count++) {
            size_t in_shift = (size_t)rng_below(rng, SHIFTS);

            fill(rng, in + in_shift, count, size);
            memset(acc, 0xa5, sizeof(acc));
            fill(rng, acc + shift, count, size);
            memcpy(want, acc, sizeof(acc));
            oracle(want + shift, in + in_shift, count);
            fn(acc + shift, in + in_shift, count);
            assert_memory_equal(acc, want, sizeof(acc));
        }
}

static void test_kernels_equal_the_scalar_ones(void **state)
{
    struct rng rng = {1};

    (void)state;
    for (size_t d = 0; d < COUNT(dtypes); d++)
        for (size_t o = 0; o < COUNT(ops); o++) {
            nx_reduce_fn oracle = nx_reduce_scalar[ops[o]][dtypes[d]];
            nx_reduce_fn chosen = nx_reduce_kernel(ops[o], dtypes[d]);

            assert_non_null(oracle);
            assert_non_null(chosen);
            for (int round = 0; round < 4; round++)
                compare(chosen, oracle, nexar_dtype_size(dtypes[d]), &rng);
        }
}

/* Integers have vectors too, and a build that forgot the flag of the vector file is noticed. */
static void test_c15_every_kernel_has_vectors(void **state)
{
    (void)state;
    if (!nx_cpu_has(NX_CPU_AVX2))
        skip();
    for (size_t d = 0; d < COUNT(dtypes); d++)
        for (size_t o = 0; o < COUNT(ops); o++) {
            assert_non_null(nx_reduce_avx2[ops[o]][dtypes[d]]);
            assert_ptr_equal(nx_reduce_kernel(ops[o], dtypes[d]), nx_reduce_avx2[ops[o]][dtypes[d]]);
        }
}

static uint32_t apply32(nx_reduce_fn fn, uint32_t x, uint32_t y)
{
    fn(&x, &y, 1);
    return x;
}

static uint64_t apply64(nx_reduce_fn fn, uint64_t x, uint64_t y)
{
    fn(&x, &y, 1);
    return x;
}

/* What recursive doubling rests on: both partners get the same bits. */
static void test_operands_may_be_swapped(void **state)
{
    (void)state;
    for (size_t o = 0; o < COUNT(ops); o++)
        for (size_t d = 0; d < COUNT(dtypes); d++) {
            nx_reduce_fn fn = nx_reduce_scalar[ops[o]][dtypes[d]];

            if (nexar_dtype_size(dtypes[d]) == 4) {
                for (size_t i = 0; i < COUNT(edges32); i++)
                    for (size_t k = 0; k < COUNT(edges32); k++)
                        assert_int_equal(apply32(fn, edges32[i], edges32[k]), apply32(fn, edges32[k], edges32[i]));
            } else {
                for (size_t i = 0; i < COUNT(edges64); i++)
                    for (size_t k = 0; k < COUNT(edges64); k++)
                        assert_true(apply64(fn, edges64[i], edges64[k]) == apply64(fn, edges64[k], edges64[i]));
            }
        }
}

static bool is_nan32(uint32_t bits)
{
    return (bits & 0x7fffffff) > 0x7f800000;
}

static bool is_nan64(uint64_t bits)
{
    return (bits & 0x7fffffffffffffff) > 0x7ff0000000000000;
}

static void test_c14_a_nan_is_always_the_same_nan(void **state)
{
    (void)state;
    for (size_t o = 0; o < COUNT(ops); o++) {
        nx_reduce_fn f32 = nx_reduce_scalar[ops[o]][NEXAR_FLOAT32];
        nx_reduce_fn f64 = nx_reduce_scalar[ops[o]][NEXAR_FLOAT64];

        for (size_t i = 0; i < COUNT(edges32); i++)
            for (size_t k = 0; k < COUNT(edges32); k++) {
                uint32_t r = apply32(f32, edges32[i], edges32[k]);

                if (is_nan32(edges32[i]) || is_nan32(edges32[k]))
                    assert_int_equal(r, NAN32);
                else
                    assert_true(!is_nan32(r) || r == NAN32);
            }
        for (size_t i = 0; i < COUNT(edges64); i++)
            for (size_t k = 0; k < COUNT(edges64); k++) {
                uint64_t r = apply64(f64, edges64[i], edges64[k]);

                if (is_nan64(edges64[i]) || is_nan64(edges64[k]))
                    assert_true(r == NAN64);
                else
                    assert_true(!is_nan64(r) || r == NAN64);
            }
    }
    /* inf - inf and 0 * inf, whose sign is the processor's choice */
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_SUM][NEXAR_FLOAT32], 0x7f800000, 0xff800000), NAN32);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_PROD][NEXAR_FLOAT32], 0x00000000, 0x7f800000), NAN32);
    assert_true(apply64(nx_reduce_scalar[NEXAR_SUM][NEXAR_FLOAT64], 0x7ff0000000000000, 0xfff0000000000000) == NAN64);
    assert_true(apply64(nx_reduce_scalar[NEXAR_PROD][NEXAR_FLOAT64], 0xfff0000000000000, 0) == NAN64);
}

static void test_min_and_max_order_the_zeros(void **state)
{
    (void)state;
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_MIN][NEXAR_FLOAT32], 0, 0x80000000), 0x80000000);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_MAX][NEXAR_FLOAT32], 0x80000000, 0), 0);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_MAX][NEXAR_FLOAT32], 0x80000000, 0x80000000), 0x80000000);
    assert_true(apply64(nx_reduce_scalar[NEXAR_MIN][NEXAR_FLOAT64], 0, 0x8000000000000000) == 0x8000000000000000);
    assert_true(apply64(nx_reduce_scalar[NEXAR_MAX][NEXAR_FLOAT64], 0x8000000000000000, 0) == 0);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_MIN][NEXAR_FLOAT32], 0xff800000, 0x7f7fffff), 0xff800000);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_MAX][NEXAR_FLOAT32], 0xff800000, 0xff7fffff), 0xff7fffff);
}

static void test_integers_wrap(void **state)
{
    (void)state;
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_SUM][NEXAR_INT32], 0x7fffffff, 1), 0x80000000);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_PROD][NEXAR_INT32], 0x80000000, 0xffffffff), 0x80000000);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_MIN][NEXAR_INT32], 0xffffffff, 1), 0xffffffff);
    assert_int_equal(apply32(nx_reduce_scalar[NEXAR_MAX][NEXAR_INT32], 0xffffffff, 1), 1);
    assert_true(apply64(nx_reduce_scalar[NEXAR_SUM][NEXAR_INT64], INT64_MAX, 1) == (uint64_t)INT64_MIN);
    assert_true(apply64(nx_reduce_scalar[NEXAR_PROD][NEXAR_INT64], 0x0000000100000001, 0x0000000300000002) ==
                0x0000000500000002);
    assert_true(apply64(nx_reduce_scalar[NEXAR_MIN][NEXAR_INT64], UINT64_MAX, 1) == UINT64_MAX);
}

/* The tail of an array is not rounded differently from its body: the same values, wherever they stand. */
static void test_c14_position_does_not_matter(void **state)
{
    struct rng rng = {7};
    unsigned char x[TAILS * BIG];
    unsigned char y[TAILS * BIG];
    unsigned char whole[TAILS * BIG];

    (void)state;
    for (size_t d = 0; d < COUNT(dtypes); d++)
        for (size_t o = 0; o < COUNT(ops); o++) {
            nx_reduce_fn fn = nx_reduce_kernel(ops[o], dtypes[d]);
            size_t size = nexar_dtype_size(dtypes[d]);

            fill(&rng, x, TAILS, size);
            fill(&rng, y, TAILS, size);
            memcpy(whole, x, sizeof(x));
            fn(whole, y, TAILS);
            for (size_t i = 0; i < TAILS; i++)
                fn(x + i * size, y + i * size, 1);
            assert_memory_equal(x, whole, TAILS * size);
        }
}

static void test_unknown_pairs_have_no_kernel(void **state)
{
    char text[128];
    char small[8];

    (void)state;
    assert_null(nx_reduce_kernel(NEXAR_BAND, NEXAR_FLOAT32));
    assert_null(nx_reduce_kernel(NEXAR_SUM, (nexar_dtype)99));
    assert_null(nx_reduce_kernel((nexar_reduce_op)99, NEXAR_FLOAT32));
    assert_null(nx_reduce_kernel((nexar_reduce_op)-1, NEXAR_FLOAT32));
    nx_reduce_supported(NEXAR_FLOAT32, text, sizeof(text));
    assert_string_equal(text, "float32 takes sum, prod, min, max");
    nx_reduce_supported((nexar_dtype)99, text, sizeof(text));
    assert_non_null(strstr(text, "? is not reduced; float32, float64"));
    nx_reduce_supported(NEXAR_INT64, small, sizeof(small));
    assert_string_equal(small, "int64 t");
    nx_reduce_supported(NEXAR_INT64, small, 0);
}

/* All ways to cut three elements and a bit into three pieces, and random ways to cut many. */
static void test_stream_takes_any_pieces(void **state)
{
    struct rng rng = {3};
    unsigned char in[41 * BIG];
    unsigned char acc[41 * BIG];
    unsigned char before[41 * BIG];
    unsigned char want[41 * BIG];
    struct nx_reduce_stream stream;

    (void)state;
    for (size_t d = 0; d < COUNT(dtypes); d++) {
        size_t size = nexar_dtype_size(dtypes[d]);
        nx_reduce_fn fn = nx_reduce_kernel(NEXAR_SUM, dtypes[d]);
        size_t few = 4 * size;
        size_t many = 41 * size;

        fill(&rng, in, 41, size);
        fill(&rng, before, 41, size);
        memcpy(want, before, many);
        fn(want, in, 41);
        for (size_t first = 0; first <= few; first++)
            for (size_t second = first; second <= few; second++) {
                memcpy(acc, before, few);
                nx_reduce_stream_init(&stream, fn, size, acc, 4);
                assert_true(nx_reduce_feed(&stream, in, first));
                assert_true(nx_reduce_feed(&stream, in + first, second - first));
                assert_true(nx_reduce_feed(&stream, in + second, few - second));
                assert_memory_equal(acc, want, few);
                assert_int_equal(stream.left, 0);
                assert_int_equal(stream.carried, 0);
            }
        for (int round = 0; round < 500; round++) {
            memcpy(acc, before, many);
            nx_reduce_stream_init(&stream, fn, size, acc, 41);
            for (size_t at = 0; at < many;) {
                size_t n = rng_below(&rng, 1 + (round % 2 == 0 ? 9 : 70));

                n = n < many - at ? n : many - at;
                assert_true(nx_reduce_feed(&stream, in + at, n));
                at += n;
            }
            assert_memory_equal(acc, want, many);
        }
    }
}

static void test_stream_refuses_too_much(void **state)
{
    float acc[2] = {1, 2};
    const float in[3] = {10, 20, 30};
    struct nx_reduce_stream stream;

    (void)state;
    nx_reduce_stream_init(&stream, nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32), 4, acc, 2);
    assert_false(nx_reduce_feed(&stream, in, 9));
    assert_true(nx_reduce_feed(&stream, in, 8));
    assert_false(nx_reduce_feed(&stream, in, 1));
    assert_true(nx_reduce_feed(&stream, NULL, 0));
    assert_true(acc[0] == 11 && acc[1] == 22);
    nx_reduce_stream_init(&stream, nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32), 4, NULL, 0);
    assert_true(nx_reduce_feed(&stream, NULL, 0));
    assert_false(nx_reduce_feed(&stream, in, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_equal_the_scalar_ones), cmocka_unit_test(test_c15_every_kernel_has_vectors),
        cmocka_unit_test(test_operands_may_be_swapped),       cmocka_unit_test(test_c14_a_nan_is_always_the_same_nan),
        cmocka_unit_test(test_min_and_max_order_the_zeros),   cmocka_unit_test(test_integers_wrap),
        cmocka_unit_test(test_c14_position_does_not_matter),  cmocka_unit_test(test_unknown_pairs_have_no_kernel),
        cmocka_unit_test(test_stream_takes_any_pieces),       cmocka_unit_test(test_stream_refuses_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
