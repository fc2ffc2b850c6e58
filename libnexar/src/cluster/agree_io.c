/* cluster/agree_io.c - agree(): the public calls.
 *
 * Owner: the engine, but for starting and taking.  One is open at a time; what was decided while nobody waited is kept
 * for the next call, so that one that ran out of time can be gone on with. */
#include "cluster/view_io.h"

#include "base/mem.h"

static nexar_status begin(struct nx_view *v)
{
    struct nx_members *members = nx_view_members(v);

    for (uint32_t i = 0; i < members->net->config.size; i++) {
        if (nx_members_has(members, i) && nx_comm_rank_of(v->comm, i) == NEXAR_NO_RANK) {
            nx_fail(NEXAR_ENOTSUP, "agree: this communicator does not have all members of the job");
            nx_error_hint(nx_last_error(), "call it on the world, or on what was shrunk from it");
            return NEXAR_ENOTSUP;
        }
    }
    if (members->agreeing)
        return nx_fail(NEXAR_EINVAL, "agree: another one is open on this rank");
    v->agreeing = members->agreeing = true;
    nx_members_agree(members, v->flag);
    return NEXAR_OK;
}

static void look(struct nx_view *v)
{
    struct nx_members *members = nx_view_members(v);
    struct nx_entry *e;

    if (members->agreed == NULL) {
        (void)nx_view_cut_off(v);
        return;
    }
    v->ranks = nx_alloc(v->comm->size * sizeof(*v->ranks));
    if (v->ranks == NULL) {
        nx_view_finish_without_memory(v); /* the decision stays for the next call */
        return;
    }
    e = nx_members_take(members);
    v->agreed = (nexar_agreed){.size = sizeof(v->agreed), .value = e->result, .epoch = e->epoch};
    for (uint32_t i = 0; i < v->comm->size; i++) {
        if (nx_entry_rank(e, &members->uid[nx_comm_world(v->comm, i)]) == NX_NO_RANK_IN)
            v->ranks[v->agreed.missing++] = i;
    }
    nx_entry_drop(e);
    nx_view_finish(v, NEXAR_OK, NULL);
}

static void late(const struct nx_view *v, double seconds, nexar_error *error)
{
    (void)v;
    nx_error_set(error, NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "agree: not all members have called it after %.3g s", seconds);
    nx_error_hint(error, "it is still open with its flag: the next call goes on with it");
}

static const struct nx_view_kind kind = {.name = "agree", .begin = begin, .look = look, .late = late};

nexar_status nexar_agree_start(nexar_comm *comm, uint64_t flag, const nexar_call_opts *opts, nexar_op **op_out)
{
    return nx_view_start(comm, &kind, flag, opts, op_out);
}

nexar_status nexar_agree_take(nexar_op *op, nexar_agreed *out, uint32_t *ranks, size_t cap)
{
    struct nx_view *v = nx_view_of(op, &kind);

    if (v == NULL || out == NULL || out->size < sizeof(*out) || (ranks == NULL && cap != 0))
        return nx_fail(NEXAR_EINVAL, "agree_take: the op is no agree, or there is no place for its result");
    if (!nx_op_done(op))
        return NEXAR_EAGAIN;
    if (op->status != NEXAR_OK)
        return nx_fail(NEXAR_EINVAL, "agree_take: it has failed, there is no result");
    *out = v->agreed;
    for (uint32_t i = 0; i < v->agreed.missing && i < cap; i++)
        ranks[i] = v->ranks[i];
    return NEXAR_OK;
}

nexar_status nexar_comm_agree(nexar_comm *comm, uint64_t flag, const nexar_call_opts *opts, nexar_agreed *out,
                              uint32_t *ranks, size_t cap)
{
    nexar_error error;
    nexar_status st;
    nexar_op *op;

    if (out == NULL || out->size < sizeof(*out) || (ranks == NULL && cap != 0))
        return nx_fail(NEXAR_EINVAL, "agree: there is no place for its result");
    st = nx_view_start(comm, &kind, flag, opts, &op);
    if (st != NEXAR_OK)
        return st;
    st = nx_view_wait(op);
    if (st == NEXAR_OK)
        st = nexar_agree_take(op, out, ranks, cap);
    error = *nx_last_error();
    nexar_op_close(op);
    return st == NEXAR_OK ? st : nx_fail_with(&error);
}
