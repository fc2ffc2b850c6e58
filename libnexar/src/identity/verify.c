/* identity/verify.c - judging the certificates of peers.
 *
 * Owner: none, no state; runs on whichever thread has the handshake.  It decides whether a certificate is one of this
 * cluster's and whose; it does not know ranks, addresses or host names, and does not decide what happens then. */
#include "identity/verify.h"

#include "base/status.h"
#include "identity/encode.h"
#include "identity/x509.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/pkcs7.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#define CHAIN_CERTIFICATES 8 /* a chain of ours has two */
#define STRENGTH 3           /* OpenSSL's level for 128 bits */

static nexar_status refuse(enum nx_refusal *why, enum nx_refusal reason, const char *format, ...) NX_PRINTF(3, 4);

static nexar_status refuse(enum nx_refusal *why, enum nx_refusal reason, const char *format, ...)
{
    char text[400];
    va_list args;

    *why = reason;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return nx_fail(NEXAR_EAUTH, "%s", text);
}

static void format_time(const struct tm *tm, char out[32])
{
    if (strftime(out, 32, "%Y-%m-%d %H:%M:%S", tm) == 0)
        out[0] = '\0';
}

/* Both dates, since the usual cause is one wrong clock. */
static nexar_status refuse_date(enum nx_refusal *why, X509 *x, int depth, bool expired, int64_t now)
{
    const char *whose = depth == 0 ? "the peer's certificate" : "the cluster's CA certificate";
    struct tm date = {0}, today = {0};
    char at[32], clock[32];
    time_t seconds = (time_t)now;

    ASN1_TIME_to_tm(expired ? X509_get0_notAfter(x) : X509_get0_notBefore(x), &date);
    gmtime_r(&seconds, &today);
    format_time(&date, at);
    format_time(&today, clock);
    if (expired)
        return refuse(why, NX_REFUSED_EXPIRED, "%s expired at %s UTC; this machine's clock says %s", whose, at, clock);
    return refuse(why, NX_REFUSED_NOT_YET_VALID,
                  "%s is not valid before %s UTC, and this machine's clock says %s: a clock is wrong", whose, at,
                  clock);
}

/* What the certificate says of itself is a hint for people here, since nobody vouches for it. */
static nexar_status refuse_ca(enum nx_refusal *why, const struct nx_trust *trust, X509 *leaf)
{
    char ours[NX_HEX_LENGTH(4) + 1], theirs[NX_HEX_LENGTH(4) + 1];
    struct nx_name name;

    nx_hex(trust->cluster_id, 4, ours);
    if (!nx_x509_name(leaf, &name) || nx_equal(name.cluster_id, trust->cluster_id, NX_CLUSTER_ID_SIZE))
        return refuse(why, NX_REFUSED_UNKNOWN_CA,
                      "the peer's certificate was not issued by the CA of this cluster (%s)", ours);
    nx_hex(name.cluster_id, 4, theirs);
    return refuse(why, NX_REFUSED_UNKNOWN_CA,
                  "the peer's certificate was not issued by the CA of this cluster (%s); it says that it is of %s",
                  ours, theirs);
}

static nexar_status judge(X509_STORE_CTX *ctx, const struct nx_trust *trust, X509 *leaf, int64_t now,
                          enum nx_refusal *why)
{
    int error = X509_STORE_CTX_get_error(ctx);
    int depth = X509_STORE_CTX_get_error_depth(ctx);
    X509 *at = X509_STORE_CTX_get_current_cert(ctx);

    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return refuse_date(why, at, depth, error == X509_V_ERR_CERT_HAS_EXPIRED, now);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return refuse_ca(why, trust, leaf);
    case X509_V_ERR_INVALID_PURPOSE:
        return refuse(why, NX_REFUSED_PURPOSE, "the peer's certificate is not for this use");
    case X509_V_ERR_OUT_OF_MEM:
        return nx_fail(NEXAR_ENOMEM, "no memory to verify a certificate");
    default:
        return refuse(why, NX_REFUSED_MALFORMED, "the peer's certificate is not accepted: %s",
                      X509_verify_cert_error_string(error));
    }
}

