/* After an op was closed nobody touches its memory, whatever the other ranks still do: it is overwritten at once, or
 * given back. */
#include "job.h"

#include "rng.h"

enum { ROUNDS = 64 / JOB_SHORTER, CANARY = 0x5a };

static void spin(size_t turns)
{
    volatile size_t left = turns;

    while (left > 0)
        left--;
}

static bool is_whole(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != CANARY)
            return false;
    }
    return true;
}

/* Some come at once, some only after a while; all tell when they have done their part, so that what could still come
 * has come when the canary is looked at. */
static void meet(nexar_comm *comm)
{
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

/* ---- collectives ---- */

/* One rank, another each time, gives its operation up at some time. */
static void give_up(nexar_comm *comm, void *arg)
{
    static const size_t counts[] = {3, 1000, 30000, 700000};
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm);
    struct rng same = {5}, own = {rank + 1};

    (void)arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        size_t count = counts[rng_below(&same, 4)], nbytes = count * sizeof(double);
        bool reduces = rng_below(&same, 3) != 0;
        double *in = calloc(count, sizeof(double)), *out = malloc(nbytes);
        nexar_op *op;
        nexar_status st;

        must(in != NULL && out != NULL);
        if (rng_below(&own, 2) == 0)
            spin(rng_below(&own, 300000));
        if (reduces)
            st = nexar_all_reduce(comm, in, out, count, NEXAR_FLOAT64, NEXAR_SUM, NULL, &op);
        else
            st = nexar_broadcast(comm, out, count, NEXAR_FLOAT64, (round + 1) % size, NULL, &op);
        must(st == NEXAR_OK);
        if (rank == round % size) {
            spin(rng_below(&own, 400000));
            nexar_op_close(op);
            memset(in, CANARY, nbytes);
            memset(out, CANARY, nbytes);
        } else {
            st = nexar_op_wait(op, NEXAR_FOREVER);
            must(st == NEXAR_OK || st == NEXAR_ECANCELLED);
            nexar_op_close(op);
            for (size_t i = 0; st == NEXAR_OK && reduces && i < count; i++)
                must(out[i] == 0.0); /* nothing of the canary was sent */
        }
        meet(comm);
        if (rank == round % size)
            must(is_whole((uint8_t *)in, nbytes) && is_whole((uint8_t *)out, nbytes));
        free(in);
        free(out);
    }
}

/* The same, but the memory is gone at once: a sanitizer sees who still uses it. */
static void give_back(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    struct rng own = {rank + 1};

    (void)arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        size_t count = 200000;
        double *x = calloc(count, sizeof(double));
        nexar_op *op;

        must(x != NULL);
        must(nexar_all_reduce(comm, x, x, count, NEXAR_FLOAT64, NEXAR_SUM, NULL, &op) == NEXAR_OK);
        spin(rng_below(&own, 500000));
        nexar_op_close(op); /* on all of them */
        free(x);
    }
    meet(comm);
}

static void test_c12_collectives(void **state)
{
    struct job job;

    (void)state;
    for (uint32_t n = 2; n <= 4; n++) {
        job_local(&job, n, NULL);
        job_each(&job, give_up, NULL);
        job_each(&job, give_back, NULL);
        job_works(&job);
        job_close(&job);
    }
}

/* Closed before, while and after the others begin; the deadline does it too. */
static void run_out(nexar_comm *comm, void *arg)
{
    enum { COUNT = 400000 };
    uint32_t rank = nexar_comm_rank(comm);
    struct rng own = {rank + 1};

    (void)arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const nexar_call_opts brief = {.size = sizeof(brief), .timeout_ns = 1 + (int64_t)rng_below(&own, 3000000)};
        double *x = calloc(COUNT, sizeof(double));
        nexar_status st;

        must(x != NULL);
        st = nexar_all_reduce(comm, x, x, COUNT, NEXAR_FLOAT64, NEXAR_SUM, rank == round % 3 ? &brief : NULL, NULL);
        must(st == NEXAR_OK || st == NEXAR_ETIMEDOUT);
        memset(x, CANARY, COUNT * sizeof(double));
        meet(comm);
        must(is_whole((uint8_t *)x, COUNT * sizeof(double)));
        free(x);
    }
}

