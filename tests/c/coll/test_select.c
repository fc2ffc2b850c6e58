/* test_select.c - the choice of algorithms: the defaults as frozen in tests/vectors/select.txt, and the user's
 * rules. */
#include "coll/select.h"

#include "vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static enum nx_coll coll_named(const char *name)
{
    for (int i = 0; i < NX_COLLS; i++)
        if (strcmp(nx_coll_name((enum nx_coll)i), name) == 0)
            return (enum nx_coll)i;
    fail_msg("no collective \"%s\"", name);
    return NX_COLL_BARRIER;
}

static unsigned where_named(const char *words)
{
    return (strstr(words, "hosts") != NULL ? NX_ON_HOSTS : 0) | (strstr(words, "row") != NULL ? NX_IN_A_ROW : 0) |
           (strstr(words, "any-order") != NULL ? NX_ANY_ORDER : 0);
}

static void check_choice(const struct nx_select *select, enum nx_coll coll, unsigned where, const char *name,
                         const char *line)
{
    uint32_t n;
    uint64_t nbytes;
    char want[32];
    const char *got;

    assert_int_equal(sscanf(line, "%" SCNu32 " %" SCNu64 " %31s", &n, &nbytes, want), 3);
    got = nx_select_algorithm(select, coll, n, nbytes, where)->name;
    if (strcmp(got, want) != 0)
        fail_msg("%s: %s %s: chose %s", name, nx_coll_name(coll), line, got);
}

static void test_vectors(void **state)
{
    struct vectors v = vectors_load("select.txt");

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        const struct vector *c = &v.cases[i];
        enum nx_coll coll = NX_COLL_ALL_REDUCE;
        unsigned where = 0;
        const char *digest = vector_get(c, "digest");
        struct nx_select select;
        char hex[17];

        assert_int_equal(nx_select_init(&select, vector_get(c, "tune"), vector_get(c, "reproducible") != NULL),
                         NEXAR_OK);
        for (size_t k = 0; k < c->n; k++) {
            if (strcmp(c->lines[k].key, "collective") == 0)
                coll = coll_named(c->lines[k].value);
            if (strcmp(c->lines[k].key, "where") == 0)
                where = where_named(c->lines[k].value);
            if (strcmp(c->lines[k].key, "choice") == 0)
                check_choice(&select, coll, where, c->name, c->lines[k].value);
        }
        snprintf(hex, sizeof(hex), "%016" PRIx64, select.digest);
        if (digest == NULL || strcmp(digest, hex) != 0)
            fail_msg("%s: the digest is %s", c->name, hex);
    }
    vectors_free(&v);
}

/* Whatever is asked, there is an answer, for the right collective. */
static void test_there_is_always_a_choice(void **state)
{
    static const uint32_t ranks[] = {1, 2, 3, 16, 17, 1000, UINT32_MAX};
    struct nx_select select;

    (void)state;
    for (int reproducible = 0; reproducible < 2; reproducible++) {
        assert_int_equal(nx_select_init(&select, NULL, reproducible != 0), NEXAR_OK);
        for (int coll = 0; coll < NX_COLLS; coll++)
            for (size_t n = 0; n < sizeof(ranks) / sizeof(ranks[0]); n++)
                for (int bits = 0; bits <= 64; bits++) {
                    uint64_t nbytes = bits == 64 ? UINT64_MAX : UINT64_C(1) << bits;
                    const struct nx_algorithm *a =
                        nx_select_algorithm(&select, (enum nx_coll)coll, ranks[n], nbytes, (unsigned)bits % 8);

                    assert_int_equal(a->coll, coll);
                    assert_true(a->by_rank || !reproducible);
                }
    }
}

static void refuse(const char *tune, const char *why)
{
    struct nx_select select;

    if (nx_select_init(&select, tune, false) != NEXAR_ECONFIG)
        fail_msg("\"%s\" was accepted", tune);
    if (strstr(nexar_last_error(), why) == NULL || strstr(nexar_last_error(), "NEXAR_COLL_TUNE") == NULL)
        fail_msg("\"%s\": \"%s\" does not say \"%s\"", tune, nexar_last_error(), why);
}

