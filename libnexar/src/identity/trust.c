/* identity/trust.c - reading a cluster CA's certificate.
 *
 * Owner: whoever holds the pointer; it does not change after it was made, so any thread may verify against it.  It
 * checks that the certificate has the shape of a cluster CA's, not its dates: those are judged with each leaf, at
 * that time. */
#include "identity/trust.h"

#include "base/status.h"
#include "identity/x509.h"

#include <string.h>

#include <openssl/x509v3.h>

/* NULL, or what is wrong with it. */
static const char *fault_of(X509 *ca, uint8_t cluster_id[NX_CLUSTER_ID_SIZE])
{
    uint8_t key_id[NX_NODE_ID_SIZE];
    struct nx_name name;

    if (!nx_x509_name(ca, &name) || name.role != NX_ROLE_CA)
        return "it is not named as one";
    if (X509_check_ca(ca) != 1 || X509_get_pathlen(ca) != 0 || X509_get_key_usage(ca) != KU_KEY_CERT_SIGN)
        return "it must not sign certificates, or may sign more than leaves";
    if (nx_spki_node_id(X509_get_X509_PUBKEY(ca), key_id) != NEXAR_OK)
        return "its key is not a P-256 key";
    if (X509_get_signature_nid(ca) != NID_ecdsa_with_SHA256 || X509_self_signed(ca, 1) != 1)
        return "it is not signed by its own key";
    memcpy(cluster_id, name.cluster_id, NX_CLUSTER_ID_SIZE);
    return NULL;
}

nexar_status nx_trust_of(X509 *ca, struct nx_trust **out)
{
    struct nx_trust *trust = NULL;
    uint8_t cluster_id[NX_CLUSTER_ID_SIZE];
    const char *fault = fault_of(ca, cluster_id);
    nexar_status status;

    *out = NULL;
    if (fault != NULL)
        return nx_fail(NEXAR_EAUTH, "the certificate is not that of a cluster's CA: %s", fault);
    trust = nx_calloc(1, sizeof(*trust));
    if (trust == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a CA certificate");
    memcpy(trust->cluster_id, cluster_id, NX_CLUSTER_ID_SIZE);
    X509_up_ref(ca);
    trust->ca = ca;
    status = nx_x509_encode(ca, &trust->der);
    if (status != NEXAR_OK)
        goto fail;
    status = nx_sha256(trust->der.data, trust->der.size, trust->sha256);
    if (status != NEXAR_OK)
        goto fail;
    *out = trust;
    return NEXAR_OK;

fail:
    nx_trust_free(trust);
    return status;
}

nexar_status nx_trust_make(const void *der, size_t size, struct nx_trust **out)
{
    nexar_status status;
    X509 *ca;

    *out = NULL;
    ERR_set_mark();
    status = nx_x509_parse("the CA's certificate", der, size, &ca);
    if (status == NEXAR_OK)
        status = nx_trust_of(ca, out);
    X509_free(ca);
    ERR_pop_to_mark();
    return status;
}

void nx_trust_free(struct nx_trust *trust)
{
    if (trust == NULL)
        return;
    X509_free(trust->ca);
    nx_der_free(&trust->der);
    nx_free(trust);
}

const struct nx_der *nx_trust_der(const struct nx_trust *trust)
{
    return &trust->der;
}

const uint8_t *nx_trust_sha256(const struct nx_trust *trust)
{
    return trust->sha256;
}

const uint8_t *nx_trust_cluster_id(const struct nx_trust *trust)
{
    return trust->cluster_id;
}
