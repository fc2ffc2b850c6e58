/* test_topology.c - the graphs: who is whose neighbour, in worlds of every size. */
#include "topology_kit.h"

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
        cmocka_unit_test(test_measures),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
