/* Who started this process: environments of launchers, and Slurm's short forms. */
#include "node/env.h"

#include "base/json.h"
#include "base/process.h"
#include "identity/kit.h"
#include "node/environment.h"
#include "node/hostlist.h"

#include <sys/wait.h>
#include <unistd.h>

/* ---- the vectors ---- */

static const struct vector *current;

/* "VARIABLE VALUE PROCESS" of the case; being asked for another is a failure, as is being asked without need. */
static void starter(const char *variable, const char *value, char *out, size_t cap)
{
    const char *line = vector_get(current, "starter");
    char asked[128];

    snprintf(asked, sizeof(asked), "%s %s ", variable == NULL ? "-" : variable, value);
    if (line == NULL || strncmp(line, asked, strlen(asked)) != 0)
        fail_msg("%s: asked for the starter of \"%s\"", current->name, asked);
    snprintf(out, cap, "%s", line + strlen(asked));
}

static void full_name(char *out, size_t cap)
{
    const char *name = vector_get(current, "name");

    if (name == NULL)
        fail_msg("%s: asked for the name of the host", current->name);
    snprintf(out, cap, "%s", name);
}

static const struct nx_env_host host = {.starter = starter, .full_name = full_name};

static const char *number(bool have, uint32_t value)
{
    static char text[16];

    snprintf(text, sizeof(text), "%u", value);
    return have ? text : "-";
}

static const char *found(const struct nx_env *env, enum nx_way way, const char *key)
{
    static const char *const answers[] = {[NX_UNKNOWN] = "-", [NX_NO] = "no", [NX_YES] = "yes"};

    if (strcmp(key, "launcher") == 0)
        return env->launcher;
    if (strcmp(key, "rank") == 0)
        return number(env->have_rank, env->rank);
    if (strcmp(key, "size") == 0)
        return number(env->have_size, env->size);
    if (strcmp(key, "local_rank") == 0)
        return number(env->have_local_rank, env->local_rank);
    if (strcmp(key, "local_size") == 0)
        return number(env->have_local_size, env->local_size);
    if (strcmp(key, "one_host") == 0)
        return answers[env->one_host];
    if (strcmp(key, "host") == 0)
        return env->host[0] == '\0' ? "-" : env->host;
    if (strcmp(key, "port") == 0)
        return number(true, env->port);
    if (strcmp(key, "job") == 0)
        return env->job;
    if (strcmp(key, "here") == 0)
        return env->here;
    return strcmp(key, "way") == 0 ? nx_way_name(way) : NULL;
}

