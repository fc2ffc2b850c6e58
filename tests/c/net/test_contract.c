/* What every transport must do, whichever it is: the one that NEXAR_TRANSPORTS names, between two ranks of this
 * process.  CMake runs this program once for each. */
#include "base/call.h"
#include "job.h"
#include "net/way.h"
#include "rng.h"

#include <sched.h>

static const char *name; /* of the transport */

/* ---- kit ---- */

static uint8_t byte_at(uint32_t seed, uint64_t i)
{
    return (uint8_t)(seed * 31 + i * 7 + (i >> 8) * 13 + (i >> 16) * 29);
}

static uint8_t *make(uint32_t seed, uint64_t n)
{
    uint8_t *p = malloc(n + 1);

    must(p != NULL);
    for (uint64_t i = 0; i < n; i++)
        p[i] = byte_at(seed, i);
    return p;
}

static void check(const uint8_t *p, uint32_t seed, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (p[i] != byte_at(seed, i))
            fprintf(stderr, "byte %llu of %llu is wrong\n", (unsigned long long)i, (unsigned long long)n);
        must(p[i] == byte_at(seed, i));
    }
}

static nexar_link *link_of(nexar_comm *comm)
{
    nexar_conn *conn;

    must(nexar_comm_peer(comm, 1 - nexar_comm_rank(comm), &conn) == NEXAR_OK);
    return conn->link_count == 0 ? NULL : &conn->links[0];
}

static uint64_t carried(nexar_comm *comm)
{
    nexar_link *link = link_of(comm);

    return link == NULL ? 0 : atomic_load(&link->way->stats.messages_sent);
}

static bool is_sure(nexar_comm *comm)
{
    nexar_link *link = link_of(comm);

    return link == NULL || (atomic_load(&link->ops)->flags & NEXAR_BULK_SURE) != 0;
}

static void send_to(nexar_comm *comm, uint32_t seed, uint64_t n, uint32_t tag)
{
    uint8_t *p = make(seed, n);

    must(nexar_send(comm, p, n, 1 - nexar_comm_rank(comm), tag, NULL, NULL) == NEXAR_OK);
    memset(p, 0xee, n); /* it is ours again */
    free(p);
}

static void recv_from(nexar_comm *comm, uint32_t seed, uint64_t n, uint32_t tag)
{
    uint8_t *p = malloc(n + 1);
    nexar_recv_info info;

    must(p != NULL);
    must(nexar_recv(comm, p, n, 1 - nexar_comm_rank(comm), tag, &info, NULL) == NEXAR_OK);
    must(info.nbytes == n && info.tag == tag);
    check(p, seed, n);
    free(p);
}

static const uint64_t sizes[] = {0,     1,     8,     64,    65,    127,    128,    129,     4096,
                                 16384, 16385, 65535, 65536, 65537, 262143, 262145, 1000003, 4194304 + 5};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

/* ---- behaviours ---- */

/* Each size there and back, and both at the same time. */
static void exchange(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    uint64_t before = carried(comm);

    (void)arg;
    for (uint32_t i = 0; i < SIZES; i++) {
        uint8_t *out = make(i + rank, sizes[i]), *in = malloc(sizes[i] + 1);

        must(in != NULL);
        if (rank == 0)
            send_to(comm, i, sizes[i], i);
        recv_from(comm, i, sizes[i], i);
        if (rank == 1)
            send_to(comm, i, sizes[i], i);
        must(nexar_sendrecv(comm, out, sizes[i], 1 - rank, 99, in, sizes[i], 1 - rank, 99, NULL, NULL) == NEXAR_OK);
        check(in, i + 1 - rank, sizes[i]);
        free(out);
        free(in);
    }
    if (link_of(comm) != NULL)
        must(carried(comm) - before == 2 * SIZES); /* it is this transport that carried them */
}

/* More than any buffer on the way. */
static void huge(nexar_comm *comm, void *arg)
{
    uint64_t n = (strcmp(name, "slow") == 0 ? 8 : 96) * (UINT64_C(1) << 20) / JOB_SHORTER + 3;

    (void)arg;
    if (nexar_comm_rank(comm) == 0)
        send_to(comm, 5, n, 1);
    else
        recv_from(comm, 5, n, 1);
}

