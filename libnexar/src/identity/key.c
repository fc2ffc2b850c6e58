/* identity/key.c - making key pairs, and the identity that follows from a public key.
 *
 * Owner: whoever holds the pointer; a key does not change after it was made.  It stores nothing on disk. */
#include "identity/key.h"

#include "base/mem.h"
#include "base/status.h"
#include "identity/digest.h"
#include "identity/x509.h"

#include <string.h>

#include <openssl/ec.h>

/* SubjectPublicKeyInfo of a P-256 key, named curve, uncompressed point: these bytes, then the point's 64.  Comparing
 * them refuses at once every other algorithm, curve, explicit parameters and compressed points. */
static const uint8_t p256_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

#define SPKI_SIZE (sizeof(p256_prefix) + 64)

/* `spki` is OpenSSL's and freed here. */
static nexar_status identify(uint8_t *spki, int size, uint8_t node_id[NX_NODE_ID_SIZE])
{
    uint8_t digest[NX_SHA256_SIZE];
    nexar_status status;

    if (size <= 0)
        status = nx_openssl_fail("encoding a public key");
    else if ((size_t)size != SPKI_SIZE || memcmp(spki, p256_prefix, sizeof(p256_prefix)) != 0)
        status = nx_fail(NEXAR_EAUTH, "the public key is not a P-256 key");
    else
        status = nx_sha256(spki, SPKI_SIZE, digest);
    if (status == NEXAR_OK)
        memcpy(node_id, digest, NX_NODE_ID_SIZE);
    OPENSSL_free(spki);
    return status;
}

nexar_status nx_spki_node_id(X509_PUBKEY *spki, uint8_t node_id[NX_NODE_ID_SIZE])
{
    uint8_t *der = NULL;
    int size;

    /* Decoding is where OpenSSL checks that the point lies on the curve. */
    if (spki == NULL || X509_PUBKEY_get0(spki) == NULL)
        return nx_fail(NEXAR_EAUTH, "the public key is not a P-256 key");
    size = i2d_X509_PUBKEY(spki, &der);
    return identify(der, size, node_id);
}

/* Takes over the key pair; NULL: OpenSSL could not make it. */
static nexar_status finish(EVP_PKEY *pkey, const char *doing, struct nx_key **out)
{
    struct nx_key *key = nx_calloc(1, sizeof(*key));
    uint8_t *der = NULL;
    nexar_status status;
    int size;

    *out = NULL;
    if (key == NULL) {
        EVP_PKEY_free(pkey);
        return nx_fail(NEXAR_ENOMEM, "no memory for a key");
    }
    key->pkey = pkey;
    if (pkey == NULL) {
        status = nx_openssl_fail(doing);
    } else {
        size = i2d_PUBKEY(pkey, &der);
        status = identify(der, size, key->node_id);
    }
    if (status == NEXAR_OK)
        *out = key;
    else
        nx_key_free(key);
    return status;
}

nexar_status nx_key_make(struct nx_key **out)
{
    nexar_status status;

    ERR_set_mark();
    status = finish(EVP_EC_gen("P-256"), "making a key", out);
    ERR_pop_to_mark();
    return status;
}

nexar_status nx_key_export(const struct nx_key *key, struct nx_der *out)
{
    nexar_status status = NEXAR_OK;
    uint8_t *der = NULL;
    int size;

    *out = (struct nx_der){0};
    ERR_set_mark();
    size = i2d_PrivateKey(key->pkey, &der);
    if (size <= 0) {
        status = nx_openssl_fail("encoding a key");
    } else {
        out->data = nx_alloc((size_t)size);
        out->size = (size_t)size;
        if (out->data == NULL)
            status = nx_fail(NEXAR_ENOMEM, "no memory for a key");
        else
            memcpy(out->data, der, (size_t)size);
        OPENSSL_clear_free(der, (size_t)size);
    }
    ERR_pop_to_mark();
    return status;
}

nexar_status nx_key_import(const void *der, size_t size, struct nx_key **out)
{
    const uint8_t *at = der;
    nexar_status status;

    *out = NULL;
    if (size > NX_CERTIFICATE_LIMIT)
        return nx_fail(NEXAR_EAUTH, "a key of %zu bytes", size);
    ERR_set_mark();
    status = finish(d2i_PrivateKey(EVP_PKEY_EC, NULL, &at, (long)size), "reading a key", out);
    if (status == NEXAR_ESYSTEM) /* it is what the bytes are */
        status = nx_fail(NEXAR_EAUTH, "the key cannot be read");
    ERR_pop_to_mark();
    return status;
}

void nx_key_free(struct nx_key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->pkey); /* overwrites the private number */
    nx_free(key);
}

const uint8_t *nx_key_node_id(const struct nx_key *key)
{
    return key->node_id;
}
