/* net/arrival.h - inside of what arrives by modules' ways: a message that has begun, for arrival.c and dock.c. */
#ifndef NX_NET_ARRIVAL_H
#define NX_NET_ARRIVAL_H

#include "net/way.h"

struct nexar_arrival {
    struct nx_source source;
    struct nx_list link; /* nexar_link.open or .cut */
    nexar_link *way;
    struct nx_msg *msg;
    struct nx_head head;
    uint64_t number;  /* 0: its way cannot fail */
    uint64_t promise; /* its number, if it was promised first */
    bool waits;       /* for somebody to receive it */
    bool retry;       /* it could not be asked for just now */
    uint64_t got;
    bool urgent; /* its sender waits for the answer */
    bool alone;
    bool claimed; /* the module writes into a receive's memory */
    void (*resume)(void *arg);
    void *arg;
    _Atomic bool woken;
};

/* Engine, all of it.  NULL: no memory. */
nexar_arrival *nx_arrival_new(nexar_link *link);
void nx_arrival_free(nexar_arrival *arrival);
/* Whether this is the head of that message. */
bool nx_arrival_is(const nexar_arrival *arrival, const struct nx_head *head);

/* The peer says that all messages up to this one have arrived there. */
void nx_arrival_heard(nexar_link *link, uint64_t arrived);
/* After one has begun, or has come to its end. */
void nx_arrival_count(nexar_link *link);
/* It has come to its end: the peer is told, soon. */
void nx_arrival_owe(nexar_link *link, const nexar_arrival *arrival);
/* A message of so many bytes has been handed in. */
void nx_arrival_done(nexar_link *link, uint64_t nbytes);
/* Arrivals that were woken go on, in a task. */
void nx_arrival_wake(nexar_link *link);

#endif
