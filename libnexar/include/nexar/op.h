/** nexar/op.h - something in flight: a collective, a send, a receive.
 *
 *  Every call that can wait ends in `nexar_op **op_out`.  NULL: the call blocks and returns the result.  Otherwise it
 *  starts the operation and stores a new op; the buffers belong to the library until the op is done.
 *  An op is done exactly once, and only when nobody can touch its memory any more. */
#ifndef NEXAR_OP_H
#define NEXAR_OP_H

#include "nexar/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexar_op nexar_op;
typedef struct nexar_comm nexar_comm;

/** Wait for ever (until the op's own deadline). */
#define NEXAR_FOREVER INT64_MAX

/** What a receive got. */
typedef struct nexar_recv_info {
    uint32_t source; /**< rank in the communicator */
    uint32_t tag;
    uint64_t nbytes;
} nexar_recv_info;

/** Waits until the op is done, at most `timeout_ns`; the calling thread drives progress meanwhile.
 *  @returns the op's own status once it is done; NEXAR_EAGAIN if it is not done in time; NEXAR_EINTR if a signal
 *  handler
 *           ran (call again); NEXAR_EDEADLK on a thread of the library; NEXAR_EINVAL for NULL
 *  @threads any; several threads may wait for one op */
NEXAR_API nexar_status nexar_op_wait(nexar_op *op, int64_t timeout_ns);

/** @returns the op's status if it is done, else NEXAR_EAGAIN.  Never blocks, drives nothing.  @threads any */
NEXAR_API nexar_status nexar_op_test(nexar_op *op);

/** Waits for all of them; stops early at the first that failed.
 *  @returns NEXAR_OK, the status of the first failed op in the order given, or as nexar_op_wait.  @threads any */
NEXAR_API nexar_status nexar_op_wait_all(nexar_op *const *ops, size_t n, int64_t timeout_ns);

/** Waits until one of them is done and stores its position.
 *  @returns NEXAR_OK (whatever that op's status), or as nexar_op_wait.  @threads any */
NEXAR_API nexar_status nexar_op_wait_any(nexar_op *const *ops, size_t n, int64_t timeout_ns, size_t *index);

/** Asks for the op to end early.  It is done (with NEXAR_ECANCELLED, unless it finished first) as soon as its memory is
 *  no longer in use; wait for that.  A collective that is cancelled on one rank fails on all that have
 *  not finished it; a message may still be received by a rank that had begun to.
 *  @returns NEXAR_OK, NEXAR_EINVAL.  @threads any */
NEXAR_API nexar_status nexar_op_cancel(nexar_op *op);

/** Gives the op back.  One that is not done is cancelled first, and the call returns when its memory is free.
 *  @returns nothing; NULL is legal.  @threads any, but not while another thread uses the op */
NEXAR_API void nexar_op_close(nexar_op *op);

/** The error of an op that is done.  `out->size` must be set.
 *  @returns NEXAR_OK, NEXAR_EAGAIN if it is not done, NEXAR_EINVAL.  @threads any */
NEXAR_API nexar_status nexar_op_error(nexar_op *op, nexar_error *out);

/** What a receive that is done got.
 *  @returns NEXAR_OK, NEXAR_EAGAIN if it is not done, NEXAR_EINVAL if the op is no receive.  @threads any */
NEXAR_API nexar_status nexar_op_recv_info(nexar_op *op, nexar_recv_info *out);

/** Says in words what the op is and what it waits for ("all_reduce #7: waiting for rank 2, step 3 of 14").
 *  Cuts the text at `cap` bytes, terminator included.
 *  @returns NEXAR_OK, NEXAR_EINVAL.  @threads any */
NEXAR_API nexar_status nexar_op_describe(nexar_op *op, char *text, size_t cap);

/** When the op is done, puts `cookie` into the queue of finished ops of its communicator's node and makes
 *  nexar_completion_fd readable.  An op that is already done is queued at once.  At most once per op.
 *  @returns NEXAR_OK, NEXAR_EINVAL.  @threads any */
NEXAR_API nexar_status nexar_op_notify(nexar_op *op, uint64_t cookie);

/** A descriptor for poll or an event loop: readable while nexar_completion_next has something to give.  One per node,
 *  owned by the library.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ESYSTEM.  @threads any */
NEXAR_API nexar_status nexar_completion_fd(nexar_comm *comm, int32_t *fd);

/** Takes the oldest cookie from the queue of finished ops.
 *  @returns NEXAR_OK, NEXAR_EAGAIN if there is none, NEXAR_EINVAL.  @threads any */
NEXAR_API nexar_status nexar_completion_next(nexar_comm *comm, uint64_t *cookie);

#ifdef __cplusplus
}
#endif

#endif
