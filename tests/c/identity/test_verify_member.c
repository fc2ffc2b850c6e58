/* Peers in the mesh: who gets in, and why each of the others does not. */
#include "identity/ca.h"
#include "identity/csr.h"
#include "identity/verify.h"

#include "identity/kit.h"

static struct forged_ca ours;
static EVP_PKEY *key;
static char name[128];

static int setup(void **state)
{
    (void)state;
    ours = forge_ca("ours", 0, 0);
    key = new_key("P-256");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free_ca(&ours);
    EVP_PKEY_free(key);
    return 0;
}

static struct forgery right(void)
{
    return leaf_of(&ours, key, name, NULL);
}

static nexar_status verify_at(const struct nx_trust *trust, X509 *x, int64_t now, enum nx_refusal *why)
{
    uint8_t id[NX_NODE_ID_SIZE], zeros[NX_NODE_ID_SIZE] = {0};
    struct nx_der der = der_of(x);
    nexar_status status = nx_verify_member(trust, der.data, der.size, now, id, why);

    if (status != NEXAR_OK)
        assert_memory_equal(id, zeros, sizeof(id));
    nx_der_free(&der);
    X509_free(x);
    return status;
}

/* `x` is freed. */
static void refused(X509 *x, enum nx_refusal reason, const char *words)
{
    enum nx_refusal why;

    assert_refused(verify_at(ours.trust, x, NOW, &why), NEXAR_EAUTH, words);
    assert_int_equal(why, reason);
}

static void forgery_refused(const struct forgery *f, enum nx_refusal reason, const char *words)
{
    refused(forge(f, false), reason, words);
}

static void test_right_forgery_passes(void **state)
{
    struct forgery f = right();

    (void)state;
    assert_ok(verify_at(ours.trust, forge(&f, false), NOW, NULL));
}

static void test_s4_certificate_gives_the_node_of_its_key(void **state)
{
    uint8_t issued[NX_NODE_ID_SIZE], seen[NX_NODE_ID_SIZE];
    struct nx_der csr, leaf;
    struct nx_trust *trust;
    struct nx_key *node;
    enum nx_refusal why;
    struct nx_ca *ca;

    (void)state;
    assert_ok(nx_ca_make(NOW, DAY, &ca));
    assert_ok(nx_key_make(&node));
    assert_ok(nx_csr_make(node, &csr));
    assert_ok(nx_ca_issue_member(ca, csr.data, csr.size, NOW, DAY, issued, &leaf));
    /* as a worker has it: from bytes */
    assert_ok(nx_trust_make(nx_trust_der(nx_ca_trust(ca))->data, nx_trust_der(nx_ca_trust(ca))->size, &trust));
    assert_ok(nx_verify_member(trust, leaf.data, leaf.size, NOW, seen, &why));
    assert_int_equal(why, NX_ACCEPTED);
    assert_memory_equal(seen, issued, NX_NODE_ID_SIZE);
    assert_memory_equal(seen, nx_key_node_id(node), NX_NODE_ID_SIZE);
    nx_trust_free(trust);
    nx_der_free(&csr);
    nx_der_free(&leaf);
    nx_key_free(node);
    nx_ca_free(ca);
}

/* The CA itself is no help: a name that is not that of the key is refused, whoever signed it. */
static void test_s4_certificate_with_the_node_of_another_key(void **state)
{
    EVP_PKEY *other = new_key("P-256");
    struct forgery f = right();
    char others[128];

    (void)state;
    f.names[0].text = name_of(others, ours.cluster, other, NULL);
    forgery_refused(&f, NX_REFUSED_MALFORMED, "names a node that its key is not of");
    EVP_PKEY_free(other);
}

static void test_no_certificate(void **state)
{
    uint8_t id[NX_NODE_ID_SIZE];
    enum nx_refusal why;

    (void)state;
    assert_refused(nx_verify_member(ours.trust, NULL, 0, NOW, id, &why), NEXAR_EAUTH, "showed no certificate");
    assert_int_equal(why, NX_REFUSED_NO_CERTIFICATE);
    assert_refused(nx_verify_member(ours.trust, "", 0, NOW, id, &why), NEXAR_EAUTH, "showed no certificate");
    assert_int_equal(why, NX_REFUSED_NO_CERTIFICATE);
}

