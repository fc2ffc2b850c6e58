/* What is the certificate of a cluster's CA, and what only looks like one. */
#include "identity/trust.h"

#include "identity/kit.h"

static struct forged_ca ours;
static EVP_PKEY *key;

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

static void trust_refused(const struct forgery *f, const char *words)
{
    X509 *x = forge(f, true);
    struct nx_der der = der_of(x);
    struct nx_trust *trust;

    assert_refused(nx_trust_make(der.data, der.size, &trust), NEXAR_EAUTH, words);
    assert_null(trust);
    nx_der_free(&der);
    X509_free(x);
}

static void test_what_is_no_ca(void **state)
{
    char ca_name[128], seed_name[128];
    struct forgery good = {.key = key, .names = {{GEN_URI, name_of(ca_name, ours.cluster, key, "ca"), 0}}}, f = good;
    EVP_PKEY *p384 = new_key("P-384");
    struct nx_trust *trust;
    X509 *real;

    (void)state;
    real = forge(&good, true);
    nx_trust_free(trust_in(real));
    X509_free(real);
    f.basic = "critical,CA:FALSE";
    f.usage = "critical,digitalSignature";
    trust_refused(&f, "must not sign");
    f = good;
    f.basic = "critical,CA:TRUE";
    trust_refused(&f, "more than leaves");
    f = good;
    f.basic = "critical,CA:TRUE,pathlen:1";
    trust_refused(&f, "more than leaves");
    f = good;
    f.usage = "critical,keyCertSign,digitalSignature";
    trust_refused(&f, "sign certificates");
    f = good;
    f.names[0].text = name_of(seed_name, ours.cluster, key, "seed");
    trust_refused(&f, "not named");
    f = good;
    f.signer = ours.key;
    trust_refused(&f, "not signed by its own key");
    f = good;
    f.md = EVP_sha384();
    trust_refused(&f, "not signed by its own key");
    f = good;
    f.key = p384;
    trust_refused(&f, "P-256");
    assert_refused(nx_trust_make("", 0, &trust), NEXAR_EAUTH, "the CA's certificate is not a certificate");
    EVP_PKEY_free(p384);
}

static nexar_status make_trust(void *arg)
{
    struct nx_trust *trust;
    nexar_status status = nx_trust_make(((struct nx_der *)arg)->data, ((struct nx_der *)arg)->size, &trust);

    nx_trust_free(trust);
    return status;
}

static void test_allocations_fail(void **state)
{
    struct nx_der der = der_of(ours.x);

    (void)state;
    torture(make_trust, &der);
    nx_der_free(&der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_ca),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
