/* Settings: values and sources, everything that can be wrong with them, and callers of other versions. */
#include "node/config.h"

#include "base/json.h"
#include "identity/kit.h"
#include "node/config_table.h"
#include "node/environment.h"
#include "node/value.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char *const empty[] = {NULL};

/* ---- the vectors ---- */

static char *json_of(const struct nx_config *config, char *const *environment)
{
    static char text[32768];
    struct nx_json json;

    nx_json_begin_text(&json, text, sizeof(text));
    nx_json_object(&json, NULL);
    nx_config_json(config, environment, &json, "settings");
    nx_json_close(&json);
    assert_true(nx_json_end_text(&json) <= sizeof(text));
    return text;
}

/* "VARIABLE VALUE SOURCE" */
static void check_value(const char *name, const char *json, const char *line)
{
    const char *value = strchr(line, ' ') + 1, *source = strrchr(line, ' ') + 1, *at;
    char wanted[256], unit[64];

    snprintf(wanted, sizeof(wanted), "\"variable\": \"%.*s\", \"value\": %.*s, \"unit\": \"", (int)(value - 1 - line),
             line, (int)(source - 1 - value), value);
    at = strstr(json, wanted);
    if (at == NULL)
        fail_msg("%s: no %s in %s", name, wanted, json);
    assert_int_equal(sscanf(at + strlen(wanted), "%63[a-z]", unit), 1);
    at += strlen(wanted) + strlen(unit);
    snprintf(wanted, sizeof(wanted), "\", \"source\": \"%s\"}", source);
    if (strncmp(at, wanted, strlen(wanted)) != 0)
        fail_msg("%s: %s: not %s", name, line, wanted);
}

/* "VARIABLE NEAREST" of all lines, in order. */
static void check_unknown(const struct vector *v, char *const *environment)
{
    const char *nearest;
    char name[64], line[160];
    size_t at = 0;

    for (size_t i = 0; i < v->n; i++) {
        if (strcmp(v->lines[i].key, "unknown") != 0)
            continue;
        if (nx_config_unknown(environment, &at, name, &nearest) == NULL)
            fail_msg("%s: %s is not found", v->name, v->lines[i].value);
        snprintf(line, sizeof(line), "%s %s", name, nearest == NULL ? "-" : nearest);
        assert_string_equal(line, v->lines[i].value);
    }
    if (nx_config_unknown(environment, &at, name, &nearest) != NULL)
        fail_msg("%s: %s is unknown", v->name, name);
}

