/* base/op.c - waiting, cancelling, deadlines and completion of ops; written once for everything that can be in flight.
 *
 * Owner: the fields under `lock` belong to any thread; the owner of an op finishes it once.  It does not know what an
 * op does. */
#include "base/op.h"

#include "base/mem.h"
#include "base/spool.h"

#include <stdio.h>
#include <string.h>

/* Ties a waiter to an op. */
struct tie {
    struct nx_list link;
    struct nx_waiter *waiter;
};

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
    nx_list_for_each_safe(pos, tmp, &op->waiters) nx_waiter_wake(nx_container_of(pos, struct tie, link)->waiter);
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

/* Fills in this thread's last error from an op that is done. */
static nexar_status result(struct nexar_op *op)
{
    if (op->status == NEXAR_OK)
        return NEXAR_OK;
    if (op->error != NULL)
        return nx_fail_with(op->error);
    return nx_fail(op->status, "%s: %s", op->class->name, nexar_status_text(op->status));
}

/* The same where it may take a while: who is told of an error finds the file about it. */
static nexar_status result_on_disk(struct nexar_op *op)
{
    if (op->status != NEXAR_OK && nx_engine_may_block() == NEXAR_OK)
        nx_spool_wait(NX_S);
    return result(op);
}

/* False if the op is done already. */
static bool tie(struct tie *t, struct nexar_op *op, struct nx_waiter *waiter)
{
    bool pending;

    t->waiter = waiter;
    nx_lock(&op->lock);
    pending = !nx_op_done(op);
    if (pending)
        nx_list_push_back(&op->waiters, &t->link);
    nx_unlock(&op->lock);
    return pending;
}

static void untie(struct tie *t, struct nexar_op *op)
{
    nx_lock(&op->lock);
    nx_list_remove(&t->link);
    nx_unlock(&op->lock);
}

/* Waits until the op is done; the result is the waiting's, not the op's. */
static nexar_status wait_done(struct nexar_op *op, nx_time deadline)
{
    struct nx_waiter waiter;
    struct tie t;
    nexar_status st;

    if (nx_op_done(op))
        return NEXAR_OK;
    st = nx_engine_may_block();
    if (st != NEXAR_OK)
        return st;
    nx_waiter_init(&waiter);
    if (!tie(&t, op, &waiter))
        return NEXAR_OK;
    st = nx_waiter_wait(&waiter, deadline);
    untie(&t, op);
    return nx_op_done(op) ? NEXAR_OK : st;
}

/* Waits through signals, and past the deadline until the op has let go of its memory. */
static void wait_through(struct nexar_op *op, nx_time deadline)
{
    for (;;) {
        nexar_status st = wait_done(op, deadline);

        if (st == NEXAR_EAGAIN) {
            op->class->cancel(op, NEXAR_ETIMEDOUT);
            deadline = NX_NEVER;
        } else if (st != NEXAR_EINTR) {
            return; /* done; nothing else can come: callers have checked that they may block */
        }
    }
}

static _Thread_local nexar_op **lent;

void nx_op_lend(nexar_op **place)
{
    lent = place;
}

/* False: the caller gets the op. */
static bool wait_shortly(struct nexar_op *op)
{
    nx_time deadline = nx_after(nx_now(), NX_OP_LENT);

    return nx_op_done(op) || wait_done(op, op->deadline < deadline ? op->deadline : deadline) == NEXAR_OK;
}

