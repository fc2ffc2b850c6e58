/* Communicators made from others: members and order, ids, life times, operations in each, and what goes wrong. */
#include "comm/comms.h"
#include "job.h"

enum { ROUNDS = 1000 / JOB_SHORTER, CYCLES = 200 / JOB_SHORTER };

static const uint32_t SIZES[] = {1, 2, 3, 5, 7, 8};

static void on_all(uint32_t n, void (*fn)(nexar_comm *comm, void *arg), void *arg)
{
    struct job job;

    job_local(&job, n, NULL);
    job_each(&job, fn, arg);
    job_works(&job);
    job_close(&job);
}

static void on_sizes(void (*fn)(nexar_comm *comm, void *arg))
{
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++)
        on_all(SIZES[i], fn, NULL);
}

static int64_t sum(nexar_comm *comm, int64_t mine)
{
    must(nexar_all_reduce(comm, &mine, &mine, 1, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
    return mine;
}

/* Every call works in it: whose world ranks are `world`, in this order. */
static void check_calls(nexar_comm *comm, const uint32_t *world, uint32_t size)
{
    uint32_t rank = nexar_comm_rank(comm), next = (rank + 1) % size, before = (rank + size - 1) % size;
    int64_t all[JOB_RANKS], mine = world[rank], got = -1, expected = 0;
    nexar_recv_info info;
    nexar_op *op;

    must(nexar_comm_size(comm) == size);
    must(nexar_all_gather(comm, &mine, all, 1, NEXAR_INT64, NULL, NULL) == NEXAR_OK);
    for (uint32_t i = 0; i < size; i++) {
        must(all[i] == world[i]);
        expected += world[i];
    }
    must(sum(comm, mine) == expected);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    must(nexar_sendrecv(comm, &mine, 8, next, 5, &got, 8, NEXAR_ANY, 5, &info, NULL) == NEXAR_OK);
    must(got == world[before] && info.source == before && info.tag == 5);
    must(nexar_recv_nb(comm, &got, 8, next, 6, NULL, &op) == NEXAR_OK);
    must(nexar_send(comm, &mine, 8, before, 6, NULL, NULL) == NEXAR_OK);
    must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK && got == world[next]);
    must(nexar_op_recv_info(op, &info) == NEXAR_OK && info.source == next);
    nexar_op_close(op);
    must(nexar_send(comm, &mine, 8, next, 7, NULL, NULL) == NEXAR_OK);
    must(nexar_probe(comm, NEXAR_ANY, 7, &info, NULL) == NEXAR_OK && info.source == before && info.nbytes == 8);
    must(nexar_recv(comm, &got, 8, before, 7, &info, NULL) == NEXAR_OK && got == world[before]);
    must(nexar_broadcast(comm, &mine, 1, NEXAR_INT64, size - 1, NULL, NULL) == NEXAR_OK);
    must(mine == world[size - 1]);
}

/* ---- members ---- */

static void halves(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm), world[JOB_RANKS], n = 0;
    nexar_comm *child;

    (void)arg;
    must(nexar_comm_split(comm, rank % 2, (int32_t)rank, NULL, &child) == NEXAR_OK);
    for (uint32_t i = rank % 2; i < size; i += 2)
        world[n++] = i;
    must(nexar_comm_rank(child) == rank / 2);
    check_calls(child, world, n);
    nexar_comm_close(child);
}

static void test_m1_m2_every_call_works_in_a_split(void **state)
{
    (void)state;
    on_sizes(halves);
}

static void reversed(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm), world[JOB_RANKS];
    const int32_t keys[] = {INT32_MAX, 0, -5, INT32_MIN};
    nexar_comm *child;

    (void)arg;
    must(nexar_comm_split(comm, 77, -(int32_t)rank, NULL, &child) == NEXAR_OK);
    for (uint32_t i = 0; i < size; i++)
        world[i] = size - 1 - i;
    check_calls(child, world, size);
    nexar_comm_close(child);
    /* The extremes, which a difference of two would overflow. */
    must(nexar_comm_split(comm, 0, keys[rank % 4], NULL, &child) == NEXAR_OK);
    for (uint32_t n = 0, k = 4; k-- > 0;) {
        for (uint32_t i = k; i < size; i += 4)
            world[n++] = i;
    }
    check_calls(child, world, size);
    nexar_comm_close(child);
}

