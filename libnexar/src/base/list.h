/* base/list.h - intrusive doubly linked list with a head node. */
#ifndef NX_BASE_LIST_H
#define NX_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct nx_list {
    struct nx_list *next, *prev;
};

#define nx_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walks a list whose items may be removed on the way. */
#define nx_list_for_each_safe(pos, tmp, head) \
    for (struct nx_list *pos = (head)->next, *tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)

static inline void nx_list_init(struct nx_list *l)
{
    l->next = l->prev = l;
}

/* An item knows whether it is in a list only if it was initialised and is removed with nx_list_remove. */
static inline bool nx_list_empty(const struct nx_list *l)
{
    return l->next == l;
}

static inline void nx_list_insert_before(struct nx_list *at, struct nx_list *item)
{
    item->next = at;
    item->prev = at->prev;
    at->prev->next = item;
    at->prev = item;
}

static inline void nx_list_push_back(struct nx_list *head, struct nx_list *item)
{
    nx_list_insert_before(head, item);
}

static inline void nx_list_push_front(struct nx_list *head, struct nx_list *item)
{
    nx_list_insert_before(head->next, item);
}

static inline void nx_list_remove(struct nx_list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    nx_list_init(item);
}

/* The first item, removed; NULL if there is none. */
static inline struct nx_list *nx_list_pop(struct nx_list *head)
{
    struct nx_list *item = head->next;

    if (item == head)
        return NULL;
    nx_list_remove(item);
    return item;
}

/* Moves all items of `from` to the end of `to`. */
static inline void nx_list_splice(struct nx_list *to, struct nx_list *from)
{
    if (nx_list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    nx_list_init(from);
}

#endif
