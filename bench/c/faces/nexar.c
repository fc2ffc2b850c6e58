/* nexar.c - the face of nexar, by its public functions.
 *
 * Owner: the main thread of each rank. */
#include "face.h"
#include "nexar/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nexar_comm *comm;

void bench_must(nexar_status st)
{
    if (st == NEXAR_OK)
        return;
    fprintf(stderr, "face-nexar: %s: %s\n", nexar_status_name(st), nexar_last_error());
    exit(1);
}

static void join(int *argc, char ***argv, uint32_t *rank, uint32_t *size)
{
    (void)argc;
    (void)argv;
    bench_must(nexar_init(NULL, &comm));
    *rank = nexar_comm_rank(comm);
    *size = nexar_comm_size(comm);
}

static void leave(void)
{
    nexar_comm_close(comm);
}

static const char *transport(void)
{
    static char text[64];

    bench_transports(comm, text, sizeof(text));
    return text;
}

#ifdef FACE_NEXAR_ALLOC
static void *memory(size_t nbytes)
{
    void *p;

    bench_must(nexar_comm_alloc(comm, nbytes, &p));
    memset(p, 0, nbytes);
    return p;
}
#endif

static void all_reduce(float *x, size_t count)
{
    bench_must(nexar_all_reduce(comm, x, x, count, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL));
}

static void broadcast(float *x, size_t count, uint32_t root)
{
    bench_must(nexar_broadcast(comm, x, count, NEXAR_FLOAT32, root, NULL, NULL));
}

static void reduce(const float *x, float *y, size_t count, uint32_t root)
{
    bench_must(nexar_reduce(comm, x, y, count, NEXAR_FLOAT32, NEXAR_SUM, root, NULL, NULL));
}

static void all_gather(const float *x, float *y, size_t block)
{
    bench_must(nexar_all_gather(comm, x, y, block, NEXAR_FLOAT32, NULL, NULL));
}

static void reduce_scatter(const float *x, float *y, size_t block)
{
    bench_must(nexar_reduce_scatter(comm, x, y, block, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL));
}

static void all_to_all(const float *x, float *y, size_t block)
{
    bench_must(nexar_all_to_all(comm, x, y, block, NEXAR_FLOAT32, NULL, NULL));
}

static void gather(const float *x, float *y, size_t block, uint32_t root)
{
    bench_must(nexar_gather(comm, x, y, block, NEXAR_FLOAT32, root, NULL, NULL));
}

static void scatter(const float *x, float *y, size_t block, uint32_t root)
{
    bench_must(nexar_scatter(comm, x, y, block, NEXAR_FLOAT32, root, NULL, NULL));
}

static void scan(const float *x, float *y, size_t count)
{
    bench_must(nexar_scan(comm, x, y, count, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL));
}

static void barrier(void)
{
    bench_must(nexar_barrier(comm, NULL, NULL));
}

static void send(const float *x, size_t count, uint32_t to)
{
    bench_must(nexar_send(comm, x, count * sizeof(float), to, 0, NULL, NULL));
}

static void recv(float *x, size_t count, uint32_t from)
{
    bench_must(nexar_recv(comm, x, count * sizeof(float), from, 0, NULL, NULL));
}

const struct face face = {
    .open = join,
    .close = leave,
    .transport = transport,
#ifdef FACE_NEXAR_ALLOC
    .memory = memory,
#endif
    .all_reduce = all_reduce,
    .broadcast = broadcast,
    .reduce = reduce,
    .all_gather = all_gather,
    .reduce_scatter = reduce_scatter,
    .all_to_all = all_to_all,
    .gather = gather,
    .scatter = scatter,
    .scan = scan,
    .barrier = barrier,
    .send = send,
    .recv = recv,
};
