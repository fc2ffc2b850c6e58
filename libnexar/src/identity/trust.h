/* identity/trust.h - the certificate of a cluster's certificate authority: the one thing a process of the job
 * believes in. */
#ifndef NX_IDENTITY_TRUST_H
#define NX_IDENTITY_TRUST_H

#include "nexar/base.h"

#include "identity/der.h"
#include "identity/digest.h"
#include "identity/name.h"

struct nx_trust;

/* From DER.  NEXAR_EAUTH if it is not the certificate of a cluster's CA (P-256, self-signed, pathlen 0, named
 * nexar:<cluster id>:ca); NEXAR_ENOMEM, NEXAR_ESYSTEM.  That it is the right one is for the caller to know: by its
 * fingerprint, or by who sent it. */
nexar_status nx_trust_make(const void *der, size_t size, struct nx_trust **out);

/* NULL is legal. */
void nx_trust_free(struct nx_trust *trust);

/* All three belong to `trust`. */
const struct nx_der *nx_trust_der(const struct nx_trust *trust);
const uint8_t *nx_trust_sha256(const struct nx_trust *trust);     /* of the DER: the join string's fingerprint */
const uint8_t *nx_trust_cluster_id(const struct nx_trust *trust); /* NX_CLUSTER_ID_SIZE bytes */

#endif
