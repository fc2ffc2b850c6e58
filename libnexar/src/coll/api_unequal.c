/* coll/api_unequal.c - the public collectives whose blocks are of unequal length: arguments checked, handed on.
 *
 * Owner: any thread.  Where all ranks know all lengths (all_gather_v, reduce_scatter_v), their sum is what they must
 * agree about, and chooses the algorithm; where they do not, there is one algorithm, and lengths that do not agree are
 * found in the messages. */
#include "coll/ask.h"

static const char *const OWN_SEND = "in place, send the own block in recv, or ";
static const char *const OWN_RECV = "in place, recv the own block in send, or ";

/* The block of an array of all, which is the rank's own and has to have `count` elements. */
static bool own_block(struct nx_ask *ask, enum nx_ask_side side, size_t count, struct nx_range *own)
{
    if (!nx_ask_ok(ask))
        return false;
    *own = ask->blocks[side][ask->shape.rank];
    if (own->count != count)
        ask->st = nx_fail(NEXAR_EINVAL, "%s: rank %u has %zu elements on one side and %zu on the other", ask->call,
                          ask->shape.rank, count, own->count);
    return nx_ask_ok(ask);
}

/* The rank's own block comes among all in `recv`. */
static void gather(struct nx_ask *ask, const void *send, size_t count, void *recv)
{
    struct nx_range own;
    bool in_place;

    nx_ask_buffer(ask, "send", send, count);
    if (!own_block(ask, NX_ASK_RECV, count, &own))
        return;
    in_place = count != 0 && send == nx_ask_at(ask, recv, own.off);
    for (uint32_t i = 0; i < ask->shape.n && !in_place; i++) {
        struct nx_range block = ask->blocks[NX_ASK_RECV][i];

        nx_ask_apart(ask, send, count, nx_ask_at(ask, recv, block.off), block.count, OWN_SEND);
    }
    ask->shape.count = count;
    nx_ask_bind(ask, in_place ? recv : send, recv, in_place);
}

/* The rank's own block comes out of all in `send`. */
static void scatter(struct nx_ask *ask, const void *send, void *recv, size_t count)
{
    struct nx_range own;
    bool in_place;

    nx_ask_buffer(ask, "recv", recv, count);
    if (!own_block(ask, NX_ASK_SEND, count, &own))
        return;
    in_place = count != 0 && recv == nx_ask_at(ask, send, own.off);
    for (uint32_t i = 0; i < ask->shape.n && !in_place; i++) {
        struct nx_range block = ask->blocks[NX_ASK_SEND][i];

        nx_ask_apart(ask, nx_ask_at(ask, send, block.off), block.count, recv, count, OWN_RECV);
    }
    ask->shape.count = count;
    nx_ask_bind(ask, send, in_place ? send : recv, in_place);
}

nexar_status nexar_all_gather_v(nexar_comm *comm, const void *send, size_t send_count, void *recv,
                                const size_t *recv_counts, const size_t *recv_displs, nexar_dtype dtype,
                                const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_ALL_GATHER_V, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_blocks(&ask, NX_ASK_RECV, recv, recv_counts, recv_displs);
    gather(&ask, send, send_count, recv);
    ask.args.count = ask.elements = nx_ask_ok(&ask) ? nx_ask_total(&ask, NX_ASK_RECV) : 0;
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_gather_v(nexar_comm *comm, const void *send, size_t send_count, void *recv,
                            const size_t *recv_counts, const size_t *recv_displs, nexar_dtype dtype, uint32_t root,
                            const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_GATHER_V, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_root(&ask, root);
    if (nx_ask_ok(&ask) && comm->rank != root) {
        nx_ask_buffer(&ask, "send", send, send_count);
        ask.shape.count = send_count;
        nx_ask_bind(&ask, send, NULL, false);
    } else {
        nx_ask_blocks(&ask, NX_ASK_RECV, recv, recv_counts, recv_displs);
        gather(&ask, send, send_count, recv);
    }
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_scatter_v(nexar_comm *comm, const void *send, const size_t *send_counts, const size_t *send_displs,
                             void *recv, size_t recv_count, nexar_dtype dtype, uint32_t root,
                             const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_SCATTER_V, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_root(&ask, root);
    if (nx_ask_ok(&ask) && comm->rank != root) {
        nx_ask_buffer(&ask, "recv", recv, recv_count);
        ask.shape.count = recv_count;
        nx_ask_bind(&ask, NULL, recv, false);
    } else {
        nx_ask_blocks(&ask, NX_ASK_SEND, send, send_counts, send_displs);
        scatter(&ask, send, recv, recv_count);
    }
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_reduce_scatter_v(nexar_comm *comm, const void *send, void *recv, const size_t *counts,
                                    nexar_dtype dtype, nexar_reduce_op op, const nexar_call_opts *opts,
                                    nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_REDUCE_SCATTER_V, op_out);
    nx_ask_reduction(&ask, dtype, op);
    nx_ask_blocks(&ask, NX_ASK_SEND, send, counts, NULL);
    if (nx_ask_ok(&ask)) {
        scatter(&ask, send, recv, counts[comm->rank]);
        ask.args.result = recv;
        ask.args.results = counts[comm->rank];
        ask.args.count = ask.elements = nx_ask_total(&ask, NX_ASK_SEND);
    }
    return nx_ask_run(&ask, opts, op_out);
}

nexar_status nexar_all_to_all_v(nexar_comm *comm, const void *send, const size_t *send_counts,
                                const size_t *send_displs, void *recv, const size_t *recv_counts,
                                const size_t *recv_displs, nexar_dtype dtype, const nexar_call_opts *opts,
                                nexar_op **op_out)
{
    struct nx_ask ask;
    struct nx_range own;

    nx_ask_begin(&ask, comm, NX_COLL_ALL_TO_ALL_V, op_out);
    nx_ask_type(&ask, dtype);
    nx_ask_blocks(&ask, NX_ASK_SEND, send, send_counts, send_displs);
    nx_ask_blocks(&ask, NX_ASK_RECV, recv, recv_counts, recv_displs);
    if (nx_ask_ok(&ask))
        own_block(&ask, NX_ASK_RECV, send_counts[comm->rank], &own);
    nx_ask_apart(&ask, send, nx_ask_extent(&ask, NX_ASK_SEND), recv, nx_ask_extent(&ask, NX_ASK_RECV), "");
    nx_ask_bind(&ask, send, recv, false);
    return nx_ask_run(&ask, opts, op_out);
}
