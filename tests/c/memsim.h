/* memsim.h - members of a job in virtual time: delays, loss, partitions, deaths, clocks that drift.
 *
 * The same world as tests/membership/sim.py, draw for draw: a seed gives the same run in both, and again whenever it is
 * run.  What must hold (I1-I7 of docs/MEMBERSHIP.md) is checked after every event. */
#ifndef NX_TEST_MEMSIM_H
#define NX_TEST_MEMSIM_H

#include "cluster/member.h"
#include "rng.h"

#include <stdio.h>

#define MEMSIM_SLOTS 80 /* members and those who join */
#define MEMSIM_EPOCHS 128
#define MEMSIM_CUTS 8

/* What a link carries: a message of the membership, or one of the application (`msg` NULL) of an epoch. */
struct memsim_load {
    struct nx_member_msg *msg;
    int64_t tag;
};

enum memsim_event_kind {
    MEMSIM_MSG,
    MEMSIM_TICK,
    MEMSIM_APP,
    MEMSIM_LATE,
    MEMSIM_DIED,
    MEMSIM_CLOSED,
    MEMSIM_THAW,
    MEMSIM_CALL,
};

enum memsim_call {
    MEMSIM_CRASH, /* a */
    MEMSIM_CRASH_ANY,
    MEMSIM_BOMB, /* `a` dies after `b` more messages of the protocol, or is frozen for `span` */
    MEMSIM_CRASH_HOST,
    MEMSIM_FREEZE,
    MEMSIM_CUT,
    MEMSIM_HEAL,
    MEMSIM_RESET,
    MEMSIM_JOIN,
    MEMSIM_WAVE_CHECKPOINT, /* `b` of 1000 leave */
    MEMSIM_WAVE_AGREE,
    MEMSIM_STORM,
    MEMSIM_HEAL_ALL,
    MEMSIM_AGREE,
    MEMSIM_CHECKPOINT,
};

struct memsim_event {
    nx_time at;
    uint64_t seq;
    enum memsim_event_kind kind;
    uint32_t a, b; /* MSG: from, to; LATE: whose, to; DIED, CLOSED: who sees it, of whom; else: whose */
    struct memsim_load load;
    uint32_t generation;
    enum memsim_call call; /* CALL, with `a`, `b` and `span` */
    nx_time span;
};

struct memsim_events {
    struct memsim_event *at;
    uint32_t n, room;
};

struct memsim_loads {
    struct memsim_load *at;
    uint32_t n, room;
};

struct memsim_link {
    bool down;
    uint32_t generation; /* what is on its way from before a reset is lost */
    nx_time last;
    struct memsim_load recent[3]; /* arrived last: doubled by a reconnect */
    uint32_t n_recent;
    struct memsim_loads held;
};

struct memsim_member {
    struct nx_member m;
    struct nx_acceptor record; /* of a dead one: its witnesses vote with it */
    uint32_t number, host;
    int64_t rate; /* of its clock, in parts per million */
    int64_t seen; /* epoch */
    bool alive, frozen, stored;
    bool bomb;
    uint32_t bomb_after;
    nx_time bomb_freeze;             /* 0: it dies */
    struct memsim_events inbox;      /* while it is frozen */
    struct memsim_events early;      /* application messages of later epochs: `generation` is not used */
    struct memsim_events out;        /* of the step that runs */
    struct nx_member_event event[8]; /* of the step that runs; entries are held */
    uint32_t n_events;
    /* for the oracle */
    uint8_t flag[MEMSIM_EPOCHS]; /* of its agree(), by number: 2 with it, 1 without; 0: not called */
    bool asked_by[MEMSIM_SLOTS]; /* to join */
};

struct memsim_cut {
    bool link, one_way;
    uint32_t a, b;
    bool side[MEMSIM_SLOTS];
    uint32_t n;
    struct {
        uint32_t a, b;
    } pair[MEMSIM_SLOTS * MEMSIM_SLOTS];
};

struct memsim_votes {
    struct nx_ballot ballot;
    struct nx_entry *value; /* of the entry after `epoch` */
    uint64_t epoch;
    bool by[MEMSIM_SLOTS];
};

struct memsim_stats {
    uint64_t crashes, taken, views, joined, left, agreed, messages, bytes;
};

