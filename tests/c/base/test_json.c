/* JSON: what is written is valid, whatever the text, and however little room there is. */
#include "base/json.h"

#include "identity/kit.h"

static void sample(struct nx_json *json)
{
    nx_json_object(json, NULL);
    nx_json_text(json, "a", "x");
    nx_json_list(json, "b");
    nx_json_uint(json, NULL, UINT64_MAX);
    nx_json_int(json, NULL, INT64_MIN);
    nx_json_object(json, NULL);
    nx_json_close(json);
    nx_json_list(json, NULL);
    nx_json_close(json);
    nx_json_close(json);
    nx_json_bool(json, "c", true);
    nx_json_bool(json, "d", false);
    nx_json_null(json, "e");
    nx_json_text(json, "f", NULL);
    nx_json_close(json);
}

static const char sample_text[] =
    "{\"a\": \"x\", \"b\": [18446744073709551615, -9223372036854775808, {}, []], \"c\": true, "
    "\"d\": false, \"e\": null, \"f\": null}";

static void test_structure(void **state)
{
    char out[256];
    struct nx_json json;

    (void)state;
    nx_json_begin_text(&json, out, sizeof(out));
    sample(&json);
    assert_int_equal(nx_json_end_text(&json), sizeof(sample_text));
    assert_string_equal(out, sample_text);
}

/* Of any room, exactly that much is used, and the need is told. */
static void test_every_size_of_room(void **state)
{
    struct nx_json json;

    (void)state;
    nx_json_begin_text(&json, NULL, 0);
    sample(&json);
    assert_int_equal(nx_json_end_text(&json), sizeof(sample_text));
    for (size_t cap = 1; cap <= sizeof(sample_text) + 1; cap++) {
        char *out = malloc(cap); /* so that a sanitizer sees a write too far */

        nx_json_begin_text(&json, out, cap);
        sample(&json);
        assert_int_equal(nx_json_end_text(&json), sizeof(sample_text));
        assert_int_equal(strlen(out), cap < sizeof(sample_text) ? cap - 1 : sizeof(sample_text) - 1);
        assert_memory_equal(out, sample_text, strlen(out));
        free(out);
    }
}

static void test_texts(void **state)
{
    static const struct {
        const char *text, *json;
    } table[] = {
        {"", ""},
        {"plain /:;", "plain /:;"},
        {"\"\\", "\\\"\\\\"},
        {"\b\t\n\x1f\x7f", "\\u0008\\u0009\\u000a\\u001f\\u007f"},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\x80", "\\ufffd"},                                  /* no beginning */
        {"\xc3", "\\ufffd"},                                  /* no end */
        {"\xe2\x82", "\\ufffd\\ufffd"},                       /* each byte for itself */
        {"\xc3(", "\\ufffd("},                                /* another character in between */
        {"\xc0\xaf", "\\ufffd\\ufffd"},                       /* '/' in two bytes */
        {"\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd"},            /* and in three */
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},            /* half of a pair of UTF-16 */
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* beyond the last character */
        {"\xff\xfe", "\\ufffd\\ufffd"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char out[128], wanted[128];
        struct nx_json json;
        char *text = strdup(table[i].text);

        nx_json_begin_text(&json, out, sizeof(out));
        nx_json_object(&json, NULL);
        nx_json_text(&json, text, text);
        nx_json_close(&json);
        nx_json_end_text(&json);
        snprintf(wanted, sizeof(wanted), "{\"%s\": \"%s\"}", table[i].json, table[i].json);
        assert_string_equal(out, wanted);
        free(text);
    }
}

static void test_seconds(void **state)
{
    static const struct {
        nx_time span;
        const char *json;
    } table[] = {
        {0, "0"},
        {NX_S, "1"},
        {600 * NX_S, "600"},
        {NX_S / 2, "0.5"},
        {50 * NX_US, "0.00005"},
        {1, "0.000000001"},
        {-1, "-0.000000001"},
        {-NX_S, "-1"},
        {1234567890123456789, "1234567890.123456789"},
        {NX_NEVER, "null"},
        {INT64_MIN, "-9223372036.854775808"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char out[64];
        struct nx_json json;

        nx_json_begin_text(&json, out, sizeof(out));
        nx_json_seconds(&json, NULL, table[i].span);
        nx_json_end_text(&json);
        assert_string_equal(out, table[i].json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_every_size_of_room),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
