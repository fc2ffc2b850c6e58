/* Prepared calls: each does what the call of its name does, again and again; long ones become ops; nobody is inside
 * when the gate is shut; what makes no sense does nothing. */
#include "job.h"

#include <pthread.h>

static const uint32_t sizes[] = {1, 2, 3, 5};
static const char *const ways[] = {"quic", "tcp", "shm"};

enum { COUNT = 37, ROUNDS = 40 / JOB_SHORTER + 2, RANKS_MOST = 5 };

static int64_t value_of(uint32_t rank, uint32_t round, size_t i)
{
    return (int64_t)(rank + 1) * 1000003 + round * 101 + (int64_t)i * 7;
}

static int64_t sum_of(uint32_t ranks, uint32_t round, size_t i)
{
    int64_t sum = 0;

    for (uint32_t r = 0; r < ranks; r++)
        sum += value_of(r, round, i);
    return sum;
}

/* To its end, whether it takes long or not. */
static int32_t run(nexar_prepared *p)
{
    int32_t st = nexar_prepared_run(p);

    if (st == NEXAR_EAGAIN) {
        nexar_recv_info info;

        must(p->running != NULL && p->busy != 0);
        must(nexar_prepared_run(p) == NEXAR_PREPARED_BUSY);
        st = nexar_op_wait(p->running, NEXAR_FOREVER);
        if (st == NEXAR_OK && p->call == NEXAR_PREPARED_RECV) {
            must(nexar_op_recv_info(p->running, &info) == NEXAR_OK);
            p->got = info.nbytes;
            p->got_source = info.source;
            p->got_tag = info.tag;
        }
        nexar_op_close(p->running);
    } else if (st != NEXAR_PREPARED_TOLD) {
        must(p->busy == 0);
        return st;
    }
    p->busy = 0;
    return st == NEXAR_PREPARED_TOLD ? NEXAR_OK : st;
}

static nexar_prepared prepared(nexar_gate *gate, nexar_prepared_call call, const void *send, void *recv)
{
    return (nexar_prepared){.size = sizeof(nexar_prepared),
                            .call = call,
                            .dtype = NEXAR_INT64,
                            .op = NEXAR_SUM,
                            .gate = gate,
                            .send = send,
                            .recv = recv,
                            .count = COUNT};
}

struct place {
    nexar_comm *comm;
    nexar_gate gate;
    uint32_t rank, size;
    int64_t in[RANKS_MOST * COUNT], out[RANKS_MOST * COUNT];
};

static void fill(struct place *p, uint32_t round)
{
    for (size_t i = 0; i < (size_t)p->size * COUNT; i++) {
        p->in[i] = value_of(p->rank, round, i);
        p->out[i] = -1;
    }
}

/* ---- what each call gives ---- */

static bool summed(const struct place *p, uint32_t round)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (p->out[i] != sum_of(p->size, round, i))
            return false;
    }
    return true;
}

static bool summed_up_to(const struct place *p, uint32_t round, uint32_t ranks)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (p->out[i] != sum_of(ranks, round, i))
            return false;
    }
    return true;
}

/* Block b of the result is block `their` of what rank b has. */
static bool gathered(const struct place *p, uint32_t round, bool to_all)
{
    for (uint32_t b = 0; b < p->size; b++) {
        for (size_t i = 0; i < COUNT; i++) {
            if (p->out[b * COUNT + i] != value_of(b, round, i + (to_all ? p->rank * COUNT : 0)))
                return false;
        }
    }
    return true;
}

static bool scattered(const struct place *p, uint32_t round, bool summed)
{
    for (size_t i = 0; i < COUNT; i++) {
        size_t at = p->rank * COUNT + i;

        if (p->out[i] != (summed ? sum_of(p->size, round, at) : value_of(p->size - 1, round, at)))
            return false;
    }
    return true;
}

static bool is_right(const struct place *p, nexar_prepared_call call, uint32_t round)
{
    bool root = p->rank == p->size - 1;

    switch (call) {
    case NEXAR_PREPARED_ALL_REDUCE:
        return summed(p, round);
    case NEXAR_PREPARED_REDUCE:
        return !root || summed(p, round);
    case NEXAR_PREPARED_SCAN:
        return summed_up_to(p, round, p->rank + 1);
    case NEXAR_PREPARED_EXCLUSIVE_SCAN:
        return summed_up_to(p, round, p->rank);
    case NEXAR_PREPARED_ALL_GATHER:
        return gathered(p, round, false);
    case NEXAR_PREPARED_GATHER:
        return !root || gathered(p, round, false);
    case NEXAR_PREPARED_ALL_TO_ALL:
        return gathered(p, round, true);
    case NEXAR_PREPARED_SCATTER:
        return scattered(p, round, false);
    case NEXAR_PREPARED_REDUCE_SCATTER:
        return scattered(p, round, true);
    default:
        return true;
    }
}

