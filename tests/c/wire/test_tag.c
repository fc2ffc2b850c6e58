/* Tags of collectives: what is put in comes out, and nothing collides. */
#include "rng.h"
#include "wire/tag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void check(uint64_t sequence, uint64_t step)
{
    uint64_t id;

    assert_true(nx_tag_make(sequence, step, &id));
    assert_int_equal(nx_tag_sequence(id), sequence);
    assert_int_equal(nx_tag_step(id), step);
}

static void test_edges(void **state)
{
    static const uint64_t sequences[] = {
        0, 1, 999, 1000, 1001, 65535, 65536, NX_TAG_SEQUENCE_MAX - 1, NX_TAG_SEQUENCE_MAX};
    static const uint64_t steps[] = {0, 1, 999, 1000, 1001, 65535, 65536, NX_TAG_STEP_MAX - 1, NX_TAG_STEP_MAX};
    uint64_t id;

    (void)state;
    for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
        for (size_t j = 0; j < sizeof(steps) / sizeof(steps[0]); j++)
            check(sequences[i], steps[j]);
    }
    assert_true(nx_tag_make(0, 0, &id));
    assert_int_equal(id, 0);
    assert_true(nx_tag_make(1, 2, &id));
    assert_int_equal(id, 0x1000002);
    assert_true(nx_tag_make(NX_TAG_SEQUENCE_MAX, NX_TAG_STEP_MAX, &id));
    assert_int_equal(id, UINT64_MAX);
}

static void test_c7_too_large_is_refused_not_cut(void **state)
{
    uint64_t id = 5;

    (void)state;
    assert_false(nx_tag_make(0, NX_TAG_STEP_MAX + 1, &id));
    assert_int_equal(id, 0);
    assert_false(nx_tag_make(NX_TAG_SEQUENCE_MAX + 1, 0, &id));
    assert_false(nx_tag_make(UINT64_MAX, 0, &id));
    assert_false(nx_tag_make(0, UINT64_MAX, &id));
}

/* Tags grow with (sequence, step), so no two of them are the same: not step 1000 of one operation and step 0 of the
 * next, nor the operations 1 and 1 + 2^16. */
static void test_c7_no_two_are_equal(void **state)
{
    struct rng rng = {.state = 7};
    uint64_t before;
    uint64_t last;
    uint64_t first;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t sequence = (rng_next(&rng) >> (24 + rng_below(&rng, 40))) % NX_TAG_SEQUENCE_MAX;
        uint64_t step = rng_next(&rng) >> (40 + rng_below(&rng, 24));

        check(sequence, step);
        assert_true(nx_tag_make(sequence, step, &before));
        assert_true(nx_tag_make(sequence, NX_TAG_STEP_MAX, &last));
        assert_true(nx_tag_make(sequence + 1, 0, &first));
        assert_true(before <= last && last < first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_c7_too_large_is_refused_not_cut),
        cmocka_unit_test(test_c7_no_two_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
