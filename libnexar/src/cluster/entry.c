/* cluster/entry.c - entries of the chain, made of the one before and a change.
 *
 * Owner: the thread of the machine that holds them.  A change may come from another member: that it fits to the list
 * is checked here, whoever asks.  Nothing here decides anything; see ballot.c and elastic.c. */
#include "cluster/entry.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/status.h"
#include "identity/digest.h"

static struct nx_roll *roll_new(uint32_t n)
{
    struct nx_roll *roll = nx_alloc(sizeof(*roll) + n * (sizeof(struct nx_uid) + sizeof(uint32_t)));

    if (roll == NULL)
        return NULL;
    *roll = (struct nx_roll){.refs = 1, .n = n};
    roll->order = (uint32_t *)(void *)(roll->uid + n);
    return roll;
}

static int by_uid(const void *a, const void *b, void *roll)
{
    const struct nx_uid *uid = ((struct nx_roll *)roll)->uid;

    return nx_uid_cmp(&uid[*(const uint32_t *)a], &uid[*(const uint32_t *)b]);
}

/* False if somebody is in it twice. */
static bool roll_sort(struct nx_roll *roll)
{
    for (uint32_t i = 0; i < roll->n; i++)
        roll->order[i] = i;
    qsort_r(roll->order, roll->n, sizeof(uint32_t), by_uid, roll);
    for (uint32_t i = 1; i < roll->n; i++) {
        if (nx_uid_same(&roll->uid[roll->order[i - 1]], &roll->uid[roll->order[i]]))
            return false;
    }
    return true;
}

static void roll_drop(struct nx_roll *roll)
{
    if (roll != NULL && --roll->refs == 0)
        nx_free(roll);
}

static struct nx_entry *entry_new(struct nx_roll *roll, uint32_t n_gone)
{
    struct nx_entry *e = nx_calloc(1, sizeof(*e) + n_gone * sizeof(struct nx_gone));

    if (e == NULL)
        return NULL;
    e->refs = 1;
    e->roll = roll;
    e->n_gone = n_gone;
    return e;
}

/* Of the digest before, and of the change as docs/MEMBERSHIP.md writes it. */
static bool digest(const struct nx_entry *last, struct nx_entry *e, uint32_t from)
{
    uint8_t full[NX_SHA256_SIZE], head[NX_CHANGE_HEAD];
    uint8_t *gone = nx_alloc(e->n_gone * sizeof(uint32_t) + 1);
    const struct nx_span spans[] = {
        {.data = last == NULL ? NULL : last->digest, .size = last == NULL ? 0 : NX_ENTRY_DIGEST},
        {.data = head, .size = sizeof(head)},
        {.data = gone, .size = e->n_gone * sizeof(uint32_t)},
        {.data = e->roll->uid + from, .size = (e->roll->n - from) * sizeof(struct nx_uid)},
    };
    bool done = false;

    if (gone == NULL)
        return false;
    nx_entry_head(e, head);
    for (uint32_t i = 0; i < e->n_gone; i++)
        nx_store32(gone + (size_t)i * 4, e->gone[i].rank | (uint32_t)e->gone[i].left << 31);
    if (nx_sha256_spans(spans, 4, full) == NEXAR_OK) {
        memcpy(e->digest, full, NX_ENTRY_DIGEST);
        done = true;
    }
    nx_free(gone);
    return done;
}

void nx_entry_head(const struct nx_entry *e, uint8_t out[NX_CHANGE_HEAD])
{
    nx_store64(out, e->epoch);
    nx_store64(out + 8, e->agrees);
    nx_store64(out + 16, e->checkpoints);
    nx_store64(out + 24, e->result);
    nx_store32(out + 32, (uint32_t)e->agree | (uint32_t)e->checkpoint << 1);
    nx_store32(out + 36, e->roll->n);
    nx_store32(out + 40, e->n_gone);
    nx_store32(out + 44, e->joined);
}

struct nx_entry *nx_entry_first(const struct nx_uid *uids, uint32_t n)
{
    struct nx_roll *roll = n == 0 || n > NX_WORLD_MAX ? NULL : roll_new(n);
    struct nx_entry *e = roll == NULL ? NULL : entry_new(roll, 0);

    if (e == NULL) {
        roll_drop(roll);
        return NULL;
    }
    memcpy(roll->uid, uids, n * sizeof(*uids));
    if (!roll_sort(roll) || !digest(NULL, e, 0)) {
        nx_entry_drop(e);
        return NULL;
    }
    return e;
}

static bool gone_fits(const struct nx_entry *last, const struct nx_change *c)
{
    for (uint32_t i = 0; i < c->n_gone; i++) {
        if (c->gone[i].rank >= last->roll->n || (i > 0 && c->gone[i].rank <= c->gone[i - 1].rank))
            return false;
    }
    return true;
}

