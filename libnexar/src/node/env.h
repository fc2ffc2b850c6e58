/* node/env.h - what the environment says about the job: who started this process, which rank it is, where to meet.
 *
 * In this order: the caller's rank or NEXAR_RANK; torchrun; Open MPI; PMI (MPICH, Intel MPI); PMIx; a step of Slurm; an
 * indexed job of Kubernetes; else a job of one rank.  The first one found gives rank and size; NEXAR_MASTER_ADDR,
 * NEXAR_MASTER_PORT, NEXAR_LOCAL_RANK, NEXAR_LOCAL_SIZE and NEXAR_JOB_ID overrule it.  mpirun inside Slurm leaves both
 * kinds of variables, those of Slurm then count daemons: hence MPI before Slurm.
 *
 * Kubernetes tells the rank alone: NEXAR_WORLD_SIZE must give the size.  Rank 0 is found through MASTER_ADDR, or by the
 * name that pods of an indexed job have with a headless service: in job-2.service.namespace.svc... the index is
 * replaced. */
#ifndef NX_NODE_ENV_H
#define NX_NODE_ENV_H

#include "node/config.h"

#define NX_ENV_HOST 256
#define NX_ENV_JOB 512

enum nx_answer { NX_UNKNOWN, NX_NO, NX_YES };

struct nx_env {
    const char *launcher; /* "config", "nexar", "torchrun", "openmpi", "pmi", "pmix", "slurm", "kubernetes", "none" */
    bool have_rank, have_size, have_local_rank, have_local_size;
    uint32_t rank, size, local_rank, local_size; /* 0 if not had */
    enum nx_answer one_host;                     /* all ranks are on this host */
    char host[NX_ENV_HOST];                      /* where rank 0 is; "": nobody says */
    uint16_t port; /* of rank 0 there: given, or derived from `job`, on one host from `here` */
    bool port_given;
    char job[NX_ENV_JOB];       /* the same on all ranks of the job */
    char here[NX_ENV_JOB + 64]; /* that, and what tells it from other jobs of this host: the name for nx_meet */
    char why[1024];             /* what was found, for people */
};

/* What is asked beyond the environment; tests have their own. */
struct nx_env_host {
    /* nx_process_starter */
    void (*starter)(const char *variable, const char *value, char *out, size_t cap);
    /* This host's name, with its domain if it has one. */
    void (*full_name)(char *out, size_t cap);
};
extern const struct nx_env_host nx_env_this_host;

/* NEXAR_ECONFIG: the variables contradict each other, or only some of those that a launcher sets are there; the text
 * names them.  *out is then what was understood. */
nexar_status nx_env_detect(const struct nx_config *config, char *const *environment, const struct nx_env_host *host,
                           struct nx_env *out);

/* How the ranks of a job find each other. */
enum nx_way {
    NX_WAY_ALONE,  /* there is one */
    NX_WAY_JOIN,   /* by config->join */
    NX_WAY_SECRET, /* by the secret: rank 0 is the seed, at env->host and env->port */
    NX_WAY_FILE,   /* all on one host: rank 0 is the seed, and leaves its join string for the others (node/meet.h) */
};

/* NEXAR_ECONFIG with what to set, if there is no way that is safe. */
nexar_status nx_env_way(const struct nx_config *config, const struct nx_env *env, enum nx_way *way);

const char *nx_way_name(enum nx_way way);

#endif
