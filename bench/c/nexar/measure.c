/* measure.c - rounds of a case: warm-up, as many rounds as fit the time, median, check.
 *
 * Owner: the main thread of each rank.  All ranks make the same calls in the same order; what they must agree on is
 * reduced over all of them first.  The check is outside of what is timed. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

#define WARM_UP 0.25 /* of the time to measure */

void bench_must(nexar_status st)
{
    if (st == NEXAR_OK)
        return;
    fprintf(stderr, "nexar-bench: %s: %s\n", nexar_status_name(st), nexar_last_error());
    exit(1);
}

void *bench_alloc(size_t count, size_t size)
{
    void *p = calloc(count != 0 ? count : 1, size);

    if (p != NULL)
        return p;
    fprintf(stderr, "nexar-bench: no memory for %zu x %zu bytes\n", count, size);
    exit(1);
}

void bench_slowest(struct bench_run *run, double *ns, size_t n)
{
    bench_must(nexar_all_reduce(run->comm, ns, ns, n, NEXAR_FLOAT64, NEXAR_MAX, NULL, NULL));
}

static double one_round(const struct bench_case *c, struct bench_run *run)
{
    if (c->together)
        bench_must(nexar_barrier(run->comm, NULL, NULL));
    return c->round(run);
}

/* Until the warm-up is over; how many rounds fit the time after it. */
static size_t warm_up(const struct bench_case *c, struct bench_run *run)
{
    double total = 0, last = 0;
    size_t rounds = 1;

    while (total < WARM_UP * run->options->seconds * 1e9) {
        uint64_t began = bench_now();

        for (size_t i = 0; i < rounds; i++)
            one_round(c, run);
        last = (double)(bench_now() - began);
        bench_slowest(run, &last, 1);
        total += last;
        last /= (double)rounds;
        rounds *= 2;
    }
    last = run->options->seconds * 1e9 / last;
    if (last < BENCH_ROUNDS_LEAST)
        return BENCH_ROUNDS_LEAST;
    return last > BENCH_ROUNDS_MOST ? BENCH_ROUNDS_MOST : (size_t)last;
}

static void measure_rounds(const struct bench_case *c, struct bench_run *run, struct bench_result *result)
{
    double *times;
    size_t n;

    c->open(run);
    n = warm_up(c, run);
    times = bench_alloc(n, sizeof(times[0]));
    for (size_t i = 0; i < n; i++)
        times[i] = one_round(c, run);
    bench_slowest(run, times, n);
    for (size_t i = 0; i < n; i++)
        times[i] /= 1e3;
    bench_result_times(result, times, n);
    free(times);
    result->wrong = c->check(run);
    c->close(run);
}

void bench_measure(const struct bench_case *c, struct bench_run *run, struct bench_result *result)
{
    int64_t wrong;

    if (c->granule != 0)
        run->nbytes = run->nbytes == 0 ? c->granule : (run->nbytes + c->granule - 1) / c->granule * c->granule;
    *result = (struct bench_result){.name = c->name,
                                    .ranks = run->size,
                                    .nbytes = run->nbytes,
                                    .dtype = c->dtype,
                                    .transport = run->transport,
                                    .bus = c->bus(run->size),
                                    .more = run->more};
    run->more[0] = '\0';
    run->x = bench_alloc(run->nbytes, 1);
    run->y = bench_alloc(run->nbytes, 1);
    if (c->whole != NULL)
        c->whole(run, result);
    else
        measure_rounds(c, run, result);
    wrong = (int64_t)result->wrong;
    bench_must(nexar_all_reduce(run->comm, &wrong, &wrong, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL));
    result->wrong = (uint64_t)wrong;
    bench_transports(run->comm, run->transport, sizeof(run->transport));
    free(run->x);
    free(run->y);
}

void bench_fill(void *buf, size_t nbytes, uint32_t rank, uint64_t k)
{
    uint8_t *bytes = buf;

    for (size_t i = 0; i < nbytes; i++)
        bytes[i] = bench_byte(rank, k, i);
}

uint64_t bench_differ(const void *buf, size_t nbytes, uint32_t rank, uint64_t k)
{
    const uint8_t *bytes = buf;
    uint64_t wrong = 0;

    for (size_t i = 0; i < nbytes; i++)
        wrong += bytes[i] != bench_byte(rank, k, i);
    return wrong;
}

double bench_bus_plain(uint32_t ranks)
{
    (void)ranks;
    return 1;
}