static void test_m4_keys_order_the_ranks(void **state)
{
    (void)state;
    on_sizes(reversed);
}

static void ties(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm), world[JOB_RANKS], n = 0;
    nexar_comm *child;

    (void)arg;
    /* The upper half first; inside of each half by rank. */
    must(nexar_comm_split(comm, NEXAR_NO_COLOR - 1, rank < size / 2 ? 1 : 0, NULL, &child) == NEXAR_OK);
    for (uint32_t i = size / 2; i < size; i++)
        world[n++] = i;
    for (uint32_t i = 0; i < size / 2; i++)
        world[n++] = i;
    check_calls(child, world, size);
    nexar_comm_close(child);
}

static void test_equal_keys_go_by_rank(void **state)
{
    (void)state;
    on_sizes(ties);
}

static void some(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm), world[JOB_RANKS], n = 0;
    nexar_comm *child = comm;

    (void)arg;
    must(nexar_comm_split(comm, rank % 3 == 0 ? 0 : NEXAR_NO_COLOR, 0, NULL, &child) == NEXAR_OK);
    must((child != NULL) == (rank % 3 == 0));
    for (uint32_t i = 0; i < size; i += 3)
        world[n++] = i;
    if (child != NULL)
        check_calls(child, world, n);
    nexar_comm_close(child);
    must(nexar_comm_split(comm, NEXAR_NO_COLOR, 0, NULL, &child) == NEXAR_OK && child == NULL);
}

static void test_ranks_without_a_color(void **state)
{
    (void)state;
    on_sizes(some);
}

static void alike(nexar_comm *comm, void *arg)
{
    uint32_t size = nexar_comm_size(comm), world[JOB_RANKS];
    nexar_comm *child;

    (void)arg;
    for (uint32_t i = 0; i < size; i++)
        world[i] = i;
    must(nexar_comm_dup(comm, NULL, &child) == NEXAR_OK);
    check_calls(child, world, size);
    must(nexar_comm_id(child) != nexar_comm_id(comm));
    nexar_comm_close(child);
    must(nexar_comm_split_by_host(comm, NULL, &child) == NEXAR_OK); /* this one */
    check_calls(child, world, size);
    nexar_comm_close(child);
}

static void test_dup_and_by_host(void **state)
{
    (void)state;
    on_sizes(alike);
}

static void nested(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), world[] = {7, 5, 3, 1};
    nexar_comm *one, *two, *three;

    (void)arg;
    /* The odd ranks backwards, of these every second backwards, of these each one. */
    must(nexar_comm_split(comm, rank % 2, -(int32_t)rank, NULL, &one) == NEXAR_OK);
    must(nexar_comm_split(one, nexar_comm_rank(one) % 2, -(int32_t)nexar_comm_rank(one), NULL, &two) == NEXAR_OK);
    must(nexar_comm_split(two, nexar_comm_rank(two), 0, NULL, &three) == NEXAR_OK);
    for (int i = 0; i < 4; i++)
        world[i] = rank % 2 == 1 ? (uint32_t)(7 - 2 * i) : (uint32_t)(6 - 2 * i);
    check_calls(one, world, 4);
    check_calls(two, (const uint32_t[]){rank % 4, rank % 4 + 4}, 2);
    check_calls(three, &rank, 1);
    /* In this order: each goes on without the one that it was made from. */
    nexar_comm_close(one);
    check_calls(two, (const uint32_t[]){rank % 4, rank % 4 + 4}, 2);
    nexar_comm_close(two);
    check_calls(three, &rank, 1);
    nexar_comm_close(three);
}

static void test_three_deep(void **state)
{
    (void)state;
    on_all(8, nested, NULL);
}

/* ---- apart ---- */

struct pair {
    nexar_comm *comm;
    int64_t sign;
};

