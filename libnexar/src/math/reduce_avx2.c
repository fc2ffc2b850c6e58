/* math/reduce_avx2.c - the kernels with 256-bit vectors.
 *
 * Owner: nobody, they are pure.  Compiled with -mavx2 of its own and called only after nx_cpu_has(NX_CPU_AVX2); without
 * that flag (another architecture) the table is empty.  What does not fill a vector goes to the scalar kernel, which
 * has the same bits by construction.  See math/reduce.h for the rules of NaN and signed zeros. */
#include "math/reduce_table.h"

#if defined(__AVX2__)

#include <immintrin.h>

static __m256 load_f32(const unsigned char *p)
{
    return _mm256_loadu_ps((const float *)(const void *)p);
}

static void store_f32(unsigned char *p, __m256 v)
{
    _mm256_storeu_ps((float *)(void *)p, v);
}

static __m256d load_f64(const unsigned char *p)
{
    return _mm256_loadu_pd((const double *)(const void *)p);
}

static void store_f64(unsigned char *p, __m256d v)
{
    _mm256_storeu_pd((double *)(void *)p, v);
}

static __m256i load_int(const unsigned char *p)
{
    return _mm256_loadu_si256((const __m256i_u *)(const void *)p);
}

static void store_int(unsigned char *p, __m256i v)
{
    _mm256_storeu_si256((__m256i_u *)(void *)p, v);
}

/* Lanes where either operand is NaN become the one NaN that all processors agree on. */
static __m256 clean_f32(__m256 r, __m256 x, __m256 y)
{
    __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    return _mm256_blendv_ps(r, nan, _mm256_cmp_ps(x, y, _CMP_UNORD_Q));
}

static __m256d clean_f64(__m256d r, __m256d x, __m256d y)
{
    __m256d nan = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff8000000000000));
    return _mm256_blendv_pd(r, nan, _mm256_cmp_pd(x, y, _CMP_UNORD_Q));
}

static __m256 sum_f32(__m256 x, __m256 y)
{
    __m256 r = _mm256_add_ps(x, y);
    return clean_f32(r, r, r);
}

static __m256d sum_f64(__m256d x, __m256d y)
{
    __m256d r = _mm256_add_pd(x, y);
    return clean_f64(r, r, r);
}

static __m256 prod_f32(__m256 x, __m256 y)
{
    __m256 r = _mm256_mul_ps(x, y);
    return clean_f32(r, r, r);
}

static __m256d prod_f64(__m256d x, __m256d y)
{
    __m256d r = _mm256_mul_pd(x, y);
    return clean_f64(r, r, r);
}

/* The instruction gives its second operand where the two compare equal.  Asked both ways round the two answers differ
 * for zeros of unlike sign alone, and there "or" makes the -0 that min wants, "and" the +0 that max wants. */
static __m256 min_f32(__m256 x, __m256 y)
{
    return clean_f32(_mm256_or_ps(_mm256_min_ps(x, y), _mm256_min_ps(y, x)), x, y);
}

static __m256d min_f64(__m256d x, __m256d y)
{
    return clean_f64(_mm256_or_pd(_mm256_min_pd(x, y), _mm256_min_pd(y, x)), x, y);
}

static __m256 max_f32(__m256 x, __m256 y)
{
    return clean_f32(_mm256_and_ps(_mm256_max_ps(x, y), _mm256_max_ps(y, x)), x, y);
}

static __m256d max_f64(__m256d x, __m256d y)
{
    return clean_f64(_mm256_and_pd(_mm256_max_pd(x, y), _mm256_max_pd(y, x)), x, y);
}

/* Both operands in registers: else gcc reads them from memory twice, which makes the loads the bottleneck. */
#define KEEP(x, y) __asm__("" : "+x"(x), "+x"(y))

