/* cluster/seed_io.h - a seed that serves: the machine of seed.h with sockets, certificates and time. */
#ifndef NX_CLUSTER_SEED_IO_H
#define NX_CLUSTER_SEED_IO_H

#include "cluster/seed.h"
#include "identity/ca.h"
#include "identity/join_string.h"
#include "identity/proof.h"

#include <sys/socket.h>

struct nx_seed_options {
    struct sockaddr_storage listen;
    uint32_t size;
    nx_time timeout;                   /* of formation, from the first that joins */
    const struct nx_proof_key *secret; /* NULL: a token, for a join string */
    /* Engine: all have joined, and have not been told yet.  Once; NULL is legal. */
    void (*full)(void *arg);
    void *full_arg;
    bool grows;                     /* the job takes in others after it has formed */
    const struct nx_ca *ca;         /* of a job that has formed elsewhere and grows: its authority, copied; else NULL */
    nx_time keep_alive, disconnect; /* for that: of the connections */
    /* Engine, for that: nx_seed_ops.elsewhere. */
    bool (*elsewhere)(void *arg, struct nx_pairs *out);
    void *elsewhere_arg;
    size_t host_count; /* names for the join string; their ports are filled in */
    struct nx_join_host hosts[NX_JOIN_HOSTS];
};

struct nx_seed;

/* NEXAR_EINVAL (the size, a host), NEXAR_ESYSTEM (the address is in use, ...), NEXAR_ENOMEM. */
nexar_status nx_seed_serve(const struct nx_seed_options *options, struct nx_seed **seed);

/* NULL if it was opened with a secret. */
const char *nx_seed_text(const struct nx_seed *seed);
uint16_t nx_seed_port(const struct nx_seed *seed);

/* Engine.  Its machine, for the calls of a job that grows; nx_seed_settle follows them. */
struct nx_seed_machine *nx_seed_machine_of(struct nx_seed *seed);
/* Engine.  After anything that the machine did: its clock, its result. */
void nx_seed_settle(struct nx_seed *seed);
/* Where the job is now, for those who are new; of a seed that has no `elsewhere`.  NEXAR_EINVAL: it does not grow, or
 * has not formed. */
nexar_status nx_seed_point_to(struct nx_seed *seed, const char addresses[][NX_ADDRESS_SIZE], uint32_t count);

/* As nexar_seed_wait. */
nexar_status nx_seed_wait(struct nx_seed *seed, nx_time deadline);

/* Ends it: a job that has not formed is told, and so are those in nx_seed_wait.  Blocks until the last message has been
 * taken, at most some seconds.  NULL is legal. */
void nx_seed_end(struct nx_seed *seed);

#endif
