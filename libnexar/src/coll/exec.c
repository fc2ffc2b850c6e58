/* coll/exec.c - takes a schedule through its steps.
 *
 * Owner: one thread at a time runs an operation (`running`); others that bring completions leave them in `finished` and
 * go.  Steps start without the lock.  A failed operation starts nothing more, and ends when nothing is outstanding:
 * only then is the caller's memory free. */
#include "coll/exec.h"

#include "base/mem.h"
#include "coll/op.h"

#include <stdio.h>
#include <string.h>

enum {
    IDLE_MAX = 16,
    IDLE_BYTES_MAX = 32 << 20,
};

/* ---- memory ---- */

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* One block: the op, its arrays, its scratch memory. */
static struct nx_coll_op *allocate(struct nx_plan *plan, size_t element)
{
    const struct nx_sched *s = &plan->sched;
    size_t recvs = aligned(sizeof(struct nx_coll_op)), sends, waits, finished, ready, scratch, total;
    struct nx_coll_op *op;
    char *block;

    sends = aligned(recvs + s->recvs * sizeof(struct nx_coll_recv));
    waits = aligned(sends + s->sends * sizeof(struct nx_coll_send));
    finished = aligned(waits + s->count);
    ready = aligned(finished + s->count * sizeof(uint32_t));
    scratch = aligned(ready + s->count * sizeof(uint32_t));
    if (__builtin_mul_overflow(s->scratch, element, &total) || __builtin_add_overflow(total, scratch, &total))
        return NULL;
    block = nx_alloc(total);
    if (block == NULL)
        return NULL;
    op = (struct nx_coll_op *)(void *)block;
    op->bytes = total;
    op->recvs = (struct nx_coll_recv *)(void *)(block + recvs);
    op->sends = (struct nx_coll_send *)(void *)(block + sends);
    op->waits = (uint8_t *)(block + waits);
    op->finished = (uint32_t *)(void *)(block + finished);
    op->ready = (uint32_t *)(void *)(block + ready);
    op->scratch = (uint8_t *)(block + scratch);
    return op;
}

/* With the communicator's lock: one that was left over by a call of the same plan. */
static struct nx_coll_op *take_idle(nexar_comm *comm, const struct nx_plan *plan, size_t element)
{
    nx_list_for_each_safe(pos, tmp, &comm->idle)
    {
        struct nx_coll_op *op = nx_container_of(pos, struct nx_coll_op, link);

        if (op->plan != plan || op->args.element != element)
            continue;
        nx_list_remove(pos);
        comm->idle_count--;
        comm->idle_bytes -= op->bytes;
        return op;
    }
    return NULL;
}

static void free_op(struct nx_coll_op *op)
{
    nx_plan_drop(op->plan);
    nx_free(op);
}

/* Nobody refers to it any more: kept for the next call, in place of the one that was not used for longest. */
static void release(struct nexar_op *base)
{
    struct nx_coll_op *op = nx_container_of(base, struct nx_coll_op, op);
    nexar_comm *comm = op->comm;
    struct nx_list old, *pos;

    nx_list_init(&old);
    nx_mutex_fini(&op->lock);
    if (op->bytes > IDLE_BYTES_MAX) {
        free_op(op);
        nx_comm_drop(comm);
        return;
    }
    nx_lock(&comm->lock);
    nx_list_push_front(&comm->idle, &op->link);
    comm->idle_count++;
    comm->idle_bytes += op->bytes;
    while (comm->idle_count > IDLE_MAX || comm->idle_bytes > IDLE_BYTES_MAX) {
        struct nx_coll_op *last = nx_container_of(comm->idle.prev, struct nx_coll_op, link);

        nx_list_remove(&last->link);
        comm->idle_count--;
        comm->idle_bytes -= last->bytes;
        nx_list_push_back(&old, &last->link);
    }
    nx_unlock(&comm->lock);
    while ((pos = nx_list_pop(&old)) != NULL)
        free_op(nx_container_of(pos, struct nx_coll_op, link));
    nx_comm_drop(comm);
}

void nx_coll_free_idle(nexar_comm *comm)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&comm->idle)) != NULL)
        free_op(nx_container_of(pos, struct nx_coll_op, link));
}

/* ---- running ---- */

/* The last thing that happens to an operation, once. */
static void finish(struct nx_coll_op *op)
{
    nexar_comm *comm = op->comm;

    nx_scope_end(&comm->net->lanes, comm->scope, &op->announced);
    nx_lock(&comm->lock);
    nx_list_remove(&op->link);
    nx_unlock(&comm->lock);
    if (op->status == NEXAR_OK)
        atomic_fetch_add_explicit(&comm->stats.finished[op->args.call.coll], 1, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&comm->stats.failed, 1, memory_order_relaxed);
    nx_net_op_end(comm->net, &op->inflight);
    nx_op_finish(&op->op, op->status, &op->error);
}

