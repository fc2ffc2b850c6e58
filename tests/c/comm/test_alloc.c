/* Memory of nexar_comm_alloc among ranks that share a segment: sums in it on some ranks and on all, what is left when a
 * communicator is closed, when there is no room, and when a rank does not come, lies, or is stopped. */
#include "bulk/shm_heap.h"
#include "coll/near.h"
#include "job.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 300000 };

static void form(struct job *job, uint32_t size)
{
    nexar_config config = {.size = sizeof(config), .peer_timeout_ns = 20 * NX_S, .transports = "shm,quic"};

    job_local(job, size, &config);
}

static void *get(nexar_comm *comm, size_t nbytes, bool lend)
{
    void *p;

    if (!lend) {
        p = malloc(nbytes);
        must(p != NULL);
        return p;
    }
    must(nexar_comm_alloc(comm, nbytes, &p) == NEXAR_OK);
    return p;
}

static void put(void *p, bool lend)
{
    if (lend)
        nexar_comm_free(p);
    else
        free(p);
}

static bool is_shared(nexar_comm *comm, const void *p)
{
    uint64_t offset;

    return comm->net->shm != NULL && nx_shm_heaps_of(comm->net->shm) != NULL &&
           nx_shm_heap_has(nx_shm_heaps_of(comm->net->shm), p, 1, &offset);
}

/* ---- sums ---- */

static void sum_floats(nexar_comm *comm, size_t count, bool lend, bool in_place)
{
    uint32_t rank = nexar_comm_rank(comm), n = nexar_comm_size(comm);
    size_t off = rank * 3; /* another one on each rank */
    float *x = get(comm, (count + off) * sizeof(float), lend), *send = x + off;
    float *y = in_place ? NULL : get(comm, count * sizeof(float), lend), *recv = in_place ? send : y;

    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < count; i++)
            send[i] = (float)(i % 1021 + rank + (size_t)turn);
        must(nexar_all_reduce(comm, send, recv, count, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
        for (size_t i = 0; i < count; i++)
            must(recv[i] == (float)((i % 1021 + (size_t)turn) * n + n * (n - 1) / 2));
    }
    put(x, lend);
    if (y != NULL)
        put(y, lend);
}

/* Largest of bytes, average of doubles, begun and waited for. */
static void other_types(nexar_comm *comm, bool lend)
{
    uint32_t rank = nexar_comm_rank(comm), n = nexar_comm_size(comm);
    size_t count = 70001;
    uint8_t *bytes = get(comm, count, lend);
    double *reals = get(comm, count * sizeof(double), lend);
    nexar_op *op[2];

    for (size_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(i % 100 + rank);
        reals[i] = (double)(2 * rank) + (double)i;
    }
    must(nexar_all_reduce(comm, bytes, bytes, count, NEXAR_UINT8, NEXAR_MAX, NULL, &op[0]) == NEXAR_OK);
    must(nexar_all_reduce(comm, reals, reals, count, NEXAR_FLOAT64, NEXAR_AVG, NULL, &op[1]) == NEXAR_OK);
    for (int i = 0; i < 2; i++) {
        must(nexar_op_wait(op[i], NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(op[i]);
    }
    for (size_t i = 0; i < count; i++) {
        must(bytes[i] == (uint8_t)(i % 100 + n - 1));
        must(reals[i] == (double)(n - 1) + (double)i);
    }
    put(bytes, lend);
    put(reals, lend);
}

static void sums(nexar_comm *comm, void *arg)
{
    static const size_t counts[] = {1, 5000, 16384, 100001, MOST};
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]) / (JOB_SHORTER > 1 ? 2 : 1); i++) {
        for (int in_place = 0; in_place < 2; in_place++) {
            sum_floats(comm, counts[i], true, in_place != 0);
            sum_floats(comm, counts[i], rank % 2 == 0, in_place != 0);
        }
    }
    other_types(comm, true);
    other_types(comm, rank == 0);
}

static void test_sums(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 5, 7, 8};

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct job job;

        form(&job, sizes[s]);
        job_each(&job, sums, NULL);
        job_close(&job);
    }
}

/* ---- memory ---- */

