/* math/compress.h - float32 vectors in fewer bytes: encoded, decoded, and what was left behind.
 *
 * Dense forms keep all elements, and each rounds to the nearest, ties to even:
 * - bfloat16: 2 bytes an element.
 * - float8 (e4m3) and int8: a byte an element, and a float32 scale for each block of them: the greatest finite
 *   magnitude of the block divided by 448 or 127.  An element is its code times the scale; what is not finite becomes
 *   NaN.
 * Sparse ones keep k elements as they are, the others count as 0:
 * - top_k: those of the greatest magnitude, NaN above all, of equals the first ones; indices, ascending, and values.
 * - random_k: one of each of k stretches of equal length (to one element), chosen by a number that all ranks know; the
 *   values alone.
 *
 * Encoded vectors are whole words of 4 bytes, in the byte order of the machine as all elements are:
 *     bfloat16   codes, 2 bytes each, zeros up to a whole word
 *     float8     scales, a word for each block, then codes, then zeros
 *     int8       the same; -128 stands for NaN
 *     top_k      indices of 4 bytes, of 8 for more than 2^32 elements; then values
 *     random_k   values
 * The bits are the same on every processor, whatever rounding and flushing of subnormals a thread has switched on. */
#ifndef NX_MATH_COMPRESS_H
#define NX_MATH_COMPRESS_H

#include "nexar/coll.h"

#include <stdbool.h>

/* How to compress; zeros: not at all. */
struct nx_compress {
    nexar_compression_kind kind;
    uint32_t block; /* float8, int8: a multiple of 4 */
    size_t k;       /* top_k, random_k: at most the elements of the vector */
    bool feedback;  /* top_k, random_k: what is left behind is kept */
};

static inline bool nx_compress_is_sparse(const struct nx_compress *c)
{
    return c->kind == NEXAR_COMPRESS_TOP_K || c->kind == NEXAR_COMPRESS_RANDOM_K;
}

/* A vector may be cut behind multiples of so many elements, and then its parts have the bits of the whole.  Dense. */
size_t nx_compress_unit(const struct nx_compress *c);

/* Words that `count` elements become. */
size_t nx_compress_words(const struct nx_compress *c, size_t count);

/* What random_k chooses by. */
uint64_t nx_compress_turn(uint64_t seed, uint64_t step);

/* `out` and `in` do not overlap; both are aligned to 4 bytes or not. */
void nx_compress_encode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count);

/* out = in, or with `add` out = out + in, of `count` elements.  NEXAR_OK, NEXAR_EPROTO: `in` is nothing that an encoder
 * makes, and `out` is rubbish. */
nexar_status nx_compress_decode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count,
                                bool add);

/* residual = those of the `count` elements `all` that did not go into `encoded`, with 0 in place of those that did. */
void nx_compress_keep(const struct nx_compress *c, uint64_t turn, void *residual, const void *all, const void *encoded,
                      size_t count);

/* ---- compress_dense.c, compress_sparse.c ---- */

void nx_dense_encode(const struct nx_compress *c, void *out, const void *in, size_t count);
nexar_status nx_dense_decode(const struct nx_compress *c, void *out, const void *in, size_t count, bool add);
void nx_sparse_encode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count);
nexar_status nx_sparse_decode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count,
                              bool add);

#endif
