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

/** Reduces `count` elements of every rank's `send` with `op` and leaves the result in rank `root`'s `recv`, in place
 *  when send == recv there.  The others' `recv` is not looked at and may be NULL.
 *  @returns as nexar_all_reduce.  A rank other than the root may be done before a mismatch could show
 *  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_reduce(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                    nexar_reduce_op op, uint32_t root, const nexar_call_opts *opts, nexar_op **op_out);

/** Rank r's `recv` becomes the reduction of the `send` of ranks 0 to r, `count` elements of each.
 *  In place when send == recv.  There is no avg.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_scan(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                  nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out);

/** As nexar_scan, of ranks 0 to r - 1.  Rank 0 gets the value that changes nothing: 0 for sum, bor, bxor, 1 for prod,
 *  all bits for band, for min and max the greatest and the least value (of floats +inf and -inf).
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_exclusive_scan(nexar_comm *comm, const void *send, void *recv, size_t count,
                                            nexar_dtype dtype, nexar_reduce_op op, const nexar_call_opts *opts,
                                            nexar_op **op_out);

/** Every rank's `send`, `count` elements, becomes block r of every rank's `recv`, which has as many blocks as there are
 *  ranks.  In place when `send` is where the rank's own block lies in `recv`; the two must not overlap otherwise.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_all_gather(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                        const nexar_call_opts *opts, nexar_op **op_out);

/** As nexar_all_gather, to rank `root` alone.  The others' `recv` is not looked at and may be NULL.
 *  @returns as nexar_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_gather(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                    uint32_t root, const nexar_call_opts *opts, nexar_op **op_out);

/** Block r of rank `root`'s `send`, `count` elements, becomes rank r's `recv`.  In place on the root when `recv` is
 *  where its own block lies in `send`.  The others' `send` is not looked at and may be NULL.
 *  @returns as nexar_broadcast.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_scatter(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                     uint32_t root, const nexar_call_opts *opts, nexar_op **op_out);

/** Reduces every rank's `send`, which has as many blocks of `count` elements as there are ranks, and leaves block r in
 *  rank r's `recv`.  In place when `recv` is where the rank's own block lies in `send`; the other blocks stay as they
 *  were.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_reduce_scatter(nexar_comm *comm, const void *send, void *recv, size_t count,
                                            nexar_dtype dtype, nexar_reduce_op op, const nexar_call_opts *opts,
                                            nexar_op **op_out);

/** Block i of rank r's `send`, `count` elements, becomes block r of rank i's `recv`.  Never in place: the two must not
 *  overlap.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_all_to_all(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                        const nexar_call_opts *opts, nexar_op **op_out);

/* ---- blocks of unequal length ----
 *
 * An array of counts says how many elements the block of each rank has; 0 is legal.  One of displacements says at which
 * element of the buffer it begins; NULL: the blocks lie back to back.  Blocks that are received must not overlap.  The
 * arrays are not needed any more when the call returns, also with op_out.  Counts that do not agree between ranks are
 * NEXAR_EMISMATCH. */

/** As nexar_all_gather; `send_count` is the rank's own of `recv_counts`, which must be the same on all ranks.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_all_gather_v(nexar_comm *comm, const void *send, size_t send_count, void *recv,
                                          const size_t *recv_counts, const size_t *recv_displs, nexar_dtype dtype,
                                          const nexar_call_opts *opts, nexar_op **op_out);

/** As nexar_gather.  The others' `recv`, `recv_counts` and `recv_displs` are not looked at and may be NULL.
 *  @returns as nexar_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_gather_v(nexar_comm *comm, const void *send, size_t send_count, void *recv,
                                      const size_t *recv_counts, const size_t *recv_displs, nexar_dtype dtype,
                                      uint32_t root, const nexar_call_opts *opts, nexar_op **op_out);

/** As nexar_scatter.  The others' `send`, `send_counts` and `send_displs` are not looked at and may be NULL.
 *  @returns as nexar_broadcast.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_scatter_v(nexar_comm *comm, const void *send, const size_t *send_counts,
                                       const size_t *send_displs, void *recv, size_t recv_count, nexar_dtype dtype,
                                       uint32_t root, const nexar_call_opts *opts, nexar_op **op_out);

/** As nexar_reduce_scatter; the blocks lie back to back, and `counts` must be the same on all ranks.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_reduce_scatter_v(nexar_comm *comm, const void *send, void *recv, const size_t *counts,
                                              nexar_dtype dtype, nexar_reduce_op op, const nexar_call_opts *opts,
                                              nexar_op **op_out);

/** As nexar_all_to_all; what a rank sends to another one is what that one receives from it.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_all_to_all_v(nexar_comm *comm, const void *send, const size_t *send_counts,
                                          const size_t *send_displs, void *recv, const size_t *recv_counts,
                                          const size_t *recv_displs, nexar_dtype dtype, const nexar_call_opts *opts,
                                          nexar_op **op_out);

/** Returns when every rank has called it.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_barrier(nexar_comm *comm, const nexar_call_opts *opts, nexar_op **op_out);

#ifdef __cplusplus
}
#endif

#endif
