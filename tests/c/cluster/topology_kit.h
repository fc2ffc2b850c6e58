/* topology_kit.h - distances in a graph with breaks, found in the plainest of ways. */
#ifndef NX_TEST_TOPOLOGY_KIT_H
#define NX_TEST_TOPOLOGY_KIT_H

#include "check.h"
#include "cluster/topology.h"

enum { MOST = 160, FAR = 1000000 };

static const struct nx_outage nothing;

/* Distances by the plainest of ways: relax all links until nothing changes. */
static uint32_t plain[MOST][MOST];

static inline bool is_dead(const struct nx_outage *o, uint32_t r)
{
    for (uint32_t i = 0; i < o->n_dead; i++) {
        if (o->dead[i] == r)
            return true;
    }
    return false;
}

static inline bool works(const struct nx_topology *t, const struct nx_outage *o, uint32_t a, uint32_t b)
{
    if (!nx_topology_adjacent(t, a, b) || is_dead(o, a) || is_dead(o, b))
        return false;
    for (uint32_t i = 0; i < o->n_links; i++) {
        if ((o->links[i].a == a && o->links[i].b == b) || (o->links[i].a == b && o->links[i].b == a))
            return false;
    }
    return true;
}

static inline void plain_distances(const struct nx_topology *t, const struct nx_outage *o)
{
    static bool link[MOST][MOST];
    bool changed = true;

    for (uint32_t a = 0; a < t->n; a++) {
        for (uint32_t b = 0; b < t->n; b++) {
            link[a][b] = works(t, o, a, b);
            plain[a][b] = a == b ? 0 : link[a][b] ? 1 : FAR;
        }
    }
    while (changed) {
        changed = false;
        for (uint32_t a = 0; a < t->n; a++) {
            for (uint32_t b = 0; b < t->n; b++) {
                for (uint32_t i = 0; i < nx_topology_degree(t, a); i++) {
                    uint32_t by = nx_topology_neighbour(t, a, i);

                    if (link[a][by] && plain[by][b] + 1 < plain[a][b]) {
                        plain[a][b] = plain[by][b] + 1;
                        changed = true;
                    }
                }
            }
        }
    }
}

#endif
