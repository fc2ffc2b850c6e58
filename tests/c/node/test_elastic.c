/* A job whose ranks come and go, with ranks as threads: growing, leaving, waiting for others, giving up; errors. */
#include "job.h"

#include <pthread.h>
#include <string.h>

enum { MOST = 8, TEXT = 4096 };

struct worker {
    pthread_t thread;
    const char *join;
    uint32_t min, max;
    void (*fn)(nexar_comm *comm, struct worker *self); /* closes the communicator, in the end */
    uint32_t number;
};

static nexar_config config_of(const char *join)
{
    return (nexar_config){.size = sizeof(nexar_config), .join = join, .elastic = 1, .bind = "127.0.0.1"};
}

static void *work(void *arg)
{
    struct worker *w = arg;
    nexar_config config = config_of(w->join);
    nexar_comm *comm;

    config.min_world = w->min;
    config.max_world = w->max;
    must(nexar_init(&config, &comm) == NEXAR_OK);
    w->fn(comm, w);
    return NULL;
}

static void begin(struct worker *w, uint32_t number, const char *join, void (*fn)(nexar_comm *, struct worker *))
{
    w->join = join;
    w->fn = fn;
    w->number = number;
    assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
}

static void end(struct worker *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
}

static nexar_seed *open_seed(uint32_t size, char *join)
{
    nexar_config config = {.size = sizeof(config), .elastic = 1};
    nexar_seed *seed;

    assert_ok(nexar_seed_open("127.0.0.1:0", size, &config, &seed));
    assert_ok(nexar_seed_join_string(seed, join, TEXT));
    return seed;
}

/* Every element, of data that depends on rank and index. */
static void sums_are_right(nexar_comm *comm)
{
    enum { COUNT = 1003 };
    uint32_t size = nexar_comm_size(comm), rank = nexar_comm_rank(comm);
    static _Thread_local int64_t x[COUNT], y[COUNT];

    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < COUNT; i++)
            x[i] = (int64_t)rank * 1000 + i % 7 + turn;
        must(nexar_all_reduce(comm, x, y, COUNT, NEXAR_INT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK);
        for (int i = 0; i < COUNT; i++)
            must(y[i] == (int64_t)size * (size - 1) / 2 * 1000 + (int64_t)size * (i % 7 + turn));
    }
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
}

/* The communicator after a checkpoint; the old one is closed if it is another. */
static nexar_comm *checkpoint(nexar_comm *comm)
{
    nexar_comm *next;

    must(nexar_elastic_checkpoint(comm, NULL, &next) == NEXAR_OK);
    if (next == comm)
        return comm;
    nexar_comm_close(comm);
    sums_are_right(next);
    return next;
}

static nexar_comm *until(nexar_comm *comm, uint32_t size)
{
    while (nexar_comm_size(comm) != size)
        comm = checkpoint(comm);
    return comm;
}

/* ---- growing and leaving ---- */

enum { GROWN = 5, FIRST = 2 };

/* The numbers of all workers, by rank. */
static void numbers_of(nexar_comm *comm, const struct worker *self, uint32_t *numbers)
{
    must(nexar_all_gather(comm, &self->number, numbers, 1, NEXAR_UINT32, NULL, NULL) == NEXAR_OK);
}

/* From FIRST to GROWN; then those with odd ranks leave. */
static void grow_and_leave(nexar_comm *comm, struct worker *self)
{
    uint32_t before[MOST], after[MOST], rank;

    if (self->number < FIRST) {
        must(nexar_comm_size(comm) == FIRST);
        numbers_of(comm, self, before);
        must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
        comm = until(comm, GROWN);
        numbers_of(comm, self, after);
        must(memcmp(before, after, FIRST * sizeof(after[0])) == 0); /* who was there comes first, in order */
    } else {
        sums_are_right(comm);
        if (nexar_comm_size(comm) != GROWN)
            comm = until(comm, GROWN);
        numbers_of(comm, self, after);
    }
    sums_are_right(comm);
    rank = nexar_comm_rank(comm);
    if (rank % 2 == 1) {
        must(nexar_comm_leave(comm, NULL) == NEXAR_OK);
        nexar_comm_close(comm);
        return;
    }
    comm = checkpoint(comm);
    must(nexar_comm_size(comm) == (GROWN + 1) / 2);
    must(nexar_comm_rank(comm) == rank / 2);
    numbers_of(comm, self, before);
    for (uint32_t i = 0; i < (GROWN + 1) / 2; i++)
        must(before[i] == after[2 * i]);
    must(checkpoint(comm) == comm);
    nexar_comm_close(comm);
}

