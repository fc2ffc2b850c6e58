/* case_cross.c - a small message from rank 0 to rank 1 and back while 16 MiB messages flow from rank 1 to rank 0: what
 * a large transfer does to the latency of others.  Both ranks read the same clock, so they must be on one host.
 *
 * Owner: the main thread of each rank, which waits for whichever comes first.  Two large messages are always under way,
 * so that the connection never runs dry. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BULK_BYTES (16u << 20)
#define BULKS 2
enum { TAG_SMALL, TAG_BULK, TAG_COUNT };

struct cross {
    uint8_t *bulk[BULKS];
    nexar_op *ops[BULKS + 1]; /* the last is that of the small message */
    uint64_t started;         /* large messages */
    uint64_t began;
    double *round_trips; /* microseconds, of the last BENCH_ROUNDS_MOST rounds */
    size_t rounds;
};

static void start_bulk(struct bench_run *run, size_t i)
{
    struct cross *c = run->state;

    c->started++;
    if (run->rank == 1)
        bench_must(nexar_send(run->comm, c->bulk[i], BULK_BYTES, 0, TAG_BULK, NULL, &c->ops[i]));
    else
        bench_must(nexar_recv_nb(run->comm, c->bulk[i], BULK_BYTES, 1, TAG_BULK, NULL, &c->ops[i]));
}

static void open_cross(struct bench_run *run)
{
    struct cross *c = bench_alloc(1, sizeof(*c));

    run->state = c;
    if (run->rank > 1)
        return;
    c->round_trips = bench_alloc(BENCH_ROUNDS_MOST, sizeof(c->round_trips[0]));
    bench_fill(run->x, run->nbytes, run->rank, 0);
    for (size_t i = 0; i < BULKS; i++) {
        c->bulk[i] = bench_alloc(BULK_BYTES, 1);
        start_bulk(run, i);
    }
    c->began = bench_now();
}

static void close_cross(struct bench_run *run)
{
    struct cross *c = run->state;

    for (size_t i = 0; i < BULKS; i++)
        free(c->bulk[i]);
    free(c->round_trips);
    free(c);
}

static void finish(struct cross *c, size_t i)
{
    bench_must(nexar_op_wait(c->ops[i], NEXAR_FOREVER));
    nexar_op_close(c->ops[i]);
    c->ops[i] = NULL;
}

/* Waits for the first of ops[0..n) and finishes it. */
static size_t finish_one(struct cross *c, size_t n)
{
    size_t which;

    bench_must(nexar_op_wait_any(c->ops, n, NEXAR_FOREVER, &which));
    finish(c, which);
    return which;
}

/* Receives the small message, and keeps the large ones flowing meanwhile. */
static void receive_small(struct bench_run *run)
{
    struct cross *c = run->state;
    size_t which;

    bench_must(nexar_recv_nb(run->comm, run->y, run->nbytes, 1 - run->rank, TAG_SMALL, NULL, &c->ops[BULKS]));
    while ((which = finish_one(c, BULKS + 1)) != BULKS)
        start_bulk(run, which);
}

/* Nanoseconds that rank 0's message was under way: the answer says it.  What comes back shares its way with the large
 * messages, so the round trip is kept apart. */
static double there_and_back(struct bench_run *run)
{
    struct cross *c = run->state;
    uint64_t began = bench_now(), under_way;

    if (run->rank > 1)
        return 0;
    if (run->rank == 0) {
        memcpy(run->x, &began, sizeof(began));
        bench_must(nexar_send(run->comm, run->x, run->nbytes, 1, TAG_SMALL, NULL, NULL));
    }
    receive_small(run);
    memcpy(&under_way, run->y, sizeof(under_way));
    if (run->rank == 1) {
        under_way = bench_now() - under_way;
        memcpy(run->x, &under_way, sizeof(under_way));
        bench_must(nexar_send(run->comm, run->x, run->nbytes, 0, TAG_SMALL, NULL, NULL));
        return 0;
    }
    c->round_trips[c->rounds++ % BENCH_ROUNDS_MOST] = (double)(bench_now() - began) / 1e3;
    return (double)under_way;
}

/* Each of the two ranks may have begun more large messages than the other: the one behind catches up. */
static void drain(struct bench_run *run)
{
    struct cross *c = run->state;
    uint32_t other = 1 - run->rank;
    uint64_t theirs;

    bench_must(nexar_sendrecv(run->comm, &c->started, sizeof(c->started), other, TAG_COUNT, &theirs, sizeof(theirs),
                              other, TAG_COUNT, NULL, NULL));
    while (c->started < theirs)
        start_bulk(run, finish_one(c, BULKS));
    for (size_t i = 0; i < BULKS; i++)
        finish(c, i);
}

static void say_more(struct bench_run *run)
{
    struct cross *c = run->state;
    struct bench_result whole = {0};
    double flow = (double)c->started * BULK_BYTES / (double)(bench_now() - c->began);

    if (run->rank != 0)
        return;
    bench_result_times(&whole, c->round_trips, c->rounds < BENCH_ROUNDS_MOST ? c->rounds : BENCH_ROUNDS_MOST);
    snprintf(run->more, sizeof(run->more),
             run->options->json ? ", \"round_trip_p50_us\": %.3f, \"round_trip_p99_us\": %.3f, \"cross_GBps\": %.6f"
                                : "  (round trip %.1f, p99 %.1f us; %.3f GB/s against it)",
             whole.p50, whole.p99, flow);
}

/* The large messages of the timed part are all zero.  The first bytes of the small one are its time. */
static uint64_t check(struct bench_run *run)
{
    struct cross *c = run->state;
    uint8_t *first = run->y;
    uint64_t wrong = 0;

    if (run->rank > 1)
        return 0;
    say_more(run);
    drain(run);
    memset(run->y, 0, run->nbytes);
    for (size_t i = 0; i < BULKS; i++) {
        if (run->rank == 1)
            bench_fill(c->bulk[i], BULK_BYTES, 1, 1);
        start_bulk(run, i);
    }
    there_and_back(run);
    drain(run);
    if (run->rank == 0)
        for (size_t i = 0; i < BULKS; i++)
            wrong += bench_differ(c->bulk[i], BULK_BYTES, 1, 1);
    for (size_t i = 0; i < sizeof(uint64_t); i++)
        first[i] = bench_byte(1 - run->rank, 0, i);
    return wrong + bench_differ(run->y, run->nbytes, 1 - run->rank, 0);
}

const struct bench_case bench_cross = {
    .name = "cross",
    .help = "a message from rank 0 to rank 1 while 16 MiB messages flow from rank 1 to rank 0; on one host",
    .dtype = "uint8",
    .sizes = "64",
    .granule = sizeof(uint64_t),
    .least_ranks = 2,
    .bus = bench_bus_plain,
    .open = open_cross,
    .round = there_and_back,
    .check = check,
    .close = close_cross,
};
