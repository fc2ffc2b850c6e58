/* coll/fail.c - collectives that go wrong: to the other ranks, from the other ranks, and the end of all of them.
 *
 * Owner: any thread; the communicator's lock for its lists.  A mismatch breaks the communicator: nobody can know any
 * more which call belongs to which. */
#include "coll/exec.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "coll/op.h"
#include "comm/dump.h"

#include <stdio.h>
#include <string.h>

/* ---- the end of a communicator ---- */

/* The first operation after number `after` that runs and has not failed, held; NULL if there is none. */
static struct nx_coll_op *next_alive(nexar_comm *comm, uint64_t after)
{
    struct nx_coll_op *found = NULL;

    nx_lock(&comm->lock);
    for (struct nx_list *pos = comm->running.next; found == NULL && pos != &comm->running; pos = pos->next) {
        struct nx_coll_op *op = nx_container_of(pos, struct nx_coll_op, link);

        nx_lock(&op->lock);
        if (op->announced.sequence > after && op->status == NEXAR_OK && !op->ended)
            found = op;
        nx_unlock(&op->lock);
    }
    if (found != NULL)
        nx_op_hold(&found->op);
    nx_unlock(&comm->lock);
    return found;
}

/* From the operation of this error on, nobody knows which call belongs to which: none of them ends well, here or
 * elsewhere, and no others begin.  Those before it go on. */
void nx_coll_break(nexar_comm *comm, const nexar_error *error)
{
    struct nx_coll_op *op;
    uint64_t after;

    nx_lock(&comm->lock);
    if (!comm->broken || error->sequence < comm->broken_error.sequence)
        comm->broken_error = *error;
    comm->broken = true;
    after = comm->broken_error.sequence;
    nx_unlock(&comm->lock);
    nx_scope_break(&comm->net->lanes, comm->scope, after);
    while ((op = next_alive(comm, after)) != NULL) {
        nexar_error mine = *error;

        nx_coll_word_finish(op, &mine);
        nx_coll_fail(op, mine.status, &mine, false); /* all ranks break */
        nx_op_drop(&op->op);
    }
}

/* ---- to the others ---- */

