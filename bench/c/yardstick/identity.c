/* identity.c - a certificate for the server, made in memory.
 *
 * Owner: the main thread, before MsQuic is open.  Nobody verifies it: the handshake is not measured. */
#include "yardstick.h"

#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

uint8_t *make_identity(uint32_t *nbytes)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    PKCS12 *bundle = NULL;
    uint8_t *bytes = NULL;
    int length = 0;

    if (key != NULL && certificate != NULL && X509_set_version(certificate, 2) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) != NULL && X509_set_pubkey(certificate, key) == 1 &&
        X509_sign(certificate, key, EVP_sha256()) > 0)
        bundle = PKCS12_create("", "yardstick", key, certificate, NULL, 0, 0, 0, 0, 0);
    if (bundle != NULL)
        length = i2d_PKCS12(bundle, &bytes);
    PKCS12_free(bundle);
    X509_free(certificate);
    EVP_PKEY_free(key);
    *nbytes = length > 0 ? (uint32_t)length : 0;
    return length > 0 ? bytes : NULL;
}
