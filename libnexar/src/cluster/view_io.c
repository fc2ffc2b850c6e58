/* cluster/view_io.c - an op that waits for what the members agree on: begins, looks and ends.
 *
 * Owner: the engine, on which it begins, looks and ends; whoever cancels it only posts that there.  What it waits for,
 * and what it makes of it, is in agree_io.c and shrink_io.c; what is decided, in member.h. */
#include "cluster/view_io.h"

#include "base/call.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- the end; engine ---- */

void nx_view_finish(struct nx_view *v, nexar_status status, nexar_error *error)
{
    if (v->over)
        return;
    v->over = true;
    nx_members_unwait(&v->wait);
    if (v->agreeing)
        nx_view_members(v)->agreeing = false;
    if (status != NEXAR_OK) {
        snprintf(error->op, sizeof(error->op), "%s", v->kind->name);
        error->comm = v->comm->id;
        error->elapsed_ns = (uint64_t)(nx_now() - v->op.begun);
    }
    nx_net_op_end(v->comm->net, &v->inflight);
    nx_op_finish(&v->op, status, error);
}

void nx_view_name_gone(const nexar_comm *comm, char *text, size_t cap)
{
    size_t at = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < comm->size && at < cap - 16; i++) {
        if (i != comm->rank && nx_lane_peer_status(&comm->net->lanes, nx_comm_world(comm, i)) != NEXAR_OK)
            at += (size_t)snprintf(text + at, cap - at, "%s%u", at == 0 ? "" : ", ", i);
    }
}

bool nx_view_cut_off(struct nx_view *v)
{
    struct nx_members *members = nx_view_members(v);
    const char *call = v->kind->name;
    nexar_error error;
    char gone[160];

    if (nx_members_excluded(members)) {
        nx_error_set(&error, NEXAR_EPEER, v->comm->rank,
                     "%s: this rank is no member of the job any more: the others did not hear it, and went on without",
                     call);
        nx_error_hint(&error, "end this process; it may join again as a new one");
    } else if (members->is_short) {
        nx_view_name_gone(v->comm, gone, sizeof(gone));
        nx_error_set(&error, NEXAR_EQUORUM, NEXAR_NO_RANK,
                     "%s: too few members are in reach to go on: of %u ranks, %s %s silent", call, v->comm->size, gone,
                     strchr(gone, ',') != NULL ? "are" : "is");
        nx_error_hint(&error, "the others may have gone on; end this process, or restart the job");
    } else {
        return false;
    }
    nx_view_finish(v, error.status, &error);
    return true;
}

void nx_view_finish_without_memory(struct nx_view *v)
{
    nexar_error error;

    nx_error_set(&error, NEXAR_ENOMEM, NEXAR_NO_RANK, "%s: no memory for %u ranks", v->kind->name, v->comm->size);
    nx_view_finish(v, NEXAR_ENOMEM, &error);
}

static void end_early(struct nx_view *v, nexar_status why)
{
    nexar_error error;

    if (!nx_op_verdict(&v->op, &error)) {
        if (why == NEXAR_ETIMEDOUT)
            v->kind->late(v, (double)(nx_now() - v->op.begun) / 1e9, &error);
        else
            nx_error_set(&error, why, NEXAR_NO_RANK, "%s: %s", v->kind->name, nexar_status_text(why));
    }
    nx_view_finish(v, error.status, &error);
}

/* ---- the op ---- */

static void look(struct nx_members_wait *wait)
{
    struct nx_view *v = nx_container_of(wait, struct nx_view, wait);

    if (!v->over)
        v->kind->look(v);
}

static void end(struct nx_task *task)
{
    struct nx_view *v = nx_container_of(task, struct nx_view, end);

    if (!v->over)
        end_early(v, (nexar_status)atomic_load(&v->why));
    nx_op_drop(&v->op);
}

static void cancel(struct nexar_op *op, nexar_status why)
{
    struct nx_view *v = nx_container_of(op, struct nx_view, op);
    int none = 0;

    if (!atomic_compare_exchange_strong(&v->why, &none, why))
        return;
    nx_op_hold(op);
    if (!nx_engine_post(&v->end))
        nx_op_drop(op);
}

static void describe(struct nexar_op *op, char *text, size_t cap)
{
    struct nx_view *v = nx_container_of(op, struct nx_view, op);
    char where[48];

    nx_comm_text(v->comm->id, where, sizeof(where));
    snprintf(text, cap, "%s%s: waiting for the members to agree", v->kind->name, where);
}

static void release(struct nexar_op *op)
{
    struct nx_view *v = nx_container_of(op, struct nx_view, op);

    nx_comm_drop(v->comm);
    nx_free(v->ranks);
    nx_free(v);
}

static const struct nx_op_class view_class = {
    .name = "view", .cancel = cancel, .describe = describe, .release = release};

struct nx_view *nx_view_of(nexar_op *op, const struct nx_view_kind *kind)
{
    struct nx_view *v = op != NULL && op->class == &view_class ? nx_container_of(op, struct nx_view, op) : NULL;

    return v != NULL && v->kind == kind ? v : NULL;
}

/* ---- the beginning ---- */

static void begin(void *arg)
{
    struct nx_view *v = arg;

    if (v->over)
        return; /* it was cancelled before it began */
    if (v->kind->begin(v) == NEXAR_OK)
        nx_members_wait(nx_view_members(v), &v->wait);
    else
        nx_view_finish(v, nx_last_error()->status, nx_last_error());
}

nexar_status nx_view_start(nexar_comm *comm, const struct nx_view_kind *kind, uint64_t flag,
                           const nexar_call_opts *opts, nexar_op **op_out)
{
    nexar_status st = nx_comm_check(comm, kind->name, true);
    nx_time now, deadline;
    struct nx_view *v;

    if (op_out == NULL)
        return nx_fail(NEXAR_EINVAL, "%s: there is nowhere to put the op", kind->name);
    *op_out = NULL;
    if (st == NEXAR_OK)
        st = nx_deadline(opts, comm->timeout, &now, &deadline);
    if (st != NEXAR_OK)
        return st;
    v = nx_calloc(1, sizeof(*v));
    if (v == NULL)
        return nx_fail(NEXAR_ENOMEM, "%s: no memory for the operation", kind->name);
    v->comm = comm;
    v->kind = kind;
    v->flag = flag;
    v->agreed.size = sizeof(v->agreed);
    nx_task_init(&v->end, end);
    nx_list_init(&v->wait.link);
    v->wait.look = look;
    nx_op_init(&v->op, &view_class, comm->net->completions, now, deadline);
    st = nx_net_op_begin(comm->net, &v->inflight, &v->op, comm->id);
    if (st != NEXAR_OK) {
        nx_op_abandon(&v->op);
        nx_free(v);
        return st;
    }
    nx_comm_hold(comm);
    nx_call(begin, v); /* it may block here: this was checked */
    return nx_op_return(&v->op, op_out, NULL);
}

nexar_status nx_view_wait(nexar_op *op)
{
    nexar_status st;

    do
        st = nexar_op_wait(op, NEXAR_FOREVER);
    while (st == NEXAR_EINTR);
    return st;
}
