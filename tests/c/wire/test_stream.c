/* The parser of streams: the same events however the bytes are cut, nothing consumed that is not reported, every
 * hostile length refused, nothing allocated. */
#include "base/mem.h"
#include "rng.h"
#include "wire_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct bytes {
    uint8_t *data;
    size_t n;
};

static enum nx_dialect dialect_of(const struct vector *v)
{
    return strcmp(vector_get(v, "dialect"), "own") == 0 ? NX_DIALECT_OWN : NX_DIALECT_REFERENCE;
}

static uint64_t limit_of(const struct vector *v)
{
    const char *limit = vector_get(v, "limit");

    return limit == NULL ? NX_MESSAGE_MAX : strtoull(limit, NULL, 10);
}

/* The lines for these bytes given at once (`rng` NULL) or in random pieces, each in memory of its own. */
static struct text parse(enum nx_dialect dialect, uint64_t limit, struct bytes b, struct rng *rng, size_t longest)
{
    struct stream_text s;

    stream_text_init(&s, dialect, limit);
    for (size_t at = 0, n; at < b.n && !s.dead; at += n) {
        uint8_t *piece;

        n = rng == NULL ? b.n : 1 + rng_below(rng, longest);
        if (n > b.n - at)
            n = b.n - at;
        piece = malloc(n);
        memcpy(piece, b.data + at, n);
        stream_text_feed(&s, piece, n, SIZE_MAX);
        free(piece);
    }
    stream_text_finish(&s);
    return s.text;
}

/* All at once, byte by byte and in random pieces it is the same. */
static void check_pieces(enum nx_dialect dialect, uint64_t limit, struct bytes b, struct rng *rng)
{
    static const size_t longest[] = {1, 2, 7, 50};
    struct text whole = parse(dialect, limit, b, NULL, 0);

    for (size_t i = 0; i < sizeof(longest) / sizeof(longest[0]); i++) {
        struct text pieces = parse(dialect, limit, b, rng, longest[i]);

        assert_string_equal(pieces.data, whole.data);
        text_free(&pieces);
    }
    text_free(&whole);
}

static void test_vectors_in_pieces(void **state)
{
    struct vectors v = vectors_load("stream.txt");
    struct rng rng = {.state = 1};

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        struct bytes b;

        if (vector_get(&v.cases[i], "bytes") == NULL)
            continue;
        b.data = vector_hex(vector_get(&v.cases[i], "bytes"), &b.n);
        check_pieces(dialect_of(&v.cases[i]), limit_of(&v.cases[i]), b, &rng);
        free(b.data);
    }
    vectors_free(&v);
}

/* A stream that is cut anywhere gives a part of the lines of the whole one, and an error unless it ends between
 * messages. */
static void test_vectors_truncated(void **state)
{
    struct vectors v = vectors_load("stream.txt");

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        struct bytes b;
        struct text whole;

        if (vector_get(&v.cases[i], "bytes") == NULL)
            continue;
        b.data = vector_hex(vector_get(&v.cases[i], "bytes"), &b.n);
        whole = parse(dialect_of(&v.cases[i]), limit_of(&v.cases[i]), b, NULL, 0);
        for (size_t n = 0; n < b.n; n++) {
            struct text cut = parse(dialect_of(&v.cases[i]), limit_of(&v.cases[i]), (struct bytes){b.data, n}, NULL, 0);
            char *finish = strstr(cut.data, "finish = ");

            /* The line before it goes on in the whole. */
            if (finish != NULL)
                finish[finish == cut.data ? 0 : -1] = '\0';
            assert_memory_equal(whole.data, cut.data, strlen(cut.data));
            text_free(&cut);
        }
        text_free(&whole);
        free(b.data);
    }
    vectors_free(&v);
}

static struct nx_head random_head(struct rng *rng)
{
    static const uint8_t tags[] = {NX_TAG_FRAMED, NX_TAG_RAW, NX_TAG_RAW_COMM, NX_TAG_RAW_TAGGED, NX_TAG_MESSAGE};
    struct nx_head h = {.tag = tags[rng_below(rng, 5)], .len = rng_below(rng, 100)};

    switch (h.tag) {
    case NX_TAG_FRAMED:
        h.lane = NX_LANE_BY_KIND;
        break;
    case NX_TAG_RAW:
        h.lane = NX_LANE_RAW;
        break;
    case NX_TAG_RAW_COMM:
        h.lane = NX_LANE_RAW_COMM;
        h.scope = rng_next(rng);
        break;
    case NX_TAG_RAW_TAGGED:
        h.lane = NX_LANE_RAW_TAGGED;
        h.id = rng_next(rng);
        break;
    default:
        h.lane = (uint8_t)rng_below(rng, NX_LANE_COLL + 1);
        h.order = (uint32_t)rng_next(rng);
        h.scope = rng_next(rng);
        h.id = rng_next(rng);
        h.call = rng_next(rng);
        h.count = rng_next(rng);
        break;
    }
    if (nx_lane_framed(h.lane))
        h.len += NX_FRAME_HEADER;
    return h;
}

