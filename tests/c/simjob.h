/* simjob.h - a job that forms in the simulated network: one seed, workers that join and connect with each other, as the
 * machines of cluster/ with certificates and proofs replaced by flags. */
#ifndef NX_TEST_SIMJOB_H
#define NX_TEST_SIMJOB_H

#include "simnet.h"

#include "cluster/join.h"
#include "cluster/mesh.h"
#include "cluster/seed.h"

enum {
    SIMJOB_RANKS = 16,
    SIMJOB_WORKERS = 24, /* some are too many */
};

struct simjob;

struct simworker {
    struct simhost host;
    struct simjob *job;
    uint32_t id;
    /* what it wants */
    uint32_t rank_plus_one, size, local_rank_plus_one;
    uint8_t group[NX_ID_SIZE];
    bool stranger; /* it does not know the token */
    /* what becomes of it */
    struct nx_join_machine join;
    struct nx_mesh_machine mesh;
    struct simconn *seed, *last_seed;    /* of this attempt; the same, also after its end */
    struct simconn *peer[SIMJOB_RANKS];  /* links that are up, by rank */
    struct simconn *early[SIMJOB_RANKS]; /* callers that came before the roster */
    uint32_t earlies;
    bool started, welcomed, over;
    nx_time over_at;
};

struct simjob {
    struct simnet net;
    struct simhost seed_host;
    struct nx_seed_machine seed;
    uint32_t size, workers;
    struct simworker worker[SIMJOB_WORKERS];
};

/* Workers are to be filled in (all wishes zero: none) and started. */
void simjob_init(struct simjob *job, uint64_t seed, nx_time delay_max, nx_time notice_max, uint32_t size,
                 uint32_t workers, nx_time timeout);
void simjob_fini(struct simjob *job);
void simjob_start(struct simworker *worker, nx_time at, nx_time timeout);

/* The first reason why this is not how a job may end; NULL: all is well.  All deadlines are over. */
const char *simjob_fault(const struct simjob *job);

#endif
