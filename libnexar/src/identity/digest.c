/* identity/digest.c - the few primitives that the rest of the folder builds on, all OpenSSL's.
 *
 * Owner: none, no state.  A generator or a digest that fails is reported and its output zeroed; it never falls back to
 * anything weaker. */
#include "identity/digest.h"

#include "base/bytes.h"
#include "base/status.h"
#include "identity/x509.h"

#include <limits.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

nexar_status nx_random(void *out, size_t size)
{
    nexar_status status = NEXAR_OK;

    ERR_set_mark();
    if (size > INT_MAX || RAND_bytes(out, (int)size) != 1) {
        memset(out, 0, size);
        status = nx_openssl_fail("random bytes");
    }
    ERR_pop_to_mark();
    return status;
}

nexar_status nx_sha256(const void *data, size_t size, uint8_t out[NX_SHA256_SIZE])
{
    nexar_status status = NEXAR_OK;

    ERR_set_mark();
    if (EVP_Digest(size == 0 ? "" : data, size, out, NULL, EVP_sha256(), NULL) != 1) {
        memset(out, 0, NX_SHA256_SIZE);
        status = nx_openssl_fail("SHA-256");
    }
    ERR_pop_to_mark();
    return status;
}

static bool digest_spans(EVP_MD_CTX *ctx, const struct nx_span *spans, size_t count, uint8_t *out)
{
    uint8_t length[8];

    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
        return false;
    for (size_t i = 0; i < count; i++) {
        nx_store64(length, spans[i].size);
        if (EVP_DigestUpdate(ctx, length, sizeof(length)) != 1)
            return false;
        if (spans[i].size != 0 && EVP_DigestUpdate(ctx, spans[i].data, spans[i].size) != 1)
            return false;
    }
    return EVP_DigestFinal_ex(ctx, out, NULL) == 1;
}

nexar_status nx_sha256_spans(const struct nx_span *spans, size_t count, uint8_t out[NX_SHA256_SIZE])
{
    nexar_status status = NEXAR_OK;
    EVP_MD_CTX *ctx;

    ERR_set_mark();
    ctx = EVP_MD_CTX_new();
    if (!digest_spans(ctx, spans, count, out)) {
        memset(out, 0, NX_SHA256_SIZE);
        status = nx_openssl_fail("SHA-256");
    }
    EVP_MD_CTX_free(ctx);
    ERR_pop_to_mark();
    return status;
}

nexar_status nx_hmac_sha256(const void *key, size_t key_size, const void *data, size_t size,
                            uint8_t out[NX_SHA256_SIZE])
{
    nexar_status status = NEXAR_OK;

    ERR_set_mark();
    if (key_size > INT_MAX || HMAC(EVP_sha256(), key, (int)key_size, data, size, out, NULL) == NULL) {
        memset(out, 0, NX_SHA256_SIZE);
        status = nx_openssl_fail("HMAC");
    }
    ERR_pop_to_mark();
    return status;
}

bool nx_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}
