/* Blocked threads: one leader at a time, nobody forgotten, signals, and the ends of processes. */
#include "base/call.h"
#include "base/engine.h"
#include "check.h"
#include "rng.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* ---- leading and following ---- */

enum { THREADS = 8 };

struct sleeper {
    struct nx_waiter waiter;
    pthread_t thread;
    _Atomic bool registered;
    _Atomic int returned;
    nexar_status status;
};

static void *sleep_once(void *arg)
{
    struct sleeper *s = arg;

    s->registered = true;
    s->status = nx_waiter_wait(&s->waiter, nx_now() + CHECK_PATIENCE);
    s->returned++;
    return NULL;
}

/* All blocked at once; woken one by one in any order, by the engine or by another thread. */
static void test_each_is_woken_once(void **state)
{
    struct rng rng = {.state = 3};

    (void)state;
    for (int round = 0; round < 60; round++) {
        struct sleeper s[THREADS] = {0};
        bool woken[THREADS] = {false};

        for (int i = 0; i < THREADS; i++) {
            nx_waiter_init(&s[i].waiter);
            pthread_create(&s[i].thread, NULL, sleep_once, &s[i]);
        }
        for (int i = 0; i < THREADS; i++)
            assert_eventually(s[i].registered);
        for (int left = THREADS; left > 0; left--) {
            size_t i = rng_below(&rng, THREADS);

            while (woken[i])
                i = (i + 1) % THREADS;
            nx_waiter_wake(&s[i].waiter);
            woken[i] = true;
            pthread_join(s[i].thread, NULL);
            assert_int_equal(s[i].status, NEXAR_OK);
            for (int k = 0; k < THREADS; k++)
                assert_int_equal(s[k].returned, woken[k]);
        }
    }
}

struct player {
    struct nx_waiter waiter;
    struct nx_timer timer;
    struct nx_task task;
    pthread_t thread;
    uint64_t seed;
    int rounds, timeouts;
    nexar_status bad;
};

static void wake_by_timer(struct nx_timer *timer)
{
    nx_waiter_wake(&nx_container_of(timer, struct player, timer)->waiter);
}

static void wake_by_task(struct nx_task *task)
{
    nx_waiter_wake(&nx_container_of(task, struct player, task)->waiter);
}

/* Only the engine wakes these threads: if ever nobody leads, one of them sleeps for good. */
static void *play(void *arg)
{
    struct player *p = arg;
    struct rng rng = {.state = p->seed};

    for (int i = 0; i < p->rounds && p->bad == NEXAR_OK; i++) {
        nexar_status st;
        nx_time patience = nx_now() + CHECK_PATIENCE;
        size_t how = rng_below(&rng, 4);

        nx_waiter_init(&p->waiter);
        if (how == 0)
            nx_timer_set(&p->timer, nx_now() + (nx_time)rng_below(&rng, 50) * NX_US);
        else
            nx_engine_post(&p->task);
        if (how == 1)
            nx_engine_kick(true);
        if (how == 2) {
            /* Gives up soon, and then waits on. */
            st = nx_waiter_wait(&p->waiter, nx_now() + (nx_time)rng_below(&rng, 30) * NX_US);
            p->timeouts += st == NEXAR_EAGAIN;
            if (st != NEXAR_EAGAIN && st != NEXAR_OK)
                p->bad = st;
        }
        st = nx_waiter_wait(&p->waiter, patience);
        if (st != NEXAR_OK)
            p->bad = st;
    }
    return NULL;
}

