/* comm/iov.c - see iov.h.
 *
 * Owner: the caller; nothing is kept. */
#include "comm/iov.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 16 };

nexar_status nx_iov_check(const char *call, const nexar_iov *iov, size_t n, size_t *total)
{
    *total = 0;
    if (iov == NULL && n != 0)
        return nx_fail(NEXAR_EINVAL, "%s: the list is NULL and should have %zu pieces", call, n);
    if (n > PTRDIFF_MAX / sizeof(*iov))
        return nx_fail(NEXAR_EINVAL, "%s: no list has %zu pieces", call, n);
    for (size_t i = 0; i < n; i++) {
        if (iov[i].base == NULL && iov[i].nbytes != 0)
            return nx_fail(NEXAR_EINVAL, "%s: piece %zu is NULL and should have %zu bytes", call, i, iov[i].nbytes);
        if (iov[i].nbytes > PTRDIFF_MAX - *total)
            return nx_fail(NEXAR_EINVAL, "%s: %zu pieces are more than memory can hold", call, n);
        *total += iov[i].nbytes;
    }
    return NEXAR_OK;
}

static int by_address(const void *a, const void *b)
{
    const nexar_iov *x = a, *y = b;

    return ((uintptr_t)x->base > (uintptr_t)y->base) - ((uintptr_t)x->base < (uintptr_t)y->base);
}

/* They are sorted by address. */
static bool are_apart(const nexar_iov *sorted, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if ((uintptr_t)sorted[i].base - (uintptr_t)sorted[i - 1].base < sorted[i - 1].nbytes)
            return false;
    }
    return true;
}

nexar_status nx_iov_apart(const char *call, const nexar_iov *iov, size_t n)
{
    nexar_iov few[FEW], *sorted = n > FEW ? nx_alloc(n * sizeof(*sorted)) : few;
    size_t count;
    bool apart;

    if (sorted == NULL)
        return nx_fail(NEXAR_ENOMEM, "%s: no memory for a list of %zu pieces", call, n);
    count = nx_iov_pack(iov, n, sorted, n);
    qsort(sorted, count, sizeof(*sorted), by_address);
    apart = are_apart(sorted, count);
    if (sorted != few)
        nx_free(sorted);
    return apart ? NEXAR_OK : nx_fail(NEXAR_EINVAL, "%s: two pieces of memory overlap; they must be apart", call);
}

size_t nx_iov_pack(const nexar_iov *iov, size_t n, nexar_iov *out, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        if (iov[i].nbytes == 0)
            continue;
        if (count < max)
            out[count] = iov[i];
        count++;
    }
    return count;
}

void nx_iov_gather(const nexar_iov *iov, size_t n, void *to)
{
    unsigned char *at = to;

    for (size_t i = 0; i < n; i++) {
        if (iov[i].nbytes != 0)
            memcpy(at, iov[i].base, iov[i].nbytes);
        at += iov[i].nbytes;
    }
}