static void collectives(struct place *p)
{
    for (uint32_t call = NEXAR_PREPARED_ALL_REDUCE; call <= NEXAR_PREPARED_BARRIER; call++) {
        nexar_prepared made = prepared(&p->gate, (nexar_prepared_call)call, p->in, p->out);

        made.rank = p->size - 1; /* the root */
        for (uint32_t round = 0; round < ROUNDS; round++) {
            fill(p, round);
            if (call == NEXAR_PREPARED_BROADCAST && p->rank == p->size - 1)
                memcpy(p->out, p->in, COUNT * sizeof(*p->out));
            must(run(&made) == NEXAR_OK);
            must(is_right(p, (nexar_prepared_call)call, round));
            for (size_t i = 0; i < COUNT && call == NEXAR_PREPARED_BROADCAST; i++)
                must(p->out[i] == value_of(p->size - 1, round, i));
        }
    }
}

static void messages(struct place *p)
{
    uint32_t next = (p->rank + 1) % p->size, previous = (p->rank + p->size - 1) % p->size;
    nexar_prepared to = prepared(&p->gate, NEXAR_PREPARED_SEND, p->in, NULL);
    nexar_prepared from = prepared(&p->gate, NEXAR_PREPARED_RECV, NULL, p->out);

    to.rank = next;
    from.rank = previous;
    to.tag = from.tag = 9;
    from.count = sizeof(p->out);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        to.count = (round % COUNT) * sizeof(*p->in);
        fill(p, round);
        must(run(&to) == NEXAR_OK);
        must(run(&from) == NEXAR_OK);
        must(from.got == to.count && from.got_source == previous && from.got_tag == 9);
        for (size_t i = 0; i < round % COUNT; i++)
            must(p->out[i] == value_of(previous, round, i));
        must(p->out[round % COUNT] == -1);
    }
}

static void every_call(nexar_comm *comm, void *arg)
{
    struct place *p = calloc(1, sizeof(*p));

    (void)arg;
    must(p != NULL);
    p->comm = p->gate.comm = comm;
    p->rank = nexar_comm_rank(comm);
    p->size = nexar_comm_size(comm);
    collectives(p);
    messages(p);
    free(p);
}

static void test_every_call(void **state)
{
    (void)state;
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        assert_int_equal(setenv("NEXAR_TRANSPORTS", ways[w], 1), 0);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct job job;

            job_form(&job, sizes[i]);
            job_each(&job, every_call, NULL);
            job_close(&job);
        }
    }
    unsetenv("NEXAR_TRANSPORTS");
}

/* ---- one that takes long ---- */

static void waits(nexar_comm *comm, void *arg)
{
    nexar_gate gate = {.comm = comm};
    int64_t x = 0;
    nexar_prepared p = prepared(&gate, NEXAR_PREPARED_RECV, NULL, &x);

    (void)arg;
    p.rank = 0;
    p.count = sizeof(x);
    if (nexar_comm_rank(comm) == 0) {
        must(nexar_recv(comm, &x, sizeof(x), 1, 1, NULL, NULL) == NEXAR_OK); /* it has seen that it takes long */
        x = 42;
        must(nexar_send(comm, &x, sizeof(x), 1, 0, NULL, NULL) == NEXAR_OK);
        return;
    }
    must(nexar_prepared_run(&p) == NEXAR_EAGAIN);
    must(p.running != NULL && p.busy != 0 && gate.users == 0);
    must(nexar_prepared_run(&p) == NEXAR_PREPARED_BUSY);
    must(nexar_send(comm, &gate, 1, 0, 1, NULL, NULL) == NEXAR_OK);
    must(nexar_op_wait(p.running, NEXAR_FOREVER) == NEXAR_OK);
    nexar_op_close(p.running);
    must(x == 42);
}

static void test_what_takes_long_becomes_an_op(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 2);
    job_each(&job, waits, NULL);
    job_close(&job);
}

/* ---- several threads ---- */

struct pair {
    nexar_gate *gate;
    uint32_t rank, tag;
};

