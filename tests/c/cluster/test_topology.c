/* test_topology.c - the graphs and the tables of next hops, against searches that are written anew here. */
#include "check.h"
#include "cluster/topology.h"
#include "rng.h"

enum { MOST = 160, OUT_MOST = 40, FAR = 1000000 };

static const struct nx_outage nothing;

/* Distances by the plainest of ways: relax all links until nothing changes. */
static uint32_t plain[MOST][MOST];

struct out {
    struct nx_outage outage;
    uint32_t dead[OUT_MOST];
    struct nx_topology_link link[OUT_MOST];
};

static bool is_dead(const struct nx_outage *o, uint32_t r)
{
    for (uint32_t i = 0; i < o->n_dead; i++) {
        if (o->dead[i] == r)
            return true;
    }
    return false;
}

static bool works(const struct nx_topology *t, const struct nx_outage *o, uint32_t a, uint32_t b)
{
    if (!nx_topology_adjacent(t, a, b) || is_dead(o, a) || is_dead(o, b))
        return false;
    for (uint32_t i = 0; i < o->n_links; i++) {
        if ((o->links[i].a == a && o->links[i].b == b) || (o->links[i].a == b && o->links[i].b == a))
            return false;
    }
    return true;
}

static void plain_distances(const struct nx_topology *t, const struct nx_outage *o)
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

static void break_some(struct out *o, const struct nx_topology *t, struct rng *rng, uint32_t keep)
{
    *o = (struct out){.outage = {.n_dead = 0}};
    for (uint32_t i = (uint32_t)rng_below(rng, t->n / 4 + 1); i > 0 && o->outage.n_dead < OUT_MOST; i--) {
        uint32_t r = (uint32_t)rng_below(rng, t->n);

        if (r != keep)
            o->dead[o->outage.n_dead++] = r; /* twice is legal */
    }
    for (uint32_t i = (uint32_t)rng_below(rng, t->n / 2 + 1); i > 0 && o->outage.n_links < OUT_MOST; i--) {
        uint32_t a = (uint32_t)rng_below(rng, t->n);

        if (nx_topology_degree(t, a) > 0)
            o->link[o->outage.n_links++] = (struct nx_topology_link){
                .a = a, .b = nx_topology_neighbour(t, a, (uint32_t)rng_below(rng, nx_topology_degree(t, a)))};
    }
    o->outage.dead = o->dead;
    o->outage.links = o->link;
}

static void make_any(struct nx_topology *t, struct rng *rng)
{
    uint32_t n = 1 + (uint32_t)rng_below(rng, 60), kind = 1 + (uint32_t)rng_below(rng, 3);

    assert_ok(nx_topology_make((enum nx_topology_kind)kind, 2 + (uint32_t)rng_below(rng, 7), n, t));
}

/* ---- graphs ---- */

/* Neighbours ascend, nobody is its own, both ends know of each other, and all are together. */
static void check_graph(const struct nx_topology *t)
{
    uint32_t reached = 1, queue[MOST] = {0};
    bool seen[MOST] = {true};

    for (uint32_t r = 0; r < t->n; r++) {
        for (uint32_t i = 0; i < nx_topology_degree(t, r); i++) {
            uint32_t other = nx_topology_neighbour(t, r, i);

            assert_true(other < t->n && other != r);
            assert_true(i == 0 || other > nx_topology_neighbour(t, r, i - 1));
            assert_true(nx_topology_adjacent(t, other, r) && nx_topology_adjacent(t, r, other));
        }
        assert_false(nx_topology_adjacent(t, r, r));
    }
    for (uint32_t i = 0; i < reached; i++) {
        for (uint32_t j = 0; j < nx_topology_degree(t, queue[i]); j++) {
            uint32_t other = nx_topology_neighbour(t, queue[i], j);

            if (!seen[other])
                queue[reached++] = other;
            seen[other] = true;
        }
    }
    assert_int_equal(reached, t->n);
}

static void test_full_mesh(void **state)
{
    struct nx_topology t;

    (void)state;
    for (uint32_t n = 1; n <= 20; n++) {
        assert_ok(nx_topology_make(NX_TOPOLOGY_FULL_MESH, 0, n, &t));
        check_graph(&t);
        assert_int_equal(nx_topology_degree(&t, n / 2), n - 1);
        nx_topology_fini(&t);
    }
}

