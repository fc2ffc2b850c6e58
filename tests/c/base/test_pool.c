/* The buffer pool: room enough, nothing given out twice, bounded free lists, counters that are right. */
#include "base/pool.h"
#include "check.h"
#include "rng.h"

#include <pthread.h>

static struct nx_pool_stats stats(void)
{
    struct nx_pool_stats s;

    nx_pool_stats(&s);
    return s;
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0,    1,     1023,  1024,     1025,           4096,
                                   4097, 65536, 65537, 16 << 20, (16 << 20) + 1, 50 << 20};
    struct nx_pool_stats before = stats();

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct nx_buffer *buf = nx_buffer_get(sizes[i]);

        assert_non_null(buf);
        assert_true(buf->room >= sizes[i]);
        assert_true(buf->room <= 4 * sizes[i] || buf->room <= 256);
        assert_int_equal(buf->used, 0);
        assert_null(buf->next);
        assert_int_equal((uintptr_t)buf->data % 16, 0);
        memset(buf->data, 1, buf->room);
        assert_int_equal(stats().live_bytes, before.live_bytes + buf->room);
        nx_buffer_put(buf);
        assert_int_equal(stats().live_bytes, before.live_bytes);
    }
    nx_buffer_put(NULL);
    assert_null(nx_buffer_get(SIZE_MAX));
    assert_null(nx_buffer_get(SIZE_MAX - 8));
}

static void test_reuse(void **state)
{
    struct nx_buffer *buf;
    struct nx_pool_stats before;

    (void)state;
    nx_pool_trim();
    buf = nx_buffer_get(5000);
    nx_buffer_put(buf);
    before = stats();
    assert_int_equal(before.cached_bytes, 16384);
    buf = nx_buffer_get(10000);
    assert_int_equal(stats().reused, before.reused + 1);
    assert_int_equal(stats().taken, before.taken + 1);
    assert_int_equal(stats().cached_bytes, 0);
    nx_buffer_put(buf);
    nx_pool_trim();
    assert_int_equal(stats().cached_bytes, 0);
}

static void test_free_lists_are_bounded(void **state)
{
    enum { MANY = 100 };
    struct nx_buffer *buf[MANY];
    uint64_t blocks;

    (void)state;
    nx_pool_trim();
    blocks = live_blocks();
    for (int i = 0; i < MANY; i++)
        buf[i] = nx_buffer_get(1 << 20);
    for (int i = 0; i < MANY; i++)
        nx_buffer_put(buf[i]);
    assert_int_equal(stats().cached_bytes, 16 << 20);
    assert_int_equal(live_blocks(), blocks + 16);
    nx_pool_trim();
    assert_int_equal(live_blocks(), blocks);
}

static void test_no_memory(void **state)
{
    struct nx_pool_stats before;

    (void)state;
    nx_pool_trim();
    before = stats();
    nx_mem_fail_at(1);
    assert_null(nx_buffer_get(100));
    nx_mem_fail_at(0);
    assert_int_equal(stats().live_bytes, before.live_bytes);
    assert_int_equal(stats().taken, before.taken);
}

/* Each thread signs its buffers and finds its own signature again. */
static void *churn(void *arg)
{
    struct rng rng = {.state = (uint64_t)(uintptr_t)arg};
    struct nx_buffer *held[16] = {NULL};

    for (int i = 0; i < 20000; i++) {
        size_t slot = rng_below(&rng, 16);

        if (held[slot] == NULL) {
            held[slot] = nx_buffer_get(1 + rng_below(&rng, 5000));
            memcpy(held[slot]->data, &arg, sizeof(arg));
        } else {
            if (memcmp(held[slot]->data, &arg, sizeof(arg)) != 0)
                return arg;
            nx_buffer_put(held[slot]);
            held[slot] = NULL;
        }
    }
    for (int i = 0; i < 16; i++)
        nx_buffer_put(held[i]);
    return NULL;
}

static void test_threads(void **state)
{
    struct nx_pool_stats before = stats();
    pthread_t thread[4];

    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;

        pthread_join(thread[i], &bad);
        assert_null(bad);
    }
    assert_int_equal(stats().live_bytes, before.live_bytes);
    nx_pool_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_reuse),   cmocka_unit_test(test_free_lists_are_bounded),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
