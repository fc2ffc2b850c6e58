/* coll_case.h - a collective in the simulator: any algorithm, equal or unequal blocks, in place or not, with inputs
 * that are all different and the results that every rank must have. */
#ifndef NX_TEST_COLL_CASE_H
#define NX_TEST_COLL_CASE_H

#include "algorithms.h"
#include "coll/select.h"
#include "sim.h"

/* Sums x[0..n) in the order that the algorithm's file promises, for the result on `rank` or, in a reduce_scatter, for
 * its block. */
typedef float (*coll_order_fn)(uint32_t n, uint32_t root, uint32_t rank, const float *x);

struct coll_algorithm {
    enum nx_coll coll;
    const char *name;
    nx_build_fn build;
    bool cuts;
    coll_order_fn order; /* NULL: sums nothing */
};

/* All but those of all_reduce and barrier. */
extern const struct coll_algorithm coll_algorithms[];
extern const size_t coll_algorithm_count;

enum coll_in_place { NOT_IN_PLACE, IN_PLACE, SOME_IN_PLACE };

struct coll_case {
    const struct coll_algorithm *algorithm;
    struct kind kind;
    size_t size; /* bytes of an element */
    char text[160];
    struct nx_shape shapes[MOST_RANKS];
    struct nx_range send_blocks[MOST_RANKS][MOST_RANKS]; /* what the shapes point to, if unequal */
    struct nx_range recv_blocks[MOST_RANKS][MOST_RANKS];
    struct sim sim;
    /* Contents of SEND and RECV before, and of RECV afterwards. */
    unsigned char *send[MOST_RANKS];
    unsigned char *recv[MOST_RANKS];
    unsigned char *want[MOST_RANKS];
};

/* Whether it has blocks of unequal length, and whether a rank may have its buffers in one. */
bool coll_is_unequal(enum nx_coll coll);
bool coll_can_be_in_place(enum nx_coll coll);
bool coll_has_root(enum nx_coll coll);

/* `shape`: n, root, count (with unequal blocks: twice the most elements of a block is not exceeded), segment. */
void coll_case_init(struct coll_case *c, const struct coll_algorithm *algorithm, struct nx_shape shape,
                    enum coll_in_place in_place, struct kind kind, struct rng *rng);
void coll_case_fini(struct coll_case *c);

/* Runs it, from the inputs, in a random order.  NULL if all buffers are as they must be; else what is wrong. */
const char *coll_case_try(struct coll_case *c, enum sim_sends sends, struct rng *rng);
/* The same; the test fails if something is wrong. */
void coll_case_run(struct coll_case *c, enum sim_sends sends, struct rng *rng);

#endif
