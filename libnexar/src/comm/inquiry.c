/* comm/inquiry.c - questions to other ranks, and the answers.
 *
 * Owner: the communicator's lock for the list and what is in it; answers and the end of patience come on the engine.
 * An answer that comes late is thrown away.  A question costs its receiver one answer, and nothing is kept of it. */
#include "comm/inquiry.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "coll/exec.h"
#include "net/conn.h"
#include "net/peer.h"

static _Atomic uint64_t last_id;

/* It was taken from the list. */
static void end(struct nx_inquiry *q)
{
    nexar_error error;

    if (!nx_op_done(q->op)) {
        q->word(q, &error);
        nx_op_condemn(q->op, &error, NEXAR_ETIMEDOUT);
    }
}

static void drop(struct nx_inquiry *q)
{
    if (atomic_fetch_sub(&q->refs, 1) != 1)
        return;
    nx_op_drop(q->op);
    nx_comm_drop(q->comm);
    nx_free(q);
}

/* With the lock. */
static bool take(struct nx_inquiry *q)
{
    bool listed = !nx_list_empty(&q->link);

    nx_list_remove(&q->link);
    nx_list_init(&q->link);
    return listed;
}

/* It has ended: who cannot cancel the timer leaves its reference to it. */
static void retire(struct nx_inquiry *q)
{
    if (nx_timer_cancel(&q->timer))
        drop(q);
}

static void look(struct nx_timer *timer)
{
    struct nx_inquiry *q = nx_container_of(timer, struct nx_inquiry, timer);
    bool mine;

    nx_lock(&q->comm->lock);
    if (!nx_list_empty(&q->link) && ++q->looks < NX_INQUIRY_LOOKS) {
        nx_timer_set(timer, nx_now() + NX_INQUIRY_LOOK);
        nx_unlock(&q->comm->lock);
        return;
    }
    mine = take(q);
    nx_unlock(&q->comm->lock);
    if (mine)
        end(q);
    drop(q);
}

/* With the lock: one answer is there.  True if it was the last, and this thread is to end it. */
static bool count_in(struct nx_inquiry *q, struct nx_answer *answer)
{
    answer->came = true;
    q->looks = 0;
    return ++q->came == q->count && take(q);
}

static nexar_status ask(struct nx_inquiry *q, uint32_t rank, uint64_t sequence)
{
    struct nx_message m = {.kind = NX_KIND_ASK};
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(q->comm->net->peer[nx_comm_world(q->comm, rank)], &st);

    m.ask = (struct nx_msg_ask){.id = q->id, .comm = q->comm->id, .sequence = sequence};
    if (conn != NULL)
        st = nx_conn_control(conn, &m, false);
    nx_conn_drop(conn);
    return st;
}

static struct nx_inquiry *new_inquiry(nexar_comm *comm, struct nexar_op *op, uint32_t peer)
{
    uint32_t count = peer == NEXAR_ANY ? comm->size - 1 : 1, n = 0;
    struct nx_inquiry *q = nx_calloc(1, sizeof(*q) + count * sizeof(q->answer[0]));

    if (q == NULL)
        return NULL;
    atomic_init(&q->refs, 2);
    q->id = atomic_fetch_add(&last_id, 1) + 1;
    q->count = count;
    for (uint32_t rank = 0; rank < comm->size; rank++) {
        if (rank != comm->rank && (peer == NEXAR_ANY || peer == rank))
            q->answer[n++].rank = rank;
    }
    nx_list_init(&q->link);
    nx_timer_init(&q->timer, look);
    nx_comm_hold(comm);
    q->comm = comm;
    nx_op_hold(op);
    q->op = op;
    return q;
}

bool nx_inquiry_start(nexar_comm *comm, struct nexar_op *op, uint32_t peer, uint64_t sequence,
                      void (*word)(struct nx_inquiry *inquiry, nexar_error *error))
{
    struct nx_inquiry *q;
    bool last = false;

    if (comm->size == 1 || peer == comm->rank || atomic_exchange(&op->asked, true) || atomic_load(&comm->net->closed))
        return false;
    q = new_inquiry(comm, op, peer);
    if (q == NULL)
        return false;
    q->word = word;
    nx_lock(&comm->lock);
    nx_list_push_back(&comm->inquiries, &q->link);
    nx_timer_set(&q->timer, nx_now() + NX_INQUIRY_LOOK);
    nx_unlock(&comm->lock);
    for (uint32_t i = 0; i < q->count; i++) {
        struct nx_answer *answer = &q->answer[i];

        if (ask(q, answer->rank, sequence) == NEXAR_OK)
            continue;
        nx_lock(&comm->lock);
        answer->gone = true;
        last = count_in(q, answer);
        nx_unlock(&comm->lock);
    }
    if (last) {
        end(q);
        retire(q);
    }
    drop(q);
    return true;
}

