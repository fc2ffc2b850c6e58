/* memsim_scenario.c - a world of memsim.h and what goes wrong in it, drawn from the seed as in
 * tests/membership/scenario.py. */
#include "memsim.h"

#include <stdlib.h>

#define BOUND (12 * NX_S) /* after the last fault, to one common list */

void memsim_init(struct memsim *s, uint64_t seed, uint32_t n, const struct memsim_options *o)
{
    static const nx_time slow[] = {1 * NX_MS, 3 * NX_MS, 20 * NX_MS, 50 * NX_MS};
    static const uint32_t tail[] = {0, 0, 20, 100};
    struct nx_uid uids[MEMSIM_SLOTS] = {0};

    memset(s, 0, sizeof(*s));
    s->rng.state = seed;
    s->witnessed = !o->majority;
    s->false_close = o->false_close;
    s->by_wire = o->by_wire;
    s->short_memory = o->short_memory;
    s->memory.state = seed;
    s->trace = o->trace;
    s->initial = n;
    s->slow = slow[rng_below(&s->rng, 4)];
    s->tail = tail[rng_below(&s->rng, 4)];
    s->hosts = o->hosts != 0 ? o->hosts : (uint32_t[]){1, 2, 3, n}[rng_below(&s->rng, 4)];
    for (uint32_t i = 0; i < n; i++)
        uids[i].bytes[15] = (uint8_t)i;
    s->entry[0] = nx_entry_first(uids, n);
    if (s->entry[0] == NULL)
        abort();
    for (uint32_t i = 0; i < n; i++)
        memsim_add(s, s->hosts < n ? (uint32_t)rng_below(&s->rng, s->hosts) : i, false, NULL, 0);
}

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

    memsim_at(s, t, MEMSIM_BOMB, u, after, d);
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
    memsim_at(s, t, MEMSIM_CUT, s->n_cuts, 0, 0);
    memsim_at(s, t + d, MEMSIM_HEAL, s->n_cuts, 0, 0);
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
        memsim_at(s, t, MEMSIM_CRASH_ANY, 0, 0, 0);
        break;
    case BOMB:
    case FREEZE_BOMB:
        d = bomb(s, n, t, kind == FREEZE_BOMB);
        break;
    case HOST:
        memsim_at(s, t, MEMSIM_CRASH_HOST, 0, 0, 0);
        break;
    case FREEZE:
        a = (uint32_t)rng_below(r, n);
        d = spans[rng_below(r, 4)] * NX_MS;
        memsim_at(s, t, MEMSIM_FREEZE, a, 0, d);
        break;
    case PART:
    case LINK:
        d = cut_later(s, n, t, kind == LINK);
        break;
    case RESET:
        two_of(r, n, &a, &b);
        memsim_at(s, t, MEMSIM_RESET, a, b, 0);
        break;
    case JOIN:
        memsim_at(s, t, MEMSIM_JOIN, 0, 0, 0);
        memsim_at(s, t + memsim_span(r, 300 * NX_MS, 1200 * NX_MS), MEMSIM_WAVE_CHECKPOINT, 0, 100, 0);
        break;
    case CHECKPOINT:
    case AGREE:
        memsim_at(s, t, kind == AGREE ? MEMSIM_WAVE_AGREE : MEMSIM_WAVE_CHECKPOINT, 0, 100, 0);
        break;
    default: /* nobody hears anybody for a while */
        d = memsim_span(r, 500 * NX_MS, 3000 * NX_MS);
        memsim_at(s, t, MEMSIM_STORM, 0, 0, 0);
        memsim_at(s, t + d, MEMSIM_HEAL_ALL, 0, 0, 0);
        break;
    }
    return t + d;
}

/* All call agree(); then each side has one list within the bound, or has no quorum. */
static void finish(struct memsim *s, bool sides[2][MEMSIM_SLOTS], uint32_t n_sides, struct memsim_result *r)
{
    nx_time began = s->now;
    bool done[2] = {false, n_sides < 2};

    memsim_call(s, &(struct memsim_event){.call = MEMSIM_WAVE_AGREE});
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
    memsim_call(s, &(struct memsim_event){.call = MEMSIM_HEAL_ALL});
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
        memsim_call(s, &(struct memsim_event){.call = MEMSIM_CUT, .a = s->n_cuts});
        finish(s, sides, 2, r);
    } else {
        for (uint32_t u = 0; u < s->n; u++)
            sides[0][u] = true;
        finish(s, sides, 1, r);
    }
}