/* Every rank has k neighbours, or k + 1 where that is impossible, for every density; without any one rank the others
 * are still together. */
static void test_k_regular(void **state)
{
    (void)state;
    for (uint32_t n = 3; n <= 40; n++) {
        for (uint32_t k = 2; k <= n + 1; k++) {
            uint32_t degree = k + (k % 2 != 0 && n % 2 != 0 && k < n);
            struct nx_topology t;

            assert_ok(nx_topology_make(NX_TOPOLOGY_K_REGULAR, k, n, &t));
            check_graph(&t);
            for (uint32_t r = 0; r < n; r++)
                assert_int_equal(nx_topology_degree(&t, r), degree < n - 1 ? degree : n - 1);
            assert_int_equal(t.kind, degree < n - 1 ? NX_TOPOLOGY_K_REGULAR : NX_TOPOLOGY_FULL_MESH);
            for (uint32_t dead = 0; dead < n && n > 3; dead++) {
                struct nx_outage one = {.n_dead = 1, .dead = &dead};
                struct nx_routes routes;

                assert_ok(nx_routes_make(&t, (dead + 1) % n, &one, &routes));
                for (uint32_t r = 0; r < n; r++)
                    assert_true((routes.to[r].distance == NX_ROUTE_FAR) == (r == dead));
                nx_routes_fini(&routes);
            }
            nx_topology_fini(&t);
        }
    }
}

/* Paths that share no rank but their ends: so many ranks must die to part them (Menger). */
static uint32_t disjoint_paths(const struct nx_topology *t, uint32_t from, uint32_t to)
{
    static int8_t flow[2 * MOST][2 * MOST]; /* rank r is entered at 2 r and left at 2 r + 1 */
    uint32_t count = 0, nodes = 2 * t->n;

    memset(flow, 0, sizeof(flow));
    for (uint32_t r = 0; r < t->n; r++) {
        flow[2 * r][2 * r + 1] = 1;
        for (uint32_t i = 0; i < nx_topology_degree(t, r); i++)
            flow[2 * r + 1][2 * nx_topology_neighbour(t, r, i)] = 1;
    }
    for (;; count++) {
        uint32_t queue[2 * MOST], before[2 * MOST], queued = 0;

        memset(before, 0xff, sizeof(before));
        queue[queued++] = 2 * from + 1;
        before[2 * from + 1] = 2 * from + 1;
        for (uint32_t i = 0; i < queued && before[2 * to] == UINT32_MAX; i++) {
            for (uint32_t x = 0; x < nodes; x++) {
                if (flow[queue[i]][x] > 0 && before[x] == UINT32_MAX) {
                    before[x] = queue[i];
                    queue[queued++] = x;
                }
            }
        }
        if (before[2 * to] == UINT32_MAX)
            return count;
        for (uint32_t x = 2 * to; x != 2 * from + 1; x = before[x]) {
            flow[before[x]][x]--;
            flow[x][before[x]]++;
        }
    }
}

/* For every size: log2 n hops at most, never more than the bits in which two ranks differ, and as many deaths as there
 * are bits in n part nobody, less one. */
static void test_hypercube_of_any_size(void **state)
{
    (void)state;
    for (uint32_t n = 1, bits = 0; n <= 150; n++) {
        struct nx_topology t;

        bits += (uint32_t)2 << bits <= n;
        assert_ok(nx_topology_make(NX_TOPOLOGY_HYPERCUBE, 0, n, &t));
        check_graph(&t);
        plain_distances(&t, &nothing);
        for (uint32_t a = 0; a < n; a++) {
            assert_in_range(nx_topology_degree(&t, a), bits, n == (uint32_t)1 << bits ? bits : 2 * bits);
            for (uint32_t b = 0; b < n; b++)
                assert_true(plain[a][b] <= (uint32_t)__builtin_popcount(a ^ b));
        }
        for (uint32_t a = 0; a < n && n <= 36; a++) {
            for (uint32_t b = 0; b < a; b++) {
                if (!nx_topology_adjacent(&t, a, b))
                    assert_true(disjoint_paths(&t, a, b) >= bits);
            }
        }
        nx_topology_fini(&t);
    }
}

