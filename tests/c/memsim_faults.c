/* memsim_faults.c - what goes wrong in the world of memsim.h, drawn from the seed as in tests/membership/scenario.py. */
#include "memsim.h"

#include <stdlib.h>

#define BOUND (12 * NX_S) /* after the last fault, to one common list */

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
        bool flag = memsim_chance(&s->rng, 800);

        memsim_begin(s, e->a);
        nx_member_call_agree(&m->m, flag, memsim_local(s, e->a));
    } else {
        memsim_begin(s, e->a);
        nx_member_call_checkpoint(&m->m, e->b != 0, memsim_local(s, e->a));
    }
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

/* ---- a scenario ---- */

enum fault { CRASH, BOMB, FREEZE_BOMB, HOST, FREEZE, PART, LINK, RESET, JOIN, CHECKPOINT, AGREE, STORM };

static void two_of(struct rng *r, uint32_t n, uint32_t *a, uint32_t *b)
{
    /* As sample(range(n), 2): the first is swapped to the front. */
    uint32_t i = (uint32_t)memsim_span(r, 0, n), j = (uint32_t)memsim_span(r, 1, n);

    *a = i;
    *b = j == i ? 0 : j;
}

static nx_time bomb(struct memsim *s, uint32_t n, nx_time t, bool freezes)
{
    static const uint32_t who[] = {0, 0, 0, 1, 1, 2};
    static const uint32_t spans[] = {100, 600, 1800, 2400};
    struct rng *r = &s->plan;
    uint32_t u = memsim_chance(r, 700) ? who[rng_below(r, 6)] % n : (uint32_t)rng_below(r, n);
    uint32_t after = (uint32_t)rng_below(r, 3 * n + 1);
    nx_time d = freezes ? spans[rng_below(r, 4)] * NX_MS : 0;

    memsim_push(s, t, call(MEMSIM_BOMB, u, after, d));
    return d;
}

static nx_time cut_later(struct memsim *s, uint32_t n, nx_time t, bool link)
{
    static const uint32_t spans[] = {100, 500, 1700, 2200, 4000};
    struct rng *r = &s->plan;
    nx_time d = spans[rng_below(r, 5)] * NX_MS;
    struct memsim_cut *c = &s->cut[s->n_cuts];

    c->link = link;
    if (link)
        two_of(r, n, &c->a, &c->b);
    for (uint32_t u = 0; !link && u < n; u++)
        c->side[u] = memsim_chance(r, 500);
    c->one_way = memsim_chance(r, 400);
    memsim_push(s, t, call(MEMSIM_CUT, s->n_cuts, 0, 0));
    memsim_push(s, t + d, call(MEMSIM_HEAL, s->n_cuts, 0, 0));
    s->n_cuts++;
    return d;
}

/* Draws one fault and puts it into the world; returns when it is over. */
static nx_time plan(struct memsim *s, uint32_t n)
{
    static const uint8_t kinds[] = {CRASH,  CRASH, BOMB,  BOMB,  BOMB,  FREEZE_BOMB, FREEZE_BOMB, FREEZE_BOMB, HOST,
                                    FREEZE, PART,  PART,  LINK,  RESET, JOIN,        CHECKPOINT,  AGREE,       AGREE,
                                    STORM,  RESET, RESET, RESET, RESET, RESET,       RESET};
    static const uint32_t spans[] = {200, 1000, 2500, 4000};
    struct rng *r = &s->plan;
    nx_time t = memsim_span(r, 200 * NX_MS, 4500 * NX_MS), d = 0;
    uint8_t kind = kinds[rng_below(r, s->false_close ? 25 : 19)];
    uint32_t a, b;

    switch (kind) {
    case CRASH:
        memsim_push(s, t, call(MEMSIM_CRASH_ANY, 0, 0, 0));
        break;
    case BOMB:
    case FREEZE_BOMB:
        d = bomb(s, n, t, kind == FREEZE_BOMB);
        break;
    case HOST:
        memsim_push(s, t, call(MEMSIM_CRASH_HOST, 0, 0, 0));
        break;
    case FREEZE:
        a = (uint32_t)rng_below(r, n);
        d = spans[rng_below(r, 4)] * NX_MS;
        memsim_push(s, t, call(MEMSIM_FREEZE, a, 0, d));
        break;
    case PART:
    case LINK:
        d = cut_later(s, n, t, kind == LINK);
        break;
    case RESET:
        two_of(r, n, &a, &b);
        memsim_push(s, t, call(MEMSIM_RESET, a, b, 0));
        break;
    case JOIN:
        memsim_push(s, t, call(MEMSIM_JOIN, 0, 0, 0));
        memsim_push(s, t + memsim_span(r, 300 * NX_MS, 1200 * NX_MS), call(MEMSIM_WAVE_CHECKPOINT, 0, 100, 0));
        break;
    case CHECKPOINT:
    case AGREE:
        memsim_push(s, t, call(kind == AGREE ? MEMSIM_WAVE_AGREE : MEMSIM_WAVE_CHECKPOINT, 0, 100, 0));
        break;
    default: /* nobody hears anybody for a while */
        d = memsim_span(r, 500 * NX_MS, 3000 * NX_MS);
        memsim_push(s, t, call(MEMSIM_STORM, 0, 0, 0));
        memsim_push(s, t + d, call(MEMSIM_HEAL_ALL, 0, 0, 0));
        break;
    }
    return t + d;
}