static void *ping_pong(void *arg)
{
    const struct pair *pair = arg;
    int64_t out = 0, in = 0;
    nexar_prepared to = prepared(pair->gate, NEXAR_PREPARED_SEND, &out, NULL);
    nexar_prepared from = prepared(pair->gate, NEXAR_PREPARED_RECV, NULL, &in);

    to.rank = from.rank = 1 - pair->rank;
    to.tag = from.tag = pair->tag;
    to.count = from.count = sizeof(out);
    for (uint32_t round = 0; round < 400 / JOB_SHORTER; round++) {
        out = value_of(pair->rank, round, pair->tag);
        must(pair->rank == 1 || run(&to) == NEXAR_OK);
        must(run(&from) == NEXAR_OK);
        must(pair->rank == 0 || run(&to) == NEXAR_OK);
        must(in == value_of(1 - pair->rank, round, pair->tag));
    }
    return NULL;
}

static void two_threads(nexar_comm *comm, void *arg)
{
    nexar_gate gate = {.comm = comm};
    struct pair pair[2];
    pthread_t thread;

    (void)arg;
    for (uint32_t i = 0; i < 2; i++)
        pair[i] = (struct pair){.gate = &gate, .rank = nexar_comm_rank(comm), .tag = i};
    must(pthread_create(&thread, NULL, ping_pong, &pair[1]) == 0);
    ping_pong(&pair[0]);
    pthread_join(thread, NULL);
    must(gate.users == 0);
}

static void test_two_threads(void **state)
{
    (void)state;
    for (size_t w = 1; w < sizeof(ways) / sizeof(ways[0]); w++) {
        struct job job;

        assert_int_equal(setenv("NEXAR_TRANSPORTS", ways[w], 1), 0);
        job_form(&job, 2);
        job_each(&job, two_threads, NULL);
        job_close(&job);
    }
    unsetenv("NEXAR_TRANSPORTS");
}

/* ---- what makes no sense, and what is over ---- */

static void test_what_cannot_be_done(void **state)
{
    struct job job;
    nexar_gate gate = {0};
    int64_t x[COUNT] = {0}, was[COUNT] = {0};
    nexar_watch watch = {.at = x, .was = was, .nbytes = sizeof(x)};
    nexar_prepared p = prepared(&gate, NEXAR_PREPARED_ALL_REDUCE, x, x), bad;

    (void)state;
    job_local(&job, 1, NULL);
    assert_int_equal(nexar_prepared_run(NULL), NEXAR_EINVAL);
    assert_int_equal(nexar_prepared_run(&p), NEXAR_PREPARED_SHUT);
    gate.comm = job.comm[0];
    bad = p;
    bad.size = sizeof(bad) - 1;
    assert_int_equal(nexar_prepared_run(&bad), NEXAR_EINVAL);
    bad = p;
    bad.gate = NULL;
    assert_int_equal(nexar_prepared_run(&bad), NEXAR_EINVAL);
    bad = p;
    bad.watches = 1;
    assert_int_equal(nexar_prepared_run(&bad), NEXAR_EINVAL);
    for (int call = 0; call <= NEXAR_PREPARED_BARRIER + 1; call += NEXAR_PREPARED_BARRIER + 1) {
        bad = p;
        bad.call = (nexar_prepared_call)call;
        assert_int_equal(nexar_prepared_run(&bad), NEXAR_EINVAL);
        assert_int_equal(bad.busy, 0);
    }
    bad = p;
    bad.dtype = (nexar_dtype)99;
    assert_int_equal(nexar_prepared_run(&bad), NEXAR_EINVAL);
    assert_non_null(strstr(nexar_last_error(), "all_reduce"));
    p.watch = &watch;
    p.watches = 1;
    assert_int_equal(nexar_prepared_run(&p), NEXAR_OK);
    x[COUNT - 1] = 5;
    assert_int_equal(nexar_prepared_run(&p), NEXAR_PREPARED_CHANGED);
    was[COUNT - 1] = 5;
    assert_int_equal(nexar_prepared_run(&p), NEXAR_OK);
    nexar_gate_shut(NULL);
    nexar_gate_shut(&gate);
    assert_int_equal(nexar_prepared_run(&p), NEXAR_PREPARED_SHUT);
    assert_int_equal(p.busy, 0);
    job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call),
        cmocka_unit_test(test_what_takes_long_becomes_an_op),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_what_cannot_be_done),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
