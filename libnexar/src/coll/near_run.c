/* coll/near_run.c - runs operations in shared memory: at once where the others are at it too, else by the engine.
 *
 * Owner: whoever has set the op's `running`.  The engine looks at the words that operations wait for as often as it
 * looks at memory at all, and does not sleep while one of them is there. */
#include "coll/near.h"

#include "base/mem.h"
#include "coll/op.h"
#include "comm/comms.h"

enum { CHUNKS_AT_ONCE = 8 }; /* then others have their turn at the engine */

/* ---- at once ---- */

/* What is left to do with an operation that no op was made of.  True: another one waits for the engine. */
static bool pass(nexar_comm *comm, const struct nx_near_job *job)
{
    const struct nx_coll_args *args = job->args;
    struct nx_coll_call call = {.sequence = job->sequence, .call = job->call, .count = args->count};
    nx_time now = nx_now_about();

    if (args->finish != NULL)
        args->finish(args->result, args->results, comm->size);
    nx_scope_passed(&comm->net->lanes, comm->scope, &call);
    if (args->call.coll < NX_COLLS)
        atomic_fetch_add_explicit(&comm->stats.finished[args->call.coll], 1, memory_order_relaxed);
    nx_record_put(comm->net->recorder, &(struct nx_record){.comm = comm->id,
                                                           .id = job->sequence,
                                                           .call = job->call,
                                                           .count = args->count,
                                                           .begun = now, /* it took a microsecond or two */
                                                           .ended = now,
                                                           .peer = NEXAR_NO_RANK,
                                                           .kind = NX_RECORD_COLL});
    return nx_near_leave(job->near, job->k, job);
}

bool nx_near_try(nexar_comm *comm, struct nx_near_job *job)
{
    struct nx_near *near = job->near;
    enum nx_near_state st;
    uint32_t looks = 0;

    nx_lock(&comm->lock);
    if (!comm->broken && comm->aborted_count == 0 && near->numbered < atomic_load(&near->turn) &&
        atomic_load(&comm->lost) == 0 && !atomic_load(&comm->net->closed) && !atomic_load(&comm->closed))
        job->k = nx_near_enter(near);
    if (job->k != 0) {
        job->sequence = ++comm->sequence;
        near->busy = job->k;
    }
    nx_unlock(&comm->lock);
    if (job->k == 0)
        return false;
    while ((st = nx_near_job_step(job)) != NX_NEAR_DONE) {
        if (st == NX_NEAR_MISFIT || st == NX_NEAR_NONSENSE || (st == NX_NEAR_WAITS && !nx_engine_glance(looks++)))
            return false;
        if (st == NX_NEAR_MORE)
            looks = 0;
    }
    if (pass(comm, job))
        nx_engine_attend();
    return true;
}

void nx_near_handed(struct nx_near *near)
{
    nx_lock(&near->comm->lock);
    near->busy = 0;
    nx_unlock(&near->comm->lock);
}

/* ---- by steps ---- */

void nx_near_await(struct nx_near *near, struct nx_coll_op *op, const struct nx_near_want *want)
{
    struct nx_comms *comms = near->comm->comms;

    nx_lock(&comms->near_lock);
    if (near->current == NULL && op != NULL) {
        nx_list_push_back(&comms->nears, &near->link);
        atomic_fetch_add(&comms->near_waiting, 1);
    } else if (near->current != NULL && op == NULL) {
        nx_list_remove(&near->link);
        atomic_fetch_sub(&comms->near_waiting, 1);
    }
    near->current = op;
    near->want = want == NULL || near->gone != near->noted ? (struct nx_near_want){0} : *want;
    nx_unlock(&comms->near_lock);
}

uint32_t nx_near_waits_for(struct nx_coll_op *op, const char **what)
{
    struct nx_near *near = op->job.near;
    struct nx_comms *comms = op->comm->comms;
    uint32_t rank = NEXAR_NO_RANK;

    nx_lock(&comms->near_lock);
    if (near->current == op && near->want.line != NULL) {
        rank = near->want.rank;
        if (near->want.takes)
            *what = " to take what was sent";
    }
    nx_unlock(&comms->near_lock);
    return rank;
}

void nx_near_peer_left(nexar_comm *comm, uint32_t peer)
{
    struct nx_near *near = atomic_load(&comm->near_known) ? comm->near : NULL;
    uint32_t rank = nx_comm_rank_of(comm, peer);

    if (near == NULL || rank == NEXAR_NO_RANK)
        return;
    nx_lock(&comm->comms->near_lock);
    near->gone |= UINT64_C(1) << rank;
    near->want = (struct nx_near_want){0}; /* look again */
    nx_unlock(&comm->comms->near_lock);
}

/* Fails it if it waits for what will not come. */
static void check_gone(struct nx_coll_op *op)
{
    struct nx_near *near = op->job.near;
    struct nx_comms *comms = op->comm->comms;
    nexar_error error;
    uint64_t gone;
    uint32_t rank;

    nx_lock(&comms->near_lock);
    gone = near->noted = near->gone;
    nx_unlock(&comms->near_lock);
    if (gone == 0 || !nx_near_job_lacks(&op->job, gone, &rank))
        return;
    nx_coll_word(op, nx_comm_world(op->comm, rank), NEXAR_ECLOSED, &error);
    nx_coll_fail(op, NEXAR_EPEER, &error, true);
}

