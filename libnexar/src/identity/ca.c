/* identity/ca.c - making certificates.
 *
 * Owner: the seed, and the members of a job that grows; a CA does not change after it was made.  It takes nothing from
 * a request but the public key: who the certificate is for follows from that key, what it may be used for is fixed
 * here. */
#include "identity/ca.h"

#include "base/status.h"
#include "identity/encode.h"
#include "identity/x509.h"

#include <stdio.h>
#include <string.h>

#include <openssl/x509v3.h>

#define SERIAL_SIZE 20 /* as long as RFC 5280 allows */

struct nx_ca {
    struct nx_key *key;
    struct nx_trust *trust;
};

/* What goes into a certificate. */
struct form {
    const struct nx_name *name;
    EVP_PKEY *subject_key;
    X509 *issuer; /* NULL: itself */
    EVP_PKEY *issuer_key;
    int64_t now, lifetime;
};

static nexar_status check_lifetime(int64_t now, int64_t lifetime)
{
    if (now < 0 || now > INT64_MAX - NX_LIFETIME_LIMIT)
        return nx_fail(NEXAR_EINVAL, "the clock says %lld seconds since 1970", (long long)now);
    if (lifetime <= 0 || lifetime > NX_LIFETIME_LIMIT)
        return nx_fail(NEXAR_EINVAL, "a certificate cannot live for %lld seconds; 1 to %lld", (long long)lifetime,
                       (long long)NX_LIFETIME_LIMIT);
    return NEXAR_OK;
}

static bool set_serial(X509 *x)
{
    uint8_t serial[SERIAL_SIZE];
    BIGNUM *number;
    bool ok;

    if (nx_random(serial, sizeof(serial)) != NEXAR_OK)
        return false;
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, and always of this length */
    number = BN_bin2bn(serial, sizeof(serial), NULL);
    ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL;
    BN_free(number);
    return ok;
}

static bool set_dates(X509 *x, const struct form *form)
{
    const ASN1_TIME *last = form->issuer == NULL ? NULL : X509_get0_notAfter(form->issuer);

    if (ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(form->now - NX_CLOCK_SKEW)) == NULL ||
        ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(form->now + form->lifetime)) == NULL)
        return false;
    if (last == NULL || ASN1_TIME_compare(X509_get0_notAfter(x), last) <= 0)
        return true;
    return X509_set1_notAfter(x, last) == 1;
}

/* The subject is for people who look at a certificate; nothing here reads it, except that a leaf's issuer must have the
 * CA's. */
static bool set_subject(X509 *x, const struct nx_name *name)
{
    char hex[NX_HEX_LENGTH(4) + 1];
    char text[64];

    nx_hex(name->role == NX_ROLE_MEMBER ? name->node_id : name->cluster_id, 4, hex);
    snprintf(text, sizeof(text), "nexar %s %s",
             name->role == NX_ROLE_CA     ? "cluster"
             : name->role == NX_ROLE_SEED ? "seed of"
                                          : "node",
             hex);
    return X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_ASC, (unsigned char *)text, -1,
                                      -1, 0) == 1;
}

static bool add(X509 *x, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, ctx, nid, value);
    bool ok = extension != NULL && X509_add_ext(x, extension, -1) == 1;

    X509_EXTENSION_free(extension);
    return ok;
}