static void test_other_ca(void **state)
{
    struct forged_ca other = forge_ca("other", 0, 0);
    struct forgery f = leaf_of(&other, key, name, NULL);

    (void)state;
    forgery_refused(&f, NX_REFUSED_UNKNOWN_CA, "not issued by the CA of this cluster");
    forgery_refused(&f, NX_REFUSED_UNKNOWN_CA, "it says that it is of");
    f.names[0].text = "https://example.com";
    forgery_refused(&f, NX_REFUSED_UNKNOWN_CA, "not issued by the CA of this cluster");
    free_ca(&other);
}

static void test_ca_of_the_same_name_with_another_key(void **state)
{
    struct forged_ca twin = {.key = new_key("P-256")};
    struct forgery f;

    (void)state;
    memcpy(twin.cluster, ours.cluster, sizeof(twin.cluster));
    twin.x = forge_ca_certificate(twin.key, ours.cluster, "ours", 0, 0);
    twin.trust = trust_in(twin.x);
    f = leaf_of(&twin, key, name, NULL);
    forgery_refused(&f, NX_REFUSED_UNKNOWN_CA, "not issued by the CA");
    f.issuer = ours.x; /* right issuer by name and key id, wrong signature */
    forgery_refused(&f, NX_REFUSED_UNKNOWN_CA, "not issued by the CA");
    free_ca(&twin);
}

static void test_self_signed(void **state)
{
    struct forgery f = right();

    (void)state;
    f.signer = NULL;
    f.issuer = NULL;
    forgery_refused(&f, NX_REFUSED_UNKNOWN_CA, "not issued by the CA");
}

static void test_dates(void **state)
{
    struct forgery f = right();
    enum nx_refusal why;

    (void)state;
    f.begin = NOW - 100;
    f.end = NOW + 100;
    assert_ok(verify_at(ours.trust, forge(&f, false), NOW - 100, NULL));
    assert_ok(verify_at(ours.trust, forge(&f, false), NOW + 99, NULL));
    assert_refused(verify_at(ours.trust, forge(&f, false), NOW + 101, &why), NEXAR_EAUTH,
                   "the peer's certificate expired at 2027-01-15 08:01:40 UTC; this machine's clock says "
                   "2027-01-15 08:01:41");
    assert_int_equal(why, NX_REFUSED_EXPIRED);
    assert_refused(verify_at(ours.trust, forge(&f, false), NOW - 101, &why), NEXAR_EAUTH,
                   "the peer's certificate is not valid before 2027-01-15 07:58:20 UTC");
    assert_int_equal(why, NX_REFUSED_NOT_YET_VALID);
}

static void test_dates_of_the_ca(void **state)
{
    struct forged_ca old = forge_ca("old", NOW - 2 * DAY, NOW - DAY), young = forge_ca("young", NOW + 1, NOW + DAY);
    struct forgery f = leaf_of(&old, key, name, NULL);
    enum nx_refusal why;

    (void)state;
    assert_refused(verify_at(old.trust, forge(&f, false), NOW, &why), NEXAR_EAUTH, "CA certificate expired");
    assert_int_equal(why, NX_REFUSED_EXPIRED);
    f = leaf_of(&young, key, name, NULL);
    assert_refused(verify_at(young.trust, forge(&f, false), NOW, &why), NEXAR_EAUTH,
                   "CA certificate is not valid before");
    assert_int_equal(why, NX_REFUSED_NOT_YET_VALID);
    free_ca(&old);
    free_ca(&young);
}

/* A member cannot make members. */
static void test_leaf_as_ca(void **state)
{
    struct forgery f = right(), child;
    EVP_PKEY *other = new_key("P-256");
    X509 *leaf = forge(&f, false);
    char others[128];

    (void)state;
    child = leaf_of(&ours, other, others, NULL);
    child.signer = key;
    child.issuer = leaf;
    forgery_refused(&child, NX_REFUSED_UNKNOWN_CA, "not issued by the CA");
    EVP_PKEY_free(other);
    X509_free(leaf);
}

