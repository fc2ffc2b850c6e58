/* Lines for people: levels, the sink, the prefix, one write per line. */
#include "base/log.h"
#include "check.h"

#include <pthread.h>
#include <unistd.h>

static char last[1024];
static nexar_log_level last_level;
static int lines;

static void sink(void *arg, nexar_log_level level, const char *line)
{
    assert_ptr_equal(arg, last);
    snprintf(last, sizeof(last), "%s", line);
    last_level = level;
    lines++;
}

static int setup(void **state)
{
    (void)state;
    nexar_log_set(sink, last);
    nexar_log_set_level(NEXAR_LOG_INFO);
    nx_log_set_prefix("");
    lines = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nexar_log_set(NULL, NULL);
    return 0;
}

static void test_levels(void **state)
{
    nexar_log_level level;

    (void)state;
    nx_debug("not %s", "seen");
    assert_int_equal(lines, 0);
    nx_info("port %u", 7u);
    assert_string_equal(last, "nexar info: port 7");
    assert_int_equal(last_level, NEXAR_LOG_INFO);
    nexar_log_set_level(NEXAR_LOG_ERROR);
    nx_warn("not seen");
    assert_int_equal(lines, 1);
    assert_true(nx_log_level_parse("trace", &level));
    assert_int_equal(level, NEXAR_LOG_TRACE);
    assert_false(nx_log_level_parse("Trace", &level));
    assert_false(nx_log_level_parse("", &level));
}

static void test_prefix(void **state)
{
    (void)state;
    nx_log_set_prefix("[3] ");
    nx_warn("slow");
    assert_string_equal(last, "nexar [3] warn: slow");
    nx_log_set_prefix("a prefix that is longer than what there is room for");
    nx_warn("still a line");
    assert_non_null(strstr(last, "still a line"));
}

static void test_long_line_is_cut(void **state)
{
    char longer[2000];

    (void)state;
    memset(longer, 'y', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    nx_warn("%s", longer);
    assert_in_range(strlen(last), 700, 800);
}

static void *chatter(void *arg)
{
    for (int i = 0; i < 50; i++)
        nx_warn("thread %c", *(const char *)arg);
    return NULL;
}

/* Without a sink: whole lines on standard error, whoever else writes. */
static void test_stderr(void **state)
{
    static const char wanted_a[] = "nexar warn: thread a", wanted_b[] = "nexar warn: thread b";
    int fd[2], saved = dup(STDERR_FILENO), seen = 0;
    pthread_t thread[2];
    char line[256];
    FILE *in;

    (void)state;
    nexar_log_set(NULL, NULL);
    assert_int_equal(pipe(fd), 0);
    dup2(fd[1], STDERR_FILENO);
    close(fd[1]);
    pthread_create(&thread[0], NULL, chatter, (void *)(uintptr_t) "a");
    pthread_create(&thread[1], NULL, chatter, (void *)(uintptr_t) "b");
    pthread_join(thread[0], NULL);
    pthread_join(thread[1], NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    in = fdopen(fd[0], "r");
    while (fgets(line, sizeof(line), in) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        assert_true(strcmp(line, wanted_a) == 0 || strcmp(line, wanted_b) == 0);
        seen++;
    }
    fclose(in);
    assert_int_equal(seen, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_line_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stderr, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
