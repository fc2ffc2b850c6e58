/* lane_kit.h - a lane table without connections: messages are announced, written and ended by hand. */
#ifndef NX_TEST_LANE_KIT_H
#define NX_TEST_LANE_KIT_H

#include "check.h"
#include "net/arrive.h"
#include "net/match.h"

enum { PEERS = 3, SCOPE = 7, GOT_CAP = 8192 };

struct table {
    struct nx_lanes lanes;
    struct nx_scope *scope; /* SCOPE */
    int held, released;
    struct nx_key held_key;
    int mismatches, holds;
    struct nx_misfit misfit;
};

/* A stream that brings one message after the other. */
struct feed {
    struct nx_source source;
    struct nx_msg *msg;
    _Atomic int resumed;
};

/* A receive and what it got. */
struct got {
    struct nx_recv recv;
    uint8_t bytes[GOT_CAP];
    _Atomic int done;
    nexar_status status;
};

static inline void on_hold(void *owner, const struct nx_key *key, bool hold)
{
    struct table *t = owner;

    t->held += hold;
    t->released += !hold;
    t->held_key = *key;
}

static inline void on_scope_hold(void *owner)
{
    ((struct table *)owner)->holds++;
}

static inline void on_misfit(void *owner, const struct nx_misfit *misfit)
{
    struct table *t = owner;

    t->holds--;
    t->mismatches++;
    t->misfit = *misfit;
}

static const struct nx_lane_limits usual_limits = {
    .lane_bytes = 64 * 1024, .lane_messages = 1000, .unread_bytes = 4 << 20};

static inline void table_open(struct table *t, const struct nx_lane_limits *limits)
{
    static const struct nx_lane_events events = {.hold = on_hold};
    static const struct nx_scope_events scope_events = {.hold = on_scope_hold, .misfit = on_misfit};

    *t = (struct table){.held = 0};
    assert_ok(nx_lanes_init(&t->lanes, PEERS, limits == NULL ? &usual_limits : limits, &events, t));
    assert_ok(nx_scope_open(&t->lanes, SCOPE, t, &scope_events, &t->scope));
}

static inline void table_close(struct table *t)
{
    nx_scope_close(&t->lanes, t->scope);
    nx_lanes_fini(&t->lanes);
    assert_int_equal(atomic_load(&t->lanes.stats.unread_bytes), 0);
}

static inline struct nx_key key_of(uint32_t peer, enum nx_lane lane, uint64_t scope, uint64_t id)
{
    return (struct nx_key){.peer = peer, .lane = (uint8_t)lane, .scope = scope, .id = id};
}

static inline struct nx_key p2p(uint32_t peer, uint64_t tag)
{
    return key_of(peer, NX_LANE_P2P, SCOPE, tag);
}

static inline struct nx_key tagged(uint32_t peer, uint64_t tag)
{
    return key_of(peer, NX_LANE_RAW_TAGGED, 0, tag);
}

/* ---- messages ---- */

static inline void feed_resume(struct nx_source *source)
{
    nx_container_of(source, struct feed, source)->resumed++;
}

static inline void feed_init(struct feed *f, bool shared)
{
    f->msg = NULL;
    f->resumed = 0;
    nx_source_init(&f->source, feed_resume);
    f->source.shared = shared;
}

static inline nexar_status feed_begin(struct table *t, struct feed *f, struct nx_key key, uint32_t order, uint64_t len)
{
    struct nx_head head = {.lane = key.lane, .scope = key.scope, .id = key.id, .order = order, .len = len};
    nexar_status st;

    f->msg = nx_arrive_begin(&t->lanes, key.peer, &head, key.lane != NX_LANE_COLL, &f->source, &st);
    return f->msg == NULL ? st : NEXAR_OK;
}

/* All of it, or not one byte. */
static inline nexar_status feed_write(struct table *t, struct feed *f, const void *bytes, size_t n)
{
    nexar_status st;
    size_t taken = nx_arrive_write(&t->lanes, f->msg, bytes, n, &st);

    assert_true(taken == n || (taken == 0 && st != NEXAR_OK));
    return st;
}

static inline void feed_end(struct table *t, struct feed *f, nexar_status status)
{
    nx_arrive_end(&t->lanes, f->msg, status);
    f->msg = NULL;
}

/* One that there is room for. */
static inline void message(struct table *t, struct nx_key key, uint32_t order, const void *bytes, size_t n)
{
    struct feed f;

    feed_init(&f, false);
    assert_ok(feed_begin(t, &f, key, order, n));
    if (n != 0)
        assert_ok(feed_write(t, &f, bytes, n));
    feed_end(t, &f, NEXAR_OK);
}

static inline void number_message(struct table *t, struct nx_key key, uint32_t order, uint32_t number)
{
    message(t, key, order, &number, sizeof(number));
}

/* ---- receives ---- */

static inline void got_done(struct nx_recv *recv, nexar_status status)
{
    struct got *g = nx_container_of(recv, struct got, recv);

    g->status = status;
    g->done++;
}

static inline void got_init(struct got *g, struct nx_key key, size_t cap)
{
    g->recv = (struct nx_recv){.key = key, .dst = g->bytes, .cap = cap, .done = got_done};
    g->done = 0;
    g->status = NEXAR_EAGAIN;
}

static inline void post(struct table *t, struct got *g, struct nx_key key, size_t cap)
{
    got_init(g, key, cap);
    nx_lane_post(&t->lanes, &g->recv);
}

static inline uint32_t got_number(const struct got *g)
{
    uint32_t number;

    assert_int_equal(g->done, 1);
    assert_status(g->status, NEXAR_OK);
    assert_int_equal(g->recv.len, sizeof(number));
    memcpy(&number, g->bytes, sizeof(number));
    return number;
}

static inline uint32_t receive_number(struct table *t, struct nx_key key)
{
    static struct got g;

    post(t, &g, key, GOT_CAP);
    return got_number(&g);
}

static inline void assert_pending(const struct got *g)
{
    assert_int_equal(g->done, 0);
}

static inline void assert_ended(const struct got *g, nexar_status status)
{
    assert_int_equal(g->done, 1);
    assert_status(g->status, status);
}

#endif
