/* math/reduce_vec.h - vectors of V bytes, in the compilers' own notation, and how memory is walked through with them.
 *
 * Included by one file for each instruction set, which has defined V and is compiled for it; see reduce_simd.h.  A
 * `vec` is bytes; functions give them a type for as long as they compute. */
#ifndef NX_MATH_REDUCE_VEC_H
#define NX_MATH_REDUCE_VEC_H

#include "math/fpenv.h"
#include "math/reduce_table.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef uint8_t vec __attribute__((vector_size(V)));
typedef uint8_t vu8 __attribute__((vector_size(V)));
typedef uint16_t vu16 __attribute__((vector_size(V)));
typedef uint32_t vu32 __attribute__((vector_size(V)));
typedef uint64_t vu64 __attribute__((vector_size(V)));
typedef int16_t vi16 __attribute__((vector_size(V)));
typedef int64_t vi64 __attribute__((vector_size(V)));
typedef float vf32 __attribute__((vector_size(V)));
typedef double vf64 __attribute__((vector_size(V)));

typedef vec (*vec_op)(vec x, vec y);

INLINE vec load(const unsigned char *p)
{
    vec v;

    memcpy(&v, p, V);
    return v;
}

INLINE void store(unsigned char *p, vec v)
{
    memcpy(p, &v, V);
}

INLINE vec splat_f32(uint32_t n)
{
    return (vec)((vf32){0} + (float)n);
}

INLINE vec splat_f64(uint32_t n)
{
    return (vec)((vf64){0} + (double)n);
}

/* How elements lie in memory while they are computed with: a vector holds `width` bytes of them, widened or not. */
struct layout {
    size_t width;
    vec (*get)(const unsigned char *p);
    void (*put)(unsigned char *p, vec v);
};

/* `l` and `f` are always constants, so that all of it is inlined here and nothing is called. */
INLINE void walk(unsigned char *a, const unsigned char *b, size_t nbytes, struct layout l, vec_op f)
{
    const size_t w = l.width;
    size_t i = 0;

    for (; nbytes - i >= 4 * w; i += 4 * w) {
        l.put(a + i, f(l.get(a + i), l.get(b + i)));
        l.put(a + i + w, f(l.get(a + i + w), l.get(b + i + w)));
        l.put(a + i + 2 * w, f(l.get(a + i + 2 * w), l.get(b + i + 2 * w)));
        l.put(a + i + 3 * w, f(l.get(a + i + 3 * w), l.get(b + i + 3 * w)));
    }
    for (; nbytes - i >= w; i += w)
        l.put(a + i, f(l.get(a + i), l.get(b + i)));
    if (i < nbytes) { /* as if zeros followed */
        unsigned char x[V] = {0};
        unsigned char y[V] = {0};

        memcpy(x, a + i, nbytes - i);
        memcpy(y, b + i, nbytes - i);
        l.put(x, f(l.get(x), l.get(y)));
        memcpy(a + i, x, nbytes - i);
    }
}

/* The same with one operand for all. */
INLINE void walk_with(unsigned char *a, vec y, size_t nbytes, struct layout l, vec_op f)
{
    size_t i = 0;

    for (; nbytes - i >= l.width; i += l.width)
        l.put(a + i, f(l.get(a + i), y));
    if (i < nbytes) {
        unsigned char x[V] = {0};

        memcpy(x, a + i, nbytes - i);
        l.put(x, f(l.get(x), y));
        memcpy(a + i, x, nbytes - i);
    }
}

#endif