static void *rounds(void *arg)
{
    const struct pair *p = arg;
    uint32_t rank = nexar_comm_rank(p->comm), size = nexar_comm_size(p->comm);
    uint32_t next = (rank + 1) % size, before = (rank + size - 1) % size;

    for (int64_t round = 0; round < ROUNDS; round++) {
        int64_t mine = p->sign * (round * 100 + rank), got = 0, total = 0;
        nexar_recv_info info;
        nexar_op *op;

        must(nexar_all_reduce(p->comm, &mine, &total, 1, NEXAR_INT64, NEXAR_SUM, NULL, &op) == NEXAR_OK);
        must(nexar_sendrecv(p->comm, &mine, 8, next, 1, &got, 8, NEXAR_ANY, NEXAR_ANY, &info, NULL) == NEXAR_OK);
        must(got == p->sign * (round * 100 + before) && info.source == before && info.tag == 1);
        must(nexar_op_wait(op, NEXAR_FOREVER) == NEXAR_OK);
        must(total == p->sign * (round * 100 * size + size * (size - 1) / 2));
        nexar_op_close(op);
    }
    return NULL;
}

static void twins(nexar_comm *comm, void *arg)
{
    struct pair one = {.sign = 1}, two = {.sign = -1};
    pthread_t thread;

    (void)arg;
    must(nexar_comm_dup(comm, NULL, &one.comm) == NEXAR_OK && nexar_comm_dup(comm, NULL, &two.comm) == NEXAR_OK);
    must(pthread_create(&thread, NULL, rounds, &one) == 0);
    rounds(&two);
    pthread_join(thread, NULL);
    nexar_comm_close(one.comm);
    nexar_comm_close(two.comm);
}

static void test_m5_two_of_the_same_ranks_never_meet(void **state)
{
    (void)state;
    on_all(3, twins, NULL);
}

/* ---- ids ---- */

static struct {
    nexar_comm *comm[JOB_RANKS][8];
    uint64_t closed[JOB_RANKS][8]; /* ids of some that were closed again */
} made;

static void make_many(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);

    (void)arg;
    for (uint32_t k = 0; k < 8; k++) {
        nexar_comm *gone;

        /* Groups of 1, 2, 3 ... neighbours: leaders differ. */
        must(nexar_comm_split(comm, rank / (k + 1), 0, NULL, &gone) == NEXAR_OK);
        made.closed[rank][k] = nexar_comm_id(gone);
        nexar_comm_close(gone);
        must(nexar_comm_split(comm, rank / (k + 1), 0, NULL, &made.comm[rank][k]) == NEXAR_OK);
    }
}

static void test_m5_ids_are_unique(void **state)
{
    uint64_t seen[2 * 8 * 8];
    struct job job;
    size_t n = 0;

    (void)state;
    job_local(&job, 8, NULL);
    job_each(&job, make_many, NULL);
    for (uint32_t rank = 0; rank < 8; rank++) {
        for (uint32_t k = 0; k < 8; k++) {
            uint32_t leader = rank / (k + 1) * (k + 1);

            assert_int_equal(nexar_comm_id(made.comm[rank][k]), nexar_comm_id(made.comm[leader][k]));
            assert_int_equal(made.closed[rank][k], made.closed[leader][k]);
            if (rank != leader)
                continue;
            seen[n++] = nexar_comm_id(made.comm[rank][k]);
            seen[n++] = made.closed[rank][k];
        }
    }
    for (size_t i = 0; i < n; i++) {
        assert_true(seen[i] > NX_WORLD_ID);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(seen[i], seen[k]);
    }
    for (uint32_t k = 0; k < 8; k++) {
        for (uint32_t rank = 0; rank < 8; rank++)
            nexar_comm_close(made.comm[rank][k]);
    }
    job_close(&job);
}

/* ---- life times ---- */

static void orphans(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm), size = nexar_comm_size(comm), world[JOB_RANKS];
    nexar_comm *child;
    uint64_t id;

    (void)arg;
    must(nexar_comm_split(comm, 0, -(int32_t)rank, NULL, &child) == NEXAR_OK);
    id = nexar_comm_id(child);
    for (uint32_t i = 0; i < size; i++)
        world[i] = size - 1 - i;
    nexar_comm_close(comm); /* the world, before its child */
    for (int i = 0; i < 20; i++)
        check_calls(child, world, size);
    must(nexar_comm_id(child) == id);
    nexar_comm_close(child);
}

static void test_m3_the_world_may_be_closed_first(void **state)
{
    uint64_t before = live_blocks();

    (void)state;
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
        struct job job;

        job_local(&job, SIZES[i], NULL);
        job_each(&job, orphans, NULL);
    }
    assert_eventually(live_blocks() <= before + 64); /* pools keep some */
}

