/* cluster/shape.c - what a graph is worth: diameter, mean distance, and the work of its busiest relay.
 *
 * Owner: none, pure.  The work is betweenness, by Brandes' algorithm (A faster algorithm for betweenness centrality,
 * 2001): from each rank a search that counts shortest paths, then back along them. */
#include "cluster/topology.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

struct tally {
    uint32_t *queue, *distance;
    double *paths, *share, *load;
};

static uint32_t outward(const struct nx_topology *t, struct tally *y, uint32_t start)
{
    uint32_t queued = 0;

    memset(y->distance, 0xff, t->n * sizeof(*y->distance));
    y->distance[start] = 0;
    y->paths[start] = 1;
    y->queue[queued++] = start;
    for (uint32_t i = 0; i < queued; i++) {
        uint32_t from = y->queue[i];

        for (uint32_t e = t->first[from]; e < t->first[from + 1]; e++) {
            uint32_t to = t->to[e];

            if (y->distance[to] == NX_ROUTE_FAR) {
                y->distance[to] = y->distance[from] + 1;
                y->paths[to] = 0;
                y->queue[queued++] = to;
            }
            if (y->distance[to] == y->distance[from] + 1)
                y->paths[to] += y->paths[from];
        }
    }
    return queued;
}

static void homeward(const struct nx_topology *t, struct tally *y, uint32_t queued)
{
    memset(y->share, 0, t->n * sizeof(*y->share));
    for (uint32_t i = queued; i-- > 1;) {
        uint32_t from = y->queue[i];
        double each = (1 + y->share[from]) / y->paths[from];

        for (uint32_t e = t->first[from]; e < t->first[from + 1]; e++) {
            uint32_t to = t->to[e];

            if (y->distance[to] + 1 == y->distance[from])
                y->share[to] += y->paths[to] * each;
        }
        y->load[from] += y->share[from];
    }
}

static void tally(const struct nx_topology *t, struct tally *y, struct nx_topology_shape *out)
{
    double pairs = (double)t->n * (t->n - 1), hops = 0;

    for (uint32_t s = 0; s < t->n; s++) {
        uint32_t reached = outward(t, y, s), far = y->distance[y->queue[reached - 1]];

        if (reached < t->n)
            far = NX_ROUTE_FAR;
        out->diameter = far > out->diameter ? far : out->diameter;
        for (uint32_t i = 0; i < reached; i++)
            hops += y->distance[y->queue[i]];
        homeward(t, y, reached);
    }
    out->mean = t->n == 1 ? 0 : hops / pairs;
    for (uint32_t r = 0; r < t->n && t->n > 1; r++) {
        double load = y->load[r] / (t->n - 1);

        out->load = load > out->load ? load : out->load;
    }
}

nexar_status nx_topology_measure(const struct nx_topology *t, struct nx_topology_shape *out)
{
    struct tally y;
    nexar_status status = NEXAR_OK;

    *out = (struct nx_topology_shape){.least = nx_topology_degree(t, 0)};
    for (uint32_t r = 0; r < t->n; r++) {
        uint32_t degree = nx_topology_degree(t, r);

        out->least = degree < out->least ? degree : out->least;
        out->most = degree > out->most ? degree : out->most;
    }
    if (t->to == NULL) {
        out->diameter = t->n > 1;
        out->mean = t->n > 1;
        return NEXAR_OK;
    }
    y = (struct tally){.queue = nx_calloc(t->n, sizeof(*y.queue)),
                       .distance = nx_calloc(t->n, sizeof(*y.distance)),
                       .paths = nx_calloc(t->n, sizeof(*y.paths)),
                       .share = nx_calloc(t->n, sizeof(*y.share)),
                       .load = nx_calloc(t->n, sizeof(*y.load))};
    if (y.queue == NULL || y.distance == NULL || y.paths == NULL || y.share == NULL || y.load == NULL)
        status = nx_fail(NEXAR_ENOMEM, "no memory to measure a topology of %u ranks", t->n);
    else
        tally(t, &y, out);
    nx_free(y.queue);
    nx_free(y.distance);
    nx_free(y.paths);
    nx_free(y.share);
    nx_free(y.load);
    return status;
}
