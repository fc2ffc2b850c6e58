/* relaysim_faults.c - the world of relay machines: deaths, breaks, and how the news of them spreads. */
#include "relaysim.h"

static void learn(struct relaysim *sim, struct relaysim_rank *r)
{
    static struct nx_topology_link links[RELAYSIM_RANKS * RELAYSIM_RANKS];
    uint32_t dead[RELAYSIM_RANKS];
    struct nx_outage outage = {.dead = dead, .links = links};
    struct nx_routes before = r->routes;

    for (uint32_t a = 0; a < sim->topology.n; a++) {
        if (r->dead[a])
            dead[outage.n_dead++] = a;
        for (uint32_t b = 0; b < a; b++) {
            if (r->broken[a][b])
                links[outage.n_links++] = (struct nx_topology_link){.a = a, .b = b};
        }
    }
    if (nx_routes_make(&sim->topology, r->rank, &outage, &r->routes) != NEXAR_OK) {
        r->routes = before;
        if (!sim->options.short_memory)
            relaysim_fault(sim, "no routes", r->rank, 0, 0);
        relaysim_post(sim, sim->now + NX_MS, RELAYSIM_NEWS, r->rank, r->rank); /* again */
        return;
    }
    nx_relay_reroute(&r->relay, &r->routes, sim->now);
    nx_routes_fini(&before);
}

/* All that is true now of `about` reaches `r`. */
void relaysim_hear(struct relaysim *sim, struct relaysim_rank *r, uint32_t about)
{
    bool dead = !sim->rank[about].alive;

    for (uint32_t b = 0; b < sim->topology.n; b++)
        r->broken[about][b] = r->broken[b][about] = sim->wire[about][b].broken;
    if (dead && !r->dead[about]) {
        r->dead[about] = true;
        nx_relay_gone(&r->relay, about);
    }
    learn(sim, r);
}

static void spread_news(struct relaysim *sim, uint32_t about)
{
    for (uint32_t r = 0; r < sim->topology.n; r++) {
        if (r != about || sim->rank[about].alive)
            relaysim_post(sim, sim->now + 10 * NX_MS + (nx_time)relaysim_below(sim, (uint32_t)(400 * NX_MS)),
                          RELAYSIM_NEWS, r, about);
    }
    sim->last_fault = sim->now;
}

static void cut(struct relaysim *sim, uint32_t a, uint32_t b)
{
    sim->wire[a][b].broken = sim->wire[b][a].broken = true;
    relaysim_post(sim, sim->now + NX_MS + (nx_time)relaysim_below(sim, (uint32_t)(50 * NX_MS)), RELAYSIM_NOTICE, a, b);
    relaysim_post(sim, sim->now + NX_MS + (nx_time)relaysim_below(sim, (uint32_t)(50 * NX_MS)), RELAYSIM_NOTICE, b, a);
}

void relaysim_break(struct relaysim *sim, uint32_t a, uint32_t b)
{
    if (sim->wire[a][b].broken)
        return;
    cut(sim, a, b);
    spread_news(sim, a);
}

void relaysim_heal(struct relaysim *sim, uint32_t a, uint32_t b)
{
    if (!sim->wire[a][b].broken || !sim->rank[a].alive || !sim->rank[b].alive)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        struct relaysim_wire *w = i == 0 ? &sim->wire[a][b] : &sim->wire[b][a];

        w->broken = w->wanted = false;
        w->flying = 0;
        w->life++;
        relaysim_post(sim, sim->now, RELAYSIM_NOTICE, i == 0 ? a : b, i == 0 ? b : a);
    }
    spread_news(sim, a);
}

/* A stream that will never end is no longer waited for. */
static void give_up(struct relaysim *sim, uint32_t dead)
{
    for (uint32_t i = 0; i < sim->topology.n; i++) {
        struct relaysim_stream *s[2] = {&sim->stream[i][dead], &sim->stream[dead][i]};

        for (uint32_t j = 0; j < 2; j++) {
            if (s[j]->taken < s[j]->total && s[j]->done == 0)
                relaysim_done(sim, s[j]);
        }
    }
}

void relaysim_kill(struct relaysim *sim, uint32_t rank)
{
    struct relaysim_rank *r = &sim->rank[rank];

    if (!r->alive)
        return;
    give_up(sim, rank);
    relaysim_add(&sim->sum, &r->relay.stats);
    nx_relay_fini(&r->relay);
    nx_routes_fini(&r->routes);
    r->alive = false;
    for (uint32_t i = 0; i < sim->topology.n; i++) {
        if (sim->wire[rank][i].there)
            relaysim_post(sim, sim->now + NX_MS + (nx_time)relaysim_below(sim, (uint32_t)(50 * NX_MS)), RELAYSIM_NOTICE,
                          i, rank);
    }
    spread_news(sim, rank);
}
