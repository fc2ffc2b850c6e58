/* memsim_oracle.c - what must hold in the world of memsim.h: the invariants I1-I7 of docs/MEMBERSHIP.md.
 *
 * It counts votes by itself, outside the machines, and compares all that they install. */
#include "memsim.h"

#include <stdarg.h>
#include <stdlib.h>

void memsim_fault(struct memsim *s, const char *format, ...)
{
    va_list args;

    if (s->fault[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(s->fault, sizeof(s->fault), format, args);
    va_end(args);
}

static bool same_list(const struct nx_entry *a, const struct nx_entry *b)
{
    return a->roll->n == b->roll->n && memcmp(a->roll->uid, b->roll->uid, a->roll->n * sizeof(struct nx_uid)) == 0;
}

static bool same_gone(const struct nx_entry *a, const struct nx_entry *b)
{
    for (uint32_t i = 0; i < a->n_gone && i < b->n_gone; i++) {
        if (a->gone[i].left != b->gone[i].left || !nx_uid_same(&a->gone[i].uid, &b->gone[i].uid))
            return false;
    }
    return a->n_gone == b->n_gone;
}

/* In all that they say, not by their digests alone. */
static bool same_entry(const struct nx_entry *a, const struct nx_entry *b)
{
    return nx_entry_same(a, b) && same_list(a, b) && same_gone(a, b) && a->joined == b->joined &&
           a->agrees == b->agrees && a->checkpoints == b->checkpoints && a->agree == b->agree &&
           a->checkpoint == b->checkpoint && a->result == b->result;
}

void memsim_accepted(struct memsim *s, uint32_t who, const struct nx_acceptor *r)
{
    struct memsim_votes *v;
    uint32_t i;

    if (r->value == NULL)
        return;
    for (i = 0; i < s->n_votes; i++) {
        v = &s->votes[i];
        if ((int64_t)v->epoch == nx_acceptor_epoch(r) && nx_ballot_cmp(v->ballot, r->accepted) == 0 &&
            same_entry(v->value, r->value))
            break;
    }
    if (i == s->n_votes) {
        if (s->n_votes == s->votes_room) {
            s->votes_room = s->votes_room == 0 ? 16 : 2 * s->votes_room;
            s->votes = realloc(s->votes, s->votes_room * sizeof(*s->votes));
            if (s->votes == NULL)
                abort();
        }
        s->votes[s->n_votes++] = (struct memsim_votes){
            .ballot = r->accepted, .value = nx_entry_hold(r->value), .epoch = (uint64_t)nx_acceptor_epoch(r)};
    }
    s->votes[i].by[who] = true;
}

static bool quorum_of(const struct memsim *s, const struct nx_entry *e, const bool *by)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < e->roll->n; i++)
        n += by[memsim_slot(s, &e->roll->uid[i])];
    return nx_quorum(e->roll->n, n, by[memsim_slot(s, &e->roll->uid[0])]);
}

static bool was_decided(const struct memsim *s, const struct nx_entry *last, const struct nx_entry *e)
{
    for (uint32_t i = 0; i < s->n_votes; i++) {
        const struct memsim_votes *v = &s->votes[i];

        if (v->epoch == last->epoch && same_entry(v->value, e) && quorum_of(s, last, v->by))
            return true;
    }
    return false;
}

/* The list, those who leave and the dead whose host votes for them hold a quorum of the list before. */
static bool holds_quorum(const struct memsim *s, const struct nx_entry *last, const struct nx_entry *e)
{
    bool by[MEMSIM_SLOTS] = {false};

    for (uint32_t u = 0; s->witnessed && u < s->n; u++)
        by[u] = !s->member[u].alive;
    for (uint32_t i = 0; i < e->roll->n; i++)
        by[memsim_slot(s, &e->roll->uid[i])] = true;
    for (uint32_t i = 0; i < e->n_gone; i++) {
        if (e->gone[i].left)
            by[memsim_slot(s, &e->gone[i].uid)] = true;
    }
    return quorum_of(s, last, by);
}

void memsim_agree(struct memsim *s, uint32_t u, bool flag)
{
    struct memsim_member *m = &s->member[u];
    bool was_open = m->m.agree != 0;

    if (m->m.state == NX_MEMBER_IN && !was_open)
        m->flag[nx_acceptor_entry(&m->m.own)->agrees + 1] = flag ? 2 : 1;
    memsim_begin(s, u);
    nx_member_call_agree(&m->m, flag, memsim_local(s, u));
    memsim_end(s, u);
}

