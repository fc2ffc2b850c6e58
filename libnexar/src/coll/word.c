/* coll/word.c - what has become of a collective, in words.
 *
 * Owner: any thread.  It changes nothing but the error that it fills in. */
#include "coll/op.h"

#include <stdio.h>

void nx_coll_title(const struct nx_coll_op *op, char *text, size_t cap)
{
    char where[40];

    nx_comm_text(op->comm->id, where, sizeof(where));
    snprintf(text, cap, "%s #%llu%s", nx_coll_name(op->args.call.coll), (unsigned long long)op->announced.sequence,
             where);
}

uint32_t nx_coll_first_step(struct nx_coll_op *op)
{
    const struct nx_sched *s = &op->plan->sched;
    uint32_t found = UINT32_MAX;

    nx_lock(&op->lock);
    for (uint32_t step = 0; step < s->count; step++) {
        if (op->waits[step] != NX_STEP_OUTSTANDING)
            continue;
        if (s->steps[step].kind != NX_STEP_SEND) {
            found = step;
            break;
        }
        if (found == UINT32_MAX)
            found = step;
    }
    nx_unlock(&op->lock);
    return found;
}

uint32_t nx_coll_waits_for(struct nx_coll_op *op, const char **what)
{
    const struct nx_step *step;
    uint32_t first;

    *what = "";
    if (op->job.near != NULL)
        return nx_near_waits_for(op, what);
    first = nx_coll_first_step(op);
    if (first == UINT32_MAX)
        return NEXAR_NO_RANK;
    step = &op->plan->sched.steps[first];
    if (step->kind == NX_STEP_SEND)
        *what = " to take what was sent";
    return step->peer;
}

void nx_coll_word_finish(struct nx_coll_op *op, nexar_error *error)
{
    snprintf(error->op, sizeof(error->op), "%s", nx_coll_name(op->args.call.coll));
    error->comm = op->comm->id;
    error->sequence = op->announced.sequence;
    error->elapsed_ns = (uint64_t)(nx_now() - op->op.begun);
}

void nx_coll_rank_text(nexar_comm *comm, uint32_t world, char *text, size_t cap)
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
    nx_coll_rank_text(op->comm, peer, who, sizeof(who));
    if (status == NEXAR_EPEER || status == NEXAR_ECLOSED) {
        if (nx_lane_peer_status(&op->comm->net->lanes, peer) != NEXAR_OK)
            nx_peer_fail_as(op->comm->net->peer[peer], rank);
        else
            nx_fail(NEXAR_EPEER, "the connection to %s is gone", who);
        nx_error_set(error, NEXAR_EPEER, rank, "%s: %s", title, nexar_last_error());
        nx_error_hint(error, "that rank takes no part any more; go on without it, or start the job again");
    } else if (status == NEXAR_EPROTO && nx_coll_is_unequal(op->args.call.coll)) {
        nx_error_set(error, NEXAR_EMISMATCH, rank,
                     "%s: %s has another count for what it and rank %u exchange than that rank has", title, who,
                     op->comm->rank);
        nx_error_hint(error, "give all ranks counts that agree with each other");
    } else if (status == NEXAR_EPROTO) {
        nx_error_set(error, status, rank, "%s: %s sent a message of another length than the schedule says", title, who);
    } else if (status == NEXAR_ENOTSUP) {
        nx_error_set(error, status, rank, "%s: %s speaks nexar/1, which has no collectives", title, who);
    } else if (status == NEXAR_ENOMEM) {
        nx_error_set(error, status, NEXAR_NO_RANK, "%s: no memory for a message of %s", title, who);
    } else {
        nx_error_set(error, status, rank, "%s: %s: %s", title, who, nexar_status_text(status));
    }
    nx_coll_word_finish(op, error);
}

void nx_coll_word_content(struct nx_coll_op *op, uint32_t rank, nexar_error *error)
{
    char title[64], who[96], what[256];

    snprintf(what, sizeof(what), "%s", nexar_last_error());
    nx_coll_title(op, title, sizeof(title));
    nx_coll_rank_text(op->comm, nx_comm_world(op->comm, rank), who, sizeof(who));
    nx_error_set(error, NEXAR_EPROTO, rank, "%s: %s sent what no encoder makes: %s", title, who, what);
    nx_coll_word_finish(op, error);
}

void nx_coll_word_misfit(nexar_comm *comm, const struct nx_misfit *m, nexar_error *error)
{
    uint64_t apart = m->call ^ m->our_call;
    bool same = m->known && (apart & ~UINT64_C(0xff000000)) == 0 && m->count == m->our_count;
    const char *name = m->known ? nx_coll_name((enum nx_coll)(m->our_call & 0xff)) : "collective";
    char mine[128] = "something else, long ago", theirs[128], where[40];
    uint32_t rank = nx_comm_rank_of(comm, m->peer);

    nx_comm_text(comm->id, where, sizeof(where));
    if (m->known)
        nx_call_text(m->our_call, m->our_count, same, mine, sizeof(mine));
    nx_call_text(m->call, m->count, same, theirs, sizeof(theirs));
    nx_error_set(
        error, NEXAR_EMISMATCH, rank, "%s #%llu%s: rank %u called %s as its collective #%llu, rank %u called %s", name,
        (unsigned long long)m->sequence, where, rank, theirs, (unsigned long long)m->sequence, comm->rank, mine);
    nx_error_hint(error, same ? "give all ranks the same NEXAR_COLL_TUNE"
                              : "make the same calls in the same order on all ranks of a communicator");
    snprintf(error->op, sizeof(error->op), "%s", name);
    error->comm = comm->id;
    error->sequence = m->sequence;
}

void nx_coll_word_mismatch(struct nx_coll_op *op, uint32_t peer, uint64_t call, uint64_t count, nexar_error *error)
{
    struct nx_misfit m = {.peer = peer,
                          .sequence = op->announced.sequence,
                          .call = call,
                          .count = count,
                          .known = true,
                          .our_call = op->announced.call,
                          .our_count = op->announced.count};

    nx_coll_word_misfit(op->comm, &m, error);
    nx_coll_word_finish(op, error);
}

void nx_coll_word_end(struct nx_coll_op *op, nexar_status why, nexar_error *error)
{
    const char *what;
    uint32_t rank = nx_coll_waits_for(op, &what);
    double elapsed = (double)(nx_now() - op->op.begun) / 1e9;
    char title[64], who[96] = "nobody";

    nx_coll_title(op, title, sizeof(title));
    if (rank != NEXAR_NO_RANK)
        nx_coll_rank_text(op->comm, nx_comm_world(op->comm, rank), who, sizeof(who));
    if (why == NEXAR_ETIMEDOUT) {
        nx_error_set(error, why, rank, "%s: timed out after %.3g s, waiting for %s%s", title, elapsed, who, what);
        nx_error_hint(error, "see whether all ranks make this call; if they do, give it more time");
    } else if (why == NEXAR_ECLOSED) {
        nx_error_set(error, why, NEXAR_NO_RANK, "%s: rank %u closed the communicator", title, op->comm->rank);
    } else {
        nx_error_set(error, why, NEXAR_NO_RANK, "%s: %s on rank %u", title, nexar_status_text(why), op->comm->rank);
    }
    nx_coll_word_finish(op, error);
}
