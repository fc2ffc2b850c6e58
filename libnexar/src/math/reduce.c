/* math/reduce.c - says which reductions exist, chooses kernels, and feeds one with bytes that come in pieces.
 *
 * Owner: whoever owns the stream; the tables are constant.  It does not reduce anything itself. */
#include "math/reduce.h"

#include "base/cpu.h"
#include "base/status.h"
#include "math/reduce_table.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- which kernel ---- */

const struct nx_reduce_set *nx_reduce_choose(uint32_t features)
{
    const struct nx_reduce_set *const sets[] = {nx_reduce_avx512, nx_reduce_avx2, nx_reduce_neon};

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        if (sets[i] != NULL && (sets[i]->needs & ~features) == 0)
            return sets[i];
    }
    return &nx_reduce_scalar;
}

/* Once per process: whoever comes at the same time finds the same. */
static const struct nx_reduce_set *chosen(void)
{
    static _Atomic(const struct nx_reduce_set *) known;
    const struct nx_reduce_set *set = atomic_load_explicit(&known, memory_order_relaxed);

    if (set == NULL) {
        set = nx_reduce_choose(nx_cpu_features());
        atomic_store_explicit(&known, set, memory_order_relaxed);
    }
    return set;
}

nx_reduce_fn nx_reduce_kernel(nexar_reduce_op op, nexar_dtype dtype)
{
    if ((size_t)op >= NX_REDUCE_OPS || (size_t)dtype >= NX_REDUCE_DTYPES)
        return NULL;
    return chosen()->reduce[op][dtype];
}

nx_reduce_finish_fn nx_reduce_finish(nexar_reduce_op op, nexar_dtype dtype)
{
    if (op != NEXAR_AVG || (size_t)dtype >= NX_REDUCE_DTYPES)
        return NULL;
    return chosen()->avg[dtype];
}

/* ---- which pairs ---- */

enum { TEXT = 160 };

/* Appends to a list that is cut at TEXT. */
static void append(char *text, const char *name)
{
    size_t at = strlen(text);

    snprintf(text + at, TEXT - at, "%s%s", at == 0 ? "" : ", ", name);
}

bool nx_reduce_any_order(nexar_reduce_op op, nexar_dtype dtype)
{
    bool is_float =
        dtype == NEXAR_FLOAT32 || dtype == NEXAR_FLOAT64 || dtype == NEXAR_FLOAT16 || dtype == NEXAR_BFLOAT16;

    return !is_float || op == NEXAR_MIN || op == NEXAR_MAX;
}

nexar_status nx_reduce_check(const char *call, nexar_reduce_op op, nexar_dtype dtype)
{
    char ops[TEXT] = "";
    char dtypes[TEXT] = "";

    if ((size_t)dtype >= NX_REDUCE_DTYPES)
        return nx_fail(NEXAR_EINVAL, "%s: %d is not a data type", call, (int)dtype);
    if ((size_t)op >= NX_REDUCE_OPS)
        return nx_fail(NEXAR_EINVAL, "%s: %d is not a reduction operator", call, (int)op);
    if (nx_reduce_scalar.reduce[op][dtype] != NULL)
        return NEXAR_OK;
    for (size_t i = 0; i < NX_REDUCE_OPS; i++) {
        if (nx_reduce_scalar.reduce[i][dtype] != NULL)
            append(ops, nexar_reduce_op_name((nexar_reduce_op)i));
    }
    for (size_t i = 0; i < NX_REDUCE_DTYPES; i++) {
        if (nx_reduce_scalar.reduce[op][i] != NULL)
            append(dtypes, nexar_dtype_name((nexar_dtype)i));
    }
    return nx_fail(NEXAR_EINVAL, "%s: %s of %s does not exist; %s takes %s, and %s is for %s", call,
                   nexar_reduce_op_name(op), nexar_dtype_name(dtype), nexar_dtype_name(dtype), ops,
                   nexar_reduce_op_name(op), dtypes);
}

/* ---- in pieces ---- */

void nx_reduce_stream_init(struct nx_reduce_stream *stream, nx_reduce_fn fn, size_t size, void *acc, size_t count)
{
    assert(size <= sizeof(stream->carry));
    *stream = (struct nx_reduce_stream){.fn = fn, .acc = acc, .left = count * size, .size = size};
}

static void reduce(struct nx_reduce_stream *stream, const unsigned char *in, size_t count)
{
    stream->fn(stream->acc, in, count);
    stream->acc += count * stream->size;
}

bool nx_reduce_feed(struct nx_reduce_stream *stream, const void *piece, size_t nbytes)
{
    const unsigned char *in = piece;
    size_t whole;

    if (nbytes > stream->left)
        return false;
    stream->left -= nbytes;
    if (stream->carried != 0) {
        size_t missing = stream->size - stream->carried;
        size_t n = nbytes < missing ? nbytes : missing;

        if (n != 0)
            memcpy(stream->carry + stream->carried, in, n);
        stream->carried += n;
        if (stream->carried < stream->size)
            return true;
        reduce(stream, stream->carry, 1);
        stream->carried = 0;
        in += n;
        nbytes -= n;
    }
    whole = nbytes / stream->size;
    if (whole != 0)
        reduce(stream, in, whole);
    stream->carried = nbytes - whole * stream->size;
    if (stream->carried != 0)
        memcpy(stream->carry, in + whole * stream->size, stream->carried);
    return true;
}
