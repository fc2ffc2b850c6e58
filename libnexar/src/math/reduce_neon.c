/* math/reduce_neon.c - the kernels with the 128-bit vectors that every 64-bit ARM processor has.
 *
 * Owner: nobody, they are pure.  On other architectures there is no set.  See math/reduce.h for the rules of NaN and
 * signed zeros. */
#include "math/reduce_table.h"

#if defined(__aarch64__) && defined(__ARM_NEON)

#include <arm_neon.h>

#define V ((size_t)16)
#include "math/reduce_vec.h"

INLINE vec pick(vec mask, vec x, vec y)
{
    return (vec)vbslq_u8((uint8x16_t)mask, (uint8x16_t)x, (uint8x16_t)y);
}

/* ---- extremes of integers ---- */

#define NATIVE(name, type, suffix)                    \
    INLINE vec step_min_##name(vec x, vec y)          \
    {                                                 \
        return (vec)vminq_##suffix((type)x, (type)y); \
    }                                                 \
    INLINE vec step_max_##name(vec x, vec y)          \
    {                                                 \
        return (vec)vmaxq_##suffix((type)x, (type)y); \
    }

/* There is no instruction for 64 bits. */
#define PICKED(name)                                       \
    INLINE vec step_min_##name(vec x, vec y)               \
    {                                                      \
        return pick((vec)((v##name)x < (v##name)y), x, y); \
    }                                                      \
    INLINE vec step_max_##name(vec x, vec y)               \
    {                                                      \
        return pick((vec)((v##name)x > (v##name)y), x, y); \
    }

NATIVE(i8, int8x16_t, s8)
NATIVE(u8, uint8x16_t, u8)
NATIVE(i16, int16x8_t, s16)
NATIVE(u16, uint16x8_t, u16)
NATIVE(i32, int32x4_t, s32)
NATIVE(u32, uint32x4_t, u32)
PICKED(i64)
PICKED(u64)

/* ---- floats ---- */

INLINE vec clean_f32(vec r, vec x, vec y)
{
    uint32x4_t both = vceqq_f32((float32x4_t)x, (float32x4_t)x) & vceqq_f32((float32x4_t)y, (float32x4_t)y);

    return (vec)vbslq_u32(both, (uint32x4_t)r, vdupq_n_u32(0x7fc00000));
}

INLINE vec clean_f64(vec r, vec x, vec y)
{
    uint64x2_t both = vceqq_f64((float64x2_t)x, (float64x2_t)x) & vceqq_f64((float64x2_t)y, (float64x2_t)y);

    return (vec)vbslq_u64(both, (uint64x2_t)r, vdupq_n_u64(0x7ff8000000000000));
}

/* The instruction knows that -0 < +0. */
#define EXTREMES(name, type)                                            \
    INLINE vec step_min_##name(vec x, vec y)                            \
    {                                                                   \
        return clean_##name((vec)vminq_##name((type)x, (type)y), x, y); \
    }                                                                   \
    INLINE vec step_max_##name(vec x, vec y)                            \
    {                                                                   \
        return clean_##name((vec)vmaxq_##name((type)x, (type)y), x, y); \
    }

EXTREMES(f32, float32x4_t)
EXTREMES(f64, float64x2_t)

INLINE vec load_f16(const unsigned char *p)
{
    return (vec)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

INLINE void store_f16(unsigned char *p, vec v)
{
    vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32((float32x4_t)v)));
}

#include "math/reduce_simd.h"

static const struct nx_reduce_set set = {
    .name = "neon",
    .reduce = NX_REDUCE_KERNELS,
    .avg = NX_REDUCE_AVERAGES,
};

const struct nx_reduce_set *const nx_reduce_neon = &set;

#else

const struct nx_reduce_set *const nx_reduce_neon = NULL;

#endif
