/* coll/exec.h - runs schedules: every collective, blocking or not, is one of these.
 *
 * Whoever brings a completion runs what follows from it at once; one thread at a time per operation.  Deadlines,
 * cancelling, lost peers and mismatches are handled here and nowhere else. */
#ifndef NX_COLL_EXEC_H
#define NX_COLL_EXEC_H

#include "coll/call.h"
#include "coll/pieces.h"
#include "comm/comm.h"

struct nx_coll_args {
    struct nx_call call;
    const void *send;
    void *recv;
    size_t count;               /* that all ranks must agree about */
    nx_reduce_fn fn;            /* NULL if it reduces nothing */
    nx_reduce_finish_fn finish; /* of the `results` elements at `result` in the end; may be NULL */
    void *result;
    size_t results;
    size_t element;            /* bytes */
    unsigned char identity[8]; /* an element of it, for schedules that fill with it */
    struct nx_pieces *pieces;  /* what RECV is, if it is a list; freed with the operation */
    void *residual;            /* all_reduce_compressed: may be NULL */
    uint64_t turn;             /* what it chooses by */
};

/* The algorithm of a call (of which its type and operator count) by the rules of `coll`, with `nbytes` as
 * nx_select_algorithm has them; for the same call the same one on all ranks. */
const struct nx_algorithm *nx_coll_choose(nexar_comm *comm, enum nx_coll coll, const struct nx_call *call,
                                          uint64_t nbytes);

/* Takes the next sequence number, starts, and blocks or hands the op over.  args->pieces is its own, also if it
 * fails. */
nexar_status nx_coll_run(nexar_comm *comm, const struct nx_plan_key *key, const struct nx_coll_args *args,
                         const nexar_call_opts *opts, nexar_op **op_out);

/* For the communicator's scope: messages that do not fit what was called here. */
extern const struct nx_scope_events nx_coll_scope_events;

/* Engine.  Another rank has ended an operation early. */
void nx_coll_aborted(nexar_comm *comm, uint32_t peer, const struct nx_msg_op_aborted *aborted);

/* This rank closes the communicator: tells the others that it comes to no further operation. */
void nx_coll_closing(nexar_comm *comm);

/* Nothing that runs or begins after operation `error->sequence` of this communicator ends well. */
void nx_coll_break(nexar_comm *comm, const nexar_error *error);

/* Finds a running operation and holds it; NULL if there is none. */
struct nx_coll_op *nx_coll_find(nexar_comm *comm, uint64_t sequence);
void nx_coll_let_go(struct nx_coll_op *op);

/* Engine.  A member was lost: everything that runs fails. */
void nx_coll_peer_lost(nexar_comm *comm, uint32_t peer);

/* Engine. */
void nx_coll_watch_fire(struct nx_timer *timer);
/* Nothing runs any more. */
void nx_coll_watch_stop(nexar_comm *comm);

void nx_coll_free_idle(nexar_comm *comm);

#endif
