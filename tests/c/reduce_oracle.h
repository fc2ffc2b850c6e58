/* reduce_oracle.h - what reductions should give, computed in another way than the kernels do it: halves by arithmetic
 * on doubles, integers in 128 bits, order of floats by their bits.  Needs neither cmocka nor the library. */
#ifndef NX_TEST_REDUCE_ORACLE_H
#define NX_TEST_REDUCE_ORACLE_H

#include "math/reduce_table.h"
#include "rng.h"

#include <stdbool.h>

size_t oracle_size(nexar_dtype dtype);

/* True if the pair should exist. */
bool oracle_has(nexar_reduce_op op, nexar_dtype dtype);

/* Of one element, as its bits.  AVG: the sum. */
uint64_t oracle_reduce(nexar_reduce_op op, nexar_dtype dtype, uint64_t x, uint64_t y);
uint64_t oracle_avg(nexar_dtype dtype, uint64_t x, uint32_t ranks);

bool oracle_is_nan(nexar_dtype dtype, uint64_t bits);
uint64_t oracle_nan(nexar_dtype dtype);

double oracle_double_of_half(nexar_dtype dtype, uint64_t bits);
uint64_t oracle_half_of_double(nexar_dtype dtype, double value);

/* Bits that break things: zeros, extremes, subnormals, infinities, NaNs with and without payload.  Returns how many. */
size_t oracle_edges(nexar_dtype dtype, const uint64_t **out);

uint64_t oracle_load(const unsigned char *p, size_t size);
void oracle_store(unsigned char *p, size_t size, uint64_t bits);

/* Random bits, every third element from the edge values. */
void oracle_fill(struct rng *rng, unsigned char *p, size_t count, nexar_dtype dtype);

/* All kernels of a set: over random data and all pairs of edge values, all tails, all distances from alignment, nothing
 * touched beyond the end.  NULL if all is well, else what is not; the text is static. */
const char *oracle_compare(const struct nx_reduce_set *set);

#endif