/* Issued by this CA, current, of our algorithms, for TLS. */
static nexar_status check_chain(const struct nx_trust *trust, X509 *leaf, int64_t now, enum nx_refusal *why)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    nexar_status status = NEXAR_OK;
    X509_VERIFY_PARAM *param;

    if (store == NULL || ctx == NULL || X509_STORE_add_cert(store, trust->ca) != 1 ||
        X509_STORE_CTX_init(ctx, store, leaf, NULL) != 1) {
        status = nx_openssl_fail("preparing to verify a certificate");
        goto out;
    }
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, (time_t)now);
    X509_VERIFY_PARAM_set_depth(param, 0); /* nothing between leaf and CA */
    X509_VERIFY_PARAM_set_auth_level(param, STRENGTH);
    if (X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT) != 1 ||
        X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER) != 1) {
        status = nx_openssl_fail("preparing to verify a certificate");
        goto out;
    }
    if (X509_verify_cert(ctx) != 1)
        status = judge(ctx, trust, leaf, now, why);

out:
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return status;
}

/* The rest of what a leaf of ours must be: both ends of TLS, P-256, named, and of the wanted role. */
static nexar_status check_leaf(const struct nx_trust *trust, X509 *leaf, enum nx_role role, struct nx_name *name,
                               enum nx_refusal *why)
{
    static const char *const whose[] = {
        [NX_ROLE_CA] = "a CA", [NX_ROLE_SEED] = "a seed", [NX_ROLE_MEMBER] = "a member"};
    uint32_t uses = XKU_SSL_SERVER | XKU_SSL_CLIENT;
    uint8_t key_id[NX_NODE_ID_SIZE];
    nexar_status status;

    if ((X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE) == 0 || X509_get_extended_key_usage(leaf) != uses ||
        X509_get_key_usage(leaf) != KU_DIGITAL_SIGNATURE || X509_check_ca(leaf) != 0)
        return refuse(why, NX_REFUSED_PURPOSE, "the peer's certificate is not for both ends of a TLS connection");
    if (!nx_x509_name(leaf, name))
        return refuse(why, NX_REFUSED_MALFORMED, "the peer's certificate does not name a node of a cluster");
    status = nx_spki_node_id(X509_get_X509_PUBKEY(leaf), key_id);
    if (status != NEXAR_OK)
        return status == NEXAR_EAUTH
                   ? refuse(why, NX_REFUSED_MALFORMED, "the key of the peer's certificate is not P-256")
                   : status;
    if (name->role != role)
        return refuse(why, NX_REFUSED_PURPOSE, "the peer's certificate is that of %s; that of %s is needed",
                      whose[name->role], whose[role]);
    if (!nx_equal(name->cluster_id, trust->cluster_id, NX_CLUSTER_ID_SIZE))
        return refuse(why, NX_REFUSED_CLUSTER, "the peer's certificate is of another cluster");
    if (role == NX_ROLE_MEMBER && !nx_equal(name->node_id, key_id, NX_NODE_ID_SIZE))
        return refuse(why, NX_REFUSED_MALFORMED, "the peer's certificate names a node that its key is not of");
    return NEXAR_OK;
}

static nexar_status open_leaf(const void *der, size_t size, X509 **out, enum nx_refusal *why)
{
    nexar_status status;

    *out = NULL;
    if (der == NULL || size == 0)
        return refuse(why, NX_REFUSED_NO_CERTIFICATE, "the peer showed no certificate");
    status = nx_x509_parse("the peer's certificate", der, size, out);
    if (status == NEXAR_EAUTH)
        *why = NX_REFUSED_MALFORMED;
    return status;
}

nexar_status nx_verify_member(const struct nx_trust *trust, const void *leaf, size_t leaf_size, int64_t now,
                              uint8_t node_id[NX_NODE_ID_SIZE], enum nx_refusal *why)
{
    enum nx_refusal ignored;
    struct nx_name name;
    nexar_status status;
    X509 *x;

    if (why == NULL)
        why = &ignored;
    *why = NX_ACCEPTED;
    memset(node_id, 0, NX_NODE_ID_SIZE);
    ERR_set_mark();
    status = open_leaf(leaf, leaf_size, &x, why);
    if (status == NEXAR_OK)
        status = check_chain(trust, x, now, why);
    if (status == NEXAR_OK)
        status = check_leaf(trust, x, NX_ROLE_MEMBER, &name, why);
    if (status == NEXAR_OK)
        memcpy(node_id, name.node_id, NX_NODE_ID_SIZE);
    X509_free(x);
    ERR_pop_to_mark();
    return status;
}

