/* identity/csr.h - a certificate signing request: how a worker gets a certificate and keeps its key to itself. */
#ifndef NX_IDENTITY_CSR_H
#define NX_IDENTITY_CSR_H

#include "identity/der.h"
#include "identity/key.h"

/* A request for a certificate of `key`: the public key, signed with the private one, and no wishes.  Free with
 * nx_der_free. */
nexar_status nx_csr_make(const struct nx_key *key, struct nx_der *out);

#endif
