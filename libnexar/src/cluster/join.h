/* cluster/join.h - a worker's side of forming a job.
 *
 * A pure machine: messages, ends of connections and time in, actions out through `struct nx_join_ops`. */
#ifndef NX_CLUSTER_JOIN_H
#define NX_CLUSTER_JOIN_H

#include "cluster/seed.h"

enum nx_join_state {
    NX_JOIN_IDLE,
    NX_JOIN_CONNECTING,
    NX_JOIN_WAITING, /* to try again */
    NX_JOIN_GREETED, /* hello is said */
    NX_JOIN_PROVING,
    NX_JOIN_LISTENING,
    NX_JOIN_MESHING,
    NX_JOIN_READY,
    NX_JOIN_LEAVING, /* gives up, but the seed has the last word */
    NX_JOIN_DONE,
    NX_JOIN_FAILED,
};

struct nx_join_ops {
    /* Connects to the seed; `attempt` counts from 0. */
    void (*connect)(void *arg, uint32_t attempt);
    /* The connection, if there is one, is not needed any more.  `told`: something was said that should arrive first. */
    void (*disconnect)(void *arg, bool told);
    void (*send)(void *arg, const struct nx_message *message);
    /* Says hello with what is wanted; fills in the fields. */
    nexar_status (*hello)(void *arg, struct nx_msg_join_hello *out);
    /* Checks that the seed knows the key, then fills in our proof and the signing request.  NEXAR_EAUTH. */
    nexar_status (*prove)(void *arg, const struct nx_msg_join_challenge *challenge, const uint8_t *archive, size_t n,
                          struct nx_msg_join_proof *out);
    /* Takes rank and certificate, starts to listen, fills in where. */
    nexar_status (*welcome)(void *arg, const struct nx_msg_join_welcome *welcome, struct nx_msg_join_listen *out);
    /* The job is where these seeds say: the next attempts go there first.  NEXAR_EPROTO. */
    nexar_status (*redirect)(void *arg, const struct nx_pairs *addresses);
    /* Starts to connect with all others; nx_join_meshed or nx_join_mesh_failed follows. */
    nexar_status (*mesh)(void *arg, const struct nx_msg_roster *roster);
    /* The end: NX_JOIN_DONE or NX_JOIN_FAILED with m->error. */
    void (*done)(void *arg);
};

struct nx_join_machine {
    /* const after init */
    const struct nx_join_ops *ops;
    void *arg;
    nx_time deadline;
    bool patient; /* a seed with the wrong certificate, or one that needs no more ranks, is what an earlier job has left
                     * at this address: try again */
    char seed[128]; /* where it should be, for texts */
    /* the machine's */
    enum nx_join_state state;
    nx_time started, retry_at, pause;
    nx_time leave_by; /* of NX_JOIN_LEAVING */
    uint32_t attempt;
    uint32_t rank, size;
    uint32_t formation; /* of the job: 1 is its first */
    bool full;          /* of this attempt: the seed needs no more ranks */
    bool sent_on;       /* of this attempt: to other seeds */
    bool ready;         /* we have said so: the job may have formed */
    char last[200];     /* why the last attempt failed */
    nexar_error error;
};

void nx_join_init(struct nx_join_machine *m, const char *seed, nx_time now, nx_time deadline, bool patient,
                  const struct nx_join_ops *ops, void *arg);
void nx_join_start(struct nx_join_machine *m);
/* The connection is there, and the seed's certificate is the right one. */
void nx_join_connected(struct nx_join_machine *m);
void nx_join_said(struct nx_join_machine *m, const struct nx_message *message, const uint8_t *archive, size_t n);
/* It could not be made, or has ended.  NEXAR_EAUTH: the seed's certificate is not the right one. */
void nx_join_disconnected(struct nx_join_machine *m, nexar_status status, const char *why, nx_time now);
/* What it sent is no message. */
void nx_join_babbled(struct nx_join_machine *m, const char *why);
/* Connected with all others; or not, or not any more. */
void nx_join_meshed(struct nx_join_machine *m);
void nx_join_mesh_failed(struct nx_join_machine *m, const nexar_error *error, nx_time now);
/* Another rank says that the job has formed. */
void nx_join_formed(struct nx_join_machine *m);
/* Gives up at once, and tells the seed. */
void nx_join_cancel(struct nx_join_machine *m, nexar_status status, const char *why);
/* Time passes.  Returns when to call again. */
nx_time nx_join_tick(struct nx_join_machine *m, nx_time now);

#endif
