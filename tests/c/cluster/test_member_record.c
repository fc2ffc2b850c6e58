/* Records of votes in memory that outlives processes: what is read is what was written, before or after, whoever is
 * killed at any word of it; another writer, a dead one, and bytes that are no record are seen. */
#include "check.h"
#include "cluster/record.h"

#include <stdlib.h>
#include <string.h>

enum { MEMBERS_MAX = 300 };

static bool dead_writer;

static bool is_dead(void *arg, uint32_t writer)
{
    (void)arg, (void)writer;
    return dead_writer;
}

static const struct nx_record_writer writer = {.self = 3, .dead = is_dead};

/* `entries` one after the other: each takes one out, each third one has a result, each fourth lets one in. */
static struct nx_acceptor make(uint32_t members, uint32_t entries, bool voted)
{
    static struct nx_uid uid[MEMBERS_MAX];
    struct nx_acceptor a = {0};
    struct nx_entry *e, *next;

    for (uint32_t i = 0; i < members; i++)
        uid[i] = (struct nx_uid){{(uint8_t)(i * 7), (uint8_t)i, (uint8_t)(i >> 8), 9}};
    e = nx_entry_first(uid, members);
    for (uint32_t k = 0; k < entries; k++) {
        struct nx_gone gone = {.rank = k % e->roll->n, .left = k % 2 == 1};
        struct nx_uid joins = {{200, (uint8_t)k}};
        struct nx_change change = {.n_gone = e->roll->n > 2,
                                   .gone = &gone,
                                   .n_joined = k % 4 == 3,
                                   .joined = &joins,
                                   .agree = k % 3 == 2,
                                   .checkpoint = k % 4 == 3,
                                   .result = k % 3 == 2 ? k * 77 : 0};

        nx_acceptor_advance(&a, e);
        next = nx_entry_next(e, &change);
        assert_non_null(next);
        if (k + 1 == entries && voted) {
            assert_true(nx_acceptor_accept(&a, (struct nx_ballot){.round = 5, .rank = 1}, next));
            assert_true(nx_acceptor_promise(&a, (struct nx_ballot){.round = 9, .rank = 2}));
        }
        nx_entry_drop(e);
        e = next;
    }
    nx_entry_drop(e);
    return a;
}

static bool same(const struct nx_acceptor *a, const struct nx_acceptor *b)
{
    bool equal = a->n == b->n && nx_ballot_cmp(a->promised, b->promised) == 0 &&
                 nx_ballot_cmp(a->accepted, b->accepted) == 0 && (a->value == NULL) == (b->value == NULL) &&
                 (a->value == NULL || nx_entry_same(a->value, b->value));

    for (uint32_t i = 0; equal && i < a->n; i++)
        equal = nx_entry_same(a->history[i], b->history[i]) && a->history[i]->roll->n == b->history[i]->roll->n &&
                memcmp(a->history[i]->roll->uid, b->history[i]->roll->uid,
                       a->history[i]->roll->n * sizeof(struct nx_uid)) == 0;
    return equal;
}

static void reads(const struct nx_record *record, size_t n, uint32_t number, const struct nx_acceptor *wanted)
{
    struct nx_acceptor got;
    uint32_t was;

    assert_true(nx_record_read(record, n, &was, &got));
    assert_int_equal(was, number);
    assert_true(same(&got, wanted));
    nx_acceptor_fini(&got);
}

static void test_what_was_written_is_read(void **state)
{
    static const uint32_t members[] = {1, 2, 3, 17, MEMBERS_MAX};

    (void)state;
    for (size_t m = 0; m < sizeof(members) / sizeof(members[0]); m++) {
        size_t n = nx_record_bytes(members[m]);
        struct nx_record *record = calloc(1, n);
        uint32_t number = 0;
        struct nx_acceptor none;

        assert_false(nx_record_read(record, n, &number, &none));
        assert_int_equal(number, 0);
        for (uint32_t entries = 1; entries <= 20; entries++) {
            struct nx_acceptor a = make(members[m], entries, entries % 2 == 0);

            assert_true(nx_record_write(record, n, &writer, &number, &a));
            assert_int_equal(number, entries);
            reads(record, n, number, &a);
            nx_acceptor_fini(&a);
        }
        free(record);
    }
}

