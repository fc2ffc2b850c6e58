/* math/reduce.h - element by element reductions: acc[i] = op(acc[i], in[i]).
 *
 * Which operator exists for which type, one list in math/reduce_table.h says:
 * - numbers: sum, prod, min, max, avg; integers also band, bor, bxor;
 * - bool: prod, min, band (all true), max, bor (any true), bxor; any byte but 0 is true, results are 0 and 1.
 *
 * Exact to the last bit on every processor, for every alignment, however the elements are cut into calls and whatever
 * rounding and flushing of subnormals the thread has switched on:
 * - integers wrap;
 * - float16 and bfloat16: each step is computed in float32 and rounded once, to the nearest, ties to even;
 * - a float result that is not a number is always the positive quiet NaN without payload (0x7e00, 0x7fc0, 0x7fc00000,
 *   0x7ff8000000000000), also for sum and prod, where processors and compilers differ in whose payload survives;
 * - min and max: if either operand is NaN, so is the result; -0 is less than +0;
 * - avg is sum, divided once by the number of ranks when the sum is complete (nx_reduce_finish).  So a float16 sum that
 *   is too large makes the average infinite, and an integer sum that wraps makes it wrong; the fraction of an
 *   integer's average is dropped (-7 / 2 = -3), as NCCL does it.
 * Hence op(x, y) and op(y, x) have the same bits for every operator, and nobody needs to care which operand was
 * "left". */
#ifndef NX_MATH_REDUCE_H
#define NX_MATH_REDUCE_H

#include "nexar/base.h"

#include <stdbool.h>

/* Neither pointer need be aligned.  The two may be equal, else they must not overlap. */
typedef void (*nx_reduce_fn)(void *acc, const void *in, size_t count);

/* acc[i] is complete: what is left to do with it. */
typedef void (*nx_reduce_finish_fn)(void *acc, size_t count, uint32_t ranks);

/* NEXAR_EINVAL with a sentence for the user, which begins with the name of his call and says what he can have, if that
 * is no type, no operator, or an operator that does not exist for the type. */
nexar_status nx_reduce_check(const char *call, nexar_reduce_op op, nexar_dtype dtype);

/* The best kernel for this processor; NULL where nx_reduce_check fails.  Any thread; cheap. */
nx_reduce_fn nx_reduce_kernel(nexar_reduce_op op, nexar_dtype dtype);

/* To be called once on the complete reduction; NULL if there is nothing to do, which is so for all but avg. */
nx_reduce_finish_fn nx_reduce_finish(nexar_reduce_op op, nexar_dtype dtype);

/* The result does not depend on the order in which elements are reduced: all but sum, prod and avg of floats. */
bool nx_reduce_any_order(nexar_reduce_op op, nexar_dtype dtype);

/* The value that changes nothing, in the first nexar_dtype_size(dtype) bytes of `out`; for pairs that exist.  For
 * floats' min and max +inf and -inf. */
void nx_reduce_identity(nexar_reduce_op op, nexar_dtype dtype, unsigned char out[8]);

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
