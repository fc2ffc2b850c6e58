/* coll/pieces.c - see pieces.h.
 *
 * Owner: the caller's thread makes it, the thread that runs the operation uses it.  It does not know buckets. */
#include "coll/pieces.h"

#include "base/mem.h"
#include "base/status.h"
#include "coll/build.h"
#include "math/reduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nexar_status check_vector(const char *call, const nexar_vector *v, size_t i, nexar_reduce_op op)
{
    char where[64];
    size_t size = nexar_dtype_size(v->dtype);
    nexar_status st;

    snprintf(where, sizeof(where), "%s: array %zu", call, i);
    st = nx_reduce_check(where, op, v->dtype);
    if (st != NEXAR_OK)
        return st;
    if (v->count > PTRDIFF_MAX / size)
        return nx_fail(NEXAR_EINVAL, "%s has %zu elements of %zu bytes, more than memory can hold", where, v->count,
                       size);
    if (v->reserved != 0)
        return nx_fail(NEXAR_EINVAL, "%s: reserved is %u; it must be 0", where, v->reserved);
    if (v->base == NULL && v->count != 0)
        return nx_fail(NEXAR_EINVAL, "%s is NULL and should have %zu elements", where, v->count);
    return NEXAR_OK;
}

static int by_address(const void *a, const void *b)
{
    const struct nx_piece *x = a;
    const struct nx_piece *y = b;

    return ((uintptr_t)x->base > (uintptr_t)y->base) - ((uintptr_t)x->base < (uintptr_t)y->base);
}

/* Sorts them by address, and sees whether one reaches into the next. */
static nexar_status check_apart(const char *call, struct nx_pieces *p)
{
    qsort(p->piece, p->count, sizeof(p->piece[0]), by_address);
    for (size_t i = 1; i < p->count; i++) {
        if ((uintptr_t)p->piece[i].base - (uintptr_t)p->piece[i - 1].base < p->piece[i - 1].nbytes)
            return nx_fail(NEXAR_EINVAL, "%s: array %zu and array %zu overlap; they must be apart", call,
                           p->piece[i - 1].off, p->piece[i].off);
    }
    return NEXAR_OK;
}

/* By type, each type's in the order of the list. */
static void put_in_order(struct nx_pieces *p, const nexar_vector *vectors, size_t n, size_t *bytes)
{
    size_t off = 0;

    p->count = 0;
    for (int type = 0; type < NX_TYPES; type++) {
        size_t begin = off;

        for (size_t i = 0; i < n; i++) {
            const nexar_vector *v = &vectors[i];

            if ((int)v->dtype != type || v->count == 0)
                continue;
            p->piece[p->count++] = (struct nx_piece){
                .base = v->base, .nbytes = v->count * nexar_dtype_size(v->dtype), .off = off, .dtype = v->dtype};
            off += p->piece[p->count - 1].nbytes;
        }
        bytes[type] = off - begin;
    }
}

nexar_status nx_pieces_make(const char *call, const nexar_vector *vectors, size_t n, nexar_reduce_op op, size_t *bytes,
                            size_t *total, struct nx_pieces **out)
{
    struct nx_pieces *p;
    nexar_status st = NEXAR_OK;

    *out = NULL;
    *total = 0;
    if (vectors == NULL && n != 0)
        return nx_fail(NEXAR_EINVAL, "%s: the list of arrays is NULL and should have %zu", call, n);
    p = n > (PTRDIFF_MAX - sizeof(*p)) / sizeof(p->piece[0]) ? NULL : nx_alloc(sizeof(*p) + n * sizeof(p->piece[0]));
    if (p == NULL)
        return nx_fail(NEXAR_ENOMEM, "%s: no memory for a list of %zu arrays", call, n);
    p->count = 0;
    for (size_t i = 0; i < n && st == NEXAR_OK; i++) {
        size_t nbytes;

        st = check_vector(call, &vectors[i], i, op);
        nbytes = st == NEXAR_OK ? vectors[i].count * nexar_dtype_size(vectors[i].dtype) : 0;
        if (nbytes > PTRDIFF_MAX - *total)
            st = nx_fail(NEXAR_EINVAL, "%s: %zu arrays are more than memory can hold", call, n);
        *total += nbytes;
        if (nbytes != 0)
            p->piece[p->count++] = (struct nx_piece){.base = vectors[i].base, .nbytes = nbytes, .off = i};
    }
    if (st == NEXAR_OK)
        st = check_apart(call, p);
    if (st != NEXAR_OK) {
        nx_free(p);
        return st;
    }
    put_in_order(p, vectors, n, bytes);
    *out = p;
    return NEXAR_OK;
}

void nx_pieces_free(struct nx_pieces *pieces)
{
    nx_free(pieces);
}

/* The piece that has the byte `off`; there is one. */
static size_t find(const struct nx_pieces *p, size_t off)
{
    size_t low = 0, high = p->count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (p->piece[middle].off <= off)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void copy(const struct nx_pieces *p, size_t off, unsigned char *mine, size_t nbytes, bool gather)
{
    size_t i = nbytes == 0 ? 0 : find(p, off);

    for (size_t done = 0; done < nbytes; i++) {
        size_t at = off + done - p->piece[i].off;
        size_t n = p->piece[i].nbytes - at < nbytes - done ? p->piece[i].nbytes - at : nbytes - done;

        memcpy(gather ? mine + done : p->piece[i].base + at, gather ? p->piece[i].base + at : mine + done, n);
        done += n;
    }
}

void nx_pieces_gather(const struct nx_pieces *pieces, size_t off, void *to, size_t nbytes)
{
    copy(pieces, off, to, nbytes, true);
}

void nx_pieces_scatter(const struct nx_pieces *pieces, size_t off, const void *from, size_t nbytes)
{
    copy(pieces, off, (void *)(uintptr_t)from, nbytes, false);
}

void nx_pieces_finish(const struct nx_pieces *pieces, nexar_reduce_op op, uint32_t ranks)
{
    for (size_t i = 0; i < pieces->count; i++) {
        const struct nx_piece *piece = &pieces->piece[i];
        nx_reduce_finish_fn finish = nx_reduce_finish(op, piece->dtype);

        if (finish != NULL)
            finish(piece->base, piece->nbytes / nexar_dtype_size(piece->dtype), ranks);
    }
}