static void test_ranks_come_and_go(void **state)
{
    struct worker w[GROWN] = {0};
    char join[TEXT];

    (void)state;
    for (int turn = 0; turn < (JOB_SHORTER ? 1 : 5); turn++) {
        nexar_seed *seed = open_seed(FIRST, join);

        for (uint32_t i = 0; i < FIRST; i++)
            begin(&w[i], i, join, grow_and_leave);
        assert_ok(nexar_seed_wait(seed, NEXAR_FOREVER));
        for (uint32_t i = FIRST; i < GROWN; i++)
            begin(&w[i], i, join, grow_and_leave);
        end(w, GROWN);
        nexar_seed_close(seed);
    }
}

static void leave(nexar_comm *comm, struct worker *self)
{
    (void)self;
    must(nexar_comm_leave(comm, NULL) == NEXAR_OK);
    nexar_comm_close(comm);
}

static void test_all_leave(void **state)
{
    struct worker w[3] = {0};
    char join[TEXT];
    nexar_seed *seed = open_seed(3, join);

    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        begin(&w[i], i, join, leave);
    end(w, 3);
    nexar_seed_close(seed);
}

/* ---- where others join ---- */

static char today[TEXT]; /* of the first rank, told to the main thread */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool told;
} telling = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void tell(void)
{
    pthread_mutex_lock(&telling.lock);
    telling.told = true;
    pthread_cond_signal(&telling.changed);
    pthread_mutex_unlock(&telling.lock);
}

static void wait_until_told(void)
{
    pthread_mutex_lock(&telling.lock);
    while (!telling.told)
        pthread_cond_wait(&telling.changed, &telling.lock);
    telling.told = false;
    pthread_mutex_unlock(&telling.lock);
}

static void tell_and_grow(nexar_comm *comm, struct worker *self)
{
    if (self->number == 0) {
        must(nexar_comm_join_string(comm, today, sizeof(today)) == NEXAR_OK);
        tell();
    } else {
        sums_are_right(comm); /* as do those that it comes to */
    }
    comm = until(comm, 2);
    must(nexar_barrier(comm, NULL, NULL) == NEXAR_OK);
    nexar_comm_close(comm);
}

/* Without the seed, at the member itself; and at a seed that was told of it. */
static void test_the_seed_is_not_needed(void **state)
{
    (void)state;
    for (int told = 0; told < 2; told++) {
        struct worker w[2] = {0};
        char join[TEXT];
        nexar_seed *seed = open_seed(1, join);

        begin(&w[0], 0, join, tell_and_grow);
        wait_until_told();
        if (told == 0) {
            nexar_seed_close(seed);
        } else {
            assert_int_equal(nexar_seed_point_to(seed, "nexar://"), NEXAR_ECONFIG);
            assert_int_equal(nexar_seed_point_to(NULL, today), NEXAR_EINVAL);
            assert_ok(nexar_seed_point_to(seed, today));
        }
        begin(&w[1], 1, told == 0 ? today : join, tell_and_grow);
        end(w, 2);
        if (told != 0)
            nexar_seed_close(seed);
    }
}

/* ---- bounds ---- */

static void short_of_ranks(nexar_comm *comm, struct worker *self)
{
    const nexar_call_opts soon = {.size = sizeof(soon), .timeout_ns = 800 * NX_MS};
    nexar_comm *next;

    (void)self;
    must_fail(nexar_elastic_checkpoint(comm, &soon, &next), NEXAR_ETIMEDOUT, NEXAR_NO_RANK,
              "1 ranks of at least 3 are there");
    must(next == NULL);
    tell();
    comm = checkpoint(comm); /* waits for the two others */
    must(nexar_comm_size(comm) == 3);
    sums_are_right(comm);
    nexar_comm_close(comm);
}

static void one_of_three(nexar_comm *comm, struct worker *self)
{
    (void)self;
    must(nexar_comm_size(comm) == 3);
    sums_are_right(comm);
    sums_are_right(comm);
    nexar_comm_close(comm);
}

