/* Ops: done once, waited for by anybody, one or several; deadlines, cancelling, event loops. */
#include "fake_op.h"

#include <pthread.h>

/* ---- one op ---- */

static void test_success(void **state)
{
    struct fake *f = started(NX_NEVER);
    nexar_recv_info info;
    nexar_error error = {.size = sizeof(error)};
    char text[64];

    (void)state;
    assert_status(nexar_op_test(&f->op), NEXAR_EAGAIN);
    assert_status(nexar_op_error(&f->op, &error), NEXAR_EAGAIN);
    assert_status(nexar_op_wait(&f->op, 1000), NEXAR_EAGAIN);
    assert_status(nexar_op_recv_info(&f->op, &info), NEXAR_EINVAL);
    f->op.receives = true;
    assert_status(nexar_op_recv_info(&f->op, &info), NEXAR_EAGAIN);
    assert_ok(nexar_op_describe(&f->op, text, sizeof(text)));
    assert_string_equal(text, "fake: waits for the test");
    f->op.info = (nexar_recv_info){.source = 1, .tag = 2, .nbytes = 3};
    finish(f, NEXAR_OK);
    assert_ok(nexar_op_wait(&f->op, NEXAR_FOREVER));
    assert_ok(nexar_op_test(&f->op));
    assert_ok(nexar_op_recv_info(&f->op, &info));
    assert_int_equal(info.nbytes, 3);
    assert_ok(nexar_op_error(&f->op, &error));
    assert_int_equal(error.status, NEXAR_OK);
    assert_ok(nexar_op_describe(&f->op, text, 10));
    assert_string_equal(text, "fake: don");
    assert_ok(nexar_op_cancel(&f->op)); /* too late */
    assert_int_equal(f->cancels, 0);
    nexar_op_close(&f->op);
    assert_int_equal(released, 1);
}

static void test_failure_in_words(void **state)
{
    struct fake *f = started(NX_NEVER);
    nexar_error error = {.size = sizeof(error)};

    (void)state;
    finish(f, NEXAR_EPROTO);
    assert_status(nexar_op_wait(&f->op, 0), NEXAR_EPROTO);
    assert_string_equal(nexar_last_error(), "fake: it ended with -12");
    assert_ok(nexar_op_error(&f->op, &error));
    assert_int_equal(error.peer, 5);
    nexar_op_close(&f->op);

    /* Without memory for the record the status still says what it can. */
    f = started(NX_NEVER);
    nx_mem_fail_at(1);
    finish(f, NEXAR_EPROTO);
    nx_mem_fail_at(0);
    assert_status(nexar_op_test(&f->op), NEXAR_EPROTO);
    assert_string_equal(nexar_last_error(), "fake: the peer broke the protocol");
    assert_ok(nexar_op_error(&f->op, &error));
    assert_int_equal(error.status, NEXAR_EPROTO);
    nexar_op_close(&f->op);
    assert_int_equal(released, 2);
}

static void test_arguments(void **state)
{
    struct fake *f = started(NX_NEVER);
    nexar_op *ops[2] = {&f->op, NULL};
    size_t index;
    char text[4];

    (void)state;
    assert_status(nexar_op_wait(NULL, 0), NEXAR_EINVAL);
    assert_status(nexar_op_test(NULL), NEXAR_EINVAL);
    assert_status(nexar_op_cancel(NULL), NEXAR_EINVAL);
    assert_status(nexar_op_error(NULL, NULL), NEXAR_EINVAL);
    assert_status(nexar_op_describe(NULL, text, 4), NEXAR_EINVAL);
    assert_status(nexar_op_describe(&f->op, text, 0), NEXAR_EINVAL);
    assert_status(nexar_op_notify(NULL, 0), NEXAR_EINVAL);
    assert_status(nexar_op_wait_all(NULL, 1, 0), NEXAR_EINVAL);
    assert_ok(nexar_op_wait_all(NULL, 0, 0));
    assert_status(nexar_op_wait_any(ops, 0, 0, &index), NEXAR_EINVAL);
    assert_status(nexar_op_wait_any(ops, 1, 0, NULL), NEXAR_EINVAL);
    assert_status(nexar_op_wait_any(ops, 2, 0, &index), NEXAR_EINVAL);
    finish(f, NEXAR_OK);
    assert_status(nexar_op_wait_all(ops, 2, 0), NEXAR_EINVAL);
    assert_status(nexar_op_error(&f->op, NULL), NEXAR_EINVAL);
    nexar_op_close(&f->op);
    nexar_op_close(NULL);
}

