/* cases.c - the work: how each case is called, and what its result must be.
 *
 * Owner: the main thread of each rank.  Element i of rank r's vector is i modulo 1021, plus r: sums are exact, and a
 * block in the wrong place shows.  Nothing here measures. */
#include "face.h"

#include <string.h>

static float element(uint32_t rank, size_t i)
{
    return (float)(i % 1021 + rank);
}

/* Of the first `ranks` ranks' elements. */
static float sum(uint32_t ranks, size_t i)
{
    return (float)(i % 1021 * ranks + (size_t)ranks * (ranks - 1) / 2);
}

static double bus_whole(uint32_t ranks)
{
    (void)ranks;
    return 1;
}

static double bus_blocks(uint32_t ranks)
{
    return (double)(ranks - 1) / ranks;
}

static double bus_twice(uint32_t ranks)
{
    return 2 * bus_blocks(ranks);
}

static size_t whole(const struct work *w, uint32_t root)
{
    (void)root;
    return w->count;
}

static size_t one_block(const struct work *w, uint32_t root)
{
    (void)root;
    return w->block;
}

static size_t whole_at_root(const struct work *w, uint32_t root)
{
    return w->rank == root ? w->count : 0;
}

static size_t nothing(const struct work *w, uint32_t root)
{
    (void)w;
    (void)root;
    return 0;
}

static float sum_of_all(const struct work *w, uint32_t root, size_t i)
{
    (void)root;
    return sum(w->size, i);
}

static float of_root(const struct work *w, uint32_t root, size_t i)
{
    (void)w;
    return element(root, i);
}

/* Block r is the beginning of rank r's x. */
static float of_each(const struct work *w, uint32_t root, size_t i)
{
    (void)root;
    return element((uint32_t)(i / w->block), i % w->block);
}

static float own_block_of_sum(const struct work *w, uint32_t root, size_t i)
{
    (void)root;
    return sum(w->size, w->rank * w->block + i);
}

static float own_block_of_each(const struct work *w, uint32_t root, size_t i)
{
    (void)root;
    return element((uint32_t)(i / w->block), w->rank * w->block + i % w->block);
}

static float own_block_of_root(const struct work *w, uint32_t root, size_t i)
{
    return element(root, w->rank * w->block + i);
}

static float sum_up_to_here(const struct work *w, uint32_t root, size_t i)
{
    (void)root;
    return sum(w->rank + 1, i);
}

static float of_the_other(const struct work *w, uint32_t root, size_t i)
{
    (void)root;
    return element(1 - w->rank, i);
}

static size_t whole_of_pair(const struct work *w, uint32_t root)
{
    (void)root;
    return w->rank < 2 ? w->count : 0;
}

static size_t whole_of_second(const struct work *w, uint32_t root)
{
    (void)root;
    return w->rank == 1 ? w->count : 0;
}

/* CASE(name): whether the face has the function, and the call. */
#define CASE(name, ...)                                  \
    static bool there_##name(void)                       \
    {                                                    \
        return face.name != NULL;                        \
    }                                                    \
    static void go_##name(struct work *w, uint32_t root) \
    {                                                    \
        (void)w;                                         \
        (void)root;                                      \
        face.name(__VA_ARGS__);                          \
    }

CASE(all_reduce, w->x, w->count)
CASE(broadcast, w->x, w->count, root)
CASE(reduce, w->x, w->y, w->count, root)
CASE(all_gather, w->x, w->y, w->block)
CASE(reduce_scatter, w->x, w->y, w->block)
CASE(all_to_all, w->x, w->y, w->block)
CASE(gather, w->x, w->y, w->block, root)
CASE(scatter, w->x, w->y, w->block, root)
CASE(scan, w->x, w->y, w->count)
static bool there_barrier(void)
{
    return face.barrier != NULL;
}

static void go_barrier(struct work *w, uint32_t root)
{
    (void)w;
    (void)root;
    face.barrier();
}

static bool there_messages(void)
{
    return face.send != NULL && face.recv != NULL;
}

static void there_and_back(struct work *w, uint32_t root)
{
    (void)root;
    if (w->rank == 0) {
        face.send(w->x, w->count, 1);
        face.recv(w->y, w->count, 1);
    } else if (w->rank == 1) {
        face.recv(w->y, w->count, 0);
        face.send(w->x, w->count, 0);
    }
}

static void one_way(struct work *w, uint32_t root)
{
    (void)root;
    if (w->rank == 0)
        face.send(w->x, w->count, 1);
    else if (w->rank == 1)
        face.recv(w->y, w->count, 0);
}

/* A stream is over when the receiver says so. */
static void answer(struct work *w)
{
    float none[2] = {0, 0};

    if (w->rank == 0)
        face.recv(none, 2, 1);
    else if (w->rank == 1)
        face.send(none, 2, 0);
}

#define COLLECTIVE(called) .name = #called, .share = 1, .there = there_##called, .go = go_##called

static const struct face_case cases[] = {
    {COLLECTIVE(all_reduce), .in_x = true, .bus = bus_twice, .length = whole, .expected = sum_of_all},
    {COLLECTIVE(broadcast), .in_x = true, .bus = bus_whole, .length = whole, .expected = of_root},
    {COLLECTIVE(reduce), .bus = bus_whole, .length = whole_at_root, .expected = sum_of_all},
    {COLLECTIVE(all_gather), .blocks = true, .bus = bus_blocks, .length = whole, .expected = of_each},
    {COLLECTIVE(reduce_scatter), .blocks = true, .bus = bus_blocks, .length = one_block, .expected = own_block_of_sum},
    {COLLECTIVE(all_to_all), .blocks = true, .bus = bus_blocks, .length = whole, .expected = own_block_of_each},
    {COLLECTIVE(gather), .blocks = true, .bus = bus_blocks, .length = whole_at_root, .expected = of_each},
    {COLLECTIVE(scatter), .blocks = true, .bus = bus_blocks, .length = one_block, .expected = own_block_of_root},
    {COLLECTIVE(scan), .bus = bus_whole, .length = whole, .expected = sum_up_to_here},
    {COLLECTIVE(barrier), .bus = bus_whole, .length = nothing},
    {.name = "p2p",
     .pair = true,
     .share = 0.5,
     .bus = bus_whole,
     .there = there_messages,
     .go = there_and_back,
     .length = whole_of_pair,
     .expected = of_the_other},
    {.name = "stream",
     .pair = true,
     .share = 1,
     .bus = bus_whole,
     .there = there_messages,
     .go = one_way,
     .finish = answer,
     .length = whole_of_second,
     .expected = of_the_other},
};

const struct face_case *face_case_of(const char *name)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(cases[i].name, name) == 0)
            return &cases[i];
    return NULL;
}

const char *face_case_name(size_t i)
{
    return i < sizeof(cases) / sizeof(cases[0]) ? cases[i].name : NULL;
}
