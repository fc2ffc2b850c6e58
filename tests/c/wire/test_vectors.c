/* The vectors of tests/vectors/message.txt and stream.txt, in both directions.  tests/py/test_vectors.py reads the same
 * files with a codec that shares no code with this one. */
#include "wire_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena arena;

/* The lines of a case whose keys are not in `skip` (each followed by a space). */
static void case_text(const struct vector *v, const char *skip, struct text *out)
{
    text_add(out, "", 0);
    for (size_t i = 0; i < v->n; i++) {
        char key[64];

        snprintf(key, sizeof(key), "%s ", v->lines[i].key);
        if (strstr(skip, key) == NULL) {
            text_print(out, "%s = ", v->lines[i].key);
            text_add(out, v->lines[i].value, strlen(v->lines[i].value));
            text_add(out, "\n", 1);
        }
    }
}

static void check_decode(const struct vector *v, const uint8_t *archive, size_t n)
{
    struct nx_message m;
    struct text expected = {0};
    struct text got = {0};

    assert_int_equal(nx_message_decode(archive, n, &m), NEXAR_OK);
    case_text(v, "canonical archive ", &expected);
    message_text(&m, &got);
    assert_string_equal(got.data, expected.data);
    text_free(&expected);
    text_free(&got);
}

static void check_encode(const struct vector *v, const uint8_t *archive, size_t n)
{
    struct nx_message m;
    size_t size;
    uint8_t *out;

    arena.used = 0;
    message_from_vector(v, &arena, &m);
    assert_int_equal(nx_message_size(&m, &size), NEXAR_OK);
    out = malloc(size);
    memset(out, 0xAA, size);
    assert_int_equal(nx_message_encode(&m, out, size), NEXAR_OK);
    if (vector_get(v, "canonical") == NULL) {
        assert_int_equal(size, n);
        assert_memory_equal(out, archive, n);
    } else {
        assert_true(size != n || memcmp(out, archive, n) != 0);
        check_decode(v, out, size);
    }
    free(out);
}

static void check_rejected(const uint8_t *archive, size_t n)
{
    struct nx_message m;
    struct nx_message zero;

    memset(&m, 0xAA, sizeof(m));
    memset(&zero, 0, sizeof(zero));
    nx_fail(NEXAR_EINTR, "none yet");
    assert_int_equal(nx_message_decode(archive, n, &m), NEXAR_EPROTO);
    assert_memory_equal(&m, &zero, sizeof(m));
    assert_string_not_equal(nexar_last_error(), "none yet");
}

static void test_messages(void **state)
{
    struct vectors v = vectors_load("message.txt");
    size_t reference = 0;

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        const struct vector *c = &v.cases[i];
        size_t n;
        uint8_t *archive = vector_hex(vector_get(c, "archive"), &n);

        print_message("%s\n", c->name);
        if (vector_get(c, "rejected") != NULL) {
            check_rejected(archive, n);
        } else {
            check_decode(c, archive, n);
            check_encode(c, archive, n);
            reference += archive[n - 48] <= NX_KIND_RELAY;
        }
        free(archive);
    }
    assert_true(reference >= 29);
    vectors_free(&v);
}

/* Every kind occurs in the vectors, so a new row without a vector fails. */
static void test_all_kinds_have_vectors(void **state)
{
    struct vectors v = vectors_load("message.txt");

    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        const char *name = nx_message_name((enum nx_kind)kind);
        bool found = false;

        for (size_t i = 0; i < v.n && !found; i++) {
            const char *message = vector_get(&v.cases[i], "message");
            found = message != NULL && strcmp(message, name) == 0;
        }
        assert_int_equal(found, strcmp(name, "?") != 0);
    }
    vectors_free(&v);
}

