/* Ranks that call different things, or one call less, or fail: all of them are told, nobody waits for ever, and there
 * is never a wrong sum. */
#include "job.h"

#include "base/mem.h"

/* ---- different calls ---- */

enum { SLOT = 100 }; /* elements */

struct call {
    enum { ALL_REDUCE, BROADCAST, BARRIER } what;
    size_t count;
    nexar_dtype dtype;
    nexar_reduce_op op;
    uint32_t root;
};

struct difference {
    struct call most, odd; /* one rank makes the odd call */
    uint32_t who;
    const char *words;
};

/* `slot`: calls that are under way at once need arrays of their own. */
static nexar_status make_in(size_t slot, nexar_comm *comm, const struct call *c, nexar_op **op)
{
    static _Thread_local double in[20000], out[20000];
    double *x = in + slot * SLOT, *y = out + slot * SLOT;

    must(slot == 0 || c->count <= SLOT);
    switch (c->what) {
    case ALL_REDUCE:
        return nexar_all_reduce(comm, x, y, c->count, c->dtype, c->op, NULL, op);
    case BROADCAST:
        return nexar_broadcast(comm, x, c->count, c->dtype, c->root, NULL, op);
    default:
        return nexar_barrier(comm, NULL, op);
    }
}

static nexar_status make(nexar_comm *comm, const struct call *c, nexar_op **op)
{
    return make_in(0, comm, c, op);
}

static const struct call sum10 = {ALL_REDUCE, 10, NEXAR_FLOAT64, NEXAR_SUM, 0};

static void differ(nexar_comm *comm, void *arg)
{
    const struct difference *d = arg;
    uint32_t rank = nexar_comm_rank(comm);
    bool odd = rank == d->who;
    nexar_error error = {.size = sizeof(error)};
    nexar_status st = NEXAR_OK;
    nx_time until = nx_now() + CHECK_PATIENCE;

    must(make(comm, &sum10, NULL) == NEXAR_OK);
    /* Who only sends may have gone on when the others find out; then it is the next call that fails. */
    while (st == NEXAR_OK && nx_now() < until)
        st = make(comm, odd ? &d->odd : &d->most, NULL);
    must_fail(st, NEXAR_EMISMATCH, JOB_ANY_PEER, d->words);
    must(nexar_last_error_info(&error) == NEXAR_OK && error.sequence >= 2 && error.comm == nexar_comm_id(comm));
    must(error.peer < 3 && error.peer != rank);
    /* And so does everything that follows. */
    must(make(comm, &sum10, NULL) == NEXAR_EMISMATCH && make(comm, &d->most, NULL) == NEXAR_EMISMATCH);
    /* Messages between two ranks go on. */
    must(nexar_sendrecv(comm, "x", 1, (rank + 1) % 3, 0, &error.text, 1, NEXAR_ANY, 0, NULL, NULL) == NEXAR_OK);
}