/* The words of a write reach memory in their order, the number last: any beginning of it is the record before. */
static void test_one_who_is_killed_while_it_writes(void **state)
{
    struct nx_acceptor a = make(5, 4, true), b = make(5, 5, false), c = make(5, 6, true);
    size_t n = nx_record_bytes(5), words = n / 4;
    uint32_t *before = calloc(1, n), *after = calloc(1, n), *cut = malloc(n), number = 0;

    (void)state;
    assert_true(nx_record_write((struct nx_record *)before, n, &writer, &number, &a));
    assert_true(nx_record_write((struct nx_record *)before, n, &writer, &number, &b));
    memcpy(after, before, n);
    assert_true(nx_record_write((struct nx_record *)after, n, &writer, &number, &c));
    for (size_t k = 2; k <= words; k++) {
        memcpy(cut, before, n);
        memcpy(cut + 2, after + 2, (k - 2) * 4);
        cut[0] = writer.self + 1; /* it held the lock */
        reads((struct nx_record *)cut, n, 2, &b);
        /* Another goes on where it was. */
        number = 2;
        dead_writer = false;
        assert_false(nx_record_write((struct nx_record *)cut, n, &writer, &number, &c));
        dead_writer = true;
        assert_true(nx_record_write((struct nx_record *)cut, n, &writer, &number, &c));
        reads((struct nx_record *)cut, n, 3, &c);
    }
    dead_writer = false;
    free(before);
    free(after);
    free(cut);
    nx_acceptor_fini(&a);
    nx_acceptor_fini(&b);
    nx_acceptor_fini(&c);
}

static void test_another_witness_was_faster(void **state)
{
    struct nx_acceptor a = make(3, 2, false), b = make(3, 2, true), got;
    size_t n = nx_record_bytes(3);
    struct nx_record *record = calloc(1, n);
    uint32_t first = 0, mine, theirs;

    (void)state;
    assert_true(nx_record_write(record, n, &writer, &first, &a));
    assert_true(nx_record_read(record, n, &mine, &got));
    nx_acceptor_fini(&got);
    theirs = mine;
    assert_true(nx_record_write(record, n, &writer, &theirs, &b));
    assert_false(nx_record_write(record, n, &writer, &mine, &a));
    reads(record, n, 2, &b);
    free(record);
    nx_acceptor_fini(&a);
    nx_acceptor_fini(&b);
}

static void test_bytes_that_are_no_record(void **state)
{
    struct nx_acceptor a = make(4, 3, true), got;
    size_t n = nx_record_bytes(4);
    uint8_t *good = calloc(1, n), *bad = malloc(n);
    uint32_t number = 0, random = 1;

    (void)state;
    assert_true(nx_record_write((struct nx_record *)(void *)good, n, &writer, &number, &a));
    for (size_t i = 4; i < n; i++) {
        memcpy(bad, good, n);
        bad[i] ^= (uint8_t)(1 << (i % 8));
        if (nx_record_read((struct nx_record *)(void *)bad, n, &number, &got)) {
            assert_true(same(&got, &a)); /* it was in the slot that is not in force */
            nx_acceptor_fini(&got);
        }
    }
    for (int turn = 0; turn < 2000; turn++) {
        for (size_t i = 0; i < n; i++) {
            random = random * 1664525 + 1013904223;
            bad[i] = (uint8_t)(random >> 24);
        }
        assert_false(nx_record_read((struct nx_record *)(void *)bad, n, &number, &got));
    }
    free(good);
    free(bad);
    nx_acceptor_fini(&a);
}

static void test_what_does_not_fit_is_not_kept(void **state)
{
    struct nx_acceptor small = make(2, 1, false), large = make(MEMBERS_MAX, 3, true);
    size_t n = nx_record_bytes(2);
    struct nx_record *record = calloc(1, n);
    uint32_t number = 0;

    (void)state;
    assert_true(nx_record_write(record, n, &writer, &number, &small));
    assert_false(nx_record_write(record, n, &writer, &number, &large));
    assert_int_equal(number, 1);
    reads(record, n, 1, &small);
    free(record);
    nx_acceptor_fini(&small);
    nx_acceptor_fini(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),      cmocka_unit_test(test_one_who_is_killed_while_it_writes),
        cmocka_unit_test(test_another_witness_was_faster),    cmocka_unit_test(test_bytes_that_are_no_record),
        cmocka_unit_test(test_what_does_not_fit_is_not_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
