/* coll/watch.c - a collective that waits for long tells those for whom it waits what it is.
 *
 * Owner: the engine, by one timer of the communicator.  Ranks that called different things learn it from their
 * messages, but if each of them waits, as when no rank takes itself for the root, there are none.  The note is a
 * message without bytes that nobody receives: that it comes is enough for the lanes to compare. */
#include "base/mem.h"
#include "coll/op.h"
#include "wire/tag.h"

static const nx_time PATIENCE = 250 * NX_MS;

enum { TOLD_MAX = 16 };

static void note_done(struct nx_send_req *note, nexar_status status)
{
    (void)status; /* a connection that has ended speaks for itself */
    nx_free(note);
}

static void tell(struct nx_coll_op *op, uint32_t rank)
{
    struct nx_send_req *note;
    uint64_t id;

    if (!nx_tag_make(op->announced.sequence, NX_TAG_STEP_MAX, &id)) /* a step that no schedule has */
        return;
    note = nx_alloc(sizeof(*note));
    if (note == NULL)
        return; /* it only helps */
    *note = (struct nx_send_req){.head = {.lane = NX_LANE_COLL,
                                          .scope = op->comm->id,
                                          .id = id,
                                          .call = op->announced.call,
                                          .count = op->announced.count},
                                 .done = note_done};
    if (nx_send(op->comm->net->peer[nx_comm_world(op->comm, rank)], note) != NEXAR_EAGAIN)
        nx_free(note);
}

/* The ranks that it waits for, TOLD_MAX of them at most; returns how many. */
static uint32_t list_steps(struct nx_coll_op *op, uint32_t *rank)
{
    const struct nx_sched *s = &op->plan->sched;
    uint32_t ranks = 0;

    nx_lock(&op->lock);
    for (uint32_t i = 0; i < s->count && ranks < TOLD_MAX; i++) {
        uint32_t k = 0;

        if (op->waits[i] != NX_STEP_OUTSTANDING || s->steps[i].kind == NX_STEP_SEND)
            continue;
        while (k < ranks && rank[k] != s->steps[i].peer)
            k++;
        if (k == ranks)
            rank[ranks++] = s->steps[i].peer;
    }
    nx_unlock(&op->lock);
    return ranks;
}

/* Those that have not begun it. */
static uint32_t list_absent(const struct nx_near_job *job, uint32_t *rank)
{
    uint32_t ranks = 0;

    for (uint32_t i = 0; i < job->near->comm->size && ranks < TOLD_MAX; i++) {
        const struct nx_near_line *line = &job->near->rank[i].line[nx_near_parity(job->k, 0)];

        if (i != job->near->comm->rank && atomic_load(&line->seq) < nx_near_number(job->k, 0))
            rank[ranks++] = i;
    }
    return ranks;
}

static void tell_all(struct nx_coll_op *op)
{
    uint32_t rank[TOLD_MAX];
    uint32_t ranks = op->job.near != NULL ? list_absent(&op->job, rank) : list_steps(op, rank);

    for (uint32_t k = 0; k < ranks; k++)
        tell(op, rank[k]);
}

/* One that waits for long and has not said so, held. */
static struct nx_coll_op *next_late(nexar_comm *comm, nx_time now)
{
    struct nx_coll_op *late = NULL;

    nx_lock(&comm->lock);
    for (struct nx_list *pos = comm->running.next; late == NULL && pos != &comm->running; pos = pos->next) {
        struct nx_coll_op *op = nx_container_of(pos, struct nx_coll_op, link);

        if (!op->late && now - op->op.begun >= PATIENCE)
            late = op;
    }
    if (late != NULL) {
        late->late = true;
        nx_op_hold(&late->op);
    }
    nx_unlock(&comm->lock);
    return late;
}

void nx_coll_watch_fire(struct nx_timer *timer)
{
    nexar_comm *comm = nx_container_of(timer, nexar_comm, watch);
    nx_time now = nx_now();
    struct nx_coll_op *op;
    bool again;

    while ((op = next_late(comm, now)) != NULL) {
        tell_all(op);
        nx_op_drop(&op->op);
    }
    nx_lock(&comm->lock);
    again = !nx_list_empty(&comm->running);
    comm->watching = again;
    if (again)
        nx_timer_set(timer, now + PATIENCE);
    nx_unlock(&comm->lock);
    if (!again)
        nx_comm_drop(comm);
}

void nx_coll_watch(nexar_comm *comm, nx_time now)
{
    if (comm->watching)
        return;
    comm->watching = true;
    nx_comm_hold(comm);
    nx_timer_set(&comm->watch, now + PATIENCE);
}

void nx_coll_watch_stop(nexar_comm *comm)
{
    if (nx_timer_cancel(&comm->watch))
        nx_comm_drop(comm);
}
