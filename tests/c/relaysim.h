/* relaysim.h - relay machines in virtual time: every rank sends numbered messages to others, over connections that keep
 * their order and have little room, while ranks die, links break and heal, news of it comes late and at different
 * times, relays are sick or lie.  All of it follows from one seed.
 *
 * What must hold is checked as it happens, and the first thing that does not is kept in `fault`: each message arrives
 * once and in order, as it was sent; no rank holds more than nx_relay_bound; no number is sealed twice; and at the
 * end all is there between ranks that have a path. */
#ifndef NX_TEST_RELAYSIM_H
#define NX_TEST_RELAYSIM_H

#include "cluster/relay.h"
#include "rng.h"

enum { RELAYSIM_RANKS = 24, RELAYSIM_CAUGHT = 64 };

struct relaysim_options {
    uint32_t deaths, breaks; /* at most */
    bool sick;               /* who is to die drops and garbles packets before */
    bool spite;              /* ranks send packets that they saw again, changed or not */
    bool slow;               /* some ranks take slowly, or read their connections slowly */
    bool short_memory;       /* allocations fail now and then */
    uint32_t large;          /* one message of so many is of the largest size; 0: none */
};

enum relaysim_kind { /* of what happens to a rank, or between two */
                     RELAYSIM_PACKET,
                     RELAYSIM_TICK,
                     RELAYSIM_NOTICE, /* of one end of a connection */
                     RELAYSIM_NEWS,   /* of a rank, and of its links */
                     RELAYSIM_SEND,
                     RELAYSIM_TAKE,
                     RELAYSIM_BREAK,
                     RELAYSIM_HEAL,
                     RELAYSIM_KILL, /* b = 1: from now on it is sick */
                     RELAYSIM_SPITE,
};

struct relaysim_wire { /* one direction of a connection */
    bool there, broken;
    uint32_t life; /* it is another one after a break */
    uint32_t flying;
    bool wanted; /* the machine waits for room */
    nx_time last, delay;
};

struct relaysim_stream { /* what one rank has to say to another */
    uint32_t total, sent, taken;
    bool waits; /* for NX_RELAY_ROOM */
    nx_time done;
    uint64_t sealed[2]; /* the last number: messages, the others */
};

struct relaysim_rank {
    struct relaysim *sim;
    uint32_t rank;
    bool alive, sick;
    struct nx_relay relay;
    struct nx_routes routes;
    bool dead[RELAYSIM_RANKS]; /* as it knows */
    bool broken[RELAYSIM_RANKS][RELAYSIM_RANKS];
    nx_time tick_at, take_every, send_every;
};

struct relaysim_event {
    nx_time at;
    uint64_t seq;
    enum relaysim_kind kind;
    uint32_t a, b, life;
    size_t n;
    uint8_t *bytes;
};

struct relaysim {
    struct rng rng;
    struct relaysim_options options;
    struct nx_relay_config config;
    struct nx_topology topology;
    nx_time now, last_fault;
    uint64_t seq, digest; /* digest: of all that has happened */
    struct relaysim_event *queue;
    uint32_t queued, room;
    struct relaysim_rank rank[RELAYSIM_RANKS];
    struct relaysim_wire wire[RELAYSIM_RANKS][RELAYSIM_RANKS];
    struct relaysim_stream stream[RELAYSIM_RANKS][RELAYSIM_RANKS];
    struct {
        uint32_t from;
        size_t n;
        uint8_t bytes[512];
    } caught[RELAYSIM_CAUGHT]; /* packets that somebody could send again */
    uint32_t n_caught;
    uint32_t open;             /* streams that are not done */
    struct nx_relay_stats sum; /* of the dead */
    uint64_t lost;             /* in connections and sick ranks */
    size_t fullest;
    char fault[200];
};

/* A world of `n` ranks that send nothing yet. */
void relaysim_init(struct relaysim *sim, uint64_t seed, enum nx_topology_kind kind, uint32_t k, uint32_t n,
                   const struct relaysim_options *options);
void relaysim_say(struct relaysim *sim, uint32_t from, uint32_t to, uint32_t messages);
void relaysim_kill(struct relaysim *sim, uint32_t rank);
void relaysim_break(struct relaysim *sim, uint32_t a, uint32_t b);
void relaysim_heal(struct relaysim *sim, uint32_t a, uint32_t b);
/* Until all is said, or `until`; what is then missing is a fault. */
void relaysim_run(struct relaysim *sim, nx_time until);
/* A world, its traffic and its faults from a seed alone, run to its end. */
void relaysim_scenario(struct relaysim *sim, uint64_t seed, const struct relaysim_options *options);
/* Of all ranks, the dead too. */
struct nx_relay_stats relaysim_stats(const struct relaysim *sim);
void relaysim_fini(struct relaysim *sim);

/* Of the world's own files. */
static inline uint32_t relaysim_below(struct relaysim *sim, uint32_t n)
{
    return (uint32_t)rng_below(&sim->rng, n);
}

extern const struct nx_relay_ops relaysim_ops;
void relaysim_post(struct relaysim *sim, nx_time at, enum relaysim_kind kind, uint32_t a, uint32_t b);
void relaysim_fault(struct relaysim *sim, const char *what, uint32_t a, uint32_t b, uint64_t x);
/* It is no longer waited for. */
void relaysim_done(struct relaysim *sim, struct relaysim_stream *s);
/* All that is true now of `about` reaches `r`. */
void relaysim_hear(struct relaysim *sim, struct relaysim_rank *r, uint32_t about);
void relaysim_add(struct nx_relay_stats *sum, const struct nx_relay_stats *s);
uint64_t relaysim_stir(uint64_t h, const uint8_t *p, size_t n);

/* A seal that can be checked, for no more than tests: everybody could make it. */
bool relaysim_seal(uint32_t source, uint32_t destination, const uint8_t head[NX_RELAY_HEADER], const uint8_t *text,
                   size_t n, uint8_t *out);
bool relaysim_open(uint32_t source, uint32_t destination, const uint8_t head[NX_RELAY_HEADER], const uint8_t *sealed,
                   size_t n, uint8_t *out);

#endif
