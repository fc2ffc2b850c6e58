/* simnet.h - a network in virtual time: hosts, connections that carry framed messages, and what goes wrong with them.
 *
 * A connection keeps the order of its messages; between connections there is none.  Delays are random; everything
 * follows from the seed, so that a run can be repeated.  Messages travel as bytes, so the codec is in the loop. */
#ifndef NX_TEST_SIMNET_H
#define NX_TEST_SIMNET_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "rng.h"
#include "wire/message.h"

#include <stdbool.h>

struct simnet;
struct simconn;

/* What a host does.  `side` is its end of the connection. */
struct simhost_events {
    /* Somebody connects; false: no. */
    bool (*accept)(void *arg, struct simconn *conn, int side);
    void (*connected)(void *arg, struct simconn *conn, int side);
    void (*message)(void *arg, struct simconn *conn, int side, const struct nx_message *message, const uint8_t *archive,
                    size_t n);
    /* The last event of this end; also after simnet_close by itself. */
    void (*closed)(void *arg, struct simconn *conn, int side, const char *why);
    /* Time passes.  Returns when to call again.  It is also called after each of the others. */
    nx_time (*tick)(void *arg);
};

struct simhost {
    struct simnet *net;
    const struct simhost_events *events;
    void *arg;
    bool dead;
    struct nx_heap_node timer;
    bool timer_set;
};

enum simend_state {
    SIMEND_NEW, /* it has not come into being here */
    SIMEND_OPEN,
    SIMEND_CLOSING, /* closed by this end, which has not been told yet */
    SIMEND_CLOSED,
};

struct simconn {
    struct nx_list link;
    struct simhost *host[2]; /* 0 connects, 1 accepts */
    enum simend_state state[2];
    nx_time last[2]; /* when the last thing that was sent to this end arrives */
    bool broken;     /* what is on its way is lost */
    bool fault;      /* it was broken by simnet_break or by a death */
    void *user[2];
};

struct simnet {
    struct rng rng;
    nx_time now;
    nx_time delay_max;  /* of a message */
    nx_time notice_max; /* until an end notices that the other is gone */
    struct nx_heap_node *events, *timers;
    struct nx_list conns;
    uint64_t steps;
    /* Called after each event, so that faults can come where something is going on. */
    void (*after)(void *arg);
    void *after_arg;
};

void simnet_init(struct simnet *net, uint64_t seed, nx_time delay_max, nx_time notice_max);
void simnet_fini(struct simnet *net);
void simhost_init(struct simhost *host, struct simnet *net, const struct simhost_events *events, void *arg);
/* Calls its tick when that is due; after anything that was done to it from outside. */
void simhost_settle(struct simhost *host);

struct simconn *simnet_connect(struct simhost *from, struct simhost *to, void *user);
void simnet_send(struct simconn *conn, int side, const struct nx_message *message);
/* In good order: what was sent before arrives first, most of the time. */
void simnet_close(struct simconn *conn, int side, nx_time linger);

/* Faults. */
void simnet_break(struct simconn *conn);
void simhost_kill(struct simhost *host);

/* Calls fn(arg) at a time. */
void simnet_at(struct simnet *net, nx_time at, void (*fn)(void *arg), void *arg);

/* A time from now up to `span` later. */
nx_time simnet_soon(struct simnet *net, nx_time span);

/* Runs until nothing more happens before `until`. */
void simnet_run(struct simnet *net, nx_time until);

#endif
