/* case_p2p.c - a message from rank 0 to rank 1 and back, one after the other.
 *
 * Owner: the main thread.  Rank 0 keeps the time; other ranks do nothing. */
#include "bench.h"

#include <string.h>

static void open_buffers(struct bench_run *run)
{
    bench_fill(run->x, run->nbytes, run->rank, 0);
}

static double there_and_back(struct bench_run *run)
{
    uint64_t began = bench_now();

    if (run->rank > 1)
        return 0;
    if (run->rank == 1) {
        bench_must(nexar_recv(run->comm, run->y, run->nbytes, 0, 0, NULL, NULL));
        bench_must(nexar_send(run->comm, run->x, run->nbytes, 0, 0, NULL, NULL));
        return 0;
    }
    bench_must(nexar_send(run->comm, run->x, run->nbytes, 1, 0, NULL, NULL));
    bench_must(nexar_recv(run->comm, run->y, run->nbytes, 1, 0, NULL, NULL));
    return (double)(bench_now() - began) / 2;
}

static uint64_t check(struct bench_run *run)
{
    if (run->rank > 1)
        return 0;
    memset(run->y, 0, run->nbytes);
    there_and_back(run);
    return bench_differ(run->y, run->nbytes, 1 - run->rank, 0);
}

static void close_nothing(struct bench_run *run)
{
    (void)run;
}

const struct bench_case bench_p2p = {
    .name = "p2p",
    .help = "a message from rank 0 to rank 1 and back; times are one way, half of the round trip",
    .dtype = "uint8",
    .sizes = "8,64,512,4k,32k,256k,2m,16m",
    .least_ranks = 2,
    .bus = bench_bus_plain,
    .open = open_buffers,
    .round = there_and_back,
    .check = check,
    .close = close_nothing,
};
