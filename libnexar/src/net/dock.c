/* net/dock.c - messages that arrive by a module's way: checked, numbered, and handed in at the door (arrive.h).
 *
 * Owner: the engine.  When a way breaks, what has begun to arrive is not lost: it waits for its rest, which comes by
 * QUIC.  Answers, which end sends of ours, are looked at in a task: a module may be in the middle of something here. */
#include "net/way.h"

#include "base/bytes.h"
#include "base/slab.h"
#include "net/match.h"

#include <string.h>

enum {
    OWED_MESSAGES = 32, /* that have arrived, after which the peer is told */
    OWED_BYTES = 256 << 10,
    HEARD_MESSAGES = 16, /* copies that are not needed any more, after which they are freed */
};

struct nexar_arrival {
    struct nx_source source;
    struct nx_list link; /* nexar_link.open or .cut */
    nexar_link *way;
    struct nx_msg *msg;
    struct nx_head head;
    uint64_t number; /* 0: its way cannot fail */
    uint64_t got;
    bool urgent; /* its sender waits for the answer */
    bool alone;
    bool claimed; /* the module writes into a receive's memory */
    void (*resume)(void *arg);
    void *arg;
    _Atomic bool woken;
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
    return NULL;
}

static void wake(struct nx_task *task)
{
    nexar_link *link = nx_container_of(task, nexar_link, wake);
    nexar_arrival *a;

    while ((a = next_woken(link)) != NULL)
        a->resume(a->arg);
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

static nexar_arrival *new_arrival(nexar_link *link)
{
    nexar_arrival *a = nx_slab_get(&slab);

    if (a == NULL)
        return NULL;
    *a = (nexar_arrival){.way = link};
    nx_source_init(&a->source, source_resume);
    nx_list_init(&a->link);
    return a;
}

static void free_arrival(nexar_arrival *a)
{
    nx_source_forget(&a->way->conn->net->lanes, &a->source);
    nx_list_remove(&a->link);
    nx_slab_put(&slab, a);
}

nexar_status nx_dock_init(nexar_link *link)
{
    nx_list_init(&link->open);
    nx_list_init(&link->cut);
    nx_task_init(&link->wake, wake);
    nx_task_init(&link->talk, talk);
    link->gate = new_arrival(link);
    return link->gate != NULL ? NEXAR_OK : nx_fail(NEXAR_ENOMEM, "no memory for a link");
}

void nx_dock_fini(nexar_link *link)
{
    if (link->gate != NULL)
        free_arrival(link->gate);
    link->gate = NULL;
}

/* ---- numbers and answers ---- */

static void heard(nexar_link *link, uint64_t arrived)
{
    if (arrived <= link->heard)
        return;
    link->heard = arrived;
    if (atomic_load_explicit(&link->borrowed, memory_order_relaxed) != 0 || arrived - link->done >= HEARD_MESSAGES)
        post(link, &link->talk);
}

/* After one has begun, or has come to its end. */
static void count_arrived(nexar_link *link)
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

static void owe(nexar_link *link, const nexar_arrival *a)
{
    if (a->number == 0)
        return;
    link->owed_messages++;
    link->owed_bytes += a->head.len;
    if (a->urgent || link->owed_messages >= OWED_MESSAGES || link->owed_bytes >= OWED_BYTES)
        post(link, &link->talk);
}

static void count(nexar_link *link, uint64_t nbytes)
{
    struct nx_way_stats *stats = &link->way->stats;

    atomic_fetch_add_explicit(&stats->messages_received, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->bytes_received, nbytes, memory_order_relaxed);
    link->conn->received++;
    nx_conn_drained(link->conn);
}

/* ---- heads ---- */

static nexar_status no_head(const char *what)
{
    return nx_fail(NEXAR_EPROTO, "it sent a message %s", what);
}

/* Reads a head into `a`.  NEXAR_ECLOSED: it was an answer, and is done with. */
static nexar_status read_head(nexar_link *link, nexar_arrival *a, const void *head, uint32_t n, uint64_t nbytes)
{
    struct nx_reader in = nx_reader(head, n), none;
    struct nx_parser parser;

    if (link->half == NULL || atomic_load(&link->conn->ended))
        return nx_fail(NEXAR_EPROTO, "the link is not attached");
    if (n == sizeof(uint64_t) && nbytes == 0) {
        heard(link, nx_read64(&in));
        return NEXAR_ECLOSED;
    }
    if (n != NX_HEAD_MAX && n != NX_HEAD_MAX + NX_WAY_TAIL)
        return no_head("whose head has another length than ours");
    nx_parser_init(&parser, NX_DIALECT_OWN, UINT64_C(1) << 62);
    if (nx_parser_next(&parser, &in, &none) != NX_PARSE_HEAD || parser.head.tag != NX_TAG_MESSAGE ||
        nx_lane_framed(parser.head.lane))
        return no_head("whose head is none");
    if (parser.head.len != nbytes)
        return no_head("that is not as long as its head says");
    a->head = parser.head;
    a->number = 0;
    a->urgent = false;
    a->got = 0;
    if (n == NX_HEAD_MAX)
        return NEXAR_OK;
    a->number = nx_read64(&in);
    a->urgent = (a->number & NX_WAY_URGENT) != 0;
    a->number &= ~NX_WAY_URGENT;
    if (a->number != link->begun + 1)
        return no_head("out of turn");
    heard(link, nx_read64(&in));
    return NEXAR_OK;
}

static bool too_many_open(const nexar_link *link)
{
    uint32_t n = 0;

    for (const struct nx_list *pos = link->open.next; pos != &link->open; pos = pos->next)
        n++;
    return n >= NEXAR_BULK_OPEN_MAX;
}

/* ---- the module's calls ---- */

nexar_status nx_dock_begin(nexar_link *link, const void *head, uint32_t head_nbytes, uint64_t nbytes, int alone,
                           void (*resume)(void *arg), void *arg, nexar_arrival **out)
{
    struct nx_lanes *lanes = &link->conn->net->lanes;
    nexar_arrival *a = link->waiting != NULL && link->waiting != link->gate ? link->waiting : new_arrival(link);
    nexar_status st;

    *out = NULL;
    link->waiting = NULL;
    if (a == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a message");
    st = read_head(link, a, head, head_nbytes, nbytes);
    if (st == NEXAR_OK && too_many_open(link))
        st = nx_fail(NEXAR_EPROTO, "it began more than %d messages at once", NEXAR_BULK_OPEN_MAX);
    if (st == NEXAR_OK) {
        a->resume = resume;
        a->arg = arg;
        a->alone = alone != 0;
        a->source.shared = alone == 0;
        a->msg = nx_arrive_begin(lanes, atomic_load(&link->conn->peer)->rank, &a->head, a->head.lane != NX_LANE_COLL,
                                 &a->source, &st);
    }
    if (st == NEXAR_EAGAIN) {
        link->waiting = a;
        return st;
    }
    if (st != NEXAR_OK) {
        free_arrival(a);
        return st == NEXAR_ECLOSED ? NEXAR_OK : st;
    }
    link->begun += a->number != 0;
    nx_list_push_back(&link->open, &a->link);
    count_arrived(link);
    *out = a;
    return NEXAR_OK;
}

nexar_status nx_dock_whole(nexar_link *link, const void *head, uint32_t head_nbytes, const void *payload,
                           uint64_t nbytes, void (*resume)(void *arg), void *arg)
{
    struct nx_lanes *lanes = &link->conn->net->lanes;
    nexar_arrival *a = link->gate;
    nexar_status st = read_head(link, a, head, head_nbytes, nbytes);
    uint32_t rank;

    if (st != NEXAR_OK)
        return st == NEXAR_ECLOSED ? NEXAR_OK : st;
    link->waiting = NULL;
    rank = atomic_load(&link->conn->peer)->rank;
    a->resume = resume;
    a->arg = arg;
    a->source.shared = true;
    a->source.whole = nbytes > NX_MSG_SMALL;
    if (nbytes <= NX_MSG_SMALL) {
        st = nx_arrive_small(lanes, rank, &a->head, a->head.lane != NX_LANE_COLL, &a->source, payload);
    } else {
        a->msg = nx_arrive_begin(lanes, rank, &a->head, a->head.lane != NX_LANE_COLL, &a->source, &st);
        if (a->msg != NULL) {
            if (nx_arrive_write(lanes, a->msg, payload, nbytes, &st) != nbytes && st == NEXAR_EAGAIN)
                st = nx_fail(NEXAR_EPROTO, "it sent more after its farewell than can have been under way");
            nx_arrive_end(lanes, a->msg, st);
            a->msg = NULL;
        }
    }
    if (st == NEXAR_EAGAIN)
        link->waiting = a;
    if (st != NEXAR_OK)
        return st;
    if (a->number != 0) {
        link->begun++;
        count_arrived(link);
        owe(link, a);
    }
    count(link, nbytes);
    return NEXAR_OK;
}

nexar_status nx_dock_memory(nexar_arrival *a, void **p, uint64_t *n)
{
    uint8_t *at = NULL;
    nexar_status st = nx_arrive_place(&a->way->conn->net->lanes, a->msg, &at, n, a->alone);

    *p = at;
    a->claimed = st == NEXAR_OK;
    return st;
}

void nx_dock_filled(nexar_arrival *a, uint64_t n)
{
    a->claimed = false;
    a->got += n;
    nx_arrive_placed(&a->way->conn->net->lanes, a->msg, n);
}

nexar_status nx_dock_write(nexar_arrival *a, const void *bytes, size_t n, size_t *taken)
{
    nexar_status st;

    *taken = nx_arrive_write(&a->way->conn->net->lanes, a->msg, bytes, n, &st);
    a->got += *taken;
    return st;
}

void nx_dock_end(nexar_arrival *a)
{
    nexar_link *link = a->way;

    nx_list_remove(&a->link);
    if (a->number != 0) {
        count_arrived(link);
        owe(link, a);
    }
    nx_arrive_end(&link->conn->net->lanes, a->msg, NEXAR_OK);
    count(link, a->head.len);
    free_arrival(a);
}

/* ---- broken ways ---- */

size_t nx_dock_cut(nexar_link *link, uint64_t (*account)[2], size_t cap)
{
    struct nx_list *pos;
    size_t n = 0;

    if (link->waiting != NULL && link->waiting != link->gate)
        free_arrival(link->waiting);
    link->waiting = NULL;
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
        free_arrival(a);
    }
}

void nx_dock_drop(nexar_link *link)
{
    nx_dock_cut(link, NULL, 0);
    drop(link, &link->cut);
    atomic_store(&link->conn->cut, 0);
}

static bool is_rest(const nexar_arrival *a, const struct nx_head *head)
{
    const struct nx_head *h = &a->head;

    return h->lane == head->lane && h->order == head->order && h->scope == head->scope && h->id == head->id &&
           h->call == head->call && h->count == head->count && h->len == head->len;
}

struct nx_msg *nx_dock_claim(nexar_conn *conn, const struct nx_head *head, struct nx_source *source, uint64_t *have)
{
    for (uint32_t i = 0; i < conn->link_count; i++) {
        nx_list_for_each_safe(pos, tmp, &conn->links[i].cut)
        {
            nexar_arrival *a = nx_container_of(pos, nexar_arrival, link);
            struct nx_msg *msg = a->msg;

            if (!is_rest(a, head))
                continue;
            *have = a->got;
            nx_arrive_move(&conn->net->lanes, msg, source);
            atomic_fetch_sub(&conn->cut, 1);
            free_arrival(a);
            return msg;
        }
    }
    return NULL;
}
