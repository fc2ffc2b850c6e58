/* Meeting by file: two processes, and files that were left behind. */
#include "node/meet.h"

#include "node/meet_kit.h"

#include <errno.h>
#include <sched.h>
#include <sys/time.h>
#include <sys/wait.h>

/* ---- other processes ---- */

static pid_t child_that(int (*what)(const void *arg), const void *arg)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(what(arg));
    return pid;
}

static int result(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) != pid)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool has_notices(pid_t pid)
{
    char path[64], link[64];
    bool found = false;

    for (int fd = 0; fd < 64 && !found; fd++) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        n = readlink(path, link, sizeof(link) - 1);
        link[n < 0 ? 0 : n] = '\0';
        found = strstr(link, "inotify") != NULL;
    }
    return found;
}

static bool sleeps(pid_t pid)
{
    char path[64], state = '?';
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    if (f != NULL) {
        if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
            state = '?';
        fclose(f);
    }
    return state == 'S';
}

/* Waits until a process waits for notices. */
static void await_waiting(pid_t pid)
{
    nx_time deadline = nx_after(nx_now(), SOON);

    while (!has_notices(pid) || !sleeps(pid)) {
        if (nx_now() > deadline)
            fail_msg("process %d does not wait", (int)pid);
        sched_yield();
    }
}

struct errand {
    const char *job, *join, *refused;
    const struct nx_meet_folders *folders;
};

/* 0 if it is found, and by a notice: a last look at the deadline would find it, too. */
static int go_and_find(const void *arg)
{
    nx_time deadline = nx_after(nx_now(), SOON);
    const struct errand *e = arg;
    struct nx_meet_found found;

    if (nx_meet_find(e->folders, e->job, e->refused, deadline, &found) != NEXAR_OK) {
        fprintf(stderr, "child: %s\n", nexar_last_error());
        return 2;
    }
    return nx_now() >= deadline ? 3 : strcmp(found.join, e->join) != 0;
}

static int go_and_leave(const void *arg)
{
    const struct errand *e = arg;
    struct nx_meet *meet;

    return nx_meet_publish(e->folders, e->job, e->join, &meet) != NEXAR_OK;
}

/* ---- as it should be ---- */

