/* memsim_faults.c - what goes wrong in the world of memsim.h, and what its users do. */
#include "memsim.h"

#include <stdlib.h>

static struct memsim_event call(enum memsim_call what, uint32_t a, uint32_t b, nx_time span)
{
    return (struct memsim_event){.kind = MEMSIM_CALL, .call = what, .a = a, .b = b, .span = span};
}

void memsim_heal(struct memsim *s, uint32_t a, uint32_t b)
{
    struct memsim_link *l = &s->link[a][b];
    struct memsim_loads held = l->held;

    if (!l->down)
        return;
    l->down = false;
    if (memsim_chance(&s->rng, 300)) { /* doubled by the reconnect */
        for (uint32_t i = 0; i < l->n_recent; i++) {
            if (l->recent[i].msg != NULL)
                nx_member_msg_hold(l->recent[i].msg);
            memsim_send(s, a, b, l->recent[i]);
        }
    }
    l->held = (struct memsim_loads){0};
    for (uint32_t i = 0; i < held.n; i++)
        memsim_send(s, a, b, held.at[i]);
    free(held.at);
}

static void heal_all(struct memsim *s)
{
    for (uint32_t a = 0; a < s->n; a++) {
        for (uint32_t b = 0; b < s->n; b++)
            memsim_heal(s, a, b);
    }
}

static void reset_one(struct memsim *s, uint32_t a, uint32_t b)
{
    struct memsim_link *l = &s->link[a][b];

    l->generation++;
    for (uint32_t i = 0; !l->down && i < l->n_recent; i++) {
        if (l->recent[i].msg != NULL)
            nx_member_msg_hold(l->recent[i].msg);
        memsim_send(s, a, b, l->recent[i]);
    }
    if (s->false_close && s->member[a].alive)
        memsim_push(s, (nx_time)rng_below(&s->rng, 20 * NX_MS),
                    (struct memsim_event){.kind = MEMSIM_CLOSED, .a = a, .b = b});
}

static void cut(struct memsim *s, struct memsim_cut *c, uint32_t a, uint32_t b)
{
    s->link[a][b].down = true;
    c->pair[c->n].a = a;
    c->pair[c->n++].b = b;
}

static void cut_now(struct memsim *s, struct memsim_cut *c)
{
    if (c->link) {
        cut(s, c, c->a, c->b);
        if (!c->one_way)
            cut(s, c, c->b, c->a);
        return;
    }
    for (int back = 0; back < (c->one_way ? 1 : 2); back++) {
        for (uint32_t a = 0; a < s->n; a++) {
            for (uint32_t b = 0; c->side[a] && b < s->n; b++) {
                if (!c->side[b])
                    cut(s, c, back ? b : a, back ? a : b);
            }
        }
    }
}

static void storm(struct memsim *s)
{
    for (uint32_t a = 0; a < s->n; a++) {
        for (uint32_t b = 0; b < s->n; b++)
            s->link[a][b].down = s->link[a][b].down || a != b;
    }
}

