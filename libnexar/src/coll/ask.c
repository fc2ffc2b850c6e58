/* coll/ask.c - see ask.h.
 *
 * Owner: the caller's thread. */
#include "coll/ask.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void nx_ask_begin(struct nx_ask *ask, nexar_comm *comm, enum nx_coll coll, nexar_op **op_out)
{
    if (op_out != NULL)
        *op_out = NULL;
    ask->comm = comm;
    ask->call = nx_coll_name(coll);
    ask->rules = coll;
    ask->args = (struct nx_coll_args){.call = {.coll = coll}, .element = 1};
    ask->shape = (struct nx_shape){0};
    ask->elements = 0;
    ask->blocks[NX_ASK_SEND] = ask->blocks[NX_ASK_RECV] = NULL;
    ask->st = nx_comm_check(comm, ask->call, op_out == NULL);
    if (ask->st != NEXAR_OK)
        return;
    ask->shape.rank = comm->rank;
    ask->shape.n = comm->size;
    ask->shape.hosts = comm->hosts;
}

void nx_ask_type(struct nx_ask *ask, nexar_dtype dtype)
{
    if (ask->st != NEXAR_OK)
        return;
    ask->args.call.dtype = dtype;
    ask->args.element = nexar_dtype_size(dtype);
    if (ask->args.element == 0)
        ask->st = nx_fail(NEXAR_EINVAL, "%s: %d is not a data type", ask->call, (int)dtype);
}

void nx_ask_reduction(struct nx_ask *ask, nexar_dtype dtype, nexar_reduce_op op)
{
    if (ask->st == NEXAR_OK)
        ask->st = nx_reduce_check(ask->call, op, dtype);
    nx_ask_type(ask, dtype);
    if (ask->st != NEXAR_OK)
        return;
    ask->args.call.op = op;
    ask->args.fn = nx_reduce_kernel(op, dtype);
    ask->args.finish = nx_reduce_finish(op, dtype);
}

void nx_ask_root(struct nx_ask *ask, uint32_t root)
{
    if (ask->st != NEXAR_OK)
        return;
    if (root >= ask->comm->size)
        ask->st = nx_fail(NEXAR_EINVAL, "%s: root %u is not one of the %u ranks", ask->call, root, ask->comm->size);
    ask->args.call.root = ask->shape.root = root;
}

static nexar_status too_many(const struct nx_ask *ask, size_t count)
{
    return nx_fail(NEXAR_EINVAL, "%s: %zu elements of %zu bytes are more than memory can hold", ask->call, count,
                   ask->args.element);
}

void nx_ask_count(struct nx_ask *ask, size_t count, uint32_t blocks)
{
    if (ask->st != NEXAR_OK)
        return;
    ask->args.count = ask->shape.count = count;
    ask->elements = nx_mul_capped(count, blocks);
    if (ask->elements > PTRDIFF_MAX / ask->args.element && blocks > 1 && count <= PTRDIFF_MAX / ask->args.element)
        ask->st = nx_fail(NEXAR_EINVAL, "%s: %u blocks of %zu elements of %zu bytes are more than memory can hold",
                          ask->call, blocks, count, ask->args.element);
    else if (ask->elements > PTRDIFF_MAX / ask->args.element)
        ask->st = too_many(ask, count);
}

void nx_ask_buffer(struct nx_ask *ask, const char *what, const void *buf, size_t count)
{
    if (ask->st == NEXAR_OK && count > PTRDIFF_MAX / ask->args.element)
        ask->st = too_many(ask, count);
    if (ask->st == NEXAR_OK && buf == NULL && count != 0)
        ask->st = nx_fail(NEXAR_EINVAL, "%s: %s is NULL and should have %zu elements", ask->call, what, count);
}

void nx_ask_apart(struct nx_ask *ask, const void *send, size_t send_count, const void *recv, size_t recv_count,
                  const char *elsewhere)
{
    uintptr_t a = (uintptr_t)send, b = (uintptr_t)recv;

    if (ask->st != NEXAR_OK || send_count == 0 || recv_count == 0)
        return;
    if (a < b ? b - a < send_count * ask->args.element : a - b < recv_count * ask->args.element)
        ask->st = nx_fail(NEXAR_EINVAL, "%s: send and recv overlap; they must be %sapart", ask->call, elsewhere);
}

void nx_ask_vectors(struct nx_ask *ask, const void *send, void *recv, size_t count)
{
    nx_ask_count(ask, count, 1);
    nx_ask_buffer(ask, "send", send, count);
    nx_ask_buffer(ask, "recv", recv, count);
    if (send != recv)
        nx_ask_apart(ask, send, count, recv, count, "the same or ");
    nx_ask_bind(ask, send, recv, send == recv);
    ask->args.result = recv;
    ask->args.results = count;
}

/* --- Blocks of unequal length ------------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
    const struct nx_range *x = a;
    const struct nx_range *y = b;

    return (x->off > y->off) - (x->off < y->off);
}

/* The begin of the first block that does not lie behind those before it, or SIZE_MAX; empty ones lie anywhere. */
static size_t first_too_low(const struct nx_range *blocks, uint32_t n)
{
    size_t end = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (blocks[i].count == 0)
            continue;
        if (blocks[i].off < end)
            return blocks[i].off;
        end = blocks[i].off + blocks[i].count;
    }
    return SIZE_MAX;
}

