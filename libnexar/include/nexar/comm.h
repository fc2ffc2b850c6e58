/** nexar/comm.h - a communicator: an ordered set of ranks, and messages between two of them.
 *
 *  Messages from one rank to another with the same tag are received in the order in which they were sent, whatever
 *  transport carried them; matching follows MPI's rules. */
#ifndef NEXAR_COMM_H
#define NEXAR_COMM_H

#include "nexar/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexar_conn nexar_conn;
typedef struct nexar_splitting nexar_splitting;

/** Options of one call.  NULL stands for all defaults. */
typedef struct nexar_call_opts {
    uint32_t size;
    uint32_t space;     /**< of messages: those of one space never meet a receive of another.  0 for programs; a library
                             that sends messages of its own takes a number of its own */
    int64_t timeout_ns; /**< 0: the communicator's default; NEXAR_FOREVER: no deadline */
} nexar_call_opts;

/** @returns this process's rank, 0 for NULL.  @threads any */
NEXAR_API uint32_t nexar_comm_rank(const nexar_comm *comm);

/** @returns the number of ranks, 0 for NULL.  @threads any */
NEXAR_API uint32_t nexar_comm_size(const nexar_comm *comm);

/** @returns the id, the same on all ranks of the communicator and different from all others of the job.
 *  @threads any */
NEXAR_API uint64_t nexar_comm_id(const nexar_comm *comm);

/** Closes this communicator on this rank; ops that are not done end with NEXAR_ECLOSED.  Communicators that were made
 *  from it stay, and may be closed before it or after it.  With its last communicator a rank leaves the job in good
 *  order: waits (bounded by the configuration's linger) until what was sent has been taken by its receivers, then
 *  closes the connections.
 *  @returns nothing; NULL is legal.  @threads any, but not while another thread uses the communicator */
NEXAR_API void nexar_comm_close(nexar_comm *comm);

/* ---- communicators made from others ----
 *
 * They share the connections, so one costs some memory and two small collectives.  Each has ranks, tags, operations, a
 * timeout and failures of its own: nothing that is sent in one is ever received in another, and a rank that dies is an
 * error only where it is a member.  Each member closes it.  The calls are collectives of `comm`: all of its ranks make
 * them, in the same order as others, and if one rank cannot, all fail. */

/** The color of a rank that wants no communicator. */
#define NEXAR_NO_COLOR UINT32_MAX

/** Makes one communicator for each color, of the ranks that give it, in the order of `key`, those with equal keys in
 *  that of their ranks in `comm`; *out is the caller's, or NULL with NEXAR_NO_COLOR.  Blocks.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ETIMEDOUT, NEXAR_EPEER, NEXAR_EMISMATCH, NEXAR_ECLOSED, NEXAR_ENOMEM (here or
 *           on another rank, which the error then names), NEXAR_EDEADLK, NEXAR_EFORK
 *  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_comm_split(nexar_comm *comm, uint32_t color, int32_t key, const nexar_call_opts *opts,
                                        nexar_comm **out);

/** Makes a communicator of the same ranks.
 *  @returns as nexar_comm_split.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_comm_dup(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out);

/** Makes one communicator for each host, of its ranks in their order: of those that run on the same kernel, with the
 *  same /dev/shm and network namespace, so that containers which cannot share memory are different hosts; or, where
 *  NEXAR_GROUP is set, of those that have set it alike.
 *  @returns as nexar_comm_split.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_comm_split_by_host(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out);

typedef enum nexar_split {
    NEXAR_SPLIT_BY_COLOR = 0,
    NEXAR_SPLIT_BY_HOST = 1,
    NEXAR_SPLIT_DUP = 2,
} nexar_split;

/** The same in two steps, for those who must look at signals meanwhile: starts one of the three.  `color` and `key` are
 *  looked at by the first alone.  Until it is there or closed, this rank calls no other collective of `comm`.
 *  @returns as nexar_comm_split.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_split_start(nexar_comm *comm, nexar_split how, uint32_t color, int32_t key,
                                         const nexar_call_opts *opts, nexar_splitting **splitting);

/** Waits at most `timeout_ns` until it is made.  With NEXAR_OK *out is the caller's; close `splitting` in any case.
 *  @returns as nexar_comm_split; NEXAR_EAGAIN if it is not there yet, NEXAR_EINTR if a signal handler ran: call again
 *  @threads any, one at a time */
