/** nexar/rpc.h - calls of functions of other ranks: bytes there, bytes back.
 *
 *  A rank registers functions for a communicator, by name or by number, and answers whatever its program does
 *  meanwhile.  A call is an op like any other: it has a deadline, can be cancelled, and fails with NEXAR_EPEER if the
 *  other rank is lost.  The deadline travels with the call, and so does a cancellation.  docs/RPC.md tells more. */
#ifndef NEXAR_RPC_H
#define NEXAR_RPC_H

#include "nexar/op.h"

#include "nexar/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The longest name of a function, in bytes of UTF-8, and the largest payload or answer. */
#define NEXAR_RPC_NAME_MAX 120
#define NEXAR_RPC_BYTES_MAX 1073741824

/** A call that has come and is not answered yet. */
typedef struct nexar_request nexar_request;
/** Where calls are taken by threads of the program, instead of by those of the library. */
typedef struct nexar_desk nexar_desk;

/** Handles a call, on a thread of the library on which it may block.  `payload` is the function's to change until it
 *  answers by nexar_request_answer or nexar_request_fail, now or later, on any thread; each call exactly once.
 *
 *  nexar_comm_close tells the callers of functions that run (NEXAR_EREMOTE), and waits for those at most the
 *  configuration's linger.  Who runs longer is left behind: its request, and the communicator for calls that then
 *  fail with NEXAR_ECLOSED, stay until it returns.  What `arg` points to is the program's.  A function may close its
 *  own communicator: that waits for the other functions, not for itself; what it wants to answer it answers before. */
typedef void (*nexar_function)(nexar_request *request, void *payload, size_t nbytes, void *arg);

/** Who calls, and what. */
typedef struct nexar_request_info {
    uint32_t size;
    uint32_t caller;        /**< rank in the communicator */
    void *payload;          /**< belongs to the request */
    size_t nbytes;          /**< of the payload */
    uint64_t cookie;        /**< of the function, see nexar_desk_register */
    int64_t left_ns;        /**< until the caller gives up; NEXAR_FOREVER: never */
    nexar_request *request; /**< to be answered, once */
} nexar_request_info;

/** Registers a function of this rank under a name; another with that name is replaced.  `fn` NULL: there is none any
 *  more.  Calls that have come already go to the function that was there then.
 *  @returns NEXAR_OK, NEXAR_EINVAL (a name that is empty, too long, or no UTF-8), NEXAR_ENOMEM, NEXAR_ECLOSED,
 *           NEXAR_ESYSTEM (no thread), NEXAR_EFORK
 *  @threads any */
NEXAR_API nexar_status nexar_rpc_register(nexar_comm *comm, const char *name, nexar_function fn, void *arg);

/** The same under a number, 0 to 65 535; numbers and names are apart.
 *  @returns as nexar_rpc_register.  @threads any */
NEXAR_API nexar_status nexar_rpc_register_number(nexar_comm *comm, uint32_t number, nexar_function fn, void *arg);

/** Calls a function of rank `dest`, which may be this one.  The payload must stay until the op is done.  The answer is
 *  taken by nexar_rpc_take.
 *  @returns NEXAR_OK, and the op ends with NEXAR_OK; NEXAR_EREMOTE: there is no such function, or it has failed;
 *           NEXAR_EPEER, NEXAR_ETIMEDOUT, NEXAR_ECANCELLED, NEXAR_ECLOSED; or at once NEXAR_EINVAL (also a payload of
 *           more than NEXAR_RPC_BYTES_MAX), NEXAR_ENOMEM, NEXAR_ECLOSED, NEXAR_EFORK
 *  @threads any */
NEXAR_API nexar_status nexar_rpc_call(nexar_comm *comm, uint32_t dest, const char *name, const void *payload,
                                      size_t nbytes, const nexar_call_opts *opts, nexar_op **op_out);

/** The same by number.
 *  @returns as nexar_rpc_call.  @threads any */
NEXAR_API nexar_status nexar_rpc_call_number(nexar_comm *comm, uint32_t dest, uint32_t number, const void *payload,
                                             size_t nbytes, const nexar_call_opts *opts, nexar_op **op_out);

/** The answer to a call that is done; of one that has ended with NEXAR_EREMOTE, all that the function had to say of its
 *  failure: a sentence, a newline, and for instance a traceback.  The memory is the caller's, who frees it by
 *  nexar_free; base is NULL if nbytes is 0.  Once.
 *  @returns NEXAR_OK; NEXAR_EAGAIN if it is not done; NEXAR_EINVAL if the op is no call, or there is nothing
 *  @threads any */
NEXAR_API nexar_status nexar_rpc_take(nexar_op *op, nexar_iov *out);

/** Answers a call with bytes, which are free again when it returns, and gives the request back.  Blocks while a large
 *  answer is on its way.  Nobody may wait for it any more: that is no error.
 *  @returns NEXAR_OK; NEXAR_EINVAL: the answer is too large, and the caller is told so; NEXAR_EPEER and the like if it
 *           could not be sent; the request is gone in any case
 *  @threads any but the engine's */
NEXAR_API nexar_status nexar_request_answer(nexar_request *request, const void *answer, size_t nbytes);

/** Answers that the function has failed: a sentence, and after a newline whatever else there is to say.
 *  @returns as nexar_request_answer.  @threads any but the engine's */
NEXAR_API nexar_status nexar_request_fail(nexar_request *request, const char *text, size_t nbytes);

/** Whether anybody waits for the answer.
 *  @returns NEXAR_OK; NEXAR_ECANCELLED, NEXAR_ETIMEDOUT, NEXAR_EPEER or NEXAR_ECLOSED if nobody does; NEXAR_EINVAL
 *  @threads any */
NEXAR_API nexar_status nexar_request_wanted(nexar_request *request);

/** The calls to functions of this communicator that are taken by nexar_desk_next.  Closed by its owner, also when the
 *  communicator was closed before.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ENOMEM, NEXAR_ECLOSED, NEXAR_EFORK.  @threads any */
NEXAR_API nexar_status nexar_desk_open(nexar_comm *comm, nexar_desk **desk);

/** How many threads the configuration wants to handle calls (rpc_threads).
 *  @returns a number above 0; 0 for NULL.  @threads any */
NEXAR_API uint32_t nexar_desk_threads(const nexar_desk *desk);

/** Registers a function under a name, or if that is NULL under a number; calls of it come with this cookie, which is
 *  not 0.  0: there is no such function any more.
 *  @returns as nexar_rpc_register.  @threads any */
NEXAR_API nexar_status nexar_desk_register(nexar_desk *desk, const char *name, uint32_t number, uint64_t cookie);

/** Waits for a call, at most `timeout_ns`.  `out->size` must be set.
 *  @returns NEXAR_OK: out->request must be answered; NEXAR_EAGAIN; NEXAR_EINTR; NEXAR_ECLOSED: the communicator is
 *           closed, no more will come; NEXAR_EDEADLK; NEXAR_EFORK; NEXAR_EINVAL
 *  @threads any; several threads may wait, each call goes to one */
NEXAR_API nexar_status nexar_desk_next(nexar_desk *desk, int64_t timeout_ns, nexar_request_info *out);

/** Gives the desk back.
 *  @returns nothing; NULL is legal.  @threads any, but not while another thread uses the desk */
NEXAR_API void nexar_desk_close(nexar_desk *desk);

#ifdef __cplusplus
}
#endif

#endif
