/* identity/kit.h - what the tests of identity/ share: cmocka with its includes, failing allocations, forged
 * certificates. */
#ifndef NX_TESTS_IDENTITY_KIT_H
#define NX_TESTS_IDENTITY_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/status.h"
#include "identity/encode.h"
#include "identity/trust.h"
#include "identity/x509.h"

#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>

#define NOW ((int64_t)1800000000) /* 2027-01-15 */
#define DAY ((int64_t)86400)

#define KIT __attribute__((unused)) static

#define assert_ok(call)                                    \
    do {                                                   \
        nexar_status ok_ = (call);                         \
        if (ok_ != NEXAR_OK)                               \
            fail_msg("%s: %s", #call, nexar_last_error()); \
    } while (0)

/* The call must fail with this status, and the sentence must have these words. */
#define assert_refused(call, wanted, words)                                                            \
    do {                                                                                               \
        nexar_status got_ = (call);                                                                    \
        if (got_ != (wanted))                                                                          \
            fail_msg("%s: %s, not %s (%s)", #call, nexar_status_name(got_), nexar_status_name(wanted), \
                     nexar_last_error());                                                              \
        if (strstr(nexar_last_error(), (words)) == NULL)                                               \
            fail_msg("%s: \"%s\" lacks \"%s\"", #call, nexar_last_error(), words);                     \
    } while (0)

/* Runs `call` with the first, the second, ... allocation failing until it gets through.  Each failure is NEXAR_ENOMEM
 * and leaves no block behind; `call` frees what it made. */
KIT void torture(nexar_status (*call)(void *arg), void *arg)
{
    for (uint64_t nth = 1;; nth++) {
        struct nx_mem_stats before, after;
        nexar_status status;

        nx_mem_stats(&before);
        nx_mem_fail_at(nth);
        status = call(arg);
        nx_mem_fail_at(0);
        nx_mem_stats(&after);
        assert_int_equal(after.blocks, before.blocks);
        if (status == NEXAR_OK) {
            assert_true(nth > 1);
            return;
        }
        assert_int_equal(status, NEXAR_ENOMEM);
        assert_true(nth < 100);
    }
}

/* One of the names in a subject alternative name, any bytes. */
struct forged_name {
    int type; /* GEN_URI, GEN_DNS, ... */
    const char *text;
    int length; /* 0: strlen */
};

/* A certificate of any shape.  NULL and 0: as a right member's or CA's would be. */
struct forgery {
    EVP_PKEY *key;    /* of the subject; required */
    EVP_PKEY *signer; /* NULL: `key` */
    X509 *issuer;     /* NULL: itself */
    const char *subject;
    struct forged_name names[4];
    int64_t begin, end;
    const char *basic, *usage, *purpose; /* "" leaves the extension out */
    const EVP_MD *md;
    bool no_issuer_key_id;
    bool names_twice;
};

KIT void forge_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX ctx;

    if (value[0] == '\0')
        return;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    extension = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(x, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

KIT void forge_names(X509 *x, const struct forged_name *names)
{
    GENERAL_NAMES *list = GENERAL_NAMES_new();

    for (size_t i = 0; i < 4 && names[i].text != NULL; i++) {
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        GENERAL_NAME *name = GENERAL_NAME_new();

        ASN1_STRING_set(text, names[i].text, names[i].length == 0 ? (int)strlen(names[i].text) : names[i].length);
        GENERAL_NAME_set0_value(name, names[i].type, text);
        sk_GENERAL_NAME_push(list, name);
    }
    assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, X509V3_ADD_APPEND), 1);
    GENERAL_NAMES_free(list);
}

KIT X509 *forge(const struct forgery *f, bool ca)
{
    X509 *x = X509_new();
    X509 *issuer = f->issuer == NULL ? x : f->issuer;

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), rand());
    ASN1_TIME_set(X509_getm_notBefore(x), f->begin == 0 ? NOW - DAY : f->begin);
    ASN1_TIME_set(X509_getm_notAfter(x), f->end == 0 ? NOW + DAY : f->end);
    X509_set_pubkey(x, f->key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)(f->subject == NULL ? "x" : f->subject), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    forge_extension(x, issuer, NID_basic_constraints,
                    f->basic != NULL ? f->basic
                    : ca             ? "critical,CA:TRUE,pathlen:0"
                                     : "critical,CA:FALSE");
    forge_extension(x, issuer, NID_key_usage,
                    f->usage != NULL ? f->usage
                    : ca             ? "critical,keyCertSign"
                                     : "critical,digitalSignature");
    forge_extension(x, issuer, NID_ext_key_usage, f->purpose != NULL ? f->purpose : ca ? "" : "serverAuth,clientAuth");
    forge_extension(x, issuer, NID_subject_key_identifier, "hash");
    if (!ca && !f->no_issuer_key_id)
        forge_extension(x, issuer, NID_authority_key_identifier, "keyid:always");
    if (f->names[0].text != NULL)
        forge_names(x, f->names);
    if (f->names_twice)
        forge_names(x, f->names);
    assert_true(X509_sign(x, f->signer == NULL ? f->key : f->signer, f->md == NULL ? EVP_sha256() : f->md) > 0);
    return x;
}

