/* base/op.h - the life of a nexar_op: one object for everything that can be waited for.
 *
 * An owner (a collective, a send, a receive) embeds struct nexar_op, starts, and calls nx_op_finish exactly once, when
 * nobody can touch the caller's memory any more.  Cancelling only asks. */
#ifndef NX_BASE_OP_H
#define NX_BASE_OP_H

#include "base/completion.h"
#include "base/engine.h"
#include "base/record.h"
#include "nexar/op.h"

struct nx_op_class {
    const char *name;
    /* Ends the op early with `why` (NEXAR_ECANCELLED, NEXAR_ETIMEDOUT, ...): nx_op_finish follows, now or later.  Does
     * nothing for an op that is finishing.  Any thread, no lock held. */
    void (*cancel)(struct nexar_op *op, nexar_status why);
    /* What it waits for, in words. */
    void (*describe)(struct nexar_op *op, char *text, size_t cap);
    /* Nobody refers to it any more. */
    void (*release)(struct nexar_op *op);
};

/* What an op is, for the flight recorder and for ranks that ask.  Const once it is set. */
struct nx_told {
    _Atomic bool set;
    uint8_t kind; /* enum nx_record_kind */
    uint64_t comm, id, call, count;
};

struct nexar_op {
    /* const after init */
    const struct nx_op_class *class;
    struct nx_completions *completions; /* a reference */
    nx_time begun, deadline;
    bool receives;
    /* atomic */
    _Atomic uint32_t refs; /* one of the user, one of the owner until it finishes, one of the timer while it is set */
    _Atomic bool done;
    _Atomic bool timed; /* the timer is set, or about to be */
    struct nx_told told;
    _Atomic bool asked;           /* its deadline has passed, and others are asked what they do */
    nexar_error *_Atomic verdict; /* owned; what to say if it is ended early */
    /* lock */
    struct nx_mutex lock;
    struct nx_list waiters; /* nx_op_tie */
    bool notify;
    uint64_t cookie;
    /* written before `done`, const after it */
    nexar_status status;
    nexar_error *error; /* owned; NULL for success, or when there was no memory for it */
    nexar_recv_info info;
    /* engine */
    struct nx_timer timer;
};

/* A waiter among an op's. */
struct nx_op_tie {
    struct nx_list link;
    struct nx_waiter *waiter;
};

/* Two references: the user's and the owner's. */
void nx_op_init(struct nexar_op *op, const struct nx_op_class *class, struct nx_completions *completions, nx_time now,
                nx_time deadline);
/* Undoes nx_op_init for an op that never began; its memory is the owner's again. */
void nx_op_abandon(struct nexar_op *op);
void nx_op_hold(struct nexar_op *op);
void nx_op_drop(struct nexar_op *op);

/* The owner's last word.  `error` may be NULL (success, or a status that speaks for itself) and is copied. */
void nx_op_finish(struct nexar_op *op, nexar_status status, const nexar_error *error);

/* Says what the op is; once, when its owner's fields are filled in. */
static inline void nx_op_tell(struct nexar_op *op, enum nx_record_kind kind, uint64_t comm, uint64_t id, uint64_t call,
                              uint64_t count)
{
    op->told.kind = (uint8_t)kind;
    op->told.comm = comm;
    op->told.id = id;
    op->told.call = call;
    op->told.count = count;
    atomic_store(&op->told.set, true);
}

/* The record of an op in flight; false if it has not said what it is. */
static inline bool nx_op_told(struct nexar_op *op, struct nx_record *out)
{
    if (!atomic_load_explicit(&op->told.set, memory_order_acquire))
        return false;
    *out = (struct nx_record){.comm = op->told.comm,
                              .id = op->told.id,
                              .call = op->told.call,
                              .count = op->told.count,
                              .begun = op->begun,
                              .peer = NEXAR_NO_RANK,
                              .kind = op->told.kind};
    return true;
}

/* Into the flight recorder, if it has said what it is; before nx_op_finish.  From then on it is not in flight. */
static inline void nx_op_record(struct nexar_op *op, struct nx_recorder *recorder, nexar_status status, uint32_t peer,
                                nx_time now)
{
    struct nx_record r;

    if (!nx_op_told(op, &r))
        return;
    r.ended = now;
    r.peer = status == NEXAR_OK ? NEXAR_NO_RANK : peer;
    r.status = (uint8_t)-status;
    nx_record_put(recorder, &r);
    atomic_store_explicit(&op->told.set, false, memory_order_relaxed);
}

/* Ends the op with this error, by its cancel with `why`, unless it ends otherwise before.  Any thread, no lock held. */
void nx_op_condemn(struct nexar_op *op, const nexar_error *error, nexar_status why);
/* For who words its end: false if nothing was said. */
bool nx_op_verdict(struct nexar_op *op, nexar_error *error);

static inline bool nx_op_done(struct nexar_op *op)
{
    return atomic_load_explicit(&op->done, memory_order_acquire);
}

/* The end of every public call that can wait.  With op_out: arms the deadline and hands the op over.  Without: blocks,
 * makes the op's error this thread's last error, and gives the op back.  `info` may be NULL. */
nexar_status nx_op_return(struct nexar_op *op, nexar_op **op_out, nexar_recv_info *info);

/* From now on a blocking call of this thread that is not done within NX_OP_LENT, or is interrupted by a signal, puts
 * its op there and returns NEXAR_EAGAIN.  NULL: no more. */
#define NX_OP_LENT (10 * NX_MS)
void nx_op_lend(nexar_op **place);

#endif
