/* Ops: done once, waited for by anybody, given back when nobody refers to them any more. */
#include "base/call.h"
#include "base/op.h"
#include "check.h"
#include "rng.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* An owner that finishes when it is told, or some time after it is asked to end early. */
struct fake {
    struct nexar_op op;
    struct nx_timer timer;
    struct nx_task task;
    nx_time linger; /* between being asked to end and ending */
    nexar_status with;
    _Atomic int cancels;
    _Atomic int finished; /* guards nx_op_finish */
    _Atomic nexar_status why;
};

static struct nx_completions *completions;
static _Atomic int released;

static void finish(struct fake *f, nexar_status status)
{
    nexar_error error;

    if (atomic_exchange(&f->finished, 1) != 0)
        return;
    nx_error_set(&error, status, 5, "fake: it ended with %d", (int)status);
    nx_op_finish(&f->op, status, &error);
}

static void linger_over(struct nx_timer *timer)
{
    struct fake *f = nx_container_of(timer, struct fake, timer);

    finish(f, f->why);
    nx_op_drop(&f->op);
}

static void run_finish(struct nx_task *task)
{
    struct fake *f = nx_container_of(task, struct fake, task);

    finish(f, f->with);
    nx_op_drop(&f->op);
}

static void cancel(struct nexar_op *op, nexar_status why)
{
    struct fake *f = nx_container_of(op, struct fake, op);

    if (f->cancels++ != 0)
        return;
    f->why = why;
    if (f->linger == 0) {
        finish(f, why);
    } else {
        nx_op_hold(op);
        nx_timer_set(&f->timer, nx_now() + f->linger);
    }
}

static void describe(struct nexar_op *op, char *text, size_t cap)
{
    (void)op;
    snprintf(text, cap, "fake: waits for the test");
}

static void release(struct nexar_op *op)
{
    released++;
    nx_free(nx_container_of(op, struct fake, op));
}

static const struct nx_op_class fake_class = {
    .name = "fake", .cancel = cancel, .describe = describe, .release = release};

static struct fake *fake(nx_time timeout)
{
    struct fake *f = nx_calloc(1, sizeof(*f));
    nx_time now = nx_now();

    nx_op_init(&f->op, &fake_class, completions, now, nx_after(now, timeout));
    nx_timer_init(&f->timer, linger_over);
    nx_task_init(&f->task, run_finish);
    return f;
}

/* On the engine, soon. */
static void finish_soon(struct fake *f, nexar_status status)
{
    f->with = status;
    nx_op_hold(&f->op);
    nx_engine_post(&f->task);
}

static struct fake *started(nx_time timeout)
{
    struct fake *f = fake(timeout);
    nexar_op *op;

    assert_ok(nx_op_return(&f->op, &op, NULL));
    assert_ptr_equal(op, &f->op);
    return f;
}

static int setup(void **state)
{
    (void)state;
    released = 0;
    return 0;
}

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

/* ---- signals, callbacks, forks ---- */

static void on_signal(int number)
{
    (void)number;
}

struct interrupted {
    struct fake *f;
    bool blocking;
    _Atomic bool returned;
    nexar_status status;
};

static void *be_interrupted(void *arg)
{
    struct interrupted *x = arg;

    x->status = x->blocking ? nx_op_return(&x->f->op, NULL, NULL) : nexar_op_wait(&x->f->op, CHECK_PATIENCE);
    x->returned = true;
    return NULL;
}

static void test_signals(void **state)
{
    struct sigaction action = {.sa_handler = on_signal}, saved;
    struct interrupted wait = {.f = started(NX_NEVER)}, call = {.f = fake(NX_NEVER), .blocking = true};
    pthread_t thread;

    (void)state;
    sigaction(SIGUSR1, &action, &saved);
    pthread_create(&thread, NULL, be_interrupted, &wait);
    while (!wait.returned) {
        pthread_kill(thread, SIGUSR1);
        poll(NULL, 0, 1);
    }
    pthread_join(thread, NULL);
    assert_status(wait.status, NEXAR_EINTR);
    nexar_op_close(&wait.f->op);
    /* A call that blocks by itself goes on. */
    pthread_create(&thread, NULL, be_interrupted, &call);
    for (int i = 0; i < 20; i++) {
        pthread_kill(thread, SIGUSR1);
        poll(NULL, 0, 1);
        assert_false(call.returned);
    }
    finish_soon(call.f, NEXAR_OK);
    pthread_join(thread, NULL);
    assert_status(call.status, NEXAR_OK);
    sigaction(SIGUSR1, &saved, NULL);
}

