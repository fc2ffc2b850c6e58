/* The codec of archives: random messages there and back, archives cut at every byte, every length and offset made
 * hostile, and no memory for what a peer announces.  Which bytes are right is the business of test_vectors.c. */
#include "base/bytes.h"
#include "base/mem.h"
#include "rng.h"
#include "wire/schema.h"
#include "wire_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena arena;

static struct nx_bytes random_bytes(struct rng *rng)
{
    size_t n = rng_below(rng, 2) == 0 ? rng_below(rng, 10) : rng_below(rng, 500);
    uint8_t *p = arena_take(&arena, n);

    rng_fill(rng, p, n);
    return nx_bytes(p, n);
}

static struct nx_text random_text(struct rng *rng)
{
    static const char *const letters[] = {"a", "Z", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "0", ".", ":"};
    size_t n = rng_below(rng, 2) == 0 ? rng_below(rng, 10) : rng_below(rng, 100);
    char *p = arena_take(&arena, 4 * n + 1);

    p[0] = '\0';
    for (size_t i = 0; i < n; i++)
        strcat(p, letters[rng_below(rng, 8)]);
    return nx_text(p);
}

static struct nx_pairs random_pairs(struct rng *rng)
{
    struct nx_pairs list = {.count = rng_below(rng, 6)};
    struct nx_pair *items = arena_take(&arena, list.count * sizeof(*items));

    for (size_t i = 0; i < list.count; i++)
        items[i] = (struct nx_pair){.key = (uint32_t)rng_next(rng), .text = random_text(rng)};
    list.items = items;
    return list;
}

static struct nx_u32s random_u32s(struct rng *rng)
{
    struct nx_u32s list = {.count = rng_below(rng, 9)};
    uint32_t *items = arena_take(&arena, list.count * sizeof(*items));

    rng_fill(rng, (uint8_t *)items, list.count * sizeof(*items));
    list.items = items;
    return list;
}

static struct nx_message random_message(struct rng *rng, unsigned kind)
{
    struct nx_message m = {.kind = (enum nx_kind)kind};

    arena.used = 0;
    for (const struct nx_field *f = nx_schema(kind)->fields; f->type != NX_FIELD_END; f++) {
        void *to = (char *)&m + f->offset;

        if (f->type == NX_FIELD_U8)
            *(uint8_t *)to = (uint8_t)rng_next(rng);
        else if (f->type == NX_FIELD_U16)
            *(uint16_t *)to = (uint16_t)rng_next(rng);
        else if (f->type == NX_FIELD_U32)
            *(uint32_t *)to = (uint32_t)rng_next(rng);
        else if (f->type == NX_FIELD_U64)
            *(uint64_t *)to = rng_next(rng);
        else if (f->type == NX_FIELD_BYTES)
            *(struct nx_bytes *)to = random_bytes(rng);
        else if (f->type == NX_FIELD_TEXT)
            *(struct nx_text *)to = random_text(rng);
        else if (f->type == NX_FIELD_PAIRS)
            *(struct nx_pairs *)to = random_pairs(rng);
        else
            *(struct nx_u32s *)to = random_u32s(rng);
    }
    return m;
}

/* The archive in memory exactly as large. */
static uint8_t *encode(const struct nx_message *m, size_t *n)
{
    uint8_t *out;

    assert_int_equal(nx_message_size(m, n), NEXAR_OK);
    assert_int_equal(*n % 8, 0);
    out = malloc(*n);
    memset(out, 0xEE, *n);
    assert_int_equal(nx_message_encode(m, out, *n), NEXAR_OK);
    return out;
}

static unsigned next_kind(unsigned kind)
{
    do
        kind = (kind + 1) % 256;
    while (nx_schema(kind) == NULL);
    return kind;
}

static void test_random_messages(void **state)
{
    struct rng rng = {.state = 1};
    unsigned kind = 0;

    (void)state;
    for (int round = 0; round < 33 * 300; round++, kind = next_kind(kind)) {
        struct nx_message m = random_message(&rng, kind);
        struct nx_message back;
        struct text expected = {0};
        struct text got = {0};
        size_t n;
        size_t again;
        uint8_t *archive = encode(&m, &n);
        uint8_t *archive2;

        assert_int_equal(nx_message_decode(archive, n, &back), NEXAR_OK);
        message_text(&m, &expected);
        message_text(&back, &got);
        assert_string_equal(got.data, expected.data);
        archive2 = encode(&back, &again); /* what was decoded can be encoded as it is */
        assert_int_equal(n, again);
        assert_memory_equal(archive, archive2, n);
        free(archive);
        free(archive2);
        text_free(&expected);
        text_free(&got);
    }
}

