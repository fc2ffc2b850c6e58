/* tests/c/math/test_reduce.c - which kernels there are, which of them are chosen, and what all of them promise; each
 * against an oracle that computes in another way. */
#include "math/reduce.h"
#include "math/reduce_table.h"

#include "base/cpu.h"
#include "base/status.h"
#include "reduce_oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fenv.h>
#include <string.h>

enum {
    BIG = 8,
    MANY = 200,
};

#define AVX2 (NX_CPU_AVX2 | NX_CPU_F16C)
#define AVX512 (NX_CPU_AVX512F | NX_CPU_AVX512BW | NX_CPU_AVX512DQ | NX_CPU_AVX512VL | NX_CPU_AVX512VBMI2)

/* The sets that run here, the scalar one first; ends with NULL. */
static const struct nx_reduce_set *const *sets_here(void)
{
    static const struct nx_reduce_set *here[5];
    const struct nx_reduce_set *const sets[] = {&nx_reduce_scalar, nx_reduce_avx2, nx_reduce_avx512, nx_reduce_neon};
    size_t n = 0;

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        if (sets[i] != NULL && (sets[i]->needs & ~nx_cpu_features()) == 0)
            here[n++] = sets[i];
    }
    here[n] = NULL;
    return here;
}

static void test_kernels_equal_the_oracle(void **state)
{
    (void)state;
    for (const struct nx_reduce_set *const *set = sets_here(); *set != NULL; set++) {
        const char *fault = oracle_compare(*set);

        if (fault != NULL)
            fail_msg("%s", fault);
    }
}

/* ---- which kernels ---- */

/* The reference asked for F16C and used AVX2. */
static void test_c15_a_set_is_chosen_only_with_all_that_it_uses(void **state)
{
    (void)state;
    if (nx_reduce_avx2 == NULL || nx_reduce_avx512 == NULL) {
        assert_non_null(nx_reduce_choose(0)); /* another architecture has one choice */
        assert_ptr_equal(nx_reduce_choose(UINT32_MAX), nx_reduce_choose(0));
        return;
    }
    assert_ptr_equal(nx_reduce_choose(0), &nx_reduce_scalar);
    assert_ptr_equal(nx_reduce_choose(NX_CPU_AVX2), &nx_reduce_scalar);
    assert_ptr_equal(nx_reduce_choose(NX_CPU_F16C), &nx_reduce_scalar);
    assert_ptr_equal(nx_reduce_choose(AVX2), nx_reduce_avx2);
    assert_ptr_equal(nx_reduce_choose(AVX2 | AVX512), nx_reduce_avx512);
    for (uint32_t bit = 1; bit <= AVX512; bit <<= 1)
        if ((AVX512 & bit) != 0)
            assert_ptr_equal(nx_reduce_choose((AVX2 | AVX512) & ~bit), nx_reduce_avx2);
}

/* Integers have vectors too, and a build that forgot the flags of a file is noticed. */
static void test_c15_every_kernel_has_vectors(void **state)
{
    const struct nx_reduce_set *best = nx_reduce_choose(nx_cpu_features());

    (void)state;
#if defined(__x86_64__)
    assert_non_null(nx_reduce_avx2);
    assert_non_null(nx_reduce_avx512);
#elif defined(__aarch64__)
    assert_non_null(nx_reduce_neon);
#endif
    for (size_t op = 0; op < NX_REDUCE_OPS; op++)
        for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++) {
            assert_ptr_equal(nx_reduce_kernel((nexar_reduce_op)op, (nexar_dtype)dtype), best->reduce[op][dtype]);
            if (best != &nx_reduce_scalar && best->reduce[op][dtype] != NULL)
                assert_ptr_not_equal(best->reduce[op][dtype], nx_reduce_scalar.reduce[op][dtype]);
        }
}

