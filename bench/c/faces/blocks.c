/* blocks.c - the method: rows of calls back to back, timed as a whole on the clock that all ranks of a host share.
 *
 * A sample is the time from the first rank's start of a row to the last rank's end of it, divided by the calls; a row
 * takes at least 20 ms, so that stalls count.  Owner: the main thread of each rank.  What the ranks must agree on they
 * compute from the same numbers, which the library under test carries, outside of what is timed. */
#include "face.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_NS 20e6
#define CALLS_MOST ((size_t)1 << 20)
#define ROWS_LEAST 5
#define ROWS_MOST 200
#define RANKS_MOST 1024

/* Every rank's `n` <= 2 numbers, one rank's after the other's. */
static const uint64_t *tell_all(const struct work *w, const uint64_t mine[2])
{
    static uint64_t all[2 * RANKS_MOST];
    static float bytes[4 * RANKS_MOST];
    float own[4];

    if (w->size > RANKS_MOST)
        face_die("too many ranks");
    memcpy(own, mine, sizeof(own));
    face.all_gather(own, bytes, 4);
    memcpy(all, bytes, w->size * sizeof(own));
    return all;
}

static uint64_t total(const struct work *w, uint64_t mine)
{
    const uint64_t *all = tell_all(w, (uint64_t[2]){mine, 0});
    uint64_t result = 0;

    for (uint32_t r = 0; r < w->size; r++)
        result += all[2 * r];
    return result;
}

/* Elements that one call with known values leaves wrong, on all ranks. */
static uint64_t check(const struct face_case *c, struct work *w)
{
    uint32_t root = w->size - 1;
    const float *result = c->in_x ? w->x : w->y;
    uint64_t wrong = 0;

    for (size_t i = 0; i < w->count; i++) {
        w->x[i] = (float)(i % 1021 + w->rank);
        w->y[i] = -1;
    }
    c->go(w, root);
    for (size_t i = 0; i < c->length(w, root); i++)
        wrong += result[i] != c->expected(w, root, i);
    return total(w, wrong);
}

/* Nanoseconds of one call, by a row of `calls`. */
static double row(const struct face_case *c, struct work *w, size_t calls)
{
    uint64_t times[2], first = UINT64_MAX, last = 0;
    const uint64_t *all;
    uint32_t ranks = c->pair ? 2 : w->size;

    face.barrier();
    times[0] = bench_now();
    for (size_t i = 0; i < calls; i++)
        c->go(w, (uint32_t)(i % w->size));
    if (c->finish != NULL)
        c->finish(w);
    times[1] = bench_now();
    face.barrier();
    all = tell_all(w, times);
    for (uint32_t r = 0; r < ranks; r++) {
        first = all[2 * r] < first ? all[2 * r] : first;
        last = all[2 * r + 1] > last ? all[2 * r + 1] : last;
    }
    return (double)(last - first) / (double)calls;
}

/* As many calls as make a row, and what one takes then. */
static size_t calls_of_row(const struct face_case *c, struct work *w, double *ns)
{
    size_t calls = 2, more;

    row(c, w, 2);
    for (;;) {
        *ns = row(c, w, calls);
        if (*ns > ROW_NS)
            return 1;
        if (*ns * (double)calls >= ROW_NS || calls >= CALLS_MOST)
            return calls;
        more = (size_t)(ROW_NS * 1.3 / *ns) + 1;
        more = more < calls * 20 ? more : calls * 20;
        calls = more > calls ? more : calls + 1;
        calls = calls < CALLS_MOST ? calls : CALLS_MOST;
    }
}

static void set_up(const struct face_case *c, struct work *w, size_t nbytes)
{
    size_t parts = c->blocks ? w->size : 1;

    w->block = nbytes / sizeof(float) / parts;
    if (w->block == 0)
        w->block = 1;
    w->count = c->expected != NULL ? w->block * parts : 0;
}

void face_measure(const struct face_case *c, struct work *w, size_t nbytes, double seconds, struct bench_result *result)
{
    static char more[64];
    double us[ROWS_MOST], ns;
    size_t calls, rows;

    set_up(c, w, nbytes);
    *result = (struct bench_result){.name = c->name,
                                    .ranks = w->size,
                                    .nbytes = w->count * sizeof(float),
                                    .dtype = c->expected != NULL ? "float32" : "none",
                                    .bus = c->bus(w->size),
                                    .more = more};
    result->wrong = check(c, w);
    memset(w->x, 0, w->count * sizeof(float)); /* sums of sums would not stay finite */
    memset(w->y, 0, w->count * sizeof(float));
    calls = calls_of_row(c, w, &ns);
    ns = seconds * 1e9 / (ns * (double)calls);
    rows = ns < ROWS_LEAST ? ROWS_LEAST : ns > ROWS_MOST ? ROWS_MOST : (size_t)ns;
    for (size_t i = 0; i < rows; i++)
        us[i] = row(c, w, calls) * c->share / 1e3;
    bench_result_times(result, us, rows);
    snprintf(more, sizeof(more), ", \"face\": \"c\", \"calls\": %zu", calls);
    result->transport = face.transport();
}