static void test_wrong_purpose(void **state)
{
    struct forgery f = right();

    (void)state;
    f.purpose = "clientAuth";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for this use");
    f.purpose = "serverAuth";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for both ends");
    f.purpose = "codeSigning";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for this use");
    f.purpose = "serverAuth,clientAuth,codeSigning";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for both ends");
    f.purpose = "";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for both ends");
    f = right();
    f.usage = "critical,keyEncipherment";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for both ends");
    f.usage = "";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for both ends");
    f = right();
    f.basic = "critical,CA:TRUE";
    f.usage = "critical,digitalSignature,keyCertSign";
    forgery_refused(&f, NX_REFUSED_PURPOSE, "not for both ends");
}

static void test_other_roles_on_the_mesh(void **state)
{
    struct forgery f = leaf_of(&ours, key, name, "seed");

    (void)state;
    forgery_refused(&f, NX_REFUSED_PURPOSE, "is that of a seed; that of a member is needed");
    refused(X509_dup(ours.x), NX_REFUSED_PURPOSE, "not for");
}

static void test_other_cluster_of_the_same_ca(void **state)
{
    struct forgery f = right();
    char others[128];

    (void)state;
    f.names[0].text = name_of(others, "00112233445566778899aabbccddeeff", key, NULL);
    forgery_refused(&f, NX_REFUSED_CLUSTER, "of another cluster");
}

static void test_tricks_with_names(void **state)
{
    struct forgery f = right();
    char zero[200], longer[200];
    EVP_PKEY *other = new_key("P-256");
    char others[128];

    (void)state;
    name_of(others, ours.cluster, other, NULL);
    f.names[0].text = NULL;
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");

    f = right();
    f.names_twice = true;
    forgery_refused(&f, NX_REFUSED_MALFORMED, "one of them twice");

    f = right();
    f.names[2] = f.names[0];
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");
    f.names[2] = (struct forged_name){GEN_URI, others, 0};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");
    f.names[2] = (struct forged_name){GEN_URI, "https://example.com", 0};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");
    f.names[2] = (struct forged_name){GEN_EMAIL, "a@example.com", 0};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");
    f.names[2] = (struct forged_name){GEN_DNS, "example.com", 0};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");

    f = right();
    f.names[1] = (struct forged_name){0};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");
    f.names[1] = (struct forged_name){GEN_DNS, "localhost\0.example.com", 22};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");

    f = right();
    f.names[0].type = GEN_DNS;
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");

    f = right(); /* a zero, and then more */
    snprintf(zero, sizeof(zero), "%s", f.names[0].text);
    f.names[0] = (struct forged_name){GEN_URI, zero, (int)strlen(zero) + 1};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");
    zero[45] = '\0';
    f.names[0] = (struct forged_name){GEN_URI, zero, 71};
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");

    f = right();
    snprintf(longer, sizeof(longer), "%s:seed", f.names[0].text);
    f.names[0].text = longer;
    forgery_refused(&f, NX_REFUSED_MALFORMED, "does not name a node");
    EVP_PKEY_free(other);
}

static void test_keys_and_digests_that_are_not_ours(void **state)
{
    EVP_PKEY *p384 = new_key("P-384"), *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)3072);
    struct forgery f = leaf_of(&ours, p384, name, NULL);

    (void)state;
    forgery_refused(&f, NX_REFUSED_MALFORMED, "P-256");
    f = leaf_of(&ours, rsa, name, NULL);
    forgery_refused(&f, NX_REFUSED_MALFORMED, "P-256");
    f = right();
    f.md = EVP_sha1();
    forgery_refused(&f, NX_REFUSED_MALFORMED, "not accepted");
    EVP_PKEY_free(p384);
    EVP_PKEY_free(rsa);
}