/* A CA whose key the test has. */
struct forged_ca {
    EVP_PKEY *key;
    X509 *x;
    struct nx_trust *trust;
    char cluster[33];
};

KIT EVP_PKEY *new_key(const char *curve)
{
    EVP_PKEY *key = EVP_EC_gen(curve);

    assert_non_null(key);
    return key;
}

/* A member's (or, with "seed" or the like as `last`, another) name for a key. */
KIT char *name_of(char out[128], const char *cluster, EVP_PKEY *key, const char *last)
{
    uint8_t *der = NULL, digest[NX_SHA256_SIZE];
    char node[33];
    int size = i2d_PUBKEY(key, &der);

    assert_true(size > 0);
    assert_ok(nx_sha256(der, (size_t)size, digest));
    OPENSSL_free(der);
    nx_hex(digest, NX_NODE_ID_SIZE, node);
    snprintf(out, 128, "nexar:%s:%s", cluster, last == NULL ? node : last);
    return out;
}

KIT X509 *forge_ca_certificate(EVP_PKEY *key, const char *cluster, const char *subject, int64_t begin, int64_t end)
{
    char name[128];
    struct forgery f = {.key = key,
                        .subject = subject,
                        .begin = begin,
                        .end = end,
                        .names = {{GEN_URI, name_of(name, cluster, key, "ca"), 0}}};

    return forge(&f, true);
}

KIT struct nx_trust *trust_in(X509 *x)
{
    struct nx_trust *trust;

    assert_ok(nx_trust_of(x, &trust));
    return trust;
}

KIT struct forged_ca forge_ca(const char *subject, int64_t begin, int64_t end)
{
    struct forged_ca ca = {.key = new_key("P-256")};
    uint8_t id[NX_CLUSTER_ID_SIZE];

    assert_ok(nx_random(id, sizeof(id)));
    nx_hex(id, sizeof(id), ca.cluster);
    ca.x = forge_ca_certificate(ca.key, ca.cluster, subject, begin, end);
    ca.trust = trust_in(ca.x);
    return ca;
}

KIT void free_ca(struct forged_ca *ca)
{
    nx_trust_free(ca->trust);
    X509_free(ca->x);
    EVP_PKEY_free(ca->key);
}

/* A right leaf of `ca` for `key`, to be changed by the test before it is forged. */
KIT struct forgery leaf_of(const struct forged_ca *ca, EVP_PKEY *key, char name[128], const char *last)
{
    return (struct forgery){
        .key = key,
        .signer = ca->key,
        .issuer = ca->x,
        .subject = "leaf",
        .names = {{GEN_URI, name_of(name, ca->cluster, key, last), 0}, {GEN_DNS, "localhost", 0}},
    };
}

KIT struct nx_der der_of(X509 *x)
{
    struct nx_der der;

    assert_ok(nx_x509_encode(x, &der));
    return der;
}

/* A chain as MsQuic hands it over: PKCS#7 with certificates and nothing else. */
KIT struct nx_der chain_of(X509 *const *certificates, int count)
{
    PKCS7 *p7 = PKCS7_new();
    struct nx_der der;
    uint8_t *at;
    int size;

    PKCS7_set_type(p7, NID_pkcs7_signed);
    PKCS7_content_new(p7, NID_pkcs7_data);
    for (int i = 0; i < count; i++)
        assert_int_equal(PKCS7_add_certificate(p7, certificates[i]), 1);
    size = i2d_PKCS7(p7, NULL);
    assert_true(size > 0);
    der = (struct nx_der){.data = nx_alloc((size_t)size), .size = (size_t)size};
    at = der.data;
    i2d_PKCS7(p7, &at);
    PKCS7_free(p7);
    return der;
}

#endif
