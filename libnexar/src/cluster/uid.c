/* cluster/uid.c - sets of processes as sorted arrays.
 *
 * Owner: whoever owns the set.  The sets are small (suspects, candidates, witnesses), and are read far more often than
 * they change; there is no other structure behind them. */
#include "cluster/uid.h"

#include "base/mem.h"

bool nx_uids_add(struct nx_uids *set, const struct nx_uid *uid)
{
    uint32_t i = nx_uids_place(set, uid);
    struct nx_uid *at;

    if (i < set->n && nx_uid_same(&set->at[i], uid))
        return true;
    at = nx_realloc(set->at, ((size_t)set->n + 1) * sizeof(*at));
    if (at == NULL)
        return false;
    memmove(at + i + 1, at + i, (set->n - i) * sizeof(*at));
    at[i] = *uid;
    *set = (struct nx_uids){.n = set->n + 1, .at = at};
    return true;
}

void nx_uids_free(struct nx_uids *set)
{
    nx_free(set->at);
    *set = (struct nx_uids){0};
}

bool nx_uids_valid(const struct nx_uids *set)
{
    for (uint32_t i = 1; i < set->n; i++) {
        if (nx_uid_cmp(&set->at[i - 1], &set->at[i]) >= 0)
            return false;
    }
    return true;
}
