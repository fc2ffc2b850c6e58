/* math/reduce_simd.h - all kernels of an instruction set, from the few functions in which instruction sets differ.
 *
 * Included once by a file that is compiled for it, after math/reduce_vec.h and its own
 * - step_min_i8 ... step_max_u64: extremes of integers;
 * - clean_f32(r, x, y), clean_f64: r, but the quiet NaN wherever x or y is NaN;
 * - step_min_f32, step_max_f32, step_min_f64, step_max_f64: with -0 < +0, and NaN if either is;
 * - first_f16, second_f16: half of the elements each as float32; join_f16: rounds both halves back.
 * What it defines is what NX_REDUCE_KERNELS and NX_REDUCE_AVERAGES list. */
#ifndef NX_MATH_REDUCE_SIMD_H
#define NX_MATH_REDUCE_SIMD_H

#include "math/reduce_vec.h"

/* ---- integers ---- */

#define SIGNLESS(bits)                           \
    INLINE vec step_sum_##bits(vec x, vec y)     \
    {                                            \
        return (vec)((vu##bits)x + (vu##bits)y); \
    }                                            \
    INLINE vec step_prod_##bits(vec x, vec y)    \
    {                                            \
        return (vec)((vu##bits)x * (vu##bits)y); \
    }

SIGNLESS(8)
SIGNLESS(16)
SIGNLESS(32)
SIGNLESS(64)

INLINE vec step_band(vec x, vec y)
{
    return x & y;
}

INLINE vec step_bor(vec x, vec y)
{
    return x | y;
}

INLINE vec step_bxor(vec x, vec y)
{
    return x ^ y;
}

/* ---- bools: any byte but 0 is true ---- */

INLINE vec step_all(vec x, vec y)
{
    return (vec)(x != 0) & (vec)(y != 0) & 1;
}

INLINE vec step_any(vec x, vec y)
{
    return (vec)((x | y) != 0) & 1;
}

INLINE vec step_odd(vec x, vec y)
{
    return ((vec)(x != 0) ^ (vec)(y != 0)) & 1;
}

/* ---- floats ---- */

#define FLOATING(name)                          \
    INLINE vec step_sum_##name(vec x, vec y)    \
    {                                           \
        vec r = (vec)((v##name)x + (v##name)y); \
        return clean_##name(r, r, r);           \
    }                                           \
    INLINE vec step_prod_##name(vec x, vec y)   \
    {                                           \
        vec r = (vec)((v##name)x * (v##name)y); \
        return clean_##name(r, r, r);           \
    }                                           \
    INLINE vec step_avg_##name(vec x, vec y)    \
    {                                           \
        vec r = (vec)((v##name)x / (v##name)y); \
        return clean_##name(r, r, r);           \
    }

FLOATING(f32)
FLOATING(f64)

/* A bfloat16 is the upper half of a float32: the elements at even places and those at odd ones need no moving about.
 * (The instructions that AVX-512 has for it lose subnormals.) */
INLINE vec first_bf16(vec x)
{
    return (vec)((vu32)x << 16);
}

INLINE vec second_bf16(vec x)
{
    return (vec)((vu32)x & 0xffff0000);
}

INLINE vu32 round_bf16(vec x)
{
    vu32 bits = (vu32)x;

    return bits + 0x7fff + (bits >> 16 & 1);
}

INLINE vec join_bf16(vec first, vec second)
{
    return (vec)(round_bf16(first) >> 16 | (round_bf16(second) & 0xffff0000));
}

/* One operation in float32, rounded once. */
#define HALF_STEP(name, op)                                                      \
    INLINE vec step_##op##_##name(vec x, vec y)                                  \
    {                                                                            \
        return join_##name(step_##op##_f32(first_##name(x), first_##name(y)),    \
                           step_##op##_f32(second_##name(x), second_##name(y))); \
    }

#define HALF(name)                                                                               \
    HALF_STEP(name, sum)                                                                         \
    HALF_STEP(name, prod)                                                                        \
    HALF_STEP(name, min)                                                                         \
    HALF_STEP(name, max)                                                                         \
    INLINE vec step_avg_##name(vec x, vec n)                                                     \
    {                                                                                            \
        return join_##name(step_avg_f32(first_##name(x), n), step_avg_f32(second_##name(x), n)); \
    }

HALF(f16)
HALF(bf16)

/* ---- kernels ---- */

#define KERNEL(name, step, size)                              \
    static void name(void *acc, const void *in, size_t count) \
    {                                                         \
        walk(acc, in, count *(size), step);                   \
    }

#define FLOAT_KERNEL(name, step, size)                        \
    static void name(void *acc, const void *in, size_t count) \
    {                                                         \
        uint64_t fp = nx_fp_enter();                          \
                                                              \
        walk(acc, in, count *(size), step);                   \
        nx_fp_leave(fp);                                      \
    }

#define AVERAGE(name, step, size, splat)                      \
    static void name(void *acc, size_t count, uint32_t ranks) \
    {                                                         \
        uint64_t fp = nx_fp_enter();                          \
                                                              \
        walk_with(acc, splat(ranks), count *(size), step);    \
        nx_fp_leave(fp);                                      \
    }

#define INTEGERS(bits)                              \
    KERNEL(sum_##bits, step_sum_##bits, bits / 8)   \
    KERNEL(prod_##bits, step_prod_##bits, bits / 8) \
    KERNEL(band_##bits, step_band, bits / 8)        \
    KERNEL(bor_##bits, step_bor, bits / 8)          \
    KERNEL(bxor_##bits, step_bxor, bits / 8)        \
    KERNEL(min_i##bits, step_min_i##bits, bits / 8) \
    KERNEL(min_u##bits, step_min_u##bits, bits / 8) \
    KERNEL(max_i##bits, step_max_i##bits, bits / 8) \
    KERNEL(max_u##bits, step_max_u##bits, bits / 8)

#define FLOATS(name, size, splat)                     \
    FLOAT_KERNEL(sum_##name, step_sum_##name, size)   \
    FLOAT_KERNEL(prod_##name, step_prod_##name, size) \
    FLOAT_KERNEL(min_##name, step_min_##name, size)   \
    FLOAT_KERNEL(max_##name, step_max_##name, size)   \
    AVERAGE(avg_##name, step_avg_##name, size, splat)

INTEGERS(8)
INTEGERS(16)
INTEGERS(32)
INTEGERS(64)
KERNEL(all_bool, step_all, 1)
KERNEL(any_bool, step_any, 1)
KERNEL(odd_bool, step_odd, 1)
FLOATS(f32, 4, splat_f32)
FLOATS(f64, 8, splat_f64)
FLOATS(f16, 2, splat_f32)
FLOATS(bf16, 2, splat_f32)

#endif
