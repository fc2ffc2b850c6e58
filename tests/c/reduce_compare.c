/* reduce_compare.c - the kernels of a set against the oracle; see reduce_oracle.h. */
#include "reduce_oracle.h"

#include <stdio.h>
#include <string.h>

enum {
    TAILS = 131,
    SHIFTS = 64, /* the widest vector */
    BIG = 8,     /* the largest element */
    ROOM = TAILS * BIG + 2 * SHIFTS,
    RANDOM = 4096,
};

static char text[160];

static const char *fault(const struct nx_reduce_set *set, nexar_reduce_op op, nexar_dtype dtype, const char *what,
                         uint64_t x, uint64_t y)
{
    snprintf(text, sizeof(text), "%s, op %d, dtype %d: %s (%llx, %llx)", set->name, (int)op, (int)dtype, what,
             (unsigned long long)x, (unsigned long long)y);
    return text;
}

/* `count` elements, each of the results with the oracle's. */
static const char *check_values(const struct nx_reduce_set *set, nexar_reduce_op op, nexar_dtype dtype,
                                const unsigned char *x, const unsigned char *y, size_t count)
{
    static unsigned char acc[RANDOM * BIG];
    size_t size = oracle_size(dtype);

    memcpy(acc, x, count * size);
    set->reduce[op][dtype](acc, y, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t a = oracle_load(x + i * size, size);
        uint64_t b = oracle_load(y + i * size, size);

        if (oracle_load(acc + i * size, size) != oracle_reduce(op, dtype, a, b))
            return fault(set, op, dtype, "wrong", a, b);
    }
    return NULL;
}

static const char *check_edges(const struct nx_reduce_set *set, nexar_reduce_op op, nexar_dtype dtype)
{
    static unsigned char x[RANDOM * BIG];
    static unsigned char y[RANDOM * BIG];
    const uint64_t *edges;
    size_t n = oracle_edges(dtype, &edges);
    size_t size = oracle_size(dtype);

    for (size_t i = 0; i < n * n; i++) {
        oracle_store(x + i * size, size, edges[i / n]);
        oracle_store(y + i * size, size, edges[i % n]);
    }
    return check_values(set, op, dtype, x, y, n * n);
}

/* Every number of elements at every distance from alignment gives what the same elements gave above; the operands are
 * at unlike distances. */
static const char *check_places(const struct nx_reduce_set *set, nexar_reduce_op op, nexar_dtype dtype,
                                const unsigned char *x, const unsigned char *y)
{
    static _Alignas(SHIFTS) unsigned char acc[ROOM];
    static _Alignas(SHIFTS) unsigned char in[ROOM];
    unsigned char want[TAILS * BIG];
    size_t size = oracle_size(dtype);

    memcpy(want, x, TAILS * size);
    set->reduce[op][dtype](want, y, TAILS);
    for (size_t shift = 0; shift < SHIFTS; shift++)
        for (size_t count = 0; count < TAILS; count++) {
            size_t in_shift = (7 * shift + 11 * count) % SHIFTS;
            size_t nbytes = count * size;

            memcpy(in + in_shift, y, nbytes);
            memset(acc, 0xa5, shift);
            memcpy(acc + shift, x, nbytes);
            memset(acc + shift + nbytes, 0xa5, SHIFTS);
            set->reduce[op][dtype](acc + shift, in + in_shift, count);
            if (memcmp(acc + shift, want, nbytes) != 0)
                return fault(set, op, dtype, "depends on count or place", count, shift);
            for (size_t i = 0; i < SHIFTS; i++)
                if (acc[shift + nbytes + i] != 0xa5 || (i < shift && acc[i] != 0xa5))
                    return fault(set, op, dtype, "touches what is around", count, shift);
        }
    return NULL;
}

/* acc == in is legal. */
static const char *check_itself(const struct nx_reduce_set *set, nexar_reduce_op op, nexar_dtype dtype,
                                const unsigned char *x)
{
    unsigned char same[TAILS * BIG];
    unsigned char want[TAILS * BIG];
    size_t nbytes = TAILS * oracle_size(dtype);

    memcpy(same, x, nbytes);
    memcpy(want, x, nbytes);
    set->reduce[op][dtype](same, same, TAILS);
    set->reduce[op][dtype](want, x, TAILS);
    return memcmp(same, want, nbytes) != 0 ? fault(set, op, dtype, "acc == in differs", 0, 0) : NULL;
}

static const char *check_avg(const struct nx_reduce_set *set, nexar_dtype dtype, const unsigned char *x)
{
    static const uint32_t ranks[] = {1, 2, 3, 5, 7, 8, 10, 127, 128, 129, 1000, 32768, 65535, 65537, 1 << 20};
    static unsigned char acc[RANDOM * BIG + 1];
    size_t size = oracle_size(dtype);

    for (size_t r = 0; r < sizeof(ranks) / sizeof(ranks[0]); r++)
        for (size_t count = 0; count <= RANDOM; count += count < TAILS ? 1 : RANDOM - TAILS) {
            memcpy(acc + 1, x, RANDOM * size);
            set->avg[dtype](acc + 1, count, ranks[r]);
            for (size_t i = count < TAILS ? 0 : TAILS; i < RANDOM && i < count + TAILS; i++) {
                uint64_t before = oracle_load(x + i * size, size);
                uint64_t want = i < count ? oracle_avg(dtype, before, ranks[r]) : before;

                if (oracle_load(acc + 1 + i * size, size) != want)
                    return fault(set, NEXAR_AVG, dtype, "divides wrong", before, ranks[r]);
            }
        }
    return NULL;
}

static const char *compare(const struct nx_reduce_set *set, nexar_reduce_op op, nexar_dtype dtype, struct rng *rng)
{
    static unsigned char x[RANDOM * BIG];
    static unsigned char y[RANDOM * BIG];
    const char *found;

    if ((set->reduce[op][dtype] != NULL) != oracle_has(op, dtype))
        return fault(set, op, dtype, "is there and should not, or the other way round", 0, 0);
    if (!oracle_has(op, dtype))
        return NULL;
    oracle_fill(rng, x, RANDOM, dtype);
    oracle_fill(rng, y, RANDOM, dtype);
    found = check_edges(set, op, dtype);
    if (found == NULL)
        found = check_values(set, op, dtype, x, y, RANDOM);
    if (found == NULL)
        found = check_places(set, op, dtype, x, y);
    if (found == NULL)
        found = check_itself(set, op, dtype, x);
    if (found == NULL && op == NEXAR_AVG)
        found = check_avg(set, dtype, x);
    return found;
}

const char *oracle_compare(const struct nx_reduce_set *set)
{
    struct rng rng = {1};

    for (size_t op = 0; op < NX_REDUCE_OPS; op++)
        for (size_t dtype = 0; dtype < NX_REDUCE_DTYPES; dtype++) {
            const char *found = compare(set, (nexar_reduce_op)op, (nexar_dtype)dtype, &rng);

            if (found != NULL)
                return found;
        }
    return NULL;
}
