/* identity/key.h - a P-256 key pair of this process.  The private half never leaves it but inside the credential that
 * is handed to the TLS library (identity/bundle.h), or, of an authority's key, to the members of a job that grows. */
#ifndef NX_IDENTITY_KEY_H
#define NX_IDENTITY_KEY_H

#include "nexar/base.h"

#include "identity/der.h"
#include "identity/name.h"

struct nx_key;

/* *out is NULL on failure: NEXAR_ENOMEM, NEXAR_ESYSTEM. */
nexar_status nx_key_make(struct nx_key **out);

/* Both halves as DER, to be wiped by nx_der_wipe; and back.  NEXAR_EAUTH if the bytes are no P-256 key. */
nexar_status nx_key_export(const struct nx_key *key, struct nx_der *out);
nexar_status nx_key_import(const void *der, size_t size, struct nx_key **out);

/* Wipes it.  NULL is legal. */
void nx_key_free(struct nx_key *key);

/* The node id that belongs to it, NX_NODE_ID_SIZE bytes. */
const uint8_t *nx_key_node_id(const struct nx_key *key);

#endif
