/* identity/csr.c - making and checking certificate signing requests.
 *
 * Owner: none, no state.  Of a request that came over the network only the public key is used, and only after its
 * signature showed that the sender has the private one; subject, attributes and wished-for extensions are never
 * looked at. */
#include "identity/csr.h"

#include "base/status.h"
#include "identity/x509.h"

#include <openssl/objects.h>

static nexar_status make(X509_REQ *request, const struct nx_key *key, struct nx_der *out)
{
    uint8_t *at;
    int size;

    if (request == NULL || X509_REQ_set_version(request, 0) != 1 || X509_REQ_set_pubkey(request, key->pkey) != 1 ||
        X509_REQ_sign(request, key->pkey, EVP_sha256()) <= 0)
        return nx_openssl_fail("making a certificate request");
    size = i2d_X509_REQ(request, NULL);
    if (size <= 0)
        return nx_openssl_fail("encoding a certificate request");
    at = nx_alloc((size_t)size);
    if (at == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a certificate request");
    *out = (struct nx_der){.data = at, .size = (size_t)size};
    i2d_X509_REQ(request, &at);
    return NEXAR_OK;
}

nexar_status nx_csr_make(const struct nx_key *key, struct nx_der *out)
{
    nexar_status status;
    X509_REQ *request;

    *out = (struct nx_der){0};
    ERR_set_mark();
    request = X509_REQ_new();
    status = make(request, key, out);
    X509_REQ_free(request);
    ERR_pop_to_mark();
    return status;
}

nexar_status nx_csr_open(const void *der, size_t size, X509_REQ **out, uint8_t node_id[NX_NODE_ID_SIZE])
{
    const uint8_t *at = der;
    X509_REQ *request;
    nexar_status status;

    *out = NULL;
    if (size > NX_REQUEST_LIMIT)
        return nx_fail(NEXAR_EAUTH, "the certificate request has %zu bytes; the limit is %d", size, NX_REQUEST_LIMIT);
    request = d2i_X509_REQ(NULL, &at, (long)size);
    if (request == NULL)
        return nx_fail(NEXAR_EAUTH, "what came is not a certificate request");
    if (at != (const uint8_t *)der + size) {
        status = nx_fail(NEXAR_EAUTH, "the certificate request is followed by stray bytes (%zu)",
                         size - (size_t)(at - (const uint8_t *)der));
        goto fail;
    }
    status = nx_spki_node_id(X509_REQ_get_X509_PUBKEY(request), node_id);
    if (status != NEXAR_OK)
        goto fail;
    if (X509_REQ_get_signature_nid(request) != NID_ecdsa_with_SHA256 ||
        X509_REQ_verify(request, X509_REQ_get0_pubkey(request)) != 1) {
        status = nx_fail(NEXAR_EAUTH, "the signature of the certificate request is wrong");
        goto fail;
    }
    *out = request;
    return NEXAR_OK;

fail:
    X509_REQ_free(request);
    return status;
}
