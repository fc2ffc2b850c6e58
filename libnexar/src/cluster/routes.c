/* cluster/routes.c - the table of next hops of one rank, around what is broken.
 *
 * Owner: none, pure.  In a sparse graph: one search from the rank itself, which gives the distances, and one from
 * each of its neighbours.  In a full mesh the answer is nearly always the destination itself, and searching from all
 * neighbours would take n * n steps: there, ranks that could help are tried one after the other. */
#include "cluster/topology.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

enum { DEAD = 1, CUT = 2 }; /* marks of a rank: CUT has a link that is broken */

struct map {
    const struct nx_topology *t;
    uint8_t *mark;  /* by rank */
    uint64_t *link; /* broken ones, ascending */
    size_t links;
    uint32_t *queue, *distance, *via; /* of a search */
};

static uint64_t link_key(uint32_t a, uint32_t b)
{
    return a < b ? (uint64_t)a << 32 | b : (uint64_t)b << 32 | a;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Of two ranks that are neighbours. */
static bool usable(const struct map *m, uint32_t a, uint32_t b)
{
    uint8_t marks = m->mark[a] | m->mark[b];
    uint64_t key;

    if (marks == 0)
        return true;
    if ((marks & DEAD) != 0)
        return false;
    if ((m->mark[a] & m->mark[b] & CUT) == 0)
        return true;
    key = link_key(a, b);
    return bsearch(&key, m->link, m->links, sizeof(key), by_key) == NULL;
}

/* ---- searches ---- */

static void visit(struct map *m, uint32_t *queued, uint32_t from, uint32_t to)
{
    m->distance[to] = m->distance[from] + 1;
    m->via[to] = m->distance[from] == 0 ? to : m->via[from];
    m->queue[(*queued)++] = to;
}

/* Distances from `start`, and the first hop of one shortest path. */
static void search(struct map *m, uint32_t start)
{
    const struct nx_topology *t = m->t;
    uint32_t queued = 0;

    memset(m->distance, 0xff, t->n * sizeof(*m->distance)); /* NX_ROUTE_FAR */
    m->distance[start] = 0;
    m->queue[queued++] = start;
    for (uint32_t i = 0; i < queued; i++) {
        uint32_t from = m->queue[i];

        for (uint32_t e = t->first[from]; e < t->first[from + 1]; e++) {
            if (m->distance[t->to[e]] == NX_ROUTE_FAR && usable(m, from, t->to[e]))
                visit(m, &queued, from, t->to[e]);
        }
    }
}

/* The same where all are neighbours, in n + (broken links) steps: each look takes one from those that are left, or
 * meets a break. */
static void search_mesh(struct map *m, uint32_t start)
{
    uint32_t queued = 0, left = 0, n = m->t->n, *rest = m->queue + n;

    memset(m->distance, 0xff, n * sizeof(*m->distance));
    m->distance[start] = 0;
    m->queue[queued++] = start;
    for (uint32_t r = 0; r < n; r++) {
        if (r != start && (m->mark[r] & DEAD) == 0)
            rest[left++] = r;
    }
    for (uint32_t i = 0; i < queued && left > 0; i++) {
        uint32_t stay = 0;

        for (uint32_t j = 0; j < left; j++) {
            if (usable(m, m->queue[i], rest[j]))
                visit(m, &queued, m->queue[i], rest[j]);
            else
                rest[stay++] = rest[j];
        }
        left = stay;
    }
}

/* ---- the table ---- */

/* Which of equal hops comes first: each rank, destination and hop has its own, so that work spreads. */
static uint64_t taste(uint32_t rank, uint32_t to, uint32_t hop)
{
    return nx_hash_mix(nx_hash_mix(rank, to), hop);
}

/* Keeps the NX_ROUTE_HOPS first ones: the best before the others. */
static void offer(struct nx_routes *routes, uint32_t to, uint32_t hop, bool best)
{
    struct nx_route *r = &routes->to[to];
    uint64_t mine = taste(routes->rank, to, hop);
    uint32_t i = best ? 0 : r->best, end = best ? r->best : r->hops;

    while (i < end && taste(routes->rank, to, r->hop[i]) < mine)
        i++;
    if (i == NX_ROUTE_HOPS)
        return;
    if (r->hops < NX_ROUTE_HOPS)
        r->hops++;
    memmove(&r->hop[i + 1], &r->hop[i], (size_t)(r->hops - 1 - i) * sizeof(r->hop[0]));
    r->hop[i] = hop;
    if (best && r->best < NX_ROUTE_HOPS)
        r->best++;
}

static void fill_sparse(struct map *m, struct nx_routes *routes)
{
    const struct nx_topology *t = m->t;
    uint32_t rank = routes->rank;

    search(m, rank);
    for (uint32_t to = 0; to < t->n; to++)
        routes->to[to].distance = m->distance[to];
    for (uint32_t e = t->first[rank]; e < t->first[rank + 1]; e++) {
        uint32_t hop = t->to[e];

        if (!usable(m, rank, hop))
            continue;
        search(m, hop);
        for (uint32_t to = 0; to < t->n; to++) {
            uint32_t distance = routes->to[to].distance;

            if (to != rank && distance != NX_ROUTE_FAR && m->distance[to] <= distance)
                offer(routes, to, hop, m->distance[to] + 1 == distance);
        }
    }
}

static void fill_mesh(struct map *m, struct nx_routes *routes)
{
    uint32_t n = routes->n, rank = routes->rank;

    search_mesh(m, rank);
    for (uint32_t to = 0; to < n; to++) {
        struct nx_route *r = &routes->to[to];

        r->distance = m->distance[to];
        if (to == rank || r->distance == NX_ROUTE_FAR)
            continue;
        if (r->distance == 1)
            r->hop[r->hops++] = to;
        for (uint32_t i = 0, by = (uint32_t)(taste(rank, to, to) % n); i < n && r->hops < NX_ROUTE_HOPS; i++) {
            if (by != rank && by != to && usable(m, rank, by) && usable(m, by, to))
                r->hop[r->hops++] = by;
            by = by + 1 == n ? 0 : by + 1;
        }
        if (r->hops == 0) /* three hops or more */
            r->hop[r->hops++] = m->via[to];
        r->best = r->distance == 2 ? r->hops : 1;
    }
}

static bool draw(struct map *m, const struct nx_topology *t, const struct nx_outage *outage)
{
    uint32_t n = t->n;

    *m = (struct map){.t = t, .links = outage->n_links};
    m->mark = nx_calloc(n, 1);
    m->link = nx_calloc(m->links + 1, sizeof(*m->link));
    m->queue = nx_calloc(2 * (size_t)n, sizeof(*m->queue));
    m->distance = nx_calloc(n, sizeof(*m->distance));
    m->via = nx_calloc(n, sizeof(*m->via));
    if (m->mark == NULL || m->link == NULL || m->queue == NULL || m->distance == NULL || m->via == NULL)
        return false;
    for (uint32_t i = 0; i < outage->n_dead; i++) {
        if (outage->dead[i] < n)
            m->mark[outage->dead[i]] |= DEAD;
    }
    for (uint32_t i = 0; i < outage->n_links; i++) {
        uint32_t a = outage->links[i].a, b = outage->links[i].b;

        m->link[i] = link_key(a, b);
        if (a < n && b < n) {
            m->mark[a] |= CUT;
            m->mark[b] |= CUT;
        }
    }
    qsort(m->link, m->links, sizeof(*m->link), by_key);
    return true;
}

nexar_status nx_routes_make(const struct nx_topology *t, uint32_t rank, const struct nx_outage *outage,
                            struct nx_routes *out)
{
    nexar_status status = NEXAR_OK;
    struct map map = {0};

    *out = (struct nx_routes){.n = t->n, .rank = rank};
    if (rank >= t->n)
        return nx_fail(NEXAR_EINVAL, "routes of rank %u among %u", rank, t->n);
    out->to = nx_calloc(t->n, sizeof(*out->to));
    if (out->to == NULL || !draw(&map, t, outage)) {
        status = nx_fail(NEXAR_ENOMEM, "no memory for the routes of %u ranks", t->n);
    } else if ((map.mark[rank] & DEAD) != 0) {
        status = nx_fail(NEXAR_EINVAL, "routes of rank %u, which is dead", rank);
    } else if (t->to == NULL) {
        fill_mesh(&map, out);
    } else {
        fill_sparse(&map, out);
    }
    nx_free(map.mark);
    nx_free(map.link);
    nx_free(map.queue);
    nx_free(map.distance);
    nx_free(map.via);
    if (status != NEXAR_OK)
        nx_routes_fini(out);
    return status;
}

void nx_routes_fini(struct nx_routes *routes)
{
    nx_free(routes->to);
    *routes = (struct nx_routes){0};
}

uint32_t nx_routes_hop(const struct nx_routes *routes, uint32_t source, uint32_t destination, uint32_t i)
{
    const struct nx_route *r = &routes->to[destination];

    if (i >= r->best)
        return r->hop[i];
    return r->hop[(i + taste(routes->rank, source, destination)) % r->best];
}

uint16_t nx_routes_limit(const struct nx_routes *routes, uint32_t destination)
{
    uint64_t hops = 2 * (uint64_t)routes->to[destination].distance + 8;

    return hops > UINT16_MAX ? UINT16_MAX : (uint16_t)hops;
}
