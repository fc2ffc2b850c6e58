/* fakehost.h - two ranks of one process with one module of nexar/ext.h between them, and nothing else of the library:
 * the real engine, words by a queue in memory, and arrivals that are written down.
 *
 * The host is a difficult one.  It says NEXAR_EAGAIN by chance wherever it may, takes few bytes at a time, and gives
 * memory for some arrivals alone; each by the seed, so that what fails fails again. */
#ifndef NX_TEST_FAKEHOST_H
#define NX_TEST_FAKEHOST_H

#include "nexar/ext.h"

#include "base/engine.h"
#include "base/list.h"
#include "rng.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { FAKE_SETTINGS = 8 };

enum fake_state { FAKE_ATTACHED, FAKE_READY, FAKE_LOST, FAKE_UNUSABLE, FAKE_DETACHED };

struct fake_options {
    const nexar_module *module;
    uint64_t seed;
    uint32_t again;  /* percent of calls that say NEXAR_EAGAIN */
    uint32_t memory; /* percent of arrivals that are given memory */
    bool near;
    const char *setting[2][FAKE_SETTINGS]; /* per rank: "NEXAR_X=value", ended by NULL; "" and not "NEXAR_X=" unsets */
    /* Fills in a rank's credentials; NULL: there are none. */
    nexar_status (*identity)(void *arg, uint32_t rank, nexar_tls_identity *out);
    /* Looks at what `from` tells, may change it, and keeps it back by false. */
    bool (*words)(void *arg, uint32_t from, void *bytes, size_t n);
    void *arg;
    const char *address[2]; /* of the QUIC connection; NULL: 127.0.0.1 */
};

struct fake_message {
    struct fake_message *next;
    uint32_t head_nbytes;
    uint8_t head[NEXAR_BULK_HEAD_MAX];
    uint64_t nbytes;
    uint8_t payload[];
};

struct fake_pair;

/* The host's view of a rank's link. */
struct nexar_link {
    struct fake_pair *pair;
    uint32_t rank; /* of this end */
    /* engine */
    void *self, *half;
    struct rng rng;
    struct nx_list told; /* words for this end */
    struct nx_task tell;
    struct nx_list open; /* arrivals */
    uint32_t generation;
    /* atomic */
    _Atomic uint32_t users, later; /* threads that send; calls of `resume` to come */
    _Atomic int state;             /* enum fake_state */
    _Atomic(const nexar_bulk_ops *) ops;
    _Atomic(void *) ops_self;
    _Atomic uint64_t received, received_bytes, suspected, done, failed, whole, direct;
    char why[256]; /* of FAKE_LOST and FAKE_UNUSABLE; const after it */
    /* lock of the pair */
    struct fake_message *first, **last;
};

struct nexar_node {
    nexar_link link;
    struct nx_list watches;
};

struct fake_pair {
    struct fake_options options;
    struct nexar_node node[2];
    struct nx_mutex lock;
    bool opened[2];
    nexar_host host[2]; /* its settings differ */
};

/* Opens the module at both ranks and attaches both ends.  The options are copied. */
struct fake_pair *fake_open(const struct fake_options *options);
/* Detaches what is attached, orderly, and closes; frees what has arrived. */
void fake_close(struct fake_pair *pair);

/* Runs on the engine, and waits for it. */
void fake_run(void (*fn)(void *arg), void *arg);

void fake_attach(struct fake_pair *pair, uint32_t rank);
void fake_detach(struct fake_pair *pair, uint32_t rank, bool orderly);

static inline enum fake_state fake_state(const struct fake_pair *pair, uint32_t rank)
{
    return (enum fake_state)atomic_load(&pair->node[rank].link.state);
}

static inline bool fake_ready(const struct fake_pair *pair)
{
    return fake_state(pair, 0) == FAKE_READY && fake_state(pair, 1) == FAKE_READY;
}

/* Any thread, from `rank`.  What the transport said; completions are counted in `done` and `failed` of the link. */
nexar_status fake_send(struct fake_pair *pair, uint32_t rank, const void *head, uint32_t head_nbytes,
                       const void *payload, uint64_t nbytes, bool must_copy);
nexar_status fake_send_iov(struct fake_pair *pair, uint32_t rank, const void *head, uint32_t head_nbytes,
                           const nexar_iov *iov, uint32_t n, bool must_copy);

static inline uint64_t fake_received(const struct fake_pair *pair, uint32_t rank)
{
    return atomic_load(&pair->node[rank].link.received);
}

/* The first message that has arrived and was not taken; NULL if there is none.  Free it with fake_free. */
struct fake_message *fake_take(struct fake_pair *pair, uint32_t rank);
void fake_free(struct fake_message *message);

/* ---- of the host's own files ---- */

/* fakewatch.c: the engine.  fakearrive.c: messages that arrive. */
void fake_watch_functions(nexar_host *host);
void fake_arrive_functions(nexar_host *host);
/* Engine.  The link has ended: what has begun to arrive is dropped. */
void fake_arrive_drop(nexar_link *link);

/* A promise of the module to the host. */
#define EXPECT(condition)                                                             \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: contract: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                  \
        }                                                                             \
    } while (0)

#endif
