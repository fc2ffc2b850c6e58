/* test_simnet_forming.c - thousands of jobs form in the simulated network, with whatever can go wrong on the way.
 *
 * NEXAR_SIM_SEED=<number> runs that one alone and says what happened.  NX_TEST_FULL: a hundred times as many. */
#include "simjob.h"

#include "check.h"

enum { SEEDS = 2000 };

struct scenario {
    const char *name;
    bool wishes;  /* some workers want certain ranks, maybe the same */
    bool surplus; /* more workers than ranks, and strangers */
    bool missing; /* fewer workers than ranks */
    bool breaks;  /* connections break */
    bool deaths;  /* workers die */
    bool seed_dies;
    bool closed; /* the seed is closed at some time */
};

/* A run of one. */
struct run {
    const struct scenario *scenario;
    struct simjob job;
    uint32_t faults; /* that are still to come */
    uint32_t events; /* in which they come, roughly */
};

static uint32_t below(struct simjob *job, uint32_t n)
{
    return (uint32_t)rng_below(&job->net.rng, n);
}

static void break_one(struct simjob *job)
{
    uint32_t n = 0, chosen;

    nx_list_for_each_safe(pos, tmp, &job->net.conns) n++;
    if (n == 0)
        return;
    chosen = below(job, n);
    nx_list_for_each_safe(pos, tmp, &job->net.conns)
    {
        if (chosen-- == 0)
            simnet_break(nx_container_of(pos, struct simconn, link));
    }
}

/* Faults come while there is something to disturb. */
static void fault(void *arg)
{
    struct run *run = arg;
    const struct scenario *s = run->scenario;
    struct simjob *job = &run->job;

    if (run->faults == 0 || below(job, run->events) != 0)
        return;
    run->faults--;
    if (s->breaks)
        break_one(job);
    if (s->deaths)
        simhost_kill(&job->worker[below(job, job->workers)].host);
    if (s->seed_dies)
        simhost_kill(&job->seed_host);
    if (s->closed && !job->seed_host.dead) {
        nx_seed_cancel(&job->seed);
        simhost_settle(&job->seed_host);
    }
}

static void set_up(struct run *run, const struct scenario *s, uint64_t seed)
{
    static const nx_time delays[] = {NX_MS, 20 * NX_MS, 400 * NX_MS};
    struct simjob *job = &run->job;
    struct rng rng = {.state = seed};
    uint32_t size = 1 + (uint32_t)rng_below(&rng, SIMJOB_RANKS), workers = size;
    nx_time delay = delays[rng_below(&rng, 3)], notice = rng_below(&rng, 2) == 0 ? 5 * NX_S : delay;

    if (s->surplus)
        workers += 1 + (uint32_t)rng_below(&rng, SIMJOB_WORKERS - SIMJOB_RANKS);
    if (s->missing)
        workers = (uint32_t)rng_below(&rng, size);
    simjob_init(job, seed, delay, notice, size, workers, 30 * NX_S);
    for (uint32_t i = 0; i < workers; i++) {
        struct simworker *w = &job->worker[i];

        if (s->wishes && below(job, 4) == 0)
            w->rank_plus_one = 1 + below(job, size + 1);
        if (s->wishes && below(job, 16) == 0)
            w->size = size + below(job, 2);
        w->group[0] = (uint8_t)below(job, 3);
        w->local_rank_plus_one = below(job, 4);
        w->stranger = s->surplus && i >= size && below(job, 2) == 0;
        simjob_start(w, simnet_soon(&job->net, 10 * delay), (20 + below(job, 20)) * NX_S);
    }
    run->scenario = s;
    run->faults = s->breaks || s->deaths ? 1 + below(job, 4) : s->seed_dies || s->closed;
    run->events = 12 * size + 2 * size * size;
    job->net.after = fault;
    job->net.after_arg = run;
}

static void describe(const struct simjob *job)
{
    print_message("seed: state %d, %s\n", job->seed.state, job->seed.error.text);
    for (uint32_t i = 0; i < job->workers; i++) {
        const struct simworker *w = &job->worker[i];

        print_message("worker %u%s: rank %u, state %d at %.3f s: %s\n", i, w->host.dead ? " (dead)" : "", w->join.rank,
                      w->join.state, (double)w->over_at / 1e9, w->join.error.text);
    }
}

/* What all scenarios have in common; `formed` counts the jobs that have. */
static void run_one(const struct scenario *s, uint64_t seed, bool talk, uint32_t *formed)
{
    static struct run run; /* it is large */
    const char *why;

    set_up(&run, s, seed);
    simnet_run(&run.job.net, run.job.net.now + 120 * NX_S);
    why = simjob_fault(&run.job);
    if (why != NULL || talk)
        describe(&run.job);
    if (why != NULL)
        fail_msg("%s, NEXAR_SIM_SEED=%llu: %s", s->name, (unsigned long long)seed, why);
    *formed += run.job.seed.state == NX_SEED_FORMED;
    simjob_fini(&run.job);
}

/* Between `least` and `most` per cent of the jobs form. */
static void run_all(const struct scenario *s, uint32_t least, uint32_t most)
{
    const char *only = getenv("NEXAR_SIM_SEED");
    uint32_t formed = 0, count = SEEDS;
    uint64_t blocks = live_blocks();

    if (only != NULL) {
        run_one(s, strtoull(only, NULL, 10), true, &formed);
        return;
    }
    if (getenv("NX_TEST_FULL") != NULL && *getenv("NX_TEST_FULL") != '\0')
        count *= 100;
    for (uint64_t seed = 1; seed <= count; seed++)
        run_one(s, seed, false, &formed);
    print_message("%s: %u of %u have formed\n", s->name, formed, count);
    assert_in_range(formed, (uint64_t)count * least / 100, (uint64_t)count * most / 100);
    assert_int_equal(live_blocks(), blocks);
}

static void test_any_order_of_messages(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "delays"}, 100, 100);
}

static void test_wishes_that_contradict(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "wishes", .wishes = true}, 10, 60);
}

static void test_b3_strangers_and_too_many(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "surplus", .surplus = true}, 100, 100);
}

static void test_missing_workers(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "missing", .missing = true}, 0, 0);
}

static void test_broken_connections(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "breaks", .breaks = true}, 20, 95);
}

static void test_dying_workers(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "deaths", .deaths = true}, 20, 95);
}

static void test_b6_seed_dies(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "the seed dies", .seed_dies = true}, 20, 95);
}

static void test_seed_is_closed(void **state)
{
    (void)state;
    run_all(&(struct scenario){.name = "the seed is closed", .closed = true}, 20, 95);
}

static void test_everything_at_once(void **state)
{
    (void)state;
    run_all(
        &(struct scenario){
            .name = "everything", .wishes = true, .surplus = true, .breaks = true, .deaths = true, .seed_dies = true},
        5, 95);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order_of_messages),
        cmocka_unit_test(test_wishes_that_contradict),
        cmocka_unit_test(test_b3_strangers_and_too_many),
        cmocka_unit_test(test_missing_workers),
        cmocka_unit_test(test_broken_connections),
        cmocka_unit_test(test_dying_workers),
        cmocka_unit_test(test_b6_seed_dies),
        cmocka_unit_test(test_seed_is_closed),
        cmocka_unit_test(test_everything_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
