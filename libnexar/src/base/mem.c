/* base/mem.c - malloc with counters and fault injection.
 *
 * Owner: any thread; the counters are atomic.  Each block carries its size in front, so that live bytes are exact.  It
 * sets no limits: every queue and table that can grow takes its own at init. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Keeps what follows aligned for any type. */
#define HEAD 16

static _Atomic uint64_t allocations, blocks, bytes, fail_at;

static int must_fail(void)
{
    uint64_t left = atomic_load_explicit(&fail_at, memory_order_relaxed);

    while (left != 0) {
        if (atomic_compare_exchange_weak_explicit(&fail_at, &left, left - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return left == 1;
    }
    return 0;
}

static void *wrap(char *block, size_t size)
{
    if (block == NULL)
        return NULL;
    memcpy(block, &size, sizeof(size));
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bytes, size, memory_order_relaxed);
    return block + HEAD;
}

static size_t size_of(void *p)
{
    size_t size;

    memcpy(&size, (char *)p - HEAD, sizeof(size));
    return size;
}

static void uncount(size_t size)
{
    atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&bytes, size, memory_order_relaxed);
}

void *nx_alloc(size_t size)
{
    if (must_fail() || size > SIZE_MAX - HEAD)
        return NULL;
    return wrap(malloc(size + HEAD), size);
}

void *nx_calloc(size_t count, size_t size)
{
    size_t total;

    if (must_fail() || __builtin_mul_overflow(count, size, &total) || total > SIZE_MAX - HEAD)
        return NULL;
    return wrap(calloc(1, total + HEAD), total);
}

void *nx_realloc(void *p, size_t size)
{
    size_t old;
    char *block;

    if (p == NULL)
        return nx_alloc(size);
    if (must_fail() || size > SIZE_MAX - HEAD)
        return NULL;
    old = size_of(p);
    block = realloc((char *)p - HEAD, size + HEAD);
    if (block == NULL)
        return NULL;
    uncount(old);
    return wrap(block, size);
}

char *nx_strdup(const char *text)
{
    size_t size;
    char *copy;

    if (text == NULL)
        return NULL;
    size = strlen(text) + 1;
    copy = nx_alloc(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

void nx_free(void *p)
{
    if (p == NULL)
        return;
    uncount(size_of(p));
    free((char *)p - HEAD);
}

void nx_free_secret(void *p)
{
    if (p == NULL)
        return;
    explicit_bzero(p, size_of(p));
    nx_free(p);
}

void nx_mem_stats(struct nx_mem_stats *out)
{
    out->allocations = atomic_load_explicit(&allocations, memory_order_relaxed);
    out->blocks = atomic_load_explicit(&blocks, memory_order_relaxed);
    out->bytes = atomic_load_explicit(&bytes, memory_order_relaxed);
}

void nx_mem_fail_at(uint64_t nth)
{
    atomic_store_explicit(&fail_at, nth, memory_order_relaxed);
}