static uint64_t fingerprint(enum nx_topology_kind kind, uint32_t k, uint32_t n)
{
    struct nx_topology t;
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    assert_ok(nx_topology_make(kind, k, n, &t));
    for (uint32_t r = 0; r < n; r++) {
        for (uint32_t i = 0; i < nx_topology_degree(&t, r); i++)
            h = (h ^ nx_topology_neighbour(&t, r, i)) * UINT64_C(0x100000001b3);
    }
    nx_topology_fini(&t);
    return h;
}

/* Ranks with another build of the library must come to the same graph: these numbers may never change. */
static void test_same_graph_on_all_machines(void **state)
{
    (void)state;
    assert_int_equal(fingerprint(NX_TOPOLOGY_K_REGULAR, 3, 10), UINT64_C(0x65e97718828a24bc));
    assert_int_equal(fingerprint(NX_TOPOLOGY_K_REGULAR, 8, 1000), UINT64_C(0x9564d8742cf5cd8f));
    assert_int_equal(fingerprint(NX_TOPOLOGY_AUTO, 0, 10000), UINT64_C(0xd0f9caa6d5cdeba5));
    assert_int_equal(fingerprint(NX_TOPOLOGY_HYPERCUBE, 0, 1000), UINT64_C(0xf8d0372057e6d0f1));
}

static void test_auto_and_what_is_refused(void **state)
{
    struct nx_topology t;

    (void)state;
    assert_ok(nx_topology_make(NX_TOPOLOGY_AUTO, 0, NX_TOPOLOGY_MESH_MOST, &t));
    assert_int_equal(t.kind, NX_TOPOLOGY_FULL_MESH);
    nx_topology_fini(&t);
    assert_ok(nx_topology_make(NX_TOPOLOGY_AUTO, 0, NX_TOPOLOGY_MESH_MOST + 1, &t));
    assert_int_equal(t.kind, NX_TOPOLOGY_K_REGULAR);
    assert_int_equal(t.k, 8);
    nx_topology_fini(&t);
    assert_ok(nx_topology_make(NX_TOPOLOGY_AUTO, 0, 5000, &t));
    assert_int_equal(t.k, 14);
    nx_topology_fini(&t);
    assert_string_equal(nx_topology_name(NX_TOPOLOGY_HYPERCUBE), "hypercube");
    assert_status(nx_topology_make(NX_TOPOLOGY_AUTO, 0, 0, &t), NEXAR_EINVAL);
    assert_status(nx_topology_make(NX_TOPOLOGY_HYPERCUBE, 0, (1 << 20) + 1, &t), NEXAR_EINVAL);
    assert_status(nx_topology_make(NX_TOPOLOGY_K_REGULAR, 1, 10, &t), NEXAR_EINVAL);
    assert_status(nx_topology_make((enum nx_topology_kind)9, 2, 10, &t), NEXAR_EINVAL);
}

/* ---- tables ---- */

/* Distances are right; `best` are neighbours nearer by one, the others as near, four in all if there are so many. */
static void check_routes(const struct nx_topology *t, const struct nx_outage *o, const struct nx_routes *routes)
{
    uint32_t me = routes->rank;

    for (uint32_t to = 0; to < t->n; to++) {
        const struct nx_route *r = &routes->to[to];
        uint32_t best = 0, even = 0;

        if (plain[me][to] >= FAR || to == me) {
            assert_int_equal(r->distance, to == me ? 0 : NX_ROUTE_FAR);
            assert_int_equal(r->hops, 0);
            continue;
        }
        assert_int_equal(r->distance, plain[me][to]);
        for (uint32_t i = 0; i < nx_topology_degree(t, me); i++) {
            uint32_t hop = nx_topology_neighbour(t, me, i);

            best += works(t, o, me, hop) && plain[hop][to] + 1 == plain[me][to];
            even += works(t, o, me, hop) && plain[hop][to] == plain[me][to];
        }
        if (r->distance > 1 && t->kind == NX_TOPOLOGY_FULL_MESH)
            even = 0; /* of which it looks for none, nor for a second best one beyond 2 hops */
        if (r->distance > 2 && t->kind == NX_TOPOLOGY_FULL_MESH)
            best = 1;
        assert_int_equal(r->best, best < NX_ROUTE_HOPS ? best : NX_ROUTE_HOPS);
        assert_int_equal(r->hops, best + even < NX_ROUTE_HOPS ? best + even : NX_ROUTE_HOPS);
        for (uint32_t i = 0; i < r->hops; i++) {
            assert_true(works(t, o, me, r->hop[i]));
            assert_int_equal(plain[r->hop[i]][to] + (i < r->best), r->distance);
            for (uint32_t j = 0; j < i; j++)
                assert_int_not_equal(r->hop[i], r->hop[j]);
        }
    }
}

