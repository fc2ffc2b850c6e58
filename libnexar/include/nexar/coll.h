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

/* ---- in fewer bytes ---- */

/** What travels in place of float32 elements. */
typedef enum nexar_compression_kind {
    NEXAR_COMPRESS_BFLOAT16 = 1, /**< 2 bytes an element */
    NEXAR_COMPRESS_FLOAT8 = 2,   /**< e4m3, a byte an element and a scale for each block */
    NEXAR_COMPRESS_INT8 = 3,     /**< a byte an element and a scale for each block */
    NEXAR_COMPRESS_TOP_K = 4,    /**< the k elements of the greatest magnitude, with their indices */
    NEXAR_COMPRESS_RANDOM_K = 5, /**< k elements that `seed` and `step` choose, the same on all ranks */
} nexar_compression_kind;

/** How to compress.  All but `residual` must be the same on all ranks. */
typedef struct nexar_compression {
    uint32_t size;
    nexar_compression_kind kind;
    uint32_t block;    /**< FLOAT8, INT8: elements that share a scale, a multiple of 4; 0: 256 */
    uint32_t reserved; /**< 0 */
    uint64_t k;        /**< TOP_K, RANDOM_K: elements that each rank sends, 1 to count (0 if that is 0) */
    uint64_t seed;     /**< RANDOM_K */
    uint64_t step;     /**< RANDOM_K: another one for each call, so that all elements get their turn */
    void *residual;    /**< TOP_K, RANDOM_K: error feedback, `count` float32; NULL: none */
} nexar_compression;

/** nexar_all_reduce with fewer bytes: of float32 by sum or avg.  The result is that of vectors which were rounded, or
 *  of which only k elements are not 0, and is still bitwise the same on all ranks.
 *
 *  BFLOAT16, FLOAT8, INT8: every rank's vector is rounded once, these are summed by rank in float32, and the sum is
 *  rounded once more on the way back; avg divides it at the end.  INT8 has steps of 1/127 of the greatest magnitude of
 *  a block, FLOAT8 4 bits of precision, BFLOAT16 8.  NaN, infinities and, with a scale, sums that are too large come
 *  out as NaN, in BFLOAT16 infinities as infinities.
 *  TOP_K, RANDOM_K: elements that nobody sent are 0.  With a residual what a rank does not send is not lost: its vector
 *  is `send` plus `residual`, and `residual` becomes what was left of that.  Zeros to begin with; one for each tensor.
 *  Unless the call ends with NEXAR_OK, `residual` stays as it was.  It must not overlap `send` and `recv`, and belongs
 *  to the library until the op is done.
 *
 *  In place when send == recv.  `compression` is not needed any more when the call returns, also with op_out.
 *  @returns as nexar_all_reduce; NEXAR_EPROTO, with the rank in `peer`, for what no encoder makes
 *  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_all_reduce_compressed(nexar_comm *comm, const void *send, void *recv, size_t count,
                                                   nexar_dtype dtype, nexar_reduce_op op,
                                                   const nexar_compression *compression, const nexar_call_opts *opts,
                                                   nexar_op **op_out);

/* ---- many at once ---- */

/** An array of one type. */
typedef struct nexar_vector {
    void *base;
    size_t count;
    nexar_dtype dtype;
    uint32_t reserved; /**< 0 */
} nexar_vector;

/** Reduces `n` arrays in place, as nexar_all_reduce each of them, in one operation: the arrays of a type are cut, end
 *  to end, into buckets of 4 MiB (more where there would be more than 1024 for each rank), and while some buckets
 *  travel others are filled and emptied, four at once.  Types may be mixed, `op` must be there for all of them.  Arrays
 *  of no elements are legal, and so are no arrays.  They must not overlap.
 *
 *  The list of types and counts must be the same on all ranks.  Where nexar_all_reduce adds by rank (up to 16 ranks, or
 *  NEXAR_REPRODUCIBLE=1) the bits are its own; else they may depend on how arrays share buckets.
 *  `vectors` is not needed any more when the call returns, also with op_out; the arrays belong to the library until the
 *  op is done.  If it fails, what they hold is undefined.
 *  @returns as nexar_all_reduce.  @threads any; calls on one communicator in the same order on all ranks */
NEXAR_API nexar_status nexar_all_reduce_bucketed(nexar_comm *comm, const nexar_vector *vectors, size_t n,
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

/* ---- algorithms ---- */

/** What NEXAR_COLL_TUNE may name. */
typedef struct nexar_algorithm {
    const char *collective; /**< "all_reduce", ... */
    const char *name;       /**< "ring", ... */
    int32_t by_rank;        /**< 1 if it adds in the order of ranks, or adds nothing; else 0 */
} nexar_algorithm;

/** The algorithms that this library has, numbered from 0.
 *  @returns NEXAR_OK; NEXAR_EINVAL beyond the last one.  @threads any */
NEXAR_API nexar_status nexar_coll_algorithm(uint32_t number, nexar_algorithm *algorithm);

#ifdef __cplusplus
}
#endif

#endif