static void test_errors_name_the_part(void **state)
{
    (void)state;
    refuse(",", "\"\" is not of the form");
    refuse("all_reduce", "\"all_reduce\" is not of the form collective:from-to:algorithm");
    refuse("all_reduce:0-", "is not of the form");
    refuse("all_reduce:0-:ring,", "\"\" is not of the form");
    refuse(" all_reduce:0-:ring", "\" all_reduce\" is no collective");
    refuse("gather_all:0-:ring",
           "\"gather_all\" is no collective: all_reduce, broadcast, barrier, reduce, all_gather, ");
    refuse("all_reduce:0-:rings",
           "\"rings\" is none of its algorithms: flat, direct, rd, ring, rsag, bruck, cube, hosts, relay");
    refuse("all_reduce:0-:", "\"\" is none of its algorithms");
    refuse("all_reduce:0-:ring:", "\"ring:\" is none of its algorithms");
    refuse("broadcast:0-:ring", "\"ring\" is none of its algorithms: binomial, scatter, chain, hosts");
    refuse("all_reduce:0:ring", "\"0\" is no range of sizes");
    refuse("all_reduce::ring", "\"\" is no range of sizes");
    refuse("all_reduce:-4k:ring", "\"\" is no size");
    refuse("all_reduce:k-:ring", "\"k\" is no size");
    refuse("all_reduce:0-64q:ring", "\"64q\" is no size");
    refuse("all_reduce:0-6 4:ring", "\"6 4\" is no size");
    refuse("all_reduce:0-+4:ring", "\"+4\" is no size");
    refuse("all_reduce:0-64kk:ring", "\"64kk\" is no size");
    refuse("all_reduce:0-1-2:ring", "\"1-2\" is no size");
    refuse("all_reduce:0-18446744073709551616:ring", "\"18446744073709551616\" is no size");
    refuse("all_reduce:0-17179869184g:ring", "\"17179869184g\" is no size");
    refuse("all_reduce:2-1:ring", "\"1\" ends the range before it begins");
    refuse("all_reduce:0-1k:rd,all_reduce:2k-1k:ring", "in \"all_reduce:2k-1k:ring\"");
}

static void test_rules_are_limited(void **state)
{
    char tune[NX_RULES_LIMIT * 24] = "";
    struct nx_select select;
    int rules = 0;

    (void)state;
    while (nx_select_init(&select, tune, false) == NEXAR_OK) {
        assert_true(rules < NX_RULES_LIMIT);
        assert_true(select.count <= NX_RULES_LIMIT);
        strcat(tune, rules++ == 0 ? "all_reduce:0-:ring" : ",all_reduce:0-:ring");
    }
    assert_true(rules > 40);
    assert_non_null(strstr(nexar_last_error(), "more than"));
}

static void test_reproducible_refuses_other_orders(void **state)
{
    struct nx_select select;

    (void)state;
    assert_int_equal(nx_select_init(&select, "all_reduce:0-1k:direct,broadcast:0-:scatter", true), NEXAR_OK);
    assert_int_equal(nx_select_init(&select, "all_reduce:0-1k:direct,all_reduce:1k-:ring", true), NEXAR_ECONFIG);
    assert_non_null(strstr(nexar_last_error(), "\"ring\" does not sum in the order of ranks"));
}

/* Ranks whose environments differ were not found out; they hung. */
static void test_c9_ranks_can_tell_that_their_rules_differ(void **state)
{
    static const char *const tunes[] = {
        "",
        "all_reduce:0-64k:rd",
        "all_reduce:0-64k:ring",
        "all_reduce:0-65k:rd",
        "all_reduce:1-64k:rd",
        "all_reduce:0-64k:rd,all_reduce:64k-:ring",
        "all_reduce:64k-:ring,all_reduce:0-64k:rd",
        "broadcast:0-64k:binomial",
    };
    struct nx_select a;
    struct nx_select b;

    (void)state;
    for (size_t i = 0; i < sizeof(tunes) / sizeof(tunes[0]); i++)
        for (size_t k = 0; k < sizeof(tunes) / sizeof(tunes[0]); k++) {
            assert_int_equal(nx_select_init(&a, tunes[i], false), NEXAR_OK);
            assert_int_equal(nx_select_init(&b, tunes[k], false), NEXAR_OK);
            assert_int_equal(a.digest == b.digest, i == k);
        }
    assert_int_equal(nx_select_init(&a, NULL, false), NEXAR_OK);
    assert_int_equal(nx_select_init(&b, "", true), NEXAR_OK);
    assert_true(a.digest != b.digest);
    assert_int_equal(nx_select_init(&a, "all_reduce:0-1k:flat", false), NEXAR_OK);
    assert_int_equal(nx_select_init(&b, "all_reduce:0-1024:flat", false), NEXAR_OK); /* the same said otherwise */
    assert_true(a.digest == b.digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_there_is_always_a_choice),
        cmocka_unit_test(test_errors_name_the_part),
        cmocka_unit_test(test_rules_are_limited),
        cmocka_unit_test(test_reproducible_refuses_other_orders),
        cmocka_unit_test(test_c9_ranks_can_tell_that_their_rules_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
