/* cluster/learn.c - the membership machine: entries that were decided, for me and for those who lack them (rules L),
 * and those who want to join.
 *
 * Owner: the machine's thread.  Nothing is decided here: an entry is put in force when it is told, in its order. */
#include "cluster/member_parts.h"

#include "base/mem.h"

void nx_learn_help(struct nx_member *m, const struct nx_uid *to, int64_t epoch, nx_time now)
{
    const struct nx_acceptor *own = &m->own;
    struct nx_member_msg *msg = nx_member_msg_new(NX_MEMBER_CHAIN, own->n);

    m->gone_at = now;
    if (msg == NULL)
        return;
    for (uint32_t i = 0; i < own->n; i++) {
        if ((int64_t)own->history[i]->epoch > epoch)
            msg->chain[msg->n++] = nx_entry_hold(own->history[i]);
    }
    msg->behind = msg->n > 0 && (int64_t)msg->chain[0]->epoch > epoch + 1;
    msg->whole = msg->n > 0 && nx_entry_admits(msg->chain[0], to);
    nx_member_send(m, to, msg);
}

void nx_learn_entry(struct nx_member *m, struct nx_entry *e, nx_time now)
{
    if ((m->state == NX_MEMBER_JOINING && nx_entry_admits(e, &m->uid)) ||
        (m->state == NX_MEMBER_IN && (int64_t)e->epoch == nx_acceptor_epoch(&m->own) + 1))
        nx_learn_install(m, e, now);
}

void nx_learn_on_chain(struct nx_member *m, const struct nx_member_msg *msg, nx_time now)
{
    if (msg->behind && m->state == NX_MEMBER_IN) { /* who is that late has been excluded long ago */
        struct nx_member_event event = {.kind = NX_MEMBER_INSTALLED,
                                        .before = nx_acceptor_epoch(&m->own),
                                        .entry = msg->n > 0 ? msg->chain[msg->n - 1] : NULL};

        if (msg->n > 0 && (int64_t)msg->chain[0]->epoch > event.before + 1) {
            nx_ballot_close(m);
            m->state = NX_MEMBER_EXCLUDED;
            m->ops->event(m->arg, &event);
        }
        return;
    }
    for (uint32_t i = 0; i < msg->n; i++)
        nx_learn_entry(m, msg->chain[i], now);
}

static uint32_t candidate_place(const struct nx_member *m, const struct nx_uid *uid)
{
    uint32_t i = 0;

    while (i < m->n_candidates && nx_uid_cmp(&m->candidate[i].uid, uid) < 0)
        i++;
    return i;
}

void nx_member_shown(struct nx_member *m, const struct nx_acceptor *other, nx_time now)
{
    if (m->state != NX_MEMBER_IN || nx_acceptor_epoch(other) <= nx_acceptor_epoch(&m->own))
        return;
    for (uint32_t i = 0; i < other->n; i++)
        nx_learn_entry(m, other->history[i], now);
}

static void forget_candidate(struct nx_member *m, uint32_t i)
{
    m->n_candidates--;
    memmove(m->candidate + i, m->candidate + i + 1, (m->n_candidates - i) * sizeof(m->candidate[0]));
}

void nx_learn_expire(struct nx_member *m, nx_time now)
{
    for (uint32_t i = m->n_candidates; i > 0; i--) {
        if (now - m->candidate[i - 1].heard > m->config.timeout)
            forget_candidate(m, i - 1);
    }
}

void nx_learn_on_join(struct nx_member *m, const struct nx_uid *from, nx_time now)
{
    struct nx_candidate *grown = m->candidate;
    struct nx_member_msg *msg;
    uint32_t i;

    if (m->state != NX_MEMBER_IN)
        return;
    for (i = 0; i < m->own.n; i++) {
        if (nx_entry_admits(m->own.history[i], from)) {
            nx_learn_help(m, from, (int64_t)m->own.history[i]->epoch - 1, now);
            return;
        }
    }
    i = candidate_place(m, from);
    if (i == m->n_candidates || !nx_uid_same(&m->candidate[i].uid, from)) {
        if (m->n_candidates < NX_CANDIDATES_MAX)
            grown = nx_realloc(m->candidate, (m->n_candidates + 1) * sizeof(*grown));
        if (m->n_candidates == NX_CANDIDATES_MAX || grown == NULL)
            return; /* it asks again */
        m->candidate = grown;
        memmove(grown + i + 1, grown + i, (m->n_candidates - i) * sizeof(*grown));
        m->n_candidates++;
    }
    m->candidate[i] = (struct nx_candidate){.uid = *from, .heard = now};
    msg = nx_member_msg_new(NX_MEMBER_JOINACK, 0);
    if (msg != NULL) {
        msg->uids.at = nx_alloc(nx_member_world(m) * sizeof(struct nx_uid));
        if (msg->uids.at != NULL) {
            msg->uids.n = nx_member_world(m);
            memcpy(msg->uids.at, nx_member_entry(m)->roll->uid, msg->uids.n * sizeof(struct nx_uid));
        }
    }
    nx_member_send(m, from, msg);
}