/* There is no 64-bit product: low x low, plus the two mixed products moved up; the fourth falls out at the top. */
static __m256i prod_i64(__m256i x, __m256i y)
{
    __m256i mixed;

    KEEP(x, y);
    mixed =
        _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(x, 32), y), _mm256_mul_epu32(x, _mm256_srli_epi64(y, 32)));
    return _mm256_add_epi64(_mm256_mul_epu32(x, y), _mm256_slli_epi64(mixed, 32));
}

static __m256i min_i64(__m256i x, __m256i y)
{
    KEEP(x, y);
    return _mm256_blendv_epi8(x, y, _mm256_cmpgt_epi64(x, y));
}

static __m256i max_i64(__m256i x, __m256i y)
{
    KEEP(x, y);
    return _mm256_blendv_epi8(y, x, _mm256_cmpgt_epi64(x, y));
}

#define V ((size_t)32) /* bytes of a vector */

#define KERNEL(name, function, load, store, op, dtype, size)                          \
    static void name(void *acc, const void *in, size_t count)                         \
    {                                                                                 \
        unsigned char *a = acc;                                                       \
        const unsigned char *b = in;                                                  \
        size_t nbytes = count * (size);                                               \
        size_t i = 0;                                                                 \
                                                                                      \
        for (; nbytes - i >= 4 * V; i += 4 * V) {                                     \
            store(a + i, function(load(a + i), load(b + i)));                         \
            store(a + i + V, function(load(a + i + V), load(b + i + V)));             \
            store(a + i + 2 * V, function(load(a + i + 2 * V), load(b + i + 2 * V))); \
            store(a + i + 3 * V, function(load(a + i + 3 * V), load(b + i + 3 * V))); \
        }                                                                             \
        for (; nbytes - i >= V; i += V)                                               \
            store(a + i, function(load(a + i), load(b + i)));                         \
        if (i < nbytes)                                                               \
            nx_reduce_scalar[op][dtype](a + i, b + i, (nbytes - i) / (size));         \
    }

#define F32(op, OP) KERNEL(f32_##op, op##_f32, load_f32, store_f32, OP, NEXAR_FLOAT32, 4)
#define F64(op, OP) KERNEL(f64_##op, op##_f64, load_f64, store_f64, OP, NEXAR_FLOAT64, 8)
#define I32(op, OP, function) KERNEL(i32_##op, function, load_int, store_int, OP, NEXAR_INT32, 4)
#define I64(op, OP, function) KERNEL(i64_##op, function, load_int, store_int, OP, NEXAR_INT64, 8)

F32(sum, NEXAR_SUM)
F32(prod, NEXAR_PROD)
F32(min, NEXAR_MIN)
F32(max, NEXAR_MAX)
F64(sum, NEXAR_SUM)
F64(prod, NEXAR_PROD)
F64(min, NEXAR_MIN)
F64(max, NEXAR_MAX)
I32(sum, NEXAR_SUM, _mm256_add_epi32)
I32(prod, NEXAR_PROD, _mm256_mullo_epi32)
I32(min, NEXAR_MIN, _mm256_min_epi32)
I32(max, NEXAR_MAX, _mm256_max_epi32)
I64(sum, NEXAR_SUM, _mm256_add_epi64)
I64(prod, NEXAR_PROD, prod_i64)
I64(min, NEXAR_MIN, min_i64)
I64(max, NEXAR_MAX, max_i64)

#define ROW(op)                                                                                                    \
    {                                                                                                              \
        [NEXAR_FLOAT32] = f32_##op, [NEXAR_FLOAT64] = f64_##op, [NEXAR_INT32] = i32_##op, [NEXAR_INT64] = i64_##op \
    }

const nx_reduce_table nx_reduce_avx2 = {
    [NEXAR_SUM] = ROW(sum),
    [NEXAR_PROD] = ROW(prod),
    [NEXAR_MIN] = ROW(min),
    [NEXAR_MAX] = ROW(max),
};

#else

const nx_reduce_table nx_reduce_avx2 = {{NULL}};

#endif
