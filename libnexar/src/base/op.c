/* base/op.c - the life of an op: begun, asked to end, finished, looked at; written once for everything that can be in
 * flight.  Waiting for it is op_wait.c's.
 *
 * Owner: the fields under `lock` belong to any thread; the owner of an op finishes it once.  It does not know what an
 * op does. */
#include "base/op.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static void expire(struct nx_timer *timer)
{
    struct nexar_op *op = nx_container_of(timer, struct nexar_op, timer);

    if (!nx_op_done(op))
        op->class->cancel(op, NEXAR_ETIMEDOUT);
    nx_op_drop(op);
}

void nx_op_init(struct nexar_op *op, const struct nx_op_class *class, struct nx_completions *completions, nx_time now,
                nx_time deadline)
{
    op->class = class;
    op->completions = completions;
    nx_completions_hold(completions);
    op->begun = now;
    op->deadline = deadline;
    op->receives = false;
    atomic_init(&op->refs, 2);
    atomic_init(&op->done, false);
    atomic_init(&op->timed, false);
    atomic_init(&op->told.set, false);
    nx_engine_add_work(1);
    atomic_init(&op->asked, false);
    atomic_init(&op->verdict, NULL);
    nx_mutex_init(&op->lock, NX_LOCK_OP);
    nx_list_init(&op->waiters);
    op->notify = false;
    op->cookie = 0;
    op->status = NEXAR_OK;
    op->error = NULL;
    op->info = (nexar_recv_info){0};
    nx_timer_init(&op->timer, expire);
}

void nx_op_hold(struct nexar_op *op)
{
    atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
}

void nx_op_abandon(struct nexar_op *op)
{
    if (!nx_op_done(op))
        nx_engine_add_work(-1);
    nx_free(op->error);
    op->error = NULL;
    nx_free(atomic_load(&op->verdict));
    atomic_store(&op->verdict, NULL);
    nx_completions_drop(op->completions);
    nx_mutex_fini(&op->lock);
}

void nx_op_drop(struct nexar_op *op)
{
    if (atomic_fetch_sub_explicit(&op->refs, 1, memory_order_acq_rel) != 1)
        return;
    nx_op_abandon(op);
    op->class->release(op);
}

void nx_op_finish(struct nexar_op *op, nexar_status status, const nexar_error *error)
{
    if (status != NEXAR_OK && error != NULL) {
        op->error = nx_alloc(sizeof(*error));
        if (op->error != NULL)
            *op->error = *error;
    }
    nx_lock(&op->lock);
    op->status = status;
    atomic_store(&op->done, true);
    nx_engine_add_work(-1);
    nx_list_for_each_safe(pos, tmp, &op->waiters) nx_waiter_wake(nx_container_of(pos, struct nx_op_tie, link)->waiter);
    if (op->notify)
        nx_completion_push(op->completions, op->cookie);
    nx_unlock(&op->lock);
    /* After `done`: nx_op_return sets the timer and then looks at `done`, so that one of the two takes it away. */
    if (atomic_load(&op->timed) && nx_timer_cancel(&op->timer))
        nx_op_drop(op);
    nx_op_drop(op);
}

void nx_op_condemn(struct nexar_op *op, const nexar_error *error, nexar_status why)
{
    nexar_error *verdict = nx_alloc(sizeof(*verdict)), *none = NULL;

    if (verdict != NULL) {
        *verdict = *error;
        if (!atomic_compare_exchange_strong(&op->verdict, &none, verdict))
            nx_free(verdict); /* the first counts */
    }
    if (!nx_op_done(op))
        op->class->cancel(op, why);
}

bool nx_op_verdict(struct nexar_op *op, nexar_error *error)
{
    const nexar_error *verdict = atomic_load(&op->verdict);

    if (verdict != NULL)
        *error = *verdict;
    return verdict != NULL;
}

nexar_status nexar_op_cancel(nexar_op *op)
{
    nexar_status st;

    if (op == NULL)
        return nx_fail(NEXAR_EINVAL, "op_cancel: the op is NULL");
    st = nx_engine_alive();
    if (st == NEXAR_OK && !nx_op_done(op))
        op->class->cancel(op, NEXAR_ECANCELLED);
    return st;
}

nexar_status nexar_op_error(nexar_op *op, nexar_error *out)
{
    nexar_error plain;

    if (op == NULL)
        return nx_fail(NEXAR_EINVAL, "op_error: the op is NULL");
    if (!nx_op_done(op))
        return NEXAR_EAGAIN;
    if (op->error != NULL)
        return nx_error_copy(out, op->error);
    nx_error_set(&plain, op->status, NEXAR_NO_RANK, "%s: %s", op->class->name, nexar_status_text(op->status));
    return nx_error_copy(out, &plain);
}

nexar_status nexar_op_recv_info(nexar_op *op, nexar_recv_info *out)
{
    if (op == NULL || out == NULL || !op->receives)
        return nx_fail(NEXAR_EINVAL, "op_recv_info: the op is not a receive, or there is no place for the answer");
    if (!nx_op_done(op))
        return NEXAR_EAGAIN;
    *out = op->info;
    return NEXAR_OK;
}

nexar_status nexar_op_describe(nexar_op *op, char *text, size_t cap)
{
    if (op == NULL || text == NULL || cap == 0)
        return nx_fail(NEXAR_EINVAL, "op_describe: the op is NULL, or there is no room for the text");
    if (nx_op_done(op))
        snprintf(text, cap, "%s: done, %s", op->class->name, nexar_status_text(op->status));
    else
        op->class->describe(op, text, cap);
    return NEXAR_OK;
}

nexar_status nexar_op_notify(nexar_op *op, uint64_t cookie)
{
    nexar_status st;

    if (op == NULL)
        return nx_fail(NEXAR_EINVAL, "op_notify: the op is NULL");
    st = nx_engine_alive();
    if (st != NEXAR_OK)
        return st;
    nx_lock(&op->lock);
    if (op->notify)
        st = nx_fail(NEXAR_EINVAL, "op_notify: the op has a cookie already");
    else
        st = nx_completion_reserve(op->completions);
    if (st == NEXAR_OK) {
        op->notify = true;
        op->cookie = cookie;
        if (nx_op_done(op))
            nx_completion_push(op->completions, cookie);
    }
    nx_unlock(&op->lock);
    return st;
}
