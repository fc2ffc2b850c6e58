/* cluster/ballot.c - the membership machine: my own ballots (rules C and K).
 *
 * Owner: the machine's thread.  Any member may have a ballot at any time; that two of them never decide differently is
 * the business of the promises, not of the timers here, which only keep members out of each other's way. */
#include "cluster/member_parts.h"

#include "base/mem.h"

static nx_time later(nx_time a, nx_time b)
{
    return a > b ? a : b;
}

nx_time nx_ballot_patience(const struct nx_member *m)
{
    nx_time k = 1 + m->max_round / 2;

    return k < 6 ? k : 6;
}

void nx_ballot_close(struct nx_member *m)
{
    struct nx_attempt *a = &m->attempt;

    if (!a->open)
        return;
    for (uint32_t i = 0; i < nx_member_world(m); i++)
        nx_member_msg_drop(a->promise[i]);
    nx_free(a->promise);
    nx_free(a->accepted);
    nx_entry_drop(a->value);
    *a = (struct nx_attempt){0};
}

static void drop(struct nx_member *m, nx_time now)
{
    nx_ballot_close(m);
    m->backoff =
        later(m->backoff, now + 100 * NX_MS + m->config.takeover * nx_health_position(m) * nx_ballot_patience(m));
}

/* To everybody who can vote, by itself or by its witness. */
static void ask(struct nx_member *m, enum nx_member_kind kind)
{
    struct nx_attempt *a = &m->attempt;

    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        uint32_t via = nx_health_via(m, i);
        struct nx_member_msg *msg = via == NX_NO_RANK_IN ? NULL : nx_member_msg_new(kind, 0);

        if (msg == NULL)
            continue;
        msg->ballot = a->ballot;
        msg->epoch = nx_member_entry(m)->epoch;
        msg->who = i;
        msg->value = a->value == NULL ? NULL : nx_entry_hold(a->value);
        nx_member_send(m, nx_member_uid(m, via), msg);
    }
}

/* How many can vote; a ballot that cannot win only disturbs. */
static bool voters(const struct nx_member *m, uint32_t *n)
{
    bool rank_0 = false;

    *n = 0;
    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        if (nx_health_via(m, i) != NX_NO_RANK_IN) {
            (*n)++;
            rank_0 = rank_0 || i == 0;
        }
    }
    return nx_quorum(nx_member_world(m), *n, rank_0);
}

static void start(struct nx_member *m, nx_time now)
{
    struct nx_attempt *a = &m->attempt;
    uint32_t n, world = nx_member_world(m);

    if (!voters(m, &n))
        return;
    a->promise = nx_calloc(world, sizeof(a->promise[0]));
    a->accepted = nx_calloc(world, sizeof(a->accepted[0]));
    if (a->promise == NULL || a->accepted == NULL) { /* the next tick tries again */
        nx_free(a->promise);
        nx_free(a->accepted);
        *a = (struct nx_attempt){0};
        return;
    }
    a->open = true;
    a->asked = n;
    a->ballot = (struct nx_ballot){.round = m->max_round + 1, .rank = m->rank};
    ask(m, NX_MEMBER_PREPARE); /* of the witnesses by the round before this one */
    m->max_round++;
    a->phase1_ends = now + m->config.phase1 * nx_ballot_patience(m);
    a->ends = now + m->config.ballot * nx_ballot_patience(m);
}

static void decide(struct nx_member *m, nx_time now)
{
    struct nx_entry *e = nx_entry_hold(m->attempt.value), *old = nx_entry_hold(nx_acceptor_entry(&m->own));
    struct nx_member_msg *change = nx_member_msg_new(NX_MEMBER_CHAIN, 1);
    struct nx_member_msg *whole = nx_member_msg_new(NX_MEMBER_CHAIN, 1);

    if (change == NULL || whole == NULL || !nx_learn_install(m, e, now))
        goto done; /* those who have accepted it carry it on */
    change->n = whole->n = 1;
    change->chain[0] = nx_entry_hold(e);
    whole->chain[0] = nx_entry_hold(e);
    whole->whole = true;
    for (uint32_t i = 0; i < old->roll->n; i++) {
        if (!nx_uid_same(&old->roll->uid[i], &m->uid))
            nx_member_send(m, &old->roll->uid[i], nx_member_msg_hold(change));
    }
    for (uint32_t i = e->roll->n - e->joined; i < e->roll->n; i++)
        nx_member_send(m, &e->roll->uid[i], nx_member_msg_hold(whole));
done:
    nx_member_msg_drop(change);
    nx_member_msg_drop(whole);
    nx_entry_drop(e);
    nx_entry_drop(old);
}

