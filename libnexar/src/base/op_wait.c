/* base/op_wait.c - threads that wait for ops, and the last calls of those who have one: wait, test, close.
 *
 * Owner: a tie lies on the stack of the thread that waits, and belongs to the op's lock.  Nothing here ends an op: at
 * a deadline it asks, and waits on until the op has let go of its memory. */
#include "base/op.h"

#include "base/mem.h"
#include "base/spool.h"

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
static bool tie(struct nx_op_tie *t, struct nexar_op *op, struct nx_waiter *waiter)
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

static void untie(struct nx_op_tie *t, struct nexar_op *op)
{
    nx_lock(&op->lock);
    nx_list_remove(&t->link);
    nx_unlock(&op->lock);
}

/* Waits until the op is done; the result is the waiting's, not the op's. */
static nexar_status wait_done(struct nexar_op *op, nx_time deadline)
{
    struct nx_waiter waiter;
    struct nx_op_tie t;
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
    struct nx_op_tie *ties;
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
