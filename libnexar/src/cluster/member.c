/* cluster/member.c - the membership machine of one member: made, driven, ended.
 *
 * Owner: the thread that calls it.  Here are the entry points and what is refused before any rule looks at it; the
 * rules are in health.c, voter.c, ballot.c, change.c and learn.c. */
#include "cluster/member.h"

#include "base/mem.h"
#include "base/status.h"
#include "cluster/member_parts.h"

struct nx_member_config nx_member_defaults(void)
{
    return (struct nx_member_config){.beat = 500 * NX_MS,
                                     .timeout = 5 * NX_S,
                                     .settle = 500 * NX_MS,
                                     .phase1 = 300 * NX_MS,
                                     .ballot = 800 * NX_MS,
                                     .takeover = 400 * NX_MS,
                                     .quorum_wait = 30 * NX_S,
                                     .witnessed = true};
}

static void init(struct nx_member *m, const struct nx_uid *uid, const struct nx_member_config *config, nx_time now,
                 const struct nx_member_ops *ops, void *arg)
{
    *m = (struct nx_member){.uid = *uid,
                            .config = *config,
                            .ops = ops,
                            .arg = arg,
                            .rank = NX_NO_RANK_IN,
                            .next_beat = now,
                            .last_tick = now,
                            .awake_since = now};
}