static void test_only_averages_are_finished(void **state)
{
    (void)state;
    for (size_t op = 0; op < NX_REDUCE_OPS; op++)
        for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++) {
            bool there = nx_reduce_finish((nexar_reduce_op)op, (nexar_dtype)dtype) != NULL;

            assert_true(there == (op == NEXAR_AVG && dtype != NEXAR_BOOL));
        }
    assert_null(nx_reduce_finish(NEXAR_AVG, (nexar_dtype)99));
}

static void refuse(nexar_reduce_op op, nexar_dtype dtype, const char *words)
{
    assert_int_equal(nx_reduce_check("all_reduce", op, dtype), NEXAR_EINVAL);
    assert_string_equal(nexar_last_error(), words);
    assert_null(nx_reduce_kernel(op, dtype));
}

static void test_what_does_not_exist_says_what_does(void **state)
{
    (void)state;
    for (size_t op = 0; op < NX_REDUCE_OPS; op++)
        for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++) {
            bool has = oracle_has((nexar_reduce_op)op, (nexar_dtype)dtype);

            assert_true(has == (nx_reduce_check("reduce", (nexar_reduce_op)op, (nexar_dtype)dtype) == NEXAR_OK));
        }
    refuse(NEXAR_BAND, NEXAR_FLOAT32,
           "all_reduce: band of float32 does not exist; float32 takes sum, prod, min, max, avg, and band is for int8, "
           "int32, int64, uint8, uint32, uint64, int16, uint16, bool");
    refuse(NEXAR_SUM, NEXAR_BOOL,
           "all_reduce: sum of bool does not exist; bool takes prod, min, max, band, bor, bxor, and sum is for "
           "float32, float64, float16, bfloat16, int8, int32, int64, uint8, uint32, uint64, int16, uint16");
    refuse(NEXAR_SUM, (nexar_dtype)99, "all_reduce: 99 is not a data type");
    refuse((nexar_reduce_op)99, NEXAR_FLOAT32, "all_reduce: 99 is not a reduction operator");
    refuse((nexar_reduce_op)-1, NEXAR_FLOAT32, "all_reduce: -1 is not a reduction operator");
}

/* ---- what they promise ---- */

/* What recursive doubling rests on: both partners get the same bits. */
static void test_operands_may_be_swapped(void **state)
{
    struct rng rng = {5};
    unsigned char x[MANY * BIG];
    unsigned char y[MANY * BIG];
    unsigned char xy[MANY * BIG];
    unsigned char yx[MANY * BIG];

    (void)state;
    for (const struct nx_reduce_set *const *set = sets_here(); *set != NULL; set++)
        for (size_t op = 0; op < NX_REDUCE_OPS; op++)
            for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++) {
                nx_reduce_fn fn = (*set)->reduce[op][dtype];
                size_t nbytes = MANY * oracle_size((nexar_dtype)dtype);

                if (fn == NULL)
                    continue;
                oracle_fill(&rng, x, MANY, (nexar_dtype)dtype);
                oracle_fill(&rng, y, MANY, (nexar_dtype)dtype);
                memcpy(xy, x, nbytes);
                memcpy(yx, y, nbytes);
                fn(xy, y, MANY);
                fn(yx, x, MANY);
                assert_memory_equal(xy, yx, nbytes);
            }
}

/* What sums by host rest on: where the order is said not to matter, x + (y + z) has the bits of (x + y) + z; of the
 * others, some differ. */
