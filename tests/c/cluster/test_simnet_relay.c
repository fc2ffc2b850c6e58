/* test_simnet_relay.c - relays in virtual time: thousands of jobs with deaths, breaks, sick, slow and spiteful ranks,
 * each from a seed, and what must hold (relaysim.h).
 *
 * NEXAR_SIM_SEED=<number> runs that one alone, in each set, and says what happened.  NX_TEST_FULL: twenty times as
 * many. */
#include "check.h"
#include "relaysim.h"

struct set {
    const char *name;
    uint32_t seeds;
    struct relaysim_options options;
    uint32_t refusals; /* those that must have happened, by bit */
};

static struct relaysim sim; /* it is large */

static void run_one(const struct set *set, uint64_t seed, struct nx_relay_stats *sum, uint64_t *lost)
{
    struct nx_relay_stats s;

    relaysim_scenario(&sim, seed, &set->options);
    if (sim.fault[0] != '\0')
        fail_msg("%s, NEXAR_SIM_SEED=%llu, %s of %u: %s", set->name, (unsigned long long)seed,
                 nx_topology_name(sim.topology.kind), sim.topology.n, sim.fault);
    s = relaysim_stats(&sim);
    relaysim_add(sum, &s);
    *lost += sim.lost;
    relaysim_fini(&sim);
}

static void show(const char *name, const struct nx_relay_stats *s, uint64_t lost)
{
    print_message("%s: %llu messages, %llu again, %llu acks, %llu probes, %llu passed on, %llu packets lost; refused:",
                  name, (unsigned long long)s->sent, (unsigned long long)s->resent, (unsigned long long)s->acks,
                  (unsigned long long)s->probes, (unsigned long long)s->passed_on, (unsigned long long)lost);
    for (uint32_t i = 0; i < NX_RELAY_REFUSALS; i++) {
        if (s->refused[i] > 0)
            print_message(" %llu %s,", (unsigned long long)s->refused[i],
                          nx_relay_refusal_name((enum nx_relay_refusal)i));
    }
    print_message("\n");
}

static void run_all(const struct set *set)
{
    const char *only = getenv("NEXAR_SIM_SEED"), *full = getenv("NX_TEST_FULL");
    uint32_t count = full != NULL && *full != '\0' ? 20 * set->seeds : set->seeds / CHECK_SHORTER;
    uint64_t blocks = live_blocks(), lost = 0;
    struct nx_relay_stats sum = {0};

    if (only != NULL) {
        run_one(set, strtoull(only, NULL, 10), &sum, &lost);
        show(set->name, &sum, lost);
        return;
    }
    for (uint64_t seed = 1; seed <= count; seed++)
        run_one(set, seed, &sum, &lost);
    show(set->name, &sum, lost);
    for (uint32_t i = 0; i < NX_RELAY_REFUSALS; i++) /* the scenarios are what they should be */
        assert_true((set->refusals >> i & 1) == 0 || sum.refused[i] > 0);
    assert_true(sum.passed_on > count && sum.arrived > count);
    assert_true((set->options.deaths == 0 && set->options.breaks == 0) || (lost > 0 && sum.resent > 0));
    assert_int_equal(live_blocks(), blocks);
}

#define BIT(why) ((uint32_t)1 << NX_RELAY_##why)

/* Nothing goes wrong: nothing is lost but what found no room, and nothing is refused for another reason. */
static void test_peace(void **state)
{
    (void)state;
    run_all(&(struct set){.name = "peace", .seeds = 150});
}

static void test_deaths(void **state)
{
    (void)state;
    run_all(&(struct set){
        .name = "deaths", .seeds = 500, .options = {.deaths = 4}, .refusals = BIT(OLD) | BIT(NO_ROUTE) | BIT(UNKNOWN)});
}

static void test_breaks(void **state)
{
    (void)state;
    run_all(
        &(struct set){.name = "breaks", .seeds = 500, .options = {.breaks = 6}, .refusals = BIT(OLD) | BIT(NO_ROUTE)});
}

static void test_sick_relays(void **state)
{
    (void)state;
    run_all(&(struct set){.name = "sick",
                          .seeds = 500,
                          .options = {.deaths = 4, .breaks = 3, .sick = true},
                          .refusals = BIT(FORGED) | BIT(OLD) | BIT(WORLD) | BIT(UNKNOWN)});
}

