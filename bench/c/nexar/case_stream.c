/* case_stream.c - messages from rank 0 to rank 1, one behind the other; the rate at which they arrive in the receiver's
 * memory.
 *
 * Owner: the main thread.  A round is a burst and its answer; rank 0 keeps the time.  Messages that the library copies
 * are sent by blocking calls, larger ones with several in flight. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define BURST_BYTES (64u << 20)
#define BURST_LEAST 8
#define BURST_MOST 20000
#define WINDOW 8
#define BLOCKING_UP_TO 16384

struct stream {
    size_t burst;
    uint8_t *slots; /* WINDOW messages */
    nexar_op *ops[WINDOW];
};

static void open_stream(struct bench_run *run)
{
    struct stream *s = bench_alloc(1, sizeof(*s));
    size_t burst = run->nbytes != 0 ? BURST_BYTES / run->nbytes : BURST_MOST;

    run->state = s;
    s->burst = burst < BURST_LEAST ? BURST_LEAST : burst > BURST_MOST ? BURST_MOST : burst;
    s->slots = bench_alloc(WINDOW, run->nbytes);
}

static void close_stream(struct bench_run *run)
{
    struct stream *s = run->state;

    free(s->slots);
    free(s);
}

static void finish(struct stream *s, size_t slot)
{
    if (s->ops[slot] == NULL)
        return;
    bench_must(nexar_op_wait(s->ops[slot], NEXAR_FOREVER));
    nexar_op_close(s->ops[slot]);
    s->ops[slot] = NULL;
}

/* Starts message `i` of a burst; blocks if messages of this size do. */
static void start(struct bench_run *run, size_t i)
{
    struct stream *s = run->state;
    uint8_t *slot = s->slots + i % WINDOW * run->nbytes;
    nexar_op **op = run->nbytes <= BLOCKING_UP_TO ? NULL : &s->ops[i % WINDOW];

    if (run->rank == 0)
        bench_must(nexar_send(run->comm, slot, run->nbytes, 1, 0, NULL, op));
    else if (op == NULL)
        bench_must(nexar_recv(run->comm, slot, run->nbytes, 0, 0, NULL, NULL));
    else
        bench_must(nexar_recv_nb(run->comm, slot, run->nbytes, 0, 0, NULL, op));
}

static double burst(struct bench_run *run)
{
    struct stream *s = run->state;
    uint64_t began = bench_now();

    if (run->rank > 1)
        return 0;
    for (size_t i = 0; i < s->burst; i++) {
        finish(s, i % WINDOW);
        start(run, i);
    }
    for (size_t i = 0; i < WINDOW; i++)
        finish(s, (s->burst + i) % WINDOW);
    if (run->rank == 1) {
        bench_must(nexar_send(run->comm, "", 0, 0, 1, NULL, NULL));
        return 0;
    }
    bench_must(nexar_recv(run->comm, NULL, 0, 1, 1, NULL, NULL));
    return (double)(bench_now() - began) / (double)s->burst;
}

/* The same calls, but each message differs from the one before and is looked at. */
static uint64_t check(struct bench_run *run)
{
    struct stream *s = run->state;
    uint64_t wrong = 0;

    if (run->rank > 1)
        return 0;
    for (size_t i = 0; i < (size_t)3 * WINDOW; i++) {
        uint8_t *slot = s->slots + i % WINDOW * run->nbytes;

        if (run->rank == 0)
            bench_fill(slot, run->nbytes, 0, i);
        else
            memset(slot, 0, run->nbytes);
        start(run, i);
        if (i % WINDOW != WINDOW - 1)
            continue;
        for (size_t k = 0; k < WINDOW; k++) {
            finish(s, k);
            if (run->rank == 1)
                wrong += bench_differ(s->slots + k * run->nbytes, run->nbytes, 0, i - (WINDOW - 1) + k);
        }
    }
    return wrong;
}

const struct bench_case bench_stream = {
    .name = "stream",
    .help = "messages from rank 0 to rank 1 without a pause; times are of one message",
    .dtype = "uint8",
    .sizes = "64,4k,64k,1m,16m",
    .least_ranks = 2,
    .bus = bench_bus_plain,
    .open = open_stream,
    .round = burst,
    .check = check,
    .close = close_stream,
};
