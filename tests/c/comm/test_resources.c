/* What a job uses while it runs, and what it leaves when its nodes are closed: memory, descriptors, threads,
 * connections. */
#include "job.h"

#include "base/pool.h"

#include <dirent.h>

/* ---- memory ---- */

struct work {
    int turns;
    size_t count;
};

/* Beside the operations the members tell each other that they are there, which does allocate. */
static const nexar_config quiet = {
    .size = sizeof(quiet), .heartbeat_ns = INT64_C(3600000000000), .peer_timeout_ns = INT64_C(20000000000)};

static void many(nexar_comm *comm, void *arg)
{
    const struct work *w = arg;
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    int64_t *x = calloc(w->count, sizeof(*x)), *y = calloc(w->count, sizeof(*y)), out = 0, in;

    must(x != NULL && y != NULL);
    for (int turn = 0; turn < w->turns; turn++) {
        nexar_op *op;

        must(nexar_all_reduce(comm, x, y, w->count, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
        must(nexar_broadcast(comm, y, w->count, NEXAR_INT64, (uint32_t)turn % size, NULL, &op) == NEXAR_OK);
        must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(op);
        must(nexar_sendrecv(comm, &out, 8, (rank + 1) % size, (uint32_t)turn, &in, 8, (rank + size - 1) % size,
                            (uint32_t)turn, NULL, NULL) == NEXAR_OK);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    }
    free(x);
    free(y);
}

/* A new tag, and new numbers of operations, each time: nothing of them stays. */
static void test_l1_memory_is_flat(void **state)
{
    static const struct work works[] = {{3000 / JOB_SHORTER, 2}, {300 / JOB_SHORTER, 60000}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct nx_mem_stats before, after;
        struct work w = works[i];
        struct job job;

        job_local(&job, 3, &quiet);
        w.turns /= 3;
        job_each(&job, many, &w);
        nx_mem_stats(&before);
        job_each(&job, many, (void *)(uintptr_t)&works[i]);
        nx_mem_stats(&after);
        /* What was free before is enough, but for a moment when more is under way than ever before. */
        if (after.bytes > before.bytes + (1 << 20) || after.blocks > before.blocks + 64)
            fail_msg("%lld bytes, %lld blocks more after %d turns", (long long)(after.bytes - before.bytes),
                     (long long)(after.blocks - before.blocks), works[i].turns);
        assert_true(after.allocations - before.allocations < (uint64_t)works[i].turns * 2);
        job_close(&job);
    }
}

static void reduce_often(nexar_comm *comm, void *arg)
{
    const int *turns = arg;
    float x[4] = {1, 1, 1, 1}, y[4];

    for (int turn = 0; turn < *turns; turn++)
        must(nexar_all_reduce(comm, x, y, 4, NEXAR_FLOAT32, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
}

/* From the thousandth on, an all_reduce allocates nothing. */
static void test_l1_nothing_is_allocated(void **state)
{
    struct nx_mem_stats before, after;
    int turns = 1000;
    struct job job;

    (void)state;
    job_local(&job, 2, &quiet);
    job_each(&job, reduce_often, &turns);
    nx_mem_stats(&before);
    turns = 20000 / JOB_SHORTER;
    job_each(&job, reduce_often, &turns);
    nx_mem_stats(&after);
    if (after.allocations - before.allocations > 8) /* a timer's place may be new */
        fail_msg("%llu allocations", (unsigned long long)(after.allocations - before.allocations));
    job_close(&job);
}

/* ---- the end ---- */

static uint32_t entries(const char *path)
{
    DIR *dir = opendir(path);
    uint32_t n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* The engine and its one thread stay; everything else goes with the nodes. */
static void test_h4_closing_leaves_no_threads_and_no_descriptors(void **state)
{
    uint32_t threads = 0, descriptors = 0;
    uint64_t bytes = 0;

    (void)state;
    for (int round = 0; round < 14; round++) {
        struct nx_mem_stats stats;
        struct job job;

        job_local(&job, 5, NULL);
        job_works(&job);
        job_close(&job);
        nx_pool_trim();
        nx_mem_stats(&stats);
        if (round == 3) {
            threads = entries("/proc/self/task");
            descriptors = entries("/proc/self/fd");
            bytes = stats.bytes;
        } else if (round > 3) {
            /* QUIC takes a moment to close its sockets. */
            assert_eventually(entries("/proc/self/task") <= threads);
            assert_eventually(entries("/proc/self/fd") <= descriptors);
            assert_true(stats.bytes < bytes + 8192);
        }
    }
}

/* A rank that has gone is gone for the others, at once and for good: it sends no heartbeats either. */
static void test_h4_a_closed_node_is_gone(void **state)
{
    nx_time begun;
    char byte;
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_works(&job);
    nexar_comm_close(job.comm[1]);
    job.comm[1] = NULL;
    begun = nx_now();
    assert_status(nexar_recv(job.comm[0], &byte, 1, 1, 0, NULL, NULL), NEXAR_EPEER);
    assert_status(nexar_recv(job.comm[2], &byte, 1, 1, 0, NULL, NULL), NEXAR_EPEER);
    assert_true(nx_now() - begun < 5 * NX_S);
    assert_status(nexar_send(job.comm[0], &byte, 1, 1, 0, NULL, NULL), NEXAR_EPEER);
    job_close(&job);
}

/* All at the same time, or one after the other, with unread messages and open ops. */
static void leave(nexar_comm *comm, void *arg)
{
    uint32_t size = nexar_comm_size(comm);
    char bytes[100] = {0};
    nexar_op *op;

    (void)arg;
    for (uint32_t r = 0; r < size; r++)
        must(nexar_send(comm, bytes, sizeof(bytes), r, 1, NULL, NULL) == NEXAR_OK);
    must(nexar_recv_nb(comm, bytes, sizeof(bytes), NEXAR_ANY, 2, NULL, &op) == NEXAR_OK);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    nexar_comm_close(comm);
    must(nexar_op_wait(op, NEXAR_FOREVER) != NEXAR_OK);
    nexar_op_close(op);
}

static void test_h4_all_leave_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        struct job job;
        nx_time begun;

        job_local(&job, 5, NULL);
        begun = nx_now();
        job_each(&job, leave, NULL);
        assert_true(nx_now() - begun < 20 * NX_S); /* which is how long a job of these tests lingers at most */
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_l1_memory_is_flat),
        cmocka_unit_test(test_l1_nothing_is_allocated),
        cmocka_unit_test(test_h4_closing_leaves_no_threads_and_no_descriptors),
        cmocka_unit_test(test_h4_a_closed_node_is_gone),
        cmocka_unit_test(test_h4_all_leave_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
