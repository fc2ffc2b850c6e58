/* member_kit.h - one member of a world of 5, on a bench: what it sends is kept, what it tells is counted. */
#ifndef NX_TEST_MEMBER_KIT_H
#define NX_TEST_MEMBER_KIT_H

#include "check.h"
#include "cluster/member.h"

enum { WORLD = 5, SENT_MAX = 64 };

struct sent {
    struct nx_uid to;
    struct nx_member_msg *msg;
};

struct bench {
    struct nx_member m;
    struct nx_uid uid[WORLD + 20];
    struct nx_entry *first;
    struct sent sent[SENT_MAX];
    uint32_t n_sent;
    uint32_t installed, agreed, lies, no_quorum, quorum;
    char why[100];
    struct nx_acceptor *dead; /* what `record` gives */
    bool refuse;              /* commit fails */
    uint32_t commits;
};

static inline void keep(void *arg, const struct nx_uid *to, struct nx_member_msg *msg)
{
    struct bench *b = arg;

    assert_true(b->n_sent < SENT_MAX);
    b->sent[b->n_sent++] = (struct sent){.to = *to, .msg = nx_member_msg_hold(msg)};
}

static inline struct nx_acceptor *record(void *arg, const struct nx_uid *dead)
{
    (void)dead;
    return ((struct bench *)arg)->dead;
}

static inline bool commit(void *arg, const struct nx_uid *who, const struct nx_acceptor *r)
{
    struct bench *b = arg;

    (void)who;
    (void)r;
    b->commits++;
    return !b->refuse;
}

static inline void told(void *arg, const struct nx_member_event *e)
{
    struct bench *b = arg;

    b->installed += e->kind == NX_MEMBER_INSTALLED;
    b->agreed += e->kind == NX_MEMBER_AGREED;
    b->lies += e->kind == NX_MEMBER_LIE;
    b->no_quorum += e->kind == NX_MEMBER_NO_QUORUM;
    b->quorum += e->kind == NX_MEMBER_QUORUM;
    if (e->kind == NX_MEMBER_LIE)
        snprintf(b->why, sizeof(b->why), "%s", e->why);
}

static const struct nx_member_ops ops = {.send = keep, .record = record, .commit = commit, .event = told};

static inline void forget(struct bench *b)
{
    for (uint32_t i = 0; i < b->n_sent; i++)
        nx_member_msg_drop(b->sent[i].msg);
    b->n_sent = 0;
}

/* The member of `rank` in a world of 5. */
static inline void set_up(struct bench *b, uint32_t rank, const struct nx_member_config *config)
{
    struct nx_member_config usual = nx_member_defaults();

    *b = (struct bench){0};
    for (uint32_t i = 0; i < WORLD + 20; i++)
        b->uid[i].bytes[0] = (uint8_t)(i + 1);
    b->first = nx_entry_first(b->uid, WORLD);
    assert_non_null(b->first);
    assert_ok(nx_member_init(&b->m, &b->uid[rank], config != NULL ? config : &usual, b->first, 0, &ops, b));
}

static inline void tear_down(struct bench *b)
{
    forget(b);
    nx_member_fini(&b->m);
    nx_entry_drop(b->first);
}

static inline struct nx_member_msg *message(enum nx_member_kind kind, uint64_t epoch, uint32_t round, uint32_t rank,
                                            uint32_t who)
{
    struct nx_member_msg *m = nx_member_msg_new(kind, 1);

    assert_non_null(m);
    m->epoch = epoch;
    m->ballot = (struct nx_ballot){.round = round, .rank = rank};
    m->who = who;
    return m;
}

/* Drops the message. */
static inline void say(struct bench *b, uint32_t from, struct nx_member_msg *m, nx_time now)
{
    nx_member_said(&b->m, &b->uid[from], m, now);
    nx_member_msg_drop(m);
}

static inline struct nx_member_msg *beat(const struct bench *b)
{
    struct nx_member_msg *m = message(NX_MEMBER_BEAT, 0, 0, 0, 0);

    m->stands = true;
    memcpy(m->digest, b->first->digest, NX_ENTRY_DIGEST);
    return m;
}

static inline void all_beat(struct bench *b, uint32_t n, nx_time now)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!nx_uid_same(&b->uid[i], &b->m.uid))
            say(b, i, beat(b), now);
    }
}

/* The last message of a kind that was sent to somebody, or NULL. */
static inline const struct nx_member_msg *sent(const struct bench *b, enum nx_member_kind kind, uint32_t to)
{
    for (uint32_t i = b->n_sent; i > 0; i--) {
        if (b->sent[i - 1].msg->kind == kind && nx_uid_same(&b->sent[i - 1].to, &b->uid[to]))
            return b->sent[i - 1].msg;
    }
    return NULL;
}

static inline struct nx_entry *without(const struct nx_entry *last, uint32_t rank)
{
    struct nx_gone gone = {.rank = rank};
    struct nx_entry *e = nx_entry_next(last, &(struct nx_change){.n_gone = 1, .gone = &gone});

    assert_non_null(e);
    return e;
}

#endif
