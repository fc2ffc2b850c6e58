/* math/reduce_simd.h - all kernels of an instruction set, from the few functions in which instruction sets differ.
 *
 * Included once by a file that is compiled for it, after math/reduce_vec.h and its own
 * - pick(mask, x, y): where a byte of the mask is all ones from x, where it is zero from y;
 * - step_min_i8 ... step_max_u64: extremes of integers;
 * - clean_f32(r, x, y), clean_f64: r, but the quiet NaN wherever x or y is NaN;
 * - step_min_f32, step_max_f32, step_min_f64, step_max_f64: with -0 < +0, and NaN if either is;
 * - load_f16, store_f16: V / 2 bytes of float16 as a vector of float32, and rounded back.
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

#define FLOATING(name)                         \
    INLINE vec raw_sum_##name(vec x, vec y)    \
    {                                          \
        return (vec)((v##name)x + (v##name)y); \
    }                                          \
    INLINE vec raw_prod_##name(vec x, vec y)   \
    {                                          \
        return (vec)((v##name)x * (v##name)y); \
    }                                          \
    INLINE vec raw_avg_##name(vec x, vec n)    \
    {                                          \
        return (vec)((v##name)x / (v##name)n); \
    }                                          \
    INLINE vec step_sum_##name(vec x, vec y)   \
    {                                          \
        vec r = raw_sum_##name(x, y);          \
        return clean_##name(r, r, r);          \
    }                                          \
    INLINE vec step_prod_##name(vec x, vec y)  \
    {                                          \
        vec r = raw_prod_##name(x, y);         \
        return clean_##name(r, r, r);          \
    }                                          \
    INLINE vec step_avg_##name(vec x, vec n)   \
    {                                          \
        vec r = raw_avg_##name(x, n);          \
        return clean_##name(r, r, r);          \
    }

FLOATING(f32)
FLOATING(f64)

/* ---- halves: sums and products in float32, rounded once; extremes as they are ---- */

/* A bfloat16 is the upper half of a float32: the elements at even places and those at odd ones need no moving about.
 * (The instructions that AVX-512 has for it lose subnormals.) */
INLINE vec even_bf16(vec x)
{
    return (vec)((vu32)x << 16);
}

INLINE vec odd_bf16(vec x)
{
    return (vec)((vu32)x & 0xffff0000);
}

/* A NaN stays one: what was made of bfloat16s has zeros below, so that nothing is carried. */
INLINE vu32 round_bf16(vec x)
{
    vu32 bits = (vu32)x;

    return bits + 0x7fff + (bits >> 16 & 1);
}

/* Bits without the sign. */
INLINE vec magnitude(vec x)
{
    return (vec)((vi16)x & 0x7fff);
}

/* r, but the quiet NaN wherever the magnitude is one of a NaN. */
INLINE vec clean_f16(vec r, vec magnitude)
{
    return pick((vec)((vi16)magnitude > 0x7c00), (vec)((vi16){0} + 0x7e00), r);
}

INLINE vec clean_bf16(vec r, vec magnitude)
{
    return pick((vec)((vi16)magnitude > 0x7f80), (vec)((vi16){0} + 0x7fc0), r);
}

INLINE vec join_bf16(vec even, vec odd)
{
    vec r = pick((vec)((vu32){0} + 0xffff0000), (vec)round_bf16(odd), (vec)(round_bf16(even) >> 16));

    return clean_bf16(r, magnitude(r));
}

INLINE vec step_sum_bf16(vec x, vec y)
{
    return join_bf16(raw_sum_f32(even_bf16(x), even_bf16(y)), raw_sum_f32(odd_bf16(x), odd_bf16(y)));
}

INLINE vec step_prod_bf16(vec x, vec y)
{
    return join_bf16(raw_prod_f32(even_bf16(x), even_bf16(y)), raw_prod_f32(odd_bf16(x), odd_bf16(y)));
}

INLINE vec step_avg_bf16(vec x, vec n)
{
    return join_bf16(raw_avg_f32(even_bf16(x), n), raw_avg_f32(odd_bf16(x), n));
}

/* Integers in the order of the halves; -0 is below +0.  The same function leads back. */
INLINE vec in_order(vec x)
{
    return x ^ (vec)((vi16)x >> 15 & 0x7fff);
}

#define HALF_EXTREMES(name)                                               \
    INLINE vec step_min_##name(vec x, vec y)                              \
    {                                                                     \
        vec r = in_order(step_min_i16(in_order(x), in_order(y)));         \
        return clean_##name(r, step_max_i16(magnitude(x), magnitude(y))); \
    }                                                                     \
    INLINE vec step_max_##name(vec x, vec y)                              \
    {                                                                     \
        vec r = in_order(step_max_i16(in_order(x), in_order(y)));         \
        return clean_##name(r, step_max_i16(magnitude(x), magnitude(y))); \
    }

HALF_EXTREMES(f16)
HALF_EXTREMES(bf16)

/* ---- kernels ---- */

#define AS_THEY_ARE ((struct layout){V, load, store})
#define WIDENED_F16 ((struct layout){V / 2, load_f16, store_f16})

#define KERNEL(name, step, size)                              \
    static void name(void *acc, const void *in, size_t count) \
    {                                                         \
        walk(acc, in, count *(size), AS_THEY_ARE, step);      \
    }

#define FLOAT_KERNEL(name, step, size, layout)                \
    static void name(void *acc, const void *in, size_t count) \
    {                                                         \
        uint64_t fp = nx_fp_enter();                          \
                                                              \
        walk(acc, in, count *(size), layout, step);           \
        nx_fp_leave(fp);                                      \
    }

#define AVERAGE(name, step, size, layout, splat)                   \
    static void name(void *acc, size_t count, uint32_t ranks)      \
    {                                                              \
        uint64_t fp = nx_fp_enter();                               \
                                                                   \
        walk_with(acc, splat(ranks), count *(size), layout, step); \
        nx_fp_leave(fp);                                           \
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

#define FLOATS(name, size, splat)                                  \
    FLOAT_KERNEL(sum_##name, step_sum_##name, size, AS_THEY_ARE)   \
    FLOAT_KERNEL(prod_##name, step_prod_##name, size, AS_THEY_ARE) \
    FLOAT_KERNEL(min_##name, step_min_##name, size, AS_THEY_ARE)   \
    FLOAT_KERNEL(max_##name, step_max_##name, size, AS_THEY_ARE)   \
    AVERAGE(avg_##name, step_avg_##name, size, AS_THEY_ARE, splat)

INTEGERS(8)
INTEGERS(16)
INTEGERS(32)
INTEGERS(64)
KERNEL(all_bool, step_all, 1)
KERNEL(any_bool, step_any, 1)
KERNEL(odd_bool, step_odd, 1)
FLOATS(f32, 4, splat_f32)
FLOATS(f64, 8, splat_f64)
FLOATS(bf16, 2, splat_f32)
FLOAT_KERNEL(sum_f16, step_sum_f32, 2, WIDENED_F16)
FLOAT_KERNEL(prod_f16, step_prod_f32, 2, WIDENED_F16)
KERNEL(min_f16, step_min_f16, 2)
KERNEL(max_f16, step_max_f16, 2)
AVERAGE(avg_f16, step_avg_f32, 2, WIDENED_F16, splat_f32)

#endif