/* With the lock: what has ended makes others ready. */
static void collect(struct nx_coll_op *op)
{
    const struct nx_sched *s = &op->plan->sched;

    while (op->finished_out != op->finished_in) {
        uint32_t step = op->finished[op->finished_out++];

        for (uint32_t i = s->succ_at[step]; i < s->succ_at[step + 1]; i++) {
            if (--op->waits[s->succ[i]] == 0)
                op->ready[op->ready_in++] = s->succ[i];
        }
    }
}

/* With the lock, which it gives up for good. */
static void run(struct nx_coll_op *op)
{
    bool end;

    if (op->running) {
        nx_unlock(&op->lock);
        return;
    }
    op->running = true;
    for (collect(op); op->status == NEXAR_OK && op->ready_out != op->ready_in; collect(op)) {
        uint32_t step = op->ready[op->ready_out++];
        nexar_status st;

        op->outstanding++;
        nx_unlock(&op->lock);
        st = nx_coll_step_start(op, step);
        if (st != NEXAR_OK && st != NEXAR_EAGAIN)
            nx_coll_fail(op, st, nx_last_error(), true);
        nx_lock(&op->lock);
        if (st != NEXAR_EAGAIN)
            op->outstanding--;
        if (st == NEXAR_OK)
            op->finished[op->finished_in++] = step;
        if (st != NEXAR_EAGAIN || op->waits[step] == NX_STEP_DONE)
            continue;
        op->waits[step] = NX_STEP_OUTSTANDING;
        if (op->status != NEXAR_OK) {
            /* It failed while this step began: whoever noticed may have passed this step by. */
            nx_unlock(&op->lock);
            nx_coll_step_cancel(op, step, op->status);
            nx_lock(&op->lock);
        }
    }
    op->running = false;
    end = !op->ended && op->outstanding == 0 && (op->status != NEXAR_OK || op->finished_out == op->plan->sched.count);
    if (end)
        op->ended = true;
    nx_unlock(&op->lock);
    if (end)
        finish(op);
}

void nx_coll_start(struct nx_coll_op *op)
{
    nx_lock(&op->lock);
    op->running = false;
    run(op);
}

void nx_coll_step_done(struct nx_coll_op *op, uint32_t step)
{
    nx_lock(&op->lock);
    op->waits[step] = NX_STEP_DONE;
    op->outstanding--;
    op->finished[op->finished_in++] = step;
    run(op);
}

void nx_coll_step_failed(struct nx_coll_op *op, uint32_t step, nexar_status status, const nexar_error *error)
{
    nx_coll_fail(op, status, error, true);
    nx_lock(&op->lock);
    op->waits[step] = NX_STEP_DONE;
    op->outstanding--;
    run(op);
}

static bool is_outstanding(struct nx_coll_op *op, uint32_t step)
{
    bool out;

    nx_lock(&op->lock);
    out = op->waits[step] == NX_STEP_OUTSTANDING;
    nx_unlock(&op->lock);
    return out;
}

void nx_coll_fail(struct nx_coll_op *op, nexar_status status, const nexar_error *error, bool tell)
{
    const struct nx_sched *s = &op->plan->sched;
    bool first;

    nx_lock(&op->lock);
    first = op->status == NEXAR_OK && !op->ended;
    if (first) {
        op->status = status;
        op->error = *error;
    }
    nx_unlock(&op->lock);
    if (!first)
        return;
    nx_op_hold(&op->op);
    if (tell)
        nx_coll_tell(op, status, error);
    for (uint32_t i = 0; i < s->count; i++) {
        if (is_outstanding(op, i))
            nx_coll_step_cancel(op, i, status);
    }
    nx_lock(&op->lock);
    run(op);
    nx_op_drop(&op->op);
}

/* ---- the op's class ---- */

static void cancel(struct nexar_op *base, nexar_status why)
{
    struct nx_coll_op *op = nx_container_of(base, struct nx_coll_op, op);
    nexar_error error;

    nx_coll_word_end(op, why, &error);
    nx_coll_fail(op, why, &error, true);
}

static void describe(struct nexar_op *base, char *text, size_t cap)
{
    struct nx_coll_op *op = nx_container_of(base, struct nx_coll_op, op);
    const struct nx_sched *s = &op->plan->sched;
    uint32_t done, first = nx_coll_waits_for(op);
    char title[64], step[96] = "nothing that comes from others";

    nx_coll_title(op, title, sizeof(title));
    nx_lock(&op->lock);
    done = op->finished_in;
    nx_unlock(&op->lock);
    if (first != UINT32_MAX)
        nx_sched_describe(s, first, step, sizeof(step));
    snprintf(text, cap, "%s: %u of %u steps done; waits for %s", title, done, s->count, step);
}

static const struct nx_op_class class = {
    .name = "collective", .cancel = cancel, .describe = describe, .release = release};

/* ---- the call ---- */

/* With the communicator's lock: numbers the operation and puts it among the running ones.  NEXAR_OK, or why it may not
 * begin. */
