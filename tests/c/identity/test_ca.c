/* What the CA makes, and what it takes from requests: a public key. */
#include "identity/ca.h"
#include "identity/csr.h"
#include "identity/verify.h"

#include "identity/kit.h"

#include <openssl/core_names.h>

static struct nx_ca *ca;

static int setup(void **state)
{
    (void)state;
    return nx_ca_make(NOW, 30 * DAY, &ca) == NEXAR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    nx_ca_free(ca);
    return 0;
}

static X509 *open_der(const struct nx_der *der)
{
    X509 *x;

    assert_ok(nx_x509_parse("it", der->data, der->size, &x));
    return x;
}

static void assert_dates(X509 *x, int64_t begin, int64_t end)
{
    assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notBefore(x), begin), 0);
    assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notAfter(x), end), 0);
}

static nexar_status issue(const struct nx_der *csr, struct nx_der *out)
{
    uint8_t id[NX_NODE_ID_SIZE];

    return nx_ca_issue_member(ca, csr->data, csr->size, NOW, DAY, id, out);
}

static void test_ca_certificate(void **state)
{
    X509 *x = open_der(nx_trust_der(nx_ca_trust(ca)));
    char subject[64], expected[64], hex[9];
    uint8_t digest[NX_SHA256_SIZE];
    struct nx_name name;
    int critical;
    BASIC_CONSTRAINTS *basic;

    (void)state;
    nx_hex(nx_trust_cluster_id(nx_ca_trust(ca)), 4, hex);
    snprintf(expected, sizeof(expected), "nexar cluster %s", hex);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, subject, sizeof(subject));
    assert_string_equal(subject, expected);
    basic = X509_get_ext_d2i(x, NID_basic_constraints, &critical, NULL);
    assert_non_null(basic);
    assert_int_equal(critical, 1);
    assert_true(basic->ca);
    assert_int_equal(ASN1_INTEGER_get(basic->pathlen), 0);
    BASIC_CONSTRAINTS_free(basic);
    assert_int_equal(X509_get_key_usage(x), KU_KEY_CERT_SIGN);
    assert_non_null(X509_get0_subject_key_id(x));
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(x)), 20);
    assert_int_equal(X509_self_signed(x, 1), 1);
    assert_dates(x, NOW - 3600, NOW + 30 * DAY);
    assert_true(nx_x509_name(x, &name));
    assert_int_equal(name.role, NX_ROLE_CA);
    assert_memory_equal(name.cluster_id, nx_trust_cluster_id(nx_ca_trust(ca)), NX_CLUSTER_ID_SIZE);
    assert_int_equal(X509_digest(x, EVP_sha256(), digest, NULL), 1);
    assert_memory_equal(digest, nx_trust_sha256(nx_ca_trust(ca)), NX_SHA256_SIZE);
    X509_free(x);
}

static void test_clusters_differ(void **state)
{
    struct nx_ca *other;

    (void)state;
    assert_ok(nx_ca_make(NOW, DAY, &other));
    assert_memory_not_equal(nx_trust_cluster_id(nx_ca_trust(ca)), nx_trust_cluster_id(nx_ca_trust(other)), 16);
    assert_memory_not_equal(nx_trust_sha256(nx_ca_trust(ca)), nx_trust_sha256(nx_ca_trust(other)), 32);
    nx_ca_free(other);
}

static void assert_leaf(X509 *x, const char *subject)
{
    char text[64];

    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text, sizeof(text));
    assert_string_equal(text, subject);
    assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(x)), 1);
    assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    assert_int_equal(X509_check_ca(x), 0);
    assert_non_null(X509_get0_authority_key_id(x));
    assert_int_equal(X509_check_host(x, "localhost", 0, 0, NULL), 1);
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(x)), 20);
    assert_int_equal(X509_get_ext_count(x), 6);
}

