/* cluster/health.c - the membership machine: who is heard, suspected or dead, and what is told of it (rules S and N).
 *
 * Owner: the machine's thread.  Silence is told by time alone, death by the kernel of a host alone; a suspicion is
 * taken back when its member is heard.  Who is to go is decided in ballot.c, never here. */
#include "cluster/member_parts.h"

#include "base/mem.h"

bool nx_health_usable(const struct nx_member *m, uint32_t rank)
{
    const struct nx_mate *mate = &m->mate[rank];

    return rank == m->rank || (!mate->suspected && mate->witnesses.n == 0 && !mate->blames_me);
}

uint32_t nx_health_position(const struct nx_member *m)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->rank; i++)
        n += nx_health_usable(m, i);
    return n;
}

/* The witness rotates with the round, so that one who fails is not asked for ever. */
static uint32_t proxy(const struct nx_member *m, uint32_t rank)
{
    const struct nx_uids *witnesses = &m->mate[rank].witnesses;
    uint32_t n = 0, i;

    if (!m->config.witnessed || witnesses->n == 0)
        return NX_NO_RANK_IN;
    for (i = 0; i < witnesses->n; i++) {
        uint32_t w = nx_member_rank(m, &witnesses->at[i]);

        n += w != NX_NO_RANK_IN && nx_health_usable(m, w);
    }
    if (n == 0)
        return NX_NO_RANK_IN;
    n = m->max_round % n;
    for (i = 0;; i++) {
        uint32_t w = nx_member_rank(m, &witnesses->at[i]);

        if (w != NX_NO_RANK_IN && nx_health_usable(m, w) && n-- == 0)
            return w;
    }
}

uint32_t nx_health_via(const struct nx_member *m, uint32_t rank)
{
    uint32_t by = proxy(m, rank);

    return by == NX_NO_RANK_IN && nx_health_usable(m, rank) ? rank : by;
}

enum nx_need nx_health_need(const struct nx_member *m)
{
    uint64_t epoch = nx_member_entry(m)->epoch;
    bool agree = m->agree != 0, ready = m->ready;

    if (m->own.value != NULL)
        return NX_NEED_EVIDENCE;
    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        const struct nx_mate *mate = &m->mate[i];
        const struct nx_member_msg *beat = mate->beat;

        if (mate->suspected)
            return NX_NEED_EVIDENCE;
        if (i == m->rank || !nx_health_usable(m, i))
            continue;
        if (beat == NULL || beat->epoch != epoch) {
            agree = ready = false;
            continue;
        }
        if (mate->blames)
            return NX_NEED_EVIDENCE;
        agree = agree && beat->stand.agree == m->agree;
        ready = ready && beat->stand.ready;
    }
    return agree || ready ? NX_NEED_CALLS : NX_NEED_NOTHING;
}

bool nx_health_stand(const struct nx_member *m, struct nx_stand *out)
{
    const struct nx_entry *e = nx_member_entry(m);
    uint32_t n = 0;

    *out = (struct nx_stand){.agree = m->agree, .flag = m->flag, .ready = m->ready, .leaving = m->leaving};
    for (uint32_t i = 0; i < e->roll->n; i++)
        n += m->mate[i].suspected;
    out->suspects.at = nx_alloc(n * sizeof(struct nx_uid) + 1);
    out->candidates.at = nx_alloc(m->n_candidates * sizeof(struct nx_uid) + 1);
    if (out->suspects.at == NULL || out->candidates.at == NULL)
        return false; /* freed with the message */
    for (uint32_t i = 0; i < e->roll->n && n > 0; i++) {
        uint32_t rank = e->roll->order[i];

        if (m->mate[rank].suspected)
            out->suspects.at[out->suspects.n++] = e->roll->uid[rank];
    }
    for (uint32_t i = 0; i < m->n_candidates; i++)
        out->candidates.at[out->candidates.n++] = m->candidate[i].uid;
    return true;
}