NEXAR_API nexar_status nexar_split_wait(nexar_splitting *splitting, int64_t timeout_ns, nexar_comm **out);

/** Ends it: if no communicator was given, it is given up, and fails on the other ranks.
 *  @returns nothing; NULL is legal.  @threads any, but not while another thread waits, nor after `comm` is closed */
NEXAR_API void nexar_split_close(nexar_splitting *splitting);

/** Longest reason of nexar_comm_abort, its terminator included; what is longer is cut. */
#define NEXAR_REASON_MAX 256

/** Gives up a communicator for all of its ranks: what is in flight in it ends there and here with NEXAR_ECLOSED, whose
 *  `peer` is the rank that called this and whose text has the reason; so does what begins later.  It waits for nobody.
 *  If several ranks call it, what a rank hears first counts there.  Closing stays legal, and is all that is.
 *  @param reason  printable ASCII, other bytes become question marks; may be NULL
 *  @returns NEXAR_OK, NEXAR_EINVAL (NULL), NEXAR_ECLOSED, NEXAR_EFORK.  @threads any */
NEXAR_API nexar_status nexar_comm_abort(nexar_comm *comm, const char *reason);

/** Writes the flight recorder of this rank as JSON: its operations that run and the last 1 024 that ended, collectives
 *  and messages, of all its communicators.  `nexar analyze` reads what all ranks have written.
 *  @param path  a file, which is replaced as a whole, or a folder, in which it becomes nexar-RANK.json (of the job)
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ECLOSED, NEXAR_ESYSTEM (it cannot be written; the text says why),
 *           NEXAR_ENOMEM, NEXAR_EDEADLK.  @threads any */
NEXAR_API nexar_status nexar_comm_dump(nexar_comm *comm, const char *path);

/** The connection to a rank, for the calls of nexar/conn.h.  Borrowed: valid until the communicator is closed.
 *  @returns NEXAR_OK, NEXAR_EINVAL (no such rank, or oneself), NEXAR_EPEER, NEXAR_ECLOSED.  @threads any */
NEXAR_API nexar_status nexar_comm_peer(nexar_comm *comm, uint32_t rank, nexar_conn **conn);

/** Memory for arrays, which is faster for some calls than other memory: an all_reduce of more than 16 KiB whose vectors
 *  lie in such memory on all ranks copies nothing (docs/SHARED-MEMORY.md).  The call is local: each rank has as much of
 *  it as it likes, and every function takes any memory.  It lies in what the ranks of this host share, as far as there
 *  is room (NEXAR_SHM_HEAP) and they do share memory; else it is ordinary memory, which works the same.
 *
 *  It is zeroed, begins at a multiple of 4 096 bytes, and is the caller's until nexar_comm_free: after the communicator
 *  is closed it is as ordinary memory.  What is shared is taken from the system at once.  Other ranks read and write it
 *  only during an operation that it was given to, and not any more when that has returned, or its op is done, however
 *  it ended.  In a forked child it is the parent's, and what one writes into shared memory the other sees.
 *  @param nbytes  0 gives memory, too
 *  @param out     required
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ENOMEM, NEXAR_ECLOSED, NEXAR_EFORK.  @threads any */
NEXAR_API nexar_status nexar_comm_alloc(nexar_comm *comm, size_t nbytes, void **out);

/** Frees what nexar_comm_alloc gave; no operation may be using it.
 *  @param p  what nexar_comm_alloc gave; NULL is legal
 *  @returns nothing; does nothing in a forked child.  @threads any */
NEXAR_API void nexar_comm_free(void *p);

/** Sends `nbytes` to rank `dest`.  The message may be taken from `buf` before or after the receiver asks for it; `buf`
 *  is free again when the call returns, or the op is done.  Sending to oneself works at any size.
 *  @param tag   below NEXAR_ANY
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ETIMEDOUT, NEXAR_EPEER, NEXAR_ECLOSED, NEXAR_ENOMEM, NEXAR_ECANCELLED
 *  @threads any; the order of messages is that of the calls */
