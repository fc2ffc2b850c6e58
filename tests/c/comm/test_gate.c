/* The gate of prepared calls: who shuts it waits for those inside, and nobody looks at it once they have left. */
#include "job.h"

#include <pthread.h>
#include <sched.h>

struct place {
    nexar_prepared call;
    int64_t x;
    _Atomic bool over;
};

/* Of a message that does not come: it is inside for some milliseconds, and then its op is its own. */
static void *receives(void *arg)
{
    struct place *p = arg;

    must(nexar_prepared_run(&p->call) == NEXAR_EAGAIN);
    atomic_store(&p->over, true);
    nexar_op_close(p->call.running);
    return NULL;
}

static void *shuts(void *arg)
{
    nexar_gate_shut(arg);
    return NULL;
}

static void *finds_it_shut(void *arg)
{
    struct place *p = arg;
    int32_t st;

    do {
        st = nexar_prepared_run(&p->call);
        must(st == NEXAR_OK || st == NEXAR_PREPARED_SHUT);
    } while (st == NEXAR_OK);
    must(p->call.busy == 0);
    return NULL;
}

static void begin(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    assert_int_equal(pthread_create(thread, NULL, fn, arg), 0);
}

static struct place place(nexar_gate *gate, nexar_prepared_call call)
{
    return (struct place){.call = {.size = sizeof(nexar_prepared), .call = call, .gate = gate}};
}

/* Its memory is gone as soon as it is shut, with the caller perhaps still in its call. */
static void test_it_may_be_freed_once_it_is_shut(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 1, NULL);
    for (int round = 0; round < 20; round++) {
        nexar_gate *gate = calloc(1, sizeof(*gate));
        struct place p = place(gate, NEXAR_PREPARED_RECV);
        pthread_t inside, other;

        assert_non_null(gate);
        gate->comm = job.comm[0];
        p.call.recv = &p.x;
        p.call.count = sizeof(p.x);
        begin(&inside, receives, &p);
        while (__atomic_load_n(&gate->users, __ATOMIC_SEQ_CST) == 0 && !atomic_load(&p.over))
            sched_yield();
        begin(&other, shuts, gate);
        nexar_gate_shut(gate);
        pthread_join(other, NULL);
        memset(gate, 0x5a, sizeof(*gate));
        free(gate);
        pthread_join(inside, NULL);
    }
    job_close(&job);
}

/* Callers that come and go meanwhile hold nobody up. */
static void test_it_is_shut_while_many_come_and_go(void **state)
{
    enum { CALLERS = 3 };
    struct job job;

    (void)state;
    job_local(&job, 1, NULL);
    for (int round = 0; round < 100 / JOB_SHORTER; round++) {
        nexar_gate gate = {.comm = job.comm[0]};
        struct place p[CALLERS];
        pthread_t caller[CALLERS];

        for (int i = 0; i < CALLERS; i++) {
            p[i] = place(&gate, NEXAR_PREPARED_BARRIER);
            begin(&caller[i], finds_it_shut, &p[i]);
        }
        for (int i = 0; i < 1 + round % 3; i++)
            sched_yield();
        nexar_gate_shut(&gate);
        assert_null(gate.comm);
        for (int i = 0; i < CALLERS; i++)
            pthread_join(caller[i], NULL);
        nexar_gate_shut(&gate); /* again: nothing happens */
    }
    job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_may_be_freed_once_it_is_shut),
        cmocka_unit_test(test_it_is_shut_while_many_come_and_go),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