struct memsim {
    struct rng rng, plan;
    nx_time now;
    uint64_t seq;
    bool witnessed, false_close, by_wire, short_memory;
    struct rng memory;
    nx_time slow;
    uint32_t tail; /* per mille */
    uint32_t initial, n, hosts;
    struct memsim_member member[MEMSIM_SLOTS];
    struct memsim_link link[MEMSIM_SLOTS][MEMSIM_SLOTS];
    struct memsim_events queue; /* a heap */
    struct memsim_cut cut[MEMSIM_CUTS];
    uint32_t n_cuts;
    /* the oracle */
    struct nx_entry *entry[MEMSIM_EPOCHS];
    struct nx_entry *agreed[MEMSIM_EPOCHS];
    struct memsim_votes *votes;
    uint32_t n_votes, votes_room;
    struct memsim_stats stats;
    char fault[300]; /* what does not hold; nothing: all is well */
    FILE *trace;
};

struct memsim_options {
    uint32_t least, most; /* members */
    uint32_t hosts;       /* 0: drawn */
    bool majority, false_close, by_wire;
    bool short_memory; /* allocations of the machines fail now and then */
    FILE *trace;
};

struct memsim_result {
    uint32_t n, members;
    struct {
        bool stopped; /* it has no quorum */
        nx_time after;
    } side[2];
};

/* Runs the scenario of a seed; the world is then to be looked at, and to be ended. */
void memsim_scenario(struct memsim *s, uint64_t seed, const struct memsim_options *o, struct memsim_result *r);

/* memsim.c, for the parts of the simulation */
void memsim_init(struct memsim *s, uint64_t seed, uint32_t n, const struct memsim_options *o);
void memsim_fini(struct memsim *s);
void memsim_add(struct memsim *s, uint32_t host, bool joins, const struct nx_uid *contacts, uint32_t n);
void memsim_push(struct memsim *s, nx_time in, struct memsim_event e);
void memsim_run(struct memsim *s, nx_time until);
void memsim_event(struct memsim *s, struct memsim_event *e);
void memsim_crash(struct memsim *s, uint32_t u, bool with_host);
void memsim_send(struct memsim *s, uint32_t a, uint32_t b, struct memsim_load load);
nx_time memsim_local(const struct memsim *s, uint32_t u);
uint32_t memsim_slot(const struct memsim *s, const struct nx_uid *uid);
int64_t memsim_epoch(const struct memsim *s, uint32_t u);
/* One call into the machine of `u`, and what follows from it. */
void memsim_begin(struct memsim *s, uint32_t u);
void memsim_end(struct memsim *s, uint32_t u);

/* memsim_faults.c */
void memsim_heal(struct memsim *s, uint32_t a, uint32_t b);
void memsim_call(struct memsim *s, const struct memsim_event *e);
/* A call at a time. */
void memsim_at(struct memsim *s, nx_time at, enum memsim_call what, uint32_t a, uint32_t b, nx_time span);
/* Links between `side` and the rest. */
void memsim_split_at(struct memsim *s, nx_time at, nx_time until, const bool *side);

/* memsim_oracle.c */
void memsim_fault(struct memsim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void memsim_accepted(struct memsim *s, uint32_t who, const struct nx_acceptor *r);
void memsim_observe(struct memsim *s, uint32_t u, const struct nx_member_event *e);
void memsim_check(struct memsim *s, uint32_t u);
/* agree() is called by `u`. */
void memsim_agree(struct memsim *s, uint32_t u, bool flag);
void memsim_take(struct memsim *s, uint32_t u, uint32_t from, int64_t tag);
/* A side of the world: 1 it has one list, 0 not yet, -1 it has no quorum. */
int memsim_converged(struct memsim *s, const bool *side);

/* memsim_text.c: lines as sim.py writes them */
void memsim_text_event(struct memsim *s, const struct memsim_event *e);
void memsim_text_send(struct memsim *s, uint32_t to, const struct nx_member_msg *m);
void memsim_text_told(struct memsim *s, const struct nx_member_event *e);

/* memsim_wire.c: the message as the receiver decodes it from the sender's bytes; NULL, with a fault, if it cannot. */
struct nx_member_msg *memsim_by_wire(struct memsim *s, uint32_t to, const struct nx_member_msg *m);

/* Exponential, by von Neumann's comparisons. */
nx_time memsim_expo(struct rng *r, nx_time mean);

static inline bool memsim_chance(struct rng *r, uint32_t per_mille)
{
    return rng_below(r, 1000) < per_mille;
}

static inline nx_time memsim_span(struct rng *r, nx_time lo, nx_time hi)
{
    return lo + (nx_time)rng_below(r, (size_t)(hi - lo));
}

#endif
