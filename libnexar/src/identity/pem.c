/* identity/pem.c - a credential as text.
 *
 * Owner: the caller.  The text holds the private key in clear: for memory only, and wiped. */
#include "identity/bundle.h"

#include "base/mem.h"
#include "base/status.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <string.h>

static nexar_status take(BIO *bio, bool written, char **out)
{
    char *text;
    long n = BIO_get_mem_data(bio, &text);

    if (!written || n <= 0)
        return nx_fail(NEXAR_ESYSTEM, "a credential cannot be written as PEM");
    *out = nx_alloc((size_t)n + 1);
    if (*out == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a credential");
    memcpy(*out, text, (size_t)n);
    (*out)[n] = '\0';
    OPENSSL_cleanse(text, (size_t)n);
    return NEXAR_OK;
}

static nexar_status write_cert(X509 *x, char **out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    nexar_status st;

    if (bio == NULL || x == NULL)
        st = nx_fail(NEXAR_ENOMEM, "no memory for a credential");
    else
        st = take(bio, PEM_write_bio_X509(bio, x) == 1, out);
    BIO_free(bio);
    return st;
}

static nexar_status write_key(EVP_PKEY *key, char **out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    nexar_status st;

    if (bio == NULL || key == NULL)
        st = nx_fail(NEXAR_ENOMEM, "no memory for a credential");
    else
        st = take(bio, PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1, out);
    BIO_free(bio);
    return st;
}

nexar_status nx_bundle_pem(const struct nx_bundle *bundle, struct nx_pem *out)
{
    const unsigned char *at = bundle->pkcs12;
    PKCS12 *p12;
    EVP_PKEY *key = NULL;
    X509 *leaf = NULL;
    STACK_OF(X509) *others = NULL;
    nexar_status st = NEXAR_OK;

    *out = (struct nx_pem){0};
    ERR_set_mark();
    p12 = d2i_PKCS12(NULL, &at, (long)bundle->pkcs12_size);
    if (p12 == NULL || PKCS12_parse(p12, NX_BUNDLE_PASSWORD, &key, &leaf, &others) != 1)
        st = nx_fail(NEXAR_ESYSTEM, "our own credential cannot be read");
    if (st == NEXAR_OK)
        st = write_cert(leaf, &out->leaf);
    if (st == NEXAR_OK)
        st = write_key(key, &out->key);
    if (st == NEXAR_OK)
        st = write_cert(sk_X509_value(others, 0), &out->ca);
    sk_X509_pop_free(others, X509_free);
    X509_free(leaf);
    EVP_PKEY_free(key);
    PKCS12_free(p12);
    ERR_pop_to_mark();
    if (st != NEXAR_OK)
        nx_pem_free(out);
    return st;
}

void nx_pem_free(struct nx_pem *pem)
{
    nx_free_secret(pem->leaf);
    nx_free_secret(pem->key);
    nx_free_secret(pem->ca);
    *pem = (struct nx_pem){0};
}
