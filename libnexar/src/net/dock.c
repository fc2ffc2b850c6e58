/* net/dock.c - messages that arrive by a module's way: checked, numbered, and handed in at the door (arrive.h).
 *
 * Owner: the engine.  What waits and what is left of it when a way breaks, arrival.c keeps. */
#include "net/arrival.h"

#include "base/bytes.h"
#include "net/match.h"

/* ---- heads ---- */

static nexar_status no_head(const char *what)
{
    return nx_fail(NEXAR_EPROTO, "it sent a message %s", what);
}

/* The peer wants what was promised. */
static nexar_status asked_for(nexar_link *link, struct nx_reader *in)
{
    uint64_t number = nx_read64(in);
    nexar_status st;

    if (nx_read64(in) != NX_WAY_GO)
        return no_head("whose head is none");
    st = nx_carry_go(link, number);
    return st == NEXAR_OK ? NEXAR_ECLOSED : st;
}

/* Reads a head into `a`.  NEXAR_ECLOSED: it was an answer, and is done with. */
static nexar_status read_head(nexar_link *link, nexar_arrival *a, const void *head, uint32_t n, uint64_t nbytes)
{
    struct nx_reader in = nx_reader(head, n);
    bool is_promise;

    if (link->half == NULL || atomic_load(&link->conn->ended))
        return nx_fail(NEXAR_EPROTO, "the link is not attached");
    if (n == NX_WAY_ANSWER && nbytes == 0) {
        nx_arrival_heard(link, nx_read64(&in));
        return NEXAR_ECLOSED;
    }
    if (n == NX_WAY_ASKS && nbytes == 0)
        return asked_for(link, &in);
    if (n != NX_WAY_PLAIN && n != NX_WAY_PROMISE && n != NX_WAY_PLAIN + NX_WAY_TAIL &&
        n != NX_WAY_PROMISE + NX_WAY_TAIL)
        return no_head("whose head has another length than ours");
    if (nx_head_decode(nx_read(&in, NX_HEAD_MAX), UINT64_C(1) << 62, &a->head) != NX_STREAM_FINE ||
        a->head.tag != NX_TAG_MESSAGE || nx_lane_framed(a->head.lane))
        return no_head("whose head is none");
    a->number = a->promise = 0;
    a->urgent = false;
    a->got = 0;
    if (n == NX_WAY_PROMISE || n == NX_WAY_PROMISE + NX_WAY_TAIL)
        a->promise = nx_read64(&in);
    is_promise = a->promise != 0 && (a->promise & NX_WAY_DATA) == 0;
    if (a->head.len != nbytes && !(is_promise && nbytes == 0 && n == NX_WAY_PROMISE))
        return no_head("that is not as long as its head says");
    if (n == NX_WAY_PLAIN || n == NX_WAY_PROMISE)
        return NEXAR_OK;
    a->number = nx_read64(&in);
    a->urgent = (a->number & NX_WAY_URGENT) != 0;
    a->number &= ~NX_WAY_URGENT;
    if (a->number != link->begun + 1)
        return no_head("out of turn");
    nx_arrival_heard(link, nx_read64(&in));
    return NEXAR_OK;
}

static bool too_many_open(const nexar_link *link)
{
    uint32_t n = 0;

    for (const struct nx_list *pos = link->open.next; pos != &link->open; pos = pos->next)
        n++;
    return n >= NEXAR_BULK_OPEN_MAX;
}

/* ---- promises ---- */

/* Asks for it if somebody receives it; else that is looked at again when somebody does. */
static void ask(void *arg)
{
    nexar_arrival *a = arg;
    struct nx_lanes *lanes = &a->way->conn->net->lanes;
    uint64_t n = 0;
    uint8_t *at;
    nexar_status st = nx_arrive_place(lanes, a->msg, &at, &n, true);

    if (st == NEXAR_OK)
        nx_arrive_placed(lanes, a->msg, 0);
    if (st == NEXAR_EAGAIN)
        return;
    if (nx_carry_ask(a->way, a->promise))
        a->waits = false;
    else
        a->retry = true; /* when the way is ready, or at the next turn */
}

void nx_dock_ready(nexar_link *link)
{
    if (!nx_list_empty(&link->asked))
        nx_arrival_wake(link);
}

/* It waits, at its sender. */
static void begin_promised(nexar_link *link, nexar_arrival *a)
{
    a->waits = true;
    a->resume = ask;
    a->arg = a;
    nx_list_push_back(&link->asked, &a->link);
    ask(a);
}

/* What was promised comes: `a` has its head.  NULL: it was not asked for. */
static nexar_arrival *find_promised(nexar_link *link, const nexar_arrival *a)
{
    nx_list_for_each_safe(pos, tmp, &link->asked)
    {
        nexar_arrival *found = nx_container_of(pos, nexar_arrival, link);

        if ((found->promise | NX_WAY_DATA) == a->promise && !found->waits && nx_arrival_is(found, &a->head))
            return found;
    }
    return NULL;
}

/* ---- the module's calls ---- */

/* Announces it.  NEXAR_EAGAIN: it waits for room, and is kept as link->waiting. */
static nexar_status announce(nexar_link *link, nexar_arrival *a, bool shared)
{
    nexar_status st;

    a->alone = !shared;
    a->source.shared = shared;
    a->msg = nx_arrive_begin(&link->conn->net->lanes, atomic_load(&link->conn->peer)->rank, &a->head,
                             a->head.lane != NX_LANE_COLL, &a->source, &st);
    if (st == NEXAR_EAGAIN)
        link->waiting = a;
    return st;
}

