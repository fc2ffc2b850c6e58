/* relay_kit.h - one relay machine on a bench: what it sends is kept, what it tells is counted, and the others are
 * played by the test, which can seal as anybody. */
#ifndef NX_TEST_RELAY_KIT_H
#define NX_TEST_RELAY_KIT_H

#include "check.h"
#include "cluster/relay_parts.h"
#include "relaysim.h"

enum { SENT_MAX = 256, WORLD = 9 };

struct sent {
    uint32_t to;
    size_t n;
    uint8_t *bytes;
};

/* Rank 0 of a ring of 6: its neighbours are 1 and 5; 2 is behind 1, 4 behind 5, 3 behind both. */
struct bench {
    struct nx_topology topology;
    struct nx_routes routes;
    struct nx_relay_config config;
    struct nx_relay r;
    struct sent sent[SENT_MAX];
    uint32_t n_sent;
    uint32_t room_for; /* packets that connections still take */
    uint32_t full;     /* the neighbour whose connection takes none */
    bool no_seal;
    uint32_t arrived, room, lost;
    struct nx_relay_event refused; /* the last */
    uint32_t n_refused;
    nx_time now;
};

static inline bool kit_seal(void *arg, uint32_t destination, const uint8_t head[NX_RELAY_HEADER], const uint8_t *text,
                            size_t n, uint8_t *out)
{
    struct bench *b = arg;

    return !b->no_seal && relaysim_seal(0, destination, head, text, n, out);
}

static inline bool kit_open(void *arg, uint32_t source, const uint8_t head[NX_RELAY_HEADER], const uint8_t *sealed,
                            size_t n, uint8_t *out)
{
    (void)arg;
    return relaysim_open(source, 0, head, sealed, n, out);
}

static inline bool kit_send(void *arg, uint32_t neighbour, const uint8_t *bytes, size_t n)
{
    struct bench *b = arg;

    if (b->room_for == 0 || neighbour == b->full)
        return false;
    assert_true(b->n_sent < SENT_MAX);
    b->room_for--;
    b->sent[b->n_sent] = (struct sent){.to = neighbour, .n = n, .bytes = malloc(n)};
    memcpy(b->sent[b->n_sent++].bytes, bytes, n);
    return true;
}

static inline void kit_event(void *arg, const struct nx_relay_event *e)
{
    struct bench *b = arg;

    b->arrived += e->kind == NX_RELAY_ARRIVED;
    b->room += e->kind == NX_RELAY_ROOM;
    b->lost += e->kind == NX_RELAY_LOST ? e->count : 0;
    if (e->kind != NX_RELAY_REFUSED)
        return;
    b->refused = *e;
    b->n_refused++;
}

static const struct nx_relay_ops kit_ops = {.seal = kit_seal, .open = kit_open, .send = kit_send, .event = kit_event};

static inline void set_up(struct bench *b)
{
    static const struct nx_outage nothing;

    *b = (struct bench){.room_for = UINT32_MAX, .full = UINT32_MAX, .config = nx_relay_defaults(WORLD), .now = NX_S};
    assert_ok(nx_topology_make(NX_TOPOLOGY_K_REGULAR, 2, 6, &b->topology));
    assert_ok(nx_routes_make(&b->topology, 0, &nothing, &b->routes));
    assert_ok(nx_relay_init(&b->r, &b->topology, &b->routes, &b->config, &kit_ops, b));
}

static inline void forget(struct bench *b)
{
    for (uint32_t i = 0; i < b->n_sent; i++)
        free(b->sent[i].bytes);
    b->n_sent = 0;
}

static inline void tear_down(struct bench *b)
{
    forget(b);
    nx_relay_fini(&b->r);
    nx_routes_fini(&b->routes);
    nx_topology_fini(&b->topology);
}

static inline struct nx_relay_head head_of(const struct bench *b, uint32_t i)
{
    assert_true(i < b->n_sent);
    return nx_relay_read_head(b->sent[i].bytes);
}

static inline struct nx_relay_head head(enum nx_relay_kind kind, uint32_t source, uint32_t destination, uint64_t number)
{
    return (struct nx_relay_head){.version = NX_RELAY_VERSION_1,
                                  .kind = (uint8_t)kind,
                                  .hops = 5,
                                  .source = source,
                                  .destination = destination,
                                  .world = WORLD,
                                  .number = number};
}

/* A packet as its source makes it; returns its length. */
static inline size_t make(const struct nx_relay_head *h, const void *text, size_t n, uint8_t *out)
{
    uint8_t sealed[NX_RELAY_HEADER];

    nx_relay_write_head(h, out);
    nx_relay_sealed_head(h, sealed);
    relaysim_seal(h->source, h->destination, sealed, text, n, out + NX_RELAY_HEADER);
    return NX_RELAY_HEADER + n + NX_RELAY_TAG;
}

static inline void arrive(struct bench *b, uint32_t from, const struct nx_relay_head *h, const void *text, size_t n)
{
    uint8_t *bytes = malloc(NX_RELAY_HEADER + n + NX_RELAY_TAG);

    nx_relay_arrive(&b->r, from, bytes, make(h, text, n, bytes), b->now);
    free(bytes);
}

static inline void message(struct bench *b, uint32_t source, uint64_t number, size_t n)
{
    static const uint8_t zeros[NX_RELAY_BODY_MAX];
    struct nx_relay_head h = head(NX_RELAY_MESSAGE, source, 0, number);

    arrive(b, 1, &h, zeros, n);
}

/* All below `next` is there, and so is what `bits` says; below `limit` may be sent. */
static inline void ack(struct bench *b, uint32_t source, uint64_t number, uint64_t next, uint64_t limit, uint64_t bits)
{
    struct nx_relay_head h = head(NX_RELAY_ACK, source, 0, number);
    uint64_t text[3] = {next, limit, bits};

    arrive(b, 1, &h, text, sizeof(text));
}

static inline void was_refused(struct bench *b, enum nx_relay_refusal why, uint32_t count)
{
    if (b->n_refused != count || b->refused.why != why)
        fail_msg("%u refused, the last: %s, not %u and %s", b->n_refused, nx_relay_refusal_name(b->refused.why), count,
                 nx_relay_refusal_name(why));
}

/* Time goes on until the machine has something to do, and it does it. */
static inline void wait_and_tick(struct bench *b)
{
    assert_true(nx_relay_due(&b->r) != NX_NEVER);
    if (nx_relay_due(&b->r) > b->now)
        b->now = nx_relay_due(&b->r);
    nx_relay_tick(&b->r, b->now);
}

#endif
