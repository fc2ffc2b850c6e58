/* net/arrival.c - messages that arrive by modules' ways: their memory, waking those that wait, telling the peer,
 * and what becomes of them when a way breaks.
 *
 * Owner: the engine.  What has begun to arrive by a way that breaks is not lost: it waits for its rest, which comes by
 * QUIC.  Answers, which end sends of ours, are looked at in a task: a module may be in the middle of something. */
#include "net/arrival.h"

#include "base/slab.h"

enum {
    OWED_MESSAGES = 32, /* that have arrived, after which the peer is told */
    OWED_BYTES = 256 << 10,
    HEARD_MESSAGES = 16, /* copies that are not needed any more, after which they are freed */
};

static struct nx_slab slab = NX_SLAB_INIT(nexar_arrival, 256);

/* ---- tasks ---- */

static void post(nexar_link *link, struct nx_task *task)
{
    nx_conn_hold(link->conn);
    if (!nx_engine_post(task))
        nx_conn_drop(link->conn); /* not the last */
}

/* Any thread, with the table's lock. */
static void source_resume(struct nx_source *source)
{
    nexar_arrival *a = nx_container_of(source, nexar_arrival, source);

    atomic_store(&a->woken, true);
    post(a->way, &a->way->wake);
}

static nexar_arrival *next_woken(nexar_link *link)
{
    if (link->waiting != NULL && atomic_exchange(&link->waiting->woken, false))
        return link->waiting;
    nx_list_for_each_safe(pos, tmp, &link->open)
    {
        nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);

        if (atomic_exchange(&a->woken, false))
            return a;
    }
    nx_list_for_each_safe(pos, tmp, &link->asked)
    {
        nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);

        if (a->waits && atomic_exchange(&a->woken, false))
            return a;
    }
    return NULL;
}

/* Those that could not be asked for are tried again, in another turn.  True: there are any. */
static bool try_again(nexar_link *link)
{
    bool any = false;

    nx_list_for_each_safe(pos, tmp, &link->asked)
    {
        nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);

        if (!a->retry)
            continue;
        a->retry = false;
        atomic_store(&a->woken, true);
        any = true;
    }
    return any && atomic_load(&link->ready);
}

static void wake(struct nx_task *task)
{
    nexar_link *link = nx_container_of(task, nexar_link, wake);
    nexar_arrival *a;

    while ((a = next_woken(link)) != NULL)
        a->resume(a->arg);
    if (try_again(link))
        post(link, &link->wake);
    nx_conn_drop(link->conn);
}

static void talk(struct nx_task *task)
{
    nexar_link *link = nx_container_of(task, nexar_link, talk);

    link->owed_messages = link->owed_bytes = 0;
    if (link->heard != link->done && link->half != NULL) {
        link->done = link->heard;
        if (nx_carry_arrived(link, link->heard) != NEXAR_OK)
            nx_conn_fault(link->conn, "%s", nexar_last_error());
    }
    nx_carry_answer(link);
    nx_conn_drop(link->conn);
}

/* ---- arrivals ---- */

nexar_arrival *nx_arrival_new(nexar_link *link)
{
    nexar_arrival *a = nx_slab_get(&slab);

    if (a == NULL)
        return NULL;
    *a = (nexar_arrival){.way = link};
    nx_source_init(&a->source, source_resume);
    nx_list_init(&a->link);
    return a;
}

void nx_arrival_free(nexar_arrival *a)
{
    nx_source_forget(&a->way->conn->net->lanes, &a->source);
    nx_list_remove(&a->link);
    nx_slab_put(&slab, a);
}

nexar_status nx_dock_init(nexar_link *link)
{
    nx_list_init(&link->open);
    nx_list_init(&link->cut);
    nx_list_init(&link->asked);
    nx_task_init(&link->wake, wake);
    nx_task_init(&link->talk, talk);
    link->gate = nx_arrival_new(link);
    return link->gate != NULL ? NEXAR_OK : nx_fail(NEXAR_ENOMEM, "no memory for a link");
}

void nx_dock_fini(nexar_link *link)
{
    if (link->gate != NULL)
        nx_slab_put(&slab, link->gate); /* of a connection that never began */
    link->gate = NULL;
}

