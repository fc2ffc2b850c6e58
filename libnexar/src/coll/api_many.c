/* coll/api_many.c - the public all_reduces of other shapes: in fewer bytes, and of many arrays; arguments checked,
 * handed on.
 *
 * Owner: any thread. */
#include "base/hash.h"
#include "coll/ask.h"

/* The all_reduce of which it consists, for vectors of so many bytes. */
static void choose_inner(struct nx_ask *ask, size_t nbytes)
{
    const struct nx_algorithm *inner =
        nx_select_algorithm(ask->comm->select, NX_COLL_ALL_REDUCE, ask->shape.n, nbytes, ask->comm->where);

    ask->shape.inner = inner->build;
    ask->shape.inner_segment = inner->segment;
}

/* ---- in fewer bytes ---- */

enum { BLOCK = 256 };

static nexar_status check_kind(const struct nx_ask *ask, const nexar_compression *c, nexar_dtype dtype,
                               nexar_reduce_op op)
{
    if (c == NULL || c->size != sizeof(*c))
        return nx_fail(NEXAR_EINVAL, "%s: the compression is NULL, or its size is not set", ask->call);
    if (c->kind < NEXAR_COMPRESS_BFLOAT16 || c->kind > NEXAR_COMPRESS_RANDOM_K)
        return nx_fail(NEXAR_EINVAL, "%s: %d is no kind of compression", ask->call, (int)c->kind);
    if (dtype != NEXAR_FLOAT32 || (op != NEXAR_SUM && op != NEXAR_AVG))
        return nx_fail(NEXAR_EINVAL, "%s: %s of %s cannot be compressed; sum and avg of float32 can", ask->call,
                       nexar_reduce_op_name(op), nexar_dtype_name(dtype));
    return NEXAR_OK;
}

static nexar_status check_parameters(const struct nx_ask *ask, const nexar_compression *c, size_t count)
{
    bool sparse = c->kind == NEXAR_COMPRESS_TOP_K || c->kind == NEXAR_COMPRESS_RANDOM_K;
    bool scaled = c->kind == NEXAR_COMPRESS_FLOAT8 || c->kind == NEXAR_COMPRESS_INT8;
    bool seeded = c->kind == NEXAR_COMPRESS_RANDOM_K;

    if (c->reserved != 0)
        return nx_fail(NEXAR_EINVAL, "%s: reserved is %u; it must be 0", ask->call, c->reserved);
    if (!scaled && c->block != 0)
        return nx_fail(NEXAR_EINVAL, "%s: block is for float8 and int8", ask->call);
    if (c->block % 4 != 0)
        return nx_fail(NEXAR_EINVAL, "%s: block is %u; it must be a multiple of 4", ask->call, c->block);
    if (!sparse && (c->k != 0 || c->residual != NULL))
        return nx_fail(NEXAR_EINVAL, "%s: k and residual are for top_k and random_k", ask->call);
    if (!seeded && (c->seed != 0 || c->step != 0))
        return nx_fail(NEXAR_EINVAL, "%s: seed and step are for random_k", ask->call);
    if (sparse && (c->k > count || (c->k == 0 && count != 0)))
        return nx_fail(NEXAR_EINVAL, "%s: k is %llu; it must be 1 to %zu, the number of elements", ask->call,
                       (unsigned long long)c->k, count);
    if (sparse && c->k > (PTRDIFF_MAX / sizeof(float) - count) / (3 * (NX_PEERS_AT_ONCE + 1)))
        return nx_fail(NEXAR_EINVAL, "%s: %llu elements of each rank are more than memory can hold", ask->call,
                       (unsigned long long)c->k);
    return NEXAR_OK;
}

/* The residual is read and written while the others are. */
static void check_residual(struct nx_ask *ask, const void *residual, const void *other, const char *name, size_t count)
{
    uintptr_t a = (uintptr_t)residual, b = (uintptr_t)other;

    if (nx_ask_ok(ask) && residual != NULL && (a < b ? b - a : a - b) < count * sizeof(float))
        ask->st = nx_fail(NEXAR_EINVAL, "%s: residual and %s overlap; they must be apart", ask->call, name);
}

