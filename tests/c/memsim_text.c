/* memsim_text.c - what happens in the world of memsim.h, as lines of text: those of tests/membership/sim.py. */
#include "memsim.h"

static uint32_t number(const struct memsim *s, const struct nx_uid *uid)
{
    return s->member[memsim_slot(s, uid)].number;
}

static void put_uids(struct memsim *s, const struct nx_uid *at, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        fprintf(s->trace, "%s%u", i == 0 ? "" : ",", number(s, &at[i]));
}

static void put_gone(struct memsim *s, const struct nx_entry *e, bool left)
{
    bool first = true;

    for (uint32_t i = 0; i < e->n_gone; i++) {
        if (e->gone[i].left == left) {
            fprintf(s->trace, "%s%u", first ? "" : ",", number(s, &e->gone[i].uid));
            first = false;
        }
    }
}

static void put_entry(struct memsim *s, const struct nx_entry *e)
{
    fprintf(s->trace, "e%d[", (int)e->epoch);
    put_uids(s, e->roll->uid, e->roll->n);
    fprintf(s->trace, "]+");
    put_uids(s, e->roll->uid + e->roll->n - e->joined, e->joined);
    fprintf(s->trace, "-");
    put_gone(s, e, true);
    fprintf(s->trace, " a%d:", (int)e->agrees);
    if (e->agree) {
        fprintf(s->trace, "%d/%d/", (int)e->agrees, (int)e->result);
        put_gone(s, e, false);
    } else {
        fprintf(s->trace, "-");
    }
    fprintf(s->trace, " c%d", (int)e->checkpoints);
}

static void put_stand(struct memsim *s, const struct nx_stand *st)
{
    fprintf(s->trace, "s");
    put_uids(s, st->suspects.at, st->suspects.n);
    if (st->agree != 0)
        fprintf(s->trace, " a%d/%d", (int)st->agree, (int)st->flag);
    else
        fprintf(s->trace, " a-");
    fprintf(s->trace, " r%d%d c", st->ready, st->leaving);
    put_uids(s, st->candidates.at, st->candidates.n);
}

static void put_ballot(struct memsim *s, struct nx_ballot b)
{
    fprintf(s->trace, " %u.%u", b.round, b.rank);
}

static void put_vote(struct memsim *s, const struct nx_member_msg *m)
{
    put_ballot(s, m->ballot);
    if (m->kind == NX_MEMBER_NACK) {
        put_ballot(s, m->other);
        return;
    }
    fprintf(s->trace, " e%d %u", (int)m->epoch, number(s, &s->entry[m->epoch]->roll->uid[m->who]));
    if (m->kind == NX_MEMBER_PROPOSE) {
        fprintf(s->trace, " ");
        put_entry(s, m->value);
    } else if (m->kind == NX_MEMBER_PROMISE) {
        if (m->value != NULL) {
            put_ballot(s, m->other);
            fprintf(s->trace, " ");
            put_entry(s, m->value);
            fprintf(s->trace, " ");
        } else {
            fprintf(s->trace, " - ");
        }
        if (m->stands)
            put_stand(s, &m->stand);
        else
            fprintf(s->trace, "-");
    }
}

static void put_load(struct memsim *s, const struct nx_member_msg *m, int64_t tag)
{
    if (m == NULL) {
        fprintf(s->trace, "APP e%d", (int)tag);
        return;
    }
    fprintf(s->trace, "%s", nx_member_kind_name(m->kind));
    switch (m->kind) {
    case NX_MEMBER_BEAT:
        fprintf(s->trace, " e%d ", (int)m->epoch);
        put_stand(s, &m->stand);
        fprintf(s->trace, " w");
        put_uids(s, m->uids.at, m->uids.n);
        break;
    case NX_MEMBER_CHAIN:
        for (uint32_t i = 0; i < m->n; i++) {
            fprintf(s->trace, " ");
            put_entry(s, m->chain[i]);
        }
        if (m->n == 0)
            fprintf(s->trace, " ");
        break;
    case NX_MEMBER_JOIN:
        break;
    case NX_MEMBER_JOINACK:
        fprintf(s->trace, " ");
        put_uids(s, m->uids.at, m->uids.n);
        break;
    default:
        put_vote(s, m);
        break;
    }
}

void memsim_text_event(struct memsim *s, const struct memsim_event *e)
{
    static const char *const names[] = {"msg", "tick", "app", "late", "died", "closed", "thaw", "call"};

    fprintf(s->trace, "%lld %s ", (long long)s->now, names[e->kind]);
    if (e->kind != MEMSIM_CALL)
        fprintf(s->trace, "%u", s->member[e->a].number);
    if (e->kind == MEMSIM_MSG || e->kind == MEMSIM_DIED || e->kind == MEMSIM_CLOSED)
        fprintf(s->trace, ",%u", s->member[e->b].number);
    if (e->kind == MEMSIM_MSG || e->kind == MEMSIM_LATE) {
        fprintf(s->trace, " ");
        put_load(s, e->load.msg, e->load.tag);
    }
    if (e->kind == MEMSIM_MSG)
        fprintf(s->trace, " %u", e->generation);
    fprintf(s->trace, "\n");
}

void memsim_text_send(struct memsim *s, uint32_t to, const struct nx_member_msg *m)
{
    fprintf(s->trace, "  > %u ", s->member[to].number);
    put_load(s, m, 0);
    fprintf(s->trace, "\n");
}

void memsim_text_told(struct memsim *s, const struct nx_member_event *e)
{
    if (e->kind == NX_MEMBER_INSTALLED) {
        fprintf(s->trace, "  ! installed ");
        put_entry(s, e->entry);
        fprintf(s->trace, "\n");
    } else if (e->kind == NX_MEMBER_AGREED) {
        fprintf(s->trace, "  ! agreed %d %d ", (int)e->entry->agrees, (int)e->entry->result);
        put_gone(s, e->entry, false);
        fprintf(s->trace, "\n");
    }
}