/* The certificates in the PKCS#7 of a chain, or NULL; `p7` owns them. */
static STACK_OF(X509) * open_chain(const void *chain, size_t size, PKCS7 **p7)
{
    const uint8_t *at = chain;
    STACK_OF(X509) * certificates;

    *p7 = d2i_PKCS7(NULL, &at, (long)size);
    if (*p7 == NULL || at != (const uint8_t *)chain + size || !PKCS7_type_is_signed(*p7) || (*p7)->d.sign == NULL)
        return NULL;
    certificates = (*p7)->d.sign->cert;
    return sk_X509_num(certificates) > CHAIN_CERTIFICATES ? NULL : certificates;
}

/* The CA that the fingerprint names, or without one the first that calls itself a cluster's. */
static X509 *find_ca(STACK_OF(X509) * certificates, const uint8_t *ca_sha256)
{
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *x = sk_X509_value(certificates, i);
        uint8_t digest[NX_SHA256_SIZE];
        struct nx_name name;

        if (ca_sha256 != NULL) {
            if (X509_digest(x, EVP_sha256(), digest, NULL) == 1 && nx_equal(digest, ca_sha256, NX_SHA256_SIZE))
                return x;
        } else if (nx_x509_name(x, &name) && name.role == NX_ROLE_CA) {
            return x;
        }
    }
    return NULL;
}

static nexar_status open_trust(const uint8_t *ca_sha256, const void *chain, size_t chain_size, struct nx_trust **out,
                               enum nx_refusal *why)
{
    STACK_OF(X509) *certificates = NULL;
    PKCS7 *p7 = NULL;
    nexar_status status;
    X509 *ca;

    if (chain_size > NX_CHAIN_LIMIT)
        return refuse(why, NX_REFUSED_MALFORMED, "the peer's chain of certificates has %zu bytes; the limit is %d",
                      chain_size, NX_CHAIN_LIMIT);
    if (chain != NULL && chain_size != 0) {
        certificates = open_chain(chain, chain_size, &p7);
        if (certificates == NULL) {
            status = refuse(why, NX_REFUSED_MALFORMED, "the peer's chain of certificates is malformed");
            goto out;
        }
    }
    ca = find_ca(certificates, ca_sha256);
    if (ca == NULL) {
        status = ca_sha256 == NULL
                     ? refuse(why, NX_REFUSED_UNKNOWN_CA, "the peer did not show the certificate of a cluster's CA")
                     : refuse(why, NX_REFUSED_FINGERPRINT,
                              "no certificate that the peer showed has the fingerprint of the join string (ca=): it "
                              "is the seed of another job, or somebody in between");
        goto out;
    }
    status = nx_trust_of(ca, out);
    if (status == NEXAR_EAUTH)
        *why = NX_REFUSED_MALFORMED;

out:
    PKCS7_free(p7);
    return status;
}

nexar_status nx_verify_seed(const uint8_t *ca_sha256, const void *leaf, size_t leaf_size, const void *chain,
                            size_t chain_size, int64_t now, struct nx_seed_identity *out, enum nx_refusal *why)
{
    struct nx_trust *trust = NULL;
    enum nx_refusal ignored;
    struct nx_name name;
    nexar_status status;
    X509 *x;

    if (why == NULL)
        why = &ignored;
    *why = NX_ACCEPTED;
    *out = (struct nx_seed_identity){0};
    ERR_set_mark();
    status = open_leaf(leaf, leaf_size, &x, why);
    if (status == NEXAR_OK)
        status = open_trust(ca_sha256, chain, chain_size, &trust, why);
    if (status == NEXAR_OK)
        status = check_chain(trust, x, now, why);
    if (status == NEXAR_OK)
        status = check_leaf(trust, x, NX_ROLE_SEED, &name, why);
    if (status == NEXAR_OK)
        status = nx_sha256(leaf, leaf_size, out->cert_sha256);
    if (status == NEXAR_OK)
        out->trust = trust;
    else
        nx_trust_free(trust);
    X509_free(x);
    ERR_pop_to_mark();
    return status;
}

void nx_verify_forget_errors(void)
{
    ERR_clear_error();
}
