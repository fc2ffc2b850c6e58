/* base/mem.h - all memory of the library: counted, and made to fail on demand by the tests. */
#ifndef NX_BASE_MEM_H
#define NX_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

struct nx_mem_stats {
    uint64_t allocations; /* calls that gave memory, ever */
    uint64_t blocks;      /* live */
    uint64_t bytes;       /* live */
};

/* NULL when memory is short; contents undefined. */
void *nx_alloc(size_t size);
/* Zeroed. NULL also when count * size overflows. */
void *nx_calloc(size_t count, size_t size);
/* Grows or shrinks; on failure NULL and `p` is as before. */
void *nx_realloc(void *p, size_t size);
/* A copy of a string; NULL for NULL. */
char *nx_strdup(const char *text);
void nx_free(void *p);
/* Overwrites before freeing: for secrets. */
void nx_free_secret(void *p);

void nx_mem_stats(struct nx_mem_stats *out);

/* Tests: the allocation number `nth` from now (1 = the next) fails, once.  0: none. */
void nx_mem_fail_at(uint64_t nth);

#endif
