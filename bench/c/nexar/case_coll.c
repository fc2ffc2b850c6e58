/* case_coll.c - collectives: all_reduce, broadcast, barrier.
 *
 * Owner: the main thread of each rank.  A new collective is one more struct bench_case. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* Whole numbers that float32 holds exactly, and so does the sum of some thousand ranks. */
static float element(uint32_t rank, size_t i)
{
    return (float)(i % 1021 + rank);
}

static void open_elements(struct bench_run *run)
{
    float *x = run->x;

    for (size_t i = 0; i < run->nbytes / sizeof(float); i++)
        x[i] = element(run->rank, i);
}

static void close_nothing(struct bench_run *run)
{
    (void)run;
}

/* ---- all_reduce ---- */

static double all_reduce(struct bench_run *run)
{
    uint64_t began = bench_now();

    bench_must(
        nexar_all_reduce(run->comm, run->x, run->y, run->nbytes / sizeof(float), NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL));
    return (double)(bench_now() - began);
}

static uint64_t check_all_reduce(struct bench_run *run)
{
    const float *y = run->y;
    uint64_t wrong = 0;
    uint64_t ranks = run->size, sum_of_ranks = ranks * (ranks - 1) / 2;

    memset(run->y, 0xff, run->nbytes);
    all_reduce(run);
    for (size_t i = 0; i < run->nbytes / sizeof(float); i++)
        wrong += y[i] != (float)(i % 1021 * ranks + sum_of_ranks);
    return wrong;
}

/* What each link carries: 2 (n - 1) / n of the array. */
static double bus_all_reduce(uint32_t ranks)
{
    return 2 * (double)(ranks - 1) / ranks;
}

const struct bench_case bench_all_reduce = {
    .name = "all_reduce",
    .help = "every rank gets the sum of all ranks' arrays",
    .dtype = "float32",
    .sizes = "8,64,512,4k,32k,256k,2m,16m",
    .granule = sizeof(float),
    .least_ranks = 1,
    .together = true,
    .bus = bus_all_reduce,
    .open = open_elements,
    .round = all_reduce,
    .check = check_all_reduce,
    .close = close_nothing,
};

/* ---- broadcast ---- */

static double broadcast(struct bench_run *run)
{
    uint64_t began = bench_now();

    bench_must(nexar_broadcast(run->comm, run->x, run->nbytes / sizeof(float), NEXAR_FLOAT32, 0, NULL, NULL));
    return (double)(bench_now() - began);
}

/* From the last rank: its array is not what the rounds before left everywhere. */
static uint64_t check_broadcast(struct bench_run *run)
{
    const float *x = run->x;
    uint64_t wrong = 0;
    uint32_t root = run->size - 1;

    open_elements(run);
    bench_must(nexar_broadcast(run->comm, run->x, run->nbytes / sizeof(float), NEXAR_FLOAT32, root, NULL, NULL));
    for (size_t i = 0; i < run->nbytes / sizeof(float); i++)
        wrong += x[i] != element(root, i);
    return wrong;
}

const struct bench_case bench_broadcast = {
    .name = "broadcast",
    .help = "rank 0's array to every rank",
    .dtype = "float32",
    .sizes = "8,64,512,4k,32k,256k,2m,16m",
    .granule = sizeof(float),
    .least_ranks = 1,
    .together = true,
    .bus = bench_bus_plain,
    .open = open_elements,
    .round = broadcast,
    .check = check_broadcast,
    .close = close_nothing,
};

/* ---- barrier ---- */

static double barrier(struct bench_run *run)
{
    uint64_t began = bench_now();

    bench_must(nexar_barrier(run->comm, NULL, NULL));
    return (double)(bench_now() - began);
}

/* Nobody leaves before the last has come.  Clocks can be compared on one host alone. */
static uint64_t check_barrier(struct bench_run *run)
{
    const char *here = getenv("NEXAR_LOCAL_SIZE");
    uint64_t came = bench_now(), left;

    barrier(run);
    left = bench_now();
    bench_must(nexar_all_reduce(run->comm, &came, &came, 1, NEXAR_INT64, NEXAR_MAX, NULL, NULL));
    return here != NULL && strtoul(here, NULL, 10) == run->size && left < came;
}

const struct bench_case bench_barrier = {
    .name = "barrier",
    .help = "every rank waits for every other",
    .dtype = "none",
    .least_ranks = 1,
    .bus = bench_bus_plain,
    .open = close_nothing,
    .round = barrier,
    .check = check_barrier,
    .close = close_nothing,
};