static void tell(nexar_comm *comm, const struct nx_coll_call *call, const nexar_error *error)
{
    struct nx_message m = {.kind = NX_KIND_OP_ABORTED};
    char reason[sizeof(error->text)];

    /* Texts travel as UTF-8, and one that was cut may end inside a character. */
    snprintf(reason, sizeof(reason), "%s", error->text);
    for (char *c = reason; *c != '\0'; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    m.op_aborted = (struct nx_msg_op_aborted){.status = (uint16_t)-error->status,
                                              .rank = error->peer,
                                              .comm = comm->id,
                                              .sequence = call->sequence,
                                              .call = call->call,
                                              .count = call->count,
                                              .reason = nx_text(reason)};
    for (uint32_t i = 0; i < comm->size; i++) {
        nexar_conn *conn;
        nexar_status st;

        if (i == comm->rank)
            continue;
        conn = nx_peer_conn(comm->net->peer[nx_comm_world(comm, i)], &st);
        if (conn != NULL)
            st = nx_conn_control(conn, &m, false);
        if (st != NEXAR_OK)
            nx_debug("rank %u was not told: %s", i, nexar_last_error());
        if (st == NEXAR_ENOMEM)
            nx_conn_shutdown(conn, NX_CLOSE_ABORTED); /* rather lose it than let it wait for us */
        nx_conn_drop(conn);
    }
    nx_debug("%s", error->text);
}

void nx_coll_tell(struct nx_coll_op *op, const nexar_error *error)
{
    if (error->status == NEXAR_EMISMATCH)
        nx_coll_break(op->comm, error);
    tell(op->comm, &op->announced, error);
}

static void record_missed(nexar_comm *comm, const struct nx_coll_call *call, nexar_status status)
{
    nx_time now = nx_now();

    nx_record_put(comm->net->recorder, &(struct nx_record){.comm = comm->id,
                                                           .id = call->sequence,
                                                           .call = call->call,
                                                           .count = call->count,
                                                           .begun = now,
                                                           .ended = now,
                                                           .peer = NEXAR_NO_RANK,
                                                           .status = (uint8_t)-status,
                                                           .kind = NX_RECORD_COLL});
}

/* With the communicator's lock: the number of a call that will not run, if those of its algorithm have numbers. */
static uint64_t near_number(nexar_comm *comm, const struct nx_call *args)
{
    struct nx_near *near = nx_near_of(comm, false);

    return near != NULL && nx_algorithm_at(args->algorithm)->build == nx_build_near ? nx_near_enter(near) : 0;
}

void nx_coll_gave_up(nexar_comm *comm, const struct nx_coll_call *call, const nexar_error *error)
{
    record_missed(comm, call, error->status);
    nx_dump_on_error(comm->net, error);
}

/* An operation with this number is on its way, or about to become an op: it will say itself how it ended. */
static bool is_at_it(nexar_comm *comm, uint64_t sequence)
{
    bool at_it;

    nx_lock(&comm->lock);
    at_it = comm->near != NULL && comm->near->busy != 0 && comm->sequence == sequence;
    nx_unlock(&comm->lock);
    return at_it;
}

nexar_status nx_coll_missed(nexar_comm *comm, const struct nx_call *args, size_t count, struct nx_near_job *begun)
{
    const char *name = nx_coll_name(args->coll);
    const nexar_error *last = nx_last_error();
    uint32_t blamed = last->comm == comm->id ? last->peer : NEXAR_NO_RANK; /* others are to know who is gone, too */
    uint64_t k;
    struct nx_coll_call call = {.call = nx_call_pack(args), .count = count};
    uint64_t their_call, their_count;
    uint32_t peer;
    nexar_error error;

    nx_list_init(&call.link);
    nx_lock(&comm->lock);
    call.sequence = begun != NULL ? begun->sequence : ++comm->sequence;
    k = begun != NULL ? begun->k : near_number(comm, args);
    nx_scope_begin(&comm->net->lanes, comm->scope, &call, &peer, &their_call, &their_count);
    nx_unlock(&comm->lock);
    nx_scope_end(&comm->net->lanes, comm->scope, &call, false); /* what has come for it, and will, is dropped */
    atomic_fetch_add_explicit(&comm->stats.failed, 1, memory_order_relaxed);
    record_missed(comm, &call, last->status);
    nx_error_set(&error, last->status, blamed, "%s #%llu: %s", name, (unsigned long long)call.sequence,
                 nexar_last_error());
    snprintf(error.op, sizeof(error.op), "%s", name);
    error.comm = comm->id;
    error.sequence = call.sequence;
    tell(comm, &call, &error);
    if (begun != NULL)
        nx_near_take_back_now(begun);
    if (k != 0 && nx_near_leave(comm->near, k, NULL))
        nx_engine_attend();
    return nx_fail_with(&error);
}

void nx_coll_closing(nexar_comm *comm)
{
    struct nx_coll_call call = {0};
    nexar_error error;

    nx_error_set(&error, NEXAR_ECLOSED, comm->rank, "rank %u closed the communicator", comm->rank);
    nx_lock(&comm->lock);
    call.sequence = comm->sequence + 1;
    nx_unlock(&comm->lock);
    tell(comm, &call, &error);
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

void nx_coll_let_go(struct nx_coll_op *op)
{
    nx_op_drop(&op->op);
}

/* It ended well here before it could be known; so it is the next operation that fails. */
static void break_late(nexar_comm *comm, const struct nx_misfit *m, const nexar_error *error)
{
    struct nx_coll_call call = {.sequence = m->sequence, .call = m->our_call, .count = m->our_count};
    bool known;

    nx_lock(&comm->lock);
    known = comm->broken && comm->broken_error.sequence <= m->sequence;
    nx_unlock(&comm->lock);
    if (known)
        return;
    nx_coll_break(comm, error);
    tell(comm, &call, error);
}

static void misfit(void *owner, const struct nx_misfit *m)
{
    nexar_comm *comm = owner;
    struct nx_coll_op *op = nx_coll_find(comm, m->sequence);
    nexar_error error;
    bool well;

    nx_coll_word_misfit(comm, m, &error);
    if (op != NULL) {
        nx_coll_word_finish(op, &error);
        well = !nx_coll_fail(op, NEXAR_EMISMATCH, &error, true);
        nx_op_drop(&op->op);
    } else {
        well = nx_scope_ended_well(&comm->net->lanes, comm->id, m->sequence);
    }
    if (well)
        break_late(comm, m, &error);
    nx_comm_drop(comm);
}

static void hold(void *owner)
{
    nx_comm_hold(owner);
}

const struct nx_scope_events nx_coll_scope_events = {.hold = hold, .misfit = misfit};

/* What a rank says of an operation, as an error of our own. */
static void word_aborted(nexar_comm *comm, uint32_t peer, const struct nx_msg_op_aborted *a, nexar_error *error)
{
    uint32_t from = nx_comm_rank_of(comm, peer), blamed = a->rank;
    char reason[sizeof(error->text) - 32];
    int status = -(int)a->status;

    if (strcmp(nexar_status_name((nexar_status)status), "?") == 0 || status == NEXAR_OK)
        status = NEXAR_EPROTO;
    if (status == NEXAR_ECLOSED)
        status = NEXAR_EPEER; /* there, not here */
    if (blamed >= comm->size || blamed == comm->rank)
        blamed = from;
    nx_plain(reason, sizeof(reason), a->reason.data, a->reason.len);
    nx_error_set(error, (nexar_status)status, blamed, "%s (reported by rank %u)", reason, from);
    error->comm = comm->id;
    error->sequence = a->sequence;
}

/* For an operation that has not begun here.  False: there is no room to keep that. */
static bool keep(nexar_comm *comm, const nexar_error *error)
{
    struct nx_aborted *aborted = NULL;
    bool kept;

    nx_lock(&comm->lock);
    kept = error->sequence <= comm->sequence || nx_aborted_find(comm, error->sequence) != NULL;
    if (!kept && comm->aborted_count < NX_ABORTED_MAX)
        aborted = nx_alloc(sizeof(*aborted));
    if (aborted != NULL) {
        aborted->error = *error;
        aborted->call = (struct nx_coll_call){.sequence = error->sequence};
        nx_list_init(&aborted->call.link);
        nx_scope_drop(&comm->net->lanes, comm->scope, &aborted->call);
        nx_list_push_back(&comm->aborted, &aborted->link);
        comm->aborted_count++;
        kept = true;
    }
    nx_unlock(&comm->lock);
    return kept;
}

void nx_coll_aborted(nexar_comm *comm, uint32_t peer, const struct nx_msg_op_aborted *a)
{
    struct nx_coll_op *op;
    nexar_error error;

    if (nx_comm_rank_of(comm, peer) == NEXAR_NO_RANK)
        return;
    word_aborted(comm, peer, a, &error);
    /* Who has closed it comes to nothing that follows. */
    if (error.status == NEXAR_EMISMATCH || a->status == (uint16_t)-NEXAR_ECLOSED || !keep(comm, &error))
        nx_coll_break(comm, &error);
    op = nx_coll_find(comm, a->sequence);
    if (op == NULL) {
        if (!is_at_it(comm, a->sequence))
            nx_dump_on_error(comm->net, &error); /* it may be this rank for which all the others waited */
        return;
    }
    nx_coll_word_finish(op, &error);
    nx_coll_fail(op, error.status, &error, false);
    nx_op_drop(&op->op);
}

void nx_coll_peer_lost(nexar_comm *comm, uint32_t peer)
{
    struct nx_coll_op *op;

    if (nx_comm_rank_of(comm, peer) == NEXAR_NO_RANK)
        return;
    atomic_store(&comm->lost, peer + 1);
    while ((op = next_alive(comm, 0)) != NULL) {
        nexar_error error;

        nx_coll_word(op, peer, NEXAR_EPEER, &error);
        nx_coll_fail(op, NEXAR_EPEER, &error, true);
        nx_op_drop(&op->op);
    }
}