static void test_too_few(void **state)
{
    struct worker w[3] = {{.min = 3}};
    char join[TEXT];
    nexar_seed *seed = open_seed(1, join);

    (void)state;
    begin(&w[0], 0, join, short_of_ranks);
    wait_until_told();
    for (uint32_t i = 1; i < 3; i++)
        begin(&w[i], i, join, one_of_three);
    end(w, 3);
    nexar_seed_close(seed);
}

static pthread_barrier_t seen;

/* Two are enough: the third, which is the main thread, waits until one has left. */
static void no_more_than_two(nexar_comm *comm, struct worker *self)
{
    (void)self;
    for (int i = 0; i < 50; i++)
        must(checkpoint(comm) == comm);
    pthread_barrier_wait(&seen);
    pthread_barrier_wait(&seen);
    if (nexar_comm_rank(comm) == 1) {
        leave(comm, self);
        return;
    }
    comm = until(checkpoint(comm), 2);
    nexar_comm_close(comm);
}

static void test_too_many(void **state)
{
    struct worker w[2] = {{.max = 2}, {.max = 2}};
    char join[TEXT];
    nexar_seed *seed = open_seed(2, join);
    nexar_config config = config_of(join);
    nexar_joining *joining;
    nexar_comm *comm;
    nexar_status st;

    (void)state;
    assert_int_equal(pthread_barrier_init(&seen, NULL, 3), 0);
    begin(&w[0], 0, join, no_more_than_two);
    begin(&w[1], 1, join, no_more_than_two);
    assert_ok(nexar_seed_wait(seed, NEXAR_FOREVER));
    assert_ok(nexar_join_start(&config, &joining));
    pthread_barrier_wait(&seen);
    do
        st = nexar_join_wait(joining, 50 * NX_MS, &comm);
    while (st == NEXAR_EINTR);
    assert_int_equal(st, NEXAR_EAGAIN);
    pthread_barrier_wait(&seen);
    do
        st = nexar_join_wait(joining, NEXAR_FOREVER, &comm);
    while (st == NEXAR_EINTR);
    assert_ok(st);
    assert_int_equal(nexar_comm_size(comm), 2);
    assert_int_equal(nexar_comm_rank(comm), 1);
    sums_are_right(comm);
    nexar_join_close(joining);
    nexar_comm_close(comm);
    end(w, 2);
    pthread_barrier_destroy(&seen);
    nexar_seed_close(seed);
}

/* ---- giving up ---- */

/* One that waits goes away again, at any moment; those that are there never notice. */
static void steady(nexar_comm *comm, struct worker *self)
{
    uint32_t stop = 0, any = 0;

    (void)self;
    while (any == 0) {
        comm = checkpoint(comm);
        if (nexar_comm_size(comm) > 2)
            comm = until(comm, 2); /* it came in after all, and leaves */
        sums_are_right(comm);
        pthread_mutex_lock(&telling.lock);
        stop = telling.told;
        pthread_mutex_unlock(&telling.lock);
        must(nexar_all_reduce(comm, &stop, &any, 1, NEXAR_UINT32, NEXAR_MAX, NULL, NULL) == NEXAR_OK);
    }
    nexar_comm_close(comm);
}

static void test_one_that_waits_gives_up(void **state)
{
    struct worker w[2] = {0};
    char join[TEXT];
    nexar_seed *seed = open_seed(2, join);
    nexar_config config = config_of(join);

    (void)state;
    config.max_world = 2;
    for (uint32_t i = 0; i < 2; i++) {
        w[i].max = 2;
        begin(&w[i], i, join, steady);
    }
    assert_ok(nexar_seed_wait(seed, NEXAR_FOREVER));
    for (int i = 0; i < 20; i++) {
        nexar_joining *joining;
        nexar_comm *comm;

        assert_ok(nexar_join_start(&config, &joining));
        assert_int_not_equal(nexar_join_wait(joining, i * NX_MS, &comm), NEXAR_OK);
        nexar_join_close(joining);
    }
    tell();
    end(w, 2);
    telling.told = false;
    nexar_seed_close(seed);
}

/* ---- what is wrong ---- */