/* Thousands of small ones with two tags, most of which nobody waits for when they come. */
static void small(nexar_comm *comm, void *arg)
{
    enum { COUNT = 3000 / JOB_SHORTER }; /* of one tag fewer than hold back their sender */

    (void)arg;
    if (nexar_comm_rank(comm) == 0) {
        for (uint32_t i = 0; i < COUNT; i++)
            send_to(comm, i, i % 97, i % 3 == 0);
    } else {
        for (uint32_t i = 0; i < COUNT; i++) {
            if (i % 3 == 0)
                recv_from(comm, i, i % 97, 1);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            if (i % 3 != 0)
                recv_from(comm, i, i % 97, 0);
        }
    }
}

/* Each op ends once, whatever becomes of it; sizes of all kinds are in flight at once. */
static void in_flight(nexar_comm *comm, void *arg)
{
    enum { OPS = 120 };
    uint32_t rank = nexar_comm_rank(comm);
    nexar_op *out[OPS], *in[OPS];
    uint8_t *from[OPS], *to[OPS];

    (void)arg;
    for (uint32_t i = 0; i < OPS; i++) {
        uint64_t n = sizes[i % (SIZES - 1)];

        from[i] = make(i + rank, n);
        to[i] = malloc(n + 1);
        must(to[i] != NULL);
        must(nexar_recv_nb(comm, to[i], n, 1 - rank, i, NULL, &in[i]) == NEXAR_OK);
        must(nexar_send(comm, from[i], n, 1 - rank, i, NULL, &out[i]) == NEXAR_OK);
    }
    for (uint32_t i = 0; i < OPS; i++) {
        must(nexar_op_wait(out[i], NEXAR_FOREVER) == NEXAR_OK);
        must(nexar_op_wait(in[OPS - 1 - i], NEXAR_FOREVER) == NEXAR_OK);
    }
    for (uint32_t i = 0; i < OPS; i++) {
        check(to[i], i + 1 - rank, sizes[i % (SIZES - 1)]);
        nexar_op_close(out[i]);
        nexar_op_close(in[i]);
        free(from[i]);
        free(to[i]);
    }
}

/* A receive that gives up in the middle of its message leaves it to the next one. */
static void cancelled(nexar_comm *comm, void *arg)
{
    enum { COUNT = 20, BYTES = 3 << 20 };
    uint8_t *p = malloc(BYTES);

    (void)arg;
    must(p != NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        nexar_op *op;

        if (nexar_comm_rank(comm) == 0) {
            send_to(comm, i, BYTES, 4);
            continue;
        }
        must(nexar_recv_nb(comm, p, BYTES, 0, 4, NULL, &op) == NEXAR_OK);
        for (uint32_t k = 0; k < i * 40; k++)
            sched_yield();
        nexar_op_cancel(op);
        if (nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK)
            check(p, i, BYTES);
        else
            recv_from(comm, i, BYTES, 4);
        nexar_op_close(op);
    }
    free(p);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

/* What is unread stays within its limits, and what others wait for still comes through. */
static void unread(nexar_comm *comm, void *arg)
{
    enum { COUNT = 3000 / JOB_SHORTER, BYTES = 16000 };
    nexar_op *op[COUNT];

    (void)arg;
    if (nexar_comm_rank(comm) == 0) {
        uint8_t *p = make(0, BYTES);

        for (uint32_t i = 0; i < COUNT; i++)
            must(nexar_send(comm, p, BYTES, 1, 7, NULL, &op[i]) == NEXAR_OK);
        send_to(comm, 1, 5, 8);
        for (uint32_t i = 0; i < COUNT; i++) {
            must(nexar_op_wait(op[i], NEXAR_FOREVER) == NEXAR_OK);
            nexar_op_close(op[i]);
        }
        free(p);
        return;
    }
    recv_from(comm, 1, 5, 8);
    must(atomic_load(&comm->net->lanes.stats.unread_bytes) <= comm->net->config.limits.unread_bytes + (2 << 20));
    for (uint32_t i = 0; i < COUNT; i++)
        recv_from(comm, 0, BYTES, 7);
}

/* Received in the reverse order, more than may lie about unread: large messages wait at their sender. */
static void reverse(nexar_comm *comm, void *arg)
{
    enum { COUNT = 80 };
    uint64_t n = (1 << 20) / JOB_SHORTER;
    nexar_op *op[COUNT];
    uint8_t *p = make(9, n);

    (void)arg;
    for (uint32_t i = 0; i < COUNT && nexar_comm_rank(comm) == 0; i++)
        must(nexar_send(comm, p, n, 1, i, NULL, &op[i]) == NEXAR_OK);
    for (uint32_t i = COUNT; i-- > 0;) {
        if (nexar_comm_rank(comm) == 1) {
            recv_from(comm, 9, n, i);
            continue;
        }
        must(nexar_op_wait(op[i], NEXAR_FOREVER) == NEXAR_OK);
        nexar_op_close(op[i]);
    }
    free(p);
}

static void with_job(void (*fn)(nexar_comm *comm, void *arg))
{
    struct job job;

    job_form(&job, 2);
    job_each(&job, fn, NULL);
    job_works(&job);
    job_close(&job);
}

static void test_exchange(void **state)
{
    (void)state;
    with_job(exchange);
}

static void test_huge(void **state)
{
    (void)state;
    with_job(huge);
}

static void test_small(void **state)
{
    (void)state;
    with_job(small);
}

static void test_in_flight(void **state)
{
    (void)state;
    with_job(in_flight);
}

static void test_cancelled(void **state)
{
    (void)state;
    with_job(cancelled);
}

static void test_unread(void **state)
{
    (void)state;
    with_job(unread);
}

static void test_reverse(void **state)
{
    (void)state;
    if (strcmp(name, "quic") == 0)
        skip(); /* its flow control counts what is unread */
    with_job(reverse);
}

/* What was sent before the end arrives. */
static void last_words(nexar_comm *comm, void *arg)
{
    enum { COUNT = 40 };

    (void)arg;
    if (nexar_comm_rank(comm) == 0) {
        for (uint32_t i = 0; i < COUNT; i++)
            send_to(comm, i, i * 977, 1);
        nexar_comm_close(comm);
    } else {
        for (uint32_t i = 0; i < COUNT; i++)
            recv_from(comm, i, i * 977, 1);
    }
}

static void test_close_with_traffic(void **state)
{
    struct job job;

    (void)state;
    job_form(&job, 2);
    job_each(&job, last_words, NULL);
    job.comm[0] = NULL;
    job_close(&job);
}

/* ---- links that break ---- */

static void break_link(void *arg)
{
    nx_link_break(arg, false, "the test breaks it");
}

static _Atomic bool enough;

static void traffic(nexar_comm *comm, void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 16 / JOB_SHORTER + 2; i++)
        in_flight(comm, NULL);
    atomic_store(&enough, true);
}

