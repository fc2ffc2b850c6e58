/* coll/api.c - the public collectives: arguments checked, algorithm chosen, handed to the executor.
 *
 * Owner: any thread.  A wrong argument is found here, before anything is sent, and leaves the communicator as it was.
 * */
#include "coll/exec.h"

static nexar_status begin(nexar_comm *comm, const char *call, nexar_op **op_out)
{
    if (op_out != NULL)
        *op_out = NULL;
    return nx_comm_check(comm, call, op_out == NULL);
}

static nexar_status check_buffer(const char *call, const char *what, const void *buf, size_t count)
{
    if (buf != NULL || count == 0)
        return NEXAR_OK;
    return nx_fail(NEXAR_EINVAL, "%s: %s is NULL and should have %zu elements", call, what, count);
}

static nexar_status check_count(const char *call, size_t count, size_t element)
{
    if (count <= PTRDIFF_MAX / element)
        return NEXAR_OK;
    return nx_fail(NEXAR_EINVAL, "%s: %zu elements of %zu bytes are more than memory can hold", call, count, element);
}

/* Of the same length; the same place, or apart. */
static bool overlap(const void *a, const void *b, size_t nbytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

    return x != y && (x < y ? y - x : x - y) < nbytes;
}

/* Chooses, makes the plan's key, runs. */
static nexar_status run(nexar_comm *comm, struct nx_coll_args *args, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_shape shape = {.rank = comm->rank,
                             .n = comm->size,
                             .root = args->call.root,
                             .in_place = args->send == args->recv,
                             .count = args->count};
    const struct nx_algorithm *algorithm;
    struct nx_plan_key key;
    nexar_status st;

    algorithm = nx_select_algorithm(comm->select, args->call.coll, comm->size, args->count * args->element);
    st = nx_plan_key_make(&key, algorithm, &shape, args->element);
    if (st != NEXAR_OK)
        return st;
    args->call.algorithm = nx_algorithm_number(algorithm);
    return nx_coll_run(comm, &key, args, opts, op_out);
}

nexar_status nexar_all_reduce(nexar_comm *comm, const void *send, void *recv, size_t count, nexar_dtype dtype,
                              nexar_reduce_op op, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_coll_args args = {.call = {.coll = NX_COLL_ALL_REDUCE, .dtype = dtype, .op = op},
                                .send = send,
                                .recv = recv,
                                .count = count,
                                .fn = nx_reduce_kernel(op, dtype),
                                .finish = nx_reduce_finish(op, dtype),
                                .element = nexar_dtype_size(dtype)};
    nexar_status st = begin(comm, "all_reduce", op_out);

    if (st == NEXAR_OK)
        st = check_buffer("all_reduce", "send", send, count);
    if (st == NEXAR_OK)
        st = check_buffer("all_reduce", "recv", recv, count);
    if (st == NEXAR_OK)
        st = nx_reduce_check("all_reduce", op, dtype);
    if (st == NEXAR_OK)
        st = check_count("all_reduce", count, args.element);
    if (st == NEXAR_OK && overlap(send, recv, count * args.element))
        st = nx_fail(NEXAR_EINVAL, "all_reduce: send and recv overlap; they must be the same or apart");
    return st != NEXAR_OK ? st : run(comm, &args, opts, op_out);
}

nexar_status nexar_broadcast(nexar_comm *comm, void *buf, size_t count, nexar_dtype dtype, uint32_t root,
                             const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_coll_args args = {.call = {.coll = NX_COLL_BROADCAST, .dtype = dtype, .root = root},
                                .send = buf,
                                .recv = buf,
                                .count = count,
                                .element = nexar_dtype_size(dtype)};
    nexar_status st = begin(comm, "broadcast", op_out);

    if (st == NEXAR_OK)
        st = check_buffer("broadcast", "buf", buf, count);
    if (st != NEXAR_OK)
        return st;
    if (args.element == 0)
        return nx_fail(NEXAR_EINVAL, "broadcast: %d is not a data type", (int)dtype);
    if (root >= comm->size)
        return nx_fail(NEXAR_EINVAL, "broadcast: root %u is not one of the %u ranks", root, comm->size);
    st = check_count("broadcast", count, args.element);
    return st != NEXAR_OK ? st : run(comm, &args, opts, op_out);
}

nexar_status nexar_barrier(nexar_comm *comm, const nexar_call_opts *opts, nexar_op **op_out)
{
    static const uint8_t nothing;
    struct nx_coll_args args = {
        .call = {.coll = NX_COLL_BARRIER}, .send = &nothing, .recv = (void *)(uintptr_t)&nothing, .element = 1};
    nexar_status st = begin(comm, "barrier", op_out);

    return st == NEXAR_OK ? run(comm, &args, opts, op_out) : st;
}