/* All call agree(); then each side has one list within the bound, or has no quorum. */
static void finish(struct memsim *s, bool sides[2][MEMSIM_SLOTS], uint32_t n_sides, struct memsim_result *r)
{
    nx_time began = s->now;
    bool done[2] = {false, n_sides < 2};

    wave(s, true, 0);
    memsim_run(s, began + 250 * NX_MS);
    while ((!done[0] || !done[1]) && s->fault[0] == '\0') {
        for (uint32_t i = 0; i < n_sides && s->fault[0] == '\0'; i++) {
            int c = done[i] ? 0 : memsim_converged(s, sides[i]);

            if (!done[i] && c != 0 && (c > 0 || s->now > began + 3 * NX_S)) {
                done[i] = true;
                r->side[r->n].stopped = c < 0;
                r->side[r->n++].after = s->now - began;
            }
        }
        if ((!done[0] || !done[1]) && s->now > began + BOUND)
            memsim_fault(s, "I5 no common list %d s after the last fault", (int)(BOUND / NX_S));
        memsim_run(s, s->now + 250 * NX_MS);
    }
}

void memsim_scenario(struct memsim *s, uint64_t seed, const struct memsim_options *o, struct memsim_result *r)
{
    struct rng plans = {.state = seed * 7919 + 13};
    uint32_t width = o->most - o->least + 1;
    uint32_t a = (uint32_t)rng_below(&plans, width), b = (uint32_t)rng_below(&plans, width);
    uint32_t n = o->least + (memsim_chance(&plans, 500) && b < a ? b : a); /* small worlds are more often wrong */
    bool sides[2][MEMSIM_SLOTS] = {0};
    bool frozen[MEMSIM_SLOTS];
    nx_time last = 300 * NX_MS;

    *r = (struct memsim_result){.members = n};
    memsim_init(s, seed, n, o);
    s->plan = plans;
    for (nx_time faults = memsim_span(&s->plan, 1, 7); faults > 0; faults--) {
        nx_time over = plan(s, n);

        if (over > last)
            last = over;
    }
    memsim_run(s, last + 50 * NX_MS);
    for (uint32_t u = 0; u < s->n; u++)
        s->member[u].bomb = false;
    heal_all(s);
    for (uint32_t u = 0; u < s->n; u++)
        frozen[u] = s->member[u].frozen;
    for (uint32_t u = 0; u < s->n; u++) {
        if (frozen[u] && s->fault[0] == '\0')
            memsim_event(s, &(struct memsim_event){.kind = MEMSIM_THAW, .a = u});
    }
    if (memsim_chance(&s->plan, 300)) { /* a clean partition that stays */
        struct memsim_cut *c = &s->cut[s->n_cuts];

        for (uint32_t u = 0; u < s->n; u++) {
            sides[0][u] = c->side[u] = memsim_chance(&s->plan, 500);
            sides[1][u] = !sides[0][u];
        }
        cut_now(s, c);
        finish(s, sides, 2, r);
    } else {
        for (uint32_t u = 0; u < s->n; u++)
            sides[0][u] = true;
        finish(s, sides, 1, r);
    }
}
