/* bench.h - nexar-bench: what a case is, and what cases share.  Everything here is used by the main thread alone. */
#ifndef BENCH_H
#define BENCH_H

#include "result.h"

#include <nexar/nexar.h>

struct bench_options {
    double seconds; /* to measure one size */
    uint64_t calls; /* of the case that counts calls */
    uint64_t since; /* bench_now() of the beginning, of the case that measures a start */
    bool json;
};

/* One size of one case, on one rank. */
struct bench_run {
    const struct bench_options *options;
    nexar_comm *comm;
    uint32_t rank;
    uint32_t size;
    size_t nbytes;
    void *x;     /* what this rank gives: nbytes, never NULL */
    void *y;     /* what it gets: nbytes, never NULL */
    void *state; /* the case's own */
    char more[160];
    char transport[64];
};

struct bench_case {
    const char *name;
    const char *help;
    const char *dtype;
    const char *sizes; /* if the user names none; NULL: the case has no size */
    uint32_t granule;  /* sizes are rounded up to it, and are at least it; 0: any size */
    uint32_t least_ranks;
    bool together; /* ranks begin a round at the same time */
    double (*bus)(uint32_t ranks);

    void (*open)(struct bench_run *run);
    /* Nanoseconds that one operation took on this rank; 0 if another rank keeps the time. */
    double (*round)(struct bench_run *run);
    /* Elements that are not what they should be on this rank. */
    uint64_t (*check)(struct bench_run *run);
    void (*close)(struct bench_run *run);
    /* Instead of the four above: the whole measurement.  Sets the times and `wrong`. */
    void (*whole)(struct bench_run *run, struct bench_result *result);
};

extern const struct bench_case bench_p2p;
extern const struct bench_case bench_stream;
extern const struct bench_case bench_cross;
extern const struct bench_case bench_all_reduce;
extern const struct bench_case bench_broadcast;
extern const struct bench_case bench_barrier;
extern const struct bench_case bench_allocations;
extern const struct bench_case bench_start;

/* Measures one size; the result is the same on all ranks. */
void bench_measure(const struct bench_case *c, struct bench_run *run, struct bench_result *result);

/* The largest time of all ranks, in place. */
void bench_slowest(struct bench_run *run, double *ns, size_t n);

/* Ends the process with the library's error if `st` is one. */
void bench_must(nexar_status st);

/* `count` zeroed elements; ends the process if there is no memory. */
void *bench_alloc(size_t count, size_t size);

/* The library's counter of this name; ends the process if it has none. */
uint64_t bench_counter(nexar_comm *comm, const char *name);

/* "quic", "shm+quic": those that carried messages of this rank. */
void bench_transports(nexar_comm *comm, char *text, size_t cap);

void bench_fill(void *buf, size_t nbytes, uint32_t rank, uint64_t k);
/* How many bytes differ from what bench_fill writes. */
uint64_t bench_differ(const void *buf, size_t nbytes, uint32_t rank, uint64_t k);

/* bus of cases that move their bytes once */
double bench_bus_plain(uint32_t ranks);

#endif