/* Hop by hop, by the table of each rank on the way. */
static uint32_t walk(const struct nx_routes *routes, uint32_t from, uint32_t to, uint32_t limit)
{
    uint32_t at = from, hops = 0;

    while (at != to && hops < limit && routes[at].to[to].hops > 0) {
        at = nx_routes_hop(&routes[at], from, to, 0);
        hops++;
    }
    return at == to ? hops : UINT32_MAX;
}

static void test_tables_around_what_is_broken(void **state)
{
    struct rng rng = {.state = 1};

    (void)state;
    for (uint32_t round = 0; round < 400 / CHECK_SHORTER; round++) {
        static struct nx_routes routes[MOST];
        struct nx_topology t;
        struct out o;

        make_any(&t, &rng);
        break_some(&o, &t, &rng, UINT32_MAX);
        plain_distances(&t, &o.outage);
        for (uint32_t r = 0; r < t.n; r++) {
            nexar_status status = nx_routes_make(&t, r, &o.outage, &routes[r]);

            assert_int_equal(status, is_dead(&o.outage, r) ? NEXAR_EINVAL : NEXAR_OK);
            if (status == NEXAR_OK)
                check_routes(&t, &o.outage, &routes[r]);
        }
        for (uint32_t a = 0; a < t.n; a++) { /* where all know the same, nothing goes a hop too far */
            for (uint32_t b = 0; b < t.n && routes[a].to != NULL; b++) {
                if (plain[a][b] < FAR)
                    assert_int_equal(walk(routes, a, b, t.n), plain[a][b]);
            }
        }
        for (uint32_t r = 0; r < t.n; r++)
            nx_routes_fini(&routes[r]);
        nx_topology_fini(&t);
    }
}

/* Each rank knows of other breaks: messages do go round then, and the limit of hops is what ends them. */
static void test_ranks_that_disagree(void **state)
{
    struct rng rng = {.state = 2};
    uint32_t arrived = 0, ended = 0;

    (void)state;
    for (uint32_t round = 0; round < 60; round++) {
        static struct nx_routes routes[MOST];
        struct nx_topology t;
        struct out o;

        make_any(&t, &rng);
        for (uint32_t r = 0; r < t.n; r++) {
            break_some(&o, &t, &rng, r);
            assert_ok(nx_routes_make(&t, r, &o.outage, &routes[r]));
        }
        for (uint32_t a = 0; a < t.n; a++) {
            for (uint32_t b = 0; b < t.n; b++) {
                uint32_t at = a, hops = 0, limit = nx_routes_limit(&routes[a], b);

                for (; at != b && hops < limit && routes[at].to[b].hops > 0; hops++)
                    at = nx_routes_hop(&routes[at], a, b, 0);
                arrived += at == b;
                ended += at != b && hops == limit;
            }
        }
        for (uint32_t r = 0; r < t.n; r++)
            nx_routes_fini(&routes[r]);
        nx_topology_fini(&t);
    }
    print_message("%u messages arrived, %u went round until their hops were used up\n", arrived, ended);
    assert_true(arrived > 1000 && ended > 10);
}

static void test_ten_thousand(void **state)
{
    static const enum nx_topology_kind kinds[] = {NX_TOPOLOGY_FULL_MESH, NX_TOPOLOGY_AUTO, NX_TOPOLOGY_HYPERCUBE};
    static const uint32_t farthest[] = {1, 5, 14};
    uint32_t dead[] = {17, 4000, 9999};
    struct nx_topology_link broken = {.a = 1, .b = 0};
    struct nx_outage outage = {.n_dead = 3, .dead = dead, .n_links = 1, .links = &broken};

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t far = 0, unreached = 0;
        struct nx_topology t;
        struct nx_routes routes;

        assert_ok(nx_topology_make(kinds[i], 0, 10000, &t));
        assert_ok(nx_routes_make(&t, 0, &nothing, &routes));
        for (uint32_t r = 0; r < 10000; r++)
            far = routes.to[r].distance > far ? routes.to[r].distance : far;
        assert_in_range(far, 1, farthest[i]);
        nx_routes_fini(&routes);
        assert_ok(nx_routes_make(&t, 0, &outage, &routes));
        for (uint32_t r = 0; r < 10000; r++)
            unreached += routes.to[r].distance == NX_ROUTE_FAR;
        assert_int_equal(unreached, 3);
        assert_true(routes.to[1].distance >= 2);
        nx_routes_fini(&routes);
        nx_topology_fini(&t);
    }
}

