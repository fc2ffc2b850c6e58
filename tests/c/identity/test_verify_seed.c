/* Seeds, seen by a worker that joins: with the fingerprint of a join string, and without one. */
#include "identity/ca.h"
#include "identity/verify.h"

#include "identity/kit.h"

#include <unistd.h>

#include <openssl/pem.h>

static struct forged_ca ours, other;
static EVP_PKEY *key;
static char name[128];

static int setup(void **state)
{
    (void)state;
    ours = forge_ca("ours", 0, 0);
    other = forge_ca("other", 0, 0);
    key = new_key("P-256");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free_ca(&ours);
    free_ca(&other);
    EVP_PKEY_free(key);
    return 0;
}

static X509 *seed_of(const struct forged_ca *ca)
{
    struct forgery f = leaf_of(ca, key, name, "seed");

    return forge(&f, false);
}

static nexar_status verify(const uint8_t *fingerprint, X509 *x, X509 *const *chain, int count,
                           struct nx_seed_identity *out, enum nx_refusal *why)
{
    struct nx_der leaf = der_of(x), p7 = chain_of(chain, count);
    nexar_status status = nx_verify_seed(fingerprint, leaf.data, leaf.size, p7.data, p7.size, NOW, out, why);

    assert_true((status == NEXAR_OK) == (out->trust != NULL));
    nx_der_free(&leaf);
    nx_der_free(&p7);
    return status;
}

static void refused(const uint8_t *fingerprint, X509 *x, X509 *const *chain, int count, enum nx_refusal reason,
                    const char *words)
{
    struct nx_seed_identity seed;
    enum nx_refusal why;

    assert_refused(verify(fingerprint, x, chain, count, &seed, &why), NEXAR_EAUTH, words);
    assert_int_equal(why, reason);
}

static void test_seed_with_the_right_fingerprint(void **state)
{
    struct nx_seed_identity seed;
    X509 *leaf = seed_of(&ours);
    X509 *chain[] = {leaf, ours.x};
    uint8_t digest[NX_SHA256_SIZE];
    enum nx_refusal why;

    (void)state;
    assert_ok(verify(nx_trust_sha256(ours.trust), leaf, chain, 2, &seed, &why));
    assert_int_equal(why, NX_ACCEPTED);
    assert_int_equal(X509_digest(leaf, EVP_sha256(), digest, NULL), 1);
    assert_memory_equal(seed.cert_sha256, digest, sizeof(digest));
    assert_memory_equal(nx_trust_sha256(seed.trust), nx_trust_sha256(ours.trust), NX_SHA256_SIZE);
    assert_memory_equal(nx_trust_cluster_id(seed.trust), nx_trust_cluster_id(ours.trust), NX_CLUSTER_ID_SIZE);
    nx_trust_free(seed.trust);
    X509_free(leaf);
}

static void test_seed_of_a_real_ca(void **state)
{
    struct nx_seed_identity seed;
    struct nx_key *seed_key;
    struct nx_der der;
    struct nx_ca *ca;
    X509 *chain[2];

    (void)state;
    assert_ok(nx_ca_make(NOW, DAY, &ca));
    assert_ok(nx_key_make(&seed_key));
    assert_ok(nx_ca_issue_seed(ca, seed_key, NOW, DAY, &der));
    assert_ok(nx_x509_parse("it", der.data, der.size, &chain[0]));
    chain[1] = nx_ca_trust(ca)->ca;
    assert_ok(verify(nx_trust_sha256(nx_ca_trust(ca)), chain[0], chain, 2, &seed, NULL));
    nx_trust_free(seed.trust);
    assert_ok(verify(NULL, chain[0], chain, 2, &seed, NULL));
    nx_trust_free(seed.trust);
    X509_free(chain[0]);
    nx_der_free(&der);
    nx_key_free(seed_key);
    nx_ca_free(ca);
}

