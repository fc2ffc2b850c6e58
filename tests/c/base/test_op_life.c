/* Ops among signals, callbacks, forks and many threads: given back when nobody refers to them any more. */
#include "base/call.h"
#include "fake_op.h"
#include "rng.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

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