static void test_size_and_stray_bytes(void **state)
{
    struct forgery f = right();
    X509 *x = forge(&f, false);
    struct nx_der der = der_of(x);
    uint8_t *large = nx_calloc(1, NX_CERTIFICATE_LIMIT + 1), id[NX_NODE_ID_SIZE];
    enum nx_refusal why;

    (void)state;
    for (size_t n = 1; n < der.size; n++) {
        uint8_t *cut = nx_alloc(n);

        memcpy(cut, der.data, n);
        assert_refused(nx_verify_member(ours.trust, cut, n, NOW, id, &why), NEXAR_EAUTH, "not a certificate");
        assert_int_equal(why, NX_REFUSED_MALFORMED);
        nx_free(cut);
    }
    memcpy(large, der.data, der.size);
    assert_ok(nx_verify_member(ours.trust, large, der.size, NOW, id, &why));
    assert_refused(nx_verify_member(ours.trust, large, der.size + 1, NOW, id, &why), NEXAR_EAUTH, "stray bytes (1)");
    assert_refused(nx_verify_member(ours.trust, large, NX_CERTIFICATE_LIMIT, NOW, id, &why), NEXAR_EAUTH, "stray");
    assert_refused(nx_verify_member(ours.trust, large, NX_CERTIFICATE_LIMIT + 1, NOW, id, &why), NEXAR_EAUTH,
                   "16385 bytes; the limit is 16384");
    assert_int_equal(why, NX_REFUSED_MALFORMED);
    nx_free(large);
    nx_der_free(&der);
    X509_free(x);
}

/* A length in the long form: the same certificate for a lenient reader, with another fingerprint. */
static void test_encoding_other_than_der(void **state)
{
    struct forgery f = right();
    X509 *x = forge(&f, false);
    struct nx_der der = der_of(x);
    uint8_t ber[NX_CERTIFICATE_LIMIT], id[NX_NODE_ID_SIZE];
    enum nx_refusal why;

    (void)state;
    assert_int_equal(der.data[1], 0x82);
    memcpy(ber, (uint8_t[]){0x30, 0x83, 0x00, der.data[2], der.data[3]}, 5);
    memcpy(ber + 5, der.data + 4, der.size - 4);
    assert_refused(nx_verify_member(ours.trust, ber, der.size + 1, NOW, id, &why), NEXAR_EAUTH, "not in DER");
    assert_int_equal(why, NX_REFUSED_MALFORMED);
    nx_der_free(&der);
    X509_free(x);
}

static void test_no_changed_bit_passes(void **state)
{
    struct forgery f = right();
    X509 *x = forge(&f, false);
    struct nx_der der = der_of(x);
    uint8_t id[NX_NODE_ID_SIZE];

    (void)state;
    for (size_t bit = 0; bit < 8 * der.size; bit++) {
        enum nx_refusal why;

        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(nx_verify_member(ours.trust, der.data, der.size, NOW, id, &why), NEXAR_EAUTH);
        assert_int_not_equal(why, NX_ACCEPTED);
        assert_int_not_equal(why, NX_REFUSED_NO_CERTIFICATE);
        der.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    nx_der_free(&der);
    X509_free(x);
}

static void test_errors_leave_the_tls_librarys_queue_alone(void **state)
{
    uint8_t id[NX_NODE_ID_SIZE];

    (void)state;
    ERR_clear_error();
    ERR_raise(ERR_LIB_USER, 7);
    assert_int_equal(nx_verify_member(ours.trust, "\x30\x01\x02", 3, NOW, id, NULL), NEXAR_EAUTH);
    assert_int_equal(ERR_GET_REASON(ERR_get_error()), 7);
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_forgery_passes),
        cmocka_unit_test(test_s4_certificate_gives_the_node_of_its_key),
        cmocka_unit_test(test_s4_certificate_with_the_node_of_another_key),
        cmocka_unit_test(test_no_certificate),
        cmocka_unit_test(test_other_ca),
        cmocka_unit_test(test_ca_of_the_same_name_with_another_key),
        cmocka_unit_test(test_self_signed),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_dates_of_the_ca),
        cmocka_unit_test(test_leaf_as_ca),
        cmocka_unit_test(test_wrong_purpose),
        cmocka_unit_test(test_other_roles_on_the_mesh),
        cmocka_unit_test(test_other_cluster_of_the_same_ca),
        cmocka_unit_test(test_tricks_with_names),
        cmocka_unit_test(test_keys_and_digests_that_are_not_ours),
        cmocka_unit_test(test_size_and_stray_bytes),
        cmocka_unit_test(test_encoding_other_than_der),
        cmocka_unit_test(test_no_changed_bit_passes),
        cmocka_unit_test(test_errors_leave_the_tls_librarys_queue_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