/* ---- blocking, deadlines, cancelling ---- */

static void test_blocking_call(void **state)
{
    struct fake *f = fake(CHECK_PATIENCE);
    nexar_recv_info info = {0};

    (void)state;
    f->op.info.nbytes = 9;
    finish_soon(f, NEXAR_OK);
    assert_ok(nx_op_return(&f->op, NULL, &info));
    assert_int_equal(info.nbytes, 9);
    assert_eventually(released == 1);

    f = fake(CHECK_PATIENCE);
    finish_soon(f, NEXAR_EPEER);
    assert_status(nx_op_return(&f->op, NULL, NULL), NEXAR_EPEER);
    assert_eventually(released == 2);
}

/* The deadline asks; the call returns when the memory is free. */
static void test_blocking_deadline(void **state)
{
    struct fake *f = fake(5 * NX_MS);
    nx_time begun = nx_now();

    (void)state;
    f->linger = 20 * NX_MS;
    assert_status(nx_op_return(&f->op, NULL, NULL), NEXAR_ETIMEDOUT);
    assert_true(nx_now() - begun >= 25 * NX_MS);
    assert_eventually(released == 1);
}

static void test_deadline_of_a_started_op(void **state)
{
    struct fake *f = started(5 * NX_MS);

    (void)state;
    f->linger = 5 * NX_MS;
    assert_status(nexar_op_wait(&f->op, CHECK_PATIENCE), NEXAR_ETIMEDOUT);
    assert_int_equal(f->cancels, 1);
    nexar_op_close(&f->op);
    assert_eventually(released == 1);
    /* It passes while nobody looks. */
    f = started(NX_MS);
    assert_eventually(nexar_op_test(&f->op) == NEXAR_ETIMEDOUT);
    nexar_op_close(&f->op);
    assert_eventually(released == 2);
}

static void test_cancel_asks(void **state)
{
    struct fake *f = started(NX_NEVER);

    (void)state;
    f->linger = 10 * NX_MS;
    assert_ok(nexar_op_cancel(&f->op));
    assert_status(nexar_op_test(&f->op), NEXAR_EAGAIN);
    assert_status(nexar_op_wait(&f->op, CHECK_PATIENCE), NEXAR_ECANCELLED);
    nexar_op_close(&f->op);
    assert_eventually(released == 1);
}

static void test_close_while_pending(void **state)
{
    struct fake *f = started(NX_NEVER);
    nx_time begun = nx_now();

    (void)state;
    f->linger = 20 * NX_MS;
    nexar_op_close(&f->op);
    assert_true(nx_now() - begun >= 20 * NX_MS);
    assert_eventually(released == 1);
}

/* An op that finishes at the very moment at which it is handed over must not keep its timer: that would touch it, and
 * what it belongs to, when its deadline comes. */
static void test_finished_while_returned(void **state)
{
    enum { ROUNDS = 3000 };

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct fake *f = fake(3600 * NX_S);
        nexar_op *op;

        finish_soon(f, NEXAR_OK);
        assert_ok(nx_op_return(&f->op, &op, NULL));
        assert_ok(nexar_op_wait(op, CHECK_PATIENCE));
        nexar_op_close(op);
    }
    assert_eventually(released == ROUNDS);
}

/* ---- several ---- */

static void test_wait_any(void **state)
{
    struct fake *f[4];
    nexar_op *ops[5];
    size_t index = 9;

    (void)state;
    for (int i = 0; i < 4; i++) {
        f[i] = started(NX_NEVER);
        ops[i] = &f[i]->op;
    }
    ops[4] = ops[1]; /* the same one twice */
    assert_status(nexar_op_wait_any(ops, 5, NX_MS, &index), NEXAR_EAGAIN);
    finish_soon(f[2], NEXAR_EPROTO);
    assert_ok(nexar_op_wait_any(ops, 5, CHECK_PATIENCE, &index)); /* whatever that op's status */
    assert_int_equal(index, 2);
    ops[2] = ops[3];
    finish_soon(f[1], NEXAR_OK);
    assert_ok(nexar_op_wait_any(ops, 5, CHECK_PATIENCE, &index));
    assert_int_equal(index, 1);
    assert_ok(nexar_op_wait_any(ops, 5, 0, &index));
    for (int i = 0; i < 4; i++)
        assert_true(nx_list_empty(&f[i]->op.waiters));
    nx_mem_fail_at(1);
    assert_status(nexar_op_wait_any(ops, 5, 0, &index), NEXAR_ENOMEM);
    nx_mem_fail_at(0);
    for (int i = 0; i < 4; i++)
        nexar_op_close(&f[i]->op);
    assert_eventually(released == 4);
}