/* ---- the measures ---- */

static void near(double a, double b)
{
    assert_true(a - b < 1e-9 && b - a < 1e-9);
}

static void test_measures(void **state)
{
    struct nx_topology_shape s;
    struct nx_topology t;

    (void)state;
    assert_ok(nx_topology_make(NX_TOPOLOGY_K_REGULAR, 2, 9, &t)); /* a ring: 1, 2, 3, 4 hops each way */
    assert_ok(nx_topology_measure(&t, &s));
    assert_true(s.least == 2 && s.most == 2 && s.diameter == 4);
    near(s.mean, 2.5);
    near(s.load, 1.5);
    nx_topology_fini(&t);
    assert_ok(nx_topology_make(NX_TOPOLOGY_HYPERCUBE, 0, 64, &t));
    assert_ok(nx_topology_measure(&t, &s));
    assert_true(s.least == 6 && s.most == 6 && s.diameter == 6);
    near(s.mean, 3.0 * 64 / 63);
    near(s.load, s.mean - 1); /* all are alike */
    nx_topology_fini(&t);
    assert_ok(nx_topology_make(NX_TOPOLOGY_HYPERCUBE, 0, 3, &t)); /* 2 is next to 0, and to 1, who plays 3 */
    assert_ok(nx_topology_measure(&t, &s));
    assert_true(s.least == 2 && s.most == 2 && s.diameter == 1);
    near(s.load, 0);
    nx_topology_fini(&t);
    assert_ok(nx_topology_make(NX_TOPOLOGY_FULL_MESH, 0, 5, &t));
    assert_ok(nx_topology_measure(&t, &s));
    assert_true(s.least == 4 && s.most == 4 && s.diameter == 1);
    near(s.mean, 1);
    nx_topology_fini(&t);
}

/* Every allocation fails once: an error, and nothing is left behind. */
static void test_no_memory(void **state)
{
    static const enum nx_topology_kind kinds[] = {NX_TOPOLOGY_FULL_MESH, NX_TOPOLOGY_K_REGULAR, NX_TOPOLOGY_HYPERCUBE};
    uint64_t blocks = live_blocks();
    uint32_t failed = 0;

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        for (uint64_t nth = 1; nth < 16; nth++) {
            struct nx_topology t = {0};
            struct nx_routes routes = {0};
            struct nx_topology_shape shape;
            nexar_status status;

            nx_mem_fail_at(nth);
            status = nx_topology_make(kinds[i], 4, 20, &t);
            if (status == NEXAR_OK)
                status = nx_routes_make(&t, 3, &nothing, &routes);
            if (status == NEXAR_OK)
                status = nx_topology_measure(&t, &shape);
            nx_mem_fail_at(0);
            assert_true(status == NEXAR_OK || status == NEXAR_ENOMEM);
            failed += status == NEXAR_ENOMEM;
            nx_routes_fini(&routes);
            nx_topology_fini(&t);
            assert_int_equal(live_blocks(), blocks);
        }
    }
    assert_int_equal(failed, (0 + 6 + 0) + (3 + 6 + 5) + (2 + 6 + 5));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_mesh),
        cmocka_unit_test(test_k_regular),
        cmocka_unit_test(test_hypercube_of_any_size),
        cmocka_unit_test(test_same_graph_on_all_machines),
        cmocka_unit_test(test_auto_and_what_is_refused),
        cmocka_unit_test(test_tables_around_what_is_broken),
        cmocka_unit_test(test_ranks_that_disagree),
        cmocka_unit_test(test_ten_thousand),
        cmocka_unit_test(test_measures),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