struct inside {
    nexar_op *pending, *done;
    nexar_status waited, got;
};

static void use_inside(void *arg)
{
    struct inside *x = arg;

    x->waited = nexar_op_wait(x->pending, NEXAR_FOREVER);
    x->got = nexar_op_wait(x->done, NEXAR_FOREVER);
    nexar_op_close(x->pending); /* must not wait */
}

static void test_on_the_engine(void **state)
{
    struct fake *pending = started(NX_NEVER), *done = started(NX_NEVER);
    struct inside x = {.pending = &pending->op, .done = &done->op};

    (void)state;
    pending->linger = 5 * NX_MS;
    finish(done, NEXAR_OK);
    assert_ok(nx_call(use_inside, &x));
    assert_status(x.waited, NEXAR_EDEADLK);
    assert_status(x.got, NEXAR_OK);
    nexar_op_close(x.done);
    assert_eventually(released == 2);
}

/* A thread that the child does not have may have held any lock. */
static void test_child_after_fork(void **state)
{
    struct fake *f = started(NX_NEVER);
    int status;
    pid_t child;

    (void)state;
    nx_lock(&f->op.lock);
    child = fork();
    if (child == 0) {
        bool good = nexar_op_wait(&f->op, NEXAR_FOREVER) == NEXAR_EFORK && nexar_op_cancel(&f->op) == NEXAR_EFORK &&
                    nexar_op_notify(&f->op, 1) == NEXAR_EFORK && nexar_op_test(&f->op) == NEXAR_EAGAIN;

        nexar_op_close(&f->op);
        _exit(good && f->cancels == 0 ? 3 : 4);
    }
    nx_unlock(&f->op.lock);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
    nexar_op_close(&f->op);
}

/* ---- everything at once ---- */

enum { LIVES = 4000 };

static void *live(void *arg)
{
    struct rng rng = {.state = (uint64_t)(uintptr_t)arg};

    for (int i = 0; i < LIVES; i++) {
        struct fake *f = fake(rng_below(&rng, 3) == 0 ? (nx_time)rng_below(&rng, 200) * NX_US : 3600 * NX_S);
        nexar_status st = NEXAR_OK;
        nexar_op *op;
        size_t index;

        f->linger = rng_below(&rng, 2) == 0 ? 0 : (nx_time)rng_below(&rng, 100) * NX_US;
        if (rng_below(&rng, 2) == 0)
            finish_soon(f, NEXAR_OK);
        if (f->op.deadline < nx_now() + NX_S && rng_below(&rng, 2) == 0) {
            nx_op_return(&f->op, NULL, NULL);
            continue;
        }
        if (nx_op_return(&f->op, &op, NULL) != NEXAR_OK)
            return arg;
        if (rng_below(&rng, 4) == 0)
            nexar_op_notify(op, 1);
        if (rng_below(&rng, 4) == 0)
            nexar_op_cancel(op);
        if (rng_below(&rng, 2) == 0)
            st = nexar_op_wait(op, (nx_time)rng_below(&rng, 100) * NX_US);
        else if (rng_below(&rng, 2) == 0)
            st = nexar_op_wait_any(&op, 1, (nx_time)rng_below(&rng, 100) * NX_US, &index);
        nexar_op_close(op);
        if (st != NEXAR_OK && st != NEXAR_EAGAIN && st != NEXAR_ECANCELLED && st != NEXAR_ETIMEDOUT)
            return arg;
    }
    return NULL;
}

static void test_many_lives(void **state)
{
    uint64_t blocks = live_blocks(), cookie;
    pthread_t thread[4];

    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, live, (void *)(i + 1));
    for (int i = 0; i < 4; i++) {
        void *bad;

        pthread_join(thread[i], &bad);
        assert_null(bad);
    }
    assert_eventually(released == 4 * LIVES);
    while (nx_completion_pop(completions, &cookie))
        continue;
    assert_in_range(live_blocks(), blocks, blocks + 1); /* the ring of cookies */
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
        cmocka_unit_test_setup(test_signals, setup),
        cmocka_unit_test_setup(test_on_the_engine, setup),
        cmocka_unit_test_setup(test_child_after_fork, setup),
        cmocka_unit_test_setup(test_many_lives, setup),
    };
    int failed;

    if (nx_engine_start() != NEXAR_OK || (completions = nx_completions_new()) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nx_completions_drop(completions);
    return failed;
}
