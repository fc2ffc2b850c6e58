/* cluster/uid.h - who a process is, for as long as it lives: the node id of its key, and sets of these. */
#ifndef NX_CLUSTER_UID_H
#define NX_CLUSTER_UID_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct nx_uid {
    uint8_t bytes[16];
};

/* Ascending, each once.  Who owns `at` is said where a set lies. */
struct nx_uids {
    uint32_t n;
    struct nx_uid *at;
};

static inline int nx_uid_cmp(const struct nx_uid *a, const struct nx_uid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static inline bool nx_uid_same(const struct nx_uid *a, const struct nx_uid *b)
{
    return nx_uid_cmp(a, b) == 0;
}

/* Where `uid` is, or would be. */
static inline uint32_t nx_uids_place(const struct nx_uids *set, const struct nx_uid *uid)
{
    uint32_t lo = 0, hi = set->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (nx_uid_cmp(&set->at[mid], uid) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static inline bool nx_uids_has(const struct nx_uids *set, const struct nx_uid *uid)
{
    uint32_t i = nx_uids_place(set, uid);

    return i < set->n && nx_uid_same(&set->at[i], uid);
}

/* Of a set whose memory is its own (nx_realloc).  False when there is none for one more. */
bool nx_uids_add(struct nx_uids *set, const struct nx_uid *uid);
void nx_uids_free(struct nx_uids *set);

/* Whether these are a set: bytes from outside may not be. */
bool nx_uids_valid(const struct nx_uids *set);

#endif
