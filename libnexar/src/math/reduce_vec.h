/* math/reduce_vec.h - vectors of V bytes, in the compilers' own notation, and how memory is walked through with them.
 *
 * Included by one file for each instruction set, which has defined V and is compiled for it; see reduce_simd.h.  A `vec`
 * is bytes; functions give them a type for as long as they compute. */
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

/* Where the mask has ones from x, else from y. */
INLINE vec pick(vec mask, vec x, vec y)
{
    return (mask & x) | (~mask & y);
}

INLINE vec splat_f32(uint32_t n)
{
    return (vec)((vf32){0} + (float)n);
}

INLINE vec splat_f64(uint32_t n)
{
    return (vec)((vf64){0} + (double)n);
}

/* `f` is always a constant, so that it is inlined here and not called. */
INLINE void walk(unsigned char *a, const unsigned char *b, size_t nbytes, vec_op f)
{
    size_t i = 0;

    for (; nbytes - i >= 4 * V; i += 4 * V) {
        store(a + i, f(load(a + i), load(b + i)));
        store(a + i + V, f(load(a + i + V), load(b + i + V)));
        store(a + i + 2 * V, f(load(a + i + 2 * V), load(b + i + 2 * V)));
        store(a + i + 3 * V, f(load(a + i + 3 * V), load(b + i + 3 * V)));
    }
    for (; nbytes - i >= V; i += V)
        store(a + i, f(load(a + i), load(b + i)));
    if (i < nbytes) { /* as if zeros followed */
        unsigned char x[V] = {0};
        unsigned char y[V] = {0};

        memcpy(x, a + i, nbytes - i);
        memcpy(y, b + i, nbytes - i);
        store(x, f(load(x), load(y)));
        memcpy(a + i, x, nbytes - i);
    }
}

/* The same with one operand for all. */
INLINE void walk_with(unsigned char *a, vec y, size_t nbytes, vec_op f)
{
    size_t i = 0;

    for (; nbytes - i >= V; i += V)
        store(a + i, f(load(a + i), y));
    if (i < nbytes) {
        unsigned char x[V] = {0};

        memcpy(x, a + i, nbytes - i);
        store(x, f(load(x), y));
        memcpy(a + i, x, nbytes - i);
    }
}

#endif