static void check_disjoint(struct nx_ask *ask, const struct nx_range *blocks)
{
    uint32_t n = ask->shape.n;
    struct nx_range *sorted;
    size_t at;

    if (first_too_low(blocks, n) == SIZE_MAX)
        return;
    sorted = nx_alloc(n * sizeof(*sorted));
    if (sorted == NULL) {
        ask->st = nx_fail(NEXAR_ENOMEM, "%s: no memory to check %u blocks", ask->call, n);
        return;
    }
    memcpy(sorted, blocks, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_place);
    at = first_too_low(sorted, n);
    nx_free(sorted);
    if (at != SIZE_MAX)
        ask->st = nx_fail(NEXAR_EINVAL, "%s: two blocks of recv overlap, at element %zu", ask->call, at);
}

/* Fills in the blocks.  Empty ones may be said to lie anywhere; those that are laid out here stay in order, on which
 * the schedules of reduce_scatter rely.  False if one is beyond what memory can hold. */
static bool lay_out(const struct nx_ask *ask, struct nx_range *blocks, const size_t *counts, const size_t *displs)
{
    size_t limit = PTRDIFF_MAX / ask->args.element;
    size_t total = 0;

    for (uint32_t i = 0; i < ask->shape.n; i++) {
        size_t off = displs != NULL ? displs[i] : total;

        if (counts[i] > limit - total || (counts[i] != 0 && (off > limit || counts[i] > limit - off)))
            return false;
        total += counts[i];
        blocks[i] = (struct nx_range){.off = counts[i] == 0 && displs != NULL ? 0 : off, .count = counts[i]};
    }
    return true;
}

void nx_ask_blocks(struct nx_ask *ask, enum nx_ask_side side, const void *buf, const size_t *counts,
                   const size_t *displs)
{
    const char *what = side == NX_ASK_SEND ? "send" : "recv";
    uint32_t n = ask->shape.n;
    struct nx_range *blocks = ask->few[side];

    if (ask->st != NEXAR_OK)
        return;
    if (counts == NULL) {
        ask->st = nx_fail(NEXAR_EINVAL, "%s: the counts of %s are NULL and should be %u", ask->call, what, n);
        return;
    }
    if (n > NX_ASK_FEW)
        blocks = nx_alloc(n * sizeof(*blocks));
    if (blocks == NULL) {
        ask->st = nx_fail(NEXAR_ENOMEM, "%s: no memory for %u blocks", ask->call, n);
        return;
    }
    ask->blocks[side] = blocks;
    if (side == NX_ASK_SEND)
        ask->shape.send_blocks = blocks;
    else
        ask->shape.recv_blocks = blocks;
    if (!lay_out(ask, blocks, counts, displs)) {
        ask->st = nx_fail(NEXAR_EINVAL, "%s: the blocks of %s end beyond what memory can hold", ask->call, what);
        return;
    }
    nx_ask_buffer(ask, what, buf, nx_ask_extent(ask, side));
    if (ask->st == NEXAR_OK && side == NX_ASK_RECV)
        check_disjoint(ask, blocks);
}

size_t nx_ask_extent(const struct nx_ask *ask, enum nx_ask_side side)
{
    const struct nx_range *blocks = ask->blocks[side];
    size_t end = 0;

    for (uint32_t i = 0; blocks != NULL && i < ask->shape.n; i++)
        end = blocks[i].off + blocks[i].count > end ? blocks[i].off + blocks[i].count : end;
    return end;
}

size_t nx_ask_total(const struct nx_ask *ask, enum nx_ask_side side)
{
    const struct nx_range *blocks = ask->blocks[side];
    size_t total = 0;

    for (uint32_t i = 0; blocks != NULL && i < ask->shape.n; i++)
        total += blocks[i].count;
    return total;
}

/* --- The end ------------------------------------------------------------------------------------------------------ */

static nexar_status run(struct nx_ask *ask, const nexar_call_opts *opts, nexar_op **op_out)
{
    const struct nx_algorithm *algorithm =
        nx_coll_choose(ask->comm, ask->rules, &ask->args.call, ask->elements * ask->args.element);
    struct nx_plan_key key;
    nexar_status st = nx_plan_key_make(&key, algorithm, &ask->shape, ask->args.element);

    if (st != NEXAR_OK) {
        nx_pieces_free(ask->args.pieces);
        return st;
    }
    ask->args.call.algorithm = nx_algorithm_number(algorithm);
    return nx_coll_run(ask->comm, &key, &ask->args, opts, op_out);
}

nexar_status nx_ask_run(struct nx_ask *ask, const nexar_call_opts *opts, nexar_op **op_out)
{
    nexar_status st = ask->st == NEXAR_OK ? run(ask, opts, op_out) : ask->st;

    for (int side = 0; side < 2; side++)
        if (ask->blocks[side] != ask->few[side])
            nx_free(ask->blocks[side]);
    return st;
}