static void test_two_processes(void **state)
{
    struct errand early = {.job = "a job", .join = "nexar://first", .folders = &folders}, late = early;
    pid_t first = child_that(go_and_find, &early), second;
    struct nx_meet *meet;
    struct stat st;

    (void)state;
    await_waiting(first);
    meet = publish("a job", "nexar://first");
    second = child_that(go_and_find, &late);
    assert_int_equal(result(first), 0);
    assert_int_equal(result(second), 0);
    assert_int_equal(stat(folders.path[0], &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(stat(file_of("a job"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(files(folders.path[0]), 1);
    nx_meet_withdraw(meet);
    assert_int_equal(files(folders.path[0]), 0);
    assert_nothing("a job", "rank 0 has left no join string for this job");
    nx_meet_withdraw(NULL);
}

static void test_two_jobs_at_once(void **state)
{
    struct nx_meet *a = publish("a", "nexar://a"), *b = publish("b", "nexar://b");

    (void)state;
    assert_found("a", "nexar://a");
    assert_found("b", "nexar://b");
    assert_nothing("c", "no join string");
    nx_meet_withdraw(a);
    assert_nothing("a", "no join string");
    assert_found("b", "nexar://b");
    nx_meet_withdraw(b);
}

static void test_names_do_not_collide(void **state)
{
    char a[NX_MEET_NAME], b[NX_MEET_NAME];

    (void)state;
    assert_ok(nx_meet_name("slurm/1.0", a));
    assert_ok(nx_meet_name("slurm/1.1", b));
    assert_string_not_equal(a, b);
    assert_ok(nx_meet_name("../../a name\nof any kind", a));
    assert_null(strchr(a, '/'));
}

/* Rank 0 of a job that runs again; the file of the one before is of no use. */
static void test_the_newest_counts(void **state)
{
    struct nx_meet *old = publish("a", "nexar://old"), *new = publish("a", "nexar://new");

    (void)state;
    assert_found("a", "nexar://new");
    nx_meet_withdraw(old); /* takes away its own file alone, which is gone already */
    assert_found("a", "nexar://new");
    nx_meet_withdraw(new);
    assert_int_equal(files(folders.path[0]), 0);
}

static void test_one_that_led_nowhere(void **state)
{
    struct nx_meet *old = publish("a", "nexar://old"), *new;
    struct nx_meet_found found, again;
    struct errand e = {.job = "a", .join = "nexar://new", .folders = &folders};
    pid_t child;

    (void)state;
    assert_ok(find("a", NULL, SOON, &found));
    assert_refused(find("a", found.id, AT_ONCE, &again), NEXAR_ETIMEDOUT, "led nowhere");
    e.refused = found.id;
    child = child_that(go_and_find, &e);
    await_waiting(child);
    new = publish("a", "nexar://new");
    assert_int_equal(result(child), 0);
    nx_free_secret(found.join);
    nx_meet_withdraw(old);
    nx_meet_withdraw(new);
}

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    signalled = number;
}

static void test_signals_interrupt(void **state)
{
    struct sigaction act = {.sa_handler = on_signal}, before;
    struct itimerval soon = {.it_value.tv_usec = 10000, .it_interval.tv_usec = 10000}, never = {.it_value.tv_sec = 0};
    struct nx_meet_found found;

    (void)state;
    sigaction(SIGALRM, &act, &before);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_refused(nx_meet_find(&folders, "a", NULL, NX_NEVER, &found), NEXAR_EINTR, "interrupted");
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(signalled, SIGALRM);
}

static int withdraw(const void *arg)
{
    nx_meet_withdraw((struct nx_meet *)(uintptr_t)arg);
    return 0;
}

static void test_a_forked_child_takes_nothing_away(void **state)
{
    struct nx_meet *meet = publish("a", "nexar://a");

    (void)state;
    assert_int_equal(result(child_that(withdraw, meet)), 0);
    assert_found("a", "nexar://a");
    nx_meet_withdraw(meet);
}

/* ---- left behind ---- */

static void test_files_of_crashed_jobs(void **state)
{
    struct errand crashed = {.job = "a", .join = "nexar://gone", .folders = &folders}, other = crashed,
                  waiting = crashed;
    struct nx_meet *meet;
    pid_t child;

    (void)state;
    other.job = "another job";
    waiting.join = "nexar://new";
    assert_int_equal(result(child_that(go_and_leave, &crashed)), 0);
    assert_int_equal(result(child_that(go_and_leave, &other)), 0);
    assert_int_equal(files(folders.path[0]), 1); /* the second one has swept the first one's away */
    assert_int_equal(result(child_that(go_and_leave, &crashed)), 0);
    assert_nothing("a", "one was left by process");
    child = child_that(go_and_find, &waiting);
    await_waiting(child);
    meet = publish("a", "nexar://new");
    assert_int_equal(result(child), 0);
    assert_int_equal(files(folders.path[0]), 1);
    nx_meet_withdraw(meet);
}

/* Ranks may see other folders first than rank 0: all are looked at. */
static void test_a_file_in_the_second_folder(void **state)
{
    struct nx_meet_folders second = {.count = 1};
    struct errand e = {.job = "a", .join = "nexar://second", .folders = &folders};
    struct nx_meet *meet;
    pid_t child;

    (void)state;
    strcpy(second.path[0], folders.path[1]);
    child = child_that(go_and_find, &e);
    await_waiting(child);
    assert_ok(nx_meet_publish(&second, "a", "nexar://second", &meet));
    assert_int_equal(result(child), 0);
    nx_meet_withdraw(meet);
}

static void test_unfinished_files_are_swept(void **state)
{
    struct timespec past[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    struct nx_meet *meet = publish("a", "nexar://a");
    int fd;

    (void)state;
    fd = open(in(folders.path[0], ".making-old"), O_CREAT | O_WRONLY, 0600);
    assert_int_equal(futimens(fd, past), 0);
    close(fd);
    close(open(in(folders.path[0], ".making-new"), O_CREAT | O_WRONLY, 0600));
    close(open(in(folders.path[0], "something else"), O_CREAT | O_WRONLY, 0600));
    nx_meet_withdraw(meet);
    meet = publish("b", "nexar://b");
    assert_int_equal(files(folders.path[0]), 3);
    assert_int_not_equal(access(in(folders.path[0], ".making-old"), F_OK), 0);
    nx_meet_withdraw(meet);
}

/* A cleaner of old files takes the folder from under a rank that waits. */
static void test_the_folder_vanishes(void **state)
{
    struct errand e = {.job = "a", .join = "nexar://a", .folders = &one};
    pid_t child = child_that(go_and_find, &e);
    nx_time deadline = nx_after(nx_now(), SOON);
    struct nx_meet *meet;

    (void)state;
    await_waiting(child);
    assert_int_equal(rmdir(one.path[0]), 0);
    while (access(one.path[0], F_OK) != 0 && nx_now() < deadline) /* the child makes it again */
        sched_yield();
    await_waiting(child);
    assert_ok(nx_meet_publish(&one, "a", "nexar://a", &meet));
    assert_int_equal(result(child), 0);
    nx_meet_withdraw(meet);
}

/* ---- when the system has nothing to give ---- */

/* Forbids inotify to the calling process; false if it may not. */
static bool forbid_notices(void)
{
    static const struct {
        const char *path, *text;
    } steps[] = {
        {"/proc/self/setgroups", "deny"},
        {"/proc/self/uid_map", NULL},
        {"/proc/sys/user/max_inotify_instances", "0"},
    };
    char map[64];

    snprintf(map, sizeof(map), "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
    if (unshare(CLONE_NEWUSER) != 0)
        return false;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        const char *text = steps[i].text == NULL ? map : steps[i].text;
        int fd = open(steps[i].path, O_WRONLY);
        bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

        if (fd >= 0)
            close(fd);
        if (!done)
            return false;
    }
    return true;
}

static int find_without_notices(const void *arg)
{
    return forbid_notices() ? go_and_find(arg) : 77;
}

/* Many ranks on one host use up the notices of a user; those that get none look now and then. */
static void test_without_notices(void **state)
{
    struct errand e = {.job = "a", .join = "nexar://a", .folders = &folders};
    pid_t child = child_that(find_without_notices, &e);
    struct nx_meet *meet;
    int status;

    (void)state;
    meet = publish("a", "nexar://a");
    status = result(child);
    nx_meet_withdraw(meet);
    if (status == 77)
        skip(); /* user namespaces are not allowed here */
    assert_int_equal(status, 0);
}

static nexar_status publish_and_find(void *arg)
{
    struct nx_meet_found found = {.join = NULL};
    struct nx_meet *meet;
    nexar_status status = nx_meet_publish(&folders, "a", "nexar://a", &meet);

    (void)arg;
    if (status == NEXAR_OK)
        status = find("a", NULL, SOON, &found);
    nx_free_secret(found.join);
    nx_meet_withdraw(meet);
    assert_int_equal(files(folders.path[0]), 0);
    return status;
}

static void test_allocations_fail(void **state)
{
    (void)state;
    torture(publish_and_find, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_two_processes, clean),
        cmocka_unit_test_teardown(test_two_jobs_at_once, clean),
        cmocka_unit_test_teardown(test_names_do_not_collide, clean),
        cmocka_unit_test_teardown(test_the_newest_counts, clean),
        cmocka_unit_test_teardown(test_one_that_led_nowhere, clean),
        cmocka_unit_test_teardown(test_signals_interrupt, clean),
        cmocka_unit_test_teardown(test_a_forked_child_takes_nothing_away, clean),
        cmocka_unit_test_teardown(test_files_of_crashed_jobs, clean),
        cmocka_unit_test_teardown(test_a_file_in_the_second_folder, clean),
        cmocka_unit_test_teardown(test_unfinished_files_are_swept, clean),
        cmocka_unit_test_teardown(test_the_folder_vanishes, clean),
        cmocka_unit_test_teardown(test_without_notices, clean),
        cmocka_unit_test_teardown(test_allocations_fail, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
