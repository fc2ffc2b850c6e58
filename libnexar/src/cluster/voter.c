/* cluster/voter.c - the membership machine: votes, mine and those of dead processes of my host (rules A).
 *
 * Owner: the machine's thread.  A record is kept (`commit`) before the answer leaves.  Safety needs no time here; time
 * is in how long one who has promised leaves others alone. */
#include "cluster/member_parts.h"

static nx_time later(nx_time a, nx_time b)
{
    return a > b ? a : b;
}

static bool is_in(const struct nx_member *m)
{
    return m->state == NX_MEMBER_IN;
}

/* My own record, or that of a process which my host's kernel reported dead. */
static struct nx_acceptor *record(struct nx_member *m, uint32_t who, nx_time now)
{
    struct nx_uid uid = *nx_member_uid(m, who);
    struct nx_acceptor *r;

    if (who == m->rank)
        return &m->own;
    if (!nx_uids_has(&m->mine, &uid))
        return NULL;
    r = m->ops->record(m->arg, &uid);
    if (r == NULL)
        return NULL;
    nx_member_shown(m, r, now);               /* the dead may have known more than I */
    for (uint32_t i = 0; i < m->own.n; i++) { /* I know more: bring it up to date */
        if ((int64_t)m->own.history[i]->epoch > nx_acceptor_epoch(r))
            nx_acceptor_advance(r, m->own.history[i]);
    }
    return r;
}

/* The record with which to answer, or NULL: no answer, or another one that is sent here. */
static struct nx_acceptor *gate(struct nx_member *m, const struct nx_uid *from, const struct nx_member_msg *msg,
                                nx_time now)
{
    int64_t mine = nx_acceptor_epoch(&m->own), epoch = (int64_t)msg->epoch;
    struct nx_acceptor *r;
    uint32_t rank;

    if (!is_in(m) || epoch < mine) {
        if (m->state != NX_MEMBER_JOINING && epoch < mine)
            nx_learn_help(m, from, epoch, now);
        return NULL;
    }
    if (epoch > mine) {
        nx_member_send(m, from, nx_health_beat(m)); /* I am behind: ask for the chain */
        return NULL;
    }
    rank = nx_member_rank(m, from);
    if (rank == NX_NO_RANK_IN || !nx_health_usable(m, rank))
        return NULL; /* a coordinator that cannot hear me must not disturb */
    if (msg->ballot.rank != rank || msg->who >= nx_member_world(m)) {
        nx_member_lie(m, from, "a ballot that is not its own");
        return NULL;
    }
    r = record(m, msg->who, now);
    return r != NULL && nx_acceptor_epoch(r) == epoch && nx_acceptor_epoch(&m->own) == epoch && is_in(m) ? r : NULL;
}

/* Somebody is at work: let it finish. */
static void yield_to(struct nx_member *m, const struct nx_uid *from, struct nx_ballot b, nx_time now)
{
    nx_time work;

    if (b.round > m->max_round)
        m->max_round = b.round;
    if (nx_uid_same(from, &m->uid))
        return;
    work = (m->config.ballot + m->config.takeover * nx_health_position(m)) * nx_ballot_patience(m);
    m->backoff = later(m->backoff, now + work);
    if (m->attempt.open && nx_ballot_cmp(b, m->attempt.ballot) > 0)
        nx_ballot_close(m);
}

static void answer(struct nx_member *m, const struct nx_uid *to, const struct nx_member_msg *msg,
                   enum nx_member_kind kind, const struct nx_acceptor *r)
{
    struct nx_member_msg *out = nx_member_msg_new(kind, 0);

    if (out == NULL)
        return;
    out->ballot = msg->ballot;
    if (kind == NX_MEMBER_NACK) {
        out->other = r->promised;
    } else {
        out->epoch = msg->epoch;
        out->who = msg->who;
    }
    if (kind == NX_MEMBER_PROMISE) {
        out->other = r->accepted;
        out->value = r->value == NULL ? NULL : nx_entry_hold(r->value);
        out->stands = msg->who == m->rank;
        if (out->stands && !nx_health_stand(m, &out->stand)) {
            nx_member_msg_drop(out);
            return;
        }
    }
    nx_member_send(m, to, out);
}

static bool commit(struct nx_member *m, const struct nx_member_msg *msg, const struct nx_acceptor *r)
{
    return m->ops->commit(m->arg, nx_member_uid(m, msg->who), r);
}

void nx_voter_on_prepare(struct nx_member *m, const struct nx_uid *from, const struct nx_member_msg *msg, nx_time now)
{
    struct nx_acceptor *r = gate(m, from, msg, now);

    if (r == NULL)
        return;
    if (nx_ballot_cmp(msg->ballot, r->promised) < 0) {
        answer(m, from, msg, NX_MEMBER_NACK, r);
        return;
    }
    yield_to(m, from, msg->ballot, now);
    nx_acceptor_promise(r, msg->ballot);
    if (commit(m, msg, r))
        answer(m, from, msg, NX_MEMBER_PROMISE, r);
}

void nx_voter_on_propose(struct nx_member *m, const struct nx_uid *from, const struct nx_member_msg *msg, nx_time now)
{
    struct nx_acceptor *r = gate(m, from, msg, now);

    if (r == NULL)
        return;
    if (msg->value == NULL || msg->value->epoch != msg->epoch + 1) {
        nx_member_lie(m, from, "a proposal that does not follow the entry in force");
        return;
    }
    if (nx_ballot_cmp(msg->ballot, r->promised) < 0) {
        answer(m, from, msg, NX_MEMBER_NACK, r);
        return;
    }
    yield_to(m, from, msg->ballot, now);
    nx_acceptor_accept(r, msg->ballot, msg->value);
    if (commit(m, msg, r))
        answer(m, from, msg, NX_MEMBER_ACCEPT, r);
}