static void check_stream(const struct vector *v)
{
    const char *limit = vector_get(v, "limit");
    bool own = strcmp(vector_get(v, "dialect"), "own") == 0;
    struct stream_text s;
    struct text expected = {0};
    size_t n;
    uint8_t *bytes = vector_hex(vector_get(v, "bytes"), &n);

    stream_text_init(&s, own ? NX_DIALECT_OWN : NX_DIALECT_REFERENCE,
                     limit == NULL ? NX_MESSAGE_MAX : strtoull(limit, NULL, 10));
    stream_text_feed(&s, bytes, n, SIZE_MAX);
    stream_text_finish(&s);
    case_text(v, "dialect limit many bytes ignored ", &expected);
    assert_string_equal(s.text.data, expected.data);
    assert_int_equal(s.parser.many, vector_get(v, "many") != NULL);
    text_free(&expected);
    text_free(&s.text);
    free(bytes);
}

static struct nx_head head_of(const char *line)
{
    unsigned tag;
    unsigned lane;
    struct nx_head h = {0};
    unsigned long long v[5];

    assert_int_equal(sscanf(line, "tag %u lane %u order %u scope %llu id %llu call %llu count %llu len %llu", &tag,
                            &lane, &h.order, &v[0], &v[1], &v[2], &v[3], &v[4]),
                     8);
    h.tag = (uint8_t)tag;
    h.lane = (uint8_t)lane;
    h.scope = v[0];
    h.id = v[1];
    h.call = v[2];
    h.count = v[3];
    h.len = v[4];
    return h;
}

/* Heads and payloads of a case give its bytes. */
static void check_stream_encode(const struct vector *v)
{
    const char *ignored = vector_get(v, "ignored");
    struct text got = {0};
    uint8_t out[NX_HEAD_MAX];

    text_add(&got, "", 0);
    if (vector_get(v, "many") != NULL)
        text_add_hex(&got, out, nx_head_encode(&(struct nx_head){.tag = NX_TAG_MANY}, out));
    for (size_t i = 0; i < v->n; i++) {
        const char *value = v->lines[i].value;

        if (strcmp(v->lines[i].key, "head") == 0) {
            struct nx_head head = head_of(value);
            text_add_hex(&got, out, nx_head_encode(&head, out));
        } else if (strcmp(v->lines[i].key, "payload") == 0) {
            text_add(&got, value, strlen(value));
        }
    }
    if (ignored != NULL)
        text_add(&got, ignored, strlen(ignored));
    assert_string_equal(got.data, vector_get(v, "bytes"));
    text_free(&got);
}

static void check_frame(const struct vector *v)
{
    struct nx_frame_header h = {.payload_length = 77};
    uint64_t room = strtoull(vector_get(v, "room"), NULL, 10);
    size_t n;
    uint8_t *bytes = vector_hex(vector_get(v, "frame"), &n);
    uint8_t out[NX_FRAME_HEADER];

    assert_int_equal(n, NX_FRAME_HEADER);
    if (vector_get(v, "rejected") != NULL) {
        assert_int_equal(nx_frame_header_decode(bytes, room, &h), NEXAR_EPROTO);
        assert_int_equal(h.payload_length, 0);
    } else {
        assert_int_equal(nx_frame_header_decode(bytes, room, &h), NEXAR_OK);
        assert_int_equal(h.payload_length, strtoull(vector_get(v, "payload_length"), NULL, 10));
        assert_int_equal(h.priority, strtoull(vector_get(v, "priority"), NULL, 10));
        nx_frame_header_encode(&h, out);
        assert_memory_equal(out, bytes, 6);
        assert_int_equal(out[6] | out[7], 0);
    }
    free(bytes);
}

static void test_streams(void **state)
{
    struct vectors v = vectors_load("stream.txt");

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        const struct vector *c = &v.cases[i];

        print_message("%s\n", c->name);
        if (vector_get(c, "frame") != NULL) {
            check_frame(c);
            continue;
        }
        check_stream(c);
        if (vector_get(c, "error") == NULL && vector_get(c, "finish") == NULL)
            check_stream_encode(c);
    }
    vectors_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_all_kinds_have_vectors),
        cmocka_unit_test(test_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
