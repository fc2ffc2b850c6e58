/* bench_topology.c - what the topologies are worth, as the table of docs/TOPOLOGY.md: time to make a graph and the
 * table of one rank, neighbours, hops, and the load of the busiest relay.
 *
 * Times are those of one thread of this machine, the best of three; all else is exact and the same everywhere. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/topology.h"

enum { ROUNDS = 3, LARGEST = 10000 };

struct row {
    enum nx_topology_kind kind;
    uint32_t k;
};

static void need(nexar_status status)
{
    if (status == NEXAR_OK)
        return;
    fprintf(stderr, "%s\n", nexar_last_error());
    exit(1);
}

static double ms_of_graph(const struct row *row, uint32_t n, struct nx_topology *t)
{
    nx_time best = NX_NEVER;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        nx_time began = nx_now(), span;

        need(nx_topology_make(row->kind, row->k, n, t));
        span = nx_now() - began;
        best = span < best ? span : best;
        if (i + 1 < ROUNDS)
            nx_topology_fini(t);
    }
    return (double)best / 1e6;
}

/* The table of rank 0, around so many dead and as many broken links. */
static double ms_of_table(const struct nx_topology *t, uint32_t broken)
{
    static uint32_t dead[LARGEST];
    static struct nx_topology_link links[LARGEST];
    struct nx_outage outage = {.n_dead = broken, .n_links = broken, .dead = dead, .links = links};
    nx_time best = NX_NEVER;

    for (uint32_t i = 0; i < broken; i++) {
        uint32_t a = (uint32_t)((uint64_t)i * t->n / broken);

        dead[i] = a + 1 == t->n ? 1 : a + 1;
        links[i] = (struct nx_topology_link){.a = a, .b = nx_topology_neighbour(t, a, 0)};
    }
    for (uint32_t i = 0; i < ROUNDS; i++) {
        nx_time began = nx_now(), span;
        struct nx_routes routes;

        need(nx_routes_make(t, 0, &outage, &routes));
        span = nx_now() - began;
        best = span < best ? span : best;
        nx_routes_fini(&routes);
    }
    return (double)best / 1e6;
}

static void show(const struct row *row, uint32_t n)
{
    struct nx_topology_shape shape;
    struct nx_topology t;
    double graph = ms_of_graph(row, n, &t), table = ms_of_table(&t, 0), around = ms_of_table(&t, n / 100);

    need(nx_topology_measure(&t, &shape));
    printf("| %s%s", row->kind == NX_TOPOLOGY_AUTO ? "auto: " : "", nx_topology_name(t.kind));
    if (t.k != 0)
        printf(" %u", t.k);
    printf(" | %u | %u", n, shape.least);
    if (shape.most != shape.least)
        printf("-%u", shape.most);
    printf(" | %u | %.2f | %.2f | %.2f ms | %.2f ms | %.2f ms |\n", shape.diameter, shape.mean, shape.load, graph,
           table, around);
    fflush(stdout);
    nx_topology_fini(&t);
}

int main(void)
{
    static const struct row rows[] = {{NX_TOPOLOGY_FULL_MESH, 0}, {NX_TOPOLOGY_K_REGULAR, 4},
                                      {NX_TOPOLOGY_K_REGULAR, 8}, {NX_TOPOLOGY_K_REGULAR, 16},
                                      {NX_TOPOLOGY_HYPERCUBE, 0}, {NX_TOPOLOGY_AUTO, 0}};
    static const uint32_t ranks[] = {64, 1000, LARGEST};

    printf("| | ranks | neighbours | diameter | mean hops | busiest relay | graph | table | table, 1 %% broken |\n"
           "|---|---|---|---|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        for (uint32_t j = 0; j < sizeof(rows) / sizeof(rows[0]); j++)
            show(&rows[j], ranks[i]);
    }
    return 0;
}
