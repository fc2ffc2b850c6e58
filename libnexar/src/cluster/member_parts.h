/* cluster/member_parts.h - the parts of the membership machine, for each other alone; others see member.h.
 *
 * member.c drives; health.c: who is there (rules S, N); voter.c: my voice and those of the dead (A); ballot.c: my own
 * ballots (C, K); change.c: what to decide (V); learn.c: what was decided (L). */
#ifndef NX_CLUSTER_MEMBER_PARTS_H
#define NX_CLUSTER_MEMBER_PARTS_H

#include "cluster/member.h"

/* member.c */
static inline const struct nx_entry *nx_member_entry(const struct nx_member *m)
{
    return nx_acceptor_entry(&m->own);
}

static inline uint32_t nx_member_world(const struct nx_member *m)
{
    return m->own.n == 0 ? 0 : nx_member_entry(m)->roll->n;
}

static inline const struct nx_uid *nx_member_uid(const struct nx_member *m, uint32_t rank)
{
    return &nx_member_entry(m)->roll->uid[rank];
}

/* NX_NO_RANK_IN for one who is no member, and before the first entry. */
uint32_t nx_member_rank(const struct nx_member *m, const struct nx_uid *uid);
/* Takes over the message; NULL, for want of memory, is as if it had been lost. */
void nx_member_send(struct nx_member *m, const struct nx_uid *to, struct nx_member_msg *msg);
void nx_member_lie(struct nx_member *m, const struct nx_uid *who, const char *why);

/* health.c */
void nx_health_tick(struct nx_member *m, nx_time now);
bool nx_health_usable(const struct nx_member *m, uint32_t rank);
/* Whether there is something to decide: calls that all have open; or evidence, more of which may come. */
enum nx_need { NX_NEED_NOTHING, NX_NEED_CALLS, NX_NEED_EVIDENCE };
enum nx_need nx_health_need(const struct nx_member *m);
/* Usable members of lower rank. */
uint32_t nx_health_position(const struct nx_member *m);
/* By whom `rank` can vote: itself, its witness, or nobody (NX_NO_RANK_IN). */
uint32_t nx_health_via(const struct nx_member *m, uint32_t rank);
bool nx_health_stand(const struct nx_member *m, struct nx_stand *out);
struct nx_member_msg *nx_health_beat(const struct nx_member *m);
void nx_health_tell_all(struct nx_member *m);
void nx_health_witness(struct nx_member *m, const struct nx_uid *dead, const struct nx_uid *witness);
void nx_health_on_beat(struct nx_member *m, const struct nx_uid *from, struct nx_member_msg *msg, nx_time now);
/* What a mate's beat says of members, after a new beat or a new list. */
void nx_health_read(struct nx_member *m, uint32_t rank);

/* voter.c */
void nx_voter_on_prepare(struct nx_member *m, const struct nx_uid *from, const struct nx_member_msg *msg, nx_time now);
void nx_voter_on_propose(struct nx_member *m, const struct nx_uid *from, const struct nx_member_msg *msg, nx_time now);

/* ballot.c */
void nx_ballot_check(struct nx_member *m, nx_time now);
/* Tells the user when those in reach have been too few for long, and when they are enough again. */
void nx_ballot_watch_quorum(struct nx_member *m, nx_time now);
void nx_ballot_close(struct nx_member *m);
/* Rounds of this epoch are known to all: contention or slow links give every ballot more time. */
nx_time nx_ballot_patience(const struct nx_member *m);
void nx_ballot_on_promise(struct nx_member *m, struct nx_member_msg *msg, nx_time now);
void nx_ballot_on_accept(struct nx_member *m, const struct nx_member_msg *msg, nx_time now);
void nx_ballot_on_nack(struct nx_member *m, const struct nx_member_msg *msg, nx_time now);

/* change.c: what the promises call for; NULL: nothing, or nothing that can be decided. */
struct nx_entry *nx_change_make(struct nx_member *m);

/* learn.c */
void nx_learn_help(struct nx_member *m, const struct nx_uid *to, int64_t epoch, nx_time now);
void nx_learn_on_chain(struct nx_member *m, const struct nx_member_msg *msg, nx_time now);
void nx_learn_entry(struct nx_member *m, struct nx_entry *e, nx_time now);
void nx_learn_on_join(struct nx_member *m, const struct nx_uid *from, nx_time now);
void nx_learn_on_joinack(struct nx_member *m, const struct nx_member_msg *msg);
/* False for want of memory: it will be told again. */
bool nx_learn_install(struct nx_member *m, struct nx_entry *e, nx_time now);
void nx_learn_expire(struct nx_member *m, nx_time now);

#endif