/* Whatever these bytes are: refused with a reason and nothing in `out`, or a message that can be encoded, read again
 * and is then the same. */
static bool check_any(const uint8_t *bytes, size_t n)
{
    struct nx_message m;
    struct nx_message back;
    struct nx_message zero;
    uint8_t *archive;
    uint8_t *archive2;
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    size_t size;
    size_t size2;
    bool ok;

    memcpy(copy, bytes, n);
    memset(&zero, 0, sizeof(zero));
    ok = nx_message_decode(copy, n, &m) == NEXAR_OK;
    if (ok) {
        archive = encode(&m, &size);
        assert_int_equal(nx_message_decode(archive, size, &back), NEXAR_OK);
        archive2 = encode(&back, &size2);
        assert_int_equal(size, size2);
        assert_memory_equal(archive, archive2, size);
        free(archive);
        free(archive2);
    } else {
        assert_memory_equal(&m, &zero, sizeof(m));
    }
    free(copy);
    return ok;
}

static void test_truncated(void **state)
{
    struct vectors v = vectors_load("message.txt");

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        size_t n;
        uint8_t *archive = vector_hex(vector_get(&v.cases[i], "archive"), &n);

        for (size_t cut = 0; cut <= n; cut++) {
            bool from_end = check_any(archive, n - cut);

            check_any(archive + cut, n - cut);
            if (n - cut < NX_ROOT_SIZE || (n - cut) % 8 != 0)
                assert_false(from_end);
        }
        free(archive);
    }
    vectors_free(&v);
}

/* Each aligned word of each vector, one at a time, takes each of these values: that covers all lengths, offsets and
 * string words, of the root and of lists, and more.  `*accepted` counts what was still a message. */
static void check_words(uint8_t *archive, size_t n, size_t *accepted, size_t *refused)
{
    for (size_t at = 0; at + 4 <= n; at += 4) {
        uint32_t was = nx_load32(archive + at);
        uint32_t self = (uint32_t) - (int32_t)at; /* an offset that points to the beginning of the archive */
        uint32_t end = (uint32_t)(n - at);
        uint32_t root = end - NX_ROOT_SIZE;
        const uint32_t values[] = {
            0,
            1,
            was + 1,
            was - 1,
            was + 4,
            was - 4,
            was + 8,
            was - 8,
            was + 12,
            was - 12,
            self,
            self - 1,
            self + 1,
            end,
            end - 1,
            root,
            root - 1,
            root + 1,
            root + 4,
            0x80,
            0x88,
            0x89,
            0x7FFFFFFF,
            0x80000000,
            0xFFFFFFFF,
            0xFFFFFFF8,
            0xFFFFFFBF,
            0xFFFF,
            0x40000000,
            was << 8,
            0x15555556 /* times 12 is 8 in 32 bits */,
        };

        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            nx_store32(archive + at, values[i]);
            if (check_any(archive, n))
                (*accepted)++;
            else
                (*refused)++;
        }
        nx_store32(archive + at, was);
    }
}

static void test_hostile_words(void **state)
{
    struct vectors v = vectors_load("message.txt");
    size_t accepted = 0;
    size_t refused = 0;

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        size_t n;
        uint8_t *archive = vector_hex(vector_get(&v.cases[i], "archive"), &n);

        check_words(archive, n, &accepted, &refused);
        free(archive);
    }
    assert_true(accepted > 1000 && refused > 1000);
    vectors_free(&v);
}

/* A list or block that is said to be longer than what is there, by one, is refused: for each such field of random
 * messages. */
