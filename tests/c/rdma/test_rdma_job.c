/* test_rdma_job.c - jobs whose ranks have RDMA alone: every byte of messages and collectives goes by it, completions of
 * many links do not mix, and a card that fails in the middle costs time and nothing else. */
#include "job.h"
#include "net/way.h"
#include "rng.h"
#include "verbs_kit.h"

enum { RANKS = 4 };

static uint64_t bytes_sent(nexar_comm *comm)
{
    return atomic_load(&comm->net->ways->way[0].stats.bytes_sent);
}

static int32_t value_of(uint32_t rank, size_t i)
{
    return (int32_t)((i * 7 + rank * 31) % 1009);
}

static void all_reduce(nexar_comm *comm, size_t count)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    int32_t *x = malloc(count * sizeof(*x)), *y = malloc(count * sizeof(*y));

    must(x != NULL && y != NULL);
    for (size_t i = 0; i < count; i++)
        x[i] = value_of(rank, i);
    must(nexar_all_reduce(comm, x, y, count, NEXAR_INT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    for (size_t i = 0; i < count; i++) {
        int32_t sum = 0;

        for (uint32_t r = 0; r < size; r++)
            sum += value_of(r, i);
        must(y[i] == sum);
    }
    free(x);
    free(y);
}

static void all_to_all(nexar_comm *comm, size_t count)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    int32_t *x = malloc(size * count * sizeof(*x)), *y = malloc(size * count * sizeof(*y));

    must(x != NULL && y != NULL);
    for (uint32_t r = 0; r < size; r++) {
        for (size_t i = 0; i < count; i++)
            x[r * count + i] = value_of(rank * size + r, i);
    }
    must(nexar_all_to_all(comm, x, y, count, NEXAR_INT32, NULL, NULL) == NEXAR_OK);
    for (uint32_t r = 0; r < size; r++) {
        for (size_t i = 0; i < count; i++)
            must(y[r * count + i] == value_of(r * size + rank, i));
    }
    free(x);
    free(y);
}

static const size_t counts[] = {1, 2, 100, 1024, 3000, 16384, 100003, (4 << 20) / sizeof(int32_t)};

/* `arg` not NULL: by RDMA. */
static void collectives(nexar_comm *comm, void *arg)
{
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint64_t before = bytes_sent(comm);

        all_reduce(comm, counts[i] / JOB_SHORTER + 1);
        must(arg == NULL ||
             bytes_sent(comm) - before >= counts[i] / JOB_SHORTER); /* in any algorithm, each rank sends something */
        all_to_all(comm, counts[i] / JOB_SHORTER / RANKS + 1);
    }
}

static void test_r1_collectives_go_by_rdma(void **state)
{
    struct job job;
    uint64_t reads = verbs->counts().reads;

    (void)state;
    job_form(&job, RANKS);
    job_each(&job, collectives, &job);
    for (uint32_t i = 0; i < RANKS; i++)
        assert_int_equal(atomic_load(&job.comm[i]->net->ways->way[0].stats.resent), 0);
    assert_true(verbs->counts().reads > reads); /* both kinds of messages */
    job_close(&job);
}

static void fill(uint8_t *to, uint64_t number, size_t n)
{
    struct rng rng = {.state = number * 977 + n};

    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)rng_next(&rng);
}

/* Every rank to every other at once, of all lengths, with tags that tell them apart. */
static void everybody(nexar_comm *comm, void *arg)
{
    enum { OPS = JOB_SHORTER == 1 ? 40 : 8 };
    static const size_t some[] = {0, 5, 700, 8200, 30000, 100000, 300000, 1 << 20};
    uint32_t rank = nexar_comm_rank(comm);
    nexar_op *op[2][RANKS][OPS];
    uint8_t *p[2][RANKS][OPS];

    (void)arg;
    for (uint32_t i = 0; i < OPS; i++) {
        for (uint32_t r = 0; r < RANKS; r++) {
            size_t n = some[i % 8];

            p[0][r][i] = malloc(n + 1);
            p[1][r][i] = malloc(n + 1);
            must(p[0][r][i] != NULL && p[1][r][i] != NULL);
            if (r == rank)
                continue;
            fill(p[0][r][i], rank * RANKS + r + i * 100, n);
            must(nexar_recv_nb(comm, p[1][r][i], n, r, i, NULL, &op[1][r][i]) == NEXAR_OK);
            must(nexar_send(comm, p[0][r][i], n, r, i, NULL, &op[0][r][i]) == NEXAR_OK);
        }
    }
    for (uint32_t i = 0; i < OPS; i++) {
        for (uint32_t r = 0; r < RANKS; r++) {
            size_t n = some[i % 8];

            for (int k = 0; k < 2 && r != rank; k++) {
                must(nexar_op_wait(op[k][r][i], NEXAR_FOREVER) == NEXAR_OK);
                nexar_op_close(op[k][r][i]);
            }
            fill(p[0][r][i], r * RANKS + rank + i * 100, n);
            must(r == rank || memcmp(p[0][r][i], p[1][r][i], n) == 0);
            free(p[0][r][i]);
            free(p[1][r][i]);
        }
    }
}

static void test_r5_completions_of_many_links_do_not_mix(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, RANKS);
    for (int i = 0; i < 3; i++)
        job_each(&job, everybody, NULL);
    job_close(&job);
    assert_int_equal(verbs->counts().rnr, 0);
}

static _Atomic uint32_t working;

static void under_fire(nexar_comm *comm, void *arg)
{
    (void)arg;
    for (int i = 0; i < 8; i++)
        everybody(comm, NULL);
    collectives(comm, NULL);
    atomic_fetch_sub(&working, 1);
}

static void *fire(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; atomic_load(&working) != 0; i++) {
        if (i % 3 == 0)
            verbs->event(0, EVENT_QP_FATAL);
        verbs->cut(i % 3 == 1);
        poll(NULL, 0, 20);
    }
    verbs->cut(0);
    return NULL;
}

static bool all_ready(struct job *job)
{
    for (uint32_t i = 0; i < RANKS; i++) {
        if (atomic_load(&job->comm[i]->net->ways->way[0].stats.links) != RANKS - 1)
            return false;
    }
    return true;
}

/* QUIC carries what the links have lost, and the links come back. */
static void test_cards_that_fail_in_the_middle(void **state)
{
    struct job job;
    pthread_t thread;
    uint64_t lost = 0;

    (void)state;
    job_form(&job, RANKS);
    atomic_store(&working, RANKS);
    assert_int_equal(pthread_create(&thread, NULL, fire, NULL), 0);
    job_each(&job, under_fire, NULL);
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < RANKS; i++)
        lost += atomic_load(&job.comm[i]->net->ways->way[0].stats.lost);
    assert_true(lost > 0);
    assert_driven(all_ready(&job));
    job_each(&job, everybody, NULL);
    job_close(&job);
}

static int begin(void **state)
{
    setenv("NEXAR_TRANSPORTS", "rdma", 1);
    setenv("NEXAR_RDMA_LIBRARY", RDMA_VERBS, 1);
    return job_log_begin(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_r1_collectives_go_by_rdma, kit_verbs, kit_teardown),
        cmocka_unit_test_setup_teardown(test_r5_completions_of_many_links_do_not_mix, kit_verbs, kit_teardown),
        cmocka_unit_test_setup_teardown(test_cards_that_fail_in_the_middle, kit_verbs, kit_teardown),
    };

    return cmocka_run_group_tests(tests, begin, NULL);
}
