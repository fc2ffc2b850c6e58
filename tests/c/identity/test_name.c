/* Names in certificates: three roles, one spelling each. */
#include "identity/kit.h"

#define CLUSTER "000102030405060708090a0b0c0d0e0f"
#define NODE "f0e0d0c0b0a090807060504030201000"

static void test_roles_come_back(void **state)
{
    static const struct {
        const char *text;
        enum nx_role role;
    } names[] = {
        {"nexar:" CLUSTER ":ca", NX_ROLE_CA},
        {"nexar:" CLUSTER ":seed", NX_ROLE_SEED},
        {"nexar:" CLUSTER ":" NODE, NX_ROLE_MEMBER},
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char text[NX_NAME_SIZE];
        struct nx_name name;

        assert_true(nx_name_parse(names[i].text, strlen(names[i].text), &name));
        assert_int_equal(name.role, names[i].role);
        assert_int_equal(name.cluster_id[15], 0x0f);
        assert_int_equal(name.node_id[0], name.role == NX_ROLE_MEMBER ? 0xf0 : 0);
        nx_name_format(&name, text);
        assert_string_equal(text, names[i].text);
    }
}

static void test_nothing_else_is_a_name(void **state)
{
    static const char *const wrong[] = {
        "",
        "nexar:",
        "nexar:" CLUSTER,
        "nexar:" CLUSTER ":",
        "nexar:" CLUSTER ":cb",
        "nexar:" CLUSTER ":CA",
        "nexar:" CLUSTER ":seeds",
        "nexar:" CLUSTER ":seed ",
        "nexar:" CLUSTER "::ca",
        "nexar:" CLUSTER ":" NODE "0",
        "nexar:" CLUSTER ":" NODE ":ca",
        "nexar:000102030405060708090a0b0c0d0e:" NODE,
        "nexar:000102030405060708090A0B0C0D0E0F:seed",
        "nexar:" CLUSTER ":F0e0d0c0b0a090807060504030201000",
        "Nexar:" CLUSTER ":seed",
        " nexar:" CLUSTER ":seed",
        "nexor:" CLUSTER ":seed",
    };
    struct nx_name name;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (nx_name_parse(wrong[i], strlen(wrong[i]), &name))
            fail_msg("\"%s\" passed", wrong[i]);
}

static void test_zeros_and_cuts(void **state)
{
    const char text[] = "nexar:" CLUSTER ":" NODE;
    struct nx_name name;
    char copy[sizeof(text)];

    (void)state;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        assert_false(nx_name_parse(text, i, &name));
        memcpy(copy, text, sizeof(text));
        copy[i] = '\0';
        assert_false(nx_name_parse(copy, sizeof(text) - 1, &name));
    }
    assert_false(nx_name_parse(text, sizeof(text), &name)); /* its zero included */
    assert_false(nx_name_parse("nexar:" CLUSTER ":seed\0x", 6 + 32 + 7, &name));
    assert_false(nx_name_parse("nexar:" CLUSTER ":ca\0\0", 6 + 32 + 5, &name)); /* as long as ":seed" */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roles_come_back),
        cmocka_unit_test(test_nothing_else_is_a_name),
        cmocka_unit_test(test_zeros_and_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