nexar_status nx_op_return(struct nexar_op *op, nexar_op **op_out, nexar_recv_info *info)
{
    bool late = op_out == NULL && lent != NULL && !wait_shortly(op);
    nexar_status st;

    if (late)
        op_out = lent;
    if (op_out != NULL) {
        if (op->deadline != NX_NEVER) {
            nx_op_hold(op);
            atomic_store(&op->timed, true);
            nx_timer_set(&op->timer, op->deadline);
            /* It may have finished before the timer was set, and then nobody else takes it away. */
            if (atomic_load(&op->done) && nx_timer_cancel(&op->timer))
                nx_op_drop(op);
        }
        *op_out = op;
        nx_engine_kick(false);
        if (!nx_op_done(op))
            nx_engine_attend();
        return late ? NEXAR_EAGAIN : NEXAR_OK;
    }
    wait_through(op, op->deadline);
    st = result_on_disk(op);
    if (info != NULL)
        *info = op->info;
    nx_op_drop(op);
    return st;
}

nexar_status nexar_op_wait(nexar_op *op, int64_t timeout_ns)
{
    nexar_status st;

    if (op == NULL)
        return nx_fail(NEXAR_EINVAL, "op_wait: the op is NULL");
    if (nx_op_done(op))
        return result(op);
    st = wait_done(op, nx_after(nx_now(), timeout_ns));
    return st == NEXAR_OK ? result_on_disk(op) : st;
}

nexar_status nexar_op_test(nexar_op *op)
{
    if (op == NULL)
        return nx_fail(NEXAR_EINVAL, "op_test: the op is NULL");
    return nx_op_done(op) ? result(op) : NEXAR_EAGAIN;
}

nexar_status nexar_op_wait_all(nexar_op *const *ops, size_t n, int64_t timeout_ns)
{
    nx_time deadline = nx_after(nx_now(), timeout_ns);

    if (ops == NULL && n != 0)
        return nx_fail(NEXAR_EINVAL, "op_wait_all: the list of ops is NULL");
    for (size_t i = 0; i < n; i++) {
        nexar_status st;

        if (ops[i] == NULL)
            return nx_fail(NEXAR_EINVAL, "op_wait_all: op %zu is NULL", i);
        st = wait_done(ops[i], deadline);
        if (st != NEXAR_OK)
            return st;
        st = result(ops[i]);
        if (st != NEXAR_OK)
            return st;
    }
    return NEXAR_OK;
}

nexar_status nexar_op_wait_any(nexar_op *const *ops, size_t n, int64_t timeout_ns, size_t *index)
{
    nx_time deadline = nx_after(nx_now(), timeout_ns);
    struct nx_waiter waiter;
    struct tie *ties;
    size_t tied = 0;
    nexar_status st = nx_engine_alive();

    if (ops == NULL || n == 0 || index == NULL)
        return nx_fail(NEXAR_EINVAL, "op_wait_any: it needs at least one op and a place for the index");
    if (st != NEXAR_OK)
        return st;
    ties = nx_alloc(n * sizeof(*ties));
    if (ties == NULL)
        return nx_fail(NEXAR_ENOMEM, "op_wait_any: no memory to wait for %zu ops", n);
    nx_waiter_init(&waiter);
    for (; tied < n; tied++) {
        if (ops[tied] == NULL) {
            st = nx_fail(NEXAR_EINVAL, "op_wait_any: op %zu is NULL", tied);
            break;
        }
        if (!tie(&ties[tied], ops[tied], &waiter))
            break;
    }
    if (tied == n)
        st = nx_waiter_wait(&waiter, deadline);
    for (size_t i = 0; i < tied; i++)
        untie(&ties[i], ops[i]);
    nx_free(ties);
    if (st == NEXAR_EINVAL)
        return st;
    for (size_t i = 0; i < n; i++) {
        if (nx_op_done(ops[i])) {
            *index = i;
            return NEXAR_OK;
        }
    }
    return st;
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

void nexar_op_close(nexar_op *op)
{
    /* In a forked child, threads that are not there may hold its locks. */
    if (op == NULL || nx_engine_alive() != NEXAR_OK)
        return;
    if (!nx_op_done(op)) {
        op->class->cancel(op, NEXAR_ECANCELLED);
        if (nx_engine_may_block() == NEXAR_OK)
            wait_through(op, NX_NEVER);
    }
    nx_op_drop(op);
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