static void wrong(nexar_comm *comm, struct worker *self)
{
    nexar_comm *part, *next, *old = comm;
    nexar_elastic *elastic;
    char text[TEXT];

    (void)self;
    must_fail(nexar_elastic_checkpoint(NULL, NULL, &next), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_elastic_checkpoint(comm, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_elastic_start(comm, 2, NULL, &elastic), NEXAR_EINVAL, NEXAR_NO_RANK, "leave is 2");
    must_fail(nexar_elastic_start(comm, 0, NULL, NULL), NEXAR_EINVAL, NEXAR_NO_RANK, "nowhere");
    must_fail(nexar_elastic_wait(NULL, 0, &next), NEXAR_EINVAL, NEXAR_NO_RANK, "NULL");
    must_fail(nexar_comm_join_string(comm, NULL, 1), NEXAR_EINVAL, NEXAR_NO_RANK, "no place");
    must_fail(nexar_comm_join_string(comm, text, 8), NEXAR_EMSGSIZE, NEXAR_NO_RANK, "room for 8");
    nexar_elastic_close(NULL);
    must(nexar_comm_split(comm, nexar_comm_rank(comm), 0, NULL, &part) == NEXAR_OK);
    must_fail(nexar_elastic_checkpoint(part, NULL, &next), NEXAR_ENOTSUP, NEXAR_NO_RANK, "all members");
    nexar_comm_close(part);
    while (nexar_comm_size(comm) != 3) {
        must(nexar_elastic_checkpoint(comm, NULL, &next) == NEXAR_OK);
        comm = next;
    }
    must_fail(nexar_elastic_checkpoint(old, NULL, &next), NEXAR_ENOTSUP, NEXAR_NO_RANK, "formed anew since then");
    sums_are_right(comm);
    sums_are_right(old); /* it is good for everything else as long as nobody closes it */
    nexar_comm_close(comm);
    nexar_comm_close(old);
}

static void third(nexar_comm *comm, struct worker *self)
{
    (void)self;
    must(nexar_comm_size(comm) == 3);
    sums_are_right(comm);
    nexar_comm_close(comm);
}

static void test_wrong_calls(void **state)
{
    struct worker w[3] = {0};
    char join[TEXT];
    nexar_seed *seed = open_seed(2, join);

    (void)state;
    begin(&w[0], 0, join, wrong);
    begin(&w[1], 1, join, wrong);
    assert_ok(nexar_seed_wait(seed, NEXAR_FOREVER));
    begin(&w[2], 2, join, third);
    end(w, 3);
    nexar_seed_close(seed);
}

static void test_not_elastic(void **state)
{
    nexar_config config = {.size = sizeof(config), .join_timeout_ns = 20 * NX_S}, elastic;
    nexar_comm *comms[2], *comm;
    nexar_seed *seed;
    char join[TEXT];

    (void)state;
    assert_ok(nexar_local_cluster(2, NULL, comms));
    assert_int_equal(nexar_elastic_checkpoint(comms[0], NULL, &comm), NEXAR_ENOTSUP);
    assert_non_null(strstr(nexar_last_error(), "the job is not elastic"));
    assert_int_equal(nexar_comm_join_string(comms[0], join, sizeof(join)), NEXAR_ENOTSUP);
    nexar_comm_close(comms[0]);
    nexar_comm_close(comms[1]);
    config.elastic = 1;
    assert_int_equal(nexar_local_cluster(2, &config, comms), NEXAR_ENOTSUP);

    /* One way on one side, and the other way on the other. */
    for (uint32_t grows = 0; grows < 2; grows++) {
        config.elastic = grows;
        assert_ok(nexar_seed_open("127.0.0.1:0", 1, &config, &seed));
        assert_ok(nexar_seed_join_string(seed, join, sizeof(join)));
        elastic = config_of(join);
        elastic.elastic = 1 - grows;
        assert_int_equal(nexar_init(&elastic, &comm), NEXAR_ECONFIG);
        assert_non_null(strstr(nexar_last_error(), grows ? "the job grows, as its seed has it"
                                                         : "the job does not grow, as its seed has it"));
        if (!grows)
            assert_int_equal(nexar_seed_point_to(seed, join), NEXAR_EINVAL);
        nexar_seed_close(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_come_and_go),
        cmocka_unit_test(test_all_leave),
        cmocka_unit_test(test_the_seed_is_not_needed),
        cmocka_unit_test(test_too_few),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_one_that_waits_gives_up),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_not_elastic),
    };

    return cmocka_run_group_tests(tests, job_log_begin, NULL);
}
