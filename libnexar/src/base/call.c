/* base/call.c - a task with somebody who waits for it.
 *
 * Owner: the record lives on the caller's stack and is done before the caller goes on.  It carries no result: that is
 * in `arg`. */
#include "base/call.h"

struct call {
    struct nx_task task;
    struct nx_waiter waiter;
    void (*fn)(void *arg);
    void *arg;
};

static void run(struct nx_task *task)
{
    struct call *call = nx_container_of(task, struct call, task);

    call->fn(call->arg);
    nx_waiter_wake(&call->waiter);
}

nexar_status nx_call(void (*fn)(void *arg), void *arg)
{
    struct call call = {.fn = fn, .arg = arg};
    nexar_status st;

    if (nx_engine_inside()) {
        fn(arg);
        return NEXAR_OK;
    }
    st = nx_engine_alive();
    if (st != NEXAR_OK)
        return st;
    nx_task_init(&call.task, run);
    nx_waiter_init(&call.waiter);
    nx_engine_post(&call.task);
    do
        st = nx_waiter_wait(&call.waiter, NX_NEVER);
    while (st == NEXAR_EINTR);
    return st;
}

static void nothing(void *arg)
{
    (void)arg;
}

nexar_status nx_fence(void)
{
    return nx_call(nothing, NULL);
}
