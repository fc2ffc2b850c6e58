/* math/reduce_avx512.c - the kernels with 512-bit vectors.
 *
 * Owner: nobody, they are pure.  Compiled with flags of its own and called only on processors that have what `needs`
 * lists; without those flags (another architecture) there is no set.  VBMI2 is not used: it tells the processors whose
 * clock does not fall when they compute with 512 bits (Ice Lake, Zen 4 and later) from those where this would slow down
 * the program around us. */
#include "math/reduce_table.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include "base/cpu.h"

#include <immintrin.h>

#define V ((size_t)64)
#include "math/reduce_vec.h"

INLINE vec pick(vec mask, vec x, vec y)
{
    return (mask & x) | (~mask & y); /* which is one instruction */
}

/* ---- extremes of integers ---- */

#define NATIVE(name, epi)                                     \
    INLINE vec step_min_##name(vec x, vec y)                  \
    {                                                         \
        return (vec)_mm512_min_##epi((__m512i)x, (__m512i)y); \
    }                                                         \
    INLINE vec step_max_##name(vec x, vec y)                  \
    {                                                         \
        return (vec)_mm512_max_##epi((__m512i)x, (__m512i)y); \
    }

NATIVE(i8, epi8)
NATIVE(u8, epu8)
NATIVE(i16, epi16)
NATIVE(u16, epu16)
NATIVE(i32, epi32)
NATIVE(u32, epu32)
NATIVE(i64, epi64)
NATIVE(u64, epu64)

/* ---- floats ---- */

INLINE vec clean_f32(vec r, vec x, vec y)
{
    __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));

    return (vec)_mm512_mask_mov_ps((__m512)r, _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_UNORD_Q), nan);
}

INLINE vec clean_f64(vec r, vec x, vec y)
{
    __m512d nan = _mm512_castsi512_pd(_mm512_set1_epi64(0x7ff8000000000000));

    return (vec)_mm512_mask_mov_pd((__m512d)r, _mm512_cmp_pd_mask((__m512d)x, (__m512d)y, _CMP_UNORD_Q), nan);
}

/* The instruction knows that -0 < +0. */
enum {
    RANGE_MIN = 0x4, /* with the sign of the result */
    RANGE_MAX = 0x5,
};

#define EXTREMES(name, type, ps)                                                        \
    INLINE vec step_min_##name(vec x, vec y)                                            \
    {                                                                                   \
        return clean_##name((vec)_mm512_range_##ps((type)x, (type)y, RANGE_MIN), x, y); \
    }                                                                                   \
    INLINE vec step_max_##name(vec x, vec y)                                            \
    {                                                                                   \
        return clean_##name((vec)_mm512_range_##ps((type)x, (type)y, RANGE_MAX), x, y); \
    }

EXTREMES(f32, __m512, ps)
EXTREMES(f64, __m512d, pd)

INLINE vec load_f16(const unsigned char *p)
{
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)p));
}

INLINE void store_f16(unsigned char *p, vec v)
{
    _mm256_storeu_si256((__m256i_u *)(void *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}

#include "math/reduce_simd.h"

static const struct nx_reduce_set set = {
    .name = "avx512",
    .needs = NX_CPU_AVX512F | NX_CPU_AVX512BW | NX_CPU_AVX512DQ | NX_CPU_AVX512VL | NX_CPU_AVX512VBMI2,
    .reduce = NX_REDUCE_KERNELS,
    .avg = NX_REDUCE_AVERAGES,
};

const struct nx_reduce_set *const nx_reduce_avx512 = &set;

#else

const struct nx_reduce_set *const nx_reduce_avx512 = NULL;

#endif