static void test_spite(void **state)
{
    (void)state;
    run_all(&(struct set){.name = "spite",
                          .seeds = 500,
                          .options = {.deaths = 2, .breaks = 3, .spite = true},
                          .refusals = BIT(FORGED) | BIT(OLD) | BIT(UNKNOWN) | BIT(MALFORMED)});
}

static void test_slow_ranks(void **state)
{
    (void)state;
    run_all(&(struct set){.name = "slow",
                          .seeds = 200,
                          .options = {.deaths = 2, .breaks = 2, .slow = true, .large = 40},
                          .refusals = BIT(FULL) | BIT(OLD)});
}

static void test_short_of_memory(void **state)
{
    (void)state;
    run_all(&(struct set){.name = "short of memory",
                          .seeds = 300,
                          .options = {.deaths = 2, .breaks = 2, .short_memory = true},
                          .refusals = BIT(MEMORY)});
}

static void test_everything_at_once(void **state)
{
    (void)state;
    run_all(&(struct set){
        .name = "everything",
        .seeds = 300,
        .options = {
            .deaths = 4, .breaks = 4, .sick = true, .spite = true, .slow = true, .short_memory = true, .large = 100}});
}

/* All send to rank 3, which has a single connection left, and to others; returns how long these take until the last has
 * what it was sent. */
static nx_time others_are_done(bool to_3, nx_time takes_every, nx_time reads_every)
{
    nx_time last = 0, began;
    uint32_t degree;

    relaysim_init(&sim, 5, NX_TOPOLOGY_K_REGULAR, 4, 16, &(struct relaysim_options){0});
    degree = nx_topology_degree(&sim.topology, 3);
    for (uint32_t i = 1; i < degree; i++)
        relaysim_break(&sim, 3, nx_topology_neighbour(&sim.topology, 3, i));
    sim.last_fault = NX_S; /* by then all know of the breaks */
    relaysim_run(&sim, NX_NEVER);
    began = sim.now;
    sim.rank[3].take_every = takes_every;
    sim.wire[nx_topology_neighbour(&sim.topology, 3, 0)][3].delay = reads_every;
    for (uint32_t r = 0; r < 16; r++) {
        if (r == 3)
            continue;
        relaysim_say(&sim, r, 3, to_3 ? 300 : 0);
        relaysim_say(&sim, r, r == 4 ? 10 : 4, 300);
        relaysim_say(&sim, r, r == 11 ? 2 : 11, 300);
    }
    relaysim_run(&sim, NX_NEVER);
    assert_string_equal(sim.fault, "");
    for (uint32_t a = 0; a < 16; a++) {
        for (uint32_t b = 0; b < 16; b++) {
            if (b != 3 && sim.stream[a][b].done > last)
                last = sim.stream[a][b].done;
        }
    }
    relaysim_fini(&sim);
    return last - began;
}

/* The relay in front of one that takes a message every 0.1 s, or reads a packet every 40 ms, passes on what is for
 * others as before. */
static void test_a_slow_rank_holds_up_nobody_else(void **state)
{
    nx_time alone = others_are_done(false, NX_MS, 3 * NX_MS), fast = others_are_done(true, NX_MS, 3 * NX_MS),
            takes = others_are_done(true, 200 * NX_MS, 3 * NX_MS), reads = others_are_done(true, NX_MS, 160 * NX_MS);

    (void)state;
    print_message("others: %.3f s alone, %.3f s beside a fast one, %.3f s and %.3f s beside those that are slow\n",
                  (double)alone / 1e9, (double)fast / 1e9, (double)takes / 1e9, (double)reads / 1e9);
    assert_true(takes < 2 * fast && reads < 2 * fast);
}

/* The same seed is the same run, to the last byte. */
static void test_seeds_can_be_replayed(void **state)
{
    static const struct relaysim_options options = {
        .deaths = 3, .breaks = 3, .sick = true, .spite = true, .slow = true};

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t digest[2];

        for (uint32_t i = 0; i < 2; i++) {
            relaysim_scenario(&sim, seed, &options);
            digest[i] = sim.digest;
            relaysim_fini(&sim);
        }
        assert_int_equal(digest[0], digest[1]);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peace),
        cmocka_unit_test(test_deaths),
        cmocka_unit_test(test_breaks),
        cmocka_unit_test(test_sick_relays),
        cmocka_unit_test(test_spite),
        cmocka_unit_test(test_slow_ranks),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_a_slow_rank_holds_up_nobody_else),
        cmocka_unit_test(test_seeds_can_be_replayed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
