/* math/reduce.h - element by element reductions: acc[i] = op(acc[i], in[i]).
 *
 * Exact to the last bit on every processor, for every alignment and however the elements are cut into calls:
 * - integers wrap;
 * - a float result that is not a number is always the positive quiet NaN without payload (0x7fc00000 and
 *   0x7ff8000000000000), also for sum and prod, where processors and compilers differ in whose payload survives;
 * - min and max: if either operand is NaN, so is the result; -0 is less than +0.
 * Hence op(x, y) and op(y, x) have the same bits for every operator, and nobody needs to care which operand was
 * "left". */
#ifndef NX_MATH_REDUCE_H
#define NX_MATH_REDUCE_H

#include "nexar/base.h"

#include <stdbool.h>

/* Neither pointer need be aligned.  The two may be equal, else they must not overlap. */
typedef void (*nx_reduce_fn)(void *acc, const void *in, size_t count);

/* The best kernel for this processor; NULL if the operator does not exist for the type.  Any thread; cheap. */
nx_reduce_fn nx_reduce_kernel(nexar_reduce_op op, nexar_dtype dtype);

/* What a user may do instead, for an error's text: "float32 takes sum, prod, min, max", or, for a type that takes
 * nothing, "float16 is not reduced; float32, float64 are".  Cut at `cap` bytes. */
void nx_reduce_supported(nexar_dtype dtype, char *text, size_t cap);

/* A reduction of bytes that come in pieces, in order, cut anywhere: also in the middle of an element. */
struct nx_reduce_stream {
    nx_reduce_fn fn;
    unsigned char *acc; /* the next element to reduce into */
    size_t left;        /* bytes that are still to come, those in `carry` not among them */
    size_t size;        /* of an element */
    size_t carried;
    unsigned char carry[16];
};

/* `size`: bytes of an element, at most 16. */
void nx_reduce_stream_init(struct nx_reduce_stream *stream, nx_reduce_fn fn, size_t size, void *acc, size_t count);

/* False, and nothing is done, if that is more than was announced. */
bool nx_reduce_feed(struct nx_reduce_stream *stream, const void *piece, size_t nbytes);

#endif