struct nx_member_msg *nx_health_beat(const struct nx_member *m)
{
    struct nx_member_msg *msg = nx_member_msg_new(NX_MEMBER_BEAT, 0);
    const struct nx_entry *e = nx_member_entry(m);

    if (msg == NULL)
        return NULL;
    msg->epoch = e->epoch;
    msg->stands = true;
    memcpy(msg->digest, e->digest, NX_ENTRY_DIGEST);
    msg->uids.at = nx_alloc(m->mine.n * sizeof(struct nx_uid) + 1);
    if (msg->uids.at == NULL || !nx_health_stand(m, &msg->stand)) {
        nx_member_msg_drop(msg);
        return NULL;
    }
    for (uint32_t i = 0; i < m->mine.n; i++)
        msg->uids.at[msg->uids.n++] = m->mine.at[i];
    return msg;
}

/* Also to those who are suspected: else a link that works again is never seen. */
void nx_health_tell_all(struct nx_member *m)
{
    struct nx_member_msg *msg = nx_health_beat(m);

    for (uint32_t i = 0; msg != NULL && i < nx_member_world(m); i++) {
        if (i != m->rank)
            nx_member_send(m, nx_member_uid(m, i), nx_member_msg_hold(msg));
    }
    nx_member_msg_drop(msg);
}

void nx_health_witness(struct nx_member *m, const struct nx_uid *dead, const struct nx_uid *witness)
{
    uint32_t rank = nx_member_rank(m, dead);

    if (rank != NX_NO_RANK_IN && nx_uids_add(&m->mate[rank].witnesses, witness))
        m->mate[rank].suspected = true;
}

void nx_health_read(struct nx_member *m, uint32_t rank)
{
    struct nx_mate *mate = &m->mate[rank];
    const struct nx_uids *suspects;

    if (mate->beat == NULL)
        return;
    mate->blames_me = mate->blames = false;
    suspects = &mate->beat->stand.suspects;
    mate->blames_me = nx_uids_has(suspects, &m->uid);
    for (uint32_t i = 0; i < suspects->n && !mate->blames; i++)
        mate->blames = nx_member_rank(m, &suspects->at[i]) != NX_NO_RANK_IN;
}

void nx_health_on_beat(struct nx_member *m, const struct nx_uid *from, struct nx_member_msg *msg, nx_time now)
{
    uint32_t rank = nx_member_rank(m, from);
    int64_t epoch = nx_acceptor_epoch(&m->own);

    if (m->state == NX_MEMBER_JOINING)
        return;
    if (rank != NX_NO_RANK_IN) {
        struct nx_mate *mate = &m->mate[rank];

        mate->heard = now;
        if ((int64_t)msg->epoch >= epoch || mate->beat == NULL) {
            nx_member_msg_drop(mate->beat);
            mate->beat = nx_member_msg_hold(msg);
            nx_health_read(m, rank);
        }
        if (mate->witnesses.n == 0)
            mate->suspected = false;
        for (uint32_t i = 0; i < msg->uids.n; i++)
            nx_health_witness(m, &msg->uids.at[i], from);
    } else if ((int64_t)msg->epoch > epoch && m->state == NX_MEMBER_IN) {
        nx_member_send(m, from, nx_health_beat(m)); /* one who joined with an entry that I lack: ask for it */
    }
    if ((int64_t)msg->epoch < epoch)
        nx_learn_help(m, from, (int64_t)msg->epoch, now);
    nx_ballot_check(m, now);
}

void nx_health_tick(struct nx_member *m, nx_time now)
{
    bool frozen = now - m->last_tick > m->config.timeout / 2; /* then it is my silence, not theirs */

    if (frozen)
        m->awake_since = now;
    m->last_tick = now;
    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        struct nx_mate *mate = &m->mate[i];

        nx_time heard = mate->heard > m->awake_since ? mate->heard : m->awake_since;

        if (m->state == NX_MEMBER_IN && i != m->rank && now - heard > m->config.timeout)
            mate->suspected = true;
    }
}
