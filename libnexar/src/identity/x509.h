/* identity/x509.h - what the files of identity/ share of OpenSSL.  Nobody else includes this.
 *
 *  Every function of this folder that others call leaves OpenSSL's queue of errors as it found it (ERR_set_mark,
 *  ERR_pop_to_mark): certificates are verified in the middle of a handshake, and the TLS library reads that queue. */
#ifndef NX_IDENTITY_X509_H
#define NX_IDENTITY_X509_H

#include "nexar/base.h"

#include "identity/der.h"
#include "identity/digest.h"
#include "identity/name.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* Largest certificate, request and chain that are looked at. */
#define NX_CERTIFICATE_LIMIT 16384
#define NX_REQUEST_LIMIT 4096
#define NX_CHAIN_LIMIT 65536

struct nx_key {
    EVP_PKEY *pkey;
    uint8_t node_id[NX_NODE_ID_SIZE];
};

struct nx_trust {
    X509 *ca;
    struct nx_der der;
    uint8_t sha256[NX_SHA256_SIZE];
    uint8_t cluster_id[NX_CLUSTER_ID_SIZE];
};

/* NEXAR_ESYSTEM, or NEXAR_ENOMEM if that is what OpenSSL says, with its reason in the sentence. */
nexar_status nx_openssl_fail(const char *doing);

/* One DER certificate and nothing else; NEXAR_EAUTH if not.  `whose` begins the sentence: "the peer's certificate". */
nexar_status nx_x509_parse(const char *whose, const void *der, size_t size, X509 **out);

nexar_status nx_x509_encode(X509 *x, struct nx_der *out);

/* The name in a certificate's subject alternative names, which must be that one URI and, except for a CA, the DNS name
 * localhost, in any order, and nothing else.  Without a sentence: false. */
bool nx_x509_name(X509 *x, struct nx_name *out);

/* The identity of a public key; NEXAR_EAUTH unless it is a P-256 key in its one canonical encoding. */
nexar_status nx_spki_node_id(X509_PUBKEY *spki, uint8_t node_id[NX_NODE_ID_SIZE]);

/* A request whose signature is right and whose key is P-256; NEXAR_EAUTH if not.  Gives its key and node id. */
nexar_status nx_csr_open(const void *der, size_t size, X509_REQ **out, uint8_t node_id[NX_NODE_ID_SIZE]);

/* As nx_trust_make, of a certificate that is parsed already; takes a reference of its own. */
nexar_status nx_trust_of(X509 *ca, struct nx_trust **out);

#endif
