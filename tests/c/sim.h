/* sim.h - runs the schedules of n ranks in one process, in a random legal order, with real data and no network. */
#ifndef NX_TEST_SIM_H
#define NX_TEST_SIM_H

#include "coll/build.h"
#include "coll/sched_check.h"
#include "math/reduce.h"
#include "rng.h"

#include <stdbool.h>

struct sim {
    uint32_t n;
    size_t size;                  /* bytes of an element */
    struct nx_check_sizes *sizes; /* per rank */
    unsigned char identity[16];   /* what a step fills with */
    struct nx_compress compress;  /* how a step encodes */
    uint64_t turn;
    struct nx_sched *scheds;
    unsigned char *(*bufs)[NX_BUFS]; /* per rank; in place SEND and RECV are the same pointer */
};

/* When a send is done. */
enum sim_sends {
    SIM_BUFFERED,   /* any time after it became ready */
    SIM_RENDEZVOUS, /* together with its receive */
};

/* Builds the schedules, not finished yet, and buffers of exactly the right size, filled with rubbish. */
void sim_init_each(struct sim *sim, nx_build_fn build, const struct nx_shape *shapes,
                   const struct nx_check_sizes *sizes, size_t size);
/* The same for shapes that differ in their rank alone, and buffers of `count` elements. */
void sim_init(struct sim *sim, nx_build_fn build, struct nx_shape shape, size_t size);
void sim_fini(struct sim *sim);

/* Finishes the schedules.  May be called again after a step was changed. */
void sim_finish(struct sim *sim);

/* Everything that sched_check.h can prove about them. */
nexar_status sim_check(const struct sim *sim);

/* False if not all steps could be done.  `held`: a rank that does nothing (n: none).  `done`, if not NULL: how many
 * steps each rank did. */
bool sim_run(const struct sim *sim, nx_reduce_fn fn, struct rng *rng, enum sim_sends sends, uint32_t held,
             uint32_t *done);

#endif