/* Members of the list before who are not lost: they have decided, and what they have said counts. */
static void check_kept(struct memsim *s, const struct nx_entry *last, const struct nx_entry *e)
{
    uint64_t all = 1;
    uint32_t gone = 0, leave = 0, kept = 0;

    for (uint32_t i = 0; i < last->roll->n; i++) {
        const struct memsim_member *m = &s->member[memsim_slot(s, &last->roll->uid[i])];

        if (gone < e->n_gone && e->gone[gone].rank == i && !e->gone[gone++].left)
            continue;
        kept++;
        if (e->agree && m->flag[e->agrees] == 0)
            memsim_fault(s, "I7 agree %d counts %u, who has not called it", (int)e->agrees, m->number);
        all = all && m->flag[e->agrees] == 2;
        for (uint32_t k = e->roll->n - e->joined; k < e->roll->n; k++) {
            if (!m->asked_by[memsim_slot(s, &e->roll->uid[k])])
                memsim_fault(s, "I6 %u does not know who joins in epoch %d", m->number, (int)e->epoch);
        }
    }
    for (uint32_t i = 0; i < e->n_gone; i++)
        leave += e->gone[i].left;
    if (e->agree && e->result != all)
        memsim_fault(s, "I7 agree %d is %d, not %d", (int)e->agrees, (int)e->result, (int)all);
    if (e->joined > kept - leave)
        memsim_fault(s, "I6 more join in epoch %d than stay", (int)e->epoch);
}

static void first_install(struct memsim *s, uint32_t u, struct nx_entry *e)
{
    const struct nx_entry *last = s->entry[e->epoch - 1];

    if (last == NULL || !was_decided(s, last, e)) {
        memsim_fault(s, "I3 epoch %d installed by %u without a quorum of the one before", (int)e->epoch, u);
        return;
    }
    if (!holds_quorum(s, last, e))
        memsim_fault(s, "I2 epoch %d does not contain a quorum of its predecessor", (int)e->epoch);
    for (uint32_t i = e->roll->n - e->joined; i < e->roll->n; i++) {
        for (uint32_t k = 0; k < e->epoch; k++) {
            if (nx_entry_rank(s->entry[k], &e->roll->uid[i]) != NX_NO_RANK_IN)
                memsim_fault(s, "I6 a member of epoch %d joins twice", (int)e->epoch);
        }
    }
    check_kept(s, last, e);
    s->entry[e->epoch] = nx_entry_hold(e);
    s->stats.views += !same_list(last, e);
    s->stats.joined += e->joined;
    for (uint32_t i = 0; i < e->n_gone; i++)
        s->stats.left += e->gone[i].left;
}

static void installed(struct memsim *s, uint32_t u, struct nx_entry *e, int64_t before)
{
    struct memsim_member *m = &s->member[u];
    struct memsim_events early = m->early;

    if (e->epoch >= MEMSIM_EPOCHS)
        abort();
    if (s->entry[e->epoch] == NULL)
        first_install(s, u, e);
    else if (!same_entry(s->entry[e->epoch], e))
        memsim_fault(s, "I1 epoch %d is not the same for %u", (int)e->epoch, u);
    if (before >= 0 && (int64_t)e->epoch != before + 1)
        memsim_fault(s, "I2 %u skipped from %d to %d", u, (int)before, (int)e->epoch);
    if (before < 0 && !nx_entry_admits(e, &m->m.uid))
        memsim_fault(s, "I6 %u entered at epoch %d which does not admit it", u, (int)e->epoch);
    m->early = (struct memsim_events){0};
    for (uint32_t i = 0; i < early.n; i++)
        memsim_take(s, u, early.at[i].a, early.at[i].load.tag);
    free(early.at);
}

static void agreed(struct memsim *s, const struct nx_entry *e)
{
    struct nx_entry **old = &s->agreed[e->agrees];

    s->stats.agreed++;
    if (*old == NULL)
        *old = nx_entry_hold((struct nx_entry *)(uintptr_t)e);
    else if ((*old)->result != e->result || !same_gone(*old, e))
        memsim_fault(s, "I7 agree %d has two results", (int)e->agrees);
}

void memsim_observe(struct memsim *s, uint32_t u, const struct nx_member_event *e)
{
    if (s->trace != NULL)
        memsim_text_told(s, e);
    if (e->kind == NX_MEMBER_INSTALLED)
        installed(s, u, (struct nx_entry *)(uintptr_t)e->entry, e->before);
    else if (e->kind == NX_MEMBER_AGREED)
        agreed(s, e->entry);
    else if (e->kind == NX_MEMBER_LIE)
        memsim_fault(s, "an honest member is called a liar by %u: %s", u, e->why);
}

void memsim_check(struct memsim *s, uint32_t u)
{
    struct memsim_member *m = &s->member[u];
    int64_t epoch = memsim_epoch(s, u);

    if (epoch < m->seen)
        memsim_fault(s, "I2 epoch of %u went back", u);
    m->seen = epoch;
    if (m->m.state == NX_MEMBER_IN &&
        (s->entry[epoch] == NULL || !same_list(s->entry[epoch], nx_acceptor_entry(&m->m.own))))
        memsim_fault(s, "I1 %u holds a different list for epoch %d", u, (int)epoch);
}

