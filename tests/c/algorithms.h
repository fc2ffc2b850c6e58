/* algorithms.h - the algorithms under test, and what each promises. */
#ifndef NX_TEST_ALGORITHMS_H
#define NX_TEST_ALGORITHMS_H

#include "coll/build.h"
#include "math/reduce.h"
#include "rng.h"

#include <stdbool.h>

#define MOST_RANKS 17

/* Sums x[0..n), the ranks' elements at place `at` of the vector, in the order that the algorithm's file promises. */
typedef float (*order_fn)(const struct nx_shape *shape, size_t at, const float *x);

struct algorithm {
    const char *name;
    nx_build_fn build;
    bool cuts;      /* into segments */
    order_fn order; /* NULL: sums nothing */
};

#define ALL_REDUCES 9
#define BROADCASTS 2
#define ALGORITHMS (ALL_REDUCES + BROADCASTS)
#define FLAT 0
#define DIRECT 1
#define DOUBLING 2
#define RING 3
#define HOSTS 7
#define RELAY 8

/* All the all_reduces, then all the broadcasts. */
extern const struct algorithm algorithms[ALGORITHMS];

struct kind {
    nexar_dtype dtype;
    nexar_reduce_op op;
};

#define KINDS 4

/* The first is the one whose result depends on the order. */
extern const struct kind kinds[KINDS];

/* "ring: n 3 root 0 count 7 segment 2 in place", until the next call. */
const char *case_text(const char *name, const struct nx_shape *shape);

/* Floats whose sum depends on the order, or any integers. */
void fill_elements(struct rng *rng, unsigned char *p, size_t count, nexar_dtype dtype);

/* What an all_reduce must leave on every rank, to the bit: all but sums of floats are associative, and for those the
 * order is known. */
void expect_result(const struct algorithm *a, const struct nx_shape *shape, struct kind kind, unsigned char *const *in,
                   unsigned char *want);

/* Fails the test, naming the case, if the bytes differ. */
void compare_result(const char *name, const struct nx_shape *shape, const void *got, const void *want, size_t nbytes);

#endif