void nx_learn_on_joinack(struct nx_member *m, const struct nx_member_msg *msg)
{
    struct nx_uid *asked;

    if (m->state != NX_MEMBER_JOINING || msg->uids.n == 0)
        return;
    asked = nx_alloc(msg->uids.n * sizeof(*asked));
    if (asked == NULL)
        return;
    memcpy(asked, msg->uids.at, msg->uids.n * sizeof(*asked));
    nx_uids_free(&m->asked);
    m->asked = (struct nx_uids){.n = msg->uids.n, .at = asked};
}

static bool is_known(const struct nx_mate *mate)
{
    return mate->heard != 0 || mate->suspected || mate->beat != NULL || mate->witnesses.n != 0;
}

/* What is known of those who stay goes over to their new ranks; of those who go, nothing does. */
static struct nx_mate *carry(struct nx_member *m, const struct nx_entry *e, nx_time now)
{
    struct nx_mate *mate = nx_calloc(e->roll->n, sizeof(*mate));
    uint32_t gone = 0, to = 0;

    if (mate == NULL)
        return NULL;
    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        if (gone < e->n_gone && e->gone[gone].rank == i) {
            nx_member_msg_drop(m->mate[i].beat);
            nx_uids_free(&m->mate[i].witnesses);
            gone++;
        } else {
            if (is_known(&m->mate[i]))
                mate[to] = m->mate[i];
            to++;
        }
    }
    for (; to < e->roll->n; to++)
        mate[to].heard = now;
    return mate;
}

static void close_calls(struct nx_member *m, const struct nx_entry *e)
{
    if (e->agree && m->agree == e->agrees) {
        struct nx_member_event event = {.kind = NX_MEMBER_AGREED, .entry = e};

        m->agree = 0;
        m->flag = 0;
        m->ops->event(m->arg, &event);
    }
    if (e->checkpoint)
        m->ready = m->leaving = false;
}

bool nx_learn_install(struct nx_member *m, struct nx_entry *e, nx_time now)
{
    struct nx_member_event event = {.kind = NX_MEMBER_INSTALLED, .before = nx_acceptor_epoch(&m->own), .entry = e};
    struct nx_mate *mate = carry(m, e, now);

    if (mate == NULL)
        return false;
    nx_ballot_close(m);
    nx_free(m->mate);
    m->mate = mate;
    nx_acceptor_advance(&m->own, e);
    m->rank = nx_entry_rank(e, &m->uid);
    m->needed = false;
    m->max_round = 0;
    m->backoff = 0;
    for (uint32_t i = 0; i < e->roll->n; i++)
        nx_health_read(m, i);
    for (uint32_t i = m->n_candidates; i > 0; i--) {
        if (nx_entry_rank(e, &m->candidate[i - 1].uid) != NX_NO_RANK_IN)
            forget_candidate(m, i - 1);
    }
    for (uint32_t i = 0; i < m->mine.n; i++)
        nx_health_witness(m, &m->mine.at[i], &m->uid);
    m->ops->commit(m->arg, &m->uid, &m->own);
    m->ops->event(m->arg, &event);
    close_calls(m, e);
    m->gone_at = now;
    m->state = m->rank != NX_NO_RANK_IN ? NX_MEMBER_IN : NX_MEMBER_EXCLUDED;
    for (uint32_t i = 0; i < e->n_gone; i++) {
        if (e->gone[i].left && nx_uid_same(&e->gone[i].uid, &m->uid))
            m->state = NX_MEMBER_GONE;
    }
    return true;
}
