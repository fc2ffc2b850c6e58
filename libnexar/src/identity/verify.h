/* identity/verify.h - whom to believe.  Certificates are judged against the cluster's CA alone, at the given time; the
 *  system's store of authorities is never asked.
 *
 *  A refusal is NEXAR_EAUTH with a sentence for this side's user, and a reason for the code; what the peer is told is
 *  the caller's choice.  NEXAR_ENOMEM and NEXAR_ESYSTEM are no judgement on the peer, and refuse it all the same.
 *
 *  May be called in the middle of a TLS handshake: the TLS library's error queue stays as it was. */
#ifndef NX_IDENTITY_VERIFY_H
#define NX_IDENTITY_VERIFY_H

#include "identity/trust.h"

enum nx_refusal {
    NX_ACCEPTED = 0,
    NX_REFUSED_NO_CERTIFICATE,
    NX_REFUSED_MALFORMED,     /* not a certificate, or not one of ours by its shape */
    NX_REFUSED_UNKNOWN_CA,    /* signed by somebody else */
    NX_REFUSED_EXPIRED,       /* itself, or its CA */
    NX_REFUSED_NOT_YET_VALID, /* itself, or its CA: somebody's clock is wrong */
    NX_REFUSED_PURPOSE,     /* a seed's where a member's is needed, or the other way round; not for TLS on both sides */
    NX_REFUSED_CLUSTER,     /* right CA, other cluster id */
    NX_REFUSED_FINGERPRINT, /* no certificate in the chain has the fingerprint of the join string */
};

/* A peer in the mesh.  `leaf` is DER, NULL if it showed none; `why` may be NULL.  On success its node id comes out,
 * which follows from the key that it proved to have: that it is the node of the rank it claims is for the caller to
 * compare. */
nexar_status nx_verify_member(const struct nx_trust *trust, const void *leaf, size_t leaf_size, int64_t now,
                              uint8_t node_id[NX_NODE_ID_SIZE], enum nx_refusal *why);

/* What a worker learns of a seed. */
struct nx_seed_identity {
    uint8_t cert_sha256[NX_SHA256_SIZE]; /* of the leaf: binds the proofs to this channel (identity/proof.h) */
    struct nx_trust *trust;              /* the caller's; nx_trust_free */
};

/* A seed, by a worker that joins.  `chain` is the PKCS#7 that the TLS library gives (DER, may be NULL) and must hold
 * the certificate of a cluster CA that issued `leaf`, a seed's.  `ca_sha256` is the fingerprint of the join string,
 * which that CA must have.
 *
 * `ca_sha256` NULL: ranks that share a secret and have no join string.  Then *anybody* passes who made such a chain,
 * and nothing of `out` may be relied on before the seed has proved that it knows the secret, for out->cert_sha256. */
nexar_status nx_verify_seed(const uint8_t *ca_sha256, const void *leaf, size_t leaf_size, const void *chain,
                            size_t chain_size, int64_t now, struct nx_seed_identity *out, enum nx_refusal *why);

/* For the answer to the TLS library, which has looked for the issuer in the system's folder of certificates before it
 * asked: where there is none, that leaves errors in OpenSSL's queue of this thread, which end the handshake of a server
 * even if we accept. */
void nx_verify_forget_errors(void);

#endif
