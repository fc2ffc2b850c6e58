/* The queue of finished ops: in order, nothing lost, readable exactly while there is something. */
#include "base/completion.h"
#include "check.h"
#include "rng.h"

#include <poll.h>

static bool readable(int32_t fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void test_order_and_readiness(void **state)
{
    struct nx_completions *c = nx_completions_new();
    struct rng rng = {.state = 1};
    uint64_t in = 0, out = 0, promised = 0, cookie;
    int32_t fd = -1;

    (void)state;
    for (int round = 0; round < 50000; round++) {
        switch (rng_below(&rng, 5)) {
        case 0:
        case 1:
            assert_ok(nx_completion_reserve(c));
            promised++;
            break;
        case 2:
            if (promised > 0) {
                nx_completion_push(c, in++);
                promised--;
            }
            break;
        case 3:
            assert_int_equal(nx_completion_pop(c, &cookie), in != out);
            if (in != out)
                assert_int_equal(cookie, out++);
            break;
        default:
            /* Asked for while there may be something already. */
            assert_ok(nx_completion_fd(c, &fd));
            assert_int_equal(readable(fd), in != out);
        }
    }
    while (nx_completion_pop(c, &cookie))
        assert_int_equal(cookie, out++);
    assert_int_equal(in, out);
    assert_false(readable(fd));
    nx_completions_drop(c);
}

/* Once room is promised, finishing needs no memory. */
static void test_memory(void **state)
{
    uint64_t blocks = live_blocks(), cookie;
    struct nx_completions *c = nx_completions_new();
    uint64_t reserved = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        nx_mem_fail_at(1);
        if (nx_completion_reserve(c) == NEXAR_OK)
            reserved++;
        nx_mem_fail_at(0);
        assert_ok(nx_completion_reserve(c));
        reserved++;
    }
    assert_true(reserved < 200); /* some did fail */
    nx_mem_fail_at(1);
    for (uint64_t i = 0; i < reserved; i++)
        nx_completion_push(c, i);
    nx_mem_fail_at(0);
    for (uint64_t i = 0; i < reserved; i++) {
        assert_true(nx_completion_pop(c, &cookie));
        assert_int_equal(cookie, i);
    }
    nx_completions_hold(c);
    nx_completions_drop(c);
    nx_completions_drop(c);
    nx_completions_drop(NULL);
    nx_mem_fail_at(1);
    assert_null(nx_completions_new());
    nx_mem_fail_at(0);
    assert_int_equal(live_blocks(), blocks);
}

enum { PUSHES = 20000 };

static void *push(void *arg)
{
    for (int i = 0; i < PUSHES; i++) {
        if (nx_completion_reserve(arg) == NEXAR_OK)
            nx_completion_push(arg, 1);
    }
    return NULL;
}

/* A reader that sleeps on the descriptor misses nothing. */
static void test_threads(void **state)
{
    struct nx_completions *c = nx_completions_new();
    pthread_t thread[3];
    uint64_t sum = 0, cookie;
    int32_t fd;

    (void)state;
    assert_ok(nx_completion_fd(c, &fd));
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, push, c);
    while (sum < 3 * PUSHES) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, (int)(CHECK_PATIENCE / NX_MS)), 1);
        while (nx_completion_pop(c, &cookie))
            sum += cookie;
    }
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_false(readable(fd));
    nx_completions_drop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_readiness),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