static void cycles(nexar_comm *comm, void *arg)
{
    uint32_t rank = nexar_comm_rank(comm);
    int times = *(const int *)arg;

    for (int i = 0; i < times; i++) {
        nexar_comm *child;

        must(nexar_comm_split(comm, (rank + (uint32_t)i) % 2, i, NULL, &child) == NEXAR_OK);
        sum(child, 1);
        nexar_comm_close(child);
    }
}

static void test_m3_closed_communicators_leave_nothing(void **state)
{
    int few = 20, many = CYCLES;
    struct job job;
    uint64_t before;

    (void)state;
    job_local(&job, 3, NULL);
    job_each(&job, cycles, &few);
    before = live_blocks();
    job_each(&job, cycles, &many);
    assert_eventually(live_blocks() <= before + 32);
    for (uint32_t i = 0; i < job.size; i++) {
        void *owner[4];

        /* The world alone has a place in the lanes. */
        assert_int_equal(nx_scope_list(&job.comm[i]->net->lanes, owner, 4), 1);
        nx_comm_drop(owner[0]);
    }
    job_close(&job);
}

static nexar_comm *children[JOB_RANKS];

static void make_child(nexar_comm *comm, void *arg)
{
    (void)arg;
    must(nexar_comm_dup(comm, NULL, &children[nexar_comm_rank(comm)]) == NEXAR_OK);
}

static void test_m3_ops_end_with_their_communicator_alone(void **state)
{
    nexar_op *mine, *other;
    char a = 0, b = 0;
    struct job job;

    (void)state;
    job_local(&job, 2, NULL);
    job_each(&job, make_child, NULL);
    assert_ok(nexar_recv_nb(children[0], &a, 1, 1, 0, NULL, &mine));
    assert_ok(nexar_recv_nb(job.comm[0], &b, 1, 1, 0, NULL, &other));
    nexar_comm_close(children[0]);
    assert_status(nexar_op_test(mine), NEXAR_ECLOSED);
    assert_status(nexar_op_test(other), NEXAR_EAGAIN);
    assert_ok(nexar_send(job.comm[1], "x", 1, 0, 0, NULL, NULL));
    assert_ok(nexar_op_wait(other, NEXAR_FOREVER));
    assert_int_equal(b, 'x');
    nexar_op_close(mine);
    nexar_op_close(other);
    /* What still comes for it is dropped. */
    assert_ok(nexar_send(children[1], "y", 1, 0, 0, NULL, NULL));
    job_works(&job);
    nexar_comm_close(children[1]);
    job_close(&job);
}

static void test_m3_a_message_that_nobody_takes_ends_after_linger(void **state)
{
    const nexar_config config = {
        .size = sizeof(config), .linger_ns = NX_S / 5, .lane_bytes = 1 << 20, .peer_timeout_ns = 20 * NX_S};
    size_t nbytes = 16 << 20;
    char *bytes = calloc(1, nbytes);
    struct job job;
    nexar_op *op;

    (void)state;
    assert_non_null(bytes);
    job_local(&job, 2, &config);
    job_each(&job, make_child, NULL);
    assert_ok(nexar_send(children[0], bytes, nbytes, 1, 0, NULL, &op));
    nexar_comm_close(children[0]);
    assert_status(nexar_op_test(op), NEXAR_ECLOSED);
    nexar_op_close(op);
    free(bytes); /* it is free */
    job_works(&job);
    nexar_comm_close(children[1]);
    job_close(&job);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_m1_m2_every_call_works_in_a_split),
    cmocka_unit_test(test_m4_keys_order_the_ranks),
    cmocka_unit_test(test_equal_keys_go_by_rank),
    cmocka_unit_test(test_ranks_without_a_color),
    cmocka_unit_test(test_dup_and_by_host),
    cmocka_unit_test(test_three_deep),
    cmocka_unit_test(test_m5_two_of_the_same_ranks_never_meet),
    cmocka_unit_test(test_m5_ids_are_unique),
    cmocka_unit_test(test_m3_the_world_may_be_closed_first),
    cmocka_unit_test(test_m3_closed_communicators_leave_nothing),
    cmocka_unit_test(test_m3_ops_end_with_their_communicator_alone),
    cmocka_unit_test(test_m3_a_message_that_nobody_takes_ends_after_linger),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
