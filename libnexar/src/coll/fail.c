/* coll/fail.c - collectives that go wrong: in words, to the other ranks, from the other ranks.
 *
 * Owner: any thread; the communicator's lock for its lists.  A mismatch breaks the communicator: nobody can know any
 * more which call belongs to which. */
#include "coll/exec.h"

#include "base/log.h"
#include "coll/op.h"

#include <stdio.h>
#include <string.h>

/* ---- words ---- */

void nx_coll_title(const struct nx_coll_op *op, char *text, size_t cap)
{
    snprintf(text, cap, "%s #%llu", nx_coll_name(op->args.call.coll), (unsigned long long)op->announced.sequence);
}

uint32_t nx_coll_waits_for(struct nx_coll_op *op)
{
    const struct nx_sched *s = &op->plan->sched;
    uint32_t step = 0;

    nx_lock(&op->lock);
    while (step < s->count && (op->waits[step] != NX_STEP_OUTSTANDING || s->steps[step].kind == NX_STEP_SEND))
        step++;
    nx_unlock(&op->lock);
    return step < s->count ? step : UINT32_MAX;
}

static void finish_error(struct nx_coll_op *op, nexar_error *error)
{
    snprintf(error->op, sizeof(error->op), "%s", nx_coll_name(op->args.call.coll));
    error->comm = op->comm->id;
    error->sequence = op->announced.sequence;
    error->elapsed_ns = (uint64_t)(nx_now() - op->op.begun);
}

/* "rank 3 (10.0.0.7:41234)" */
static void rank_text(nexar_comm *comm, uint32_t world, char *text, size_t cap)
{
    char address[64] = "";
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(comm->net->peer[world], &st);

    if (conn != NULL)
        nx_conn_address(conn, address, sizeof(address));
    nx_conn_drop(conn);
    snprintf(text, cap, "rank %u%s%s%s", nx_comm_rank_of(comm, world), address[0] != '\0' ? " (" : "", address,
             address[0] != '\0' ? ")" : "");
}

void nx_coll_word(struct nx_coll_op *op, uint32_t peer, nexar_status status, nexar_error *error)
{
    uint32_t rank = nx_comm_rank_of(op->comm, peer);
    char title[64], who[96];

    nx_coll_title(op, title, sizeof(title));
    rank_text(op->comm, peer, who, sizeof(who));
    if (status == NEXAR_EPEER || status == NEXAR_ECLOSED) {
        if (nx_lane_peer_status(&op->comm->net->lanes, peer) != NEXAR_OK)
            nx_peer_fail(op->comm->net->peer[peer]);
        else
            nx_fail(NEXAR_EPEER, "the connection to %s is gone", who);
        nx_error_set(error, NEXAR_EPEER, rank, "%s: %s", title, nexar_last_error());
        nx_error_hint(error, "that rank takes no part any more; go on without it, or start the job again");
    } else if (status == NEXAR_EPROTO) {
        nx_error_set(error, status, rank, "%s: %s sent a message of another length than the schedule says", title, who);
    } else if (status == NEXAR_ENOTSUP) {
        nx_error_set(error, status, rank, "%s: %s speaks nexar/1, which has no collectives", title, who);
    } else {
        nx_error_set(error, status, rank, "%s: %s: %s", title, who, nexar_status_text(status));
    }
    finish_error(op, error);
}

void nx_coll_word_mismatch(struct nx_coll_op *op, uint32_t peer, uint64_t call, uint64_t count, nexar_error *error)
{
    uint64_t ours = op->announced.call;
    bool same = (call & ~UINT64_C(0xff000000)) == (ours & ~UINT64_C(0xff000000)) && count == op->announced.count;
    char title[64], mine[128], theirs[128];

    nx_coll_title(op, title, sizeof(title));
    nx_call_text(ours, op->announced.count, same, mine, sizeof(mine));
    nx_call_text(call, count, same, theirs, sizeof(theirs));
    nx_error_set(error, NEXAR_EMISMATCH, nx_comm_rank_of(op->comm, peer),
                 "%s: rank %u called %s as its collective #%llu, rank %u called %s", title,
                 nx_comm_rank_of(op->comm, peer), theirs, (unsigned long long)op->announced.sequence, op->comm->rank,
                 mine);
    nx_error_hint(error, same ? "give all ranks the same NEXAR_COLL_TUNE"
                              : "make the same calls in the same order on all ranks of a communicator");
    finish_error(op, error);
}

void nx_coll_word_end(struct nx_coll_op *op, nexar_status why, nexar_error *error)
{
    const struct nx_sched *s = &op->plan->sched;
    uint32_t first = nx_coll_waits_for(op), rank = NEXAR_NO_RANK;
    double elapsed = (double)(nx_now() - op->op.begun) / 1e9;
    char title[64], who[96] = "nobody";

    nx_coll_title(op, title, sizeof(title));
    if (first != UINT32_MAX) {
        rank = s->steps[first].peer;
        rank_text(op->comm, nx_comm_world(op->comm, rank), who, sizeof(who));
    }
    if (why == NEXAR_ETIMEDOUT) {
        nx_error_set(error, why, rank, "%s: timed out after %.3g s, waiting for %s", title, elapsed, who);
        nx_error_hint(error, "see whether all ranks make this call; if they do, give it more time");
    } else {
        nx_error_set(error, why, NEXAR_NO_RANK, "%s: %s on rank %u", title, nexar_status_text(why), op->comm->rank);
    }
    finish_error(op, error);
}