static bool has_failed(struct nx_coll_op *op)
{
    bool failed;

    nx_lock(&op->lock);
    failed = op->status != NEXAR_OK;
    nx_unlock(&op->lock);
    return failed;
}

static void misfit(struct nx_coll_op *op)
{
    const struct nx_near_job *job = &op->job;
    const struct nx_near_past *last = &job->near->last;
    nexar_error error;

    if (job->c == 0 && job->phase == 0) { /* in what was called before, which ended well here */
        nx_comm_hold(op->comm);
        nx_coll_scope_events.misfit(op->comm, &(struct nx_misfit){.peer = nx_comm_world(op->comm, job->peer),
                                                                  .sequence = last->sequence,
                                                                  .call = job->their_call,
                                                                  .count = job->their_count,
                                                                  .known = true,
                                                                  .our_call = last->call,
                                                                  .our_count = last->count});
    }
    nx_coll_word_mismatch(op, nx_comm_world(op->comm, job->peer), job->their_call, job->their_count, &error);
    nx_coll_fail(op, NEXAR_EMISMATCH, &error, true);
}

/* A rank lends what it cannot have: it is cut off. */
static void nonsense(struct nx_coll_op *op)
{
    uint32_t peer = nx_comm_world(op->comm, op->job.peer);
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(op->comm->net->peer[peer], &st);
    char title[64], who[96];
    nexar_error error;

    nx_coll_title(op, title, sizeof(title));
    nx_coll_rank_text(op->comm, peer, who, sizeof(who));
    nx_error_set(&error, NEXAR_EPEER, op->job.peer, "%s: %s says that its memory is where it has none, and is cut off",
                 title, who);
    nx_coll_word_finish(op, &error);
    nx_coll_fail(op, NEXAR_EPEER, &error, true);
    if (conn != NULL)
        nx_conn_shutdown(conn, NX_CLOSE_PROTOCOL);
    nx_conn_drop(conn);
}

void nx_near_go(struct nx_coll_op *op)
{
    struct nx_near_job *job = &op->job;
    enum nx_near_state st = NX_NEAR_WAITS;
    struct nx_near_want want;
    bool turn, end;

    if (op->running) {
        nx_unlock(&op->lock);
        return;
    }
    turn = atomic_load_explicit(&job->near->turn, memory_order_acquire) == job->k;
    op->running = true;
    if (turn && op->status == NEXAR_OK && !op->ended) {
        nx_unlock(&op->lock);
        for (int i = 0; i < CHUNKS_AT_ONCE && (st = nx_near_job_step(job)) == NX_NEAR_MORE && !has_failed(op); i++)
            continue;
        if (st == NX_NEAR_MISFIT)
            misfit(op);
        if (st == NX_NEAR_NONSENSE)
            nonsense(op);
        if (st == NX_NEAR_WAITS)
            check_gone(op);
        nx_lock(&op->lock);
    }
    op->running = false;
    end = !op->ended && (st == NX_NEAR_DONE || (op->status != NEXAR_OK && nx_near_take_back(job)));
    if (end)
        op->ended = true;
    if (!op->ended && turn) {
        nx_near_job_want(job, &want);
        nx_near_await(job->near, op, st == NX_NEAR_WAITS && op->status == NEXAR_OK ? &want : NULL);
    }
    nx_unlock(&op->lock);
    if (end)
        nx_coll_finish(op);
}

/* ---- the engine's turns ---- */

/* With the lock: the first that can go on. */
static struct nx_near *ready(struct nx_comms *comms)
{
    for (struct nx_list *pos = comms->nears.next; pos != &comms->nears; pos = pos->next) {
        struct nx_near *near = nx_container_of(pos, struct nx_near, link);

        if (nx_near_there(&near->want))
            return near;
    }
    return NULL;
}

static bool poll_nears(struct nx_poller *poller)
{
    struct nx_comms *comms = nx_container_of(poller, struct nx_comms, near_poller);
    struct nx_coll_op *op = NULL;
    struct nx_near *near;

    if (atomic_load_explicit(&comms->near_waiting, memory_order_relaxed) == 0)
        return false;
    nx_lock(&comms->near_lock);
    near = ready(comms);
    if (near != NULL) {
        op = near->current;
        nx_op_hold(&op->op);
        nx_list_remove(&near->link); /* the others' turn */
        nx_list_push_back(&comms->nears, &near->link);
    }
    nx_unlock(&comms->near_lock);
    if (op == NULL)
        return false;
    nx_lock(&op->lock);
    nx_near_go(op);
    nx_op_drop(&op->op);
    return true;
}

static bool doze(struct nx_poller *poller)
{
    struct nx_comms *comms = nx_container_of(poller, struct nx_comms, near_poller);
    bool may;

    nx_lock(&comms->near_lock);
    may = ready(comms) == NULL;
    nx_unlock(&comms->near_lock);
    return may;
}

void nx_near_begin(struct nx_comms *comms)
{
    nexar_comm *world = nx_comms_first(comms);

    comms->near_poller = (struct nx_poller){.poll = poll_nears, .doze = doze};
    nx_poller_add(&comms->near_poller);
    comms->near_polled = true;
    if (world != NULL && world->rank == 0) {
        nx_lock(&world->lock);
        nx_near_of(world, true);
        nx_unlock(&world->lock);
    }
}

void nx_near_end(struct nx_comms *comms)
{
    if (comms->near_polled)
        nx_poller_remove(&comms->near_poller);
    comms->near_polled = false;
}