static bool set_extensions(X509 *x, X509 *issuer, const struct nx_name *name)
{
    char text[NX_NAME_SIZE];
    char names[NX_NAME_SIZE + 32];
    X509V3_CTX ctx;

    nx_name_format(name, text);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    if (name->role == NX_ROLE_CA) {
        snprintf(names, sizeof(names), "URI:%s", text);
        return add(x, &ctx, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
               add(x, &ctx, NID_key_usage, "critical,keyCertSign") &&
               add(x, &ctx, NID_subject_key_identifier, "hash") && add(x, &ctx, NID_subject_alt_name, names);
    }
    /* TLS libraries that insist on a host name, the reference protocol's among them, are told to expect localhost. */
    snprintf(names, sizeof(names), "URI:%s,DNS:localhost", text);
    return add(x, &ctx, NID_basic_constraints, "critical,CA:FALSE") &&
           add(x, &ctx, NID_key_usage, "critical,digitalSignature") &&
           add(x, &ctx, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add(x, &ctx, NID_subject_key_identifier, "hash") &&
           add(x, &ctx, NID_authority_key_identifier, "keyid:always") && add(x, &ctx, NID_subject_alt_name, names);
}

static nexar_status make_certificate(const struct form *form, X509 **out)
{
    X509 *x = X509_new();
    X509 *issuer = form->issuer == NULL ? x : form->issuer;

    *out = NULL;
    if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 || !set_serial(x) || !set_dates(x, form) ||
        X509_set_pubkey(x, form->subject_key) != 1 || !set_subject(x, form->name) ||
        X509_set_issuer_name(x, X509_get_subject_name(issuer)) != 1 || !set_extensions(x, issuer, form->name) ||
        X509_sign(x, form->issuer_key, EVP_sha256()) <= 0) {
        X509_free(x);
        return nx_openssl_fail("making a certificate");
    }
    *out = x;
    return NEXAR_OK;
}

nexar_status nx_ca_make(int64_t now, int64_t lifetime, struct nx_ca **out)
{
    struct nx_name name = {.role = NX_ROLE_CA};
    struct form form = {.name = &name, .now = now, .lifetime = lifetime};
    struct nx_der der = {0};
    struct nx_ca *ca;
    nexar_status status;
    X509 *x = NULL;

    *out = NULL;
    status = check_lifetime(now, lifetime);
    if (status != NEXAR_OK)
        return status;
    ca = nx_calloc(1, sizeof(*ca));
    if (ca == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a CA");
    ERR_set_mark();
    status = nx_random(name.cluster_id, NX_CLUSTER_ID_SIZE);
    if (status != NEXAR_OK)
        goto out;
    status = nx_key_make(&ca->key);
    if (status != NEXAR_OK)
        goto out;
    form.subject_key = form.issuer_key = ca->key->pkey;
    status = make_certificate(&form, &x);
    if (status != NEXAR_OK)
        goto out;
    /* Through the encoding, as everybody else will see it. */
    status = nx_x509_encode(x, &der);
    if (status != NEXAR_OK)
        goto out;
    status = nx_trust_make(der.data, der.size, &ca->trust);
    if (status == NEXAR_OK)
        *out = ca;

out:
    nx_der_free(&der);
    X509_free(x);
    ERR_pop_to_mark();
    if (status != NEXAR_OK)
        nx_ca_free(ca);
    return status;
}

nexar_status nx_ca_restore(const struct nx_trust *trust, const void *key, size_t key_size, struct nx_ca **out)
{
    struct nx_ca *ca = nx_calloc(1, sizeof(*ca));
    nexar_status status;

    *out = NULL;
    if (ca == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a CA");
    status = nx_trust_make(trust->der.data, trust->der.size, &ca->trust);
    if (status == NEXAR_OK)
        status = nx_key_import(key, key_size, &ca->key);
    if (status == NEXAR_OK && EVP_PKEY_eq(ca->key->pkey, X509_get0_pubkey(ca->trust->ca)) != 1)
        status = nx_fail(NEXAR_EAUTH, "the authority's key is not that of its certificate");
    if (status == NEXAR_OK)
        *out = ca;
    else
        nx_ca_free(ca);
    return status;
}

nexar_status nx_ca_key(const struct nx_ca *ca, struct nx_der *out)
{
    return nx_key_export(ca->key, out);
}

void nx_ca_free(struct nx_ca *ca)
{
    if (ca == NULL)
        return;
    nx_key_free(ca->key);
    nx_trust_free(ca->trust);
    nx_free(ca);
}

const struct nx_trust *nx_ca_trust(const struct nx_ca *ca)
{
    return ca->trust;
}

static nexar_status issue(const struct nx_ca *ca, const struct nx_name *name, EVP_PKEY *key, int64_t now,
                          int64_t lifetime, struct nx_der *out)
{
    struct form form = {
        .name = name,
        .subject_key = key,
        .issuer = ca->trust->ca,
        .issuer_key = ca->key->pkey,
        .now = now,
        .lifetime = lifetime,
    };
    nexar_status status = check_lifetime(now, lifetime);
    X509 *x;

    if (status == NEXAR_OK)
        status = make_certificate(&form, &x);
    if (status != NEXAR_OK)
        return status;
    status = nx_x509_encode(x, out);
    X509_free(x);
    return status;
}

nexar_status nx_ca_issue_member(const struct nx_ca *ca, const void *csr, size_t csr_size, int64_t now, int64_t lifetime,
                                uint8_t node_id[NX_NODE_ID_SIZE], struct nx_der *out)
{
    struct nx_name name = {.role = NX_ROLE_MEMBER};
    nexar_status status;
    X509_REQ *request;

    *out = (struct nx_der){0};
    memset(node_id, 0, NX_NODE_ID_SIZE);
    memcpy(name.cluster_id, ca->trust->cluster_id, NX_CLUSTER_ID_SIZE);
    ERR_set_mark();
    status = nx_csr_open(csr, csr_size, &request, name.node_id);
    if (status == NEXAR_OK)
        status = issue(ca, &name, X509_REQ_get0_pubkey(request), now, lifetime, out);
    if (status == NEXAR_OK)
        memcpy(node_id, name.node_id, NX_NODE_ID_SIZE);
    X509_REQ_free(request);
    ERR_pop_to_mark();
    return status;
}

nexar_status nx_ca_issue_seed(const struct nx_ca *ca, const struct nx_key *key, int64_t now, int64_t lifetime,
                              struct nx_der *out)
{
    struct nx_name name = {.role = NX_ROLE_SEED};
    nexar_status status;

    *out = (struct nx_der){0};
    memcpy(name.cluster_id, ca->trust->cluster_id, NX_CLUSTER_ID_SIZE);
    ERR_set_mark();
    status = issue(ca, &name, key->pkey, now, lifetime, out);
    ERR_pop_to_mark();
    return status;
}
