/* identity/bundle.c - key, leaf and CA as one PKCS#12.
 *
 * Owner: whoever holds the pointer; it does not change after it was made.  The PKCS#12 is not encrypted: its password
 * would have to lie beside it in the same memory.  It is never written anywhere and is wiped when freed. */
#include "identity/bundle.h"

#include "base/status.h"
#include "identity/x509.h"

#include <openssl/pkcs12.h>

/* In PKCS12_create: this kind of bag, or the integrity code, is left in clear. */
#define IN_CLEAR (-1)

static nexar_status check_leaf(const struct nx_key *key, X509 *leaf, const struct nx_trust *trust, struct nx_name *name)
{
    if (X509_check_private_key(leaf, key->pkey) != 1)
        return nx_fail(NEXAR_EAUTH, "the certificate that was issued to this process is for another key");
    if (X509_verify(leaf, X509_get0_pubkey(trust->ca)) != 1)
        return nx_fail(NEXAR_EAUTH,
                       "the certificate that was issued to this process is not signed by the cluster's CA");
    if (!nx_x509_name(leaf, name) || name->role == NX_ROLE_CA ||
        !nx_equal(name->cluster_id, trust->cluster_id, NX_CLUSTER_ID_SIZE) ||
        (name->role == NX_ROLE_MEMBER && !nx_equal(name->node_id, key->node_id, NX_NODE_ID_SIZE)))
        return nx_fail(NEXAR_EAUTH, "the certificate that was issued to this process does not name it");
    return NEXAR_OK;
}

static nexar_status encode(const struct nx_key *key, X509 *leaf, const struct nx_trust *trust, struct nx_bundle *bundle)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    nexar_status status = NEXAR_OK;
    PKCS12 *p12 = NULL;
    uint8_t *at;
    int size = 0;

    if (chain != NULL && sk_X509_push(chain, trust->ca) > 0)
        p12 = PKCS12_create(NX_BUNDLE_PASSWORD, NULL, key->pkey, leaf, chain, IN_CLEAR, IN_CLEAR, 0, IN_CLEAR, 0);
    if (p12 != NULL)
        size = i2d_PKCS12(p12, NULL);
    if (size <= 0) {
        status = nx_openssl_fail("making a PKCS#12");
        goto out;
    }
    bundle->pkcs12 = at = nx_alloc((size_t)size);
    if (at == NULL) {
        status = nx_fail(NEXAR_ENOMEM, "no memory for a PKCS#12");
        goto out;
    }
    bundle->pkcs12_size = (size_t)size;
    i2d_PKCS12(p12, &at);

out:
    PKCS12_free(p12);
    sk_X509_free(chain); /* not what is in it */
    return status;
}

nexar_status nx_bundle_make(const struct nx_key *key, const void *leaf, size_t leaf_size, const struct nx_trust *trust,
                            struct nx_bundle **out)
{
    struct nx_bundle *bundle = nx_calloc(1, sizeof(*bundle));
    nexar_status status;
    X509 *x = NULL;

    *out = NULL;
    if (bundle == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a credential");
    ERR_set_mark();
    status = nx_x509_parse("the certificate that was issued to this process", leaf, leaf_size, &x);
    if (status == NEXAR_OK)
        status = check_leaf(key, x, trust, &bundle->name);
    if (status == NEXAR_OK)
        status = nx_sha256(leaf, leaf_size, bundle->cert_sha256);
    if (status == NEXAR_OK)
        status = encode(key, x, trust, bundle);
    X509_free(x);
    ERR_pop_to_mark();
    if (status != NEXAR_OK) {
        nx_bundle_free(bundle);
        return status;
    }
    *out = bundle;
    return NEXAR_OK;
}

void nx_bundle_free(struct nx_bundle *bundle)
{
    if (bundle == NULL)
        return;
    nx_free_secret(bundle->pkcs12);
    nx_free(bundle);
}
