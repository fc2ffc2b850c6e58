/* cluster/topology.h - which ranks have a connection of their own, and by which neighbour a rank reaches each other
 * one.
 *
 * Pure functions of the kind, the world and what is broken: integers alone, so that all ranks of a job come to the same
 * graph.  What they make is memory of the caller, never changes, and may be read by any thread.  docs/TOPOLOGY.md has
 * the constructions.  Who finds out what is broken, and the bytes, are elsewhere. */
#ifndef NX_CLUSTER_TOPOLOGY_H
#define NX_CLUSTER_TOPOLOGY_H

#include "nexar/base.h"

#include <stdbool.h>
#include <stdint.h>

enum nx_topology_kind {
    NX_TOPOLOGY_AUTO, /* by the size of the world */
    NX_TOPOLOGY_FULL_MESH,
    NX_TOPOLOGY_K_REGULAR,
    NX_TOPOLOGY_HYPERCUBE, /* of any size */
};

/* AUTO: up to so many ranks all are neighbours, as the membership then needs it anyway. */
#define NX_TOPOLOGY_MESH_MOST 128

struct nx_topology {
    enum nx_topology_kind kind; /* never AUTO; FULL_MESH also for a K_REGULAR of n - 1 or more neighbours */
    uint32_t n, k;              /* k: of K_REGULAR; one more than asked for where both n and that are odd */
    uint32_t *first, *to;       /* neighbours of rank r: to[first[r]] until to[first[r + 1]], ascending; MESH: none */
};

/* `k` is for K_REGULAR alone: 2 or more neighbours of each rank.  NEXAR_EINVAL, NEXAR_ENOMEM. */
nexar_status nx_topology_make(enum nx_topology_kind kind, uint32_t k, uint32_t n, struct nx_topology *out);
void nx_topology_fini(struct nx_topology *t);
/* "full_mesh", "k_regular", "hypercube", "auto". */
const char *nx_topology_name(enum nx_topology_kind kind);

static inline uint32_t nx_topology_degree(const struct nx_topology *t, uint32_t rank)
{
    return t->to == NULL ? t->n - 1 : t->first[rank + 1] - t->first[rank];
}

/* The neighbour number `i` of `rank`, in ascending order. */
static inline uint32_t nx_topology_neighbour(const struct nx_topology *t, uint32_t rank, uint32_t i)
{
    return t->to == NULL ? i + (i >= rank) : t->to[t->first[rank] + i];
}

bool nx_topology_adjacent(const struct nx_topology *t, uint32_t a, uint32_t b);

/* What cannot be used, in any order; a link is broken in both directions. */
struct nx_topology_link {
    uint32_t a, b;
};

struct nx_outage {
    uint32_t n_dead, n_links;
    const uint32_t *dead;
    const struct nx_topology_link *links;
};

#define NX_ROUTE_HOPS 4
#define NX_ROUTE_FAR UINT32_MAX /* there is no path */

/* To one destination.  A neighbour that is nearer to it by one is `best`.  The others that are taken are as far from it
 * as this rank is: no neighbour can send it back on a shortest path (a loop-free alternate, RFC 5286). */
struct nx_route {
    uint32_t distance;           /* hops; NX_ROUTE_FAR */
    uint8_t best, hops;          /* so many of `hop`: the best come first */
    uint32_t hop[NX_ROUTE_HOPS]; /* ranks */
};

struct nx_routes {
    uint32_t n, rank;
    struct nx_route *to; /* by destination; that of `rank` itself has distance 0 and no hops */
};

/* The table of `rank`.  NEXAR_EINVAL (no rank, or one that is dead), NEXAR_ENOMEM. */
nexar_status nx_routes_make(const struct nx_topology *t, uint32_t rank, const struct nx_outage *outage,
                            struct nx_routes *out);
void nx_routes_fini(struct nx_routes *routes);

/* The hop to try as number `i` for a message of `source`: one pair begins with the same while nothing changes,
 * and different pairs with different ones. */
uint32_t nx_routes_hop(const struct nx_routes *routes, uint32_t source, uint32_t destination, uint32_t i);

/* How many hops a message may take: a detour as long again and some more, since those on the way may know of other
 * breaks than its source does. */
uint16_t nx_routes_limit(const struct nx_routes *routes, uint32_t destination);

struct nx_topology_shape {
    uint32_t least, most; /* neighbours */
    uint32_t diameter;    /* NX_ROUTE_FAR if it is not connected */
    double mean;          /* hops between two ranks */
    double load;          /* messages that the busiest rank passes on for each message that a rank sends, when all send
                             to all and shortest paths share the work alike; the mean over the ranks is mean - 1 */
};

/* Takes n * (n + links) steps: for tables and tests.  NEXAR_ENOMEM. */
nexar_status nx_topology_measure(const struct nx_topology *t, struct nx_topology_shape *out);

#endif
