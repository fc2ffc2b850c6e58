/* math/reduce.c - chooses a kernel, and feeds one with bytes that come in pieces.
 *
 * Owner: whoever owns the stream; the tables are constant.  It does not reduce anything itself. */
#include "math/reduce.h"

#include "base/cpu.h"
#include "math/reduce_table.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

nx_reduce_fn nx_reduce_kernel(nexar_reduce_op op, nexar_dtype dtype)
{
    nx_reduce_fn fn = NULL;

    if ((size_t)op >= NX_REDUCE_OPS || (size_t)dtype >= NX_REDUCE_DTYPES)
        return NULL;
    if (nx_cpu_has(NX_CPU_AVX2))
        fn = nx_reduce_avx2[op][dtype];
    return fn != NULL ? fn : nx_reduce_scalar[op][dtype];
}

/* Appends to a text that is cut at `cap`. */
static void append(char *text, size_t cap, const char *first, const char *name, bool *any)
{
    size_t at = strlen(text);

    snprintf(text + at, cap - at, "%s%s", *any ? ", " : first, name);
    *any = true;
}

static bool takes_any(size_t dtype)
{
    for (size_t op = 0; op < NX_REDUCE_OPS; op++)
        if (nx_reduce_scalar[op][dtype] != NULL)
            return true;
    return false;
}

void nx_reduce_supported(nexar_dtype dtype, char *text, size_t cap)
{
    bool any = false;

    if (cap == 0)
        return;
    snprintf(text, cap, "%s", nexar_dtype_name(dtype));
    if ((size_t)dtype < NX_REDUCE_DTYPES && takes_any(dtype)) {
        for (size_t op = 0; op < NX_REDUCE_OPS; op++)
            if (nx_reduce_scalar[op][dtype] != NULL)
                append(text, cap, " takes ", nexar_reduce_op_name((nexar_reduce_op)op), &any);
        return;
    }
    for (size_t i = 0; i < NX_REDUCE_DTYPES; i++)
        if (takes_any(i))
            append(text, cap, " is not reduced; ", nexar_dtype_name((nexar_dtype)i), &any);
    snprintf(text + strlen(text), cap - strlen(text), " are");
}

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