static void test_wait_all(void **state)
{
    struct fake *f[3];
    nexar_op *ops[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        f[i] = started(NX_NEVER);
        ops[i] = &f[i]->op;
    }
    finish(f[0], NEXAR_OK);
    assert_status(nexar_op_wait_all(ops, 3, NX_MS), NEXAR_EAGAIN);
    finish_soon(f[2], NEXAR_OK);
    finish_soon(f[1], NEXAR_EMSGSIZE);
    assert_status(nexar_op_wait_all(ops, 3, CHECK_PATIENCE), NEXAR_EMSGSIZE);
    assert_eventually(nexar_op_test(ops[2]) == NEXAR_OK);
    ops[1] = ops[2];
    assert_ok(nexar_op_wait_all(ops, 3, 0));
    for (int i = 0; i < 3; i++)
        nexar_op_close(&f[i]->op);
    assert_eventually(released == 3);
}

static void *wait_for(void *arg)
{
    return (void *)(intptr_t)nexar_op_wait(arg, CHECK_PATIENCE);
}

static void test_several_threads_wait_for_one(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        struct fake *f = started(NX_NEVER);
        pthread_t thread[5];

        for (int i = 0; i < 5; i++)
            pthread_create(&thread[i], NULL, wait_for, &f->op);
        if (round % 2 == 0)
            finish_soon(f, NEXAR_EMISMATCH);
        else
            finish(f, NEXAR_EMISMATCH);
        for (int i = 0; i < 5; i++) {
            void *st;

            pthread_join(thread[i], &st);
            assert_int_equal((intptr_t)st, NEXAR_EMISMATCH);
        }
        nexar_op_close(&f->op);
    }
    assert_eventually(released == 100);
}

/* ---- telling an event loop ---- */

static void test_notify(void **state)
{
    struct fake *before = started(NX_NEVER), *after = started(NX_NEVER), *no_room = started(NX_NEVER);
    uint64_t cookie;

    (void)state;
    assert_ok(nexar_op_notify(&before->op, 11));
    assert_status(nexar_op_notify(&before->op, 12), NEXAR_EINVAL);
    assert_false(nx_completion_pop(completions, &cookie));
    finish(before, NEXAR_OK);
    assert_true(nx_completion_pop(completions, &cookie));
    assert_int_equal(cookie, 11);
    finish(after, NEXAR_EPEER);
    assert_ok(nexar_op_notify(&after->op, 13));
    assert_true(nx_completion_pop(completions, &cookie));
    assert_int_equal(cookie, 13);
    for (int i = 0; i < 100; i++) {
        nexar_status st;

        nx_mem_fail_at(1);
        st = nexar_op_notify(&no_room->op, 14);
        nx_mem_fail_at(0);
        if (st == NEXAR_OK)
            break; /* there was room without */
        assert_status(st, NEXAR_ENOMEM);
        assert_ok(nexar_op_notify(&no_room->op, 14));
        break;
    }
    nexar_op_close(&no_room->op); /* is done by being closed */
    assert_true(nx_completion_pop(completions, &cookie));
    assert_int_equal(cookie, 14);
    nexar_op_close(&before->op);
    nexar_op_close(&after->op);
    assert_eventually(released == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_success, setup),
        cmocka_unit_test_setup(test_failure_in_words, setup),
        cmocka_unit_test_setup(test_arguments, setup),
        cmocka_unit_test_setup(test_blocking_call, setup),
        cmocka_unit_test_setup(test_blocking_deadline, setup),
        cmocka_unit_test_setup(test_deadline_of_a_started_op, setup),
        cmocka_unit_test_setup(test_cancel_asks, setup),
        cmocka_unit_test_setup(test_close_while_pending, setup),
        cmocka_unit_test_setup(test_finished_while_returned, setup),
        cmocka_unit_test_setup(test_wait_any, setup),
        cmocka_unit_test_setup(test_wait_all, setup),
        cmocka_unit_test_setup(test_several_threads_wait_for_one, setup),
        cmocka_unit_test_setup(test_notify, setup),
    };
    int failed;

    if (nx_engine_start() != NEXAR_OK || (completions = nx_completions_new()) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nx_completions_drop(completions);
    return failed;
}