static void test_vectors(void **state)
{
    struct vectors vectors = vectors_load("config.txt");

    (void)state;
    for (size_t i = 0; i < vectors.n; i++) {
        const struct vector *v = &vectors.cases[i];
        struct environment environment = environment_of(v);
        const char *error = vector_get(v, "error");
        struct nx_config config;
        nexar_status status = nx_config_load(NULL, environment.text, &config);
        char *json = json_of(&config, environment.text);

        if (status != (error == NULL ? NEXAR_OK : NEXAR_ECONFIG))
            fail_msg("%s: %s, \"%s\"", v->name, nexar_status_name(status), nexar_last_error());
        if (error != NULL && strstr(nexar_last_error(), error) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", v->name, nexar_last_error(), error);
        for (size_t k = 0; k < v->n; k++) {
            if (strcmp(v->lines[k].key, "value") == 0)
                check_value(v->name, json, v->lines[k].value);
        }
        check_unknown(v, environment.text);
        nx_config_free(&config);
    }
    vectors_free(&vectors);
}

/* B8: the reference ignores values that are wrong, or panics. */
static void test_b8_no_wrong_value_is_ignored(void **state)
{
    static const char *const nonsense[] = {"",    " ", "nonsense", "-1", "1e99", "0x10", "999999999999999999999999",
                                           "\xff"};

    (void)state;
    for (size_t i = 0; i < nx_setting_count; i++) {
        const struct nx_setting *row = &nx_settings[i];
        bool any = row->kind == NX_SETTING_TEXT || row->kind == NX_SETTING_SECRET ||
                   (row->kind == NX_SETTING_ELSEWHERE && strchr(row->range, '|') == NULL);

        for (size_t k = 0; k < sizeof(nonsense) / sizeof(nonsense[0]); k++) {
            char text[128], *environment[] = {text, NULL};
            struct nx_config config;

            snprintf(text, sizeof(text), "%s=%s", row->variable, nonsense[k]);
            /* Which transports there are is seen when they are opened. */
            if ((any && (k > 0 || row->kind == NX_SETTING_ELSEWHERE)) ||
                (row->kind == NX_SETTING_TRANSPORTS && strcmp(nonsense[k], "nonsense") == 0))
                assert_ok(nx_config_load(NULL, environment, &config));
            else
                assert_refused(nx_config_load(NULL, environment, &config), NEXAR_ECONFIG, row->variable);
            nx_config_free(&config);
        }
    }
}

/* ---- the table ---- */

static void test_table_is_described(void **state)
{
    nexar_config_field field = {.size = sizeof(field)};
    size_t n = 0, fields = 0;

    (void)state;
    for (; nexar_config_describe(n, &field) == NEXAR_OK; n++) {
        assert_int_equal(field.size, sizeof(field));
        assert_int_equal(strncmp(field.variable, "NEXAR_", 6), 0);
        assert_true(field.unit[0] != '\0' && field.range[0] != '\0' && field.help[0] != '\0');
        assert_non_null(field.fallback);
        fields += field.name[0] != '\0';
        for (size_t k = 0; k < n; k++)
            assert_string_not_equal(nx_settings[k].variable, field.variable);
    }
    assert_int_equal(n, nx_setting_count);
    assert_int_equal(fields, 30);
    assert_non_null(strstr(nexar_last_error(), "config_describe: there are "));
    assert_int_equal(nexar_config_describe(0, NULL), NEXAR_EINVAL);
    field.size = 8;
    assert_int_equal(nexar_config_describe(0, &field), NEXAR_EINVAL);
    field.size = sizeof(field);
    assert_int_equal(nexar_config_describe(SIZE_MAX, &field), NEXAR_EINVAL);
    assert_ok(nexar_config_describe(10, &field));
    assert_string_equal(field.name, "timeout_ns");
    assert_string_equal(field.variable, "NEXAR_TIMEOUT");
    assert_string_equal(field.unit, "seconds");
    assert_string_equal(field.fallback, "600");
    assert_string_equal(field.range, "1ms..never");
}

/* Every field of the public struct but size and reserved is a row, and no two rows share one. */
static void test_table_covers_the_struct(void **state)
{
    unsigned char covered[sizeof(nexar_config)] = {0};

    (void)state;
    memset(covered, 1, offsetof(nexar_config, rank_plus_one));
    memset(covered + offsetof(nexar_config, reserved), 1, sizeof(uint32_t));
    memset(covered + offsetof(nexar_config, reserved_2), 1, sizeof(uint32_t));
    for (size_t i = 0; i < nx_setting_count; i++) {
        const struct nx_setting *row = &nx_settings[i];
        size_t size = row->kind == NX_SETTING_RANK || row->kind == NX_SETTING_NUMBER ? 4 : 8;

        for (size_t k = 0; k < size && row->name[0] != '\0'; k++)
            assert_int_equal(covered[row->caller_at + k]++, 0);
    }
    for (size_t k = 0; k < sizeof(covered); k++)
        assert_int_equal(covered[k], 1);
}

/* ---- the caller's struct ---- */

static void test_caller_comes_before_the_environment(void **state)
{
    char *environment[] = {"NEXAR_RANK=3",
                           "NEXAR_TIMEOUT=7",
                           "NEXAR_BIND=10.0.0.1",
                           "NEXAR_LANE_MESSAGES=9",
                           "NEXAR_LINGER=wrong, but not asked",
                           NULL};
    char bind[] = "10.0.0.2";
    nexar_config caller = {.size = sizeof(caller),
                           .rank_plus_one = 1,
                           .bind = bind,
                           .timeout_ns = NX_MS,
                           .linger_ns = 1,
                           .spin_ns = 1,
                           .lane_bytes = 1 << 20};
    struct nx_config config;

    (void)state;
    assert_ok(nx_config_load(&caller, environment, &config));
    bind[7] = '9'; /* texts are copied */
    assert_int_equal(config.rank_plus_one, 1);
    assert_string_equal(config.bind, "10.0.0.2");
    assert_int_equal(config.timeout_ns, NX_MS);
    assert_int_equal(config.linger_ns, 1);
    assert_int_equal(config.lane_bytes, 1 << 20);
    assert_int_equal(config.lane_messages, 9);
    assert_int_equal(config.heartbeat_ns, 500 * NX_MS);
    assert_int_equal(nx_config_source(&config, &config.rank_plus_one), NX_BY_CALLER);
    assert_int_equal(nx_config_source(&config, &config.bind), NX_BY_CALLER);
    assert_int_equal(nx_config_source(&config, &config.lane_messages), NX_BY_ENVIRONMENT);
    assert_int_equal(nx_config_source(&config, &config.heartbeat_ns), NX_BY_DEFAULT);
    assert_string_equal(nx_config_name(&config, &config.bind), "config.bind");
    assert_string_equal(nx_config_name(&config, &config.lane_messages), "NEXAR_LANE_MESSAGES");
    nx_config_free(&config);
    assert_null(config.bind);
}

static void test_callers_values_are_checked(void **state)
{
    static const struct {
        nexar_config caller;
        const char *words;
    } table[] = {
        {{.timeout_ns = -5}, "config.timeout_ns is \"-5\"; it takes nanoseconds from 1ms to never"},
        {{.timeout_ns = 999999}, "config.timeout_ns is \"999999\""},
        {{.heartbeat_ns = NX_NEVER}, "config.heartbeat_ns"},
        {{.rank_plus_one = UINT32_MAX}, "config.rank_plus_one is \"4294967295\"; it takes one more than a rank"},
        {{.world_size = UINT32_MAX}, "config.world_size"},
        {{.small_bytes = 63}, "config.small_bytes is \"63\""},
        {{.connection_window = UINT64_MAX}, "config.connection_window"},
        {{.connection_window = 32 << 20}, "config.connection_window is 33554432, less than NEXAR_UNREAD_BYTES"},
        {{.stream_window = 65537}, "config.stream_window is 65537; it must be a power of two"},
        {{.unread_bytes = 1 << 20, .lane_bytes = 2 << 20},
         "config.unread_bytes is 1048576, less than config.lane_bytes"},
        {{.bind = ""}, "config.bind is empty"},
        {{.transports = "shm;quic"}, "config.transports is \"shm;quic\": names of transports are wanted"},
        {{.join = "nexar://x", .secret = "y"}, "both config.join and config.secret are set"},
        {{.reserved = 1}, "config.reserved is 1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        nexar_config caller = table[i].caller;
        struct nx_config config;

        caller.size = sizeof(caller);
        assert_refused(nx_config_load(&caller, empty, &config), NEXAR_EINVAL, table[i].words);
        nx_config_free(&config);
    }
}

static void test_callers_of_other_versions(void **state)
{
    struct {
        nexar_config config;
        char later[24];
    } newer = {.config = {.size = sizeof(newer), .spin_ns = 7}};
    size_t boundaries = 0;
    struct nx_config config;

    (void)state;
    /* a newer one, with and without something that is not known here */
    assert_ok(nx_config_load(&newer.config, empty, &config));
    assert_int_equal(config.spin_ns, 7);
    nx_config_free(&config);
    newer.later[23] = 1;
    assert_refused(nx_config_load(&newer.config, empty, &config), NEXAR_EINVAL, "a setting beyond byte 224");
    nx_config_free(&config);

    /* older ones: exactly as large as the size says, so that a sanitizer sees a read too far */
    for (uint32_t size = 0; size <= sizeof(nexar_config); size++) {
        nexar_config full = {.size = size, .world_size = 2, .timeout_ns = 30 * NX_S, .stream_window = 1 << 21};
        unsigned char *caller = malloc(size < 4 ? 4 : size);
        nexar_status status;

        memcpy(caller, &full, size < 4 ? 4 : size);
        status = nx_config_load((const nexar_config *)(const void *)caller, empty, &config);
        if (status == NEXAR_OK) {
            boundaries++;
            assert_int_equal(config.world_size, size > offsetof(nexar_config, world_size) ? 2 : 0);
            assert_int_equal(config.timeout_ns, size > offsetof(nexar_config, timeout_ns) ? 30 * NX_S : 600 * NX_S);
            assert_int_equal(config.stream_window, size > offsetof(nexar_config, stream_window) ? 1 << 21 : 1 << 20);
        } else {
            assert_non_null(strstr(nexar_last_error(), "sizeof(nexar_config)"));
        }
        nx_config_free(&config);
        free(caller);
    }
    assert_int_equal(boundaries, 31); /* at the beginning of each field, and at the end */

    newer.config.size = 1 << 20; /* not believed, and not read */
    assert_refused(nx_config_load(&newer.config, empty, &config), NEXAR_EINVAL, "config.size is 1048576");
    nx_config_free(&config);
}

/* ---- secrets ---- */

#define SECRET "9f86d081884c7d659a2feaa0c55ad015"

static void test_secret(void **state)
{
    char path[] = P_tmpdir "/nexar-test-XXXXXX", by_file[128];
    char *environment[] = {by_file, NULL}, *direct[] = {"NEXAR_SECRET=" SECRET, NULL},
         *weak[] = {"NEXAR_SECRET=secret", NULL};
    nexar_config caller = {.size = sizeof(caller), .secret = SECRET};
    struct nx_proof_key key, other;
    struct nx_config config;
    int fd = mkstemp(path);
    bool have;

    (void)state;
    assert_ok(nx_config_load(NULL, empty, &config));
    assert_ok(nx_config_secret(&config, &key, &have));
    assert_false(have);
    nx_config_free(&config);

    assert_ok(nx_config_load(NULL, direct, &config));
    assert_ok(nx_config_secret(&config, &key, &have));
    assert_true(have);
    assert_null(strstr(json_of(&config, direct), SECRET));
    nx_config_free(&config);

    assert_int_equal(write(fd, SECRET "\n", sizeof(SECRET)), sizeof(SECRET));
    snprintf(by_file, sizeof(by_file), "NEXAR_SECRET_FILE=%s", path);
    assert_ok(nx_config_load(NULL, environment, &config));
    assert_ok(nx_config_secret(&config, &other, &have));
    assert_true(have);
    assert_memory_equal(&key, &other, sizeof(key));
    assert_int_equal(fchmod(fd, 0644), 0);
    assert_refused(nx_config_secret(&config, &other, &have), NEXAR_ECONFIG, "mode 0644");
    nx_config_free(&config);

    /* the caller's counts, whatever the environment has */
    assert_ok(nx_config_load(&caller, environment, &config));
    assert_ok(nx_config_secret(&config, &other, &have));
    assert_memory_equal(&key, &other, sizeof(key));
    nx_config_free(&config);

    assert_ok(nx_config_load(NULL, weak, &config));
    assert_refused(nx_config_secret(&config, &other, &have), NEXAR_ECONFIG, "NEXAR_SECRET is too weak");
    nx_config_free(&config);
    close(fd);
    unlink(path);
}

static nexar_status load(void *arg)
{
    struct nx_config config;
    nexar_status status = nx_config_load(NULL, arg, &config);

    nx_config_free(&config);
    return status;
}

static void test_allocations_fail(void **state)
{
    static char *environment[] = {"NEXAR_JOIN=a", "NEXAR_BIND=b", "NEXAR_COLL_TUNE=c", NULL};

    (void)state;
    torture(load, environment);
}

/* The ends of what the vectors show in the middle. */
static void test_values(void **state)
{
    uint64_t number;
    nx_time span;

    (void)state;
    assert_true(nx_value_span("9223372036.854775806", &span));
    assert_int_equal(span, INT64_MAX - 1);
    assert_false(nx_value_span("9223372036.854775807", &span)); /* that is "never" */
    assert_false(nx_value_span("9223372036.854775808", &span));
    assert_true(nx_value_span("2562047h", &span));
    assert_false(nx_value_span("2562048h", &span));
    assert_true(nx_value_count("18446744073709551615", &number));
    assert_int_equal(number, UINT64_MAX);
    assert_false(nx_value_count("18446744073709551616", &number));
    assert_true(nx_value_bytes("17179869183g", &number));
    assert_int_equal(number, UINT64_C(17179869183) << 30);
    assert_false(nx_value_bytes("17179869184g", &number));
}

static void test_distance_of_words(void **state)
{
    (void)state;
    assert_int_equal(nx_word_distance("", ""), 0);
    assert_int_equal(nx_word_distance("", "ABC"), 3);
    assert_int_equal(nx_word_distance("TIMEOUT", "TIMEOUT"), 0);
    assert_int_equal(nx_word_distance("TIMOUT", "TIMEOUT"), 1);
    assert_int_equal(nx_word_distance("TIMEOUTS", "TIMEOUT"), 1);
    assert_int_equal(nx_word_distance("TINEOUT", "TIMEOUT"), 1);
    assert_int_equal(nx_word_distance("ITMEOUT", "TIMEOUT"), 1);
    assert_int_equal(nx_word_distance("RANK", "LOG"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_b8_no_wrong_value_is_ignored),
        cmocka_unit_test(test_table_is_described),
        cmocka_unit_test(test_table_covers_the_struct),
        cmocka_unit_test(test_caller_comes_before_the_environment),
        cmocka_unit_test(test_callers_values_are_checked),
        cmocka_unit_test(test_callers_of_other_versions),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_allocations_fail),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_distance_of_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
