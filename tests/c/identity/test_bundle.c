/* The credential for the TLS library: its parts, and what is not put together. */
#include "identity/bundle.h"
#include "identity/ca.h"
#include "identity/csr.h"

#include "identity/kit.h"

#include <openssl/pkcs12.h>

static struct nx_ca *ca;
static struct nx_key *key;
static struct nx_der member, seed;

static int setup(void **state)
{
    uint8_t id[NX_NODE_ID_SIZE];
    struct nx_der csr;

    (void)state;
    assert_ok(nx_ca_make(NOW, DAY, &ca));
    assert_ok(nx_key_make(&key));
    assert_ok(nx_csr_make(key, &csr));
    assert_ok(nx_ca_issue_member(ca, csr.data, csr.size, NOW, DAY, id, &member));
    assert_ok(nx_ca_issue_seed(ca, key, NOW, DAY, &seed));
    nx_der_free(&csr);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nx_der_free(&member);
    nx_der_free(&seed);
    nx_key_free(key);
    nx_ca_free(ca);
    return 0;
}

/* As MsQuic reads it. */
static void assert_parts(const struct nx_bundle *bundle, const struct nx_der *leaf)
{
    const struct nx_der *ca_der = nx_trust_der(nx_ca_trust(ca));
    const uint8_t *at = bundle->pkcs12;
    PKCS12 *p12 = d2i_PKCS12(NULL, &at, (long)bundle->pkcs12_size);
    STACK_OF(X509) *chain = NULL;
    EVP_PKEY *private = NULL;
    X509 *x = NULL;
    struct nx_der der;

    assert_non_null(p12);
    assert_ptr_equal(at, bundle->pkcs12 + bundle->pkcs12_size);
    assert_int_equal(PKCS12_parse(p12, NX_BUNDLE_PASSWORD, &private, &x, &chain), 1);
    assert_int_equal(EVP_PKEY_eq(private, key->pkey), 1);
    assert_int_equal(X509_check_private_key(x, private), 1);
    der = der_of(x);
    assert_int_equal(der.size, leaf->size);
    assert_memory_equal(der.data, leaf->data, leaf->size);
    nx_der_free(&der);
    assert_int_equal(sk_X509_num(chain), 1);
    der = der_of(sk_X509_value(chain, 0));
    assert_int_equal(der.size, ca_der->size);
    assert_memory_equal(der.data, ca_der->data, ca_der->size);
    nx_der_free(&der);
    sk_X509_pop_free(chain, X509_free);
    EVP_PKEY_free(private);
    X509_free(x);
    PKCS12_free(p12);
}

static void test_parts_of_a_bundle(void **state)
{
    const struct nx_der *leaves[] = {&member, &seed};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint8_t digest[NX_SHA256_SIZE];
        struct nx_bundle *bundle;

        assert_ok(nx_bundle_make(key, leaves[i]->data, leaves[i]->size, nx_ca_trust(ca), &bundle));
        assert_parts(bundle, leaves[i]);
        assert_int_equal(bundle->name.role, i == 0 ? NX_ROLE_MEMBER : NX_ROLE_SEED);
        assert_memory_equal(bundle->name.cluster_id, nx_trust_cluster_id(nx_ca_trust(ca)), NX_CLUSTER_ID_SIZE);
        if (i == 0)
            assert_memory_equal(bundle->name.node_id, nx_key_node_id(key), NX_NODE_ID_SIZE);
        assert_ok(nx_sha256(leaves[i]->data, leaves[i]->size, digest));
        assert_memory_equal(bundle->cert_sha256, digest, sizeof(digest));
        nx_bundle_free(bundle);
    }
}

static void refused(const struct nx_key *whose, const void *leaf, size_t size, const struct nx_trust *trust,
                    const char *words)
{
    struct nx_bundle *bundle;

    assert_refused(nx_bundle_make(whose, leaf, size, trust, &bundle), NEXAR_EAUTH, words);
    assert_null(bundle);
}

static void test_certificates_that_are_not_its_own(void **state)
{
    const struct nx_der *ca_der = nx_trust_der(nx_ca_trust(ca));
    struct forged_ca other = forge_ca("other", 0, 0);
    struct nx_key *second;

    (void)state;
    assert_ok(nx_key_make(&second));
    refused(second, member.data, member.size, nx_ca_trust(ca), "for another key");
    refused(key, member.data, member.size, other.trust, "not signed by the cluster's CA");
    refused(key, ca_der->data, ca_der->size, nx_ca_trust(ca), "for another key");
    refused(key, member.data, member.size - 1, nx_ca_trust(ca), "is not a certificate");
    refused(key, "", 0, nx_ca_trust(ca), "is not a certificate");
    nx_key_free(second);
    free_ca(&other);
}

static void test_certificate_that_names_somebody_else(void **state)
{
    struct forged_ca forged = forge_ca("forged", 0, 0);
    EVP_PKEY *other = new_key("P-256");
    char name[128], others[128];
    struct forgery f = leaf_of(&forged, key->pkey, name, NULL);
    struct nx_der der;
    X509 *x;

    (void)state;
    f.names[0].text = name_of(others, forged.cluster, other, NULL);
    x = forge(&f, false);
    der = der_of(x);
    refused(key, der.data, der.size, forged.trust, "does not name it");
    nx_der_free(&der);
    X509_free(x);
    EVP_PKEY_free(other);
    free_ca(&forged);
}

static nexar_status make(void *arg)
{
    struct nx_bundle *bundle;
    nexar_status status = nx_bundle_make(key, member.data, member.size, nx_ca_trust(ca), &bundle);

    (void)arg;
    nx_bundle_free(bundle);
    return status;
}

static void test_allocations_fail(void **state)
{
    (void)state;
    torture(make, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_a_bundle),
        cmocka_unit_test(test_certificates_that_are_not_its_own),
        cmocka_unit_test(test_certificate_that_names_somebody_else),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