static void test_one_too_many(void **state)
{
    struct rng rng = {.state = 4};
    unsigned kind = 0;
    size_t fields = 0;

    (void)state;
    for (int round = 0; round < 33 * 20; round++, kind = next_kind(kind)) {
        struct nx_message m = random_message(&rng, kind);
        struct nx_message out;
        size_t n;
        uint8_t *archive = encode(&m, &n);
        uint32_t end = 1;

        for (const struct nx_field *f = nx_schema(kind)->fields; f->type != NX_FIELD_END; f++) {
            uint8_t *p = archive + n - NX_ROOT_SIZE + nx_field_place(f->type, end, &end);
            uint64_t size = f->type == NX_FIELD_BYTES ? 1 : f->type == NX_FIELD_U32S ? 4 : NX_PAIR_SIZE;
            uint32_t was;
            size_t to_root;

            if (f->type != NX_FIELD_BYTES && f->type != NX_FIELD_U32S && f->type != NX_FIELD_PAIRS)
                continue; /* a number may end with the root */
            was = nx_load32(p + 4);
            to_root = n - NX_ROOT_SIZE - (size_t)(p - archive) - (size_t)(int64_t)(int32_t)nx_load32(p);
            nx_store32(p + 4, (uint32_t)(to_root / size) + 1);
            assert_int_equal(nx_message_decode(archive, n, &out), NEXAR_EPROTO);
            nx_store32(p + 4, UINT32_MAX);
            assert_int_equal(nx_message_decode(archive, n, &out), NEXAR_EPROTO);
            nx_store32(p + 4, was);
            fields++;
        }
        assert_int_equal(nx_message_decode(archive, n, &out), NEXAR_OK);
        free(archive);
    }
    assert_true(fields > 300);
}

static void test_random_damage(void **state)
{
    struct rng rng = {.state = 5};
    unsigned kind = 0;

    (void)state;
    for (int round = 0; round < 33 * 600; round++, kind = next_kind(kind)) {
        struct nx_message m = random_message(&rng, kind);
        size_t n;
        uint8_t *archive = encode(&m, &n);

        for (size_t i = rng_below(&rng, 4); i < 4; i++) {
            size_t at = rng_below(&rng, 2) == 0 ? n - 1 - rng_below(&rng, NX_ROOT_SIZE) : rng_below(&rng, n);
            archive[at] = (uint8_t)(rng_below(&rng, 3) == 0 ? rng_next(&rng) : archive[at] + rng_below(&rng, 9) - 4);
        }
        check_any(archive, n);
        free(archive);
    }
}

static void test_lanes(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        enum nx_lane expected = NX_LANE_CONTROL;

        if (kind == NX_KIND_RPC)
            expected = NX_LANE_RPC_REQUEST;
        else if (kind == NX_KIND_RPC_RESPONSE)
            expected = NX_LANE_RPC_RESPONSE;
        else if (kind == NX_KIND_DATA)
            expected = NX_LANE_DATA;
        else if (kind == NX_KIND_RELAY)
            expected = NX_LANE_RELAY;
        else if ((kind > 16 && kind < NX_KIND_OWN) || (kind > 91 && kind < 96) || kind > 104)
            expected = NX_LANE_BY_KIND;
        assert_int_equal(nx_message_lane((enum nx_kind)kind), expected);
    }
}

/* Every root fits, and a new field that does not would be seen here. */
static void test_roots_fit(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        uint32_t end = 1;

        if (nx_schema(kind) == NULL)
            continue;
        for (const struct nx_field *f = nx_schema(kind)->fields; f->type != NX_FIELD_END; f++)
            nx_field_place(f->type, end, &end);
        assert_true(end <= NX_ROOT_SIZE);
    }
}

static void refuse_encode(const struct nx_message *m, const char *reason)
{
    size_t n = 1;

    assert_int_equal(nx_message_size(m, &n), NEXAR_EINVAL);
    assert_int_equal(n, 0);
    assert_non_null(strstr(nexar_last_error(), reason));
    assert_int_equal(nx_message_encode(m, NULL, 0), NEXAR_EINVAL);
}

