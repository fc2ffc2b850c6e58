/* base/heap.h - intrusive pairing heap of timers by time: needs no memory, so setting a timer cannot fail.
 * (Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, 1986.)  Not thread safe. */
#ifndef NX_BASE_HEAP_H
#define NX_BASE_HEAP_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>

struct nx_heap_node {
    nx_time at;
    struct nx_heap_node *child, *next, *prev; /* prev: the elder sibling, or the parent of an eldest child */
};

static inline struct nx_heap_node *nx_heap_merge(struct nx_heap_node *a, struct nx_heap_node *b)
{
    if (a == NULL)
        return b;
    if (b == NULL)
        return a;
    if (b->at < a->at) {
        struct nx_heap_node *c = a;
        a = b;
        b = c;
    }
    b->next = a->child;
    b->prev = a;
    if (a->child != NULL)
        a->child->prev = b;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

static inline struct nx_heap_node *nx_heap_insert(struct nx_heap_node *root, struct nx_heap_node *node)
{
    node->child = node->next = node->prev = NULL;
    return nx_heap_merge(root, node);
}

/* Merges a list of siblings: in pairs from the left, then from the right. */
static inline struct nx_heap_node *nx_heap_merge_pairs(struct nx_heap_node *first)
{
    struct nx_heap_node *pairs = NULL, *root = NULL;

    while (first != NULL) {
        struct nx_heap_node *a = first, *b = a->next;

        first = b == NULL ? NULL : b->next;
        a->next = a->prev = NULL;
        if (b != NULL)
            b->next = b->prev = NULL;
        a = nx_heap_merge(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        struct nx_heap_node *next = pairs->next;

        pairs->next = NULL;
        root = nx_heap_merge(root, pairs);
        pairs = next;
    }
    return root;
}

static inline struct nx_heap_node *nx_heap_remove(struct nx_heap_node *root, struct nx_heap_node *node)
{
    struct nx_heap_node *rest = nx_heap_merge_pairs(node->child);

    node->child = NULL;
    if (node == root)
        return rest;
    if (node->prev->child == node)
        node->prev->child = node->next;
    else
        node->prev->next = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    node->next = node->prev = NULL;
    return nx_heap_merge(root, rest);
}

#endif
