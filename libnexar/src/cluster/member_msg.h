/* cluster/member_msg.h - what members say to each other about the membership, in memory.
 *
 * A message is counted, so that one BEAT goes to all without a copy; nobody changes it once it is sent.  On the network
 * it is one of the messages of wire/ (member_wire.h). */
#ifndef NX_CLUSTER_MEMBER_MSG_H
#define NX_CLUSTER_MEMBER_MSG_H

#include "cluster/acceptor.h"

enum nx_member_kind {
    NX_MEMBER_BEAT,    /* all that others must know of me, each interval and when it changes; it counts as heard */
    NX_MEMBER_PREPARE, /* a vote is wanted from `who`: the receiver, or a dead process that it witnesses */
    NX_MEMBER_PROMISE,
    NX_MEMBER_PROPOSE,
    NX_MEMBER_ACCEPT,
    NX_MEMBER_NACK,  /* a higher ballot is there */
    NX_MEMBER_CHAIN, /* entries; also a decision itself */
    NX_MEMBER_JOIN,
    NX_MEMBER_JOINACK, /* who the members are */
    NX_MEMBER_KINDS,
};

/* Where a member stands. */
struct nx_stand {
    struct nx_uids suspects, candidates;
    uint64_t agree; /* the number of the open agree(); 0: none */
    uint64_t flag;
    bool ready, leaving; /* for the next checkpoint */
};

struct nx_member_msg {
    uint32_t refs;
    enum nx_member_kind kind;
    uint64_t epoch;          /* of the sender; of CHAIN, JOIN, JOINACK and NACK: nothing */
    struct nx_ballot ballot; /* PREPARE to NACK */
    struct nx_ballot other;  /* NACK: what was promised; PROMISE: that of `value` */
    uint32_t who;            /* rank in the list of `epoch` */
    bool stands;             /* `stand` is said: BEAT, and PROMISE of one who lives */
    bool behind;             /* CHAIN: what the receiver lacks is not kept any more: it is out */
    bool whole;              /* CHAIN: to one who joins with the first entry */
    struct nx_stand stand;
    struct nx_uids uids;             /* BEAT: dead processes that the sender witnesses; JOINACK: members, by rank */
    uint8_t digest[NX_ENTRY_DIGEST]; /* BEAT: of its entry */
    struct nx_entry *value;          /* PROPOSE; PROMISE: accepted before, or NULL.  NULL also if it cannot be read
                                      * without the entry before, which the receiver does not have */
    uint32_t n;                      /* CHAIN */
    struct nx_entry *chain[];
};

/* Zeroed apart from the kind; NULL without memory. */
struct nx_member_msg *nx_member_msg_new(enum nx_member_kind kind, uint32_t n);
struct nx_member_msg *nx_member_msg_hold(struct nx_member_msg *m);
void nx_member_msg_drop(struct nx_member_msg *m); /* NULL is legal */
const char *nx_member_kind_name(enum nx_member_kind kind);

#endif
