/* fake_op.h - an op whose owner does as a test says. */
#ifndef NX_TEST_FAKE_OP_H
#define NX_TEST_FAKE_OP_H

#include "base/op.h"
#include "check.h"

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

static inline void finish(struct fake *f, nexar_status status)
{
    nexar_error error;

    if (atomic_exchange(&f->finished, 1) != 0)
        return;
    nx_error_set(&error, status, 5, "fake: it ended with %d", (int)status);
    nx_op_finish(&f->op, status, &error);
}

static inline void linger_over(struct nx_timer *timer)
{
    struct fake *f = nx_container_of(timer, struct fake, timer);

    finish(f, f->why);
    nx_op_drop(&f->op);
}

static inline void run_finish(struct nx_task *task)
{
    struct fake *f = nx_container_of(task, struct fake, task);

    finish(f, f->with);
    nx_op_drop(&f->op);
}

static inline void cancel(struct nexar_op *op, nexar_status why)
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

static inline void describe(struct nexar_op *op, char *text, size_t cap)
{
    (void)op;
    snprintf(text, cap, "fake: waits for the test");
}

static inline void release(struct nexar_op *op)
{
    released++;
    nx_free(nx_container_of(op, struct fake, op));
}

static const struct nx_op_class fake_class = {
    .name = "fake", .cancel = cancel, .describe = describe, .release = release};

static inline struct fake *fake(nx_time timeout)
{
    struct fake *f = nx_calloc(1, sizeof(*f));
    nx_time now = nx_now();

    nx_op_init(&f->op, &fake_class, completions, now, nx_after(now, timeout));
    nx_timer_init(&f->timer, linger_over);
    nx_task_init(&f->task, run_finish);
    return f;
}

/* On the engine, soon. */
static inline void finish_soon(struct fake *f, nexar_status status)
{
    f->with = status;
    nx_op_hold(&f->op);
    nx_engine_post(&f->task);
}

static inline struct fake *started(nx_time timeout)
{
    struct fake *f = fake(timeout);
    nexar_op *op;

    assert_ok(nx_op_return(&f->op, &op, NULL));
    assert_ptr_equal(op, &f->op);
    return f;
}

static inline int setup(void **state)
{
    (void)state;
    released = 0;
    return 0;
}

#endif
