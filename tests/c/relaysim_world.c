/* relaysim_world.c - a world of relay machines: how it begins, what goes wrong in it, and the seal of the tests. */
#include "relaysim.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { SPITES = 60 };

/* ---- seals ---- */

uint64_t relaysim_stir(uint64_t h, const uint8_t *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;

        memcpy(&word, p, 8);
        h = nx_hash_mix(h, word);
    }
    for (; n > 0; p++, n--)
        h = nx_hash_mix(h, 256 + *p);
    return h;
}

static void mix_text(uint64_t h, const uint8_t *from, size_t n, uint8_t *to)
{
    for (size_t i = 0; i < n; i++) {
        if (i % 8 == 0)
            h = nx_hash_mix(h, i);
        to[i] = (uint8_t)(from[i] ^ h >> 8 * (i % 8));
    }
}

bool relaysim_seal(uint32_t source, uint32_t destination, const uint8_t head[NX_RELAY_HEADER], const uint8_t *text,
                   size_t n, uint8_t *out)
{
    uint64_t key = relaysim_stir(nx_hash_mix(source, destination), head, NX_RELAY_HEADER), tag[2];

    mix_text(key, text, n, out);
    tag[0] = relaysim_stir(key, out, n);
    tag[1] = ~tag[0];
    memcpy(out + n, tag, NX_RELAY_TAG);
    return true;
}

bool relaysim_open(uint32_t source, uint32_t destination, const uint8_t head[NX_RELAY_HEADER], const uint8_t *sealed,
                   size_t n, uint8_t *out)
{
    uint64_t key = relaysim_stir(nx_hash_mix(source, destination), head, NX_RELAY_HEADER), tag[2];

    tag[0] = relaysim_stir(key, sealed, n - NX_RELAY_TAG);
    tag[1] = ~tag[0];
    mix_text(key, sealed, n - NX_RELAY_TAG, out);
    return memcmp(sealed + n - NX_RELAY_TAG, tag, NX_RELAY_TAG) == 0;
}

/* ---- sums ---- */

void relaysim_add(struct nx_relay_stats *sum, const struct nx_relay_stats *s)
{
    sum->sent += s->sent;
    sum->resent += s->resent;
    sum->acks += s->acks;
    sum->probes += s->probes;
    sum->arrived += s->arrived;
    sum->passed_on += s->passed_on;
    for (uint32_t i = 0; i < NX_RELAY_REFUSALS; i++)
        sum->refused[i] += s->refused[i];
}

struct nx_relay_stats relaysim_stats(const struct relaysim *sim)
{
    struct nx_relay_stats sum = sim->sum;

    for (uint32_t i = 0; i < sim->topology.n; i++) {
        if (sim->rank[i].alive)
            relaysim_add(&sum, &sim->rank[i].relay.stats);
    }
    return sum;
}

/* ---- from the beginning to the end ---- */

static void begin_rank(struct relaysim *sim, uint32_t rank)
{
    static const struct nx_outage nothing;
    struct relaysim_rank *r = &sim->rank[rank];

    *r = (struct relaysim_rank){
        .sim = sim, .rank = rank, .alive = true, .tick_at = NX_NEVER, .take_every = NX_MS, .send_every = 10 * NX_MS};
    if (nx_routes_make(&sim->topology, rank, &nothing, &r->routes) != NEXAR_OK ||
        nx_relay_init(&r->relay, &sim->topology, &r->routes, &sim->config, &relaysim_ops, r) != NEXAR_OK)
        abort();
    for (uint32_t i = 0; i < nx_topology_degree(&sim->topology, rank); i++)
        sim->wire[rank][nx_topology_neighbour(&sim->topology, rank, i)] =
            (struct relaysim_wire){.there = true, .delay = NX_MS + (nx_time)relaysim_below(sim, (uint32_t)(5 * NX_MS))};
}

void relaysim_init(struct relaysim *sim, uint64_t seed, enum nx_topology_kind kind, uint32_t k, uint32_t n,
                   const struct relaysim_options *options)
{
    memset(sim, 0, sizeof(*sim));
    sim->rng.state = seed;
    sim->options = *options;
    sim->config = nx_relay_defaults(7);
    sim->config.link_limit = NX_RELAY_PACKET_MAX + 20000; /* little, so that it is reached */
    sim->config.flow_limit = NX_RELAY_PACKET_MAX;
    sim->config.send_limit = 8 * NX_RELAY_PACKET_MAX;
    sim->config.receive_limit = 40000;
    if (nx_topology_make(kind, k, n, &sim->topology) != NEXAR_OK)
        abort();
    for (uint32_t r = 0; r < n; r++)
        begin_rank(sim, r);
}

