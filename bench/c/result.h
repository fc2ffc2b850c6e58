/* result.h - one line of a benchmark: the times that were measured and how it is printed.  Shared by nexar-bench and
 * nexar-yardstick, so that both count alike. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fewer rounds make no median. */
#define BENCH_ROUNDS_LEAST 11
#define BENCH_ROUNDS_MOST 100000

struct bench_result {
    const char *name; /* of the case */
    uint32_t ranks;
    size_t nbytes;
    const char *dtype;
    const char *transport;
    size_t n;   /* rounds */
    double p50; /* microseconds */
    double p99;
    double bus; /* bus bandwidth / algorithm bandwidth */
    uint64_t wrong;
    const char *more; /* further JSON fields, each beginning with a comma; "" if there are none */
};

/* CLOCK_MONOTONIC in nanoseconds: the same clock for all processes of a host. */
uint64_t bench_now(void);

/* Sorts `us` and sets n, p50 and p99 from it. */
void bench_result_times(struct bench_result *result, double *us, size_t n);

void bench_print_header(void);
void bench_print(const struct bench_result *result, bool json);

/* "8,64k,1m" to bytes.  Returns how many there are, 0 if it is not such a list or has more than `cap`. */
size_t bench_parse_sizes(const char *text, size_t *sizes, size_t cap);

/* A number of seconds above zero, else 0. */
double bench_parse_seconds(const char *text);

/* Contents of messages: byte `i` of message `k` from rank `rank`. */
static inline uint8_t bench_byte(uint32_t rank, uint64_t k, size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) * 13 + k * 31 + rank * 17 + 1);
}

#endif
