/* identity/proof.c - the proofs of identity/proof.h.
 *
 * Owner: none, pure functions.  It makes no nonces and keeps no state: that each nonce is fresh and that the seed
 * goes first is the business of the two machines that use it. */
#include "identity/proof.h"

#include "base/status.h"

#include <string.h>

/* All of one length, so that every part of the signed bytes stands at a fixed place. */
#define LABEL_SIZE 24

static const char label_worker[LABEL_SIZE] = "nexar-join/1 worker";
static const char label_seed[LABEL_SIZE] = "nexar-join/1 seed";
static const char label_token[LABEL_SIZE] = "nexar-join/1 token";
static const char label_secret[LABEL_SIZE] = "nexar-join/1 secret";

struct signed_bytes {
    char label[LABEL_SIZE];
    uint8_t nonce_worker[NX_NONCE_SIZE];
    uint8_t nonce_seed[NX_NONCE_SIZE];
    uint8_t seed_cert_sha256[NX_SHA256_SIZE];
    uint8_t said_sha256[NX_SHA256_SIZE];
};

_Static_assert(sizeof(struct signed_bytes) == LABEL_SIZE + 4 * 32, "bytes only, no gaps");

nexar_status nx_proof_key_from_token(const uint8_t token[NX_TOKEN_SIZE], struct nx_proof_key *out)
{
    return nx_hmac_sha256(label_token, LABEL_SIZE, token, NX_TOKEN_SIZE, out->bytes);
}

nexar_status nx_proof_key_from_secret(const void *secret, size_t size, struct nx_proof_key *out)
{
    return nx_hmac_sha256(label_secret, LABEL_SIZE, secret, size, out->bytes);
}

nexar_status nx_proof_make(const struct nx_proof_key *key, enum nx_proof_role role,
                           const struct nx_proof_context *context, uint8_t out[NX_PROOF_SIZE])
{
    struct signed_bytes bytes;
    nexar_status status;

    memcpy(bytes.label, role == NX_PROOF_SEED ? label_seed : label_worker, LABEL_SIZE);
    memcpy(bytes.nonce_worker, context->nonce_worker, NX_NONCE_SIZE);
    memcpy(bytes.nonce_seed, context->nonce_seed, NX_NONCE_SIZE);
    memcpy(bytes.seed_cert_sha256, context->seed_cert_sha256, NX_SHA256_SIZE);
    status = nx_sha256_spans(context->said, context->said_count, bytes.said_sha256);
    if (status != NEXAR_OK) {
        memset(out, 0, NX_PROOF_SIZE);
        return status;
    }
    return nx_hmac_sha256(key->bytes, sizeof(key->bytes), &bytes, sizeof(bytes), out);
}

nexar_status nx_proof_check(const struct nx_proof_key *key, enum nx_proof_role role,
                            const struct nx_proof_context *context, const void *proof, size_t proof_size)
{
    uint8_t right[NX_PROOF_SIZE];
    nexar_status status = nx_proof_make(key, role, context, right);
    bool same = proof_size == NX_PROOF_SIZE && nx_equal(proof, right, NX_PROOF_SIZE);

    explicit_bzero(right, sizeof(right));
    if (status != NEXAR_OK)
        return status;
    if (!same)
        return nx_fail(NEXAR_EAUTH, "the %s does not know the token or secret of this job",
                       role == NX_PROOF_SEED ? "seed" : "worker");
    return NEXAR_OK;
}
