/* math/reduce_table.h - the kernels by operator and type, one table per instruction set; NULL where there is none. */
#ifndef NX_MATH_REDUCE_TABLE_H
#define NX_MATH_REDUCE_TABLE_H

#include "math/reduce.h"

#define NX_REDUCE_OPS ((size_t)NEXAR_BXOR + 1)
#define NX_REDUCE_DTYPES ((size_t)NEXAR_BOOL + 1)

typedef nx_reduce_fn nx_reduce_table[NX_REDUCE_OPS][NX_REDUCE_DTYPES];

/* Complete: says which pairs exist, and is what every other table is compared with. */
extern const nx_reduce_table nx_reduce_scalar;

/* Only to be called where nx_cpu_has(NX_CPU_AVX2); empty on other architectures. */
extern const nx_reduce_table nx_reduce_avx2;

#endif
