/* cluster/change.c - the membership machine: what a ballot is to decide, from the promises alone (rules V).
 *
 * Owner: the machine's thread.  Nothing here changes the machine.  Who is kept depends on what the promises say of the
 * links between members, not on what this one sees by itself. */
#include "cluster/member_parts.h"

#include <stdlib.h>

#include "base/mem.h"

/* Links between kept members of which one end suspects the other: both directions, sorted by the first rank. */
struct links {
    uint64_t *pair;
    size_t n, room;
};

static bool add(struct links *l, uint32_t a, uint32_t b)
{
    if (l->n == l->room) {
        size_t room = l->room == 0 ? 64 : 2 * l->room;
        uint64_t *pair = nx_realloc(l->pair, room * sizeof(*pair));

        if (pair == NULL)
            return false;
        l->pair = pair;
        l->room = room;
    }
    l->pair[l->n++] = (uint64_t)a << 32 | b;
    return true;
}

static int by_pair(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void sort(struct links *l)
{
    size_t n = 0;

    if (l->n == 0)
        return;
    qsort(l->pair, l->n, sizeof(l->pair[0]), by_pair);
    for (size_t i = 0; i < l->n; i++) {
        if (n == 0 || l->pair[n - 1] != l->pair[i])
            l->pair[n++] = l->pair[i];
    }
    l->n = n;
}

/* What is known of where `rank` stands: by its promise, else by its last beat. */
static const struct nx_stand *stand_of(const struct nx_member *m, uint32_t rank)
{
    const struct nx_member_msg *p = m->attempt.promise[rank], *beat = m->mate[rank].beat;

    if (p != NULL && p->stands)
        return &p->stand;
    if (beat == NULL || beat->epoch != nx_member_entry(m)->epoch || !nx_health_usable(m, rank))
        return NULL;
    return &beat->stand;
}

/* False without memory. */
static bool find_links(const struct nx_member *m, const bool *keep, struct links *l)
{
    uint32_t world = nx_member_world(m);

    for (uint32_t i = 0; i < world; i++) {
        const struct nx_stand *stand = i == m->rank || !keep[i] ? NULL : stand_of(m, i);

        for (uint32_t j = 0; i == m->rank && j < world; j++) {
            if (keep[i] && m->mate[j].suspected && keep[j] && j != i && (!add(l, i, j) || !add(l, j, i)))
                return false;
        }
        for (uint32_t k = 0; stand != NULL && k < stand->suspects.n; k++) {
            uint32_t j = nx_member_rank(m, &stand->suspects.at[k]);

            if (j != NX_NO_RANK_IN && keep[j] && j != i && (!add(l, i, j) || !add(l, j, i)))
                return false;
        }
    }
    sort(l);
    return true;
}

/* Drops members until no broken link is left: first those that also failed to answer, then those with most broken
 * links, then the highest rank. */
static void keep_clique(const struct nx_member *m, const struct links *l, bool *keep, uint32_t *broken)
{
    uint32_t world = nx_member_world(m);

    for (size_t i = 0; i < l->n; i++)
        broken[l->pair[i] >> 32]++;
    for (;;) {
        uint32_t worst = NX_NO_RANK_IN;
        size_t at = 0, hi = l->n;

        for (uint32_t i = 0; i < world; i++) {
            bool silent = m->attempt.promise[i] == NULL;

            if (!keep[i] || broken[i] == 0)
                continue;
            if (worst == NX_NO_RANK_IN || silent > (m->attempt.promise[worst] == NULL) ||
                (silent == (m->attempt.promise[worst] == NULL) && broken[i] >= broken[worst]))
                worst = i;
        }
        if (worst == NX_NO_RANK_IN)
            return;
        keep[worst] = false;
        while (at < hi) { /* its first link */
            size_t mid = at + (hi - at) / 2;

            if (l->pair[mid] >> 32 < worst)
                at = mid + 1;
            else
                hi = mid;
        }
        for (; at < l->n && l->pair[at] >> 32 == worst; at++) {
            if (keep[(uint32_t)l->pair[at]])
                broken[(uint32_t)l->pair[at]]--;
        }
    }
}

/* Those who are kept, and the dead who have a witness, are enough to decide. */
static bool can_decide(const struct nx_member *m, const bool *keep)
{
    uint32_t votes = 0;
    bool rank_0 = false;

    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        bool dead = m->mate[i].witnesses.n != 0 && nx_health_via(m, i) != NX_NO_RANK_IN;

        if (keep[i] || dead) {
            votes++;
            rank_0 = rank_0 || i == 0;
        }
    }
    return nx_quorum(nx_member_world(m), votes, rank_0);
}

