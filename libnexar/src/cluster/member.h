/* cluster/member.h - who is in the job: the machine of one member.  docs/MEMBERSHIP.md has the rules by their names.
 *
 * A pure machine: messages, deaths and time in; messages, votes to keep and events out through `struct nx_member_ops`.
 * One thread at a time; the ops may not call the machine. */
#ifndef NX_CLUSTER_MEMBER_H
#define NX_CLUSTER_MEMBER_H

#include "base/clock.h"
#include "cluster/member_msg.h"

#define NX_CANDIDATES_MAX 64
#define NX_ROUND_JUMP 1000 /* rounds come one after the other */

enum nx_member_state {
    NX_MEMBER_JOINING,
    NX_MEMBER_IN,
    NX_MEMBER_EXCLUDED, /* for good: it may come back as a new process */
    NX_MEMBER_GONE,     /* it has left */
};

struct nx_member_config {
    nx_time beat;    /* interval of BEAT */
    nx_time timeout; /* of silence; at least 4 intervals, but for tests */
    nx_time settle;  /* evidence of one cause comes together */
    nx_time phase1, ballot, takeover;
    nx_time quorum_wait;  /* until NX_MEMBER_NO_QUORUM */
    bool witnessed;       /* the dead vote, by a witness of their host */
    uint32_t max_members; /* joiners beyond wait; 0: no limit */
};

/* The defaults of MEMBERSHIP.md. */
struct nx_member_config nx_member_defaults(void);

enum nx_member_event_kind {
    NX_MEMBER_INSTALLED, /* `entry` is in force */
    NX_MEMBER_AGREED,    /* the open agree() returns what `entry` says */
    NX_MEMBER_LIE,       /* `who` said what no member says, because of `why`: its connection should be closed */
    NX_MEMBER_NO_QUORUM, /* for longer than quorum_wait those in reach have been too few */
    NX_MEMBER_QUORUM,    /* they are enough again */
};

struct nx_member_event {
    enum nx_member_event_kind kind;
    int64_t before; /* INSTALLED: epoch in force before; -1: none */
    const struct nx_entry *entry;
    struct nx_uid who;
    const char *why;
};

struct nx_member_ops {
    /* Whoever needs it longer holds it.  Links keep the order; what is sent to one out of reach may be lost. */
    void (*send)(void *arg, const struct nx_uid *to, struct nx_member_msg *msg);
    /* The record of a process of this host that is dead; NULL: there is none. */
    struct nx_acceptor *(*record)(void *arg, const struct nx_uid *dead);
    /* The record of `who`, ours or that of a dead one, has changed: to be kept before anything else is sent.  False: it
     * could not be; the vote is then not cast. */
    bool (*commit)(void *arg, const struct nx_uid *who, const struct nx_acceptor *record);
    void (*event)(void *arg, const struct nx_member_event *event);
};

/* What is known of one member of the list; zeros while that is nothing: in a large world most of the table is never
 * written, and takes no memory. */
struct nx_mate {
    nx_time heard;                     /* or awake_since, whichever is later */
    bool suspected, blames_me, blames; /* a member */
    struct nx_uids witnesses;          /* of its death, which is certain if there are any */
    struct nx_member_msg *beat;        /* its last */
};

struct nx_candidate {
    struct nx_uid uid;
    nx_time heard;
};

/* My own ballot. */
struct nx_attempt {
    bool open;
    struct nx_ballot ballot;
    struct nx_entry *value; /* once it is chosen */
    nx_time phase1_ends, ends;
    uint32_t asked, promises, accepts;
    struct nx_member_msg **promise; /* by rank; NULL: none */
    bool *accepted;                 /* by rank */
};

struct nx_member {
    /* const after init */
    struct nx_uid uid;
    struct nx_member_config config;
    const struct nx_member_ops *ops;
    void *arg;
    /* the machine's */
    enum nx_member_state state;
    struct nx_acceptor own;
    uint32_t rank;                  /* in the list in force */
    struct nx_mate *mate;           /* by rank */
    struct nx_uids mine;            /* dead processes that I witness */
    struct nx_uids asked;           /* JOINING: to whom JOIN goes; not sorted */
    struct nx_candidate *candidate; /* by uid */
    uint32_t n_candidates;
    uint64_t agree, flag; /* the open call; 0: none */
    bool ready, leaving;
    struct nx_attempt attempt;
    uint32_t max_round; /* the highest seen in this epoch */
    nx_time backoff, need_since, next_beat, last_tick;
    nx_time awake_since; /* silence before that is mine */
    bool needed;         /* since need_since */
    nx_time short_since;
    bool is_short, told_short;   /* of a quorum */
    nx_time gone_at;             /* GONE: since then nobody needed an entry from us */
    struct nx_member_msg **self; /* sent to ourselves */
    uint32_t n_self, self_room;
};

/* A member of entry 0, or of any later one; `m` must not move. */
nexar_status nx_member_init(struct nx_member *m, const struct nx_uid *uid, const struct nx_member_config *config,
                            struct nx_entry *entry, nx_time now, const struct nx_member_ops *ops, void *arg);
/* One who wants to become a member and knows some. */
nexar_status nx_member_init_joining(struct nx_member *m, const struct nx_uid *uid,
                                    const struct nx_member_config *config, const struct nx_uid *contacts, uint32_t n,
                                    nx_time now, const struct nx_member_ops *ops, void *arg);
void nx_member_fini(struct nx_member *m);

/* Time passes: to be called 8 times a second or so.  What has arrived should be said first. */
void nx_member_tick(struct nx_member *m, nx_time now);
void nx_member_said(struct nx_member *m, const struct nx_uid *from, struct nx_member_msg *msg, nx_time now);
/* Its host was heard, by whatever it sends: that is no silence. */
void nx_member_heard(struct nx_member *m, const struct nx_uid *peer, nx_time now);
/* Its connection was reset, and is refused: a strong suspicion, no more. */
void nx_member_closed(struct nx_member *m, const struct nx_uid *peer, nx_time now);
/* The kernel of this host says that it is dead: certain, and final. */
void nx_member_died(struct nx_member *m, const struct nx_uid *peer, nx_time now);
/* What the record of another process of this host says, dead or alive: its entries were decided, if it has more. */
void nx_member_shown(struct nx_member *m, const struct nx_acceptor *other, nx_time now);
/* The user's calls; nothing happens if one is open. */
void nx_member_call_agree(struct nx_member *m, uint64_t flag, nx_time now);
void nx_member_call_checkpoint(struct nx_member *m, bool leaving, nx_time now);

/* One who has left stays for those who have not heard of it yet. */
bool nx_member_may_go(const struct nx_member *m, nx_time now);

#endif
