/* coll/exec.c - takes a schedule through its steps.
 *
 * Owner: one thread at a time runs an operation (`running`); others that bring completions leave them in `finished` and
 * go.  Steps start without the lock.  A failed operation starts nothing more, and ends when nothing is outstanding:
 * only then is the caller's memory free. */
#include "coll/exec.h"

#include "coll/op.h"
#include "comm/dump.h"

#include <stdio.h>
#include <string.h>

/* ---- running ---- */

void nx_coll_finish(struct nx_coll_op *op)
{
    nexar_comm *comm = op->comm;
    bool others = false;

    if (op->status == NEXAR_OK)
        nx_coll_complete(op);
    if (op->job.near != NULL)
        others = nx_near_leave(op->job.near, op->job.k, op->status == NEXAR_OK ? &op->job : NULL);
    nx_scope_end(&comm->net->lanes, comm->scope, &op->announced, op->status == NEXAR_OK);
    nx_lock(&comm->lock);
    nx_list_remove(&op->link);
    nx_unlock(&comm->lock);
    if (op->status == NEXAR_OK && op->args.call.coll < NX_COLLS)
        atomic_fetch_add_explicit(&comm->stats.finished[op->args.call.coll], 1, memory_order_relaxed);
    else if (op->status != NEXAR_OK)
        atomic_fetch_add_explicit(&comm->stats.failed, 1, memory_order_relaxed);
    nx_op_record(&op->op, comm->net->recorder, op->status, op->error.peer, nx_now());
    if (op->status != NEXAR_OK)
        nx_dump_on_error(comm->net, &op->error);
    nx_net_op_end(comm->net, &op->inflight);
    nx_op_finish(&op->op, op->status, &op->error);
    if (others)
        nx_engine_attend();
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

    if (op->job.near != NULL) {
        nx_near_go(op);
        return;
    }
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
        nx_coll_finish(op);
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

bool nx_coll_fail(struct nx_coll_op *op, nexar_status status, const nexar_error *error, bool tell)
{
    const struct nx_sched *s = &op->plan->sched;
    bool first, well;

    nx_lock(&op->lock);
    well = op->status == NEXAR_OK && op->ended;
    first = op->status == NEXAR_OK && !op->ended;
    if (first) {
        op->status = status;
        op->error = *error;
    }
    nx_unlock(&op->lock);
    if (!first)
        return !well;
    nx_op_hold(&op->op);
    if (tell)
        nx_coll_tell(op, error);
    for (uint32_t i = 0; i < s->count; i++) {
        if (is_outstanding(op, i))
            nx_coll_step_cancel(op, i, status);
    }
    nx_lock(&op->lock);
    run(op);
    nx_op_drop(&op->op);
    return true;
}

/* ---- the op's class ---- */

static void cancel(struct nexar_op *base, nexar_status why)
{
    struct nx_coll_op *op = nx_container_of(base, struct nx_coll_op, op);
    nexar_error error;

    if (why == NEXAR_ETIMEDOUT && nx_coll_late(op))
        return;
    if (why == NEXAR_ETIMEDOUT && nx_op_verdict(base, &error))
        nx_coll_word_finish(op, &error);
    else
        nx_coll_word_end(op, why, &error);
    nx_coll_fail(op, why, &error, true);
}

static void describe(struct nexar_op *base, char *text, size_t cap)
{
    struct nx_coll_op *op = nx_container_of(base, struct nx_coll_op, op);
    const struct nx_sched *s = &op->plan->sched;
    uint32_t done, first = nx_coll_first_step(op), rank;
    char title[64], step[96] = "nothing that comes from others";
    const char *what;

    nx_coll_title(op, title, sizeof(title));
    if (op->job.near != NULL) {
        rank = nx_coll_waits_for(op, &what);
        if (rank != NEXAR_NO_RANK)
            snprintf(step, sizeof(step), "rank %u", rank);
        snprintf(text, cap, "%s: in shared memory; waits for %s", title, step);
        return;
    }
    nx_lock(&op->lock);
    done = op->finished_in;
    nx_unlock(&op->lock);
    if (first != UINT32_MAX)
        nx_sched_describe(s, first, step, sizeof(step));
    snprintf(text, cap, "%s: %u of %u steps done; waits for %s", title, done, s->count, step);
}

static void release(struct nexar_op *base)
{
    nx_coll_release(nx_container_of(base, struct nx_coll_op, op));
}

static const struct nx_op_class class = {
    .name = "collective", .cancel = cancel, .describe = describe, .release = release};

/* ---- the call ---- */

const struct nx_algorithm *nx_coll_choose(nexar_comm *comm, enum nx_coll coll, const struct nx_call *call,
                                          uint64_t nbytes)
{
    if (comm->net->shm != NULL && !atomic_load_explicit(&comm->near_known, memory_order_acquire)) {
        nx_lock(&comm->lock);
        nx_near_of(comm, false);
        nx_unlock(&comm->lock);
    }
    if (comm->near != NULL)
        return nx_select_near(comm->select, coll, comm->size, nbytes);
    return nx_select_algorithm(comm->select, coll, comm->size, nbytes,
                               comm->where | (nx_reduce_any_order(call->op, call->dtype) ? NX_ANY_ORDER : 0));
}

/* What is wrong with an operation before it has begun. */
struct early {
    bool misfit; /* a message that is there already: */
    uint32_t peer;
    uint64_t call, count;
    bool aborted; /* by another rank: */
    nexar_error error;
};

/* Numbers the operation and puts it among the running ones, at once for the lanes too: else what comes for it would be
 * taken for something that has ended, if a later one begins first.  NEXAR_OK, or why it may not begin. */
static nexar_status enter(nexar_comm *comm, struct nx_coll_op *op, struct early *early)
{
    struct nx_aborted *aborted;
    nexar_status st = NEXAR_OK;

    early->misfit = early->aborted = false;
    nx_lock(&comm->lock);
    if (op->job.near != NULL && op->job.k == 0)
        op->job.k = nx_near_enter(op->job.near);
    if (op->job.near != NULL && op->job.k == 0) {
        st = nx_fail(NEXAR_ENOMEM, "no memory for an operation among so many");
    } else if (comm->broken && comm->sequence + 1 >= comm->broken_error.sequence) {
        st = nx_fail_with(&comm->broken_error);
        if (comm->broken_error.op[0] == '\0')
            snprintf(nx_last_error()->op, sizeof(nx_last_error()->op), "%s", nx_coll_name(op->args.call.coll));
    } else {
        op->announced.sequence = op->job.k != 0 && op->job.sequence != 0 ? op->job.sequence : ++comm->sequence;
        op->job.sequence = op->announced.sequence;
        nx_op_tell(&op->op, NX_RECORD_COLL, comm->id, comm->sequence, op->announced.call, op->announced.count);
        nx_list_push_back(&comm->running, &op->link);
        nx_coll_watch(comm, op->op.begun);
        early->misfit =
            !nx_scope_begin(&comm->net->lanes, comm->scope, &op->announced, &early->peer, &early->call, &early->count);
        aborted = nx_aborted_find(comm, comm->sequence);
        early->aborted = aborted != NULL;
        if (aborted != NULL) {
            early->error = aborted->error;
            nx_aborted_free(comm, aborted);
        }
    }
    nx_unlock(&comm->lock);
    return st;
}

static void prepare(nexar_comm *comm, struct nx_coll_op *op, const struct nx_coll_args *args,
                    const struct nx_near_job *job, nx_time now, nx_time deadline)
{
    const struct nx_sched *s = &op->plan->sched;

    op->args = *args;
    op->comm = comm;
    op->job = *job;
    op->job.args = &op->args;
    op->job.shape = &op->plan->key.shape;
    op->announced = (struct nx_coll_call){.call = nx_call_pack(&args->call), .count = args->count};
    nx_list_init(&op->announced.link);
    op->buf[NX_BUF_SEND] = (uint8_t *)(uintptr_t)args->send;
    op->buf[NX_BUF_RECV] = args->recv;
    op->buf[NX_BUF_SCRATCH] = op->scratch;
    op->buf[NX_BUF_RESIDUAL] = args->residual;
    nx_list_init(&op->link);
    nx_mutex_init(&op->lock, NX_LOCK_EXEC);
    op->finished_in = op->finished_out = op->ready_out = 0;
    op->ready_in = s->nready;
    op->outstanding = 0;
    op->running = true; /* until it starts, so that an early failure is only noted */
    op->ended = false;
    op->late = false;
    op->status = NEXAR_OK;
    if (s->count != 0) {
        memcpy(op->waits, s->waits, s->count);
        memcpy(op->ready, s->ready, s->nready * sizeof(uint32_t));
    }
    nx_comm_hold(comm);
    nx_op_init(&op->op, &class, comm->net->completions, now, deadline);
}

/* Undoes nx_op_init for an op that never began. */
static nexar_status give_up(struct nx_coll_op *op)
{
    nexar_error error = *nx_last_error();

    if (op->job.k != 0 && op->job.sequence != 0) {
        op->announced.sequence = op->job.sequence;
        nx_coll_gave_up(op->comm, &op->announced, &error); /* others have seen what was called */
    }
    if (op->job.k != 0) {
        nx_near_take_back_now(&op->job);
        nx_near_leave(op->job.near, op->job.k, NULL);
    }
    nx_op_abandon(&op->op);
    nx_coll_release(op);
    return nx_fail_with(&error);
}

/* Makes an operation of the call; *out NULL: it failed. */
static nexar_status make_op(nexar_comm *comm, const struct nx_plan_key *key, const struct nx_coll_args *args,
                            struct nx_near_job *job, const nexar_call_opts *opts, struct early *early,
                            struct nx_coll_op **out)
{
    struct nx_coll_op *op;
    nx_time now, deadline;
    nexar_status st = nx_deadline(opts, comm->timeout, &now, &deadline);

    *out = NULL;
    if (st != NEXAR_OK) {
        nx_pieces_free(args->pieces);
        return st;
    }
    st = nx_coll_op_get(comm, key, args->element, &op);
    if (st != NEXAR_OK) {
        nx_pieces_free(args->pieces);
        return nx_coll_missed(comm, &args->call, args->count, job->k != 0 ? job : NULL);
    }
    prepare(comm, op, args, job, now, deadline);
    st = nx_net_op_begin(comm->net, &op->inflight, &op->op, comm->id);
    if (st != NEXAR_OK)
        return give_up(op);
    st = enter(comm, op, early);
    if (st != NEXAR_OK) {
        nx_net_op_end(comm->net, &op->inflight);
        return give_up(op);
    }
    *out = op;
    return NEXAR_OK;
}

nexar_status nx_coll_run(nexar_comm *comm, const struct nx_plan_key *key, const struct nx_coll_args *args,
                         const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_near_job job = {.args = args, .shape = &key->shape, .coll = key->algorithm->coll};
    struct nx_coll_op *op;
    struct early early;
    nexar_error error;
    nexar_status st;

    if (key->algorithm->build == nx_build_near) {
        job.near = comm->near;
        job.call = nx_call_pack(&args->call);
        nx_near_cut(&job);
        if ((job.chunks <= NX_NEAR_AT_ONCE || job.lends) && op_out == NULL && opts == NULL && nx_near_try(comm, &job))
            return NEXAR_OK;
    }
    st = make_op(comm, key, args, &job, opts, &early, &op);
    if (job.k != 0)
        nx_near_handed(job.near);
    if (op == NULL)
        return st;
    if (early.misfit) {
        nx_coll_word_mismatch(op, early.peer, early.call, early.count, &error);
        nx_coll_fail(op, NEXAR_EMISMATCH, &error, true);
    } else if (early.aborted) {
        nx_coll_word_finish(op, &early.error);
        nx_coll_fail(op, early.error.status, &early.error, false);
    } else if (atomic_load(&comm->lost) != 0) {
        nx_coll_word(op, atomic_load(&comm->lost) - 1, NEXAR_EPEER, &error);
        nx_coll_fail(op, NEXAR_EPEER, &error, true);
    } else if (atomic_load(&comm->net->closed) || atomic_load(&comm->closed)) {
        cancel(&op->op, NEXAR_ECLOSED); /* closing may have come by before it was among the running */
    }
    nx_coll_start(op);
    return nx_op_return(&op->op, op_out, NULL);
}
