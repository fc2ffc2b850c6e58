/** nexar/node.h - joining a job: as one of its ranks, as its seed, or as several ranks in one process. */
#ifndef NEXAR_NODE_H
#define NEXAR_NODE_H

#include "nexar/comm.h"
#include "nexar/config.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexar_seed nexar_seed;
typedef struct nexar_joining nexar_joining;

/** Joins the job that `config` (NULL: the environment) describes and returns the communicator of all its ranks.
 *  Without a join string, a secret or a launcher's environment: a job of one rank.  Blocks until every rank is
 *  connected with every other.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ECONFIG (environment or join string), NEXAR_EAUTH (token, secret,
 *           certificate, rank taken), NEXAR_ETIMEDOUT (names the ranks that are missing), NEXAR_EPEER, NEXAR_EPROTO,
 *           NEXAR_ESYSTEM, NEXAR_ENOMEM, NEXAR_EDEADLK, NEXAR_EFORK
 *  @threads any */
NEXAR_API nexar_status nexar_init(const nexar_config *config, nexar_comm **comm);

/** The same in two steps, for those who must look at signals meanwhile: starts to join.
 *  @returns as nexar_init.  @threads any */
NEXAR_API nexar_status nexar_join_start(const nexar_config *config, nexar_joining **joining);

/** Waits at most `timeout_ns` until the job has formed.  With NEXAR_OK the communicator is the caller's; close
 *  `joining` in any case.
 *  @returns as nexar_init; NEXAR_EAGAIN if it has not formed yet, NEXAR_EINTR if a signal handler ran: call again
 *  @threads any, one at a time */
NEXAR_API nexar_status nexar_join_wait(nexar_joining *joining, int64_t timeout_ns, nexar_comm **comm);

/** Ends joining: if no communicator was given, it is given up, and the others are told.
 *  @returns nothing; NULL is legal.  @threads any, but not while another thread waits */
NEXAR_API void nexar_join_close(nexar_joining *joining);

/** Starts a job of `n` ranks inside this process, for notebooks and tests: fills comms[0..n).  Each communicator is
 *  meant to be used by a thread of its own, and is closed on its own.
 *  @returns as nexar_init; on failure all entries are NULL.  @threads any */
NEXAR_API nexar_status nexar_local_cluster(uint32_t n, const nexar_config *config, nexar_comm **comms);

/** Starts the seed of a job of `world_size` ranks at `address` ("0.0.0.0:7000", "[::]:0"; port 0: any).  It makes the
 *  cluster's certificate authority and token, and serves in the background until it is closed.  It has no rank.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ESYSTEM (address in use), NEXAR_ENOMEM.  @threads any */
NEXAR_API nexar_status nexar_seed_open(const char *address, uint32_t world_size, const nexar_config *config,
                                       nexar_seed **seed);

/** The join string; all that a worker needs, and a secret.  Cut at `cap` bytes; 512 are enough.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_EMSGSIZE.  @threads any */
NEXAR_API nexar_status nexar_seed_join_string(const nexar_seed *seed, char *text, size_t cap);

/** Waits until all ranks have joined and are connected with each other.
 *  @returns NEXAR_OK; NEXAR_EAGAIN if `timeout_ns` passed first; NEXAR_EINTR; NEXAR_ETIMEDOUT if formation failed: the
 *           text names the ranks that are missing and what was heard of them; NEXAR_EPEER if a rank gave up;
 *           NEXAR_ECONFIG if two have different settings.
 *  @threads any */
NEXAR_API nexar_status nexar_seed_wait(nexar_seed *seed, int64_t timeout_ns);

/** Of a job with `elastic` that has formed: tells the seed where its members are now, by a join string of one of them
 *  (nexar_comm_join_string); whoever comes to the seed is sent there.  Until then it is to those that formed the job.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ECONFIG (that is no join string).  @threads any */
NEXAR_API nexar_status nexar_seed_point_to(nexar_seed *seed, const char *join_string);

/** Ends the seed.  A job that has formed goes on without it.  @returns nothing; NULL is legal.  @threads any */
NEXAR_API void nexar_seed_close(nexar_seed *seed);

#ifdef __cplusplus
}
#endif

#endif