/* ---- messages ---- */

static void word_message(struct nx_inquiry *q, nexar_error *error)
{
    double elapsed = (double)(nx_now() - q->op->begun) / 1e9;
    const struct nx_answer *answer = &q->answer[0];
    char what[192];

    q->op->class->describe(q->op, what, sizeof(what));
    nx_error_set(error, NEXAR_ETIMEDOUT, answer->rank, "%s: %s after %.3g s; rank %u %s", what,
                 q->op->receives ? "nothing" : "not taken", elapsed, answer->rank, nx_answer_text(answer));
    nx_error_hint(error, "see whether that rank makes the matching call; or give more time");
}

bool nx_inquiry_message(nexar_comm *comm, struct nexar_op *op, uint32_t peer)
{
    return nx_inquiry_start(comm, op, peer, 0, word_message);
}

/* ---- answers ---- */

const char *nx_answer_text(const struct nx_answer *answer)
{
    return answer->gone ? "is gone" : answer->came ? answer->doing : "does not answer";
}

static enum nx_tell_state state_of(nexar_comm *comm, uint64_t sequence)
{
    struct nx_coll_op *op;
    bool called;

    if (comm == NULL)
        return NX_TELL_NOT_CALLED;
    nx_lock(&comm->lock);
    called = sequence <= comm->sequence;
    nx_unlock(&comm->lock);
    if (!called)
        return NX_TELL_NOT_CALLED;
    op = nx_coll_find(comm, sequence);
    if (op == NULL)
        return NX_TELL_ENDED;
    nx_coll_let_go(op);
    return NX_TELL_RUNS;
}

void nx_inquiry_asked(struct nx_net *net, nexar_comm *comm, uint32_t peer, const struct nx_msg_ask *ask)
{
    struct nx_message m = {.kind = NX_KIND_TELL};
    char doing[sizeof(((struct nx_answer *)NULL)->doing)];
    nexar_status st;
    nexar_conn *conn = nx_peer_conn(net->peer[peer], &st);

    nx_seen_text(net, doing, sizeof(doing));
    m.tell = (struct nx_msg_tell){
        .id = ask->id, .comm = ask->comm, .state = (uint8_t)state_of(comm, ask->sequence), .doing = nx_text(doing)};
    if (conn != NULL && nx_conn_control(conn, &m, true) != NEXAR_OK)
        nx_debug("rank %u was not answered: %s", peer, nexar_last_error());
    nx_conn_drop(conn);
}

void nx_inquiry_told(nexar_comm *comm, uint32_t peer, const struct nx_msg_tell *tell)
{
    uint32_t rank = nx_comm_rank_of(comm, peer);
    struct nx_inquiry *last = NULL;

    nx_lock(&comm->lock);
    for (struct nx_list *pos = comm->inquiries.next; pos != &comm->inquiries; pos = pos->next) {
        struct nx_inquiry *q = nx_container_of(pos, struct nx_inquiry, link);
        struct nx_answer *answer = q->answer;

        if (q->id != tell->id)
            continue;
        while (answer < q->answer + q->count && answer->rank != rank)
            answer++;
        if (answer == q->answer + q->count || answer->came)
            break;
        answer->state = tell->state;
        nx_plain(answer->doing, sizeof(answer->doing), tell->doing.data, tell->doing.len);
        if (count_in(q, answer))
            last = q;
        break;
    }
    nx_unlock(&comm->lock);
    if (last != NULL) {
        end(last);
        retire(last);
    }
}

void nx_inquiries_stop(nexar_comm *comm)
{
    struct nx_list *pos;

    for (;;) {
        nx_lock(&comm->lock);
        pos = nx_list_pop(&comm->inquiries);
        nx_unlock(&comm->lock);
        if (pos == NULL)
            return;
        retire(nx_container_of(pos, struct nx_inquiry, link));
    }
}
