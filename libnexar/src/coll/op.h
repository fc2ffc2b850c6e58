/* coll/op.h - a collective in flight: the state of its schedule.  For exec.c, start.c and fail.c. */
#ifndef NX_COLL_OP_H
#define NX_COLL_OP_H

#include "coll/near.h"

struct nx_coll_recv {
    struct nx_recv recv;
    struct nx_coll_op *op;
    uint32_t step;
};

/* What nx_coll_op.waits says of a step that waits for no other. */
enum {
    NX_STEP_OUTSTANDING = 0xfe,
    NX_STEP_DONE = 0xff,
};

struct nx_coll_send {
    struct nx_send_req req;
    struct nx_coll_op *op;
    uint32_t step;
};

struct nx_coll_op {
    struct nexar_op op;
    struct nx_inflight inflight;
    struct nx_list link; /* comm->running or comm->idle */
    /* const while it runs */
    nexar_comm *comm;     /* a reference while it runs */
    struct nx_plan *plan; /* a reference */
    struct nx_coll_args args;
    struct nx_coll_call announced;
    struct nx_near_job job; /* in shared memory, if job.near is not NULL: the schedule is empty */
    bool late;              /* the communicator's lock: it has waited for long, and has said so */
    uint8_t *buf[NX_BUFS];
    /* of this plan; one allocation with the op itself */
    size_t bytes;
    struct nx_coll_recv *recvs;
    struct nx_coll_send *sends;
    uint8_t *waits;     /* lock; per step: predecessors that are not done, or how far it is */
    uint32_t *finished; /* steps, in the order in which they ended */
    uint32_t *ready;    /* steps that may start, in order */
    uint8_t *scratch;
    /* lock */
    struct nx_mutex lock;
    uint32_t finished_in, finished_out, ready_in, ready_out;
    uint32_t outstanding; /* started and not done */
    bool running;         /* a thread is at it, or it has not begun */
    bool ended;
    nexar_status status;
    nexar_error error;
};

/* ---- exec.c ---- */

void nx_coll_start(struct nx_coll_op *op);
/* The last thing that happens to an operation, once. */
void nx_coll_finish(struct nx_coll_op *op);
/* A step that was outstanding is done, or has failed with `error`. */
void nx_coll_step_done(struct nx_coll_op *op, uint32_t step);
void nx_coll_step_failed(struct nx_coll_op *op, uint32_t step, nexar_status status, const nexar_error *error);
/* Ends the operation early; the first failure counts.  `tell`: the other ranks do not know yet.  False: it has ended
 * well. */
bool nx_coll_fail(struct nx_coll_op *op, nexar_status status, const nexar_error *error, bool tell);

/* ---- watch.c ---- */

/* With the communicator's lock: an operation begins. */
void nx_coll_watch(nexar_comm *comm, nx_time now);

/* ---- start.c ---- */

/* Starts a step.  NEXAR_OK: done already; NEXAR_EAGAIN: outstanding; else failed, with this thread's last error. */
nexar_status nx_coll_step_start(struct nx_coll_op *op, uint32_t step);
/* All steps are done, and well: what is left to do with the result. */
void nx_coll_complete(struct nx_coll_op *op);
/* Ends a step that is outstanding, if that can be done. */
void nx_coll_step_cancel(struct nx_coll_op *op, uint32_t step, nexar_status why);

/* ---- idle.c ---- */

/* An op for the plan, from those that were left over, or new; with its plan. */
nexar_status nx_coll_op_get(nexar_comm *comm, const struct nx_plan_key *key, size_t element, struct nx_coll_op **op);
/* Nobody refers to it any more. */
void nx_coll_release(struct nx_coll_op *op);

/* ---- word.c ---- */

/* "all_reduce #7" */
void nx_coll_title(const struct nx_coll_op *op, char *text, size_t cap);
/* "rank 3 (10.0.0.7:41234)" of a world rank. */
void nx_coll_rank_text(nexar_comm *comm, uint32_t world, char *text, size_t cap);
/* The fields of an error that are the operation's. */
void nx_coll_word_finish(struct nx_coll_op *op, nexar_error *error);
/* Words for a receive or a send that failed. */
void nx_coll_word(struct nx_coll_op *op, uint32_t peer, nexar_status status, nexar_error *error);
void nx_coll_word_mismatch(struct nx_coll_op *op, uint32_t peer, uint64_t call, uint64_t count, nexar_error *error);
/* The same where the operation may not be there any more. */
void nx_coll_word_misfit(nexar_comm *comm, const struct nx_misfit *misfit, nexar_error *error);
/* For what `rank` has encoded, and no encoder would: this thread's last error says what. */
void nx_coll_word_content(struct nx_coll_op *op, uint32_t rank, nexar_error *error);
/* For a deadline, a cancellation, or a communicator that was closed. */
void nx_coll_word_end(struct nx_coll_op *op, nexar_status why, nexar_error *error);
/* The first receive that is outstanding, else the first send, or UINT32_MAX. */
uint32_t nx_coll_first_step(struct nx_coll_op *op);
/* The rank that it waits for, by that step; NEXAR_NO_RANK.  *what: ""
 * or what that rank is to do. */
uint32_t nx_coll_waits_for(struct nx_coll_op *op, const char **what);

/* ---- late.c ---- */

/* Its time is over: true if the other ranks are asked first, and it is condemned when they have answered. */
bool nx_coll_late(struct nx_coll_op *op);

/* ---- fail.c ---- */

/* Tells all other ranks that this operation has failed here. */
void nx_coll_tell(struct nx_coll_op *op, const nexar_error *error);
/* A call that could not become an operation, with this thread's last error: it counts as one all the same, since the
 * other ranks count it, and they are told.  `begun`: it has its numbers already; else NULL. */
nexar_status nx_coll_missed(nexar_comm *comm, const struct nx_call *call, size_t count, struct nx_near_job *begun);
/* One that had begun in shared memory is given up before it is an op: noted for those who look for the reason. */
void nx_coll_gave_up(nexar_comm *comm, const struct nx_coll_call *call, const nexar_error *error);

#endif