static void test_any_order_where_it_is_said(void **state)
{
    struct rng rng = {6};
    unsigned char x[MANY * BIG];
    unsigned char y[MANY * BIG];
    unsigned char z[MANY * BIG];
    unsigned char left[MANY * BIG];

    (void)state;
    for (size_t op = 0; op < NX_REDUCE_OPS; op++)
        for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++) {
            nx_reduce_fn fn = nx_reduce_kernel((nexar_reduce_op)op, (nexar_dtype)dtype);
            bool any = nx_reduce_any_order((nexar_reduce_op)op, (nexar_dtype)dtype);
            size_t nbytes = MANY * oracle_size((nexar_dtype)dtype);
            int differ = 0;

            for (int round = 0; round < 20 && fn != NULL; round++) {
                oracle_fill(&rng, x, MANY, (nexar_dtype)dtype);
                oracle_fill(&rng, y, MANY, (nexar_dtype)dtype);
                oracle_fill(&rng, z, MANY, (nexar_dtype)dtype);
                memcpy(left, x, nbytes);
                fn(left, y, MANY);
                fn(left, z, MANY);
                fn(y, z, MANY);
                fn(x, y, MANY);
                differ += memcmp(left, x, nbytes) != 0;
            }
            if (fn != NULL && (differ == 0) != any)
                fail_msg("%s of %s", nexar_reduce_op_name((nexar_reduce_op)op), nexar_dtype_name((nexar_dtype)dtype));
        }
}

static uint64_t apply(nx_reduce_fn fn, nexar_dtype dtype, uint64_t x, uint64_t y)
{
    unsigned char a[BIG];
    unsigned char b[BIG];

    oracle_store(a, oracle_size(dtype), x);
    oracle_store(b, oracle_size(dtype), y);
    fn(a, b, 1);
    return oracle_load(a, oracle_size(dtype));
}

static void test_c14_a_nan_is_always_the_same_nan(void **state)
{
    static const struct {
        nexar_dtype dtype;
        uint64_t nan, inf, negative_inf;
    } floats[] = {
        {NEXAR_FLOAT16, 0x7e00, 0x7c00, 0xfc00},
        {NEXAR_BFLOAT16, 0x7fc0, 0x7f80, 0xff80},
        {NEXAR_FLOAT32, 0x7fc00000, 0x7f800000, 0xff800000},
        {NEXAR_FLOAT64, 0x7ff8000000000000, 0x7ff0000000000000, 0xfff0000000000000},
    };

    (void)state;
    for (const struct nx_reduce_set *const *set = sets_here(); *set != NULL; set++)
        for (size_t i = 0; i < sizeof(floats) / sizeof(floats[0]); i++) {
            nexar_dtype dtype = floats[i].dtype;
            uint64_t loud = floats[i].negative_inf | 1; /* signalling, negative, with payload */

            for (size_t op = NEXAR_SUM; op <= NEXAR_AVG; op++) {
                nx_reduce_fn fn = (*set)->reduce[op][dtype];

                assert_true(apply(fn, dtype, loud, 0) == floats[i].nan);
                assert_true(apply(fn, dtype, floats[i].inf, loud) == floats[i].nan);
                assert_true(apply(fn, dtype, UINT64_MAX, loud) == floats[i].nan);
            }
            /* inf - inf and 0 * inf, whose sign is the processor's choice */
            assert_true(apply((*set)->reduce[NEXAR_SUM][dtype], dtype, floats[i].inf, floats[i].negative_inf) ==
                        floats[i].nan);
            assert_true(apply((*set)->reduce[NEXAR_PROD][dtype], dtype, 0, floats[i].inf) == floats[i].nan);
        }
}

/* The tail of an array is not rounded differently from its body, nor one processor's results from another's. */
static void test_c14_neither_position_nor_processor_matters(void **state)
{
    struct rng rng = {7};
    unsigned char x[MANY * BIG];
    unsigned char y[MANY * BIG];
    unsigned char one[MANY * BIG];
    unsigned char whole[MANY * BIG];

    (void)state;
    for (size_t op = 0; op < NX_REDUCE_OPS; op++)
        for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++) {
            size_t size = oracle_size((nexar_dtype)dtype);

            if (nx_reduce_scalar.reduce[op][dtype] == NULL)
                continue;
            oracle_fill(&rng, x, MANY, (nexar_dtype)dtype);
            oracle_fill(&rng, y, MANY, (nexar_dtype)dtype);
            memcpy(one, x, sizeof(x));
            for (size_t i = 0; i < MANY; i++)
                nx_reduce_scalar.reduce[op][dtype](one + i * size, y + i * size, 1);
            for (const struct nx_reduce_set *const *set = sets_here(); *set != NULL; set++) {
                memcpy(whole, x, sizeof(x));
                (*set)->reduce[op][dtype](whole, y, MANY);
                assert_memory_equal(one, whole, MANY * size);
            }
        }
}

