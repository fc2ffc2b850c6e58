/* cluster/shrink_io.c - a communicator of the ranks that are left: the public calls.
 *
 * Owner: the engine, but for starting and taking, where the communicator is made.  All who hold the entry in force
 * compute the same ranks and the same id; its rank 0 makes it first and says so, and the others wait for that alone. */
#include "cluster/view_io.h"

#include "base/call.h"
#include "base/mem.h"
#include "comm/abort.h"
#include "identity/digest.h"

#include <string.h>

/* Ids of communicators that were shrunk; no others have this bit. */
#define SHRUNK (UINT64_C(1) << 63)

/* The same on all who shrink this communicator, or one that was shrunk from it, in this epoch; next time another. */
static nexar_status shrunk_id(const struct nx_view *v, uint64_t *id)
{
    struct nx_members *members = nx_view_members(v);
    const struct nx_entry *e = nx_members_entry(members);
    uint8_t digest[NX_SHA256_SIZE];
    uint64_t root = v->comm->root, times = nx_members_times(members, root);
    struct nx_span spans[] = {{e->digest, sizeof(e->digest)}, {&root, sizeof(root)}, {&times, sizeof(times)}};
    nexar_status st = nx_sha256_spans(spans, 3, digest);

    memcpy(id, digest, sizeof(*id));
    *id |= SHRUNK;
    if (*id == UINT64_MAX) /* it means other things */
        *id = SHRUNK;
    return st;
}

static void look(struct nx_view *v)
{
    struct nx_members *members = nx_view_members(v);
    const nexar_comm *comm = v->comm;

    if (nx_view_cut_off(v))
        return;
    for (uint32_t i = 0; i < comm->size; i++) {
        if (nx_members_doubted(members, nx_comm_world(comm, i)))
            return; /* not agreed yet */
    }
    if (v->ranks == NULL)
        v->ranks = nx_alloc(comm->size * sizeof(*v->ranks));
    if (v->ranks == NULL || shrunk_id(v, &v->id) != NEXAR_OK) {
        nx_view_finish_without_memory(v);
        return;
    }
    v->n = 0;
    for (uint32_t i = 0; i < comm->size; i++) {
        uint32_t world = nx_comm_world(comm, i);

        if (i == comm->rank)
            v->me = v->n;
        if (nx_members_has(members, world))
            v->ranks[v->n++] = world;
    }
    /* What its ranks share in memory is made by its rank 0, before another looks for it. */
    if (v->me != 0 && !nx_members_ready(members, v->ranks[0], v->id))
        return;
    if (nx_members_count(members, comm->root))
        nx_view_finish(v, NEXAR_OK, NULL);
    else
        nx_view_finish_without_memory(v);
}

/* Who waits for a rank that shrinks already, and not for the one that is lost, hears of it: nobody comes any more. */
static nexar_status begin(struct nx_view *v)
{
    struct nx_members *members = nx_view_members(v);
    nexar_comm *comm = v->comm;

    for (uint32_t i = 0; i < comm->size; i++) {
        uint32_t world = nx_comm_world(comm, i);

        if (i != comm->rank && (!nx_members_has(members, world) || nx_members_doubted(members, world))) {
            nx_comm_give_up(comm, i);
            break;
        }
    }
    return NEXAR_OK;
}

static void late(const struct nx_view *v, double seconds, nexar_error *error)
{
    char gone[160];

    nx_view_name_gone(v->comm, gone, sizeof(gone));
    if (v->n == 0)
        nx_error_set(error, NEXAR_ETIMEDOUT, NEXAR_NO_RANK,
                     "shrink: after %.3g s the members have not agreed who is left; gone: %s", seconds, gone);
    else
        nx_error_set(error, NEXAR_ETIMEDOUT, nx_comm_rank_of(v->comm, v->ranks[0]),
                     "shrink: after %.3g s rank %u has not called it", seconds, nx_comm_rank_of(v->comm, v->ranks[0]));
}

static const struct nx_view_kind kind = {.name = "shrink", .begin = begin, .look = look, .late = late};

nexar_status nexar_shrink_start(nexar_comm *comm, const nexar_call_opts *opts, nexar_op **op_out)
{
    return nx_view_start(comm, &kind, 0, opts, op_out);
}

static void tell_others(void *arg)
{
    struct nx_view *v = arg;

    for (uint32_t i = 1; i < v->n; i++)
        nx_members_tell_shrunk(nx_view_members(v), v->ranks[i], v->id);
}

nexar_status nexar_shrink_take(nexar_op *op, nexar_comm **out)
{
    struct nx_view *v = nx_view_of(op, &kind);
    uint32_t *world;
    nexar_status st;

    if (out != NULL)
        *out = NULL;
    if (v == NULL || out == NULL)
        return nx_fail(NEXAR_EINVAL, "shrink_take: the op is no shrink, or there is no place for the communicator");
    if (!nx_op_done(op))
        return NEXAR_EAGAIN;
    st = nx_comm_check(v->comm, "shrink", true);
    if (st != NEXAR_OK)
        return st;
    if (op->status != NEXAR_OK || atomic_exchange(&v->taken, true))
        return nx_fail(NEXAR_EINVAL, "shrink_take: it has %s", op->status == NEXAR_OK ? "been taken" : "failed");
    world = nx_alloc(v->n * sizeof(*world));
    if (world == NULL)
        return nx_fail(NEXAR_ENOMEM, "shrink: no memory for a communicator of %u ranks", v->n);
    memcpy(world, v->ranks, v->n * sizeof(*world));
    st = nx_comms_open(v->comm->comms, v->id, v->me, v->n, world, out);
    if (st != NEXAR_OK)
        return st;
    (*out)->root = v->comm->root;
    if (v->me == 0)
        nx_call(tell_others, v);
    return NEXAR_OK;
}

nexar_status nexar_comm_shrink(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out)
{
    nexar_error error;
    nexar_status st;
    nexar_op *op;

    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "shrink: there is no place for the communicator");
    *out = NULL;
    st = nx_view_start(comm, &kind, 0, opts, &op);
    if (st != NEXAR_OK)
        return st;
    st = nx_view_wait(op);
    if (st == NEXAR_OK)
        st = nexar_shrink_take(op, out);
    error = *nx_last_error();
    nexar_op_close(op);
    return st == NEXAR_OK ? st : nx_fail_with(&error);
}
