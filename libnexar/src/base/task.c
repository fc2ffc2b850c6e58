/* base/task.c - work that other threads leave for the engine.
 *
 * Owner: the engine's lock; tasks run on the engine, without it, in the order in which they were posted. */
#include "base/turn.h"

void nx_task_init(struct nx_task *task, void (*run)(struct nx_task *))
{
    task->next = NULL;
    task->run = run;
    atomic_init(&task->queued, false);
}

bool nx_engine_post(struct nx_task *task)
{
    if (atomic_exchange(&task->queued, true))
        return false;
    nx_lock(&nx_engine.lock);
    task->next = NULL;
    if (nx_engine.inbox == NULL)
        nx_engine.inbox_tail = &nx_engine.inbox;
    *nx_engine.inbox_tail = task;
    nx_engine.inbox_tail = &task->next;
    atomic_fetch_add(&nx_engine.work, 1);
    nx_unlock(&nx_engine.lock);
    if (!nx_inside)
        nx_turn_wake();
    return true;
}

void nx_tasks_run(void)
{
    struct nx_task *task;

    if (atomic_load(&nx_engine.work) == 0)
        return;
    nx_lock(&nx_engine.lock);
    task = nx_engine.inbox;
    nx_engine.inbox = NULL;
    atomic_store(&nx_engine.work, 0);
    nx_unlock(&nx_engine.lock);
    while (task != NULL) {
        struct nx_task *next = task->next;
        /* Cleared first: it may be posted again, or freed, by its own run. */
        atomic_store(&task->queued, false);
        task->run(task);
        task = next;
    }
}
