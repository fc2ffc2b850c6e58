/* test_sched.c - a schedule's bookkeeping, and that the checker sees what it is there to see. */
#include "coll/sched.h"

#include "base/mem.h"
#include "coll/build.h"
#include "coll/sched_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static struct nx_slice slice(enum nx_buf buf, size_t off, size_t count)
{
    return (struct nx_slice){.buf = buf, .off = off, .count = count};
}

static const struct nx_check_sizes sizes = {.send = 10, .recv = 10};

static void test_successors_and_ready_list(void **state)
{
    struct nx_sched s = {0};
    char text[80];

    (void)state;
    assert_int_equal(nx_sched_recv(&s, 1, 5, slice(NX_BUF_SCRATCH, 3, 4), NX_NONE, NX_NONE), 0);
    assert_int_equal(nx_sched_copy(&s, slice(NX_BUF_SEND, 0, 10), slice(NX_BUF_RECV, 0, 10), NX_NONE, NX_NONE), 1);
    assert_int_equal(nx_sched_reduce(&s, slice(NX_BUF_SCRATCH, 3, 4), slice(NX_BUF_RECV, 0, 4), 0, 1), 2);
    assert_int_equal(nx_sched_send(&s, 2, 5, slice(NX_BUF_RECV, 0, 4), 2, 2), 3); /* the same predecessor twice */
    assert_int_equal(nx_sched_recv_reduce(&s, 1, 6, slice(NX_BUF_RECV, 4, 2), NX_NONE, 1), 4);
    assert_int_equal(nx_sched_join(&s, 3, 4), 5);
    assert_int_equal(nx_sched_finish(&s), NEXAR_OK);

    assert_int_equal(s.count, 6);
    assert_int_equal(s.scratch, 7);
    assert_int_equal(s.sends, 1);
    assert_int_equal(s.recvs, 2);
    assert_int_equal(s.steps[0].index, 0);
    assert_int_equal(s.steps[4].index, 1);
    assert_int_equal(s.nready, 2);
    assert_int_equal(s.ready[0], 0);
    assert_int_equal(s.ready[1], 1);
    assert_memory_equal(s.waits, ((const uint8_t[]){0, 0, 2, 1, 1, 2}), 6);
    assert_memory_equal(s.succ_at, ((const uint32_t[]){0, 1, 3, 4, 5, 6, 6}), 7 * sizeof(uint32_t));
    assert_memory_equal(s.succ, ((const uint32_t[]){2, 2, 4, 3, 5, 5}), 6 * sizeof(uint32_t));
    nx_sched_describe(&s, 0, text, sizeof(text));
    assert_string_equal(text, "step 0 (recv from rank 1, tag 5, 4 elements)");
    nx_sched_describe(&s, 2, text, sizeof(text));
    assert_string_equal(text, "step 2 (reduce, 4 elements)");
    nx_sched_fini(&s);
}

static void test_an_empty_schedule_is_one(void **state)
{
    struct nx_sched s = {0};
    const struct nx_sched *all[] = {&s};

    (void)state;
    assert_int_equal(nx_sched_finish(&s), NEXAR_OK);
    assert_int_equal(s.nready, 0);
    assert_int_equal(nx_sched_check(&s, 0, 1, &sizes), NEXAR_OK);
    assert_int_equal(nx_sched_check_all(all, 1), NEXAR_OK);
    nx_sched_fini(&s);
    nx_sched_fini(&s);
}

/* Whichever allocation fails: no memory, said once, nothing leaks. */
static void test_memory_failures_are_reported_once(void **state)
{
    struct nx_shape shape = {.rank = 1, .n = 5, .count = 100, .segment = 3};
    struct nx_mem_stats before;
    struct nx_mem_stats after;
    nexar_status st = NEXAR_ENOMEM;

    (void)state;
    nx_mem_stats(&before);
    for (uint64_t nth = 1; st != NEXAR_OK; nth++) {
        struct nx_sched s = {0};

        assert_true(nth < 20);
        nx_mem_fail_at(nth);
        nx_build_all_reduce_direct(&s, &shape);
        st = nx_sched_finish(&s);
        nx_mem_fail_at(0);
        assert_true(st == NEXAR_OK || st == NEXAR_ENOMEM);
        if (st != NEXAR_OK)
            assert_non_null(strstr(nexar_last_error(), "no memory"));
        nx_sched_fini(&s);
    }
    nx_mem_stats(&after);
    assert_int_equal(after.blocks, before.blocks);
}