nexar_status nx_member_init(struct nx_member *m, const struct nx_uid *uid, const struct nx_member_config *config,
                            struct nx_entry *entry, nx_time now, const struct nx_member_ops *ops, void *arg)
{
    init(m, uid, config, now, ops, arg);
    m->rank = nx_entry_rank(entry, uid);
    if (m->rank == NX_NO_RANK_IN)
        return nx_fail(NEXAR_EINVAL, "who begins with epoch %llu must be in it", (unsigned long long)entry->epoch);
    m->mate = nx_calloc(entry->roll->n, sizeof(m->mate[0]));
    if (m->mate == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for %u members", entry->roll->n);
    nx_acceptor_advance(&m->own, entry);
    m->state = NX_MEMBER_IN;
    return NEXAR_OK;
}

nexar_status nx_member_init_joining(struct nx_member *m, const struct nx_uid *uid,
                                    const struct nx_member_config *config, const struct nx_uid *contacts, uint32_t n,
                                    nx_time now, const struct nx_member_ops *ops, void *arg)
{
    init(m, uid, config, now, ops, arg);
    m->asked.at = nx_alloc(n * sizeof(*contacts) + 1);
    if (m->asked.at == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for %u contacts", n);
    if (n != 0)
        memcpy(m->asked.at, contacts, n * sizeof(*contacts));
    m->asked.n = n;
    return NEXAR_OK;
}

void nx_member_fini(struct nx_member *m)
{
    nx_ballot_close(m);
    for (uint32_t i = 0; m->mate != NULL && i < nx_member_world(m); i++) {
        nx_member_msg_drop(m->mate[i].beat);
        nx_uids_free(&m->mate[i].witnesses);
    }
    for (uint32_t i = 0; i < m->n_self; i++)
        nx_member_msg_drop(m->self[i]);
    nx_free(m->self);
    nx_free(m->mate);
    nx_free(m->candidate);
    nx_uids_free(&m->mine);
    nx_uids_free(&m->asked);
    nx_acceptor_fini(&m->own);
    *m = (struct nx_member){0};
}

uint32_t nx_member_rank(const struct nx_member *m, const struct nx_uid *uid)
{
    return m->own.n == 0 ? NX_NO_RANK_IN : nx_entry_rank(nx_member_entry(m), uid);
}

static void keep_for_self(struct nx_member *m, struct nx_member_msg *msg)
{
    if (m->n_self == m->self_room) {
        uint32_t room = m->self_room == 0 ? 8 : 2 * m->self_room;
        struct nx_member_msg **self = nx_realloc(m->self, room * sizeof(*self));

        if (self == NULL) {
            nx_member_msg_drop(msg);
            return;
        }
        m->self = self;
        m->self_room = room;
    }
    m->self[m->n_self++] = msg;
}

void nx_member_send(struct nx_member *m, const struct nx_uid *to, struct nx_member_msg *msg)
{
    if (msg == NULL)
        return;
    if (nx_uid_same(to, &m->uid)) {
        keep_for_self(m, msg);
        return;
    }
    m->ops->send(m->arg, to, msg);
    nx_member_msg_drop(msg);
}

void nx_member_lie(struct nx_member *m, const struct nx_uid *who, const char *why)
{
    struct nx_member_event event = {.kind = NX_MEMBER_LIE, .entry = nx_member_entry(m), .who = *who, .why = why};

    m->ops->event(m->arg, &event);
}

/* A round that far ahead is none that the others know of. */
static bool round_is_wild(const struct nx_member *m, const struct nx_member_msg *msg)
{
    uint32_t highest = msg->kind == NX_MEMBER_NACK ? msg->other.round : msg->ballot.round;

    return highest > m->max_round && highest - m->max_round > NX_ROUND_JUMP;
}

/* A vote is cast by its owner, or by a witness of the owner's death. */
static bool vote_is_its_own(const struct nx_member *m, const struct nx_uid *from, const struct nx_member_msg *msg)
{
    if (msg->who >= nx_member_world(m))
        return false;
    return nx_uid_same(nx_member_uid(m, msg->who), from) || nx_uids_has(&m->mate[msg->who].witnesses, from);
}

/* What no member says (section "Lies" of MEMBERSHIP.md); NULL: it may be. */
static const char *lie(const struct nx_member *m, const struct nx_uid *from, const struct nx_member_msg *msg)
{
    const struct nx_entry *e = m->own.n == 0 ? NULL : nx_member_entry(m);
    bool same = e != NULL && msg->epoch == e->epoch;

    switch (msg->kind) {
    case NX_MEMBER_BEAT:
        if (same && memcmp(msg->digest, e->digest, NX_ENTRY_DIGEST) != 0)
            return "another list of members for the same epoch";
        return NULL;
    case NX_MEMBER_PREPARE:
    case NX_MEMBER_PROPOSE:
        return same && round_is_wild(m, msg) ? "a round far beyond all others" : NULL;
    case NX_MEMBER_PROMISE:
    case NX_MEMBER_ACCEPT:
        return same && !vote_is_its_own(m, from, msg) ? "the vote of another" : NULL;
    case NX_MEMBER_NACK:
        return round_is_wild(m, msg) ? "a round far beyond all others" : NULL;
    default:
        return NULL;
    }
}

static void take(struct nx_member *m, const struct nx_uid *from, struct nx_member_msg *msg, nx_time now)
{
    const char *why = lie(m, from, msg);

    if (why != NULL) {
        nx_member_lie(m, from, why);
        return;
    }
    switch (msg->kind) {
    case NX_MEMBER_BEAT:
        nx_health_on_beat(m, from, msg, now);
        break;
    case NX_MEMBER_PREPARE:
        nx_voter_on_prepare(m, from, msg, now);
        break;
    case NX_MEMBER_PROMISE:
        nx_ballot_on_promise(m, msg, now);
        break;
    case NX_MEMBER_PROPOSE:
        nx_voter_on_propose(m, from, msg, now);
        break;
    case NX_MEMBER_ACCEPT:
        nx_ballot_on_accept(m, msg, now);
        break;
    case NX_MEMBER_NACK:
        nx_ballot_on_nack(m, msg, now);
        break;
    case NX_MEMBER_CHAIN:
        nx_learn_on_chain(m, msg, now);
        break;
    case NX_MEMBER_JOIN:
        nx_learn_on_join(m, from, now);
        break;
    case NX_MEMBER_JOINACK:
        nx_learn_on_joinack(m, msg);
        break;
    case NX_MEMBER_KINDS:
        break;
    }
}

/* What was sent to ourselves, until there is no more of it. */
static void drain(struct nx_member *m, nx_time now)
{
    for (uint32_t i = 0; i < m->n_self; i++) {
        take(m, &m->uid, m->self[i], now);
        nx_member_msg_drop(m->self[i]);
    }
    m->n_self = 0;
}

void nx_member_said(struct nx_member *m, const struct nx_uid *from, struct nx_member_msg *msg, nx_time now)
{
    take(m, from, msg, now);
    drain(m, now);
}

static void ask_to_join(struct nx_member *m)
{
    struct nx_member_msg *msg = nx_member_msg_new(NX_MEMBER_JOIN, 0);

    for (uint32_t i = 0; msg != NULL && i < m->asked.n; i++)
        nx_member_send(m, &m->asked.at[i], nx_member_msg_hold(msg));
    nx_member_msg_drop(msg);
}

void nx_member_tick(struct nx_member *m, nx_time now)
{
    bool beat = now >= m->next_beat;

    nx_health_tick(m, now);
    if (m->state != NX_MEMBER_IN && m->state != NX_MEMBER_JOINING)
        return;
    if (beat)
        m->next_beat = now + m->config.beat;
    if (m->state == NX_MEMBER_JOINING) {
        if (beat)
            ask_to_join(m);
        return;
    }
    nx_learn_expire(m, now);
    if (beat)
        nx_health_tell_all(m);
    nx_ballot_check(m, now);
    drain(m, now);
    if (m->state == NX_MEMBER_IN)
        nx_ballot_watch_quorum(m, now);
}

void nx_member_heard(struct nx_member *m, const struct nx_uid *peer, nx_time now)
{
    uint32_t rank = nx_member_rank(m, peer);

    if (rank != NX_NO_RANK_IN)
        m->mate[rank].heard = now;
}

void nx_member_closed(struct nx_member *m, const struct nx_uid *peer, nx_time now)
{
    uint32_t rank = nx_member_rank(m, peer);

    if (m->state != NX_MEMBER_IN || rank == NX_NO_RANK_IN || m->mate[rank].suspected)
        return;
    m->mate[rank].suspected = true;
    nx_health_tell_all(m);
    nx_ballot_check(m, now);
    drain(m, now);
}

void nx_member_died(struct nx_member *m, const struct nx_uid *peer, nx_time now)
{
    if (!nx_uids_add(&m->mine, peer))
        return; /* its silence will be heard */
    nx_health_witness(m, peer, &m->uid);
    if (m->state != NX_MEMBER_IN)
        return;
    nx_health_tell_all(m);
    nx_ballot_check(m, now);
    drain(m, now);
}

void nx_member_call_agree(struct nx_member *m, uint64_t flag, nx_time now)
{
    if (m->state != NX_MEMBER_IN || m->agree != 0)
        return;
    m->agree = nx_member_entry(m)->agrees + 1;
    m->flag = flag;
    nx_health_tell_all(m);
    nx_ballot_check(m, now);
    drain(m, now);
}

void nx_member_call_checkpoint(struct nx_member *m, bool leaving, nx_time now)
{
    if (m->state != NX_MEMBER_IN || m->ready)
        return;
    m->ready = true;
    m->leaving = leaving;
    nx_health_tell_all(m);
    nx_ballot_check(m, now);
    drain(m, now);
}

bool nx_member_may_go(const struct nx_member *m, nx_time now)
{
    return m->state == NX_MEMBER_GONE && now - m->gone_at > 4 * m->config.beat;
}