static void test_c8_different_calls(void **state)
{
    static const struct call f32 = {ALL_REDUCE, 10, NEXAR_FLOAT32, NEXAR_SUM, 0},
                             max = {ALL_REDUCE, 10, NEXAR_FLOAT64, NEXAR_MAX, 0},
                             sum11 = {ALL_REDUCE, 11, NEXAR_FLOAT64, NEXAR_SUM, 0},
                             none = {ALL_REDUCE, 0, NEXAR_FLOAT64, NEXAR_SUM, 0},
                             large = {ALL_REDUCE, 20000, NEXAR_FLOAT64, NEXAR_SUM, 0},
                             from0 = {BROADCAST, 10, NEXAR_FLOAT64, NEXAR_SUM, 0},
                             from1 = {BROADCAST, 10, NEXAR_FLOAT64, NEXAR_SUM, 1}, barrier = {.what = BARRIER};
    const struct difference differences[] = {
        {sum10, f32, 0, "all_reduce(10 x float64, sum)|all_reduce(10 x float32, sum)"},
        {sum10, max, 1, "all_reduce(10 x float64, sum)|all_reduce(10 x float64, max)"},
        {sum10, sum11, 2, "all_reduce(10 x float64, sum)|all_reduce(11 x float64, sum)"},
        {sum10, none, 0, "all_reduce(10 x float64, sum)|all_reduce(0 x float64, sum)"},
        {large, sum10, 1, "all_reduce(20000 x float64, sum)|all_reduce(10 x float64, sum)"},
        {sum10, large, 2, "all_reduce(20000 x float64, sum)|all_reduce(10 x float64, sum)"},
        {from0, from1, 0, "broadcast(10 x float64, root 0)|broadcast(10 x float64, root 1)"},
        {from0, from1, 2, "broadcast(10 x float64, root 0)|broadcast(10 x float64, root 1)"},
        {sum10, from0, 1, "all_reduce(10 x float64, sum)|broadcast(10 x float64, root 0)"},
        /* One of them has made one call less. */
        {sum10, barrier, 0, "all_reduce(10 x float64, sum)|barrier()"},
        {barrier, sum10, 2, "all_reduce(10 x float64, sum)|barrier()"},
        {from1, barrier, 1, "broadcast(10 x float64, root 1)|barrier()"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
        struct job job;

        job_local(&job, 3, NULL);
        job_each(&job, differ, (void *)(uintptr_t)&differences[i]);
        job_close(&job);
    }
}

/* Calls that were under way behind the one that does not fit end too; those before it end well. */
static void differ_ahead(nexar_comm *comm, void *arg)
{
    enum { CALLS = 6, ODD = 3 };
    static const struct call max = {ALL_REDUCE, 10, NEXAR_FLOAT64, NEXAR_MAX, 0};
    nexar_op *ops[CALLS];

    (void)arg;
    for (int i = 0; i < CALLS; i++) {
        nexar_status st;

        ops[i] = NULL;
        st = make_in((size_t)i, comm, i == ODD && nexar_comm_rank(comm) == 1 ? &max : &sum10, &ops[i]);
        must(st == NEXAR_OK || (st == NEXAR_EMISMATCH && i >= ODD));
    }
    for (int i = 0; i < CALLS; i++) {
        if (ops[i] == NULL)
            continue;
        if (i < ODD)
            must(nexar_op_wait(ops[i], NEXAR_FOREVER) == NEXAR_OK);
        else
            must_fail(nexar_op_wait(ops[i], NEXAR_FOREVER), NEXAR_EMISMATCH, JOB_ANY_PEER,
                      "(10 x float64, sum)|(10 x float64, max)");
        nexar_op_close(ops[i]);
    }
}

static void test_c8_what_follows_ends_too(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct job job;

        job_local(&job, 3, NULL);
        job_each(&job, differ_ahead, NULL);
        job_close(&job);
    }
}

/* ---- one call less, and nothing after it ---- */

static void call_less(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    must(make(comm, &sum10, NULL) == NEXAR_OK);
    if (rank != 1)
        must_fail(make(comm, &sum10, NULL), NEXAR_EPEER, 1, "all_reduce #2|rank 1|left");
    else
        nexar_comm_close(comm);
}

static void test_c8_one_call_less_and_gone(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, call_less, NULL);
    job.comm[1] = NULL;
    job_close(&job);
}

/* ---- a call that fails on one rank ---- */