static nexar_status enter(nexar_comm *comm, struct nx_coll_op *op, const nexar_error **early)
{
    *early = NULL;
    if (comm->broken)
        return nx_fail_with(&comm->broken_error);
    op->announced.sequence = ++comm->sequence;
    nx_list_push_back(&comm->running, &op->link);
    for (uint32_t i = 0; i < NX_ABORTED_MAX; i++) {
        if (comm->aborted[i].sequence == op->announced.sequence)
            *early = &comm->aborted[i].error;
    }
    return NEXAR_OK;
}

static void prepare(nexar_comm *comm, struct nx_coll_op *op, const struct nx_coll_args *args, nx_time now,
                    nx_time deadline)
{
    const struct nx_sched *s = &op->plan->sched;

    op->args = *args;
    op->comm = comm;
    op->announced = (struct nx_coll_call){.call = nx_call_pack(&args->call), .count = args->count};
    nx_list_init(&op->announced.link);
    op->buf[NX_BUF_SEND] = (uint8_t *)(uintptr_t)args->send;
    op->buf[NX_BUF_RECV] = args->recv;
    op->buf[NX_BUF_SCRATCH] = op->scratch;
    nx_list_init(&op->link);
    nx_mutex_init(&op->lock, NX_LOCK_EXEC);
    op->finished_in = op->finished_out = op->ready_out = 0;
    op->ready_in = s->nready;
    op->outstanding = 0;
    op->running = true; /* until it starts, so that an early failure is only noted */
    op->ended = false;
    op->status = NEXAR_OK;
    if (s->count != 0) {
        memcpy(op->waits, s->waits, s->count);
        memcpy(op->ready, s->ready, s->nready * sizeof(uint32_t));
    }
    nx_comm_hold(comm);
    nx_op_init(&op->op, &class, comm->net->completions, now, deadline);
}

/* An op for the plan, from those left over or new. */
static nexar_status get_op(nexar_comm *comm, const struct nx_plan_key *key, size_t element, struct nx_coll_op **out)
{
    struct nx_plan *plan;
    nexar_status st;

    *out = NULL;
    nx_lock(&comm->lock);
    st = nx_plan_get(&comm->plans, key, &plan);
    if (st == NEXAR_OK)
        *out = take_idle(comm, plan, element);
    nx_unlock(&comm->lock);
    if (st != NEXAR_OK)
        return st;
    if (*out != NULL) {
        nx_plan_drop(plan); /* it has a reference of its own */
        return NEXAR_OK;
    }
    *out = allocate(plan, element);
    if (*out == NULL) {
        nx_plan_drop(plan);
        return nx_fail(NEXAR_ENOMEM, "no memory for the steps of a collective");
    }
    (*out)->plan = plan;
    return NEXAR_OK;
}

/* Undoes nx_op_init and nx_net_op_begin for an op that never began. */
static nexar_status give_up(struct nx_coll_op *op, nexar_status st)
{
    nexar_error error = *nx_last_error();

    nx_op_abandon(&op->op);
    release(&op->op);
    return st == NEXAR_OK ? st : nx_fail_with(&error);
}

nexar_status nx_coll_run(nexar_comm *comm, const struct nx_plan_key *key, const struct nx_coll_args *args,
                         const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_coll_op *op;
    const nexar_error *early;
    nexar_error error;
    nx_time now, deadline;
    uint64_t their_call, their_count;
    uint32_t peer;
    nexar_status st = nx_deadline(opts, comm->timeout, &now, &deadline);

    if (st == NEXAR_OK)
        st = get_op(comm, key, args->element, &op);
    if (st != NEXAR_OK)
        return st;
    prepare(comm, op, args, now, deadline);
    st = nx_net_op_begin(comm->net, &op->inflight, &op->op);
    if (st != NEXAR_OK)
        return give_up(op, st);
    nx_lock(&comm->lock);
    st = enter(comm, op, &early);
    if (early != NULL)
        error = *early;
    nx_unlock(&comm->lock);
    if (st != NEXAR_OK) {
        nx_net_op_end(comm->net, &op->inflight);
        return give_up(op, st);
    }
    if (!nx_scope_begin(&comm->net->lanes, comm->scope, &op->announced, &peer, &their_call, &their_count)) {
        nx_coll_word_mismatch(op, peer, their_call, their_count, &error);
        nx_coll_fail(op, NEXAR_EMISMATCH, &error, true);
    } else if (early != NULL) {
        nx_coll_fail(op, error.status, &error, false);
    } else if (atomic_load(&comm->lost) != 0) {
        nx_coll_word(op, atomic_load(&comm->lost) - 1, NEXAR_EPEER, &error);
        nx_coll_fail(op, NEXAR_EPEER, &error, true);
    } else if (atomic_load(&comm->net->closed)) {
        cancel(&op->op, NEXAR_ECLOSED); /* closing may have come by before it was among the running */
    }
    nx_coll_start(op);
    return nx_op_return(&op->op, op_out, NULL);
}
