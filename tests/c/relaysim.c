/* relaysim.c - the world of relay machines: time, connections, what is said, and what must hold. */
#include "relaysim.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_IN_WIRE = 4 };

void relaysim_fault(struct relaysim *sim, const char *what, uint32_t a, uint32_t b, uint64_t x)
{
    if (sim->fault[0] == '\0')
        snprintf(sim->fault, sizeof(sim->fault), "at %.6f s: %s (%u, %u, %llu)", (double)sim->now / 1e9, what, a, b,
                 (unsigned long long)x);
}

/* ---- the queue ---- */

static bool sooner(const struct relaysim_event *a, const struct relaysim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void push(struct relaysim *sim, struct relaysim_event e)
{
    uint32_t i;

    if (sim->queued == sim->room) {
        sim->room = sim->room == 0 ? 1024 : 2 * sim->room;
        sim->queue = realloc(sim->queue, sim->room * sizeof(*sim->queue));
        if (sim->queue == NULL)
            abort();
    }
    e.seq = ++sim->seq;
    for (i = sim->queued++; i > 0 && sooner(&e, &sim->queue[(i - 1) / 2]); i = (i - 1) / 2)
        sim->queue[i] = sim->queue[(i - 1) / 2];
    sim->queue[i] = e;
}

void relaysim_post(struct relaysim *sim, nx_time at, enum relaysim_kind kind, uint32_t a, uint32_t b)
{
    push(sim, (struct relaysim_event){.at = at, .kind = kind, .a = a, .b = b});
}

static struct relaysim_event next_event(struct relaysim *sim)
{
    struct relaysim_event top = sim->queue[0], last = sim->queue[--sim->queued];
    uint32_t i = 0, child;

    while ((child = 2 * i + 1) < sim->queued) {
        child += child + 1 < sim->queued && sooner(&sim->queue[child + 1], &sim->queue[child]);
        if (sooner(&last, &sim->queue[child]))
            break;
        sim->queue[i] = sim->queue[child];
        i = child;
    }
    if (sim->queued > 0)
        sim->queue[i] = last;
    return top;
}

/* ---- what the machine asks for ---- */

static bool seal(void *arg, uint32_t destination, const uint8_t head[NX_RELAY_HEADER], const uint8_t *text, size_t n,
                 uint8_t *out)
{
    struct relaysim_rank *r = arg;
    struct relaysim_stream *s = &r->sim->stream[r->rank][destination];
    uint64_t number, *last = &s->sealed[head[8] != NX_RELAY_MESSAGE];

    memcpy(&number, head, 8); /* little-endian machines alone run this */
    if (number <= *last)
        relaysim_fault(r->sim, "a number was sealed twice", r->rank, destination, number);
    *last = number;
    return relaysim_seal(r->rank, destination, head, text, n, out);
}

static bool open_seal(void *arg, uint32_t source, const uint8_t head[NX_RELAY_HEADER], const uint8_t *sealed, size_t n,
                      uint8_t *out)
{
    struct relaysim_rank *r = arg;

    return relaysim_open(source, r->rank, head, sealed, n, out);
}

/* ---- connections ---- */

static void put_on_wire(struct relaysim *sim, uint32_t from, uint32_t to, const uint8_t *bytes, size_t n)
{
    struct relaysim_wire *w = &sim->wire[from][to];
    nx_time at = sim->now + w->delay / 2 + (nx_time)relaysim_below(sim, (uint32_t)w->delay);
    uint8_t *copy = malloc(n + 1);

    if (copy == NULL)
        abort();
    memcpy(copy, bytes, n);
    w->last = at > w->last ? at : w->last + 1;
    w->flying++;
    push(sim, (struct relaysim_event){
                  .at = w->last, .kind = RELAYSIM_PACKET, .a = from, .b = to, .life = w->life, .n = n, .bytes = copy});
}

static bool send_packet(void *arg, uint32_t neighbour, const uint8_t *bytes, size_t n)
{
    struct relaysim_rank *r = arg;
    struct relaysim *sim = r->sim;
    struct relaysim_wire *w = &sim->wire[r->rank][neighbour];

    if (!w->there)
        relaysim_fault(sim, "a packet for one who is no neighbour", r->rank, neighbour, n);
    if (w->flying >= ROOM_IN_WIRE) {
        w->wanted = true;
        return false;
    }
    if (sim->options.spite && n <= sizeof(sim->caught[0].bytes) && relaysim_below(sim, 8) == 0) {
        uint32_t i = sim->n_caught++ % RELAYSIM_CAUGHT;

        sim->caught[i].from = r->rank;
        sim->caught[i].n = n;
        memcpy(sim->caught[i].bytes, bytes, n);
    }
    put_on_wire(sim, r->rank, neighbour, bytes, n);
    return true;
}

/* One bit anywhere, or nothing arrives at all. */
static bool sicken(struct relaysim *sim, uint8_t *bytes, size_t n)
{
    if (relaysim_below(sim, 2) == 0)
        return false;
    if (n > 0 && relaysim_below(sim, 4) == 0)
        bytes[relaysim_below(sim, (uint32_t)n)] ^= (uint8_t)(1 << relaysim_below(sim, 8));
    return true;
}

static void arrive(struct relaysim *sim, struct relaysim_event *e)
{
    struct relaysim_wire *w = &sim->wire[e->a][e->b];
    struct relaysim_rank *from = &sim->rank[e->a], *to = &sim->rank[e->b];
    bool lost = w->life != e->life || w->broken || !to->alive;

    if (w->life == e->life) {
        w->flying--;
        if (w->wanted && from->alive) {
            w->wanted = false;
            nx_relay_writable(&from->relay, e->b);
        }
    }
    lost = lost || (!from->alive && relaysim_below(sim, 2) == 0) ||
           ((to->sick || from->sick) && !sicken(sim, e->bytes, e->n));
    sim->lost += lost;
    if (lost)
        return;
    nx_relay_arrive(&to->relay, e->a, e->bytes, e->n, sim->now);
}

/* ---- what is said ---- */

static size_t body(const struct relaysim *sim, uint32_t from, uint32_t to, uint32_t i, uint8_t *out)
{
    struct rng rng = {.state = (uint64_t)from << 48 | (uint64_t)to << 32 | i};
    size_t n = rng_below(&rng, 8) == 0 ? rng_below(&rng, 3000) : rng_below(&rng, 200);

    if (sim->options.large != 0 && rng_below(&rng, sim->options.large) == 0)
        n = NX_RELAY_BODY_MAX;
    rng_fill(&rng, out, n < 200 ? n : 200);
    for (size_t at = 200; at < n; at++)
        out[at] = (uint8_t)(out[at - 200] + at);
    return n;
}

static void say_some(struct relaysim *sim, uint32_t from)
{
    static uint8_t bytes[NX_RELAY_BODY_MAX];
    struct relaysim_rank *r = &sim->rank[from];
    bool more = false;

    for (uint32_t to = 0; to < sim->topology.n; to++) {
        struct relaysim_stream *s = &sim->stream[from][to];

        for (uint32_t burst = 1 + relaysim_below(sim, 8); burst > 0 && s->sent < s->total && !s->waits && !r->dead[to];
             burst--) {
            nexar_status status = nx_relay_send(&r->relay, to, bytes, body(sim, from, to, s->sent, bytes), sim->now);

            s->sent += status == NEXAR_OK;
            s->waits = status == NEXAR_EAGAIN;
            if (status != NEXAR_OK && status != NEXAR_EAGAIN && status != NEXAR_ENOMEM)
                relaysim_fault(sim, "a message could not be sent", from, to, (uint64_t)-status);
        }
        more = more || (s->sent < s->total && !s->waits && !r->dead[to]);
    }
    if (more)
        relaysim_post(sim, sim->now + 1 + (nx_time)relaysim_below(sim, (uint32_t)r->send_every), RELAYSIM_SEND, from,
                      0);
}

void relaysim_done(struct relaysim *sim, struct relaysim_stream *s)
{
    sim->open--;
    s->done = sim->now;
}

static void take_one(struct relaysim *sim, uint32_t at, uint32_t from)
{
    static uint8_t bytes[NX_RELAY_BODY_MAX];
    struct relaysim_stream *s = &sim->stream[from][at];
    struct nx_relay_message *m = nx_relay_take(&sim->rank[at].relay, from, sim->now);

    if (m == NULL)
        return;
    if (s->taken >= s->sent)
        relaysim_fault(sim, "a message that was not sent", from, at, m->number);
    else if (m->number != s->taken + 1)
        relaysim_fault(sim, "a number that is not the next", from, at, m->number);
    else if (m->n != body(sim, from, at, s->taken, bytes) || memcmp(m->body, bytes, m->n) != 0)
        relaysim_fault(sim, "a message is not the one that was sent", from, at, m->number);
    nx_free(m);
    if (++s->taken == s->total && s->done == 0) /* else its source has died meanwhile */
        relaysim_done(sim, s);
    relaysim_post(sim, sim->now + 1 + (nx_time)relaysim_below(sim, (uint32_t)sim->rank[at].take_every), RELAYSIM_TAKE,
                  at, from);
}

static void told(void *arg, const struct nx_relay_event *e)
{
    struct relaysim_rank *r = arg;
    struct relaysim *sim = r->sim;

    if (e->kind == NX_RELAY_ARRIVED)
        relaysim_post(sim, sim->now + 1 + (nx_time)relaysim_below(sim, (uint32_t)r->take_every), RELAYSIM_TAKE, r->rank,
                      e->rank);
    if (e->kind == NX_RELAY_ROOM) {
        if (!sim->stream[r->rank][e->rank].waits)
            relaysim_fault(sim, "room that nobody asked for", r->rank, e->rank, 0);
        sim->stream[r->rank][e->rank].waits = false;
        relaysim_post(sim, sim->now, RELAYSIM_SEND, r->rank, 0);
    }
    if (e->kind == NX_RELAY_LOST && !r->dead[e->rank])
        relaysim_fault(sim, "lost, though nobody is gone", r->rank, e->rank, e->count);
    /* Here nobody but the sick and the spiteful does anything that deserves these. */
    if (e->kind == NX_RELAY_REFUSED && (e->why == NX_RELAY_LIE || e->why == NX_RELAY_CREDIT))
        relaysim_fault(sim, nx_relay_refusal_name(e->why), e->source, e->destination, e->from);
    if (e->kind == NX_RELAY_REFUSED && !sim->options.sick && !sim->options.spite && e->why != NX_RELAY_OLD &&
        e->why != NX_RELAY_HOPS && e->why != NX_RELAY_NO_ROUTE && e->why != NX_RELAY_FULL &&
        e->why != NX_RELAY_MEMORY && !(e->why == NX_RELAY_UNKNOWN && r->dead[e->source]))
        relaysim_fault(sim, nx_relay_refusal_name(e->why), e->source, e->destination, e->from);
}

const struct nx_relay_ops relaysim_ops = {.seal = seal, .open = open_seal, .send = send_packet, .event = told};

/* ---- running ---- */

/* Of what they have seen, changed anywhere, as if it came from one of theirs. */
static void spite(struct relaysim *sim)
{
    uint32_t i = relaysim_below(sim, sim->n_caught < RELAYSIM_CAUGHT ? sim->n_caught + 1 : RELAYSIM_CAUGHT), to;
    uint8_t *bytes = sim->caught[i].bytes;
    size_t n = sim->caught[i].n;

    if (n == 0 || !sim->rank[sim->caught[i].from].alive)
        return;
    switch (relaysim_below(sim, 6)) {
    case 0:
        bytes[4] = (uint8_t)relaysim_below(sim, sim->topology.n); /* another source */
        break;
    case 1:
        bytes[8] = (uint8_t)relaysim_below(sim, sim->topology.n + 1); /* another destination */
        break;
    case 2:
        bytes[20]++; /* another number */
        break;
    case 3:
        bytes[2] = bytes[3] = 0xff; /* hops without end */
        break;
    case 4:
        bytes[relaysim_below(sim, (uint32_t)n)] ^= (uint8_t)(1 + relaysim_below(sim, 255));
        break;
    default: /* replayed as it was */
        break;
    }
    to = nx_topology_neighbour(&sim->topology, sim->caught[i].from,
                               relaysim_below(sim, nx_topology_degree(&sim->topology, sim->caught[i].from)));
    put_on_wire(sim, sim->caught[i].from, to, bytes,
                relaysim_below(sim, 10) == 0 ? relaysim_below(sim, (uint32_t)n) : n);
}

static void watch(struct relaysim *sim, uint32_t rank)
{
    struct relaysim_rank *r = &sim->rank[rank];
    const struct nx_relay_stats *s = &r->relay.stats;
    size_t held = s->waiting + s->unacknowledged + s->received;
    nx_time due;

    if (!r->alive)
        return;
    due = nx_relay_due(&r->relay);
    sim->fullest = held > sim->fullest ? held : sim->fullest;
    if (held > nx_relay_bound(&sim->config, nx_topology_degree(&sim->topology, rank)))
        relaysim_fault(sim, "more memory than the bound", rank, 0, held);
    if (due < r->tick_at) {
        r->tick_at = due > sim->now ? due : sim->now;
        relaysim_post(sim, r->tick_at, RELAYSIM_TICK, rank, 0);
    }
}

static void handle(struct relaysim *sim, struct relaysim_event *e)
{
    struct relaysim_rank *r = &sim->rank[e->kind == RELAYSIM_PACKET ? e->b : e->a];
    bool short_now = sim->options.short_memory && relaysim_below(sim, 50) == 0;

    if (short_now)
        nx_mem_fail_at(1 + relaysim_below(sim, 3));
    if (e->kind == RELAYSIM_PACKET) {
        arrive(sim, e);
    } else if (e->kind == RELAYSIM_BREAK) {
        relaysim_break(sim, e->a, e->b);
    } else if (e->kind == RELAYSIM_HEAL) {
        relaysim_heal(sim, e->a, e->b);
    } else if (e->kind == RELAYSIM_KILL && e->b == 1) {
        r->sick = sim->options.sick;
    } else if (e->kind == RELAYSIM_KILL) {
        relaysim_kill(sim, e->a);
    } else if (e->kind == RELAYSIM_SPITE) {
        spite(sim);
    } else if (r->alive && e->kind == RELAYSIM_TICK && e->at == r->tick_at) {
        r->tick_at = NX_NEVER;
        nx_relay_tick(&r->relay, sim->now);
    } else if (r->alive && e->kind == RELAYSIM_NOTICE) {
        nx_relay_connected(&r->relay, e->b, !sim->wire[e->a][e->b].broken && sim->rank[e->b].alive);
    } else if (r->alive && e->kind == RELAYSIM_NEWS) {
        relaysim_hear(sim, r, e->b);
    } else if (r->alive && e->kind == RELAYSIM_SEND) {
        say_some(sim, e->a);
    } else if (r->alive && e->kind == RELAYSIM_TAKE) {
        take_one(sim, e->a, e->b);
    }
    if (short_now)
        nx_mem_fail_at(0);
    watch(sim, e->a);
    watch(sim, e->b);
}

/* Whether ranks that live and links that work lead from one to the other. */
static bool has_path(const struct relaysim *sim, uint32_t from, uint32_t to)
{
    uint32_t queue[RELAYSIM_RANKS] = {from}, queued = 1;
    bool seen[RELAYSIM_RANKS] = {false};

    seen[from] = true;
    for (uint32_t i = 0; i < queued; i++) {
        for (uint32_t x = 0; x < sim->topology.n; x++) {
            const struct relaysim_wire *w = &sim->wire[queue[i]][x];

            if (w->there && !w->broken && sim->rank[x].alive && !seen[x]) {
                seen[x] = true;
                queue[queued++] = x;
            }
        }
    }
    return seen[to];
}

void relaysim_run(struct relaysim *sim, nx_time until)
{
    while (sim->queued > 0 && sim->fault[0] == '\0' && (sim->open > 0 || sim->queue[0].at <= sim->last_fault) &&
           sim->queue[0].at <= until) {
        struct relaysim_event e = next_event(sim);

        sim->now = e.at;
        sim->digest = nx_hash_mix(nx_hash_mix(sim->digest, (uint64_t)e.at), (uint64_t)e.kind << 48 | e.a << 16 | e.b);
        if (e.bytes != NULL)
            sim->digest = relaysim_stir(sim->digest, e.bytes, e.n);
        handle(sim, &e);
        free(e.bytes);
    }
    for (uint32_t a = 0; a < sim->topology.n; a++) {
        for (uint32_t b = 0; b < sim->topology.n; b++) {
            if (sim->stream[a][b].taken < sim->stream[a][b].total && sim->rank[a].alive && has_path(sim, a, b))
                relaysim_fault(sim, "not all has arrived", a, b, sim->stream[a][b].taken);
        }
    }
}