/* ---- to the others ---- */

void nx_coll_tell(struct nx_coll_op *op, nexar_status status, const nexar_error *error)
{
    nexar_comm *comm = op->comm;
    struct nx_message m = {.kind = NX_KIND_OP_ABORTED};
    char reason[sizeof(error->text)];

    if (status == NEXAR_EMISMATCH) {
        nx_lock(&comm->lock);
        comm->broken = true;
        comm->broken_error = *error;
        nx_unlock(&comm->lock);
    }
    /* Texts travel as UTF-8, and one that was cut may end inside a character. */
    snprintf(reason, sizeof(reason), "%s", error->text);
    for (char *c = reason; *c != '\0'; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    m.op_aborted = (struct nx_msg_op_aborted){.status = (uint16_t)-status,
                                              .rank = error->peer,
                                              .comm = comm->id,
                                              .sequence = op->announced.sequence,
                                              .call = op->announced.call,
                                              .count = op->announced.count,
                                              .reason = nx_text(reason)};
    for (uint32_t i = 0; i < comm->size; i++) {
        nexar_conn *conn;
        nexar_status st;

        if (i == comm->rank)
            continue;
        conn = nx_peer_conn(comm->net->peer[nx_comm_world(comm, i)], &st);
        if (conn != NULL && nx_conn_control(conn, &m, false) != NEXAR_OK)
            nx_debug("rank %u was not told: %s", i, nexar_last_error());
        nx_conn_drop(conn);
    }
    nx_debug("%s", error->text);
}

/* ---- from the others ---- */

struct nx_coll_op *nx_coll_find(nexar_comm *comm, uint64_t sequence)
{
    struct nx_coll_op *found = NULL;

    nx_lock(&comm->lock);
    nx_list_for_each_safe(pos, tmp, &comm->running)
    {
        struct nx_coll_op *op = nx_container_of(pos, struct nx_coll_op, link);

        if (op->announced.sequence == sequence) {
            nx_op_hold(&op->op);
            found = op;
            break;
        }
    }
    nx_unlock(&comm->lock);
    return found;
}

void nx_coll_mismatch(void *owner, uint32_t peer, uint64_t sequence, uint64_t call, uint64_t count)
{
    nexar_comm *comm = owner;
    struct nx_coll_op *op = nx_coll_find(comm, sequence);
    nexar_error error;

    if (op == NULL)
        return; /* it has failed already */
    nx_coll_word_mismatch(op, peer, call, count, &error);
    nx_coll_fail(op, NEXAR_EMISMATCH, &error, true);
    nx_op_drop(&op->op);
}

/* What a rank says of an operation, as an error of our own. */
static void word_aborted(nexar_comm *comm, uint32_t peer, const struct nx_msg_op_aborted *a, nexar_error *error)
{
    int status = -(int)a->status;

    if (strcmp(nexar_status_name((nexar_status)status), "?") == 0 || status == NEXAR_OK)
        status = NEXAR_EPROTO;
    nx_error_set(error, (nexar_status)status, a->rank < comm->size ? a->rank : NEXAR_NO_RANK,
                 "%.*s (reported by rank %u)",
                 (int)(a->reason.len < sizeof(error->text) ? a->reason.len : sizeof(error->text)), a->reason.data,
                 nx_comm_rank_of(comm, peer));
    error->comm = comm->id;
    error->sequence = a->sequence;
}

void nx_coll_aborted(nexar_comm *comm, uint32_t peer, const struct nx_msg_op_aborted *a)
{
    struct nx_coll_op *op;
    nexar_error error;

    word_aborted(comm, peer, a, &error);
    nx_lock(&comm->lock);
    if (error.status == NEXAR_EMISMATCH && !comm->broken) {
        comm->broken = true;
        comm->broken_error = error;
    }
    if (a->sequence > comm->sequence)
        comm->aborted[comm->aborted_count++ % NX_ABORTED_MAX] =
            (struct nx_aborted){.sequence = a->sequence, .error = error};
    nx_unlock(&comm->lock);
    op = nx_coll_find(comm, a->sequence);
    if (op == NULL)
        return;
    finish_error(op, &error);
    nx_coll_fail(op, error.status, &error, false);
    nx_op_drop(&op->op);
}

void nx_coll_peer_lost(nexar_comm *comm, uint32_t peer)
{
    if (nx_comm_rank_of(comm, peer) == NEXAR_NO_RANK)
        return;
    atomic_store(&comm->lost, peer + 1);
    for (;;) {
        struct nx_coll_op *op = NULL;
        nexar_error error;

        nx_lock(&comm->lock);
        nx_list_for_each_safe(pos, tmp, &comm->running)
        {
            struct nx_coll_op *other = nx_container_of(pos, struct nx_coll_op, link);
            bool failed;

            nx_lock(&other->lock);
            failed = other->status != NEXAR_OK || other->ended;
            nx_unlock(&other->lock);
            if (!failed) {
                op = other;
                nx_op_hold(&op->op);
                break;
            }
        }
        nx_unlock(&comm->lock);
        if (op == NULL)
            return;
        nx_coll_word(op, peer, NEXAR_EPEER, &error);
        nx_coll_fail(op, NEXAR_EPEER, &error, true);
        nx_op_drop(&op->op);
    }
}
