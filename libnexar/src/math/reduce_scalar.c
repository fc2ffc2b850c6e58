/* math/reduce_scalar.c - the kernels in plain C: the definition of what every operator does.
 *
 * Owner: nobody, they are pure.  Written to be obviously right: the tests compare all other kernels with these bit for
 * bit.  A new type is four functions and a column of the table. */
#include "math/reduce_table.h"

#include <math.h>
#include <string.h>

#define INTEGER(name, type, wide)           \
    static type name##_sum(type x, type y)  \
    {                                       \
        return (type)((wide)x + (wide)y);   \
    }                                       \
    static type name##_prod(type x, type y) \
    {                                       \
        return (type)((wide)x * (wide)y);   \
    }                                       \
    static type name##_min(type x, type y)  \
    {                                       \
        return x < y ? x : y;               \
    }                                       \
    static type name##_max(type x, type y)  \
    {                                       \
        return x > y ? x : y;               \
    }

#define FLOATING(name, type, nan)           \
    static type name##_sum(type x, type y)  \
    {                                       \
        type r = x + y;                     \
        return isnan(r) ? nan : r;          \
    }                                       \
    static type name##_prod(type x, type y) \
    {                                       \
        type r = x * y;                     \
        return isnan(r) ? nan : r;          \
    }                                       \
    static type name##_min(type x, type y)  \
    {                                       \
        if (isnan(x) || isnan(y))           \
            return nan;                     \
        if (x == y)                         \
            return signbit(x) ? x : y;      \
        return x < y ? x : y;               \
    }                                       \
    static type name##_max(type x, type y)  \
    {                                       \
        if (isnan(x) || isnan(y))           \
            return nan;                     \
        if (x == y)                         \
            return signbit(x) ? y : x;      \
        return x > y ? x : y;               \
    }

/* memcpy: the pointers need not be aligned. */
#define KERNEL(name, op, type)                                           \
    static void name##_##op##_n(void *acc, const void *in, size_t count) \
    {                                                                    \
        unsigned char *a = acc;                                          \
        const unsigned char *b = in;                                     \
                                                                         \
        for (size_t i = 0; i < count; i++) {                             \
            type x;                                                      \
            type y;                                                      \
                                                                         \
            memcpy(&x, a + i * sizeof(type), sizeof(type));              \
            memcpy(&y, b + i * sizeof(type), sizeof(type));              \
            x = name##_##op(x, y);                                       \
            memcpy(a + i * sizeof(type), &x, sizeof(type));              \
        }                                                                \
    }

#define KERNELS(name, type)  \
    KERNEL(name, sum, type)  \
    KERNEL(name, prod, type) \
    KERNEL(name, min, type)  \
    KERNEL(name, max, type)

FLOATING(f32, float, __builtin_nanf(""))
FLOATING(f64, double, __builtin_nan(""))
INTEGER(i32, int32_t, uint32_t)
INTEGER(i64, int64_t, uint64_t)
KERNELS(f32, float)
KERNELS(f64, double)
KERNELS(i32, int32_t)
KERNELS(i64, int64_t)

#define ROW(op)                                                                                       \
    {                                                                                                 \
        [NEXAR_FLOAT32] = f32_##op##_n, [NEXAR_FLOAT64] = f64_##op##_n, [NEXAR_INT32] = i32_##op##_n, \
        [NEXAR_INT64] = i64_##op##_n,                                                                 \
    }

const nx_reduce_table nx_reduce_scalar = {
    [NEXAR_SUM] = ROW(sum),
    [NEXAR_PROD] = ROW(prod),
    [NEXAR_MIN] = ROW(min),
    [NEXAR_MAX] = ROW(max),
};