static void check_case(const struct vector *v, const struct nx_env *env, enum nx_way way)
{
    for (size_t i = 0; i < v->n; i++) {
        const char *key = v->lines[i].key, *wanted = v->lines[i].value, *is = found(env, way, key);

        if (is != NULL && strcmp(is, wanted) != 0)
            fail_msg("%s: %s is %s, not %s (%s)", v->name, key, is, wanted, env->why);
        if (strcmp(key, "why") == 0 && strstr(env->why, wanted) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", v->name, env->why, wanted);
        if (is == NULL && strcmp(key, "why") != 0 && strcmp(key, "env") != 0 && strcmp(key, "name") != 0 &&
            strcmp(key, "starter") != 0)
            fail_msg("%s: there is no key %s", v->name, key);
    }
}

static void test_vectors(void **state)
{
    struct vectors vectors = vectors_load("env.txt");

    (void)state;
    for (size_t i = 0; i < vectors.n; i++) {
        struct environment environment = environment_of(&vectors.cases[i]);
        const char *error = vector_get(&vectors.cases[i], "error");
        enum nx_way way = NX_WAY_ALONE;
        struct nx_config config;
        struct nx_env env;
        nexar_status status;

        current = &vectors.cases[i];
        assert_ok(nx_config_load(NULL, environment.text, &config));
        status = nx_env_detect(&config, environment.text, &host, &env);
        if (status == NEXAR_OK)
            status = nx_env_way(&config, &env, &way);
        if (status != (error == NULL ? NEXAR_OK : NEXAR_ECONFIG))
            fail_msg("%s: %s, \"%s\"", current->name, nexar_status_name(status), nexar_last_error());
        if (error != NULL && strstr(nexar_last_error(), error) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", current->name, nexar_last_error(), error);
        if (error == NULL)
            check_case(current, &env, way);
        nx_config_free(&config);
    }
    vectors_free(&vectors);
}

/* ---- what the vectors cannot say ---- */

static void no_starter(const char *variable, const char *value, char *out, size_t cap)
{
    assert_null(variable);
    assert_string_equal(value, "1");
    snprintf(out, cap, "8.9");
}

static void test_the_callers_rank_comes_first(void **state)
{
    static const struct nx_env_host by_caller = {.starter = no_starter};
    char *environment[] = {"NEXAR_RANK=5", "NEXAR_WORLD_SIZE=8",        "RANK=3",
                           "WORLD_SIZE=4", "NEXAR_JOIN=nexar://seed:1", NULL};
    nexar_config caller = {.size = sizeof(caller), .rank_plus_one = 2, .world_size = 3, .secret = "x"};
    struct nx_config config;
    enum nx_way way;
    struct nx_env env;

    (void)state;
    assert_ok(nx_config_load(&caller, environment, &config));
    assert_ok(nx_env_detect(&config, environment, &by_caller, &env));
    assert_string_equal(env.launcher, "config");
    assert_int_equal(env.rank, 1);
    assert_int_equal(env.size, 3);
    assert_string_equal(env.why, "config: config.rank_plus_one 1, config.world_size 3");
    /* and so does his secret */
    assert_refused(nx_env_way(&config, &env, &way), NEXAR_ECONFIG, "nothing says on which host rank 0 is");
    nx_config_free(&config);

    caller = (nexar_config){.size = sizeof(caller), .rank_plus_one = 4, .world_size = 3};
    assert_ok(nx_config_load(&caller, environment, &config));
    assert_refused(nx_env_detect(&config, environment, &by_caller, &env), NEXAR_ECONFIG,
                   "config.rank_plus_one is 3, but config.world_size is 3");
    nx_config_free(&config);
}

/* A name is cut nowhere: two long ones that begin alike would be one job. */
static void test_long_names_of_jobs(void **state)
{
    char id[NX_ENV_JOB + 64] = "NEXAR_JOB_ID=", run[NX_ENV_JOB + 64] = "TORCHELASTIC_RUN_ID=",
                         addr[400] = "MASTER_ADDR=";
    char *by_id[] = {"NEXAR_RANK=0", "NEXAR_WORLD_SIZE=1", id, NULL}, *by_run[] = {"RANK=0", "WORLD_SIZE=1", run, NULL};
    char *by_addr[] = {"RANK=0", "WORLD_SIZE=1", addr, NULL};
    struct nx_config config;
    struct nx_env env;

    (void)state;
    memset(id + 13, 'x', NX_ENV_JOB - 4);
    assert_ok(nx_config_load(NULL, by_id, &config));
    assert_ok(nx_env_detect(&config, by_id, &nx_env_this_host, &env));
    assert_int_equal(strlen(env.job), NX_ENV_JOB - 1);
    nx_config_free(&config);
    id[13 + NX_ENV_JOB - 4] = 'x';
    assert_ok(nx_config_load(NULL, by_id, &config));
    assert_refused(nx_env_detect(&config, by_id, &nx_env_this_host, &env), NEXAR_ECONFIG,
                   "NEXAR_JOB_ID has more than 508");
    nx_config_free(&config);
    memset(run + 20, 'x', NX_ENV_JOB - 10);
    assert_ok(nx_config_load(NULL, by_run, &config));
    assert_refused(nx_env_detect(&config, by_run, &nx_env_this_host, &env), NEXAR_ECONFIG,
                   "longer than 511 characters");
    nx_config_free(&config);
    memset(addr + 12, 'x', NX_ENV_HOST);
    assert_ok(nx_config_load(NULL, by_addr, &config));
    assert_refused(nx_env_detect(&config, by_addr, &nx_env_this_host, &env), NEXAR_ECONFIG,
                   "MASTER_ADDR has 256 characters");
    nx_config_free(&config);
}

/* ---- Slurm's short forms ---- */

static void test_first_host(void **state)
{
    static const struct {
        const char *text, *host;
    } table[] = {
        {"node1", "node1"},
        {"node1,node2", "node1"},
        {"node[003-010,12],x1", "node003"},
        {"node[7]", "node7"},
        {"node[12,14-16]", "node12"},
        {"r[1-2]n[05-09]", "r1n05"},
        {"r[1,3]-ib[2-4].example,x", "r1-ib2.example"},
        {"a.b-c_d", "a.b-c_d"},
        {"", NULL},
        {",a", NULL},
        {"[", NULL},
        {"]", NULL},
        {"n[", NULL},
        {"n[1", NULL},
        {"n1]", NULL},
        {"n[[1]]", NULL},
        {"[-1]", NULL},
    };
    char out[16];

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        bool good = nx_hostlist_first(table[i].text, out, sizeof(out));

        if (good != (table[i].host != NULL) || (good && strcmp(out, table[i].host) != 0))
            fail_msg("\"%s\": %s", table[i].text, good ? out : "none");
    }
    assert_true(nx_hostlist_first("fifteen-letters", out, sizeof(out)));
    assert_false(nx_hostlist_first("sixteen--letters", out, sizeof(out)));
}

static void test_tasks_on_node(void **state)
{
    static const struct {
        const char *text;
        uint32_t node, tasks; /* 0: none */
    } table[] = {
        {"4", 0, 4},
        {"4", 1, 0},
        {"2(x3),1", 0, 2},
        {"2(x3),1", 2, 2},
        {"2(x3),1", 3, 1},
        {"2(x3),1", 4, 0},
        {"2,1", 1, 1},
        {"2,1,", 1, 1},
        {"2,1,", 2, 0},
        {"", 0, 0},
        {"x", 0, 0},
        {"0", 0, 0},
        {"2(x0),1", 0, 0},
        {"2(x", 0, 0},
        {"2(3)", 0, 0},
        {"-1", 0, 0},
        {"99999999999", 0, 0},
        {"2x", 0, 0},
        {"1(x4294967295)", 4294967294, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint32_t tasks = 0;
        bool good = nx_tasks_on_node(table[i].text, table[i].node, &tasks);

        if (good != (table[i].tasks != 0) || (good && tasks != table[i].tasks))
            fail_msg("\"%s\", node %u: %s %u", table[i].text, table[i].node, good ? "has" : "none", tasks);
    }
}

/* ---- processes ---- */

static void test_process_as_text(void **state)
{
    static const char *const none[] = {"",          "x",       "1",        "1 2 3",    "1 2 3 ",
                                       "1 2 3 a b", "0 2 3 a", "-1 2 3 a", "1 2 3 a\n"};
    struct nx_process self, back;
    char text[NX_PROCESS_TEXT];

    (void)state;
    assert_ok(nx_process_self(&self));
    assert_int_equal(self.pid, getpid());
    assert_int_equal(strlen(self.boot), 36);
    nx_process_text(&self, text);
    assert_true(nx_process_parse(text, &back));
    assert_memory_equal(&self, &back, sizeof(self));
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_false(nx_process_parse(none[i], &back));
}

static void test_process_lives(void **state)
{
    struct nx_process self, other;
    pid_t child;
    int go[2];
    char byte;

    (void)state;
    assert_ok(nx_process_self(&self));
    assert_true(nx_process_lives(&self));
    other = self;
    other.start++; /* the number was used again */
    assert_false(nx_process_lives(&other));
    other = self;
    other.boot[0] ^= 1;
    assert_false(nx_process_lives(&other));
    other = self;
    other.start++;
    other.pid_space++; /* a number of somebody else's */
    assert_true(nx_process_lives(&other));

    assert_int_equal(pipe(go), 0);
    child = fork();
    if (child == 0) {
        if (nx_process_self(&other) == NEXAR_OK && write(go[1], &other, sizeof(other)) == sizeof(other))
            pause();
        _exit(1);
    }
    assert_int_equal(read(go[0], &other, sizeof(other)), sizeof(other));
    assert_int_equal(other.pid, child);
    assert_true(nx_process_lives(&other));
    kill(child, SIGKILL);
    close(go[1]);
    assert_int_equal(read(go[0], &byte, 1), 0); /* it has ended, and is a zombie */
    while (waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT) != 0)
        ;
    assert_false(nx_process_lives(&other));
    waitpid(child, NULL, 0);
    assert_false(nx_process_lives(&other));
    close(go[0]);
}

/* What a rank thinks that its starter is, if a shell runs `command`, in which $X is this program as a rank. */
static void ask(const char *self, const char *command, char *out, size_t cap)
{
    char line[1024];
    FILE *f;

    snprintf(line, sizeof(line), "X=%s; %s", self, command);
    f = popen(line, "r");
    assert_non_null(f);
    assert_non_null(fgets(out, (int)cap, f));
    out[strcspn(out, "\n")] = '\0';
    pclose(f);
}

/* Scripts between a rank and the process that started all ranks do not count. */
static void test_starter(void **state)
{
    char self[512] = {0}, direct[64], wrapped[64], twice[64], parent[64];
    char here[NX_PROCESS_TEXT];
    struct nx_process process;

    (void)state;
    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    assert_ok(nx_process_self(&process));
    snprintf(here, sizeof(here), "%d.%llu", (int)process.pid, (unsigned long long)process.start);
    ask(self, "NX_TEST_RANK=1 exec $X", direct, sizeof(direct));
    ask(self, "NX_TEST_RANK=1 exec sh -c \"$X; true\"", wrapped, sizeof(wrapped));
    ask(self, "NX_TEST_RANK=1 exec sh -c \"sh -c '$X; true'; true\"", twice, sizeof(twice));
    ask(self, "NX_TEST_RANK=1 NX_TEST_PARENT=1 exec $X", parent, sizeof(parent));
    assert_string_equal(direct, here);
    assert_string_equal(wrapped, here);
    assert_string_equal(twice, here);
    assert_string_equal(parent, here);
    /* a rank of another value is not one of ours: the shell between is the starter */
    ask(self, "NX_TEST_RANK=2 exec sh -c \"NX_TEST_RANK=1 $X; true\"", wrapped, sizeof(wrapped));
    assert_string_not_equal(wrapped, here);
}

/* ---- the public function ---- */

static void test_environment_is_json(void **state)
{
    size_t need = 0, again = 0;
    char *text;

    (void)state;
    for (char **e = environ; *e != NULL;) {
        char name[64];

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*e, "="), *e);
        if (strncmp(name, "NEXAR_", 6) == 0 && unsetenv(name) == 0)
            e = environ;
        else
            e++;
    }
    setenv("NEXAR_DETECT", "none", 1);
    assert_ok(nexar_environment(NULL, 0, &need));
    text = malloc(need);
    assert_ok(nexar_environment(text, need, &again));
    assert_int_equal(need, again);
    assert_int_equal(strlen(text), need - 1);
    assert_non_null(strstr(text, "{\"launcher\": \"none\", \"why\": \"no launcher was found: one rank\", \"rank\": 0, "
                                 "\"size\": 1, \"local_rank\": 0, \"local_size\": 1, \"one_host\": \"yes\", "
                                 "\"meeting\": {\"way\": \"alone\""));
    assert_non_null(strstr(text, "\"errors\": [], \"settings\": [{\"name\": \"rank_plus_one\""));
    assert_non_null(strstr(text, "\"unknown\": []}"));
    free(text);

    /* what is wrong is told, the rest is still there, and no secret is */
    text = malloc(32768);
    setenv("NEXAR_TIMEOUT", "soon", 1);
    setenv("NEXAR_TIMOUT", "5", 1);
    setenv("NEXAR_JOIN",
           "nexar://seed:7000?token=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8&ca=sha256:"
           "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f&host=[::1]:7001",
           1);
    setenv("NEXAR_SECRET", "9f86d081884c7d659a2feaa0c55ad015", 1);
    assert_refused(nexar_environment(text, 32768, &need), NEXAR_ECONFIG, "NEXAR_TIMEOUT is \"soon\"");
    assert_non_null(
        strstr(text, "\"seed\": [{\"host\": \"seed\", \"port\": 7000}, {\"host\": \"::1\", \"port\": 7001}]"));
    assert_non_null(strstr(text, "\"errors\": [\"NEXAR_TIMEOUT is \\\"soon\\\""));
    assert_non_null(strstr(text, "\"variable\": \"NEXAR_JOIN\", \"value\": \"set\""));
    assert_non_null(strstr(text, "\"unknown\": [{\"variable\": \"NEXAR_TIMOUT\", \"nearest\": \"NEXAR_TIMEOUT\"}]"));
    assert_null(strstr(text, "AAECAwQF"));
    assert_null(strstr(text, "9f86d081"));
    setenv("NEXAR_TIMEOUT", "5", 1);
    setenv("NEXAR_JOIN", "nexar://seed?token=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 1);
    setenv("NEXAR_SECRET", "secret", 1);
    assert_refused(nexar_environment(text, 32768, &need), NEXAR_ECONFIG, "join string");
    assert_non_null(strstr(text, "NEXAR_SECRET is too weak"));
    assert_null(strstr(text, "AAECAwQF"));
    free(text);
    assert_int_equal(nexar_environment(NULL, 1, &need), NEXAR_EINVAL);
    assert_int_equal(nexar_environment(NULL, 0, NULL), NEXAR_EINVAL);
    unsetenv("NEXAR_JOIN");
    unsetenv("NEXAR_SECRET");
}

static nexar_status describe(void *arg)
{
    char text[64];
    size_t need;

    (void)arg;
    return nexar_environment(text, sizeof(text), &need);
}

static void test_allocations_fail(void **state)
{
    (void)state;
    setenv("NEXAR_BIND", "10.0.0.5", 1);
    torture(describe, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_the_callers_rank_comes_first),
        cmocka_unit_test(test_long_names_of_jobs),
        cmocka_unit_test(test_first_host),
        cmocka_unit_test(test_tasks_on_node),
        cmocka_unit_test(test_process_as_text),
        cmocka_unit_test(test_process_lives),
        cmocka_unit_test(test_starter),
        cmocka_unit_test(test_environment_is_json),
        cmocka_unit_test(test_allocations_fail),
    };
    char out[64];

    if (getenv("NX_TEST_RANK") != NULL) { /* as a rank of test_starter */
        bool parent = getenv("NX_TEST_PARENT") != NULL;

        nx_process_starter(parent ? NULL : "NX_TEST_RANK", getenv("NX_TEST_RANK"), out, sizeof(out));
        puts(out);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
