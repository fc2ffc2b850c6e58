/* base/hash.h - intrusive chained hash table.  Nodes live in the objects that are looked up, so nothing but growing
 * needs memory, and where there is none the table stays small and gets slower.  Not thread safe. */
#ifndef NX_BASE_HASH_H
#define NX_BASE_HASH_H

#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nx_hash_node {
    struct nx_hash_node *next;
    uint64_t hash;
};

struct nx_hash {
    struct nx_hash_node **bucket; /* 2^bits; `first` until there is memory for more */
    struct nx_hash_node *first[16];
    uint32_t bits;
    size_t count;
};

/* Mixes one more word into a hash; the finaliser of MurmurHash3 (Appleby, public domain). */
static inline uint64_t nx_hash_mix(uint64_t hash, uint64_t word)
{
    hash ^= word + UINT64_C(0x9e3779b97f4a7c15) + (hash << 6) + (hash >> 2);
    hash ^= hash >> 33;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 33;
    return hash;
}

/* The table must not move: it points into itself. */
static inline void nx_hash_init(struct nx_hash *table)
{
    *table = (struct nx_hash){.bits = 4};
    table->bucket = table->first;
}

static inline void nx_hash_fini(struct nx_hash *table)
{
    if (table->bucket != table->first)
        nx_free(table->bucket);
}

static inline struct nx_hash_node **nx_hash_slot(struct nx_hash *table, uint64_t hash)
{
    return &table->bucket[hash & ((UINT64_C(1) << table->bits) - 1)];
}

static inline void nx_hash_grow(struct nx_hash *table)
{
    struct nx_hash_node **old = table->bucket;
    size_t n = (size_t)1 << table->bits;
    struct nx_hash_node **grown = nx_calloc(2 * n, sizeof(struct nx_hash_node *));

    if (grown == NULL)
        return;
    table->bucket = grown;
    table->bits++;
    for (size_t i = 0; i < n; i++) {
        for (struct nx_hash_node *node = old[i], *next; node != NULL; node = next) {
            struct nx_hash_node **slot = nx_hash_slot(table, node->hash);

            next = node->next;
            node->next = *slot;
            *slot = node;
        }
    }
    if (old != table->first)
        nx_free(old);
}

static inline void nx_hash_insert(struct nx_hash *table, struct nx_hash_node *node, uint64_t hash)
{
    struct nx_hash_node **slot;

    if (table->count >= (size_t)1 << table->bits)
        nx_hash_grow(table);
    slot = nx_hash_slot(table, hash);
    node->hash = hash;
    node->next = *slot;
    *slot = node;
    table->count++;
}

static inline void nx_hash_remove(struct nx_hash *table, struct nx_hash_node *node)
{
    struct nx_hash_node **at = nx_hash_slot(table, node->hash);

    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    table->count--;
}

/* for (node = nx_hash_first(t, h); node != NULL; node = nx_hash_next(node)): all with that hash; compare the keys. */
static inline struct nx_hash_node *nx_hash_from(struct nx_hash_node *node, uint64_t hash)
{
    while (node != NULL && node->hash != hash)
        node = node->next;
    return node;
}

static inline struct nx_hash_node *nx_hash_first(struct nx_hash *table, uint64_t hash)
{
    return nx_hash_from(*nx_hash_slot(table, hash), hash);
}

static inline struct nx_hash_node *nx_hash_next(struct nx_hash_node *node)
{
    return nx_hash_from(node->next, node->hash);
}

/* Walks all nodes: the first of the table, or the one after `node`.  NULL at the end. */
static inline struct nx_hash_node *nx_hash_walk(struct nx_hash *table, struct nx_hash_node *node)
{
    size_t n = (size_t)1 << table->bits, i = 0;

    if (node != NULL) {
        if (node->next != NULL)
            return node->next;
        i = (size_t)(node->hash & (n - 1)) + 1;
    }
    for (; i < n; i++) {
        if (table->bucket[i] != NULL)
            return table->bucket[i];
    }
    return NULL;
}

#endif
