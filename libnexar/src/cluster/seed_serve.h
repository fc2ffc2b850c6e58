/* cluster/seed_serve.h - what the two halves of a serving seed share: seed_io.c has its callers, seed_serve.c its life.
 * */
#ifndef NX_CLUSTER_SEED_SERVE_H
#define NX_CLUSTER_SEED_SERVE_H

#include "base/watch.h"
#include "cluster/seed_io.h"
#include "identity/bundle.h"
#include "identity/ca.h"
#include "quic/quic.h"

#define NX_SEED_LIFETIME ((int64_t)365 * 86400) /* of certificates, in seconds: the longest job */

struct nx_seed {
    /* const after init */
    struct nx_ca *ca;
    struct nx_key *key;
    struct nx_bundle *bundle;
    struct nx_proof_key proof;
    struct nx_quic_config *config;
    struct nx_quic_listener *listener;
    char *text;
    uint16_t port;
    void (*full)(void *arg);
    void *full_arg;
    bool (*elsewhere)(void *arg, struct nx_pairs *out);
    void *elsewhere_arg;
    struct nx_process self;  /* empty: /proc does not tell */
    struct nx_der authority; /* the key of a job that grows; else nothing */
    /* engine */
    struct nx_seed_machine machine;
    struct nx_list callers;
    struct nx_timer timer;
    uint8_t nonce[NX_NONCE_SIZE], seed_proof[NX_PROOF_SIZE]; /* of the challenge that is being made */
    char next[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE];            /* where those who are new are to go; none: here */
    struct nx_pair pair[NX_ADDRESSES_MAX];
    uint32_t nexts;
    /* lock */
    struct nx_mutex lock;
    struct nx_list waiters;
    bool over; /* formed or failed */
    nexar_error error;
    uint32_t connections;
};

/* ---- seed_io.c ---- */

extern const struct nx_seed_ops nx_seed_ops;

/* For the listener. */
struct nx_quic_config *nx_seed_accept(void *seed, struct nx_quic_conn *quic, const char *alpn,
                                      const struct sockaddr *from, const struct nx_quic_conn_events **events,
                                      void **conn_arg);
/* Engine.  Ends the connections of all that were not told anything. */
void nx_seed_hang_up(struct nx_seed *seed);

/* ---- seed_serve.c ---- */

/* With the lock: who waits for what is now so. */
void nx_seed_wake(struct nx_seed *seed);

static inline int64_t nx_seed_clock(void)
{
    return (int64_t)time(NULL);
}

#endif
