/* Keys are P-256, all different, and name their node. */
#include "identity/key.h"

#include "identity/kit.h"

static void test_node_id_is_the_digest_of_the_public_key(void **state)
{
    struct nx_key *key;
    char name[128], hex[33];

    (void)state;
    assert_ok(nx_key_make(&key));
    nx_hex(nx_key_node_id(key), NX_NODE_ID_SIZE, hex);
    name_of(name, "", key->pkey, NULL);
    assert_string_equal(name + strlen("nexar::"), hex);
    nx_key_free(key);
}

static void test_keys_differ(void **state)
{
    uint8_t ids[32][NX_NODE_ID_SIZE];

    (void)state;
    for (int i = 0; i < 32; i++) {
        struct nx_key *key;

        assert_ok(nx_key_make(&key));
        memcpy(ids[i], nx_key_node_id(key), NX_NODE_ID_SIZE);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(ids[i], ids[k], NX_NODE_ID_SIZE);
        nx_key_free(key);
    }
}

static nexar_status make(void *arg)
{
    struct nx_key *key;
    nexar_status status = nx_key_make(&key);

    (void)arg;
    assert_true((status == NEXAR_OK) == (key != NULL));
    nx_key_free(key);
    return status;
}

static void test_allocations_fail(void **state)
{
    (void)state;
    torture(make, NULL);
}

/* The key inside a SubjectPublicKeyInfo, judged as those of certificates and requests are. */
static nexar_status judge(EVP_PKEY *key)
{
    uint8_t id[NX_NODE_ID_SIZE];
    X509_PUBKEY *spki = NULL;
    nexar_status status;

    assert_int_equal(X509_PUBKEY_set(&spki, key), 1);
    status = nx_spki_node_id(spki, id);
    X509_PUBKEY_free(spki);
    EVP_PKEY_free(key);
    return status;
}

static EVP_PKEY *p256_as(const char *option, const char *value)
{
    EVP_PKEY *key = new_key("P-256");

    assert_int_equal(EVP_PKEY_set_utf8_string_param(key, option, value), 1);
    return key;
}

static void test_other_kinds_of_key_are_refused(void **state)
{
    (void)state;
    assert_ok(judge(new_key("P-256")));
    assert_refused(judge(new_key("P-384")), NEXAR_EAUTH, "not a P-256 key");
    assert_refused(judge(new_key("secp256k1")), NEXAR_EAUTH, "not a P-256 key");
    assert_refused(judge(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")), NEXAR_EAUTH, "not a P-256 key");
    assert_refused(judge(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)), NEXAR_EAUTH, "not a P-256 key");
    assert_refused(judge(p256_as("encoding", "explicit")), NEXAR_EAUTH, "not a P-256 key");
    assert_refused(judge(p256_as("point-format", "compressed")), NEXAR_EAUTH, "not a P-256 key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_id_is_the_digest_of_the_public_key),
        cmocka_unit_test(test_keys_differ),
        cmocka_unit_test(test_allocations_fail),
        cmocka_unit_test(test_other_kinds_of_key_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
