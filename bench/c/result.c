/* result.c - medians and the two ways to print them: a table for people, JSON lines for programs.
 *
 * Owner: the main thread.  It measures nothing. */
#include "result.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

void bench_result_times(struct bench_result *result, double *us, size_t n)
{
    qsort(us, n, sizeof(us[0]), by_value);
    result->n = n;
    result->p50 = us[n / 2];
    result->p99 = us[(size_t)ceil(0.99 * (double)n) - 1];
}

void bench_print_header(void)
{
    printf("case                  bytes       n      p50 us      p99 us  algbw GB/s  busbw GB/s  wrong\n");
}

void bench_print(const struct bench_result *r, bool json)
{
    double algbw = r->p50 > 0 ? (double)r->nbytes / (r->p50 * 1e3) : 0;

    if (json)
        printf("{\"case\": \"%s\", \"ranks\": %u, \"bytes\": %zu, \"dtype\": \"%s\", \"transport\": \"%s\", "
               "\"n\": %zu, \"p50_us\": %.3f, \"p99_us\": %.3f, \"algbw_GBps\": %.6f, \"busbw_GBps\": %.6f, "
               "\"wrong\": %llu%s}\n",
               r->name, r->ranks, r->nbytes, r->dtype, r->transport, r->n, r->p50, r->p99, algbw, algbw * r->bus,
               (unsigned long long)r->wrong, r->more);
    else
        printf("%-14s %12zu %7zu %11.1f %11.1f %11.3f %11.3f %6llu%s\n", r->name, r->nbytes, r->n, r->p50, r->p99,
               algbw, algbw * r->bus, (unsigned long long)r->wrong, r->more);
    fflush(stdout);
}

size_t bench_parse_sizes(const char *text, size_t *sizes, size_t cap)
{
    for (size_t n = 0;; text++) {
        char *end;
        unsigned long long value;
        unsigned shift;

        if (n == cap || !isdigit((unsigned char)*text))
            return 0;
        errno = 0;
        value = strtoull(text, &end, 10);
        shift = *end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
        if (errno != 0 || value > SIZE_MAX >> 31)
            return 0;
        sizes[n++] = (size_t)value << shift;
        text = end + (shift != 0);
        if (*text == '\0')
            return n;
        if (*text != ',')
            return 0;
    }
}

double bench_parse_seconds(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    return *text != '\0' && *end == '\0' && seconds > 0 && seconds < 1e6 ? seconds : 0;
}