/* The reference's worker took any certificate and handed over the token. */
static void test_s2_seed_with_another_fingerprint(void **state)
{
    X509 *leaf = seed_of(&ours), *stranger = seed_of(&other);
    X509 *theirs[] = {stranger, other.x}, *both[] = {stranger, ours.x, other.x};
    uint8_t print[NX_SHA256_SIZE];

    (void)state;
    refused(nx_trust_sha256(ours.trust), stranger, theirs, 2, NX_REFUSED_FINGERPRINT, "fingerprint of the join string");
    /* showing the right CA is not being issued by it */
    refused(nx_trust_sha256(ours.trust), stranger, both, 3, NX_REFUSED_UNKNOWN_CA, "not issued by the CA");
    memcpy(print, nx_trust_sha256(ours.trust), sizeof(print));
    for (size_t bit = 0; bit < 8 * sizeof(print); bit++) {
        X509 *chain[] = {leaf, ours.x};

        print[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused(print, leaf, chain, 2, NX_REFUSED_FINGERPRINT, "fingerprint");
        print[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    X509_free(leaf);
    X509_free(stranger);
}

static void test_fingerprint_of_something_else_than_a_ca(void **state)
{
    X509 *leaf = seed_of(&ours);
    X509 *chain[] = {leaf, ours.x};
    uint8_t print[NX_SHA256_SIZE];

    (void)state;
    assert_int_equal(X509_digest(leaf, EVP_sha256(), print, NULL), 1);
    refused(print, leaf, chain, 2, NX_REFUSED_MALFORMED, "not that of a cluster's CA");
    X509_free(leaf);
}

static void test_order_in_the_chain_does_not_matter(void **state)
{
    X509 *leaf = seed_of(&ours);
    X509 *chain[] = {other.x, ours.x, leaf}, *ca_alone[] = {ours.x};
    struct nx_seed_identity seed;

    (void)state;
    assert_ok(verify(nx_trust_sha256(ours.trust), leaf, chain, 3, &seed, NULL));
    nx_trust_free(seed.trust);
    assert_ok(verify(nx_trust_sha256(ours.trust), leaf, ca_alone, 1, &seed, NULL));
    nx_trust_free(seed.trust);
    X509_free(leaf);
}

static void test_without_a_fingerprint(void **state)
{
    X509 *leaf = seed_of(&ours), *stranger = seed_of(&other);
    X509 *chain[] = {leaf, ours.x}, *leaf_alone[] = {leaf}, *mixed[] = {stranger, ours.x};
    struct nx_seed_identity seed;

    (void)state;
    assert_ok(verify(NULL, leaf, chain, 2, &seed, NULL));
    assert_memory_equal(nx_trust_sha256(seed.trust), nx_trust_sha256(ours.trust), NX_SHA256_SIZE);
    nx_trust_free(seed.trust);
    refused(NULL, leaf, leaf_alone, 1, NX_REFUSED_UNKNOWN_CA, "did not show the certificate of a cluster's CA");
    refused(NULL, stranger, mixed, 2, NX_REFUSED_UNKNOWN_CA, "not issued by the CA");
    X509_free(leaf);
    X509_free(stranger);
}

static void test_member_as_seed(void **state)
{
    struct forgery f = leaf_of(&ours, key, name, NULL);
    X509 *leaf = forge(&f, false);
    X509 *chain[] = {leaf, ours.x};

    (void)state;
    refused(nx_trust_sha256(ours.trust), leaf, chain, 2, NX_REFUSED_PURPOSE,
            "is that of a member; that of a seed is needed");
    refused(NULL, leaf, chain, 2, NX_REFUSED_PURPOSE, "that of a seed is needed");
    X509_free(leaf);
}

/* A member that issues a seed's certificate with its own key. */
static void test_leaf_as_ca(void **state)
{
    struct forgery f = leaf_of(&ours, key, name, NULL), child;
    EVP_PKEY *false_key = new_key("P-256");
    X509 *member = forge(&f, false), *false_seed;
    char seed_name[128];

    (void)state;
    child = leaf_of(&ours, false_key, seed_name, "seed");
    child.signer = key;
    child.issuer = member;
    false_seed = forge(&child, false);
    refused(nx_trust_sha256(ours.trust), false_seed, (X509 *[]){false_seed, member, ours.x}, 3, NX_REFUSED_UNKNOWN_CA,
            "not issued by the CA");
    X509_free(false_seed);
    X509_free(member);
    EVP_PKEY_free(false_key);
}

static void test_dates_and_purpose(void **state)
{
    struct forgery f = leaf_of(&ours, key, name, "seed");
    X509 *leaf;

    (void)state;
    f.end = NOW - 1;
    leaf = forge(&f, false);
    refused(nx_trust_sha256(ours.trust), leaf, (X509 *[]){leaf, ours.x}, 2, NX_REFUSED_EXPIRED, "expired at");
    X509_free(leaf);
    f.end = 0;
    f.begin = NOW + 1;
    leaf = forge(&f, false);
    refused(nx_trust_sha256(ours.trust), leaf, (X509 *[]){leaf, ours.x}, 2, NX_REFUSED_NOT_YET_VALID, "clock is wrong");
    X509_free(leaf);
    f.begin = 0;
    f.purpose = "clientAuth";
    leaf = forge(&f, false);
    refused(nx_trust_sha256(ours.trust), leaf, (X509 *[]){leaf, ours.x}, 2, NX_REFUSED_PURPOSE, "not for this use");
    X509_free(leaf);
}

static void test_other_cluster_id_of_the_same_ca(void **state)
{
    struct forgery f = leaf_of(&ours, key, name, "seed");
    char others[128];
    X509 *leaf;

    (void)state;
    f.names[0].text = name_of(others, "00112233445566778899aabbccddeeff", key, "seed");
    leaf = forge(&f, false);
    refused(nx_trust_sha256(ours.trust), leaf, (X509 *[]){leaf, ours.x}, 2, NX_REFUSED_CLUSTER, "another cluster");
    X509_free(leaf);
}

static nexar_status verify_raw(const void *leaf, size_t leaf_size, const void *chain, size_t chain_size,
                               enum nx_refusal *why)
{
    struct nx_seed_identity seed;
    nexar_status status =
        nx_verify_seed(nx_trust_sha256(ours.trust), leaf, leaf_size, chain, chain_size, NOW, &seed, why);

    nx_trust_free(seed.trust);
    return status;
}

static void test_chains_that_are_none(void **state)
{
    X509 *leaf = seed_of(&ours);
    X509 *many[9] = {leaf, ours.x, ours.x, ours.x, ours.x, ours.x, ours.x, ours.x, ours.x};
    struct nx_der der = der_of(leaf), chain = chain_of(many, 2), long_chain = chain_of(many, 9);
    uint8_t *large = nx_calloc(1, NX_CHAIN_LIMIT + 1);
    enum nx_refusal why;

    (void)state;
    assert_refused(verify_raw(NULL, 0, chain.data, chain.size, &why), NEXAR_EAUTH, "showed no certificate");
    assert_int_equal(why, NX_REFUSED_NO_CERTIFICATE);
    assert_refused(verify_raw(der.data, der.size, NULL, 0, &why), NEXAR_EAUTH, "fingerprint of the join string");
    assert_int_equal(why, NX_REFUSED_FINGERPRINT);
    for (size_t n = 1; n < chain.size; n++) {
        uint8_t *cut = nx_alloc(n);

        memcpy(cut, chain.data, n);
        assert_refused(verify_raw(der.data, der.size, cut, n, &why), NEXAR_EAUTH, "chain of certificates is malformed");
        assert_int_equal(why, NX_REFUSED_MALFORMED);
        nx_free(cut);
    }
    memcpy(large, chain.data, chain.size);
    assert_ok(verify_raw(der.data, der.size, large, chain.size, &why));
    assert_refused(verify_raw(der.data, der.size, large, chain.size + 1, &why), NEXAR_EAUTH, "malformed");
    assert_refused(verify_raw(der.data, der.size, large, NX_CHAIN_LIMIT + 1, &why), NEXAR_EAUTH, "65537 bytes");
    assert_refused(verify_raw(der.data, der.size, long_chain.data, long_chain.size, &why), NEXAR_EAUTH, "malformed");
    assert_refused(verify_raw(der.data, der.size, der.data, der.size, &why), NEXAR_EAUTH, "malformed");
    nx_free(large);
    nx_der_free(&der);
    nx_der_free(&chain);
    nx_der_free(&long_chain);
    X509_free(leaf);
}

/* PKCS#7 of other kinds, and one without anything in it. */
static void test_containers_of_another_kind(void **state)
{
    static const int kinds[] = {NID_pkcs7_data, NID_pkcs7_enveloped, NID_pkcs7_digest, NID_pkcs7_encrypted};
    X509 *leaf = seed_of(&ours);
    struct nx_der der = der_of(leaf), empty = chain_of(NULL, 0);
    static const uint8_t bare[] = {0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02};
    enum nx_refusal why;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        PKCS7 *p7 = PKCS7_new();
        uint8_t bytes[1024], *at = bytes;
        int size;

        PKCS7_set_type(p7, kinds[i]);
        size = i2d_PKCS7(p7, NULL);
        if (size > 0 && size <= (int)sizeof(bytes)) {
            i2d_PKCS7(p7, &at);
            assert_refused(verify_raw(der.data, der.size, bytes, (size_t)size, &why), NEXAR_EAUTH, "malformed");
        }
        PKCS7_free(p7);
    }
    assert_refused(verify_raw(der.data, der.size, bare, sizeof(bare), &why), NEXAR_EAUTH, "malformed");
    assert_refused(verify_raw(der.data, der.size, empty.data, empty.size, &why), NEXAR_EAUTH, "");
    nx_der_free(&der);
    nx_der_free(&empty);
    X509_free(leaf);
}

static void test_the_systems_authorities_are_not_asked(void **state)
{
    char file[] = P_tmpdir "/nexar-test-XXXXXX";
    X509 *stranger = seed_of(&other);
    FILE *out = fdopen(mkstemp(file), "w");

    (void)state;
    assert_int_equal(PEM_write_X509(out, other.x), 1);
    assert_int_equal(fclose(out), 0);
    setenv("SSL_CERT_FILE", file, 1); /* OpenSSL's default store now believes in the other CA */
    refused(nx_trust_sha256(ours.trust), stranger, (X509 *[]){stranger, ours.x, other.x}, 3, NX_REFUSED_UNKNOWN_CA,
            "not issued by the CA");
    unsetenv("SSL_CERT_FILE");
    unlink(file);
    X509_free(stranger);
}

struct seed_call {
    struct nx_der leaf, chain;
};

static nexar_status call(void *arg)
{
    struct seed_call *c = arg;
    struct nx_seed_identity seed;
    nexar_status status =
        nx_verify_seed(NULL, c->leaf.data, c->leaf.size, c->chain.data, c->chain.size, NOW, &seed, NULL);

    nx_trust_free(seed.trust);
    return status;
}

static void test_allocations_fail(void **state)
{
    X509 *leaf = seed_of(&ours);
    struct seed_call c = {der_of(leaf), chain_of((X509 *[]){leaf, ours.x}, 2)};

    (void)state;
    torture(call, &c);
    nx_der_free(&c.leaf);
    nx_der_free(&c.chain);
    X509_free(leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed_with_the_right_fingerprint),
        cmocka_unit_test(test_seed_of_a_real_ca),
        cmocka_unit_test(test_s2_seed_with_another_fingerprint),
        cmocka_unit_test(test_fingerprint_of_something_else_than_a_ca),
        cmocka_unit_test(test_order_in_the_chain_does_not_matter),
        cmocka_unit_test(test_without_a_fingerprint),
        cmocka_unit_test(test_member_as_seed),
        cmocka_unit_test(test_leaf_as_ca),
        cmocka_unit_test(test_dates_and_purpose),
        cmocka_unit_test(test_other_cluster_id_of_the_same_ca),
        cmocka_unit_test(test_chains_that_are_none),
        cmocka_unit_test(test_containers_of_another_kind),
        cmocka_unit_test(test_the_systems_authorities_are_not_asked),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