/* What all ranks must have alike, in 32 bits. */
static uint32_t digest(const struct nx_compress *c, uint64_t turn)
{
    uint64_t hash = nx_hash_mix(nx_hash_mix(c->block, c->k), c->kind == NEXAR_COMPRESS_RANDOM_K ? turn : 0);

    return (uint32_t)c->kind << 24 | (uint32_t)(hash & 0xffffff);
}

static void compress(struct nx_ask *ask, const nexar_compression *c, size_t count)
{
    bool scaled = c->kind == NEXAR_COMPRESS_FLOAT8 || c->kind == NEXAR_COMPRESS_INT8;

    ask->shape.compress = (struct nx_compress){.kind = c->kind,
                                               .block = scaled && c->block == 0 ? BLOCK : c->block,
                                               .k = (size_t)c->k,
                                               .feedback = c->residual != NULL};
    ask->args.residual = c->residual;
    ask->args.turn = nx_compress_turn(c->seed, c->step);
    ask->args.call.root = digest(&ask->shape.compress, ask->args.turn);
    check_residual(ask, c->residual, ask->args.send, "send", count);
    check_residual(ask, c->residual, ask->args.recv, "recv", count);
    choose_inner(ask, nx_mul_capped(c->k, sizeof(float)));
}

nexar_status nexar_all_reduce_compressed(nexar_comm *comm, const void *send, void *recv, size_t count,
                                         nexar_dtype dtype, nexar_reduce_op op, const nexar_compression *compression,
                                         const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_ALL_REDUCE_COMPRESSED, op_out);
    nx_ask_reduction(&ask, dtype, op);
    if (nx_ask_ok(&ask))
        ask.st = check_kind(&ask, compression, dtype, op);
    nx_ask_vectors(&ask, send, recv, count);
    if (nx_ask_ok(&ask))
        ask.st = check_parameters(&ask, compression, count);
    if (nx_ask_ok(&ask))
        compress(&ask, compression, count);
    return nx_ask_run(&ask, opts, op_out);
}

/* ---- many at once ---- */

static uint32_t digest_of_list(const nexar_vector *vectors, size_t n)
{
    uint64_t all = n;

    for (size_t i = 0; i < n; i++)
        all = nx_hash_mix(nx_hash_mix(all, (uint64_t)vectors[i].dtype), vectors[i].count);
    return (uint32_t)(all ^ all >> 32);
}

nexar_status nexar_all_reduce_bucketed(nexar_comm *comm, const nexar_vector *vectors, size_t n, nexar_reduce_op op,
                                       const nexar_call_opts *opts, nexar_op **op_out)
{
    size_t bytes[NX_TYPES] = {0}, longest = 0;
    struct nx_pieces *pieces = NULL;
    struct nx_ask ask;

    nx_ask_begin(&ask, comm, NX_COLL_ALL_REDUCE_BUCKETED, op_out);
    if (nx_ask_ok(&ask))
        ask.st = nx_reduce_check(ask.call, op, NEXAR_INT8); /* which has them all */
    if (nx_ask_ok(&ask))
        ask.st = nx_pieces_make(ask.call, vectors, n, op, bytes, &ask.elements, &pieces);
    if (!nx_ask_ok(&ask))
        return ask.st;
    for (int type = 0; type < NX_TYPES; type++)
        longest = bytes[type] > longest ? bytes[type] : longest;
    ask.args.call.op = op;
    ask.args.call.root = digest_of_list(vectors, n);
    ask.args.count = ask.shape.count = ask.elements;
    ask.args.pieces = pieces;
    ask.shape.bytes = bytes;
    choose_inner(&ask, longest);
    nx_ask_bind(&ask, pieces, pieces, true);
    return nx_ask_run(&ask, opts, op_out);
}