static void blocks(nexar_comm *comm, void *arg)
{
    bool shared = arg != NULL;
    void *small, *large;

    small = get(comm, 100, true);
    large = get(comm, 4 << 20, true);
    must((uintptr_t)small % 4096 == 0 && (uintptr_t)large % 4096 == 0);
    must(is_shared(comm, small) == shared && !is_shared(comm, large)); /* there is no room for it */
    memset(large, 1, 4 << 20);
    nexar_comm_free(large);
    nexar_comm_free(small);
    nexar_comm_free(NULL);
    large = get(comm, 0, true);
    must(large != NULL);
    nexar_comm_free(large);
    must_fail(nexar_comm_alloc(comm, SIZE_MAX / 2, &large), NEXAR_ENOMEM, NEXAR_NO_RANK, "alloc");
    must(large == NULL);
    must_fail(nexar_comm_alloc(comm, 1, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "alloc");
    sum_floats(comm, 600000, true, true); /* more than the heap has */
}

static void test_no_room(void **state)
{
    struct job job;

    (void)state;
    setenv("NEXAR_SHM_HEAP", "2m", 1);
    form(&job, 2);
    job_each(&job, blocks, &job);
    job_close(&job);
    setenv("NEXAR_SHM_HEAP", "0", 1);
    form(&job, 2);
    job_each(&job, blocks, NULL);
    job_close(&job);
    unsetenv("NEXAR_SHM_HEAP");
}

static void test_it_outlives_the_communicator(void **state)
{
    uint8_t *p[3];
    struct job job;

    (void)state;
    form(&job, 3);
    for (uint32_t r = 0; r < 3; r++) {
        p[r] = get(job.comm[r], 3 << 20, true);
        assert_true(is_shared(job.comm[r], p[r]));
        memset(p[r], (int)r + 1, 3 << 20);
    }
    job_close(&job);
    for (uint32_t r = 0; r < 3; r++) {
        for (size_t i = 0; i < 3 << 20; i++)
            assert_int_equal(p[r][i], r + 1);
        memset(p[r], 0, 3 << 20);
    }
    for (uint32_t r = 0; r < 3; r++)
        nexar_comm_free(p[r]);
}

/* ---- failures ---- */

struct lone {
    struct job job;
    float *x;
};

static void begin_alone(struct lone *l)
{
    form(&l->job, 2);
    l->x = get(l->job.comm[0], MOST * sizeof(float), true);
    for (size_t i = 0; i < MOST; i++)
        l->x[i] = 1;
}

/* Rank 0's operation, which waits for rank 1. */
static nexar_op *start_alone(struct lone *l)
{
    nexar_call_opts opts = {.size = sizeof(opts), .timeout_ns = NEXAR_FOREVER};
    struct nx_near *near;
    nexar_op *op;

    must(nexar_all_reduce(l->job.comm[0], l->x, l->x, MOST, NEXAR_FLOAT32, NEXAR_SUM, &opts, &op) == NEXAR_OK);
    near = l->job.comm[0]->near;
    must(near != NULL);
    while (atomic_load(&near->rank[0].line[nx_near_parity(atomic_load(&near->turn), 0)].seq) <
           nx_near_number(atomic_load(&near->turn), 0))
        sched_yield();
    return op;
}

static void end_alone(struct lone *l, nexar_op *op, nexar_status status)
{
    must(nexar_op_wait(op, NEXAR_FOREVER) == status);
    nexar_op_close(op);
    for (size_t i = 0; i < MOST; i++)
        assert_true(l->x[i] == 1);
    nexar_comm_free(l->x);
    job_close(&l->job);
}

static void test_a_rank_does_not_come(void **state)
{
    struct lone l;
    nexar_op *op;

    (void)state;
    begin_alone(&l);
    op = start_alone(&l);
    nexar_op_cancel(op);
    end_alone(&l, op, NEXAR_ECANCELLED);
}

/* What rank 1 would write into its line. */
static struct nx_near_line *line_of_other(struct lone *l, uint64_t send, uint64_t recv)
{
    struct nx_near *near = l->job.comm[0]->near;
    uint32_t parity = nx_near_parity(atomic_load(&near->turn), 0);
    struct nx_near_line *line = &near->rank[1].line[parity], *mine = &near->rank[0].line[parity];

    line->call = mine->call;
    line->count = mine->count;
    line->sequence = mine->sequence;
    memcpy(line->data, &send, sizeof(send));
    memcpy(line->data + sizeof(send), &recv, sizeof(recv));
    return line;
}

static void test_a_rank_that_lies_is_cut_off(void **state)
{
    struct lone l;
    nexar_op *op;
    nexar_error error = {.size = sizeof(error)};

    (void)state;
    begin_alone(&l);
    op = start_alone(&l);
    atomic_store(&line_of_other(&l, UINT64_C(1) << 50, 1)->seq,
                 nx_near_number(atomic_load(&l.job.comm[0]->near->turn), 0));
    must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_EPEER);
    nexar_last_error_info(&error);
    assert_int_equal(error.peer, 1);
    assert_non_null(strstr(error.text, "memory"));
    assert_int_not_equal(nexar_barrier(l.job.comm[0], NULL, NULL), NEXAR_OK);
    end_alone(&l, op, NEXAR_EPEER);
}

/* A rank that is stopped while it is at our memory does not keep us from having it, and does nothing to it later. */
static void test_a_rank_that_is_stopped_at_it(void **state)
{
    struct lone l;
    struct nx_shm_heaps *theirs;
    nexar_op *op;
    uint64_t offset, k;
    float *seen;

    (void)state;
    begin_alone(&l);
    theirs = nx_shm_heaps_of(l.job.comm[1]->net->shm);
    must(nx_shm_heap_has(nx_shm_heaps_of(l.job.comm[0]->net->shm), l.x, MOST * sizeof(float), &offset));
    seen = (float *)(void *)nx_shm_heap_at(theirs, 0, offset, MOST * sizeof(float));
    must(seen != NULL && seen[MOST - 1] == 1);
    op = start_alone(&l);
    k = atomic_load(&l.job.comm[0]->near->turn);
    atomic_store(&l.job.comm[0]->near->rank[1].touches, 2 * k + 1);
    nexar_op_cancel(op);
    must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_ECANCELLED);
    memset(seen, 7, MOST * sizeof(float));
    atomic_store(&l.job.comm[0]->near->rank[1].touches, 2 * k + 2);
    end_alone(&l, op, NEXAR_ECANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_it_outlives_the_communicator),
        cmocka_unit_test(test_a_rank_does_not_come),
        cmocka_unit_test(test_a_rank_that_lies_is_cut_off),
        cmocka_unit_test(test_a_rank_that_is_stopped_at_it),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