/* Every kept member has agree() number `k` open, or waits at the checkpoint; the result of agree() comes along. */
static void ask_all(const struct nx_member *m, const bool *keep, struct nx_change *c)
{
    uint64_t k = nx_member_entry(m)->agrees + 1;

    c->agree = c->checkpoint = true;
    c->result = UINT64_MAX;
    for (uint32_t i = 0; i < nx_member_world(m); i++) {
        const struct nx_stand *stand = keep[i] ? stand_of(m, i) : NULL;

        if (!keep[i])
            continue;
        c->agree = c->agree && stand != NULL && stand->agree == k;
        c->checkpoint = c->checkpoint && stand != NULL && stand->ready;
        if (stand != NULL)
            c->result &= stand->flag;
    }
}

/* Candidates that every kept member hears, at most as many as stay: these are then still a quorum if all who join die
 * at once. */
static uint32_t find_joiners(const struct nx_member *m, const bool *keep, uint32_t stay, struct nx_uid *out)
{
    const struct nx_stand *first = NULL;
    uint32_t n = 0, room = stay, limit = m->config.max_members;

    if (limit != 0 && stay + room > limit)
        room = limit > stay ? limit - stay : 0;
    for (uint32_t i = 0; i < nx_member_world(m) && first == NULL; i++)
        first = keep[i] ? stand_of(m, i) : NULL;
    for (uint32_t c = 0; first != NULL && c < first->candidates.n && n < room; c++) {
        const struct nx_uid *uid = &first->candidates.at[c];
        bool all = nx_member_rank(m, uid) == NX_NO_RANK_IN;

        for (uint32_t i = 0; all && i < nx_member_world(m); i++)
            all = !keep[i] || nx_uids_has(&stand_of(m, i)->candidates, uid);
        if (all)
            out[n++] = *uid;
    }
    return n;
}

/* Fills gone[] and, at a checkpoint, who leaves; returns how many stay. */
static uint32_t find_gone(const struct nx_member *m, const bool *keep, struct nx_change *c, struct nx_gone *gone)
{
    uint32_t world = nx_member_world(m), stay = 0, kept = 0;
    bool last_stays = true; /* all want to leave: the first of them cannot, it closes */

    for (uint32_t i = 0; i < world; i++) {
        kept += keep[i];
        if (keep[i])
            last_stays = last_stays && c->checkpoint && stand_of(m, i)->leaving;
    }
    for (uint32_t i = 0; i < world; i++) {
        bool leaves = keep[i] && c->checkpoint && stand_of(m, i)->leaving;

        if (leaves && last_stays) {
            last_stays = false;
            leaves = false;
        }
        if (keep[i] && !leaves)
            stay++;
        else
            gone[c->n_gone++] = (struct nx_gone){.rank = i, .left = leaves};
    }
    return kept == 0 ? 0 : stay;
}

struct nx_entry *nx_change_make(struct nx_member *m)
{
    uint32_t world = nx_member_world(m), stay;
    bool *keep = nx_calloc(world, sizeof(*keep));
    uint32_t *broken = nx_calloc(world, sizeof(*broken));
    struct nx_gone *gone = nx_calloc(world, sizeof(*gone));
    struct nx_uid *joined = nx_alloc(world * sizeof(*joined));
    struct links links = {0};
    struct nx_change change = {.gone = gone, .joined = joined};
    struct nx_entry *e = NULL;

    if (keep == NULL || broken == NULL || gone == NULL || joined == NULL)
        goto done;
    for (uint32_t i = 0; i < world; i++)
        keep[i] = m->mate[i].witnesses.n == 0;
    if (!find_links(m, keep, &links))
        goto done;
    keep_clique(m, &links, keep, broken);
    if (!can_decide(m, keep))
        goto done;
    ask_all(m, keep, &change);
    stay = find_gone(m, keep, &change, gone);
    if (change.checkpoint)
        change.n_joined = find_joiners(m, keep, stay, joined);
    if (stay > 0 && (change.n_gone != 0 || change.agree || change.checkpoint))
        e = nx_entry_next(nx_member_entry(m), &change);
done:
    nx_free(keep);
    nx_free(broken);
    nx_free(gone);
    nx_free(joined);
    nx_free(links.pair);
    return e;
}
