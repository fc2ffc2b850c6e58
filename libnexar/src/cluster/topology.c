/* cluster/topology.c - the graphs: full mesh, random regular, hypercube of any size.
 *
 * Owner: none, nothing here has a state.  Tables of next hops are in routes.c, what a graph is worth in shape.c. */
#include "cluster/topology.h"

#include "base/mem.h"
#include "base/status.h"
#include "cluster/entry.h"

#include <stdlib.h>

enum { SWITCHES = 10, CUBE_DEGREE = 64 }; /* switches for each chord; 2 * 20 neighbours would do */

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static bool reserve(struct nx_topology *t, size_t ends)
{
    t->first = nx_calloc((size_t)t->n + 1, sizeof(*t->first));
    t->to = nx_calloc(ends, sizeof(*t->to));
    return t->first != NULL && t->to != NULL;
}

/* ---- k-regular: a ring, and a random (k - 2)-regular graph of chords ----
 *
 * The ring keeps it connected, whatever the chords are, and neighbouring ranks are often on one host.  A cycle with
 * random chords has a diameter that grows with log n (Bollobas, Chung: The diameter of a cycle plus a random matching,
 * 1988).  The chords come from a circulant graph by switches, which keep every degree (Cooper, Dyer, Greenhill:
 * Sampling regular graphs and a peer-to-peer network, 2007); so there is one for every k, however dense. */

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t *place(struct nx_topology *t, uint32_t a, uint32_t b)
{
    for (uint32_t *at = t->to + (size_t)a * t->k, i = 0; i < t->k; i++) {
        if (at[i] == b)
            return &at[i];
    }
    return NULL;
}

/* (a, b), (c, d) become (a, d), (c, b), unless that makes a loop or a link twice. */
static void switch_two(struct nx_topology *t, struct nx_topology_link *x, struct nx_topology_link *y, bool turn)
{
    uint32_t a = x->a, b = x->b, c = turn ? y->b : y->a, d = turn ? y->a : y->b;

    if (a == d || b == c || a == c || b == d || place(t, a, d) != NULL || place(t, c, b) != NULL)
        return;
    *place(t, a, b) = d;
    *place(t, b, a) = c;
    *place(t, c, d) = b;
    *place(t, d, c) = a;
    *x = (struct nx_topology_link){.a = a, .b = d};
    *y = (struct nx_topology_link){.a = c, .b = b};
}

static bool make_regular(struct nx_topology *t)
{
    uint32_t n = t->n, k = t->k;
    size_t chords = (size_t)n * (k - 2) / 2, made = 0;
    struct nx_topology_link *chord = nx_calloc(chords + 1, sizeof(*chord));
    uint64_t random = (uint64_t)n << 32 | k; /* of nothing else: all ranks have the same */

    if (chord == NULL || (uint64_t)n * k > UINT32_MAX || !reserve(t, (size_t)n * k)) {
        nx_free(chord);
        return false;
    }
    for (uint32_t r = 0; r < n; r++) {
        uint32_t *at = t->to + (size_t)r * k;

        t->first[r + 1] = (r + 1) * k;
        for (uint32_t d = 1; d <= k / 2; d++) {
            *at++ = (r + d) % n;
            *at++ = (r + n - d) % n;
            if (d > 1)
                chord[made++] = (struct nx_topology_link){.a = r, .b = (r + d) % n};
        }
        if (k % 2 != 0)
            *at = (r + n / 2) % n;
        if (k % 2 != 0 && r < n / 2)
            chord[made++] = (struct nx_topology_link){.a = r, .b = r + n / 2};
    }
    for (size_t i = 0; chords > 1 && i < SWITCHES * chords; i++) {
        uint64_t x = next_random(&random), y = next_random(&random);

        if (x % chords != (y >> 1) % chords)
            switch_two(t, &chord[x % chords], &chord[(y >> 1) % chords], (y & 1) != 0);
    }
    for (uint32_t r = 0; r < n; r++)
        qsort(t->to + (size_t)r * k, k, sizeof(*t->to), ascending);
    nx_free(chord);
    return true;
}