/* What no archive can hold is refused before anything is written or read. */
static void test_cannot_be_encoded(void **state)
{
    static const struct nx_pair bad = {.text = {.data = "ab\xFFzzzzzzz", .len = 10}};
    struct nx_message m = {.kind = (enum nx_kind)17};
    uint8_t out[128];
    size_t n;

    (void)state;
    refuse_encode(&m, "kind 17");
    m = (struct nx_message){.kind = NX_KIND_ABORT, .abort.reason = {.data = "\xC3", .len = 1}};
    refuse_encode(&m, "reason is not UTF-8");
    m = (struct nx_message){.kind = NX_KIND_JOIN_LISTEN, .join_listen.addresses = {.count = 1, .items = &bad}};
    refuse_encode(&m, "addresses is not UTF-8");
    m = (struct nx_message){.kind = NX_KIND_DATA, .data.payload = {.len = SIZE_MAX}};
    refuse_encode(&m, "payload is too long");
    m.data.payload.len = NX_ARCHIVE_MAX + 1;
    refuse_encode(&m, "payload is too long");
    m.data.payload.len = NX_ARCHIVE_MAX;
    refuse_encode(&m, "message data is too long");
    m.data.payload.len = NX_ARCHIVE_MAX - NX_ROOT_SIZE;
    assert_int_equal(nx_message_size(&m, &n), NEXAR_OK);
    assert_int_equal(n, NX_ARCHIVE_MAX);
    m = (struct nx_message){.kind = NX_KIND_RECOVERY_VOTE, .recovery_vote.dead_ranks = {.count = SIZE_MAX / 4 + 2}};
    refuse_encode(&m, "dead_ranks is too long");
    m = (struct nx_message){.kind = NX_KIND_BYE};
    assert_int_equal(nx_message_size(&m, &n), NEXAR_OK);
    assert_int_equal(nx_message_encode(&m, out, n - 1), NEXAR_EINVAL);
    assert_int_equal(nx_message_encode(&m, out, n + 8), NEXAR_EINVAL);
    assert_int_equal(nx_message_encode(&m, out, n), NEXAR_OK);
}

/* O7: lengths in an archive are compared with what is there; none is ever a size to allocate. */
static void test_o7_announced_lengths_are_not_allocated(void **state)
{
    struct vectors v = vectors_load("message.txt");
    struct nx_mem_stats before;
    struct nx_mem_stats after;

    (void)state;
    nx_mem_stats(&before);
    for (size_t i = 0; i < v.n; i++) {
        struct nx_message m;
        size_t n;
        uint8_t *archive = vector_hex(vector_get(&v.cases[i], "archive"), &n);

        nx_message_decode(archive, n, &m);
        for (size_t at = 0; at + 4 <= n; at += 4) {
            uint32_t was = nx_load32(archive + at);
            nx_store32(archive + at, 0x7FFFFFFF);
            nx_message_decode(archive, n, &m);
            nx_store32(archive + at, was);
        }
        free(archive);
    }
    nx_mem_stats(&after);
    assert_int_equal(after.allocations, before.allocations);
    vectors_free(&v);
}

/* O8: the sentence of a refusal names the message and the field. */
static void test_o8_refusals_say_what(void **state)
{
    struct nx_message m = {.kind = NX_KIND_MESH_HELLO,
                           .mesh_hello.cluster = {.data = (const uint8_t *)"abc", .len = 3}};
    struct nx_message out;
    uint8_t archive[56];

    (void)state;
    assert_int_equal(nx_message_encode(&m, archive, sizeof(archive)), NEXAR_OK);
    nx_store32(archive + 8 + 32 + 4, 4000);
    assert_int_equal(nx_message_decode(archive, sizeof(archive), &out), NEXAR_EPROTO);
    assert_string_equal(nexar_last_error(), "message mesh_hello: cluster lies outside its part of the archive");
    archive[8] = 200;
    assert_int_equal(nx_message_decode(archive, sizeof(archive), &out), NEXAR_EPROTO);
    assert_string_equal(nexar_last_error(), "there is no message of kind 200");
    assert_int_equal(nx_message_decode(archive, 47, &out), NEXAR_EPROTO);
    assert_string_equal(nexar_last_error(), "an archive cannot have 47 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_messages),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_hostile_words),
        cmocka_unit_test(test_one_too_many),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_roots_fit),
        cmocka_unit_test(test_cannot_be_encoded),
        cmocka_unit_test(test_o7_announced_lengths_are_not_allocated),
        cmocka_unit_test(test_o8_refusals_say_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
