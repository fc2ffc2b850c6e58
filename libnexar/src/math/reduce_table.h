/* math/reduce_table.h - the kernels by operator and type, one set of them for each instruction set. */
#ifndef NX_MATH_REDUCE_TABLE_H
#define NX_MATH_REDUCE_TABLE_H

#include "math/reduce.h"

#define NX_REDUCE_OPS ((size_t)NEXAR_BXOR + 1)
#define NX_REDUCE_DTYPES ((size_t)NEXAR_BOOL + 1)

struct nx_reduce_set {
    const char *name;
    uint32_t needs;                                       /* of enum nx_cpu_feature: all of them */
    nx_reduce_fn reduce[NX_REDUCE_OPS][NX_REDUCE_DTYPES]; /* NULL: there is no such pair; the same in every set */
    nx_reduce_finish_fn avg[NX_REDUCE_DTYPES];
};

/* Plain C: the definition of what every operator does. */
extern const struct nx_reduce_set nx_reduce_scalar;

/* NULL where the library was compiled for another architecture. */
extern const struct nx_reduce_set *const nx_reduce_avx2;
extern const struct nx_reduce_set *const nx_reduce_avx512;
extern const struct nx_reduce_set *const nx_reduce_neon;

/* The best set for a processor with these features. */
const struct nx_reduce_set *nx_reduce_choose(uint32_t features);

/* Averages of integers, which no set has kernels of its own for. */
void nx_reduce_avg_int8(void *acc, size_t count, uint32_t ranks);
void nx_reduce_avg_int16(void *acc, size_t count, uint32_t ranks);
void nx_reduce_avg_int32(void *acc, size_t count, uint32_t ranks);
void nx_reduce_avg_int64(void *acc, size_t count, uint32_t ranks);
void nx_reduce_avg_uint8(void *acc, size_t count, uint32_t ranks);
void nx_reduce_avg_uint16(void *acc, size_t count, uint32_t ranks);
void nx_reduce_avg_uint32(void *acc, size_t count, uint32_t ranks);
void nx_reduce_avg_uint64(void *acc, size_t count, uint32_t ranks);

/* ---- what a set consists of: the one list of pairs that exist ----
 *
 * A file that defines a set has static kernels with these names: sum_f32 and its like for floats, sum_8 for integers
 * where the sign makes no difference, min_i8 and min_u8 where it does, and all_bool, any_bool, odd_bool. */

#define NX_REDUCE_FLOATS(op) \
    [NEXAR_FLOAT32] = op##_f32, [NEXAR_FLOAT64] = op##_f64, [NEXAR_FLOAT16] = op##_f16, [NEXAR_BFLOAT16] = op##_bf16

#define NX_REDUCE_SIGNED(op)                                                                              \
    [NEXAR_INT8] = op##_i8, [NEXAR_INT16] = op##_i16, [NEXAR_INT32] = op##_i32, [NEXAR_INT64] = op##_i64, \
    [NEXAR_UINT8] = op##_u8, [NEXAR_UINT16] = op##_u16, [NEXAR_UINT32] = op##_u32, [NEXAR_UINT64] = op##_u64

#define NX_REDUCE_SIGNLESS(op)                                                                        \
    [NEXAR_INT8] = op##_8, [NEXAR_INT16] = op##_16, [NEXAR_INT32] = op##_32, [NEXAR_INT64] = op##_64, \
    [NEXAR_UINT8] = op##_8, [NEXAR_UINT16] = op##_16, [NEXAR_UINT32] = op##_32, [NEXAR_UINT64] = op##_64

#define NX_REDUCE_KERNELS                                                                           \
    {                                                                                               \
        [NEXAR_SUM] = {NX_REDUCE_FLOATS(sum), NX_REDUCE_SIGNLESS(sum)},                             \
        [NEXAR_PROD] = {NX_REDUCE_FLOATS(prod), NX_REDUCE_SIGNLESS(prod), [NEXAR_BOOL] = all_bool}, \
        [NEXAR_MIN] = {NX_REDUCE_FLOATS(min), NX_REDUCE_SIGNED(min), [NEXAR_BOOL] = all_bool},      \
        [NEXAR_MAX] = {NX_REDUCE_FLOATS(max), NX_REDUCE_SIGNED(max), [NEXAR_BOOL] = any_bool},      \
        [NEXAR_AVG] = {NX_REDUCE_FLOATS(sum), NX_REDUCE_SIGNLESS(sum)},                             \
        [NEXAR_BAND] = {NX_REDUCE_SIGNLESS(band), [NEXAR_BOOL] = all_bool},                         \
        [NEXAR_BOR] = {NX_REDUCE_SIGNLESS(bor), [NEXAR_BOOL] = any_bool},                           \
        [NEXAR_BXOR] = {NX_REDUCE_SIGNLESS(bxor), [NEXAR_BOOL] = odd_bool},                         \
    }

#define NX_REDUCE_AVERAGES                                                                                   \
    {                                                                                                        \
        NX_REDUCE_FLOATS(avg), [NEXAR_INT8] = nx_reduce_avg_int8, [NEXAR_INT16] = nx_reduce_avg_int16,       \
                               [NEXAR_INT32] = nx_reduce_avg_int32, [NEXAR_INT64] = nx_reduce_avg_int64,     \
                               [NEXAR_UINT8] = nx_reduce_avg_uint8, [NEXAR_UINT16] = nx_reduce_avg_uint16,   \
                               [NEXAR_UINT32] = nx_reduce_avg_uint32, [NEXAR_UINT64] = nx_reduce_avg_uint64, \
    }

#endif