/* The list after a change; the same one if nobody comes or goes. */
static struct nx_roll *roll_next(const struct nx_entry *last, const struct nx_change *c)
{
    struct nx_roll *old = last->roll, *roll;
    uint32_t stay = old->n - c->n_gone, to = 0, gone = 0;

    if (c->n_gone == 0 && c->n_joined == 0) {
        old->refs++;
        return old;
    }
    roll = roll_new(stay + c->n_joined);
    if (roll == NULL)
        return NULL;
    for (uint32_t i = 0; i < old->n; i++) {
        if (gone < c->n_gone && c->gone[gone].rank == i)
            gone++;
        else
            roll->uid[to++] = old->uid[i];
    }
    if (c->n_joined != 0)
        memcpy(roll->uid + stay, c->joined, c->n_joined * sizeof(struct nx_uid));
    return roll;
}

struct nx_entry *nx_entry_next(const struct nx_entry *last, const struct nx_change *c)
{
    struct nx_roll *roll;
    struct nx_entry *e;

    if (c->n_gone >= last->roll->n || !gone_fits(last, c) || c->n_joined > last->roll->n - c->n_gone ||
        last->roll->n - c->n_gone + c->n_joined > NX_WORLD_MAX) {
        nx_fail(NEXAR_EPROTO, "epoch %llu cannot follow: its changes do not fit to a list of %u",
                (unsigned long long)last->epoch + 1, last->roll->n);
        return NULL;
    }
    roll = roll_next(last, c);
    e = roll == NULL ? NULL : entry_new(roll, c->n_gone);
    if (e == NULL) {
        roll_drop(roll);
        nx_fail(NEXAR_ENOMEM, "no memory for a list of members");
        return NULL;
    }
    e->epoch = last->epoch + 1;
    e->joined = c->n_joined;
    e->agree = c->agree;
    e->checkpoint = c->checkpoint;
    e->result = c->agree ? c->result : 0;
    e->agrees = last->agrees + c->agree;
    e->checkpoints = last->checkpoints + c->checkpoint;
    for (uint32_t i = 0; i < c->n_gone; i++) {
        e->gone[i].rank =
            c->gone[i].rank; /* not the whole struct: what lies between its members goes into the digest */
        e->gone[i].left = c->gone[i].left;
        e->gone[i].uid = last->roll->uid[c->gone[i].rank];
    }
    if ((roll != last->roll && !roll_sort(roll)) || !digest(last, e, roll->n - c->n_joined)) {
        nx_entry_drop(e);
        nx_fail(NEXAR_EPROTO, "epoch %llu lists a member twice", (unsigned long long)last->epoch + 1);
        return NULL;
    }
    return e;
}

struct nx_entry *nx_entry_whole(const struct nx_entry *head, const struct nx_uid *uids, uint32_t n,
                                const struct nx_gone *gone)
{
    struct nx_roll *roll = n == 0 || n > NX_WORLD_MAX ? NULL : roll_new(n);
    struct nx_entry *e = roll == NULL ? NULL : entry_new(roll, head->n_gone);

    if (e == NULL) {
        roll_drop(roll);
        nx_fail(NEXAR_ENOMEM, "no memory for a list of %u members", n);
        return NULL;
    }
    memcpy(roll->uid, uids, n * sizeof(*uids));
    e->joined = head->joined;
    e->epoch = head->epoch;
    e->agrees = head->agrees;
    e->checkpoints = head->checkpoints;
    e->agree = head->agree;
    e->checkpoint = head->checkpoint;
    e->result = head->result;
    memcpy(e->digest, head->digest, NX_ENTRY_DIGEST);
    for (uint32_t i = 0; i < head->n_gone; i++) {
        e->gone[i].rank = gone[i].rank;
        e->gone[i].left = gone[i].left;
        e->gone[i].uid = gone[i].uid;
    }
    if (!roll_sort(roll) || e->joined > n) {
        nx_entry_drop(e);
        nx_fail(NEXAR_EPROTO, "a list of members names one twice");
        return NULL;
    }
    return e;
}

struct nx_entry *nx_entry_hold(struct nx_entry *e)
{
    e->refs++;
    return e;
}

void nx_entry_drop(struct nx_entry *e)
{
    if (e == NULL || --e->refs != 0)
        return;
    roll_drop(e->roll);
    nx_free(e);
}

uint32_t nx_entry_rank(const struct nx_entry *e, const struct nx_uid *uid)
{
    const struct nx_roll *roll = e->roll;
    uint32_t lo = 0, hi = roll->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int cmp = nx_uid_cmp(&roll->uid[roll->order[mid]], uid);

        if (cmp == 0)
            return roll->order[mid];
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NX_NO_RANK_IN;
}

bool nx_entry_admits(const struct nx_entry *e, const struct nx_uid *uid)
{
    uint32_t rank = nx_entry_rank(e, uid);

    return rank != NX_NO_RANK_IN && rank >= e->roll->n - e->joined;
}