static void crash_any(struct memsim *s)
{
    uint32_t alive = 0, pick;

    for (uint32_t u = 0; u < s->n; u++)
        alive += s->member[u].alive;
    if (alive == 0)
        return;
    pick = (uint32_t)rng_below(&s->plan, alive);
    for (uint32_t u = 0; u < s->n; u++) {
        if (s->member[u].alive && pick-- == 0) {
            memsim_crash(s, u, false);
            return;
        }
    }
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void crash_host(struct memsim *s)
{
    uint32_t hosts[MEMSIM_SLOTS], n = 0, host;

    for (uint32_t u = 0; u < s->n; u++)
        hosts[u] = s->member[u].host;
    qsort(hosts, s->n, sizeof(hosts[0]), by_number);
    for (uint32_t u = 0; u < s->n; u++) {
        if (n == 0 || hosts[n - 1] != hosts[u])
            hosts[n++] = hosts[u];
    }
    host = hosts[rng_below(&s->plan, n)];
    for (uint32_t u = 0; u < s->n; u++) {
        if (s->member[u].host == host) {
            memsim_crash(s, u, true);
            s->member[u].stored = false; /* the records are lost with the memory */
        }
    }
}

static void freeze(struct memsim *s, uint32_t u, nx_time span)
{
    if (!s->member[u].alive || s->member[u].frozen)
        return;
    s->member[u].frozen = true;
    memsim_push(s, span, (struct memsim_event){.kind = MEMSIM_THAW, .a = u});
}

static void join(struct memsim *s)
{
    uint32_t in[MEMSIM_SLOTS], n = 0, pick, host;
    struct nx_uid contacts[3];

    for (uint32_t u = 0; u < s->n; u++) {
        if (s->member[u].alive && s->member[u].m.state == NX_MEMBER_IN)
            in[n++] = u;
    }
    if (n == 0)
        return;
    pick = (uint32_t)rng_below(&s->rng, n + 1);
    host = pick == n ? UINT32_MAX : s->member[in[pick]].host;
    for (uint32_t i = 0; i < 3 && i < n; i++) {
        uint32_t j = (uint32_t)memsim_span(&s->rng, i, n), swap = in[i];

        in[i] = in[j];
        in[j] = swap;
        contacts[i] = s->member[in[i]].m.uid;
    }
    memsim_add(s, host, true, contacts, n < 3 ? n : 3);
}

/* All call agree(), or come to a checkpoint, one after the other. */
static void wave(struct memsim *s, bool agree, uint32_t leave)
{
    for (uint32_t u = 0; u < s->n; u++) {
        const struct memsim_member *m = &s->member[u];

        if (!m->alive || m->frozen)
            continue;
        if (agree) {
            memsim_push(s, (nx_time)rng_below(&s->rng, 200 * NX_MS), call(MEMSIM_AGREE, u, 0, 0));
        } else if (m->m.state == NX_MEMBER_IN) {
            bool leaves = memsim_chance(&s->rng, leave);

            memsim_push(s, (nx_time)rng_below(&s->rng, 200 * NX_MS), call(MEMSIM_CHECKPOINT, u, leaves, 0));
        }
    }
}

static void user_calls(struct memsim *s, const struct memsim_event *e)
{
    struct memsim_member *m = &s->member[e->a];

    if (!m->alive || m->frozen)
        return;
    if (e->call == MEMSIM_AGREE) {
        memsim_agree(s, e->a, memsim_chance(&s->rng, 800));
        return;
    }
    memsim_begin(s, e->a);
    nx_member_call_checkpoint(&m->m, e->b != 0, memsim_local(s, e->a));
    memsim_end(s, e->a);
}

void memsim_call(struct memsim *s, const struct memsim_event *e)
{
    struct memsim_member *m = &s->member[e->a];
    struct memsim_cut *c = &s->cut[e->a % MEMSIM_CUTS];

    switch (e->call) {
    case MEMSIM_CRASH:
        memsim_crash(s, e->a, false);
        break;
    case MEMSIM_CRASH_ANY:
        crash_any(s);
        break;
    case MEMSIM_BOMB:
        if (!m->bomb) {
            m->bomb = true;
            m->bomb_after = e->b;
            m->bomb_freeze = e->span;
        }
        break;
    case MEMSIM_CRASH_HOST:
        crash_host(s);
        break;
    case MEMSIM_FREEZE:
        freeze(s, e->a, e->span);
        break;
    case MEMSIM_CUT:
        cut_now(s, c);
        break;
    case MEMSIM_HEAL:
        for (uint32_t i = 0; i < c->n; i++)
            memsim_heal(s, c->pair[i].a, c->pair[i].b);
        break;
    case MEMSIM_RESET:
        reset_one(s, e->a, e->b);
        reset_one(s, e->b, e->a);
        break;
    case MEMSIM_JOIN:
        join(s);
        break;
    case MEMSIM_WAVE_CHECKPOINT:
    case MEMSIM_WAVE_AGREE:
        wave(s, e->call == MEMSIM_WAVE_AGREE, e->b);
        break;
    case MEMSIM_STORM:
        storm(s);
        break;
    case MEMSIM_HEAL_ALL:
        heal_all(s);
        break;
    case MEMSIM_AGREE:
    case MEMSIM_CHECKPOINT:
        user_calls(s, e);
        break;
    }
}

void memsim_at(struct memsim *s, nx_time at, enum memsim_call what, uint32_t a, uint32_t b, nx_time span)
{
    memsim_push(s, at - s->now, call(what, a, b, span));
}

void memsim_split_at(struct memsim *s, nx_time at, nx_time until, const bool *side)
{
    memcpy(s->cut[s->n_cuts].side, side, sizeof(s->cut[s->n_cuts].side));
    memsim_at(s, at, MEMSIM_CUT, s->n_cuts, 0, 0);
    if (until != NX_NEVER)
        memsim_at(s, until, MEMSIM_HEAL, s->n_cuts, 0, 0);
    s->n_cuts++;
}
