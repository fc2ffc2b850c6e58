/* The engine: timers and tasks, what a leader leaves behind, event sources, where one may not block, idle cost. */
#include "base/call.h"
#include "base/engine.h"
#include "check.h"
#include "rng.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- timers ---- */

struct alarm_ {
    struct nx_timer timer;
    nx_time at;
    _Atomic int fired;
    _Atomic bool early;
};

static _Atomic int fired_in_order;
static nx_time last_fired;

static void fire(struct nx_timer *timer)
{
    struct alarm_ *a = nx_container_of(timer, struct alarm_, timer);

    if (nx_now() < a->at)
        a->early = true;
    if (a->at >= last_fired)
        fired_in_order++;
    last_fired = a->at;
    a->fired++;
}

static void test_timers(void **state)
{
    enum { TIMERS = 200 };
    static struct alarm_ a[TIMERS];
    struct rng rng = {.state = 1};
    nx_time start = nx_now() + 5 * NX_MS;
    int wanted = 0;

    (void)state;
    for (int i = 0; i < TIMERS; i++) {
        nx_timer_init(&a[i].timer, fire);
        a[i].at = start + (nx_time)rng_below(&rng, 20) * NX_MS;
        nx_timer_set(&a[i].timer, NX_NEVER - 1); /* and then set again */
        nx_timer_set(&a[i].timer, a[i].at);
    }
    for (int i = 0; i < TIMERS; i += 3)
        assert_true(nx_timer_cancel(&a[i].timer) || a[i].fired == 1);
    for (int i = 0; i < TIMERS; i++) {
        if (i % 3 != 0)
            assert_eventually(a[i].fired == 1);
        assert_true(a[i].fired <= 1);
        assert_false(a[i].early);
        wanted += a[i].fired;
        assert_false(nx_timer_cancel(&a[i].timer));
    }
    assert_int_equal(fired_in_order, wanted);
}

/* A timer in years must not keep the earlier ones, or the processor, busy. */
static void test_far_timer(void **state)
{
    static struct alarm_ far, near;

    (void)state;
    nx_timer_init(&far.timer, fire);
    nx_timer_init(&near.timer, fire);
    nx_timer_set(&far.timer, NX_NEVER - 1);
    for (int i = 1; i <= 20; i++) {
        near.at = nx_now() + NX_MS;
        nx_timer_set(&near.timer, near.at);
        assert_eventually(near.fired == i);
    }
    nx_timer_set(&far.timer, nx_now() + 365 * 24 * 3600 * NX_S);
    assert_int_equal(far.fired, 0);
    assert_true(nx_timer_cancel(&far.timer));
}

/* ---- tasks ---- */

struct chain {
    struct nx_task task;
    _Atomic int runs;
    int left;
};

static void run_chain(struct nx_task *task)
{
    struct chain *c = nx_container_of(task, struct chain, task);

    if (--c->left > 0)
        nx_engine_post(task);
    c->runs++;
}

/* Tasks that are posted by the engine itself, while nobody is blocked. */
static void test_tasks_posted_inside(void **state)
{
    static struct chain c;

    (void)state;
    nx_task_init(&c.task, run_chain);
    for (int round = 1; round <= 50; round++) {
        c.left = 20;
        assert_true(nx_engine_post(&c.task));
        assert_eventually(c.runs == 20 * round);
    }
}

struct numbered {
    struct nx_task task;
    int number;
};

static int next_number, wrong_order;
static _Atomic int numbers_done;

static void run_numbered(struct nx_task *task)
{
    struct numbered *n = nx_container_of(task, struct numbered, task);

    if (n->number != next_number++)
        wrong_order++;
    numbers_done++;
}

static void test_tasks_in_order(void **state)
{
    enum { TASKS = 1000 };
    static struct numbered n[TASKS];

    (void)state;
    for (int i = 0; i < TASKS; i++) {
        nx_task_init(&n[i].task, run_numbered);
        n[i].number = i;
        nx_engine_post(&n[i].task);
    }
    assert_eventually(numbers_done == TASKS);
    assert_int_equal(wrong_order, 0);
}

/* ---- what a leader leaves behind ---- */

struct leftover {
    struct nx_task first, second;
    struct alarm_ alarm;
    struct nx_waiter waiter;
    _Atomic int second_runs;
};

static void leave_work(struct nx_task *task)
{
    struct leftover *l = nx_container_of(task, struct leftover, first);

    /* The leader is done, and has not yet done this. */
    l->alarm.at = nx_now() + NX_MS;
    nx_timer_set(&l->alarm.timer, l->alarm.at);
    nx_engine_post(&l->second);
    nx_waiter_wake(&l->waiter);
}

static void run_second(struct nx_task *task)
{
    nx_container_of(task, struct leftover, second)->second_runs++;
}

static void test_leader_leaves_work_behind(void **state)
{
    static struct leftover l;

    (void)state;
    nx_task_init(&l.first, leave_work);
    nx_task_init(&l.second, run_second);
    nx_timer_init(&l.alarm.timer, fire);
    for (int i = 1; i <= 100; i++) {
        if (i % 10 == 0)
            poll(NULL, 0, 20); /* so that the caretaker has gone to sleep for long */
        nx_waiter_init(&l.waiter);
        nx_engine_post(&l.first);
        assert_ok(nx_waiter_wait(&l.waiter, nx_now() + CHECK_PATIENCE));
        assert_eventually(l.second_runs == i);
        assert_eventually(l.alarm.fired == i);
    }
}

