/* case_whole.c - cases that are no rounds: how long a job takes to start, and whether a steady state allocates.
 *
 * Owner: the main thread of each rank. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- allocations ---- */

#define SETTLED 1000 /* calls after which nothing may be allocated any more */

static void sum(struct bench_run *run)
{
    bench_must(
        nexar_all_reduce(run->comm, run->x, run->y, run->nbytes / sizeof(float), NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL));
}

static uint64_t check_sum(struct bench_run *run)
{
    const float *y = run->y;
    uint64_t wrong = 0;

    for (size_t i = 0; i < run->nbytes / sizeof(float); i++)
        wrong += y[i] != (float)(i % 1021 * run->size);
    return wrong;
}

static void fill_sum(struct bench_run *run)
{
    float *x = run->x;

    for (size_t i = 0; i < run->nbytes / sizeof(float); i++)
        x[i] = (float)(i % 1021);
}

static void count_allocations(struct bench_run *run, struct bench_result *result)
{
    size_t calls = run->options->calls;
    double *us = bench_alloc(calls, sizeof(us[0]));
    uint64_t settled = 0, last;
    double between;

    fill_sum(run);
    for (size_t i = 0; i < calls; i++) {
        uint64_t began = bench_now();

        sum(run);
        us[i] = (double)(bench_now() - began) / 1e3;
        if (i + 1 == SETTLED)
            settled = bench_counter(run->comm, "allocations");
    }
    last = bench_counter(run->comm, "allocations");
    between = (double)(last - settled);
    bench_slowest(run, &between, 1);
    bench_result_times(result, us, calls);
    free(us);
    result->wrong = check_sum(run);
    snprintf(run->more, sizeof(run->more),
             run->options->json
                 ? ", \"allocations_settled\": %llu, \"allocations_last\": %llu, \"allocations_between\": "
                   "%.0f"
                 : "  (allocations: %llu, then %llu; at most %.0f on a rank)",
             (unsigned long long)settled, (unsigned long long)last, between);
}

static double bus_all_reduce(uint32_t ranks)
{
    return 2 * (double)(ranks - 1) / ranks;
}

const struct bench_case bench_allocations = {
    .name = "allocations",
    .help = "memory that the library takes between the 1000th all_reduce and the last (--calls)",
    .dtype = "float32",
    .sizes = "4k",
    .granule = sizeof(float),
    .least_ranks = 1,
    .bus = bus_all_reduce,
    .whole = count_allocations,
};

/* ---- start ---- */

static void time_of_start(struct bench_run *run, struct bench_result *result)
{
    double ns;

    fill_sum(run);
    sum(run);
    ns = (double)(bench_now() - run->options->since);
    bench_slowest(run, &ns, 1);
    ns /= 1e3;
    bench_result_times(result, &ns, 1);
    result->wrong = check_sum(run);
}

const struct bench_case bench_start = {
    .name = "start",
    .help = "from --since (default: the start of the process) until the last rank has finished the first all_reduce",
    .dtype = "float32",
    .sizes = "4",
    .granule = sizeof(float),
    .least_ranks = 1,
    .bus = bus_all_reduce,
    .whole = time_of_start,
};