static void play_rounds(int rounds)
{
    static struct player p[THREADS];

    for (int i = 0; i < THREADS; i++) {
        p[i] = (struct player){.seed = (uint64_t)i + 1, .rounds = rounds / THREADS};
        nx_timer_init(&p[i].timer, wake_by_timer);
        nx_task_init(&p[i].task, wake_by_task);
        pthread_create(&p[i].thread, NULL, play, &p[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(p[i].thread, NULL);
        assert_status(p[i].bad, NEXAR_OK);
    }
}

static void test_no_lost_wake_ups(void **state)
{
    (void)state;
    play_rounds(50000);
    nx_engine_set_spin(0, false);
    play_rounds(50000);
    nx_engine_set_spin(50 * NX_US, false);
}

static void test_deadline(void **state)
{
    struct nx_waiter w;
    nx_time begun = nx_now();

    (void)state;
    nx_waiter_init(&w);
    assert_status(nx_waiter_wait(&w, begun + 20 * NX_MS), NEXAR_EAGAIN);
    assert_true(nx_now() >= begun + 20 * NX_MS);
    assert_status(nx_waiter_wait(&w, 0), NEXAR_EAGAIN);
    nx_waiter_wake(&w);
    assert_ok(nx_waiter_wait(&w, 0)); /* done counts more than late */
}

/* ---- signals ---- */

static void on_signal(int number)
{
    (void)number;
}

static void test_signals_interrupt(void **state)
{
    struct sigaction action = {.sa_handler = on_signal}, before;
    struct sleeper s[2] = {0};

    (void)state;
    sigaction(SIGUSR1, &action, &before);
    /* One of the two leads, the other follows. */
    for (int i = 0; i < 2; i++) {
        nx_waiter_init(&s[i].waiter);
        pthread_create(&s[i].thread, NULL, sleep_once, &s[i]);
        assert_eventually(s[i].registered);
    }
    poll(NULL, 0, 20);
    for (int i = 0; i < 2; i++) {
        nx_time until = nx_now() + CHECK_PATIENCE;

        /* It may not sleep yet when the first one comes. */
        while (s[i].returned == 0 && nx_now() < until) {
            pthread_kill(s[i].thread, SIGUSR1);
            poll(NULL, 0, 1);
        }
        pthread_join(s[i].thread, NULL);
        assert_status(s[i].status, NEXAR_EINTR);
    }
    sigaction(SIGUSR1, &before, NULL);
}

/* ---- exit ---- */

static struct nx_timer busy;

static void stay_busy(struct nx_timer *timer)
{
    nx_timer_set(timer, nx_now() + 10 * NX_US);
}

static void exit_inside(void *arg)
{
    exit(*(int *)arg);
}

/* In a process of its own: threads are blocked, timers fire, tasks come, and it ends. */
static int run_exiting(const char *how)
{
    static struct player p[4];
    struct sleeper s[4] = {0};
    int code = 7;

    nx_engine_start();
    for (int i = 0; i < 4; i++) {
        nx_waiter_init(&s[i].waiter);
        pthread_create(&s[i].thread, NULL, sleep_once, &s[i]);
    }
    for (int i = 0; i < 4; i++) {
        p[i] = (struct player){.seed = (uint64_t)i, .rounds = 1 << 30};
        nx_timer_init(&p[i].timer, wake_by_timer);
        nx_task_init(&p[i].task, wake_by_task);
        pthread_create(&p[i].thread, NULL, play, &p[i]);
    }
    nx_timer_init(&busy, stay_busy);
    nx_timer_set(&busy, 0);
    poll(NULL, 0, 5);
    if (strcmp(how, "inside") == 0)
        nx_call(exit_inside, &code);
    exit(code);
}

static void test_exit_with_blocked_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        char *how = i % 2 == 0 ? "outside" : "inside";
        char *argv[] = {"test_waiter", "exit", how, NULL};
        nx_time begun = nx_now();
        int status = 0;
        pid_t child;

        assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ), 0);
        while (waitpid(child, &status, WNOHANG) == 0) {
            if (nx_now() > begun + CHECK_PATIENCE) {
                kill(child, SIGKILL);
                fail_msg("exit %s: the process does not end", how);
            }
            poll(NULL, 0, 1);
        }
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 7);
    }
}

/* ---- polling ---- */

static nx_time thread_time(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (nx_time)t.tv_sec * NX_S + t.tv_nsec;
}

struct waking_timer {
    struct nx_timer timer;
    struct nx_waiter waiter;
};

static void wake_its_waiter(struct nx_timer *timer)
{
    nx_waiter_wake(&nx_container_of(timer, struct waking_timer, timer)->waiter);
}

