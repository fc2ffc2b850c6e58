/* The vectors of tests/vectors/member.txt, in both directions, and what hostile bytes do: nothing.
 * tests/py/test_member_vectors.py reads the same file with a codec that shares no code with this one. */
#include "check.h"
#include "cluster/member_wire.h"
#include "rng.h"
#include "text.h"
#include "vectors.h"

/* The entry of these bytes as the one of a chain; NULL: none comes of it. */
static struct nx_entry *read_entry(const struct nx_acceptor *own, const uint8_t *bytes, size_t n, bool whole)
{
    struct nx_message wire = {.kind = NX_KIND_MEMBER_CHAIN,
                              .member_chain = {.form = whole, .entries = nx_bytes(bytes, n)}};
    struct nx_member_msg *m = NULL;
    struct nx_entry *e = NULL;

    if (nx_member_from_wire(own, &wire, &m) != NEXAR_OK) {
        assert_null(m);
        assert_int_equal(nx_last_error()->status, NEXAR_EPROTO);
        return NULL;
    }
    assert_in_range(m->n, 0, 1);
    if (m->n == 1)
        e = nx_entry_hold(m->chain[0]);
    nx_member_msg_drop(m);
    return e;
}

static void put_hex(struct text *t, const char *key, const void *bytes, size_t n)
{
    text_print(t, "%s = ", key);
    text_add_hex(t, bytes, n);
    text_add(t, "\n", 1);
}

static void entry_text(const struct nx_entry *e, struct text *t)
{
    text_print(t, "epoch = %llu\nagrees = %llu\ncheckpoints = %llu\nresult = %llu\nflags = %u\njoined = %u\n",
               (unsigned long long)e->epoch, (unsigned long long)e->agrees, (unsigned long long)e->checkpoints,
               (unsigned long long)e->result, (unsigned)e->agree | (unsigned)e->checkpoint << 1, e->joined);
    for (uint32_t i = 0; i < e->roll->n; i++)
        put_hex(t, "member", &e->roll->uid[i], sizeof(struct nx_uid));
    for (uint32_t i = 0; i < e->n_gone; i++) {
        text_print(t, "gone = %u %s ", e->gone[i].rank, e->gone[i].left ? "left" : "lost");
        text_add_hex(t, e->gone[i].uid.bytes, sizeof(struct nx_uid));
        text_add(t, "\n", 1);
    }
    put_hex(t, "digest", e->digest, NX_ENTRY_DIGEST);
}

static void put_uids(struct text *t, const char *key, const struct nx_uids *set)
{
    for (uint32_t i = 0; i < set->n; i++)
        put_hex(t, key, &set->at[i], sizeof(struct nx_uid));
}

static void stand_text(const struct nx_member_msg *m, struct text *t)
{
    text_print(t, "agree = %llu\nflag = %llu\nready = %u\nleaving = %u\n", (unsigned long long)m->stand.agree,
               (unsigned long long)m->stand.flag, m->stand.ready, m->stand.leaving);
    put_uids(t, "suspect", &m->stand.suspects);
    put_uids(t, "candidate", &m->stand.candidates);
    put_uids(t, "witnessed", &m->uids);
}

/* The lines of the case that say what its bytes say. */
static void case_text(const struct vector *v, struct text *t)
{
    for (size_t i = 0; i < v->n; i++) {
        const char *key = v->lines[i].key;

        if (strcmp(key, "before") != 0 && strcmp(key, "entry") != 0 && strcmp(key, "stand") != 0) {
            text_print(t, "%s = ", key);
            text_add(t, v->lines[i].value, strlen(v->lines[i].value));
            text_add(t, "\n", 1);
        }
    }
}

static void check_text(const struct vector *v, struct text *got)
{
    struct text want = {0};

    case_text(v, &want);
    text_add(&want, "", 0);
    text_add(got, "", 0);
    if (strcmp(want.data, got->data) != 0)
        fail_msg("%s:\n%s\nand not\n%s", v->name, got->data, want.data);
    text_free(&want);
}

/* Written again, they are the same bytes. */
static void check_chain(struct nx_entry *e, bool whole, const uint8_t *bytes, size_t n)
{
    struct nx_member_msg *m = nx_member_msg_new(NX_MEMBER_CHAIN, 1);
    struct nx_member_wire out;

    assert_non_null(m);
    m->chain[m->n++] = nx_entry_hold(e);
    m->whole = whole;
    assert_ok(nx_member_to_wire(m, &out));
    assert_int_equal(out.message.member_chain.form, whole);
    assert_int_equal(out.message.member_chain.entries.len, n);
    assert_memory_equal(out.message.member_chain.entries.data, bytes, n);
    nx_free(out.memory);
    nx_member_msg_drop(m);
}

static void check_entry(const struct vector *v)
{
    struct nx_acceptor own = {0};
    bool whole = vector_get(v, "before") == NULL;
    struct text got = {0};
    size_t n;
    uint8_t *bytes;
    struct nx_entry *e;

    if (!whole) {
        bytes = vector_hex(vector_get(v, "before"), &n);
        e = read_entry(&own, bytes, n, true);
        assert_non_null(e);
        nx_acceptor_advance(&own, e);
        nx_entry_drop(e);
        free(bytes);
    }
    bytes = vector_hex(vector_get(v, "entry"), &n);
    e = read_entry(&own, bytes, n, whole);
    if (vector_get(v, "rejected") != NULL) {
        if (e != NULL)
            fail_msg("%s was not refused", v->name);
    } else {
        if (e == NULL)
            fail_msg("%s: %s", v->name, nexar_last_error());
        entry_text(e, &got);
        check_text(v, &got);
        check_chain(e, whole, bytes, n);
        nx_entry_drop(e);
        text_free(&got);
    }
    free(bytes);
    nx_acceptor_fini(&own);
}