bool nx_arrival_is(const nexar_arrival *a, const struct nx_head *head)
{
    const struct nx_head *h = &a->head;

    return h->lane == head->lane && h->order == head->order && h->scope == head->scope && h->id == head->id &&
           h->call == head->call && h->count == head->count && h->len == head->len;
}

void nx_arrival_wake(nexar_link *link)
{
    post(link, &link->wake);
}

/* ---- numbers and answers ---- */

void nx_arrival_heard(nexar_link *link, uint64_t arrived)
{
    if (arrived <= link->heard)
        return;
    link->heard = arrived;
    if (atomic_load_explicit(&link->borrowed, memory_order_relaxed) != 0 || arrived - link->done >= HEARD_MESSAGES)
        post(link, &link->talk);
}

/* After one has begun, or has come to its end. */
void nx_arrival_count(nexar_link *link)
{
    uint64_t arrived = link->begun;

    for (const struct nx_list *pos = link->open.next; pos != &link->open; pos = pos->next) {
        const nexar_arrival *a = nx_container_of(pos, const nexar_arrival, link);

        if (a->number != 0) {
            arrived = a->number - 1;
            break;
        }
    }
    atomic_store_explicit(&link->arrived, arrived, memory_order_release);
}

void nx_arrival_owe(nexar_link *link, const nexar_arrival *a)
{
    if (a->number == 0)
        return;
    link->owed_messages++;
    link->owed_bytes += a->head.len;
    if (a->urgent || link->owed_messages >= OWED_MESSAGES || link->owed_bytes >= OWED_BYTES)
        post(link, &link->talk);
}

/* Nobody but the engine counts these. */
static void count_up(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

void nx_arrival_done(nexar_link *link, uint64_t nbytes)
{
    struct nx_way_stats *stats = &link->way->stats;

    count_up(&stats->messages_received, 1);
    count_up(&stats->bytes_received, nbytes);
    link->conn->received++;
    nx_conn_drained(link->conn);
}

/* ---- broken ways ---- */

size_t nx_dock_cut(nexar_link *link, uint64_t (*account)[2], size_t cap)
{
    struct nx_list *pos;
    size_t n = 0;

    if (link->waiting != NULL && link->waiting != link->gate)
        nx_arrival_free(link->waiting);
    link->waiting = NULL;
    while ((pos = nx_list_pop(&link->asked)) != NULL) {
        nx_list_push_back(&link->cut, pos); /* its sender knows that none of it has come */
        atomic_fetch_add(&link->conn->cut, 1);
    }
    while ((pos = nx_list_pop(&link->open)) != NULL) {
        nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);

        if (a->claimed)
            nx_dock_filled(a, 0);
        nx_list_push_back(&link->cut, &a->link);
        atomic_fetch_add(&link->conn->cut, 1);
        if (n < cap) {
            account[n][0] = a->number;
            account[n++][1] = a->got;
        }
    }
    return n;
}

static void drop(nexar_link *link, struct nx_list *list)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(list)) != NULL) {
        nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);

        nx_arrive_end(&link->conn->net->lanes, a->msg, NEXAR_EPEER);
        nx_arrival_free(a);
    }
}

void nx_dock_drop(nexar_link *link)
{
    nx_dock_cut(link, NULL, 0);
    drop(link, &link->cut);
    atomic_store(&link->conn->cut, 0);
    if (link->gate != NULL)
        nx_arrival_free(link->gate);
    link->gate = NULL;
}

struct nx_msg *nx_dock_claim(nexar_conn *conn, const struct nx_head *head, struct nx_source *source, uint64_t *have)
{
    for (uint32_t i = 0; i < conn->link_count; i++) {
        nx_list_for_each_safe(pos, tmp, &conn->links[i].cut)
        {
            nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);
            struct nx_msg *msg = a->msg;

            if (!nx_arrival_is(a, head))
                continue;
            *have = a->got;
            nx_arrive_move(&conn->net->lanes, msg, source);
            atomic_fetch_sub(&conn->cut, 1);
            nx_arrival_free(a);
            return msg;
        }
    }
    return NULL;
}