/* Whoever has to wait longer than it polls, again and again, nearly stops polling. */
static void test_polling_in_vain_is_given_up(void **state)
{
    const nx_time span = 2 * NX_MS;
    enum { WAITS = 64 };
    nx_time begun;

    (void)state;
    nx_engine_set_spin(span, false);
    begun = thread_time();
    for (int i = 0; i < WAITS; i++) {
        struct waking_timer t;

        nx_timer_init(&t.timer, wake_its_waiter);
        nx_waiter_init(&t.waiter);
        nx_timer_set(&t.timer, nx_now() + 2 * span);
        assert_ok(nx_waiter_wait(&t.waiter, nx_now() + CHECK_PATIENCE));
    }
    assert_true(thread_time() - begun < WAITS * span / 2);
    nx_engine_set_spin(50 * NX_US, false);
}

/* Waits until polling is tried again at once. */
static void forget_misses(void)
{
    enum { SKIPPED_MOST = 64 };

    for (int i = 0; i < SKIPPED_MOST; i++) {
        struct waking_timer t;

        nx_timer_init(&t.timer, wake_its_waiter);
        nx_waiter_init(&t.waiter);
        nx_timer_set(&t.timer, nx_now() + NX_MS);
        assert_ok(nx_waiter_wait(&t.waiter, nx_now() + CHECK_PATIENCE));
    }
}

/* Where ranks share cores and nothing can be polled but descriptors, a caller sleeps. */
static void test_a_crowd_without_pollers_sleeps(void **state)
{
    const nx_time pause = 200 * NX_MS;
    struct waking_timer t;
    nx_time begun;

    (void)state;
    nx_engine_set_spin(60 * NX_S, true);
    begun = thread_time();
    nx_timer_init(&t.timer, wake_its_waiter);
    nx_waiter_init(&t.waiter);
    nx_timer_set(&t.timer, nx_now() + pause);
    assert_ok(nx_waiter_wait(&t.waiter, nx_now() + CHECK_PATIENCE));
    assert_true(thread_time() - begun < pause / 2);
    nx_engine_set_spin(50 * NX_US, false);
}

struct slow_poller {
    struct nx_poller poller;
    struct nx_waiter waiter;
    int polls;
};

/* Nothing but this wakes the waiter, and no descriptor tells of it. */
static bool come_at_last(struct nx_poller *poller)
{
    struct slow_poller *p = nx_container_of(poller, struct slow_poller, poller);

    if (++p->polls != 1000)
        return false;
    nx_waiter_wake(&p->waiter);
    return true;
}

static void add_poller(void *arg)
{
    nx_poller_add(arg);
}

static void remove_poller(void *arg)
{
    nx_poller_remove(arg);
}

/* Where there is something to poll, it is polled, whether ranks share cores or not. */
static void test_pollers_are_polled(void **state)
{
    (void)state;
    for (int crowded = 0; crowded < 2; crowded++) {
        struct slow_poller p = {.poller = {.poll = come_at_last}};

        nx_engine_set_spin(60 * NX_S, crowded != 0);
        nx_waiter_init(&p.waiter);
        forget_misses();
        nx_call(add_poller, &p.poller);
        assert_ok(nx_waiter_wait(&p.waiter, nx_now() + CHECK_PATIENCE));
        nx_call(remove_poller, &p.poller);
        assert_true(p.polls >= 1000);
    }
    nx_engine_set_spin(50 * NX_US, false);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_woken_once),
        cmocka_unit_test(test_no_lost_wake_ups),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_signals_interrupt),
        cmocka_unit_test(test_exit_with_blocked_threads),
        cmocka_unit_test(test_polling_in_vain_is_given_up),
        cmocka_unit_test(test_a_crowd_without_pollers_sleeps), /* before there are any */
        cmocka_unit_test(test_pollers_are_polled),
    };

    if (argc == 3 && strcmp(argv[1], "exit") == 0)
        return run_exiting(argv[2]);
    if (nx_engine_start() != NEXAR_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
