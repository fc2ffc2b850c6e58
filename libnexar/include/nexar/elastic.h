/** nexar/elastic.h - a job whose ranks come and go: those who are new become members at a checkpoint, and others leave.
 *
 *  All ranks, and the seed, have `elastic` set (nexar_config, NEXAR_ELASTIC=1).  The job forms as any other.
 *  Afterwards whoever joins with its join string waits in nexar_init until the members call nexar_elastic_checkpoint.
 *  Then the job forms anew: the members that stay keep their order and come first, those who are new follow.  Each
 *  member has the key of the job's certificate authority, so that any of them can let others in. */
#ifndef NEXAR_ELASTIC_H
#define NEXAR_ELASTIC_H

#include "nexar/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexar_elastic nexar_elastic;

/** A collective of all members: lets those join who wait, up to `max_world` of rank 0, and those leave who call
 *  nexar_comm_leave instead.  With fewer than `min_world` it waits for others.  Costs an all_gather of some bytes if
 *  nobody comes or goes, else a formation of the job, as nexar_init does; if one of those who are new is lost
 *  meanwhile, it begins again without it.  The communicator must have all members, as the world has and what was
 *  shrunk from it.
 *  @param out  `comm` itself if nothing changes.  Else another one, and `comm` and all that were made from it are to
 *              be closed: their ranks are those of before
 *  @returns NEXAR_OK, NEXAR_ENOTSUP (the job is not elastic; the communicator lacks members), NEXAR_EPEER (a member was
 *           lost: shrink, and call it again), NEXAR_ETIMEDOUT (a rank has not called it, or too few have joined),
 *           NEXAR_EINVAL, NEXAR_ECLOSED, NEXAR_EQUORUM, NEXAR_ESYSTEM, NEXAR_ENOMEM, NEXAR_EDEADLK, NEXAR_EFORK
 *  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_elastic_checkpoint(nexar_comm *comm, const nexar_call_opts *opts, nexar_comm **out);

/** This rank's part of a checkpoint at which it leaves: takes the place of nexar_elastic_checkpoint.  The communicator,
 *  and all others of this rank, are to be closed then.
 *  @returns as nexar_elastic_checkpoint.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_comm_leave(nexar_comm *comm, const nexar_call_opts *opts);

/** The same in steps, for those who must look at signals meanwhile: begins a checkpoint; `leave` 1: this rank leaves.
 *  @returns as nexar_elastic_checkpoint.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_elastic_start(nexar_comm *comm, uint32_t leave, const nexar_call_opts *opts,
                                           nexar_elastic **elastic);

/** Waits at most `timeout_ns` for its end.  With NEXAR_OK *out is as in nexar_elastic_checkpoint, NULL if this rank has
 *  left; close `elastic` in any case.
 *  @returns as nexar_elastic_checkpoint; NEXAR_EAGAIN if it has not ended yet, NEXAR_EINTR if a signal handler ran:
 *           call again
 *  @threads any, one at a time */
NEXAR_API nexar_status nexar_elastic_wait(nexar_elastic *elastic, int64_t timeout_ns, nexar_comm **out);

/** Gives it back.  One that has not ended is given up: this rank stays where it is, and the others are told.
 *  @returns nothing; NULL is legal.  @threads any, but not while another thread waits */
NEXAR_API void nexar_elastic_close(nexar_elastic *elastic);

/** The join string of an elastic job as it is now, with the lowest ranks that are there; a secret.  That of the seed is
 *  good as long as the seed is open, and one of those lives that it knows.  Cut at `cap` bytes; 1024 are enough.
 *  @returns NEXAR_OK, NEXAR_ENOTSUP (the job is not elastic, or its ranks share a secret instead), NEXAR_EMSGSIZE,
 *           NEXAR_EINVAL, NEXAR_ECLOSED, NEXAR_ENOMEM, NEXAR_EDEADLK, NEXAR_EFORK
 *  @threads any */
NEXAR_API nexar_status nexar_comm_join_string(const nexar_comm *comm, char *text, size_t cap);

#ifdef __cplusplus
}
#endif

#endif