static void test_member_certificate(void **state)
{
    struct nx_der csr, leaf;
    struct nx_key *key;
    uint8_t id[NX_NODE_ID_SIZE];
    struct nx_name name;
    char subject[64] = "nexar node ";
    X509 *x;

    (void)state;
    assert_ok(nx_key_make(&key));
    assert_ok(nx_csr_make(key, &csr));
    assert_ok(nx_ca_issue_member(ca, csr.data, csr.size, NOW, DAY, id, &leaf));
    assert_memory_equal(id, nx_key_node_id(key), NX_NODE_ID_SIZE);
    x = open_der(&leaf);
    nx_hex(id, 4, subject + strlen(subject));
    assert_leaf(x, subject);
    assert_true(nx_x509_name(x, &name));
    assert_int_equal(name.role, NX_ROLE_MEMBER);
    assert_memory_equal(name.node_id, id, NX_NODE_ID_SIZE);
    assert_memory_equal(name.cluster_id, nx_trust_cluster_id(nx_ca_trust(ca)), NX_CLUSTER_ID_SIZE);
    X509_free(x);
    nx_der_free(&csr);
    nx_der_free(&leaf);
    nx_key_free(key);
}

static void test_seed_certificate(void **state)
{
    char subject[64] = "nexar seed of ";
    struct nx_der leaf;
    struct nx_key *key;
    struct nx_name name;
    X509 *x;

    (void)state;
    assert_ok(nx_key_make(&key));
    assert_ok(nx_ca_issue_seed(ca, key, NOW, DAY, &leaf));
    x = open_der(&leaf);
    nx_hex(nx_trust_cluster_id(nx_ca_trust(ca)), 4, subject + strlen(subject));
    assert_leaf(x, subject);
    assert_true(nx_x509_name(x, &name));
    assert_int_equal(name.role, NX_ROLE_SEED);
    X509_free(x);
    nx_der_free(&leaf);
    nx_key_free(key);
}

static bool contains(const struct nx_der *hay, const uint8_t *needle, size_t size)
{
    return memmem(hay->data, hay->size, needle, size) != NULL;
}

/* The reference's seed made the private keys of all nodes and sent them out. */
static void test_s2_the_private_key_is_in_nothing_that_is_sent(void **state)
{
    uint8_t secret[32], public[65];
    struct nx_der csr, leaf;
    struct nx_key *key;
    BIGNUM *number = NULL;
    size_t size;

    (void)state;
    assert_ok(nx_key_make(&key));
    assert_int_equal(EVP_PKEY_get_bn_param(key->pkey, OSSL_PKEY_PARAM_PRIV_KEY, &number), 1);
    assert_int_equal(BN_bn2binpad(number, secret, sizeof(secret)), sizeof(secret));
    assert_int_equal(EVP_PKEY_get_octet_string_param(key->pkey, OSSL_PKEY_PARAM_PUB_KEY, public, sizeof(public), &size),
                     1);
    assert_ok(nx_csr_make(key, &csr));
    assert_ok(issue(&csr, &leaf));
    assert_false(contains(&csr, secret, sizeof(secret)));
    assert_false(contains(&leaf, secret, sizeof(secret)));
    assert_true(contains(&csr, public + 1, 64)); /* the search works */
    assert_true(contains(&leaf, public + 1, 64));
    BN_clear_free(number);
    nx_der_free(&csr);
    nx_der_free(&leaf);
    nx_key_free(key);
}

/* The reference's certificates were valid from 1975 to 4096. */
static void test_s5_certificates_live_for_a_bounded_time(void **state)
{
    struct nx_der csr, leaf;
    struct nx_key *key;
    struct nx_ca *none;
    uint8_t id[NX_NODE_ID_SIZE];
    X509 *x;

    (void)state;
    assert_ok(nx_key_make(&key));
    assert_ok(nx_csr_make(key, &csr));
    assert_ok(nx_ca_issue_member(ca, csr.data, csr.size, NOW + 5, 100, id, &leaf));
    x = open_der(&leaf);
    assert_dates(x, NOW + 5 - 3600, NOW + 105);
    X509_free(x);
    nx_der_free(&leaf);
    assert_ok(nx_ca_issue_member(ca, csr.data, csr.size, NOW, 300 * DAY, id, &leaf)); /* longer than the CA */
    x = open_der(&leaf);
    assert_dates(x, NOW - 3600, NOW + 30 * DAY);
    X509_free(x);
    nx_der_free(&leaf);

    assert_refused(nx_ca_make(NOW, 0, &none), NEXAR_EINVAL, "0 seconds");
    assert_refused(nx_ca_make(NOW, -1, &none), NEXAR_EINVAL, "-1 seconds");
    assert_refused(nx_ca_make(NOW, NX_LIFETIME_LIMIT + 1, &none), NEXAR_EINVAL, "seconds");
    assert_refused(nx_ca_make(NOW, INT64_MAX, &none), NEXAR_EINVAL, "seconds");
    assert_refused(nx_ca_make(-1, DAY, &none), NEXAR_EINVAL, "clock");
    assert_refused(nx_ca_make(INT64_MAX, DAY, &none), NEXAR_EINVAL, "clock");
    assert_null(none);
    assert_refused(nx_ca_issue_member(ca, csr.data, csr.size, NOW, 0, id, &leaf), NEXAR_EINVAL, "0 seconds");
    assert_refused(nx_ca_issue_seed(ca, key, NOW, 0, &leaf), NEXAR_EINVAL, "0 seconds");
    assert_null(leaf.data);
    nx_der_free(&csr);
    nx_key_free(key);
}