/* What a member does with an application message of the communicator of epoch `tag`: docs/MEMBERSHIP.md, "Fences". */
void memsim_take(struct memsim *s, uint32_t u, uint32_t from, int64_t tag)
{
    struct memsim_member *m = &s->member[u];
    int64_t epoch = memsim_epoch(s, u);

    if (m->m.state == NX_MEMBER_EXCLUDED || m->m.state == NX_MEMBER_GONE)
        return;
    if (m->m.state != NX_MEMBER_IN || tag > epoch) {
        struct memsim_events *early = &m->early;

        if (early->n == early->room) {
            early->room = early->room == 0 ? 8 : 2 * early->room;
            early->at = realloc(early->at, early->room * sizeof(*early->at));
            if (early->at == NULL)
                abort();
        }
        early->at[early->n++] = (struct memsim_event){.a = from, .load.tag = tag};
        return;
    }
    if (tag != epoch)
        return;
    s->stats.taken++;
    if (nx_entry_rank(s->entry[tag], &s->member[from].m.uid) == NX_NO_RANK_IN ||
        nx_entry_rank(s->entry[tag], &m->m.uid) == NX_NO_RANK_IN)
        memsim_fault(s, "I4 %u took a message of epoch %d from %u", u, (int)tag, from);
}

/* ---- the end of a scenario ---- */

static bool is_in(const struct memsim *s, const bool *side, uint32_t u)
{
    return side[u] && s->member[u].alive && s->member[u].m.state == NX_MEMBER_IN;
}

/* The list that is in force on a side: the newest. */
static const struct nx_entry *newest(const struct memsim *s, const bool *side)
{
    const struct nx_entry *e = NULL;

    for (uint32_t u = 0; u < s->n; u++) {
        const struct nx_entry *own = nx_acceptor_entry(&s->member[u].m.own);

        if (is_in(s, side, u) && (e == NULL || own->epoch > e->epoch))
            e = own;
    }
    return e;
}

static bool can_go_on(const struct memsim *s, const bool *side, const struct nx_entry *e)
{
    bool votes[MEMSIM_SLOTS] = {false};

    for (uint32_t i = 0; i < e->roll->n; i++) {
        uint32_t d = memsim_slot(s, &e->roll->uid[i]);

        votes[d] = is_in(s, side, d);
        for (uint32_t j = 0; s->witnessed && !s->member[d].alive && s->member[d].stored && j < e->roll->n; j++) {
            uint32_t w = memsim_slot(s, &e->roll->uid[j]);

            votes[d] = votes[d] || (is_in(s, side, w) && s->member[w].host == s->member[d].host);
        }
    }
    return quorum_of(s, e, votes);
}

/* One who is not in the list and yet has a mate in its own who goes on has not been told. */
static bool all_told(const struct memsim *s, const bool *side, const struct nx_entry *e)
{
    for (uint32_t u = 0; u < s->n; u++) {
        const struct nx_member *m = &s->member[u].m;
        const struct nx_entry *own = nx_acceptor_entry(&m->own);

        if (!is_in(s, side, u) || nx_entry_rank(e, &m->uid) != NX_NO_RANK_IN)
            continue;
        for (uint32_t i = 0; i < own->roll->n; i++) {
            uint32_t v = memsim_slot(s, &own->roll->uid[i]);

            if (v != u && is_in(s, side, v))
                return false;
        }
    }
    return true;
}

int memsim_converged(struct memsim *s, const bool *side)
{
    struct nx_entry *e = (struct nx_entry *)(uintptr_t)newest(s, side);
    bool same = true, whole = true, open = false, told;

    if (e == NULL)
        return 1;
    if (!can_go_on(s, side, e))
        return -1;
    for (uint32_t i = 0; i < e->roll->n; i++) {
        uint32_t u = memsim_slot(s, &e->roll->uid[i]);

        if (!is_in(s, side, u)) {
            whole = false;
            continue;
        }
        open = open || s->member[u].m.agree != 0;
        same = same && memsim_epoch(s, u) == (int64_t)e->epoch;
    }
    nx_entry_hold(e);
    for (uint32_t i = 0; open && same && i < e->roll->n; i++) { /* some have not called agree() yet */
        uint32_t u = memsim_slot(s, &e->roll->uid[i]);

        if (is_in(s, side, u) && s->member[u].m.agree == 0) {
            memsim_agree(s, u, true);
        }
    }
    told = all_told(s, side, e);
    nx_entry_drop(e);
    return same && whole && !open && told;
}