/* Every second time it waits until the link is ready: one that never is, is tried again ever more rarely. */
static void *breaker(void *arg)
{
    struct job *job = arg;
    uint32_t seed = 1;

    for (uint32_t round = 0; !atomic_load(&enough); round++) {
        nexar_link *link = link_of(job->comm[seed & 1]);

        while (round % 2 == 0 && !atomic_load(&link->ready) && !atomic_load(&enough))
            sched_yield();
        seed = seed * 1664525 + 1013904223;
        for (uint32_t k = 0; k < (seed >> 20); k++)
            sched_yield();
        must(nx_call(break_link, link) == NEXAR_OK);
    }
    return NULL;
}

/* Until both ends are ready: the pause before a link is tried again may have become 30 seconds. */
static void wait_for_links(struct job *job)
{
    nx_time until = nx_now() + CHECK_PATIENCE;

    while (!atomic_load(&link_of(job->comm[0])->ready) || !atomic_load(&link_of(job->comm[1])->ready)) {
        assert_true(nx_now() < until);
        sched_yield();
    }
}

/* Nothing is lost, nothing comes twice; and the link comes back. */
static void test_breaks_and_comes_back(void **state)
{
    struct job job;
    nexar_link *link;
    pthread_t thread;
    uint64_t before;

    (void)state;
    if (strcmp(name, "quic") == 0)
        skip();
    job_form(&job, 2);
    link = link_of(job.comm[0]);
    if (is_sure(job.comm[0])) {
        job_close(&job);
        skip(); /* it ends with its peer */
    }
    atomic_store(&enough, false);
    assert_int_equal(pthread_create(&thread, NULL, breaker, &job), 0);
    job_each(&job, traffic, NULL);
    pthread_join(thread, NULL);
    wait_for_links(&job);
    before = atomic_load(&link->way->stats.lost);
    must(nx_call(break_link, link) == NEXAR_OK); /* once more while nothing is under way: this one counts for sure */
    assert_true(atomic_load(&link->way->stats.lost) > before);
    assert_true(job_logged("broke: the test breaks it|QUIC carries its messages"));
    wait_for_links(&job);
    before = carried(job.comm[0]);
    job_each(&job, exchange, NULL);
    assert_true(carried(job.comm[0]) > before);
    job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_in_flight),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_unread),
        cmocka_unit_test(test_reverse),
        cmocka_unit_test(test_close_with_traffic),
        cmocka_unit_test(test_breaks_and_comes_back),
    };

    name = getenv("NEXAR_TRANSPORTS");
    if (name == NULL)
        name = "quic";
    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
