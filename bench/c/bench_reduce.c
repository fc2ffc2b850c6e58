/* bench/c/bench_reduce.c - speed of the reduction kernels, against the loop that a compiler makes for this very
 * machine.
 *
 * Build after the library, with one line:
 *     gcc -std=gnu11 -O3 -march=native -Ilibnexar/include -Ilibnexar/src bench/c/bench_reduce.c \
 *         build/libnexar_testing.a -o bench_reduce
 * Prints one JSON object a line.  `p50` and `p99` are GB/s of one operand; `plain_ratio` is the median over rounds of
 * (time of the plain loop / time of the kernel), the two run alternately, so that noise of the machine hits both. */
#include "math/reduce.h"
#include "math/reduce_table.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 101

/* What a user would write.  Integers by their unsigned twins, whose overflow is defined. */
#define PLAIN(name, type)                                                    \
    static void plain_##name##_sum(void *acc, const void *in, size_t count)  \
    {                                                                        \
        type *restrict a = acc;                                              \
        const type *restrict b = in;                                         \
        for (size_t i = 0; i < count; i++)                                   \
            a[i] += b[i];                                                    \
    }                                                                        \
    static void plain_##name##_prod(void *acc, const void *in, size_t count) \
    {                                                                        \
        type *restrict a = acc;                                              \
        const type *restrict b = in;                                         \
        for (size_t i = 0; i < count; i++)                                   \
            a[i] *= b[i];                                                    \
    }

PLAIN(f32, float)
PLAIN(f64, double)
PLAIN(u32, uint32_t)
PLAIN(u64, uint64_t)

static const struct {
    nexar_dtype dtype;
    nx_reduce_fn sum;
    nx_reduce_fn prod;
} plain[] = {
    {NEXAR_FLOAT32, plain_f32_sum, plain_f32_prod},
    {NEXAR_FLOAT64, plain_f64_sum, plain_f64_prod},
    {NEXAR_INT32, plain_u32_sum, plain_u32_prod},
    {NEXAR_INT64, plain_u64_sum, plain_u64_prod},
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nanoseconds of one call; small arrays are done often enough for the clock. */
static double time_of(nx_reduce_fn fn, void *acc, const void *in, size_t count, size_t repeat)
{
    nx_time begin = nx_now();

    for (size_t i = 0; i < repeat; i++)
        fn(acc, in, count);
    return (double)(nx_now() - begin) / (double)repeat;
}

static void measure(const char *isa, nx_reduce_fn fn, nx_reduce_fn base, nexar_reduce_op op, nexar_dtype dtype,
                    size_t nbytes, void *acc, const void *in)
{
    double speed[ROUNDS];
    double ratio[ROUNDS];
    size_t count = nbytes / nexar_dtype_size(dtype);
    size_t repeat = (size_t)4 << 20 > nbytes ? ((size_t)4 << 20) / nbytes : 1;

    memset(acc, 0, nbytes);
    for (size_t i = 0; i < ROUNDS; i++) {
        double ours = time_of(fn, acc, in, count, repeat);
        double theirs = time_of(base, acc, in, count, repeat);
        speed[i] = (double)nbytes / ours;
        ratio[i] = theirs / ours;
    }
    qsort(speed, ROUNDS, sizeof(speed[0]), by_value);
    qsort(ratio, ROUNDS, sizeof(ratio[0]), by_value);
    printf("{\"case\": \"reduce\", \"params\": {\"isa\": \"%s\", \"op\": \"%s\", \"dtype\": \"%s\", \"bytes\": %zu}, "
           "\"unit\": \"GB/s\", \"p50\": %.2f, \"p99\": %.2f, \"n\": %d, \"plain_ratio\": %.3f}\n",
           isa, nexar_reduce_op_name(op), nexar_dtype_name(dtype), nbytes, speed[ROUNDS / 2], speed[ROUNDS / 100],
           ROUNDS, ratio[ROUNDS / 2]);
}

int main(void)
{
    static const size_t sizes[] = {4096, 65536, 1 << 20, 16 << 20, 64 << 20};
    size_t largest = sizes[sizeof(sizes) / sizeof(sizes[0]) - 1];
    void *acc = aligned_alloc(64, largest);
    void *in = aligned_alloc(64, largest);

    if (acc == NULL || in == NULL)
        return 1;
    memset(in, 0, largest);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (size_t d = 0; d < sizeof(plain) / sizeof(plain[0]); d++)
            for (size_t op = 0; op < NX_REDUCE_OPS; op++) {
                nexar_dtype dtype = plain[d].dtype;
                nx_reduce_fn base = op == NEXAR_PROD ? plain[d].prod : plain[d].sum;

                if (nx_reduce_scalar[op][dtype] == NULL)
                    continue;
                measure("scalar", nx_reduce_scalar[op][dtype], base, (nexar_reduce_op)op, dtype, sizes[s], acc, in);
                if (nx_cpu_has(NX_CPU_AVX2) && nx_reduce_avx2[op][dtype] != NULL)
                    measure("avx2", nx_reduce_avx2[op][dtype], base, (nexar_reduce_op)op, dtype, sizes[s], acc, in);
            }
    free(acc);
    free(in);
    return 0;
}