/* From now on its payload comes. */
static nexar_arrival *open_up(nexar_link *link, nexar_arrival *a)
{
    link->begun += a->number != 0;
    nx_list_push_back(&link->open, &a->link);
    nx_arrival_count(link);
    return a;
}

/* `a`, whose head was read, is a promise, or what was promised: then *out is that. */
static nexar_status keep_promise(nexar_link *link, nexar_arrival *a, nexar_arrival **out)
{
    nexar_arrival *found;
    nexar_status st;

    if ((a->promise & NX_WAY_DATA) == 0) {
        st = announce(link, a, false);
        if (st == NEXAR_OK)
            begin_promised(link, a);
        return st;
    }
    found = find_promised(link, a);
    if (found == NULL)
        return no_head("that was not asked for");
    nx_list_remove(&found->link);
    found->number = a->number;
    found->urgent = a->urgent;
    found->resume = a->resume;
    found->arg = a->arg;
    found->alone = false;
    found->source.shared = true; /* it is in everybody's way now */
    *out = open_up(link, found);
    nx_arrival_free(a);
    return NEXAR_OK;
}

nexar_status nx_dock_begin(nexar_link *link, const void *head, uint32_t head_nbytes, uint64_t nbytes, int alone,
                           void (*resume)(void *arg), void *arg, nexar_arrival **out)
{
    nexar_arrival *a = link->waiting != NULL && link->waiting != link->gate ? link->waiting : nx_arrival_new(link);
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
        if (a->promise != 0)
            st = keep_promise(link, a, out);
        else if ((st = announce(link, a, alone == 0)) == NEXAR_OK)
            *out = open_up(link, a);
    }
    if (st == NEXAR_OK || st == NEXAR_EAGAIN)
        return st;
    nx_arrival_free(a);
    return st == NEXAR_ECLOSED ? NEXAR_OK : st;
}

/* What was promised, in one piece. */
static nexar_status whole_promise(nexar_link *link, const void *head, uint32_t head_nbytes, const void *payload,
                                  uint64_t nbytes, void (*resume)(void *arg), void *arg)
{
    nexar_arrival *a;
    nexar_status st = nx_dock_begin(link, head, head_nbytes, nbytes, 0, resume, arg, &a);
    size_t taken;

    if (a == NULL)
        return st;
    a->source.whole = true;
    st = nx_dock_write(a, payload, nbytes, &taken);
    if (st == NEXAR_OK)
        nx_dock_end(a);
    return st == NEXAR_EAGAIN ? nx_fail(NEXAR_EPROTO, "it sent more after its farewell than there can be") : st;
}

static nexar_status whole(nexar_link *link, nexar_arrival *a, const void *payload, uint64_t nbytes)
{
    struct nx_lanes *lanes = &link->conn->net->lanes;
    uint32_t rank = atomic_load(&link->conn->peer)->rank;
    bool ordered = a->head.lane != NX_LANE_COLL;
    nexar_status st;

    a->source.shared = true;
    a->source.whole = nbytes > NX_MSG_SMALL;
    if (nx_arrive_expected(lanes, rank, &a->head, &a->source, payload))
        return NEXAR_OK;
    if (nbytes <= NX_MSG_SMALL)
        return nx_arrive_small(lanes, rank, &a->head, ordered, &a->source, payload);
    a->msg = nx_arrive_begin(lanes, rank, &a->head, ordered, &a->source, &st);
    if (a->msg == NULL)
        return st;
    if (nx_arrive_write(lanes, a->msg, payload, nbytes, &st) != nbytes && st == NEXAR_EAGAIN)
        st = nx_fail(NEXAR_EPROTO, "it sent more after its farewell than can have been under way");
    nx_arrive_end(lanes, a->msg, st);
    a->msg = NULL;
    return st;
}

nexar_status nx_dock_whole(nexar_link *link, const void *head, uint32_t head_nbytes, const void *payload,
                           uint64_t nbytes, void (*resume)(void *arg), void *arg)
{
    nexar_arrival *a = link->gate;
    nexar_status st;

    if (head_nbytes == NX_WAY_PROMISE || head_nbytes == NX_WAY_PROMISE + NX_WAY_TAIL)
        return whole_promise(link, head, head_nbytes, payload, nbytes, resume, arg);
    st = read_head(link, a, head, head_nbytes, nbytes);
    if (st != NEXAR_OK)
        return st == NEXAR_ECLOSED ? NEXAR_OK : st;
    link->waiting = NULL;
    a->resume = resume;
    a->arg = arg;
    st = whole(link, a, payload, nbytes);
    if (st == NEXAR_EAGAIN)
        link->waiting = a;
    if (st != NEXAR_OK)
        return st;
    if (a->number != 0) {
        link->begun++;
        nx_arrival_count(link);
        nx_arrival_owe(link, a);
    }
    nx_arrival_done(link, nbytes);
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
        nx_arrival_count(link);
        nx_arrival_owe(link, a);
    }
    nx_arrive_end(&link->conn->net->lanes, a->msg, NEXAR_OK);
    nx_arrival_done(link, a->head.len);
    nx_arrival_free(a);
}
