/* Ranks that called different things of which each was done before it could know: all of them are told all the same,
 * with both calls, and the communicator takes no more collectives. */
#include "job.h"

enum { LARGEST = 100000 };

/* What rank r of n calls first. */
struct call {
    enum { BROADCAST, SCATTER, GATHER, REDUCE } what;
    uint32_t root;
};

struct scene {
    const char *words;
    struct call (*choose)(uint32_t rank, uint32_t n);
    size_t count;
};

static struct call two_broadcast(uint32_t rank, uint32_t n)
{
    return (struct call){BROADCAST, rank == n - 1 ? n - 1 : 0};
}

static struct call two_scatter(uint32_t rank, uint32_t n)
{
    return (struct call){SCATTER, rank == n - 1 ? n - 1 : 0};
}

static struct call all_gather_elsewhere(uint32_t rank, uint32_t n)
{
    return (struct call){GATHER, (rank + 1) % n};
}

static struct call all_reduce_elsewhere(uint32_t rank, uint32_t n)
{
    return (struct call){REDUCE, (rank + 1) % n};
}

static struct call both_directions(uint32_t rank, uint32_t n)
{
    (void)n;
    return (struct call){rank == 0 ? BROADCAST : GATHER, 0};
}

static nexar_status make(nexar_comm *comm, struct call call, size_t count, double *x, double *y)
{
    switch (call.what) {
    case BROADCAST:
        return nexar_broadcast(comm, x, count, NEXAR_FLOAT64, call.root, NULL, NULL);
    case SCATTER:
        return nexar_scatter(comm, x, y, count, NEXAR_FLOAT64, call.root, NULL, NULL);
    case GATHER:
        return nexar_gather(comm, x, y, count, NEXAR_FLOAT64, call.root, NULL, NULL);
    default:
        return nexar_reduce(comm, x, y, count, NEXAR_FLOAT64, NEXAR_SUM, call.root, NULL, NULL);
    }
}

static void differ(nexar_comm *comm, void *arg)
{
    const struct scene *scene = arg;
    uint32_t rank = nexar_comm_rank(comm), n = nexar_comm_size(comm);
    double *x = calloc(n * scene->count, sizeof(*x)), *y = calloc(n * scene->count, sizeof(*y));
    nexar_error error = {.size = sizeof(error)};
    nx_time until = nx_now() + CHECK_PATIENCE;
    nexar_status st;
    char byte;

    must(x != NULL && y != NULL);
    st = make(comm, scene->choose(rank, n), scene->count, x, y);
    if (n == 2 && scene->count < 100 && st == NEXAR_OK) {
        /* What is small comes in the order in which it was sent, so the next call that waits for that rank knows. */
        st = nexar_barrier(comm, NULL, NULL);
    }
    while (st == NEXAR_OK && nx_now() < until)
        st = nexar_barrier(comm, NULL, NULL);
    must_fail(st, NEXAR_EMISMATCH, JOB_ANY_PEER, scene->words);
    must(nexar_last_error_info(&error) == NEXAR_OK && error.sequence >= 1 && error.comm == nexar_comm_id(comm));
    must(error.peer < n && error.peer != rank);
    for (int i = 0; i < 3; i++) {
        must_fail(nexar_barrier(comm, NULL, NULL), NEXAR_EMISMATCH, JOB_ANY_PEER, scene->words);
        must(make(comm, scene->choose(rank, n), scene->count, x, y) == NEXAR_EMISMATCH);
    }
    /* Messages between two ranks go on. */
    must(nexar_sendrecv(comm, "x", 1, (rank + 1) % n, 0, &byte, 1, NEXAR_ANY, 0, NULL, NULL) == NEXAR_OK);
    free(x);
    free(y);
}

static void test_c8_nobody_waits(void **state)
{
    static const struct {
        struct call (*choose)(uint32_t rank, uint32_t n);
        const char *words;
    } scenes[] = {
        {two_broadcast, "#1|broadcast(%zu x float64, root 0)|broadcast(%zu x float64, root %u)"},
        {two_scatter, "#1|scatter(%zu x float64, root 0)|scatter(%zu x float64, root %u)"},
        {all_gather_elsewhere, "#1|called gather(%zu x float64, root |, rank "},
        {all_reduce_elsewhere, "#1|called reduce(%zu x float64, sum, root |, rank "},
        {both_directions, "#1|broadcast(%zu x float64, root 0)|gather(%zu x float64, root 0)"},
    };
    static const uint32_t sizes[] = {2, 3, 5};
    static const size_t counts[] = {5, 5000, LARGEST};

    (void)state;
    for (size_t i = 0; i < 15; i++) {
        uint32_t n = sizes[i % 3];
        struct scene scene = {.choose = scenes[i / 3].choose, .count = counts[(i / 3 + i % 3) % 3]};
        char words[128];
        struct job job;

        snprintf(words, sizeof(words), scenes[i / 3].words, scene.count, scene.count, n - 1);
        scene.words = words;
        job_local(&job, n, NULL);
        job_each(&job, differ, &scene);
        job_close(&job);
    }
}

/* Nothing follows: there is nobody to tell, and closing is as quick and clean as ever. */
static void call_and_leave(nexar_comm *comm, void *arg)
{
    double x[5] = {0};
    nexar_status st = nexar_broadcast(comm, x, 5, NEXAR_FLOAT64, nexar_comm_rank(comm), NULL, NULL);

    (void)arg;
    must(st == NEXAR_OK || st == NEXAR_EMISMATCH || st == NEXAR_EPEER); /* some may have left already */
    nexar_comm_close(comm);
}

static void test_c8_nobody_waits_and_all_leave(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20; i++) {
        struct job job;

        job_local(&job, 2 + i % 3, NULL);
        job_each(&job, call_and_leave, NULL);
        for (uint32_t r = 0; r < job.size; r++)
            job.comm[r] = NULL;
        job_close(&job);
    }
}

/* Right programs in which ranks are far apart, and some calls end early: what comes late is no mismatch. */
static void far_apart(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), n = nexar_comm_size(comm);
    nexar_op *ops[200];
    double x[200][4];

    (void)arg;
    for (uint32_t i = 0; i < 200; i++) {
        must(nexar_broadcast(comm, x[i], 4, NEXAR_FLOAT64, i % n, NULL, &ops[i]) == NEXAR_OK);
        if (i % 7 == rank)
            must(nexar_op_cancel(ops[i]) == NEXAR_OK);
    }
    for (uint32_t i = 0; i < 200; i++) {
        nexar_status st = nexar_op_wait(ops[i], NEXAR_FOREVER);

        must(st == NEXAR_OK || st == NEXAR_ECANCELLED);
        nexar_op_close(ops[i]);
    }
}

static void test_c8_late_is_not_wrong(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    for (int i = 0; i < 20; i++) {
        job_each(&job, far_apart, NULL);
        job_works(&job);
    }
    job_close(&job);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c8_nobody_waits),
        cmocka_unit_test(test_c8_nobody_waits_and_all_leave),
        cmocka_unit_test(test_c8_late_is_not_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