void relaysim_say(struct relaysim *sim, uint32_t from, uint32_t to, uint32_t messages)
{
    struct relaysim_stream *s = &sim->stream[from][to];

    if (from == to || messages == 0)
        return;
    sim->open += s->total == 0;
    s->total += messages;
    relaysim_post(sim, sim->now + 1 + (nx_time)relaysim_below(sim, (uint32_t)(20 * NX_MS)), RELAYSIM_SEND, from, 0);
}

static nx_time some_time(struct relaysim *sim)
{
    return (nx_time)relaysim_below(sim, (uint32_t)(1500 * NX_MS));
}

static nx_time plan_faults(struct relaysim *sim, uint32_t deaths, uint32_t breaks)
{
    uint32_t n = sim->topology.n;
    nx_time last = 0;

    for (uint32_t i = 0; i < deaths; i++) {
        nx_time at = some_time(sim);
        uint32_t who = relaysim_below(sim, n);

        relaysim_post(sim, at, RELAYSIM_KILL, who, 1); /* sick, from now on */
        relaysim_post(sim, at + 100 * NX_MS, RELAYSIM_KILL, who, 0);
        last = at + 100 * NX_MS > last ? at + 100 * NX_MS : last;
    }
    for (uint32_t i = 0; i < breaks; i++) {
        nx_time at = some_time(sim), heals = at + 200 * NX_MS + some_time(sim);
        uint32_t a = relaysim_below(sim, n),
                 b = nx_topology_neighbour(&sim->topology, a,
                                           relaysim_below(sim, nx_topology_degree(&sim->topology, a)));

        relaysim_post(sim, at, RELAYSIM_BREAK, a, b);
        if (relaysim_below(sim, 4) != 0)
            relaysim_post(sim, heals, RELAYSIM_HEAL, a, b);
        last = heals > last ? heals : last;
    }
    for (uint32_t i = 0; sim->options.spite && i < SPITES; i++)
        relaysim_post(sim, 20 * NX_MS + some_time(sim), RELAYSIM_SPITE, 0, 0);
    return last;
}

void relaysim_scenario(struct relaysim *sim, uint64_t seed, const struct relaysim_options *options)
{
    struct rng rng = {.state = ~seed};
    uint32_t n = 3 + (uint32_t)rng_below(&rng, RELAYSIM_RANKS - 3), k = 2 + (uint32_t)rng_below(&rng, 3), streams;
    enum nx_topology_kind kind = rng_below(&rng, 2) == 0   ? NX_TOPOLOGY_K_REGULAR
                                 : rng_below(&rng, 3) == 0 ? NX_TOPOLOGY_FULL_MESH
                                                           : NX_TOPOLOGY_HYPERCUBE;
    nx_time last;

    relaysim_init(sim, seed, kind, k, n, options);
    for (uint32_t i = 0; options->slow && i < 1 + n / 8; i++) {
        uint32_t slow = relaysim_below(sim, n);

        sim->rank[slow].take_every = 20 * NX_MS;
        for (uint32_t r = 0; r < n && relaysim_below(sim, 2) == 0; r++)
            sim->wire[r][slow].delay = 60 * NX_MS; /* with room for 4 packets */
    }
    streams = 1 + relaysim_below(sim, 3 * n);
    for (uint32_t i = 0; i < streams; i++)
        relaysim_say(sim, relaysim_below(sim, n), relaysim_below(sim, n), 1 + relaysim_below(sim, 150));
    last = plan_faults(sim, relaysim_below(sim, options->deaths + 1), relaysim_below(sim, options->breaks + 1));
    relaysim_run(sim, last + 120 * NX_S);
}

void relaysim_fini(struct relaysim *sim)
{
    for (uint32_t r = 0; r < sim->topology.n; r++) {
        if (sim->rank[r].alive) {
            nx_relay_fini(&sim->rank[r].relay);
            nx_routes_fini(&sim->rank[r].routes);
        }
    }
    for (uint32_t i = 0; i < sim->queued; i++)
        free(sim->queue[i].bytes);
    free(sim->queue);
    nx_topology_fini(&sim->topology);
}