/* A request with everything an impostor could wish for. */
static struct nx_der greedy_request(EVP_PKEY *key, EVP_PKEY *signer, const EVP_MD *md)
{
    STACK_OF(X509_EXTENSION) *wishes = sk_X509_EXTENSION_new_null();
    X509_REQ *request = X509_REQ_new();
    struct nx_der der;
    uint8_t *at;

    X509_REQ_set_version(request, 0);
    X509_REQ_set_pubkey(request, key);
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_ASC, (const unsigned char *)"rank 0",
                               -1, -1, 0);
    sk_X509_EXTENSION_push(wishes, X509V3_EXT_nconf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE"));
    sk_X509_EXTENSION_push(wishes, X509V3_EXT_nconf_nid(NULL, NULL, NID_subject_alt_name,
                                                        "URI:nexar:00000000000000000000000000000000:seed,DNS:other"));
    X509_REQ_add_extensions(request, wishes);
    sk_X509_EXTENSION_pop_free(wishes, X509_EXTENSION_free);
    assert_true(X509_REQ_sign(request, signer, md) > 0);
    der.size = (size_t)i2d_X509_REQ(request, NULL);
    der.data = at = nx_alloc(der.size);
    i2d_X509_REQ(request, &at);
    X509_REQ_free(request);
    return der;
}

static void test_s4_wishes_of_a_request_are_ignored(void **state)
{
    EVP_PKEY *key = new_key("P-256");
    struct nx_der csr = greedy_request(key, key, EVP_sha256()), leaf;
    char expected[128], text[NX_NAME_SIZE], cluster[33], subject[64] = "nexar node ";
    struct nx_name name;
    X509 *x;

    (void)state;
    assert_ok(issue(&csr, &leaf));
    x = open_der(&leaf);
    assert_true(nx_x509_name(x, &name));
    nx_name_format(&name, text);
    nx_hex(nx_trust_cluster_id(nx_ca_trust(ca)), NX_CLUSTER_ID_SIZE, cluster);
    assert_string_equal(text, name_of(expected, cluster, key, NULL));
    nx_hex(name.node_id, 4, subject + strlen(subject));
    assert_leaf(x, subject);
    X509_free(x);
    nx_der_free(&csr);
    nx_der_free(&leaf);
    EVP_PKEY_free(key);
}

static void refused(struct nx_der csr, const char *words)
{
    struct nx_der leaf;

    assert_refused(issue(&csr, &leaf), NEXAR_EAUTH, words);
    assert_null(leaf.data);
    nx_der_free(&csr);
}

static void test_requests_of_others(void **state)
{
    EVP_PKEY *key = new_key("P-256"), *other = new_key("P-256"), *p384 = new_key("P-384");
    EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    (void)state;
    refused(greedy_request(key, other, EVP_sha256()), "signature");
    refused(greedy_request(key, key, EVP_sha1()), "signature");
    refused(greedy_request(p384, p384, EVP_sha256()), "P-256");
    refused(greedy_request(ed, ed, NULL), "P-256");
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(ed);
}

