/* math/reduce_avx2.c - the kernels with 256-bit vectors.
 *
 * Owner: nobody, they are pure.  Compiled with flags of its own and called only on processors that have AVX2 and F16C;
 * without those flags (another architecture) there is no set.  See math/reduce.h for the rules of NaN and signed
 * zeros. */
#include "math/reduce_table.h"

#if defined(__AVX2__) && defined(__F16C__)

#include "base/cpu.h"

#include <immintrin.h>

#define V ((size_t)32)
#include "math/reduce_vec.h"

INLINE vec pick(vec mask, vec x, vec y)
{
    return (vec)_mm256_blendv_epi8((__m256i)y, (__m256i)x, (__m256i)mask);
}

/* ---- extremes of integers ---- */

#define NATIVE(name, epi)                                     \
    INLINE vec step_min_##name(vec x, vec y)                  \
    {                                                         \
        return (vec)_mm256_min_##epi((__m256i)x, (__m256i)y); \
    }                                                         \
    INLINE vec step_max_##name(vec x, vec y)                  \
    {                                                         \
        return (vec)_mm256_max_##epi((__m256i)x, (__m256i)y); \
    }

/* Both operands in registers: else gcc reads them from memory twice, which makes the loads the bottleneck. */
#define KEEP(x, y) __asm__("" : "+x"(x), "+x"(y))

/* There is no instruction for 64 bits. */
#define PICKED(name)                                       \
    INLINE vec step_min_##name(vec x, vec y)               \
    {                                                      \
        KEEP(x, y);                                        \
        return pick((vec)((v##name)x < (v##name)y), x, y); \
    }                                                      \
    INLINE vec step_max_##name(vec x, vec y)               \
    {                                                      \
        KEEP(x, y);                                        \
        return pick((vec)((v##name)x > (v##name)y), x, y); \
    }

NATIVE(i8, epi8)
NATIVE(u8, epu8)
NATIVE(i16, epi16)
NATIVE(u16, epu16)
NATIVE(i32, epi32)
NATIVE(u32, epu32)
PICKED(i64)
PICKED(u64)

/* ---- floats ---- */

INLINE vec clean_f32(vec r, vec x, vec y)
{
    __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));

    return (vec)_mm256_blendv_ps((__m256)r, nan, _mm256_cmp_ps((__m256)x, (__m256)y, _CMP_UNORD_Q));
}

INLINE vec clean_f64(vec r, vec x, vec y)
{
    __m256d nan = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff8000000000000));

    return (vec)_mm256_blendv_pd((__m256d)r, nan, _mm256_cmp_pd((__m256d)x, (__m256d)y, _CMP_UNORD_Q));
}

/* The instruction gives its second operand where the two compare equal.  Asked both ways round the two answers differ
 * for zeros of unlike sign alone, and there "or" makes the -0 that min wants, "and" the +0 that max wants. */
#define EXTREMES(name, type, ps)                                                                                    \
    INLINE vec step_min_##name(vec x, vec y)                                                                        \
    {                                                                                                               \
        return clean_##name((vec)_mm256_min_##ps((type)x, (type)y) | (vec)_mm256_min_##ps((type)y, (type)x), x, y); \
    }                                                                                                               \
    INLINE vec step_max_##name(vec x, vec y)                                                                        \
    {                                                                                                               \
        return clean_##name((vec)_mm256_max_##ps((type)x, (type)y) & (vec)_mm256_max_##ps((type)y, (type)x), x, y); \
    }

EXTREMES(f32, __m256, ps)
EXTREMES(f64, __m256d, pd)

INLINE vec load_f16(const unsigned char *p)
{
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)p));
}

INLINE void store_f16(unsigned char *p, vec v)
{
    _mm_storeu_si128((__m128i_u *)(void *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}

#include "math/reduce_simd.h"

static const struct nx_reduce_set set = {
    .name = "avx2",
    .needs = NX_CPU_AVX2 | NX_CPU_F16C,
    .reduce = NX_REDUCE_KERNELS,
    .avg = NX_REDUCE_AVERAGES,
};

const struct nx_reduce_set *const nx_reduce_avx2 = &set;

#else

const struct nx_reduce_set *const nx_reduce_avx2 = NULL;

#endif