NEXAR_API nexar_status nexar_send(nexar_comm *comm, const void *buf, size_t nbytes, uint32_t dest, uint32_t tag,
                                  const nexar_call_opts *opts, nexar_op **op_out);

/** As nexar_send, of a message that consists of `n` pieces, one after the other; some may be empty.  Up to 5 pieces of
 *  together more than 64 KiB leave from where they lie; else they are copied together first.  The list is not needed
 *  any more when the call returns, also with op_out; the pieces are as `buf` is.
 *  @returns as nexar_send.  @threads as nexar_send */
NEXAR_API nexar_status nexar_sendv(nexar_comm *comm, const nexar_iov *iov, size_t n, uint32_t dest, uint32_t tag,
                                   const nexar_call_opts *opts, nexar_op **op_out);

/** Receives one message of at most `nbytes` from rank `src` (or NEXAR_ANY) with `tag` (or NEXAR_ANY); blocks.
 *  @param info  NULL if not wanted
 *  @returns as nexar_send, and NEXAR_EMSGSIZE if the message is larger: it then stays receivable and nothing is written
 *  @threads any */
NEXAR_API nexar_status nexar_recv(nexar_comm *comm, void *buf, size_t nbytes, uint32_t src, uint32_t tag,
                                  nexar_recv_info *info, const nexar_call_opts *opts);

/** Begins to receive, as nexar_recv.  What came is told by nexar_op_recv_info when the op is done.
 *  @param op_out  required
 *  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_recv_nb(nexar_comm *comm, void *buf, size_t nbytes, uint32_t src, uint32_t tag,
                                     const nexar_call_opts *opts, nexar_op **op_out);

/** As nexar_recv, into `n` pieces, which are filled one after the other, without a copy in between; they must not
 *  overlap.  The list is not needed any more when the call returns.
 *  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_recvv(nexar_comm *comm, const nexar_iov *iov, size_t n, uint32_t src, uint32_t tag,
                                   nexar_recv_info *info, const nexar_call_opts *opts);

/** Begins to receive, as nexar_recvv and nexar_recv_nb.
 *  @param op_out  required
 *  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_recvv_nb(nexar_comm *comm, const nexar_iov *iov, size_t n, uint32_t src, uint32_t tag,
                                      const nexar_call_opts *opts, nexar_op **op_out);

/** Begins to receive a message of any size up to `most`, as nexar_recv_nb, into memory that the library allocates when
 *  the message comes; nexar_recv_take gives it.
 *  @returns as nexar_recv; NEXAR_ENOMEM leaves the message receivable.  @threads any */
NEXAR_API nexar_status nexar_recv_alloc_nb(nexar_comm *comm, size_t most, uint32_t src, uint32_t tag,
                                           const nexar_call_opts *opts, nexar_op **op_out);

/** What a nexar_recv_alloc_nb that is done got.  The memory is the caller's from now on: give it to nexar_free.
 *  @param out  its base is NULL for an empty message
 *  @returns NEXAR_OK, NEXAR_EAGAIN if it is not done, NEXAR_EINVAL if it failed, was taken or is no such receive
 *  @threads any */
NEXAR_API nexar_status nexar_recv_take(nexar_op *op, nexar_iov *out);

/** Frees memory that nexar_recv_take gave.  @returns nothing; NULL is legal.  @threads any */
NEXAR_API void nexar_free(void *buf);

/** Sends and receives at the same time, so that a ring of ranks that all call it cannot deadlock.  The two buffers must
 *  not overlap.
 *  @returns as nexar_send and nexar_recv; the first error.  @threads any */
NEXAR_API nexar_status nexar_sendrecv(nexar_comm *comm, const void *sendbuf, size_t send_nbytes, uint32_t dest,
                                      uint32_t sendtag, void *recvbuf, size_t recv_nbytes, uint32_t src,
                                      uint32_t recvtag, nexar_recv_info *info, const nexar_call_opts *opts);

/** Waits until a message from `src` with `tag` (either may be NEXAR_ANY) could be received, without receiving it.
 *  A timeout of 0 in `opts` is the communicator's default; to look without waiting, give a timeout of 1 ns.
 *  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_probe(nexar_comm *comm, uint32_t src, uint32_t tag, nexar_recv_info *info,
                                   const nexar_call_opts *opts);

#ifdef __cplusplus
}
#endif

#endif