static void test_c7_a_tag_beyond_the_limit_is_refused(void **state)
{
    struct nx_sched s = {0};

    (void)state;
    assert_int_equal(nx_sched_send(&s, 1, NX_TAG_LIMIT - 1, slice(NX_BUF_SEND, 0, 1), NX_NONE, NX_NONE), 0);
    assert_int_equal(nx_sched_send(&s, 1, NX_TAG_LIMIT, slice(NX_BUF_SEND, 0, 1), 0, NX_NONE), NX_NONE);
    assert_int_equal(nx_sched_send(&s, 1, 7, slice(NX_BUF_SEND, 0, 1), NX_NONE, NX_NONE), NX_NONE);
    assert_int_equal(nx_sched_finish(&s), NEXAR_ENOMEM);
    assert_non_null(strstr(nexar_last_error(), "too many tags"));
    nx_sched_fini(&s);
}

/* A shape that needs more steps than there may be ends soon, and says so. */
static void test_too_many_steps_are_refused(void **state)
{
    struct nx_shape shape = {.n = 2, .count = (size_t)1 << 40, .segment = 1};
    struct nx_sched s = {0};

    (void)state;
    nx_build_all_reduce_ring(&s, &shape);
    assert_int_equal(nx_sched_finish(&s), NEXAR_ENOMEM);
    assert_non_null(strstr(nexar_last_error(), "too many steps"));
    nx_sched_fini(&s);
}

/* --- The checker -------------------------------------------------------------------------------------------------- */

