/* cluster/entry.h - one entry of the chain of decisions: who is in the job in this epoch, and how that came.
 *
 * Entries and their lists never change once they are made; they are shared and counted.  One thread owns the counts:
 * that of the machine.  docs/MEMBERSHIP.md has the rules. */
#ifndef NX_CLUSTER_ENTRY_H
#define NX_CLUSTER_ENTRY_H

#include "cluster/uid.h"
#include "nexar/base.h"

#define NX_WORLD_MAX ((uint32_t)1 << 20)
#define NX_NO_RANK_IN UINT32_MAX /* of a process that is not in the list */

/* The members in the order of their ranks. */
struct nx_roll {
    uint32_t refs, n;
    uint32_t *order; /* ranks, by uid */
    struct nx_uid uid[];
};

struct nx_gone {
    uint32_t rank; /* in the list before */
    bool left;     /* it wanted to; else it is lost */
    struct nx_uid uid;
};

#define NX_ENTRY_DIGEST 16

struct nx_entry {
    uint32_t refs;
    uint32_t joined;      /* the last so many of the list are new */
    uint64_t epoch;       /* 0: the formation */
    uint64_t agrees;      /* results of agree() so far */
    uint64_t checkpoints; /* elastic ones so far */
    bool agree;           /* this entry has result number `agrees`; who is gone and has not left is missing in it */
    bool checkpoint;      /* this entry is one */
    uint64_t result;
    uint8_t digest[NX_ENTRY_DIGEST]; /* of this change and, through that of the entry before, of all before it */
    struct nx_roll *roll;
    uint32_t n_gone;
    struct nx_gone gone[]; /* by old rank */
};

/* What makes the next entry out of one. */
struct nx_change {
    uint32_t n_gone, n_joined;
    const struct nx_gone *gone; /* ascending ranks; `uid` is not looked at */
    const struct nx_uid *joined;
    bool agree, checkpoint;
    uint64_t result;
};

/* Entry 0.  NULL: no memory, or no list. */
struct nx_entry *nx_entry_first(const struct nx_uid *uids, uint32_t n);
/* The entry after `last`.  NULL with the reason in the thread's last error: NEXAR_ENOMEM, or NEXAR_EPROTO if the change
 * does not fit to it. */
struct nx_entry *nx_entry_next(const struct nx_entry *last, const struct nx_change *change);
/* An entry as it is told to somebody who joins with it: all of it, `digest` included, and `n` members. */
struct nx_entry *nx_entry_whole(const struct nx_entry *head, const struct nx_uid *uids, uint32_t n,
                                const struct nx_gone *gone);

/* What of a change has a fixed size, as it goes into digests and messages. */
#define NX_CHANGE_HEAD 48
void nx_entry_head(const struct nx_entry *e, uint8_t out[NX_CHANGE_HEAD]);

struct nx_entry *nx_entry_hold(struct nx_entry *e);
void nx_entry_drop(struct nx_entry *e); /* NULL is legal */

static inline bool nx_entry_same(const struct nx_entry *a, const struct nx_entry *b)
{
    return a == b || (a->epoch == b->epoch && memcmp(a->digest, b->digest, NX_ENTRY_DIGEST) == 0);
}

/* NX_NO_RANK_IN if it is not a member. */
uint32_t nx_entry_rank(const struct nx_entry *e, const struct nx_uid *uid);
bool nx_entry_admits(const struct nx_entry *e, const struct nx_uid *uid);

/* More than half, or exactly half with rank 0: any two such sets of one list intersect. */
static inline bool nx_quorum(uint32_t members, uint32_t votes, bool rank_0)
{
    return 2 * (uint64_t)votes > members || (2 * (uint64_t)votes == members && rank_0);
}

#endif