/* ---- hypercube of any size: the supercube ----
 *
 * Of the cube of the next power of two, a rank that is not there is played by the one whose number lacks the top bit
 * (Sen: Supercube, an optimally fault tolerant network architecture, 1989).  So it has no rank with a single neighbour,
 * as cubes with ranks left out have (Katseff: Incomplete hypercubes, 1988), which are a part of it: two ranks are
 * never farther than the bits in which they differ. */

static uint32_t cube_neighbours(uint32_t n, uint32_t bits, uint32_t rank, uint32_t *out)
{
    uint32_t top = (uint32_t)1 << bits, count = 0, twin = rank ^ top;

    for (uint32_t b = 0; b < bits; b++) {
        uint32_t other = rank ^ (uint32_t)1 << b;

        out[count++] = other < n ? other : other ^ top;
    }
    if (n > top && twin < n)
        out[count++] = twin;
    for (uint32_t b = 0; n > top && twin >= n && b < bits; b++) { /* what the twin would have had */
        uint32_t other = twin ^ (uint32_t)1 << b;

        if (other < n)
            out[count++] = other;
    }
    qsort(out, count, sizeof(*out), ascending);
    return count;
}

static bool make_cube(struct nx_topology *t)
{
    uint32_t bits = 0, near[CUBE_DEGREE];
    size_t ends = 0;

    while ((uint32_t)2 << bits <= t->n)
        bits++;
    for (uint32_t r = 0; r < t->n; r++)
        ends += cube_neighbours(t->n, bits, r, near);
    if (!reserve(t, ends + 1)) /* a rank alone has none */
        return false;
    for (uint32_t r = 0; r < t->n; r++)
        t->first[r + 1] = t->first[r] + cube_neighbours(t->n, bits, r, t->to + t->first[r]);
    return true;
}

/* ---- all of them ---- */

/* So many that the diameter stays at 4 or 5: about log2 n, even. */
static uint32_t usual_degree(uint32_t n)
{
    uint32_t k = 8;

    while ((uint64_t)1 << k < n)
        k += 2;
    return k;
}

nexar_status nx_topology_make(enum nx_topology_kind kind, uint32_t k, uint32_t n, struct nx_topology *out)
{
    bool made = true;

    *out = (struct nx_topology){.kind = kind, .n = n};
    if (n == 0 || n > NX_WORLD_MAX)
        return nx_fail(NEXAR_EINVAL, "a topology of %u ranks", n);
    if (kind == NX_TOPOLOGY_AUTO) {
        kind = n <= NX_TOPOLOGY_MESH_MOST ? NX_TOPOLOGY_FULL_MESH : NX_TOPOLOGY_K_REGULAR;
        k = usual_degree(n);
    }
    if (kind == NX_TOPOLOGY_K_REGULAR) {
        if (k < 2)
            return nx_fail(NEXAR_EINVAL, "k_regular with %u neighbours: 2 or more keep the ranks together", k);
        k += k < n && k % 2 != 0 && n % 2 != 0; /* an odd number of odd degrees does not exist */
        if (k >= n - 1)
            kind = NX_TOPOLOGY_FULL_MESH;
        else
            out->k = k;
    }
    out->kind = kind;
    if (kind == NX_TOPOLOGY_K_REGULAR)
        made = make_regular(out);
    else if (kind == NX_TOPOLOGY_HYPERCUBE)
        made = make_cube(out);
    else if (kind != NX_TOPOLOGY_FULL_MESH)
        return nx_fail(NEXAR_EINVAL, "topology number %d", (int)kind);
    if (made)
        return NEXAR_OK;
    nx_topology_fini(out);
    return nx_fail(NEXAR_ENOMEM, "no memory for a topology of %u ranks", n);
}

void nx_topology_fini(struct nx_topology *t)
{
    nx_free(t->first);
    nx_free(t->to);
    *t = (struct nx_topology){0};
}

const char *nx_topology_name(enum nx_topology_kind kind)
{
    static const char *const names[] = {"auto", "full_mesh", "k_regular", "hypercube"};

    return names[kind];
}

bool nx_topology_adjacent(const struct nx_topology *t, uint32_t a, uint32_t b)
{
    if (t->to == NULL)
        return a != b;
    return bsearch(&b, t->to + t->first[a], t->first[a + 1] - t->first[a], sizeof(b), ascending) != NULL;
}