/* A wrong argument is no call; a call that times out, or is cancelled, is one on all ranks. */
static void fail_and_go_on(nexar_comm *comm, void *arg)
{
    const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 20 * NX_MS};
    uint32_t rank = nexar_comm_rank(comm), root = 1;
    int64_t x = 1, y, word = 0;
    nexar_status st;
    nexar_op *op;

    (void)arg;
    if (rank == 1)
        must(nexar_broadcast(comm, &x, 1, NEXAR_INT64, 3, NULL, NULL) == NEXAR_EINVAL);
    must(nexar_all_reduce(comm, &x, &y, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK && y == 3);
    if (rank == 0) {
        must(nexar_barrier(comm, NULL, &op) == NEXAR_OK);
        nexar_op_close(op); /* cancels: nobody else is there yet */
        must(nexar_send(comm, NULL, 0, 1, 0, NULL, NULL) == NEXAR_OK);
        must(nexar_send(comm, NULL, 0, 2, 0, NULL, NULL) == NEXAR_OK);
    } else {
        must(nexar_recv(comm, NULL, 0, 0, 0, NULL, NULL) == NEXAR_OK);
        st = nexar_barrier(comm, NULL, NULL);
        if (st != NEXAR_OK || rank == 2) /* rank 1 has all that it needs from rank 0 */
            must_fail(st, NEXAR_ECANCELLED, 0, "barrier #2|cancelled on rank 0|by rank");
    }
    y = 0;
    must(nexar_all_reduce(comm, &x, &y, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK && y == 3);
    if (rank == 2) {
        must(nexar_broadcast(comm, &word, 1, NEXAR_INT64, root, &soon, NULL) == NEXAR_ETIMEDOUT);
        must(nexar_send(comm, NULL, 0, 1, 0, NULL, NULL) == NEXAR_OK);
    } else {
        if (rank == 1)
            must(nexar_recv(comm, NULL, 0, 2, 0, NULL, NULL) == NEXAR_OK);
        must_fail(nexar_broadcast(comm, &word, 1, NEXAR_INT64, root, NULL, NULL), NEXAR_ETIMEDOUT, rank == 1 ? 2 : 1,
                  "broadcast #4|timed out|waiting for rank 1|by rank 2");
    }
    y = 0;
    must(nexar_all_reduce(comm, &x, &y, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK && y == 3);
}

static void test_c8_a_rank_that_fails_stays_in_step(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, fail_and_go_on, NULL);
    job_works(&job);
    job_close(&job);
}

/* Far ahead: what was cancelled there is remembered here until its turn comes. */
static void cancel_many(nexar_comm *comm, void *arg)
{
    enum { CALLS = 100 };
    uint32_t rank = nexar_comm_rank(comm);
    int64_t x = 1, y[CALLS];
    nexar_op *ops[CALLS];

    (void)arg;
    for (int i = 0; rank == 0 && i < CALLS; i++)
        must(nexar_all_reduce(comm, &x, &y[i], 1, NEXAR_INT64, NEXAR_SUM, NULL, &ops[i]) == NEXAR_OK);
    for (int i = 0; rank == 0 && i < CALLS; i++)
        nexar_op_close(ops[i]);
    if (rank == 0) {
        must(nexar_send(comm, NULL, 0, 1, 0, NULL, NULL) == NEXAR_OK);
    } else {
        must(nexar_recv(comm, NULL, 0, 0, 0, NULL, NULL) == NEXAR_OK);
        for (int i = 0; i < CALLS; i++) {
            nexar_status st = nexar_all_reduce(comm, &x, y, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL);

            /* All that it needs may be here before it hears that rank 0 does not want it any more. */
            if (st == NEXAR_OK)
                must(y[0] == 2);
            else
                must_fail(st, NEXAR_ECANCELLED, 0, "cancelled on rank 0");
        }
    }
    must(nexar_all_reduce(comm, &x, y, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK && y[0] == 2);
}

static void test_c8_many_cancelled_ahead(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    for (int i = 0; i < 10; i++)
        job_each(&job, cancel_many, NULL);
    for (uint32_t r = 0; r < 2; r++) /* nothing of it is kept once its turn has come */
        assert_int_equal(job.comm[r]->aborted_count, 0);
    job_close(&job);
}

/* ---- short of memory ---- */

struct outcome {
    nexar_status status[3];
    nexar_error error[3];
};

static void try_once(nexar_comm *comm, void *arg)
{
    struct outcome *o = arg;
    uint32_t rank = nexar_comm_rank(comm);
    int64_t in[300], out[300] = {0};

    for (int i = 0; i < 300; i++)
        in[i] = (int64_t)rank + i;
    o->status[rank] = nexar_all_reduce(comm, in, out, 300, NEXAR_INT64, NEXAR_SUM, NULL, NULL);
    o->error[rank].size = sizeof(nexar_error);
    nexar_last_error_info(&o->error[rank]);
    for (int i = 0; o->status[rank] == NEXAR_OK && i < 300; i++)
        must(out[i] == 3 * i + 3);
}

/* Whichever allocation fails, on whichever rank: an error there or a right sum, and the ranks stay in step, or a
 * connection is lost and they know. */
static void test_c8_memory_is_short(void **state)
{
    uint64_t nth = 0, used = 0;

    (void)state;
    while (nth++ <= used) {
        struct nx_mem_stats before, after;
        struct outcome o;
        struct job job;

        job_local(&job, 3, NULL);
        nx_mem_stats(&before);
        nx_mem_fail_at(nth);
        job_each(&job, try_once, &o);
        nx_mem_fail_at(0);
        nx_mem_stats(&after);
        used = after.allocations - before.allocations;
        job_each(&job, try_once, &o);
        for (uint32_t r = 0; r < 3; r++) {
            if (o.status[r] != NEXAR_OK && o.status[r] != NEXAR_EPEER)
                fail_msg("allocation %llu, rank %u: %s", (unsigned long long)nth, r, o.error[r].text);
        }
        job_close(&job);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c8_different_calls),        cmocka_unit_test(test_c8_what_follows_ends_too),
        cmocka_unit_test(test_c8_one_call_less_and_gone), cmocka_unit_test(test_c8_a_rank_that_fails_stays_in_step),
        cmocka_unit_test(test_c8_many_cancelled_ahead),   cmocka_unit_test(test_c8_memory_is_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
