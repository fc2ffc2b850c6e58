/* identity/ca.h - a cluster's certificate authority, made by the seed for one job and never written to disk.
 *
 *  `now` is the wall clock in seconds since 1970.  Certificates begin one hour before it, so that hosts whose clocks
 *  differ by less accept each other, and end `lifetime` seconds after it, a leaf never later than its CA. */
#ifndef NX_IDENTITY_CA_H
#define NX_IDENTITY_CA_H

#include "identity/key.h"
#include "identity/trust.h"

#define NX_CLOCK_SKEW 3600
#define NX_LIFETIME_LIMIT ((int64_t)10 * 366 * 86400)

struct nx_ca;

/* A new cluster: id, key, self-signed certificate.  NEXAR_EINVAL unless 0 < lifetime <= NX_LIFETIME_LIMIT;
 * NEXAR_ENOMEM, NEXAR_ESYSTEM. */
nexar_status nx_ca_make(int64_t now, int64_t lifetime, struct nx_ca **out);

/* The same authority in another process: its certificate and key.  NEXAR_EAUTH if they are none, or do not belong to
 * each other. */
nexar_status nx_ca_restore(const struct nx_trust *trust, const void *key, size_t key_size, struct nx_ca **out);
/* Its key; wipe it with nx_der_wipe. */
nexar_status nx_ca_key(const struct nx_ca *ca, struct nx_der *out);

/* Wipes the key.  NULL is legal. */
void nx_ca_free(struct nx_ca *ca);

/* Its certificate, fingerprint and cluster id; belongs to `ca`. */
const struct nx_trust *nx_ca_trust(const struct nx_ca *ca);

/* A member's certificate for the key in `csr`, whose node id comes out too.  NEXAR_EAUTH if the request is not one
 * (not DER, over 4 KiB, wrong signature, another kind of key); NEXAR_EINVAL, NEXAR_ENOMEM, NEXAR_ESYSTEM.  Free with
 * nx_der_free. */
nexar_status nx_ca_issue_member(const struct nx_ca *ca, const void *csr, size_t csr_size, int64_t now, int64_t lifetime,
                                uint8_t node_id[NX_NODE_ID_SIZE], struct nx_der *out);

/* The certificate that the seed shows to those who join.  It is no member's: the mesh refuses it. */
nexar_status nx_ca_issue_seed(const struct nx_ca *ca, const struct nx_key *key, int64_t now, int64_t lifetime,
                              struct nx_der *out);

#endif