/* Random messages, back to back or alone: the parser gives back what was encoded. */
static void test_random_streams(void **state)
{
    struct rng rng = {.state = 2};
    static uint8_t stream[8192];

    (void)state;
    for (int round = 0; round < 2000; round++) {
        size_t messages = rng_below(&rng, 12);
        bool many = messages != 1 || rng_below(&rng, 2) == 0;
        struct bytes b = {.data = stream};
        struct text expected = {0};
        struct text got;

        text_add(&expected, "", 0);
        if (many)
            b.n += nx_head_encode(&(struct nx_head){.tag = NX_TAG_MANY}, stream);
        for (size_t i = 0; i < messages; i++) {
            struct nx_head h = random_head(&rng);

            b.n += nx_head_encode(&h, stream + b.n);
            rng_fill(&rng, stream + b.n, h.len);
            text_print(&expected,
                       "head = tag %u lane %u order %u scope %llu id %llu call %llu count %llu len %llu\npayload = ",
                       h.tag, h.lane, h.order, (unsigned long long)h.scope, (unsigned long long)h.id,
                       (unsigned long long)h.call, (unsigned long long)h.count, (unsigned long long)h.len);
            text_add_hex(&expected, stream + b.n, h.len);
            text_add(&expected, "\n", 1);
            b.n += h.len;
        }
        got = parse(NX_DIALECT_OWN, 108, b, NULL, 0);
        assert_string_equal(got.data, expected.data);
        if (round % 20 == 0)
            check_pieces(NX_DIALECT_OWN, 108, b, &rng);
        text_free(&expected);
        text_free(&got);
    }
}

/* Bytes that mean nothing: no more than the lines that the same bytes give in pieces, and an end. */
static void test_random_bytes(void **state)
{
    struct rng rng = {.state = 3};
    uint8_t bytes[200];

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct bytes b = {.data = bytes, .n = rng_below(&rng, sizeof(bytes))};

        rng_fill(&rng, bytes, b.n);
        for (size_t i = 0; i < b.n; i++) { /* mostly zeros, so that lengths are often small */
            if (rng_below(&rng, 4) != 0)
                bytes[i] = 0;
        }
        bytes[0] = (uint8_t)(rng_below(&rng, 2) ? 0x40 + rng_below(&rng, 2) : 1 + rng_below(&rng, 4));
        check_pieces((enum nx_dialect)rng_below(&rng, 2), rng_next(&rng) >> rng_below(&rng, 64), b, &rng);
    }
}

/* The caller stops after each event, keeps the rest of the bytes and goes on later: nothing is lost or seen twice. */
static void test_back_pressure(void **state)
{
    struct vectors v = vectors_load("stream.txt");

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        struct stream_text s;
        struct text whole;
        struct bytes b;
        size_t at = 0;

        if (vector_get(&v.cases[i], "bytes") == NULL)
            continue;
        b.data = vector_hex(vector_get(&v.cases[i], "bytes"), &b.n);
        whole = parse(dialect_of(&v.cases[i]), limit_of(&v.cases[i]), b, NULL, 0);
        stream_text_init(&s, dialect_of(&v.cases[i]), limit_of(&v.cases[i]));
        /* A message is at least three events; one byte a time towards the payload. */
        for (size_t step = 0; step < 6 * b.n + 6 && !s.dead; step++) {
            size_t give = s.open && at < b.n ? 1 : b.n - at;
            at += stream_text_feed(&s, b.data + at, give, 1);
        }
        assert_true(s.dead || at == b.n);
        stream_text_finish(&s);
        assert_string_equal(s.text.data, whole.data);
        text_free(&s.text);
        text_free(&whole);
        free(b.data);
    }
    vectors_free(&v);
}

