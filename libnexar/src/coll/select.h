/* coll/select.h - which algorithm a collective uses: rules read from top to bottom, the first that fits.
 *
 * All ranks of a communicator must have the same rules, or they would wait for messages that nobody sends: they compare
 * `digest` when the communicator is made. */
#ifndef NX_COLL_SELECT_H
#define NX_COLL_SELECT_H

#include "coll/build.h"

enum nx_coll {
    NX_COLL_ALL_REDUCE,
    NX_COLL_BROADCAST,
    NX_COLL_BARRIER,
    NX_COLL_REDUCE,
    NX_COLL_ALL_GATHER,
    NX_COLL_REDUCE_SCATTER,
    NX_COLL_ALL_TO_ALL,
    NX_COLL_GATHER,
    NX_COLL_SCATTER,
    NX_COLL_SCAN,
    NX_COLL_EXCLUSIVE_SCAN,
    NX_COLL_ALL_GATHER_V, /* of blocks of unequal length, as the others to scatter_v */
    NX_COLL_REDUCE_SCATTER_V,
    NX_COLL_ALL_TO_ALL_V,
    NX_COLL_GATHER_V,
    NX_COLL_SCATTER_V,
    NX_COLL_ALL_REDUCE_COMPRESSED,
    NX_COLL_ALL_REDUCE_BUCKETED,
    NX_COLL_SPLIT, /* from here on: made of those above, by their rules, under names of their own */
    NX_COLL_DUP,
    NX_COLL_SPLIT_BY_HOST,
};
#define NX_COLLS 18 /* that have rules */
#define NX_CALLS 21

struct nx_algorithm {
    enum nx_coll coll;
    const char *name;
    nx_build_fn build;
    bool by_rank;   /* sums in the order of ranks, or sums nothing */
    size_t segment; /* bytes it cuts into; 0: it does not cut */
};

/* What else a rule may need. */
enum nx_where {
    NX_ON_HOSTS = 1,  /* the ranks are on several hosts, and two of them share one */
    NX_IN_A_ROW = 2,  /* those that share a host are consecutive */
    NX_ANY_ORDER = 4, /* the sums of the call do not depend on the order: integers */
};

struct nx_rule {
    const struct nx_algorithm *algorithm;
    uint32_t min_n, max_n; /* ranks, both included, as are the bytes */
    uint64_t min_bytes, max_bytes;
    unsigned where; /* all of these enum nx_where */
};

#define NX_RULES_LIMIT 160

struct nx_select {
    struct nx_rule rules[NX_RULES_LIMIT];
    size_t count;
    size_t tuned; /* those of the user, which come first */
    uint64_t digest;
};

/* The defaults, with the rules of `tune` in front of them (NULL or "": none):
 *     rule {"," rule}, rule = collective ":" from "-" [to] ":" algorithm
 * with sizes in bytes, or k, m, g of them (1024), both ends included: "all_reduce:0-64k:rd,all_reduce:64k-:ring".
 * `reproducible`: only algorithms that sum by rank; naming another is an error.
 * NEXAR_OK, NEXAR_ECONFIG with the part that is wrong in the text. */
nexar_status nx_select_init(struct nx_select *select, const char *tune, bool reproducible);

/* Never NULL: the last rules of each collective fit everything.  `nbytes`: of the whole vector, all blocks of it; 0
 * where not all ranks know it (all_to_all_v, gather_v, scatter_v).  `where`: what is so of enum nx_where. */
const struct nx_algorithm *nx_select_algorithm(const struct nx_select *select, enum nx_coll coll, uint32_t n,
                                               uint64_t nbytes, unsigned where);

/* The same where all ranks share memory. */
const struct nx_algorithm *nx_select_near(const struct nx_select *select, enum nx_coll coll, uint32_t n,
                                          uint64_t nbytes);

/* Its place in the table of all algorithms, the same on all ranks of this version; and the one at a place, or NULL. */
uint32_t nx_algorithm_number(const struct nx_algorithm *algorithm);
const struct nx_algorithm *nx_algorithm_at(uint32_t number);

/* Each rank has a block of its own length. */
bool nx_coll_is_unequal(enum nx_coll coll);

/* "all_reduce", ... */
const char *nx_coll_name(enum nx_coll coll);

#endif
