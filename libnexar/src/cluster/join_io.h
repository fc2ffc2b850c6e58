/* cluster/join_io.h - a worker that joins: the machine of join.h with a connection, certificates and time. */
#ifndef NX_CLUSTER_JOIN_IO_H
#define NX_CLUSTER_JOIN_IO_H

#include "cluster/join.h"
#include "cluster/mesh_io.h"
#include "identity/join_string.h"
#include "identity/proof.h"

struct nx_join_options {
    /* where the seed is, and how it is known */
    size_t seed_count;
    struct sockaddr_storage seeds[NX_JOIN_HOSTS];
    char seed_text[128];
    bool by_fingerprint; /* else by the shared secret alone */
    uint8_t ca_sha256[NX_SHA256_SIZE];
    struct nx_proof_key proof;
    bool patient; /* nx_join_machine.patient */
    nx_time deadline;
    bool has_token; /* of the join string; for others of a job that grows */
    uint8_t token[NX_TOKEN_SIZE];
    /* what this worker wants */
    uint32_t formation;             /* nx_msg_join_hello.formation */
    nx_time keep_alive, disconnect; /* if that is not 0: of the connection to the seed */
    uint32_t rank_plus_one, size, local_rank_plus_one, local_size;
    uint8_t group[NX_ID_SIZE];
};

/* What the owner does.  Engine. */
struct nx_join_owner {
    /* The rank is known, and with it the node: listens (nx_mesh_open, which takes over bundle and trust), and fills in
     * where others reach it, best first.  `seed` is where the seed was reached. */
    nexar_status (*welcome)(void *arg, uint32_t rank, uint32_t size, const struct sockaddr *seed,
                            struct nx_bundle *bundle, struct nx_trust *trust,
                            char addresses[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count);
    /* The job grows: takes the key of its authority, lets others in, and fills in where. */
    nexar_status (*grow)(void *arg, const struct nx_trust *trust, struct nx_bytes authority,
                         const struct sockaddr *seed, char lobby[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count);
    nexar_status (*mesh)(void *arg, const struct nx_msg_roster *roster);
    /* The end.  error NULL: the job has formed. */
    void (*done)(void *arg, const nexar_error *error);
};

struct nx_joining;

/* Engine. */
nexar_status nx_joining_start(const struct nx_join_options *options, const struct nx_join_owner *owner, void *arg,
                              struct nx_joining **out);
/* Engine.  What became of the mesh. */
void nx_joining_meshed(struct nx_joining *joining);
void nx_joining_mesh_failed(struct nx_joining *joining, const nexar_error *error);
/* Engine.  Another rank says that the job has formed. */
void nx_joining_formed(struct nx_joining *joining);
/* Engine.  Gives up; `done` follows, if it has not been. */
void nx_joining_cancel(struct nx_joining *joining, nexar_status status, const char *why);
/* Engine, in `done` with NEXAR_EPEER: the job had formed before, and goes on without who is new; he may try again. */
bool nx_joining_may_try_again(const struct nx_joining *joining);
/* Not on the engine, after `done`.  Blocks until its connection is gone.  NULL is legal. */
void nx_joining_free(struct nx_joining *joining);

#endif