/* After a head the payload is untouched: not one byte of it is gone until it is asked for. */
static void test_stops_after_head(void **state)
{
    static const uint8_t bytes[] = {0x40, 0x02, 3, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c', 0x02};
    struct nx_reader in = nx_reader(bytes, sizeof(bytes));
    struct nx_reader piece;
    struct nx_parser p;

    (void)state;
    nx_parser_init(&p, NX_DIALECT_OWN, 100);
    assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_HEAD);
    assert_ptr_equal(in.at, bytes + 10);
    assert_true(p.many);
    in.end = in.at + 2; /* room for two bytes only */
    assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_PAYLOAD);
    assert_ptr_equal(piece.at, bytes + 10);
    assert_ptr_equal(piece.end, bytes + 12);
    assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_MORE);
    assert_int_equal(nx_parser_finish(&p), NX_STREAM_CUT);

    in.end = bytes + sizeof(bytes);
    in.at = bytes;
    nx_parser_init(&p, NX_DIALECT_OWN, 100);
    assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_HEAD);
    assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_PAYLOAD);
    assert_ptr_equal(in.at, bytes + 13);
    assert_int_equal(nx_parser_finish(&p), NX_STREAM_FINE); /* nothing is missing, though the end was not asked for */
    assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_END);
    assert_ptr_equal(in.at, bytes + 13);
    assert_int_equal(nx_parser_finish(&p), NX_STREAM_FINE);
}

/* An error stays: whatever comes, nothing more is consumed or reported. */
static void test_error_is_final(void **state)
{
    static const uint8_t bytes[] = {0x99, 0x02, 0, 0, 0, 0, 0, 0, 0, 0};
    struct nx_reader in = nx_reader(bytes, sizeof(bytes));
    struct nx_reader piece;
    struct nx_parser p;

    (void)state;
    nx_parser_init(&p, NX_DIALECT_OWN, 100);
    assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_ERROR);
    in = nx_reader(bytes + 1, 9);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(nx_parser_next(&p, &in, &piece), NX_PARSE_ERROR);
        assert_ptr_equal(in.at, bytes + 1);
    }
    assert_int_equal(p.error, NX_STREAM_UNKNOWN_TAG);
    assert_int_equal(nx_parser_finish(&p), NX_STREAM_UNKNOWN_TAG);
}

static void test_heads_that_cannot_be_encoded(void **state)
{
    uint8_t out[NX_HEAD_MAX];

    (void)state;
    for (unsigned tag = 0; tag < 256; tag++) {
        struct nx_head h = {.tag = (uint8_t)tag};
        size_t expected = tag == 1 || tag == 2 ? 9 : tag == 3 || tag == 4 ? 17 : tag == 0x40 ? 1 : tag == 0x41 ? 48 : 0;
        assert_int_equal(nx_head_encode(&h, out), expected);
    }
    for (unsigned lane = 0; lane < 256; lane++) {
        struct nx_head h = {.tag = NX_TAG_MESSAGE, .lane = (uint8_t)lane};
        assert_int_equal(nx_head_encode(&h, out), lane < 10 ? 48 : 0);
    }
}

/* O7: what a peer announces is compared with the limit and costs no memory, however many streams announce it. */
static void test_o7_announced_lengths_cost_nothing(void **state)
{
    struct nx_mem_stats before;
    struct nx_mem_stats after;
    uint8_t bytes[NX_HEAD_MAX];
    static struct nx_parser parsers[1024];

    (void)state;
    nx_mem_stats(&before);
    for (size_t i = 0; i < 1024; i++) {
        struct nx_head h = {.tag = i % 2 ? NX_TAG_RAW : NX_TAG_MESSAGE, .len = NX_MESSAGE_MAX + i % 4 / 2};
        struct nx_reader in = nx_reader(bytes, nx_head_encode(&h, bytes));
        struct nx_reader piece;

        nx_parser_init(&parsers[i], NX_DIALECT_OWN, NX_MESSAGE_MAX);
        assert_int_equal(nx_parser_next(&parsers[i], &in, &piece), i % 4 < 2 ? NX_PARSE_HEAD : NX_PARSE_ERROR);
    }
    nx_mem_stats(&after);
    assert_int_equal(after.allocations, before.allocations);
    assert_true(sizeof(struct nx_parser) <= 192);
}

/* O8: every refusal has a reason that can be told, none is "?". */
static void test_o8_refusals_have_reasons(void **state)
{
    (void)state;
    for (int i = NX_STREAM_FINE; i <= NX_STREAM_CUT; i++) {
        const char *text = nx_stream_error_text((enum nx_stream_error)i);

        assert_true(strlen(text) > 3);
        for (int j = NX_STREAM_FINE; j < i; j++)
            assert_string_not_equal(text, nx_stream_error_text((enum nx_stream_error)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_in_pieces),
        cmocka_unit_test(test_vectors_truncated),
        cmocka_unit_test(test_random_streams),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_stops_after_head),
        cmocka_unit_test(test_error_is_final),
        cmocka_unit_test(test_heads_that_cannot_be_encoded),
        cmocka_unit_test(test_o7_announced_lengths_cost_nothing),
        cmocka_unit_test(test_o8_refusals_have_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
