/* Proofs: equal on both sides, different for any change, of no use to the other role. */
#include "identity/proof.h"

#include "identity/kit.h"

static const struct nx_span said[] = {{"hello", 5}, {"challenge", 9}};
static struct nx_proof_key key;
static struct nx_proof_context context;

static int setup(void **state)
{
    (void)state;
    assert_ok(nx_random(&key, sizeof(key)));
    assert_ok(nx_random(context.nonce_worker, NX_NONCE_SIZE));
    assert_ok(nx_random(context.nonce_seed, NX_NONCE_SIZE));
    assert_ok(nx_random(context.seed_cert_sha256, NX_SHA256_SIZE));
    context.said = said;
    context.said_count = 2;
    return 0;
}

static void test_both_sides_agree(void **state)
{
    uint8_t proof[NX_PROOF_SIZE];

    (void)state;
    for (enum nx_proof_role role = NX_PROOF_WORKER; role <= NX_PROOF_SEED; role++) {
        assert_ok(nx_proof_make(&key, role, &context, proof));
        assert_ok(nx_proof_check(&key, role, &context, proof, sizeof(proof)));
    }
}

/* So that two versions of the library prove the same: HMAC-SHA-256, computed elsewhere. */
static void test_known_answer(void **state)
{
    struct nx_proof_context zeros = {.said = NULL};
    struct nx_proof_key from_token;
    uint8_t token[NX_TOKEN_SIZE], proof[NX_PROOF_SIZE];
    char hex[65];

    (void)state;
    for (int i = 0; i < NX_TOKEN_SIZE; i++)
        token[i] = (uint8_t)i;
    assert_ok(nx_proof_key_from_token(token, &from_token));
    nx_hex(from_token.bytes, sizeof(from_token.bytes), hex);
    assert_string_equal(hex, "bfa24439d0cc1cece5ba8c295a98ce4840b5d37d7fc3a4d7f5db251e27bb937a");
    assert_ok(nx_proof_make(&from_token, NX_PROOF_SEED, &zeros, proof));
    nx_hex(proof, sizeof(proof), hex);
    assert_string_equal(hex, "ad9301985a85fbab91d1a63a26ce5d4ebf87e4876ba9fc80c604014a0e53b77f");
    zeros.said = said;
    zeros.said_count = 2;
    assert_ok(nx_proof_make(&from_token, NX_PROOF_WORKER, &zeros, proof));
    nx_hex(proof, sizeof(proof), hex);
    assert_string_equal(hex, "2b10345133040fac5e79f7e753c824cb5c316132232e26e38ec08a5a5a69da50");
}

static void test_one_roles_proof_is_not_the_others(void **state)
{
    uint8_t worker[NX_PROOF_SIZE], seed[NX_PROOF_SIZE];

    (void)state;
    assert_ok(nx_proof_make(&key, NX_PROOF_WORKER, &context, worker));
    assert_ok(nx_proof_make(&key, NX_PROOF_SEED, &context, seed));
    assert_memory_not_equal(worker, seed, NX_PROOF_SIZE);
    assert_refused(nx_proof_check(&key, NX_PROOF_SEED, &context, worker, NX_PROOF_SIZE), NEXAR_EAUTH,
                   "the seed does not know the token or secret");
    assert_refused(nx_proof_check(&key, NX_PROOF_WORKER, &context, seed, NX_PROOF_SIZE), NEXAR_EAUTH,
                   "the worker does not know the token or secret");
}

