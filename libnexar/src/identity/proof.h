/* identity/proof.h - how a worker and a seed show each other that they know the same key, without saying it.
 *
 *      proof = HMAC-SHA-256(key, label of the role | worker's nonce | seed's nonce |
 *                                SHA-256 of the seed's certificate | SHA-256 of what was said so far)
 *
 *  The seed proves first.  The certificate's digest binds a proof to the TLS connection it was made for: who sits
 *  between the two with a certificate of his own gets proofs that fit neither side.  Labels keep one role's proof
 *  from being handed back as the other's, nonces keep it from being used again.
 *
 *  What others learn: an onlooker nothing, since all of it goes inside TLS.  A false seed nothing at all: the worker
 *  answers only to a right proof.  A false worker one proof of the seed, by which a guessed key can be tried offline:
 *  hopeless for the 256 bits of a token or the 128 that identity/secret.h insists on, which is why it insists. */
#ifndef NX_IDENTITY_PROOF_H
#define NX_IDENTITY_PROOF_H

#include "identity/join_string.h"

#define NX_NONCE_SIZE 32
#define NX_PROOF_SIZE NX_SHA256_SIZE

/* Made from a token or a secret by an HMAC with a label of its own, so that it is neither.  Wipe after use. */
struct nx_proof_key {
    uint8_t bytes[NX_SHA256_SIZE];
};

enum nx_proof_role {
    NX_PROOF_WORKER = 1,
    NX_PROOF_SEED = 2,
};

/* What both sides have seen. */
struct nx_proof_context {
    uint8_t nonce_worker[NX_NONCE_SIZE];
    uint8_t nonce_seed[NX_NONCE_SIZE];
    uint8_t seed_cert_sha256[NX_SHA256_SIZE]; /* seed: nx_bundle's; worker: nx_seed_identity's */
    const struct nx_span *said;               /* the messages before the proof, both directions, in order */
    size_t said_count;
};

nexar_status nx_proof_key_from_token(const uint8_t token[NX_TOKEN_SIZE], struct nx_proof_key *out);

/* `secret` as identity/secret.h admits it. */
nexar_status nx_proof_key_from_secret(const void *secret, size_t size, struct nx_proof_key *out);

nexar_status nx_proof_make(const struct nx_proof_key *key, enum nx_proof_role role,
                           const struct nx_proof_context *context, uint8_t out[NX_PROOF_SIZE]);

/* NEXAR_EAUTH unless `proof` is the one that `role` makes; in constant time. */
nexar_status nx_proof_check(const struct nx_proof_key *key, enum nx_proof_role role,
                            const struct nx_proof_context *context, const void *proof, size_t proof_size);

#endif
