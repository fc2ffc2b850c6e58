/* Memory: exact counters, failures on demand, sizes that overflow. */
#include "check.h"

#include <pthread.h>

static struct nx_mem_stats stats(void)
{
    struct nx_mem_stats s;

    nx_mem_stats(&s);
    return s;
}

static void test_counters(void **state)
{
    struct nx_mem_stats before = stats(), now;
    char *a, *b;

    (void)state;
    a = nx_alloc(100);
    b = nx_calloc(10, 5);
    assert_non_null(a);
    for (int i = 0; i < 50; i++)
        assert_int_equal(b[i], 0);
    now = stats();
    assert_int_equal(now.allocations, before.allocations + 2);
    assert_int_equal(now.blocks, before.blocks + 2);
    assert_int_equal(now.bytes, before.bytes + 150);
    memset(a, 7, 100);
    a = nx_realloc(a, 1000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(a[i], 7);
    assert_int_equal(stats().bytes, before.bytes + 1050);
    assert_int_equal(stats().blocks, before.blocks + 2);
    a = nx_realloc(a, 10);
    assert_int_equal(stats().bytes, before.bytes + 60);
    nx_free_secret(a);
    nx_free(b);
    nx_free(NULL);
    nx_free_secret(NULL);
    assert_int_equal(stats().blocks, before.blocks);
    assert_int_equal(stats().bytes, before.bytes);
}

static void test_alignment(void **state)
{
    (void)state;
    for (size_t n = 0; n < 40; n++) {
        void *p = nx_alloc(n);

        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        nx_free(p);
    }
}

static void test_text(void **state)
{
    char *copy = nx_strdup("text");

    (void)state;
    assert_string_equal(copy, "text");
    nx_free(copy);
    assert_null(nx_strdup(NULL));
}

static void test_sizes_that_overflow(void **state)
{
    uint64_t blocks = stats().blocks;
    char *p = nx_alloc(4);

    (void)state;
    memcpy(p, "abc", 4);
    assert_null(nx_alloc(SIZE_MAX));
    assert_null(nx_alloc(SIZE_MAX - 8));
    assert_null(nx_calloc(SIZE_MAX / 2, 3));
    assert_null(nx_calloc(1, SIZE_MAX - 8));
    assert_null(nx_realloc(p, SIZE_MAX - 8));
    assert_string_equal(p, "abc");
    nx_free(p);
    assert_int_equal(stats().blocks, blocks);
}

static void test_failures(void **state)
{
    uint64_t blocks = stats().blocks;
    void *p[6];

    (void)state;
    for (uint64_t nth = 1; nth <= 6; nth++) {
        size_t failed = 0;

        nx_mem_fail_at(nth);
        p[0] = nx_alloc(1);
        p[1] = nx_calloc(1, 1);
        p[2] = nx_realloc(NULL, 1);
        p[3] = nx_strdup("");
        p[4] = nx_alloc(0);
        p[5] = nx_alloc(1);
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(p[i] == NULL, i + 1 == nth);
            failed += p[i] == NULL;
            nx_free(p[i]);
        }
        assert_int_equal(failed, 1);
    }
    p[0] = nx_alloc(8);
    nx_mem_fail_at(1);
    assert_null(nx_realloc(p[0], 16));
    nx_mem_fail_at(0);
    p[0] = nx_realloc(p[0], 16); /* it was left as it was */
    nx_free(p[0]);
    assert_int_equal(stats().blocks, blocks);
}

static _Atomic int failures;

static void *allocate(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        void *p = nx_alloc(1);

        if (p == NULL)
            failures++;
        nx_free(p);
    }
    return arg;
}

static void test_threads(void **state)
{
    struct nx_mem_stats before = stats();
    pthread_t thread[4];

    (void)state;
    nx_mem_fail_at(30000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, allocate, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(failures, 1);
    assert_int_equal(stats().blocks, before.blocks);
    assert_int_equal(stats().allocations, before.allocations + 80000 - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters), cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_text),     cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