static void refuse(struct nx_sched *s, const struct nx_check_sizes *limits, const char *why)
{
    assert_int_equal(nx_sched_finish(s), NEXAR_OK);
    assert_int_equal(nx_sched_check(s, 0, 2, limits), NEXAR_EINVAL);
    if (strstr(nexar_last_error(), why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", nexar_last_error(), why);
    nx_sched_fini(s);
}

static void test_checker_refuses_malformed_steps(void **state)
{
    struct nx_sched s = {0};

    (void)state;
    nx_sched_send(&s, 2, 0, slice(NX_BUF_SEND, 0, 1), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "no such peer");
    nx_sched_send(&s, 0, 0, slice(NX_BUF_SEND, 0, 1), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "no such peer");
    nx_sched_send(&s, 1, 0, slice(NX_BUF_SEND, 5, 6), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "reads beyond");
    nx_sched_send(&s, 1, 0, slice(NX_BUF_SEND, SIZE_MAX, 2), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "reads beyond");
    nx_sched_recv(&s, 1, 0, slice(NX_BUF_RECV, 10, 1), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "writes beyond");
    nx_sched_recv(&s, 1, 0, slice(NX_BUF_SEND, 0, 1), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "writes to SEND");
    nx_sched_send(&s, 1, 0, slice(NX_BUF_SEND, 0, 1), NX_NONE, NX_NONE);
    s.steps[0].after[0] = 0;
    assert_int_equal(nx_sched_check(&s, 0, 2, &sizes), NEXAR_EINVAL);
    s.steps[0].after[0] = NX_NONE;
    s.steps[0].tag = NX_TAG_LIMIT;
    refuse(&s, &sizes, "tag out of range");
}

static void test_checker_finds_races(void **state)
{
    const struct nx_check_sizes in_place = {.send = 10, .recv = 10, .in_place = true};
    struct nx_sched s = {0};
    int32_t first;

    (void)state;
    nx_sched_recv(&s, 1, 0, slice(NX_BUF_RECV, 0, 5), NX_NONE, NX_NONE); /* write, write */
    nx_sched_recv(&s, 1, 1, slice(NX_BUF_RECV, 4, 5), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "race: step 0");
    nx_sched_recv(&s, 1, 0, slice(NX_BUF_RECV, 0, 5), NX_NONE, NX_NONE); /* write, read */
    nx_sched_send(&s, 1, 1, slice(NX_BUF_RECV, 4, 1), NX_NONE, NX_NONE);
    refuse(&s, &sizes, "touch element 4");
    nx_sched_copy(&s, slice(NX_BUF_RECV, 0, 5), slice(NX_BUF_RECV, 4, 5), NX_NONE, NX_NONE); /* with itself */
    refuse(&s, &sizes, "race");
    nx_sched_send(&s, 1, 0, slice(NX_BUF_SEND, 0, 5), NX_NONE, NX_NONE); /* only in place */
    nx_sched_recv(&s, 1, 1, slice(NX_BUF_RECV, 0, 5), NX_NONE, NX_NONE);
    assert_int_equal(nx_sched_check(&s, 0, 2, &sizes), NEXAR_OK);
    refuse(&s, &in_place, "race");
    first = nx_sched_recv(&s, 1, 0, slice(NX_BUF_RECV, 0, 5), NX_NONE, NX_NONE); /* ordered by way of others */
    first = nx_sched_join(&s, first, NX_NONE);
    for (int i = 0; i < 200; i++)
        first = nx_sched_join(&s, first, NX_NONE);
    nx_sched_recv(&s, 1, 1, slice(NX_BUF_RECV, 0, 5), first, NX_NONE);
    assert_int_equal(nx_sched_check(&s, 0, 2, &sizes), NEXAR_OK);
    s.steps[100].after[0] = NX_NONE;
    refuse(&s, &sizes, "race");
    nx_sched_recv(&s, 1, 0, slice(NX_BUF_RECV, 0, 5), NX_NONE, NX_NONE); /* neighbours, two readers, nothing at all */
    nx_sched_recv(&s, 1, 1, slice(NX_BUF_RECV, 5, 5), NX_NONE, NX_NONE);
    nx_sched_send(&s, 1, 0, slice(NX_BUF_SEND, 0, 5), NX_NONE, NX_NONE);
    nx_sched_send(&s, 1, 1, slice(NX_BUF_SEND, 0, 5), NX_NONE, NX_NONE);
    nx_sched_recv(&s, 1, 2, slice(NX_BUF_RECV, 2, 0), NX_NONE, NX_NONE);
    assert_int_equal(nx_sched_check(&s, 0, 2, &sizes), NEXAR_OK);
    nx_sched_fini(&s);
}

static void refuse_all(struct nx_sched s[2], const char *why)
{
    const struct nx_sched *all[] = {&s[0], &s[1]};

    for (int r = 0; r < 2; r++)
        assert_int_equal(nx_sched_finish(&s[r]), NEXAR_OK);
    assert_int_equal(nx_sched_check_all(all, 2), NEXAR_EINVAL);
    if (strstr(nexar_last_error(), why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", nexar_last_error(), why);
    for (int r = 0; r < 2; r++)
        nx_sched_fini(&s[r]);
}

static void test_checker_matches_messages(void **state)
{
    struct nx_slice one = slice(NX_BUF_RECV, 0, 1);
    struct nx_sched s[2] = {{0}, {0}};

    (void)state;
    nx_sched_send(&s[0], 1, 3, one, NX_NONE, NX_NONE);
    refuse_all(s, "nobody receives what rank 0 sends to rank 1 with tag 3");
    nx_sched_recv(&s[0], 1, 3, one, NX_NONE, NX_NONE);
    refuse_all(s, "nobody sends what rank 1 sends to rank 0 with tag 3");
    nx_sched_send(&s[0], 1, 3, one, NX_NONE, NX_NONE);
    nx_sched_recv(&s[1], 0, 4, one, NX_NONE, NX_NONE);
    refuse_all(s, "nobody receives");
    nx_sched_send(&s[0], 1, 3, slice(NX_BUF_RECV, 0, 2), NX_NONE, NX_NONE);
    nx_sched_recv(&s[1], 0, 3, one, NX_NONE, NX_NONE);
    refuse_all(s, "rank 0 sends 2 elements to rank 1 with tag 3, which expects 1");
    for (int i = 0; i < 2; i++) {
        nx_sched_send(&s[0], 1, 3, one, NX_NONE, NX_NONE);
        nx_sched_recv(&s[1], 0, 3, one, NX_NONE, NX_NONE);
    }
    refuse_all(s, "twice");
}

/* Two ranks that both send first and receive after: works while messages are small enough to be buffered. */
static void test_checker_finds_reliance_on_buffers(void **state)
{
    struct nx_slice one = slice(NX_BUF_RECV, 0, 1);
    struct nx_sched s[2] = {{0}, {0}};

    (void)state;
    for (uint32_t r = 0; r < 2; r++)
        nx_sched_recv(&s[r], 1 - r, 0, one, nx_sched_send(&s[r], 1 - r, 0, one, NX_NONE, NX_NONE), NX_NONE);
    refuse_all(s, "without buffers rank 0 never comes to step 1 (recv from rank 1, tag 0, 1 elements)");
    for (uint32_t r = 0; r < 2; r++)
        nx_sched_send(&s[r], 1 - r, 0, one, nx_sched_recv(&s[r], 1 - r, 0, one, NX_NONE, NX_NONE), NX_NONE);
    refuse_all(s, "never comes to step 1 (send to rank 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_successors_and_ready_list),
        cmocka_unit_test(test_an_empty_schedule_is_one),
        cmocka_unit_test(test_memory_failures_are_reported_once),
        cmocka_unit_test(test_c7_a_tag_beyond_the_limit_is_refused),
        cmocka_unit_test(test_too_many_steps_are_refused),
        cmocka_unit_test(test_checker_refuses_malformed_steps),
        cmocka_unit_test(test_checker_finds_races),
        cmocka_unit_test(test_checker_matches_messages),
        cmocka_unit_test(test_checker_finds_reliance_on_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
