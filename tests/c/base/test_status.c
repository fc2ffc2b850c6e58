/* Statuses, names, and the last error of each thread. */
#include "check.h"

#include <pthread.h>

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(nexar_status_name(NEXAR_OK), "OK");
    for (int i = -19; i <= 0; i++) {
        assert_string_not_equal(nexar_status_name((nexar_status)i), "?");
        assert_string_not_equal(nexar_status_text((nexar_status)i), "?");
    }
    assert_string_equal(nexar_status_name((nexar_status)-20), "?");
    assert_string_equal(nexar_status_text((nexar_status)1), "?");
    for (int i = 0; i <= NEXAR_BOOL; i++) {
        assert_true(nexar_dtype_size((nexar_dtype)i) > 0);
        assert_non_null(nexar_dtype_name((nexar_dtype)i));
    }
    assert_int_equal(nexar_dtype_size((nexar_dtype)(NEXAR_BOOL + 1)), 0);
    assert_int_equal(nexar_dtype_size((nexar_dtype)-1), 0);
    assert_string_equal(nexar_dtype_name((nexar_dtype)-1), "?");
    assert_string_equal(nexar_reduce_op_name(NEXAR_SUM), "sum");
    assert_string_equal(nexar_reduce_op_name((nexar_reduce_op)(NEXAR_BXOR + 1)), "?");
}

static void test_fail(void **state)
{
    nexar_error e = {.size = sizeof(e)};

    (void)state;
    assert_status(nx_fail(NEXAR_EINVAL, "sentence with %u", 7u), NEXAR_EINVAL);
    assert_string_equal(nexar_last_error(), "sentence with 7");
    assert_status(nx_fail_peer(NEXAR_EPEER, 3, "rank %u", 3u), NEXAR_EPEER);
    nx_error_hint(nx_last_error(), "try %s", "again");
    assert_ok(nexar_last_error_info(&e));
    assert_int_equal(e.status, NEXAR_EPEER);
    assert_int_equal(e.peer, 3);
    assert_string_equal(e.text, "rank 3");
    assert_string_equal(e.hint, "try again");
    /* The next one has none of that. */
    nx_fail(NEXAR_ENOMEM, "other");
    assert_int_equal(nx_last_error()->peer, NEXAR_NO_RANK);
    assert_string_equal(nx_last_error()->hint, "");
    assert_status(nx_fail_with(&e), NEXAR_EPEER);
    assert_status(nx_fail_with(nx_last_error()), NEXAR_EPEER);
    assert_string_equal(nexar_last_error(), "rank 3");
}

/* A sentence may be built from the one that it replaces. */
static void test_sentence_from_itself(void **state)
{
    (void)state;
    nx_fail(NEXAR_EINVAL, "the root");
    nx_fail(NEXAR_EPROTO, "around: %s", nexar_last_error());
    assert_string_equal(nexar_last_error(), "around: the root");
}

static void test_long_text_is_cut(void **state)
{
    char longer[2000];
    nexar_error e;

    (void)state;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    nx_error_set(&e, NEXAR_EINVAL, 1, "%s", longer);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    nx_error_hint(&e, "%s", longer);
    assert_int_equal(strlen(e.hint), sizeof(e.hint) - 1);
    nx_error_set(NULL, NEXAR_EINVAL, 1, "nothing to fill");
    nx_error_hint(NULL, "nothing to fill");
}

static void test_copy(void **state)
{
    nexar_error from, to = {.size = sizeof(to) - 1};

    (void)state;
    nx_error_set(&from, NEXAR_EAUTH, 2, "who");
    assert_status(nx_error_copy(&to, &from), NEXAR_EINVAL);
    assert_status(nx_error_copy(NULL, &from), NEXAR_EINVAL);
    to.size = sizeof(to) + 100; /* a caller of a later version */
    assert_ok(nx_error_copy(&to, &from));
    assert_int_equal(to.size, sizeof(to) + 100);
    assert_string_equal(to.text, "who");
}

static void *other_thread(void *arg)
{
    bool clean = nexar_last_error()[0] == '\0';

    nx_fail(NEXAR_EINVAL, "of the other thread");
    return clean ? NULL : arg;
}

static void test_each_thread_has_its_own(void **state)
{
    pthread_t thread;
    void *bad;

    (void)state;
    nx_fail(NEXAR_EINVAL, "of this thread");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &state), 0);
    pthread_join(thread, &bad);
    assert_null(bad);
    assert_string_equal(nexar_last_error(), "of this thread");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_sentence_from_itself),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_each_thread_has_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