static void switch_subnormals_off(void)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(UINT64_C(1) << 24));
#endif
}

/* A library made with -ffast-math switches subnormals off for its whole process: for some ranks, maybe, and not all. */
static void test_settings_of_the_thread_do_not_matter(void **state)
{
    struct rng rng = {11};
    unsigned char x[MANY * BIG];
    unsigned char y[MANY * BIG];
    unsigned char want[MANY * BIG];
    fenv_t usual;

    (void)state;
    fegetenv(&usual);
    for (const struct nx_reduce_set *const *set = sets_here(); *set != NULL; set++)
        for (size_t op = NEXAR_SUM; op <= NEXAR_AVG; op++)
            for (size_t dtype = 0; dtype <= NEXAR_BFLOAT16; dtype++) {
                size_t nbytes = MANY * oracle_size((nexar_dtype)dtype);
                int mode;

                oracle_fill(&rng, x, MANY, (nexar_dtype)dtype);
                oracle_fill(&rng, y, MANY, (nexar_dtype)dtype);
                memcpy(want, x, nbytes);
                (*set)->reduce[op][dtype](want, y, MANY);
                (*set)->avg[dtype](want, MANY, 3);
                switch_subnormals_off();
                fesetround(FE_UPWARD);
                (*set)->reduce[op][dtype](x, y, MANY);
                (*set)->avg[dtype](x, MANY, 3);
                mode = fegetround();
                fesetenv(&usual);
                assert_int_equal(mode, FE_UPWARD); /* and they are left as they were */
                assert_memory_equal(x, want, nbytes);
            }
}

/* ---- in pieces ---- */

/* All ways to cut four elements into three pieces, and random ways to cut many. */
static void check_stream(nexar_dtype dtype, struct rng *rng)
{
    unsigned char in[41 * BIG];
    unsigned char acc[41 * BIG];
    unsigned char before[41 * BIG];
    unsigned char want[41 * BIG];
    struct nx_reduce_stream stream;
    size_t size = nexar_dtype_size(dtype);
    nx_reduce_fn fn = nx_reduce_kernel(NEXAR_MAX, dtype);
    size_t few = 4 * size;
    size_t many = 41 * size;

    oracle_fill(rng, in, 41, dtype);
    oracle_fill(rng, before, 41, dtype);
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
            size_t n = rng_below(rng, 1 + (round % 2 == 0 ? 9 : 70));

            n = n < many - at ? n : many - at;
            assert_true(nx_reduce_feed(&stream, in + at, n));
            at += n;
        }
        assert_memory_equal(acc, want, many);
    }
}

static void test_stream_takes_any_pieces(void **state)
{
    struct rng rng = {3};

    (void)state;
    for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++)
        check_stream((nexar_dtype)dtype, &rng);
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
        cmocka_unit_test(test_kernels_equal_the_oracle),
        cmocka_unit_test(test_c15_a_set_is_chosen_only_with_all_that_it_uses),
        cmocka_unit_test(test_c15_every_kernel_has_vectors),
        cmocka_unit_test(test_only_averages_are_finished),
        cmocka_unit_test(test_what_does_not_exist_says_what_does),
        cmocka_unit_test(test_operands_may_be_swapped),
        cmocka_unit_test(test_any_order_where_it_is_said),
        cmocka_unit_test(test_c14_a_nan_is_always_the_same_nan),
        cmocka_unit_test(test_c14_neither_position_nor_processor_matters),
        cmocka_unit_test(test_settings_of_the_thread_do_not_matter),
        cmocka_unit_test(test_stream_takes_any_pieces),
        cmocka_unit_test(test_stream_refuses_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