/* Each bit of `bytes`, which the proof depends on. */
static void assert_every_bit_counts(uint8_t *bytes, size_t size, const uint8_t *proof)
{
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(nx_proof_check(&key, NX_PROOF_WORKER, &context, proof, NX_PROOF_SIZE), NEXAR_EAUTH);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_any_changed_bit_refuses(void **state)
{
    uint8_t hello[] = "hello", proof[NX_PROOF_SIZE], copy[NX_PROOF_SIZE];
    const struct nx_span changed[] = {{hello, 5}, {"challenge", 9}};

    (void)state;
    context.said = changed;
    assert_ok(nx_proof_make(&key, NX_PROOF_WORKER, &context, proof));
    memcpy(copy, proof, sizeof(proof));
    assert_every_bit_counts(key.bytes, sizeof(key.bytes), proof);
    assert_every_bit_counts(context.nonce_worker, NX_NONCE_SIZE, proof);
    assert_every_bit_counts(context.nonce_seed, NX_NONCE_SIZE, proof);
    assert_every_bit_counts(context.seed_cert_sha256, NX_SHA256_SIZE, proof);
    assert_every_bit_counts(hello, 5, proof);
    assert_every_bit_counts(copy, sizeof(copy), copy);
    assert_ok(nx_proof_check(&key, NX_PROOF_WORKER, &context, proof, NX_PROOF_SIZE));
    context.said = said;
}

static void test_messages_cannot_be_cut_elsewhere(void **state)
{
    static const struct nx_span moved[] = {{"hell", 4}, {"ochallenge", 10}}, joined[] = {{"hellochallenge", 14}},
                                turned[] = {{"challenge", 9}, {"hello", 5}},
                                more[] = {{"hello", 5}, {"challenge", 9}, {"", 0}};
    struct nx_proof_context other = context;
    uint8_t proof[NX_PROOF_SIZE];

    (void)state;
    assert_ok(nx_proof_make(&key, NX_PROOF_WORKER, &context, proof));
    other.said = moved;
    assert_int_equal(nx_proof_check(&key, NX_PROOF_WORKER, &other, proof, sizeof(proof)), NEXAR_EAUTH);
    other.said = turned;
    assert_int_equal(nx_proof_check(&key, NX_PROOF_WORKER, &other, proof, sizeof(proof)), NEXAR_EAUTH);
    other.said = joined;
    other.said_count = 1;
    assert_int_equal(nx_proof_check(&key, NX_PROOF_WORKER, &other, proof, sizeof(proof)), NEXAR_EAUTH);
    other.said = more;
    other.said_count = 3;
    assert_int_equal(nx_proof_check(&key, NX_PROOF_WORKER, &other, proof, sizeof(proof)), NEXAR_EAUTH);
}

static void test_proofs_of_another_length(void **state)
{
    uint8_t proof[NX_PROOF_SIZE + 1] = {0};

    (void)state;
    assert_ok(nx_proof_make(&key, NX_PROOF_WORKER, &context, proof));
    assert_refused(nx_proof_check(&key, NX_PROOF_WORKER, &context, proof, NX_PROOF_SIZE + 1), NEXAR_EAUTH, "");
    assert_refused(nx_proof_check(&key, NX_PROOF_WORKER, &context, proof, NX_PROOF_SIZE - 1), NEXAR_EAUTH, "");
    assert_refused(nx_proof_check(&key, NX_PROOF_WORKER, &context, NULL, 0), NEXAR_EAUTH, "");
}

/* The reference's workers sent the text of the token and its seed compared with the bytes. */
static void test_b4_worker_with_the_join_string_knows_the_token(void **state)
{
    struct nx_join_string of_seed = {.host_count = 1, .hosts = {{"seed", 7000}}}, of_worker;
    struct nx_proof_key seeds, workers;
    uint8_t proof[NX_PROOF_SIZE];
    char *text;

    (void)state;
    assert_ok(nx_token_make(of_seed.token));
    assert_ok(nx_join_string_format(&of_seed, &text));
    assert_ok(nx_join_string_parse(text, &of_worker));
    nx_free_secret(text);
    assert_ok(nx_proof_key_from_token(of_seed.token, &seeds));
    assert_ok(nx_proof_key_from_token(of_worker.token, &workers));
    assert_ok(nx_proof_make(&workers, NX_PROOF_WORKER, &context, proof));
    assert_ok(nx_proof_check(&seeds, NX_PROOF_WORKER, &context, proof, sizeof(proof)));
    of_worker.token[31] ^= 1;
    assert_ok(nx_proof_key_from_token(of_worker.token, &workers));
    assert_ok(nx_proof_make(&workers, NX_PROOF_WORKER, &context, proof));
    assert_int_equal(nx_proof_check(&seeds, NX_PROOF_WORKER, &context, proof, sizeof(proof)), NEXAR_EAUTH);
}

static void test_token_and_secret_of_the_same_bytes_are_two_keys(void **state)
{
    struct nx_proof_key a, b;

    (void)state;
    assert_ok(nx_proof_key_from_token(key.bytes, &a));
    assert_ok(nx_proof_key_from_secret(key.bytes, NX_TOKEN_SIZE, &b));
    assert_memory_not_equal(&a, &b, sizeof(a));
    assert_memory_not_equal(&a, &key, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides_agree),
        cmocka_unit_test(test_known_answer),
        cmocka_unit_test(test_one_roles_proof_is_not_the_others),
        cmocka_unit_test(test_any_changed_bit_refuses),
        cmocka_unit_test(test_messages_cannot_be_cut_elsewhere),
        cmocka_unit_test(test_proofs_of_another_length),
        cmocka_unit_test(test_b4_worker_with_the_join_string_knows_the_token),
        cmocka_unit_test(test_token_and_secret_of_the_same_bytes_are_two_keys),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
