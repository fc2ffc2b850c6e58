/* math/reduce_scalar.c - the kernels in plain C: the definition of what every operator does.
 *
 * Owner: nobody, they are pure.  Written to be obviously right; used where no other set is. */
#include "math/fpenv.h"
#include "math/half.h"
#include "math/reduce_table.h"

#include <math.h>

/* memcpy: the pointers need not be aligned. */
#define KERNEL(name, type, function)                          \
    static void name(void *acc, const void *in, size_t count) \
    {                                                         \
        unsigned char *a = acc;                               \
        const unsigned char *b = in;                          \
        uint64_t fp = nx_fp_enter();                          \
                                                              \
        for (size_t i = 0; i < count; i++) {                  \
            type x;                                           \
            type y;                                           \
                                                              \
            memcpy(&x, a + i * sizeof(type), sizeof(type));   \
            memcpy(&y, b + i * sizeof(type), sizeof(type));   \
            x = function(x, y);                               \
            memcpy(a + i * sizeof(type), &x, sizeof(type));   \
        }                                                     \
        nx_fp_leave(fp);                                      \
    }

/* ---- integers: sums and products wrap, as those of unsigned numbers ---- */

#define SIGNLESS(bits, wide)                                                  \
    static uint##bits##_t one_sum_##bits(uint##bits##_t x, uint##bits##_t y)  \
    {                                                                         \
        return (uint##bits##_t)((wide)x + (wide)y);                           \
    }                                                                         \
    static uint##bits##_t one_prod_##bits(uint##bits##_t x, uint##bits##_t y) \
    {                                                                         \
        return (uint##bits##_t)((wide)x * (wide)y);                           \
    }                                                                         \
    static uint##bits##_t one_band_##bits(uint##bits##_t x, uint##bits##_t y) \
    {                                                                         \
        return x & y;                                                         \
    }                                                                         \
    static uint##bits##_t one_bor_##bits(uint##bits##_t x, uint##bits##_t y)  \
    {                                                                         \
        return x | y;                                                         \
    }                                                                         \
    static uint##bits##_t one_bxor_##bits(uint##bits##_t x, uint##bits##_t y) \
    {                                                                         \
        return x ^ y;                                                         \
    }                                                                         \
    KERNEL(sum_##bits, uint##bits##_t, one_sum_##bits)                        \
    KERNEL(prod_##bits, uint##bits##_t, one_prod_##bits)                      \
    KERNEL(band_##bits, uint##bits##_t, one_band_##bits)                      \
    KERNEL(bor_##bits, uint##bits##_t, one_bor_##bits)                        \
    KERNEL(bxor_##bits, uint##bits##_t, one_bxor_##bits)

#define ORDERED(name, type)                    \
    static type one_min_##name(type x, type y) \
    {                                          \
        return x < y ? x : y;                  \
    }                                          \
    static type one_max_##name(type x, type y) \
    {                                          \
        return x > y ? x : y;                  \
    }                                          \
    KERNEL(min_##name, type, one_min_##name)   \
    KERNEL(max_##name, type, one_max_##name)

SIGNLESS(8, uint32_t)
SIGNLESS(16, uint32_t)
SIGNLESS(32, uint32_t)
SIGNLESS(64, uint64_t)
ORDERED(i8, int8_t)
ORDERED(i16, int16_t)
ORDERED(i32, int32_t)
ORDERED(i64, int64_t)
ORDERED(u8, uint8_t)
ORDERED(u16, uint16_t)
ORDERED(u32, uint32_t)
ORDERED(u64, uint64_t)

/* ---- bools: what comes from elsewhere may have other bytes than 0 and 1 ---- */

static uint8_t one_all(uint8_t x, uint8_t y)
{
    return x != 0 && y != 0;
}

static uint8_t one_any(uint8_t x, uint8_t y)
{
    return x != 0 || y != 0;
}

static uint8_t one_odd(uint8_t x, uint8_t y)
{
    return (x != 0) != (y != 0);
}

KERNEL(all_bool, uint8_t, one_all)
KERNEL(any_bool, uint8_t, one_any)
KERNEL(odd_bool, uint8_t, one_odd)

/* ---- floats ---- */

#define FLOATING(name, type, nan)               \
    static type one_sum_##name(type x, type y)  \
    {                                           \
        type r = x + y;                         \
        return isnan(r) ? nan : r;              \
    }                                           \
    static type one_prod_##name(type x, type y) \
    {                                           \
        type r = x * y;                         \
        return isnan(r) ? nan : r;              \
    }                                           \
    static type one_min_##name(type x, type y)  \
    {                                           \
        if (isnan(x) || isnan(y))               \
            return nan;                         \
        if (x == y)                             \
            return signbit(x) ? x : y;          \
        return x < y ? x : y;                   \
    }                                           \
    static type one_max_##name(type x, type y)  \
    {                                           \
        if (isnan(x) || isnan(y))               \
            return nan;                         \
        if (x == y)                             \
            return signbit(x) ? y : x;          \
        return x > y ? x : y;                   \
    }                                           \
    static type one_avg_##name(type x, type n)  \
    {                                           \
        type r = x / n;                         \
        return isnan(r) ? nan : r;              \
    }

/* One operation in float32, rounded once. */
#define HALF_STEP(name, op)                                                                  \
    static uint16_t one_##op##_##name(uint16_t x, uint16_t y)                                \
    {                                                                                        \
        return nx_##name##_of_f32(one_##op##_f32(nx_f32_of_##name(x), nx_f32_of_##name(y))); \
    }

#define HALF(name)                                                      \
    HALF_STEP(name, sum)                                                \
    HALF_STEP(name, prod)                                               \
    HALF_STEP(name, min)                                                \
    HALF_STEP(name, max)                                                \
    static uint16_t one_avg_##name(uint16_t x, float n)                 \
    {                                                                   \
        return nx_##name##_of_f32(one_avg_f32(nx_f32_of_##name(x), n)); \
    }

#define AVERAGE(name, type, wide)                                   \
    static void avg_##name(void *acc, size_t count, uint32_t ranks) \
    {                                                               \
        unsigned char *p = acc;                                     \
        uint64_t fp = nx_fp_enter();                                \
                                                                    \
        for (size_t i = 0; i < count; i++) {                        \
            type x;                                                 \
                                                                    \
            memcpy(&x, p + i * sizeof(type), sizeof(type));         \
            x = one_avg_##name(x, (wide)ranks);                     \
            memcpy(p + i * sizeof(type), &x, sizeof(type));         \
        }                                                           \
        nx_fp_leave(fp);                                            \
    }

#define KERNELS(name, type, wide)              \
    KERNEL(sum_##name, type, one_sum_##name)   \
    KERNEL(prod_##name, type, one_prod_##name) \
    KERNEL(min_##name, type, one_min_##name)   \
    KERNEL(max_##name, type, one_max_##name)   \
    AVERAGE(name, type, wide)

FLOATING(f32, float, __builtin_nanf(""))
FLOATING(f64, double, __builtin_nan(""))
HALF(f16)
HALF(bf16)
KERNELS(f32, float, float)
KERNELS(f64, double, double)
KERNELS(f16, uint16_t, float)
KERNELS(bf16, uint16_t, float)

const struct nx_reduce_set nx_reduce_scalar = {
    .name = "scalar",
    .reduce = NX_REDUCE_KERNELS,
    .avg = NX_REDUCE_AVERAGES,
};
