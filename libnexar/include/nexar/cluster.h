/** nexar/cluster.h - going on after ranks were lost: who is gone, what the others agree on, and a communicator of those
 *  who are left.
 *
 *  The members of a job agree on who they are (docs/MEMBERSHIP.md): a rank that is lost to some is out for all, or for
 *  none.  Those that are cut off from more than half of the members go nowhere: NEXAR_EQUORUM. */
#ifndef NEXAR_CLUSTER_H
#define NEXAR_CLUSTER_H

#include "nexar/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A rank of a communicator that is gone. */
typedef struct nexar_failure {
    uint32_t size;
    uint32_t rank; /**< in the communicator */
    uint32_t left; /**< 1: it has closed its communicators in good order; 0: it was lost */
    uint32_t out;  /**< 1: the members have agreed that it is out */
    char why[160]; /**< in words */
} nexar_failure;

/** The gone ranks of a communicator, one call each, by rank: `index` 0 first.  `out->size` must be set.
 *  @returns NEXAR_OK; NEXAR_EAGAIN after the last one; NEXAR_EINVAL, NEXAR_ECLOSED, NEXAR_EFORK.  @threads any */
NEXAR_API nexar_status nexar_comm_failure(nexar_comm *comm, uint32_t index, nexar_failure *out);

/** Waits, as an op, until more than `known` ranks of the communicator are gone, which may be so already: for who wants
 *  to be told.  nexar_comm_failure says which they are.  Without a timeout in `opts` it waits for ever.
 *  @returns NEXAR_OK: it has begun; its op ends with NEXAR_OK, NEXAR_ETIMEDOUT, NEXAR_ECANCELLED, or NEXAR_ECLOSED when
 *           the communicator is closed.  NEXAR_EINVAL, NEXAR_ECLOSED, NEXAR_ENOMEM, NEXAR_EDEADLK, NEXAR_EFORK
 *  @threads any */
NEXAR_API nexar_status nexar_failure_start(nexar_comm *comm, uint32_t known, const nexar_call_opts *opts,
                                           nexar_op **op_out);

/** What agree() gave. */
typedef struct nexar_agreed {
    uint32_t size;
    uint32_t missing; /**< ranks of the communicator that had no part in it, because they are out */
    uint64_t value;
    uint64_t epoch; /**< number of the decision; later ones have higher numbers */
} nexar_agreed;

/** Agrees on a value in spite of deaths: all ranks that return have the same value, the bitwise and of the flags of all
 *  who had part in it, and the same ranks missing.  Never fails because a rank is lost; one that lives and does not
 *  call it holds the others up.  It takes some five times the delay between ranks: for decisions, not for inner loops.
 *  One that ran out of time, or was cancelled, is still open with its flag: the next call goes on with it.
 *
 *  The communicator must have all members of the job, as the world has and what was shrunk from it.
 *  @param ranks  the missing ranks, ascending, as many of them as `cap`; NULL if `cap` is 0
 *  @returns NEXAR_OK, NEXAR_EINVAL (also while another is open), NEXAR_ENOTSUP (a communicator without some members),
 *           NEXAR_EQUORUM, NEXAR_EPEER (with this rank's own number: the others have excluded it), NEXAR_ETIMEDOUT,
 *           NEXAR_ECANCELLED, NEXAR_ECLOSED, NEXAR_ENOMEM, NEXAR_EDEADLK, NEXAR_EFORK
 *  @threads any; one at a time */
NEXAR_API nexar_status nexar_comm_agree(nexar_comm *comm, uint64_t flag, const nexar_call_opts *opts, nexar_agreed *out,
                                        uint32_t *ranks, size_t cap);

/** The same as an op, whose result is taken by nexar_agree_take.
 *  @returns as nexar_comm_agree, NEXAR_OK when it has begun.  @threads any; one at a time */
NEXAR_API nexar_status nexar_agree_start(nexar_comm *comm, uint64_t flag, const nexar_call_opts *opts,
                                         nexar_op **op_out);

/** The result of an op of nexar_agree_start that has ended well.
 *  @returns NEXAR_OK, NEXAR_EAGAIN if it is not done, NEXAR_EINVAL.  @threads any */
NEXAR_API nexar_status nexar_agree_take(nexar_op *op, nexar_agreed *out, uint32_t *ranks, size_t cap);

/** Makes a communicator of the ranks of `comm` that are members of the job, in their order: waits until each rank of it
 *  that is lost to this one, or to another, is out by agreement.  A collective of those who are left: each calls it,
 *  after an operation has failed with NEXAR_EPEER, say; nobody waits for those who do not, but for the new rank 0.  If
 *  a rank is lost, `comm` is given up on all of its ranks: what is in flight in it, and what begins later, ends with
 *  NEXAR_EPEER; it is to be closed.  If another rank dies meanwhile, it begins again, or the next operation of the new
 *  communicator says so, and one shrinks again, this communicator or the new one.
 *  @returns NEXAR_OK: *out is the caller's; NEXAR_EQUORUM: for the configuration's recovery_timeout too few members
 *           were in reach to agree; NEXAR_EPEER with this rank's own number: the others have excluded it;
 *           NEXAR_ETIMEDOUT, NEXAR_ECANCELLED, NEXAR_ECLOSED, NEXAR_EINVAL, NEXAR_ENOMEM, NEXAR_EDEADLK, NEXAR_EFORK
 *  @threads any */
NEXAR_API nexar_status nexar_comm_shrink(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out);

/** The same as an op, whose communicator is taken by nexar_shrink_take.
 *  @returns as nexar_comm_shrink, NEXAR_OK when it has begun.  @threads any */
NEXAR_API nexar_status nexar_shrink_start(nexar_comm *comm, const nexar_call_opts *opts, nexar_op **op_out);

/** The communicator of an op of nexar_shrink_start that has ended well, once.
 *  @returns NEXAR_OK: *out is the caller's; NEXAR_EAGAIN if it is not done; NEXAR_EINVAL, NEXAR_ECLOSED, NEXAR_ENOMEM
 *  @threads any */
NEXAR_API nexar_status nexar_shrink_take(nexar_op *op, nexar_comm **out);

#ifdef __cplusplus
}
#endif

#endif
