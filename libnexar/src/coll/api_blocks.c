/* coll/api_blocks.c - the public collectives in which each rank has a block: arguments checked, handed on.
 *
 * Owner: any thread.  In place the rank's own block is where it lies among all; the schedules then see the buffer of
 * all blocks alone. */
#include "coll/ask.h"

/* The rank's own `block`, `count` elements, in a buffer of all of them, and whether `block` is there. */
static bool is_own(const struct nx_ask *ask, const void *block, const void *all, size_t count)
{
    return block != NULL && block == nx_ask_at(ask, all, count * ask->shape.rank);
}

/* Own blocks of all ranks come together in `recv`. */
static void gather(struct nx_ask *ask, const void *send, void *recv, size_t count)
{
    bool in_place;

    if (!nx_ask_ok(ask))
        return;
    in_place = is_own(ask, send, recv, count);
    nx_ask_buffer(ask, "send", send, count);
    nx_ask_buffer(ask, "recv", recv, ask->elements);
    if (!in_place)
        nx_ask_apart(ask, send, count, recv, ask->elements, "in place, send the own block in recv, or ");
    nx_ask_bind(ask, in_place ? recv : send, recv, in_place);
}

/* All blocks in `send`, of which one comes to be in `recv`. */
static void scatter(struct nx_ask *ask, const void *send, void *recv, size_t count)
{
    bool in_place;

    if (!nx_ask_ok(ask))
        return;
    in_place = is_own(ask, recv, send, count);
    nx_ask_buffer(ask, "send", send, ask->elements);
    nx_ask_buffer(ask, "recv", recv, count);
    if (!in_place)
        nx_ask_apart(ask, send, ask->elements, recv, count, "in place, recv the own block in send, or ");
    nx_ask_bind(ask, send, in_place ? send : recv, in_place);
}

nexar_status nexar_all_gather(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                              const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_ALL_GATHER, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_count(&ask, count, ask.shape.n);
    gather(&ask, send, recv, count);
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_gather(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                          uint32_t root, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_GATHER, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_root(&ask, root);
    nx_ask_count(&ask, count, ask.shape.n);
    if (nx_ask_ok(&ask) && comm->rank != root) {
        nx_ask_buffer(&ask, "send", send, count);
        nx_ask_bind(&ask, send, NULL, false);
    } else {
        gather(&ask, send, recv, count);
    }
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_scatter(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                           uint32_t root, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_SCATTER, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_root(&ask, root);
    nx_ask_count(&ask, count, ask.shape.n);
    if (nx_ask_ok(&ask) && comm->rank != root) {
        nx_ask_buffer(&ask, "recv", recv, count);
        nx_ask_bind(&ask, NULL, recv, false);
    } else {
        scatter(&ask, send, recv, count);
    }
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_reduce_scatter(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                                  nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_REDUCE_SCATTER, op_out);
    nx_ask_reduction(&ask, dtype, op);
    nx_ask_count(&ask, count, ask.shape.n);
    scatter(&ask, send, recv, count);
    ask.args.result = recv;
    ask.args.results = count;
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_all_to_all(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                              const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_ALL_TO_ALL, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_count(&ask, count, ask.shape.n);
    nx_ask_buffer(&ask, "send", send, ask.elements);
    nx_ask_buffer(&ask, "recv", recv, ask.elements);
    nx_ask_apart(&ask, send, ask.elements, recv, ask.elements, "");
    nx_ask_bind(&ask, send, recv, false);
    return nx_ask_run(&ask, opts, op_out);
}
