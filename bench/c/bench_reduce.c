/* bench/c/bench_reduce.c - speed of the reduction kernels, as ratios to what runs beside them in the same moment.
 *
 * Build after the library, with one line:
 *     gcc -std=gnu11 -O3 -march=native -Ilibnexar/include -Ilibnexar/src bench/c/bench_reduce.c \
 *         build/libnexar_testing.a -o bench_reduce
 * Prints one JSON object a line, for arrays from the first cache up to memory.  `p50` and `p99` are GB/s of one
 * operand.  `plain_ratio`, for sum and prod of types that C has: the speed relative to the loop that the compiler makes
 * of a[i] += b[i] for this very machine.  `f32_ratio`: elements a second relative to those of the float32 kernel of the
 * same operator (of max, where float32 has none) and set.  Ratios are medians over rounds in which the two ran one
 * after the other, so that noise of the machine hits both. */
#include "math/reduce.h"
#include "math/reduce_table.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 21 };

/* What a user would write.  Integers by their unsigned twins, whose overflow is defined. */
#define PLAIN(name, type)                                                    \
    static void plain_##name##_sum(void *acc, const void *in, size_t count)  \
    {                                                                        \
        type *restrict a = acc;                                              \
        const type *restrict b = in;                                         \
                                                                             \
        for (size_t i = 0; i < count; i++)                                   \
            a[i] = (type)(a[i] + b[i]);                                      \
    }                                                                        \
    static void plain_##name##_prod(void *acc, const void *in, size_t count) \
    {                                                                        \
        type *restrict a = acc;                                              \
        const type *restrict b = in;                                         \
                                                                             \
        for (size_t i = 0; i < count; i++)                                   \
            a[i] = (type)(a[i] * b[i]);                                      \
    }

PLAIN(f32, float)
PLAIN(f64, double)
PLAIN(u8, uint8_t)
PLAIN(u16, unsigned short)
PLAIN(u32, uint32_t)
PLAIN(u64, uint64_t)

#define BOTH(name)                              \
    {                                           \
        plain_##name##_sum, plain_##name##_prod \
    }

static const nx_reduce_fn plain[NX_REDUCE_DTYPES][2] = {
    [NEXAR_FLOAT32] = BOTH(f32), [NEXAR_FLOAT64] = BOTH(f64), [NEXAR_INT8] = BOTH(u8),  [NEXAR_INT16] = BOTH(u16),
    [NEXAR_INT32] = BOTH(u32),   [NEXAR_INT64] = BOTH(u64),   [NEXAR_UINT8] = BOTH(u8), [NEXAR_UINT16] = BOTH(u16),
    [NEXAR_UINT32] = BOTH(u32),  [NEXAR_UINT64] = BOTH(u64),
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(values[0]), by_value);
    return values[ROUNDS / 2];
}

struct arrays {
    void *acc;
    const void *in;
    size_t nbytes; /* to use now */
};

/* Nanoseconds of one call over the whole array; small arrays are done often enough for the clock. */
static double time_of(nx_reduce_fn fn, size_t size, const struct arrays *arrays)
{
    size_t repeat = (size_t)4 << 20 > arrays->nbytes ? ((size_t)4 << 20) / arrays->nbytes : 1;
    nx_time begin = nx_now();

    for (size_t i = 0; i < repeat; i++)
        fn(arrays->acc, arrays->in, arrays->nbytes / size);
    return (double)(nx_now() - begin) / (double)repeat;
}

static void measure(const struct nx_reduce_set *set, nexar_reduce_op op, nexar_dtype dtype, const struct arrays *arrays)
{
    double speed[ROUNDS], to_plain[ROUNDS], to_f32[ROUNDS];
    size_t size = nexar_dtype_size(dtype);
    nx_reduce_fn fn = set->reduce[op][dtype];
    nx_reduce_fn f32 =
        set->reduce[op][NEXAR_FLOAT32] != NULL ? set->reduce[op][NEXAR_FLOAT32] : set->reduce[NEXAR_MAX][NEXAR_FLOAT32];
    nx_reduce_fn base = op <= NEXAR_PROD ? plain[dtype][op] : NULL;
    char ratio[40] = "";

    memset(arrays->acc, 0, arrays->nbytes);
    for (size_t i = 0; i < ROUNDS; i++) {
        double ours = time_of(fn, size, arrays);

        speed[i] = (double)arrays->nbytes / ours;
        to_plain[i] = base != NULL ? time_of(base, size, arrays) / ours : 0;
        to_f32[i] = time_of(f32, sizeof(float), arrays) / ours * (double)sizeof(float) / (double)size;
    }
    if (base != NULL)
        snprintf(ratio, sizeof(ratio), ", \"plain_ratio\": %.2f", median(to_plain));
    printf("{\"case\": \"reduce\", \"params\": {\"isa\": \"%s\", \"op\": \"%s\", \"dtype\": \"%s\", \"bytes\": %zu}, "
           "\"unit\": \"GB/s\", \"p50\": %.2f, \"p99\": %.2f, \"n\": %d%s, \"f32_ratio\": %.2f}\n",
           set->name, nexar_reduce_op_name(op), nexar_dtype_name(dtype), arrays->nbytes, median(speed),
           speed[ROUNDS / 100], ROUNDS, ratio, median(to_f32));
    fflush(stdout);
}

int main(void)
{
    static const size_t sizes[] = {8 << 10, 256 << 10, 4 << 20, 64 << 20};
    const struct nx_reduce_set *const sets[] = {nx_reduce_avx2, nx_reduce_avx512, nx_reduce_neon};
    size_t largest = sizes[sizeof(sizes) / sizeof(sizes[0]) - 1];
    void *acc = aligned_alloc(64, largest);
    void *in = aligned_alloc(64, largest);

    if (acc == NULL || in == NULL)
        return 1;
    memset(in, 0, largest);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
            struct arrays arrays = {.acc = acc, .in = in, .nbytes = sizes[s]};

            if (sets[i] == NULL || (sets[i]->needs & ~nx_cpu_features()) != 0)
                continue;
            for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++)
                for (size_t op = 0; op < NX_REDUCE_OPS; op++)
                    if (sets[i]->reduce[op][dtype] != NULL && op != NEXAR_AVG)
                        measure(sets[i], (nexar_reduce_op)op, (nexar_dtype)dtype, &arrays);
        }
    free(acc);
    free(in);
    return 0;
}
