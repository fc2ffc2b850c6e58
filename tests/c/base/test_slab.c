/* The free list of equal objects: reuse, its bound, and threads that share it. */
#include "base/slab.h"
#include "check.h"

struct object {
    void *owner;
    uint64_t words[5];
};

static struct nx_slab slab = NX_SLAB_INIT(struct object, 8);

static void test_reuse_and_bound(void **state)
{
    struct object *o[20];
    struct nx_mem_stats before, after;
    uint64_t blocks = live_blocks();

    (void)state;
    for (int i = 0; i < 20; i++) {
        o[i] = nx_slab_get(&slab);
        memset(o[i], 0xff, sizeof(*o[i]));
    }
    for (int i = 0; i < 20; i++)
        nx_slab_put(&slab, o[i]);
    assert_int_equal(slab.count, 8);
    assert_int_equal(live_blocks(), blocks + 8);
    nx_mem_stats(&before);
    for (int i = 0; i < 8; i++)
        o[i] = nx_slab_get(&slab);
    nx_mem_stats(&after);
    assert_int_equal(after.allocations, before.allocations);
    nx_mem_fail_at(1);
    assert_null(nx_slab_get(&slab));
    nx_mem_fail_at(0);
    for (int i = 0; i < 8; i++)
        nx_slab_put(&slab, o[i]);
    nx_slab_trim(&slab);
    assert_int_equal(slab.count, 0);
    assert_int_equal(live_blocks(), blocks);
}

static void *churn(void *arg)
{
    for (int i = 0; i < 50000; i++) {
        struct object *a = nx_slab_get(&slab), *b = nx_slab_get(&slab);
        bool alone;

        a->owner = b->owner = arg;
        alone = a != b && a->owner == arg && b->owner == arg;
        nx_slab_put(&slab, a);
        nx_slab_put(&slab, b);
        if (!alone)
            return arg;
    }
    return NULL;
}

static void test_threads(void **state)
{
    uint64_t blocks = live_blocks();
    pthread_t thread[4];

    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;

        pthread_join(thread[i], &bad);
        assert_null(bad);
    }
    nx_slab_trim(&slab);
    assert_int_equal(live_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reuse_and_bound),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