/* What was accepted in the highest ballot must be proposed again: it may have been decided. */
static void choose(struct nx_member *m, nx_time now)
{
    struct nx_attempt *a = &m->attempt;
    const struct nx_member_msg *best = NULL;

    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        const struct nx_member_msg *p = a->promise[i];

        if (p != NULL && p->value != NULL && (best == NULL || nx_ballot_cmp(p->other, best->other) > 0))
            best = p;
    }
    a->value = best != NULL ? nx_entry_hold(best->value) : nx_change_make(m);
    if (a->value == NULL)
        drop(m, now);
    else
        ask(m, NX_MEMBER_PROPOSE);
}

static bool quorum_of_promises(const struct nx_member *m)
{
    return nx_quorum(nx_member_world(m), m->attempt.promises, m->attempt.promise[0] != NULL);
}

void nx_ballot_check(struct nx_member *m, nx_time now)
{
    struct nx_attempt *a = &m->attempt;
    nx_time settle = m->config.settle;
    enum nx_need need;

    if (m->state != NX_MEMBER_IN)
        return;
    if (a->open) {
        if (a->value == NULL && quorum_of_promises(m) && (a->promises >= a->asked || now >= a->phase1_ends))
            choose(m, now);
        else if (now >= a->ends)
            drop(m, now);
        return;
    }
    need = nx_health_need(m);
    if (need == NX_NEED_NOTHING) {
        m->needed = false;
        return;
    }
    if (need == NX_NEED_CALLS)
        settle = 0; /* nothing more will come */
    if (!m->needed)
        m->need_since = now;
    m->needed = true;
    if (now < m->backoff)
        return;
    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        if (m->mate[i].witnesses.n != 0)
            settle = 0; /* a death is certain */
    }
    if (now >= m->need_since + settle + nx_health_position(m) * m->config.takeover)
        start(m, now);
}

void nx_ballot_watch_quorum(struct nx_member *m, nx_time now)
{
    struct nx_member_event event = {.entry = nx_member_entry(m)};
    uint32_t n;
    bool is_short = m->needed && !voters(m, &n);

    if (is_short && !m->is_short)
        m->short_since = now;
    m->is_short = is_short;
    if (is_short ? m->told_short || now - m->short_since < m->config.quorum_wait : !m->told_short)
        return;
    m->told_short = is_short;
    event.kind = is_short ? NX_MEMBER_NO_QUORUM : NX_MEMBER_QUORUM;
    m->ops->event(m->arg, &event);
}

void nx_ballot_on_promise(struct nx_member *m, struct nx_member_msg *msg, nx_time now)
{
    struct nx_attempt *a = &m->attempt;

    if (!a->open || nx_ballot_cmp(a->ballot, msg->ballot) != 0 || a->value != NULL ||
        (int64_t)msg->epoch != nx_acceptor_epoch(&m->own))
        return;
    a->promises += a->promise[msg->who] == NULL;
    nx_member_msg_drop(a->promise[msg->who]);
    a->promise[msg->who] = nx_member_msg_hold(msg);
    nx_ballot_check(m, now);
}

void nx_ballot_on_accept(struct nx_member *m, const struct nx_member_msg *msg, nx_time now)
{
    struct nx_attempt *a = &m->attempt;

    if (!a->open || nx_ballot_cmp(a->ballot, msg->ballot) != 0 || a->value == NULL ||
        (int64_t)msg->epoch != nx_acceptor_epoch(&m->own))
        return;
    a->accepts += !a->accepted[msg->who];
    a->accepted[msg->who] = true;
    if (nx_quorum(nx_member_world(m), a->accepts, a->accepted[0]))
        decide(m, now);
}

void nx_ballot_on_nack(struct nx_member *m, const struct nx_member_msg *msg, nx_time now)
{
    if (msg->other.round > m->max_round)
        m->max_round = msg->other.round;
    if (m->attempt.open && nx_ballot_cmp(m->attempt.ballot, msg->ballot) == 0)
        drop(m, now);
}
