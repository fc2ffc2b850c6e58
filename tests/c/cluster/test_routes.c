/* test_routes.c - the tables of next hops, around what is broken, against distances that are found anew here. */
#include "rng.h"
#include "topology_kit.h"

enum { OUT_MOST = 40 };

struct out {
    struct nx_outage outage;
    uint32_t dead[OUT_MOST];
    struct nx_topology_link link[OUT_MOST];
};

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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_around_what_is_broken),
        cmocka_unit_test(test_ranks_that_disagree),
        cmocka_unit_test(test_ten_thousand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
