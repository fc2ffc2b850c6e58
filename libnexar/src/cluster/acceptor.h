/* cluster/acceptor.h - what a member has promised and accepted: its voice in the next decision.
 *
 * It outlives the process, not the host: where it lies in the host's shared memory, a live process of that host goes on
 * voting with it (a witness vote). */
#ifndef NX_CLUSTER_ACCEPTOR_H
#define NX_CLUSTER_ACCEPTOR_H

#include "cluster/entry.h"

#define NX_HISTORY 16 /* entries that are kept for those who are behind */

/* Compared as a pair.  Round 0: none. */
struct nx_ballot {
    uint32_t round, rank;
};

struct nx_acceptor {
    uint32_t n;
    struct nx_entry *history[NX_HISTORY]; /* oldest first; the last one is in force */
    /* for the entry after that */
    struct nx_ballot promised;
    struct nx_ballot accepted;
    struct nx_entry *value; /* what was accepted; NULL: nothing */
};

static inline int nx_ballot_cmp(struct nx_ballot a, struct nx_ballot b)
{
    if (a.round != b.round)
        return a.round < b.round ? -1 : 1;
    return a.rank < b.rank ? -1 : a.rank > b.rank;
}

/* The entry in force; NULL before the first. */
static inline struct nx_entry *nx_acceptor_entry(const struct nx_acceptor *a)
{
    return a->n == 0 ? NULL : a->history[a->n - 1];
}

/* -1 before the first entry. */
static inline int64_t nx_acceptor_epoch(const struct nx_acceptor *a)
{
    return a->n == 0 ? -1 : (int64_t)a->history[a->n - 1]->epoch;
}

/* NULL if it is not kept. */
struct nx_entry *nx_acceptor_find(const struct nx_acceptor *a, uint64_t epoch);
/* A later entry is in force: promises made for the one before it are void. */
void nx_acceptor_advance(struct nx_acceptor *a, struct nx_entry *e);
/* False, and nothing changes, if a higher ballot was promised. */
bool nx_acceptor_promise(struct nx_acceptor *a, struct nx_ballot b);
bool nx_acceptor_accept(struct nx_acceptor *a, struct nx_ballot b, struct nx_entry *value);
void nx_acceptor_fini(struct nx_acceptor *a);

#endif
