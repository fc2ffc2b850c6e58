/* identity/bundle.h - a process's own credential, in the form that the TLS library takes. */
#ifndef NX_IDENTITY_BUNDLE_H
#define NX_IDENTITY_BUNDLE_H

#include "identity/key.h"
#include "identity/trust.h"

/* What PKCS#12 readers are to be told. */
#define NX_BUNDLE_PASSWORD ""

struct nx_bundle {
    uint8_t *pkcs12; /* key, leaf and CA.  Holds the private key in clear: for memory only */
    size_t pkcs12_size;
    struct nx_name name;                 /* of the leaf */
    uint8_t cert_sha256[NX_SHA256_SIZE]; /* of the leaf */
};

/* Puts `key` and its certificate `leaf` (DER; a member's or a seed's) together, having checked that `trust` issued it
 * for that key.  NEXAR_EAUTH if not; NEXAR_ENOMEM, NEXAR_ESYSTEM. */
nexar_status nx_bundle_make(const struct nx_key *key, const void *leaf, size_t leaf_size, const struct nx_trust *trust,
                            struct nx_bundle **out);

/* The same as text, for other TLS than QUIC's: leaf, key and CA in PEM, each terminated.  NEXAR_ENOMEM,
 * NEXAR_ESYSTEM. */
struct nx_pem {
    char *leaf, *key, *ca;
};
nexar_status nx_bundle_pem(const struct nx_bundle *bundle, struct nx_pem *out);
/* Accepts half-filled. */
void nx_pem_free(struct nx_pem *pem);

/* Wipes it.  NULL is legal. */
void nx_bundle_free(struct nx_bundle *bundle);

#endif
