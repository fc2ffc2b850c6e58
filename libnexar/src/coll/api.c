/* coll/api.c - the public collectives of whole vectors: arguments checked, handed on.
 *
 * Owner: any thread. */
#include "coll/ask.h"

nexar_status nexar_all_reduce(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                              nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_ALL_REDUCE, op_out);
    nx_ask_reduction(&ask, dtype, op);
    nx_ask_vectors(&ask, send, recv, count);
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_reduce(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                          nexar_reduce_op op, uint32_t root, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_REDUCE, op_out);
    nx_ask_reduction(&ask, dtype, op);
    nx_ask_root(&ask, root);
    if (nx_ask_ok(&ask) && comm->rank != root) {
        nx_ask_count(&ask, count, 1);
        nx_ask_buffer(&ask, "send", send, count);
        nx_ask_bind(&ask, send, NULL, false);
        ask.args.finish = NULL;
    } else {
        nx_ask_vectors(&ask, send, recv, count);
    }
    return nx_ask_run(&ask, opts, op_out);
}

/* An average over a growing number of ranks is none that anybody divides by the size. */
static nexar_status scan(nexar_comm *comm, enum nx_coll coll, const void *send, void *recv, size_t count,
                         nexar_dtype dtype, nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, coll, op_out);
    nx_ask_reduction(&ask, dtype, op);
    if (nx_ask_ok(&ask) && op == NEXAR_AVG)
        ask.st =
            nx_fail(NEXAR_EINVAL, "%s: avg is not there; take sum and divide by the ranks that it is of", ask.call);
    nx_ask_vectors(&ask, send, recv, count);
    if (nx_ask_ok(&ask))
        nx_reduce_identity(op, dtype, ask.args.identity);
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_scan(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                        nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out)
{
    return scan(comm, NX_COLL_SCAN, send, recv, count, dtype, op, opts, op_out);
}

nexar_status nexar_exclusive_scan(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                  nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out)
{
    return scan(comm, NX_COLL_EXCLUSIVE_SCAN, send, recv, count, dtype, op, opts, op_out);
}

nexar_status nexar_broadcast(nexar_comm *comm, void *buf, size_t count, nexar_dtype dtype, uint32_t root,
                             const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_BROADCAST, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_root(&ask, root);
    nx_ask_count(&ask, count, 1);
    nx_ask_buffer(&ask, "buf", buf, count);
    nx_ask_bind(&ask, buf, buf, true);
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_barrier(nexar_comm *comm, const nexar_call_opts *opts, nexar_op **op_out)
{
    static const uint8_t nothing;
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_BARRIER, op_out);
    nx_ask_bind(&ask, &nothing, &nothing, true);
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_coll_algorithm(uint32_t number, nexar_algorithm *out)
{
    const struct nx_algorithm *algorithm = nx_algorithm_at(number);

    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "coll_algorithm: there is no place for the answer");
    *out = (nexar_algorithm){0};
    if (algorithm == NULL || algorithm->build == nx_build_near) /* which nobody chooses by name */
        return nx_fail(NEXAR_EINVAL, "coll_algorithm: there is no algorithm %u", number);
    *out = (nexar_algorithm){
        .collective = nx_coll_name(algorithm->coll), .name = algorithm->name, .by_rank = algorithm->by_rank};
    return NEXAR_OK;
}