static void test_c12_deadlines(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, run_out, NULL);
    job_works(&job);
    job_close(&job);
}

/* ---- messages ---- */

/* A receive that is given up while its message comes in: nothing more is written, and the message is still there for
 * the next receive. */
static void receive_twice(nexar_comm *comm, void *arg)
{
    static const size_t lengths[] = {10, 16000, 65536, 3000000};
    uint32_t rank = nexar_comm_rank(comm), other = 1 - rank;
    struct rng same = {9}, own = {rank + 1};

    (void)arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        size_t nbytes = lengths[rng_below(&same, 4)];
        uint8_t *in = calloc(1, nbytes), *again = calloc(1, nbytes), *out = malloc(nbytes);
        nexar_recv_info info = {0};
        nexar_op *sent, *op;
        nexar_status st;

        must(in != NULL && again != NULL && out != NULL);
        memset(out, (int)(round % 200) + 1, nbytes);
        must(nexar_recv_nb(comm, in, nbytes, other, round, NULL, &op) == NEXAR_OK);
        must(nexar_send(comm, out, nbytes, other, round, NULL, &sent) == NEXAR_OK);
        spin(rng_below(&own, 600000));
        must(nexar_op_cancel(op) == NEXAR_OK);
        st = nexar_op_wait(op, NEXAR_FOREVER);
        nexar_op_close(op);
        if (st == NEXAR_OK) {
            must(in[0] == round % 200 + 1 && in[nbytes - 1] == round % 200 + 1);
        } else {
            must(st == NEXAR_ECANCELLED);
            memset(in, CANARY, nbytes);
            must(nexar_recv(comm, again, nbytes, other, round, &info, NULL) == NEXAR_OK && info.nbytes == nbytes);
            for (size_t i = 0; i < nbytes; i++)
                must(again[i] == round % 200 + 1);
            must(is_whole(in, nbytes));
        }
        must(nexar_op_wait(sent, NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(sent);
        free(in);
        free(again);
        free(out);
    }
}

/* A send that is given up: its memory is free when the close returns, so what arrives is whole or does not come. */
static void send_and_forget(nexar_comm *comm, void *arg)
{
    enum { NBYTES = 2000000 };
    uint32_t rank = nexar_comm_rank(comm);
    struct rng own = {rank + 1};
    uint8_t *bytes = malloc(NBYTES);

    (void)arg;
    must(bytes != NULL);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bool patient = round % 4 == 0; /* this one is not given up */
        nexar_op *op;

        if (rank == 0) {
            memset(bytes, (int)(round % 200) + 1, NBYTES);
            must(nexar_send(comm, bytes, NBYTES, 1, round, NULL, &op) == NEXAR_OK);
            spin(rng_below(&own, 300000));
            must(!patient || nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
            nexar_op_close(op);
            memset(bytes, 0xff, NBYTES);
            must(nexar_send(comm, &round, sizeof(round), 1, 1000, NULL, NULL) == NEXAR_OK);
            continue;
        }
        must(nexar_recv_nb(comm, bytes, NBYTES, 0, round, NULL, &op) == NEXAR_OK);
        must(nexar_recv(comm, &round, sizeof(round), 0, 1000, NULL, NULL) == NEXAR_OK);
        if (nexar_op_wait(op, patient ? NEXAR_FOREVER : NX_S / 5) == NEXAR_OK) {
            for (size_t i = 0; i < NBYTES; i++)
                must(bytes[i] == round % 200 + 1);
        } else {
            must(!patient);
        }
        nexar_op_close(op);
    }
    free(bytes);
}

static void test_c12_messages(void **state)
{
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, receive_twice, NULL);
    job_each(&job, send_and_forget, NULL);
    job_works(&job);
    job_close(&job);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c12_collectives),
        cmocka_unit_test(test_c12_deadlines),
        cmocka_unit_test(test_c12_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