static void test_requests_of_wrong_size(void **state)
{
    struct nx_der csr, leaf, long_csr = {.data = nx_calloc(1, NX_REQUEST_LIMIT + 1), .size = NX_REQUEST_LIMIT + 1};
    struct nx_key *key;

    (void)state;
    assert_ok(nx_key_make(&key));
    assert_ok(nx_csr_make(key, &csr));
    for (size_t n = 0; n < csr.size; n++) {
        /* a copy of just that size, so that a sanitizer sees any reading beyond */
        struct nx_der cut = {.data = nx_alloc(n), .size = n};

        memcpy(cut.data, csr.data, n);
        refused(cut, "not a certificate request");
    }
    memcpy(long_csr.data, csr.data, csr.size);
    long_csr.size = csr.size + 1;
    assert_refused(issue(&long_csr, &leaf), NEXAR_EAUTH, "stray bytes (1)");
    long_csr.size = NX_REQUEST_LIMIT;
    assert_refused(issue(&long_csr, &leaf), NEXAR_EAUTH, "stray bytes");
    long_csr.size = NX_REQUEST_LIMIT + 1;
    refused(long_csr, "4097 bytes");
    nx_der_free(&csr);
    nx_key_free(key);
}

static void test_no_changed_bit_of_a_request_passes(void **state)
{
    struct nx_der csr, leaf;
    struct nx_key *key;

    (void)state;
    assert_ok(nx_key_make(&key));
    assert_ok(nx_csr_make(key, &csr));
    for (size_t bit = 0; bit < 8 * csr.size; bit++) {
        csr.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(issue(&csr, &leaf), NEXAR_EAUTH);
        csr.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_ok(issue(&csr, &leaf));
    nx_der_free(&leaf);
    nx_der_free(&csr);
    nx_key_free(key);
}

static void test_errors_leave_the_tls_librarys_queue_alone(void **state)
{
    struct nx_der leaf, garbage = {.data = (uint8_t *)"\x30\x03\x02\x01\x01", .size = 5};

    (void)state;
    ERR_clear_error();
    assert_int_equal(issue(&garbage, &leaf), NEXAR_EAUTH);
    assert_int_equal(ERR_peek_error(), 0);
    ERR_raise(ERR_LIB_USER, 7);
    assert_int_equal(issue(&garbage, &leaf), NEXAR_EAUTH);
    assert_int_equal(ERR_GET_REASON(ERR_get_error()), 7);
    assert_int_equal(ERR_peek_error(), 0);
}

static nexar_status make_ca(void *arg)
{
    struct nx_ca *made;
    nexar_status status = nx_ca_make(NOW, DAY, &made);

    (void)arg;
    nx_ca_free(made);
    return status;
}

static nexar_status make_request_and_issue(void *arg)
{
    struct nx_der csr, leaf = {0};
    nexar_status status = nx_csr_make(arg, &csr);

    if (status == NEXAR_OK)
        status = issue(&csr, &leaf);
    nx_der_free(&csr);
    nx_der_free(&leaf);
    return status;
}

static nexar_status issue_seed(void *arg)
{
    struct nx_der leaf;
    nexar_status status = nx_ca_issue_seed(ca, arg, NOW, DAY, &leaf);

    nx_der_free(&leaf);
    return status;
}

static void test_allocations_fail(void **state)
{
    struct nx_key *key;

    (void)state;
    assert_ok(nx_key_make(&key));
    torture(make_ca, NULL);
    torture(make_request_and_issue, key);
    torture(issue_seed, key);
    nx_key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ca_certificate),
        cmocka_unit_test(test_clusters_differ),
        cmocka_unit_test(test_member_certificate),
        cmocka_unit_test(test_seed_certificate),
        cmocka_unit_test(test_s2_the_private_key_is_in_nothing_that_is_sent),
        cmocka_unit_test(test_s5_certificates_live_for_a_bounded_time),
        cmocka_unit_test(test_s4_wishes_of_a_request_are_ignored),
        cmocka_unit_test(test_requests_of_others),
        cmocka_unit_test(test_requests_of_wrong_size),
        cmocka_unit_test(test_no_changed_bit_of_a_request_passes),
        cmocka_unit_test(test_errors_leave_the_tls_librarys_queue_alone),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