static void check_stand(const struct vector *v)
{
    static const uint8_t digest[NX_ENTRY_DIGEST] = {1};
    struct nx_acceptor own = {0};
    struct nx_member_msg *m = NULL;
    struct nx_member_wire out;
    struct text got = {0};
    size_t n;
    uint8_t *bytes = vector_hex(vector_get(v, "stand"), &n);
    struct nx_message wire = {.kind = NX_KIND_MEMBER_BEAT,
                              .member_beat = {.digest = nx_bytes(digest, sizeof(digest)), .stand = nx_bytes(bytes, n)}};
    nexar_status status = nx_member_from_wire(&own, &wire, &m);

    if (vector_get(v, "rejected") != NULL) {
        assert_int_equal(status, NEXAR_EPROTO);
    } else {
        assert_ok(status);
        stand_text(m, &got);
        check_text(v, &got);
        assert_ok(nx_member_to_wire(m, &out));
        assert_int_equal(out.message.member_beat.stand.len, n);
        assert_memory_equal(out.message.member_beat.stand.data, bytes, n);
        nx_free(out.memory);
        text_free(&got);
    }
    nx_member_msg_drop(m);
    free(bytes);
}

static void test_vectors(void **state)
{
    struct vectors v = vectors_load("member.txt");

    (void)state;
    for (size_t i = 0; i < v.n; i++) {
        if (vector_get(&v.cases[i], "stand") != NULL)
            check_stand(&v.cases[i]);
        else
            check_entry(&v.cases[i]);
    }
    vectors_free(&v);
}

/* Bytes of the vectors with errors in them: refused, or what is read can be written again. */
static void test_hostile_bytes(void **state)
{
    struct vectors v = vectors_load("member.txt");
    struct rng rng = {.state = 44};
    uint64_t blocks = live_blocks();
    uint32_t refused = 0, read = 0;

    (void)state;
    for (uint32_t round = 0; round < 40000 / CHECK_SHORTER; round++) {
        const struct vector *c = &v.cases[rng_below(&rng, v.n)];
        const char *hex = vector_get(c, "entry") != NULL ? vector_get(c, "entry") : vector_get(c, "stand");
        const char *before = vector_get(c, "before");
        struct nx_acceptor own = {0};
        struct nx_member_msg *m = NULL;
        size_t n, n_before = 0;
        uint8_t *bytes = vector_hex(hex, &n), *first = before == NULL ? NULL : vector_hex(before, &n_before);
        struct nx_entry *e = first == NULL ? NULL : read_entry(&own, first, n_before, true);

        if (e != NULL)
            nx_acceptor_advance(&own, e);
        nx_entry_drop(e);
        for (size_t k = rng_below(&rng, 4); k > 0 && n > 0; k--)
            bytes[rng_below(&rng, n)] = (uint8_t)(rng_below(&rng, 3) == 0 ? 0xff : rng_next(&rng));
        n -= n > 0 && rng_below(&rng, 4) == 0 ? rng_below(&rng, n) : 0;
        struct nx_bytes body = nx_bytes(bytes, n);
        struct nx_message messages[] = {
            {.kind = NX_KIND_MEMBER_CHAIN, .member_chain = {.form = (uint8_t)rng_below(&rng, 4), .entries = body}},
            {.kind = NX_KIND_MEMBER_PROPOSE, .member_propose = {.epoch = rng_below(&rng, 4), .value = body}},
            {.kind = NX_KIND_MEMBER_PROMISE,
             .member_promise = {.epoch = rng_below(&rng, 4), .accepted = body, .stand = body}},
            {.kind = NX_KIND_MEMBER_PROMISE, .member_promise = {.stand = body}},
            {.kind = NX_KIND_MEMBER_BEAT, .member_beat = {.digest = nx_bytes(bytes, n < 16 ? n : 16), .stand = body}},
            {.kind = NX_KIND_MEMBER_JOINACK, .member_joinack = {.members = body}},
        };
        if (nx_member_from_wire(&own, &messages[rng_below(&rng, 6)], &m) == NEXAR_OK) {
            struct nx_member_wire out = {0};

            read++;
            if (m->kind != NX_MEMBER_PROPOSE || m->value != NULL)
                assert_ok(nx_member_to_wire(m, &out));
            nx_free(out.memory);
        } else {
            refused++;
            assert_null(m);
        }
        nx_member_msg_drop(m);
        nx_acceptor_fini(&own);
        free(bytes);
        free(first);
    }
    assert_true(refused > read && read > 100);
    assert_int_equal(live_blocks(), blocks);
    vectors_free(&v);
}

/* Announced lengths cost nothing: the largest that can be said are refused before anything is allocated. */
static void test_announced_world_of_2_to_the_32(void **state)
{
    uint8_t bytes[64] = {0};
    struct nx_acceptor own = {0};
    struct nx_mem_stats before, after;

    (void)state;
    nx_mem_stats(&before);
    for (size_t field = 36; field <= 44; field += 4) {
        memset(bytes, 0, sizeof(bytes));
        memset(bytes + field, 0xff, 4);
        bytes[32] = NX_ENTRY_WHOLE;
        assert_null(read_entry(&own, bytes, sizeof(bytes), true));
    }
    nx_mem_stats(&after);
    assert_in_range(after.allocations - before.allocations, 0, 3); /* the messages themselves */
    assert_int_equal(after.blocks, before.blocks);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_announced_world_of_2_to_the_32),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
