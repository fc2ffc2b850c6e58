/** nexar/coll.h - collectives: every rank of the communicator makes the same call with matching arguments.
 *
 *  Calls on one communicator must be made in the same order on all ranks.  Each message carries what its sender called;
 *  ranks that called different things get NEXAR_EMISMATCH, with both calls in the text, and the communicator takes no
 *  further collectives.  Results are bitwise the same on all ranks. */
#ifndef NEXAR_COLL_H
#define NEXAR_COLL_H

#include "nexar/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Reduces `count` elements of every rank's `send` with `op` and leaves the result in every rank's `recv`.
 *  In place when send == recv; the two must not overlap otherwise.
 *  If it fails, what `recv` holds is undefined.
 *
 *  Numbers take sum, prod, min, max and avg, integers band, bor and bxor too; bool takes prod, min and band (all are
 *  true), max and bor (any is), bxor.  Integers wrap.  float16 and bfloat16 are computed in float32 and rounded at each
 *  step, to the nearest, ties to even.  NaN in, NaN out, for min and max too; -0 is less than +0.  avg is the sum, that
 *  of integers wrapping, divided once by the number of ranks; the fraction of an integer is dropped.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ETIMEDOUT, NEXAR_EPEER, NEXAR_EMISMATCH, NEXAR_ECLOSED, NEXAR_ENOMEM,
 *           NEXAR_ECANCELLED
 *  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_all_reduce(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                        nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out);

/** Copies `count` elements of rank `root`'s `buf` into every other rank's `buf`.
 *  @returns as nexar_all_reduce.  A mismatch may show on the root only with its next call
 *  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_broadcast(nexar_comm *comm, void *buf, size_t count, nexar_dtype dtype, uint32_t root,
                                       const nexar_call_opts *opts, nexar_op **op_out);

/** Returns when every rank has called it.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_barrier(nexar_comm *comm, const nexar_call_opts *opts, nexar_op **op_out);

#ifdef __cplusplus
}
#endif

#endif
