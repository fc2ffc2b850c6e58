/* test_sched_mutations.c - damages every schedule of every collective in turn: the checker notices, or the results. */
#include "coll_case.h"
#include "edges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

struct tally {
    size_t edges, caught, implied, harmless;
};

/* Deletes each edge of each rank's schedule in turn; where the checker sees nothing, the results must be right in many
 * orders. */
static void mutate(struct coll_case *c, struct tally *t, struct rng *rng)
{
    assert_int_equal(sim_check(&c->sim), NEXAR_OK);
    for (uint32_t r = 0; r < c->sim.n; r++)
        for (uint32_t i = 0; i < c->sim.scheds[r].count; i++)
            for (int k = 0; k < 2; k++) {
                struct nx_sched *s = &c->sim.scheds[r];
                int32_t before = s->steps[i].after[k];

                if (before == NX_NONE)
                    continue;
                t->edges++;
                s->steps[i].after[k] = NX_NONE;
                sim_finish(&c->sim);
                if (sim_check(&c->sim) != NEXAR_OK) {
                    t->caught++;
                } else if (edges_imply(s, i, before)) {
                    t->implied++;
                } else {
                    t->harmless++;
                    for (int round = 0; round < 8; round++)
                        coll_case_run(c, SIM_BUFFERED, rng);
                }
                s->steps[i].after[k] = before;
                sim_finish(&c->sim);
            }
}

/* These hold back steps that could harm nothing, not in place, to bound what is under way; and all_gather's bruck joins
 * what two ranks, in place, do not need to; and a broadcast over hosts begins a part when all of another is over. */
static bool has_spare_edges(const struct coll_algorithm *a)
{
    return strcmp(a->name, "pairwise") == 0 || strcmp(a->name, "linear") == 0 ||
           (a->coll == NX_COLL_REDUCE && a->cuts) || (a->coll == NX_COLL_ALL_GATHER && strcmp(a->name, "bruck") == 0) ||
           (a->coll == NX_COLL_BROADCAST && strcmp(a->name, "hosts") == 0);
}

/* Within a window every edge guards some memory: deleting any is noticed, or another path says the same.  Where blocks
 * are of unequal length, some are empty. */
static void test_missing_dependencies_are_caught(void **state)
{
    struct rng rng = {33};

    (void)state;
    for (size_t a = 0; a < coll_algorithm_count; a++) {
        const struct coll_algorithm *alg = &coll_algorithms[a];
        struct tally t = {0};

        for (uint32_t n = 2; n <= 11; n += 1 + n / 6)
            for (int way = NOT_IN_PLACE; way <= IN_PLACE; way++) {
                struct nx_shape shape = {.n = n, .root = n / 2, .count = 3 * (size_t)n + 1, .segment = 50};
                struct coll_case c;

                coll_case_init(&c, alg, shape, (enum coll_in_place)way, kinds[1], &rng);
                mutate(&c, &t, &rng);
                coll_case_fini(&c);
            }
        assert_int_equal(t.implied + t.caught + t.harmless, t.edges);
        if (!coll_is_unequal(alg->coll) && !has_spare_edges(alg)) {
            assert_int_equal(t.harmless, 0);
            assert_true(t.caught >= 3 * t.implied);
        }
    }
}

/* With windows some edges bound memory in flight instead; without them the results are right. */
static void test_missing_edges_of_windows_are_harmless(void **state)
{
    struct rng rng = {34};
    struct tally t = {0};

    (void)state;
    for (size_t a = 0; a < coll_algorithm_count; a++)
        for (uint32_t n = 2; n <= 4 && coll_algorithms[a].cuts; n++) {
            struct nx_shape shape = {.n = n, .root = n - 1, .count = 6 * (size_t)n, .segment = 1};
            struct coll_case c;

            coll_case_init(&c, &coll_algorithms[a], shape, n == 3 ? IN_PLACE : NOT_IN_PLACE, kinds[1], &rng);
            mutate(&c, &t, &rng);
            coll_case_fini(&c);
        }
    assert_true(t.harmless > 0 && t.caught > 0);
}

/* --- Wrong steps -------------------------------------------------------------------------------------------------- */

enum fault { SRC_MOVED, DST_MOVED, NOT_REDUCED, NOT_DONE, FAULTS };

/* False if the step cannot have this fault. */
static bool damage(struct nx_step *t, enum fault fault)
{
    bool has_src = t->kind == NX_STEP_SEND || t->kind == NX_STEP_COPY || t->kind == NX_STEP_REDUCE;
    bool is_local = t->kind == NX_STEP_COPY || t->kind == NX_STEP_REDUCE || t->kind == NX_STEP_FILL;

    if (t->count == 0)
        return false;
    switch (fault) {
    case SRC_MOVED:
        t->src += t->src == 0 ? 1 : (size_t)-1;
        return has_src;
    case DST_MOVED:
        t->dst += t->dst == 0 ? 1 : (size_t)-1;
        return t->kind != NX_STEP_SEND && t->kind != NX_STEP_JOIN;
    case NOT_REDUCED:
        if (t->kind != NX_STEP_REDUCE && t->kind != NX_STEP_RECV_REDUCE)
            return false;
        t->kind = t->kind == NX_STEP_REDUCE ? NX_STEP_COPY : NX_STEP_RECV;
        return true;
    default:
        t->kind = NX_STEP_JOIN;
        return is_local;
    }
}

/* Every single step matters. */
static void wrong_steps(struct coll_case *c, struct rng *rng)
{
    for (uint32_t r = 0; r < c->sim.n; r++)
        for (uint32_t i = 0; i < c->sim.scheds[r].count; i++)
            for (int fault = 0; fault < FAULTS; fault++) {
                struct nx_step *t = &c->sim.scheds[r].steps[i];
                struct nx_step right = *t;
                char text[80];

                if (damage(t, (enum fault)fault) && sim_check(&c->sim) == NEXAR_OK &&
                    coll_case_try(c, SIM_BUFFERED, rng) == NULL) {
                    nx_sched_describe(&c->sim.scheds[r], i, text, sizeof(text));
                    fail_msg("%s: nobody notices fault %d of rank %u in what is now %s", c->text, fault, r, text);
                }
                *t = right;
            }
}

static void test_wrong_steps_are_noticed(void **state)
{
    struct rng rng = {35};

    (void)state;
    for (size_t a = 0; a < coll_algorithm_count; a++)
        for (uint32_t n = 2; n <= 6; n++)
            for (int way = NOT_IN_PLACE; way <= IN_PLACE; way++) {
                struct nx_shape shape = {.n = n, .root = n / 2, .count = 2 * (size_t)n + 1, .segment = 4};
                struct coll_case c;

                coll_case_init(&c, &coll_algorithms[a], shape, (enum coll_in_place)way, kinds[1], &rng);
                wrong_steps(&c, &rng);
                coll_case_fini(&c);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_dependencies_are_caught),
        cmocka_unit_test(test_missing_edges_of_windows_are_harmless),
        cmocka_unit_test(test_wrong_steps_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
