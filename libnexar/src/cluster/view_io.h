/* cluster/view_io.h - an op that waits for what the members agree on: what agree() and shrink() have in common. */
#ifndef NX_CLUSTER_VIEW_IO_H
#define NX_CLUSTER_VIEW_IO_H

#include "nexar/cluster.h"

#include "base/op.h"
#include "cluster/member_io.h"
#include "comm/comms.h"

struct nx_view;

struct nx_view_kind {
    const char *name; /* of the call */
    /* Engine.  Before the first look: NEXAR_OK, or this thread's last error. */
    nexar_status (*begin)(struct nx_view *view);
    /* Engine.  Ends it, if there is something to end it with. */
    void (*look)(struct nx_view *view);
    /* Engine.  Its time is over. */
    void (*late)(const struct nx_view *view, double seconds, nexar_error *error);
};

struct nx_view {
    struct nexar_op op;
    struct nx_inflight inflight;
    const struct nx_view_kind *kind;
    nexar_comm *comm; /* a reference */
    uint64_t flag;
    struct nx_task end; /* holds a reference while it is queued */
    _Atomic int why;    /* it is to end early: nexar_status; 0: it is not */
    /* engine */
    struct nx_members_wait wait;
    bool over, agreeing;
    /* before the op is done, const after it */
    nexar_agreed agreed;
    uint64_t id;     /* of the new communicator */
    uint32_t n, me;  /* its ranks, and this one's */
    uint32_t *ranks; /* owned; its world ranks; or of agree() those who are missing, in the communicator */
    /* atomic */
    _Atomic bool taken;
};

/* Begins it on the engine, where it may end at once.  With NEXAR_OK *out is the user's, to be armed or waited for. */
nexar_status nx_view_start(nexar_comm *comm, const struct nx_view_kind *kind, uint64_t flag,
                           const nexar_call_opts *opts, nexar_op **op_out);
/* NULL: the op is none of this kind. */
struct nx_view *nx_view_of(nexar_op *op, const struct nx_view_kind *kind);
/* Waits, through signals, until it is done. */
nexar_status nx_view_wait(nexar_op *op);

static inline struct nx_members *nx_view_members(const struct nx_view *view)
{
    return view->comm->comms->members;
}

/* Engine.  The op ends; `error` may be NULL with NEXAR_OK. */
void nx_view_finish(struct nx_view *view, nexar_status status, nexar_error *error);
void nx_view_finish_without_memory(struct nx_view *view);
/* Engine.  Ends it and returns true if this rank cannot go on: it was excluded, or too few are in reach. */
bool nx_view_cut_off(struct nx_view *view);
/* Who of the communicator is gone: "1, 3". */
void nx_view_name_gone(const nexar_comm *comm, char *text, size_t cap);

#endif