static void ring(struct nx_timer *timer)
{
    nx_waiter_wake(&nx_container_of(timer, struct leftover, alarm.timer)->waiter);
}

static nx_time lead_until_caretaker_sleeps(struct leftover *l)
{
    nx_waiter_init(&l->waiter);
    nx_timer_init(&l->alarm.timer, ring);
    nx_timer_set(&l->alarm.timer, nx_now() + 400 * NX_MS);
    assert_ok(nx_waiter_wait(&l->waiter, NX_NEVER));
    return nx_now();
}

/* After one caller has led for long, the caretaker sleeps long; it must not sleep on when that caller has left. */
static void test_caretaker_takes_over_at_once(void **state)
{
    static struct leftover l;
    nx_time best = NX_NEVER;

    (void)state;
    nx_task_init(&l.second, run_second);
    for (int i = 1; i <= 4 && best > 50 * NX_MS; i++) {
        nx_time begun = lead_until_caretaker_sleeps(&l);

        nx_engine_post(&l.second);
        while (l.second_runs < i && nx_now() < begun + CHECK_PATIENCE)
            continue;
        assert_int_equal(l.second_runs, i);
        if (nx_now() - begun < best)
            best = nx_now() - begun;
    }
    assert_true(best <= 50 * NX_MS);
}

/* ---- sources ---- */

struct source {
    struct nx_event event;
    _Atomic int seen;
};

static void source_ready(struct epoll_event *event)
{
    struct source *s = nx_container_of(event->data.ptr, struct source, event);
    uint64_t count;

    if (read(s->event.fd, &count, sizeof(count)) == sizeof(count))
        s->seen += (int)count;
}

static void source_open(struct source *s)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &s->event};

    s->event = (struct nx_event){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = source_ready};
    s->seen = 0;
    assert_int_equal(epoll_ctl(nx_engine_epoll(), EPOLL_CTL_ADD, s->event.fd, &e), 0);
}

static void source_signal(struct source *s)
{
    uint64_t one = 1;

    assert_int_equal(write(s->event.fd, &one, sizeof(one)), sizeof(one));
}

static void close_source(void *arg)
{
    struct source *s = arg;

    epoll_ctl(nx_engine_epoll(), EPOLL_CTL_DEL, s->event.fd, NULL);
    close(s->event.fd);
}

static void test_caretaker_serves_sources(void **state)
{
    static struct source s;

    (void)state;
    source_open(&s);
    for (int i = 1; i <= 50; i++) {
        source_signal(&s);
        assert_eventually(s.seen == i);
    }
    assert_ok(nx_call(close_source, &s));
}

/* A thread that sends and sends without ever blocking keeps the caretaker away: it must serve the sources itself. */
static void test_kicks_serve_sources(void **state)
{
    static struct source s;
    int quick = 0;

    (void)state;
    source_open(&s);
    for (int i = 1; i <= 200; i++) {
        nx_time until = nx_now() + CHECK_PATIENCE;
        int kicks = 0;

        source_signal(&s);
        for (; s.seen != i; kicks++) {
            nx_engine_kick(true);
            assert_true(nx_now() < until);
        }
        quick += kicks < 100;
    }
    assert_true(quick > 100);
    assert_ok(nx_call(close_source, &s));
}

/* ---- where one may not block ---- */

static void block_inside(void *arg)
{
    struct nx_waiter w;

    nx_waiter_init(&w);
    *(nexar_status *)arg = nx_waiter_wait(&w, NX_NEVER);
    assert_true(nx_engine_inside());
}

static void test_no_blocking_on_the_engine(void **state)
{
    nexar_status st = NEXAR_OK;

    (void)state;
    assert_ok(nx_call(block_inside, &st));
    assert_status(st, NEXAR_EDEADLK);
    assert_false(nx_engine_inside());
    assert_ok(nx_engine_may_block());
}

static void test_child_after_fork(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        struct nx_waiter w;
        nexar_status st = NEXAR_OK;

        nx_waiter_init(&w);
        _exit(nx_waiter_wait(&w, NX_NEVER) == NEXAR_EFORK && nx_engine_alive() == NEXAR_EFORK &&
                      nx_engine_start() == NEXAR_EFORK && nx_call(block_inside, &st) == NEXAR_EFORK
                  ? 3
                  : 4);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
    assert_ok(nx_engine_alive()); /* the parent goes on */
}

/* ---- idle ---- */

static nx_time cpu_time(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NX_S + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * NX_US;
}

static void test_idle_costs_nothing(void **state)
{
    struct nx_waiter w;
    nx_time begun;

    (void)state;
    poll(NULL, 0, 50);
    begun = cpu_time();
    poll(NULL, 0, 1000); /* nobody is blocked */
    nx_waiter_init(&w);
    assert_status(nx_waiter_wait(&w, nx_now() + NX_S), NEXAR_EAGAIN); /* somebody is */
    assert_true(cpu_time() - begun < 20 * NX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_far_timer),
        cmocka_unit_test(test_tasks_posted_inside),
        cmocka_unit_test(test_tasks_in_order),
        cmocka_unit_test(test_leader_leaves_work_behind),
        cmocka_unit_test(test_caretaker_takes_over_at_once),
        cmocka_unit_test(test_caretaker_serves_sources),
        cmocka_unit_test(test_kicks_serve_sources),
        cmocka_unit_test(test_no_blocking_on_the_engine),
        cmocka_unit_test(test_child_after_fork),
        cmocka_unit_test(test_idle_costs_nothing),
    };

    if (nx_engine_start() != NEXAR_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
