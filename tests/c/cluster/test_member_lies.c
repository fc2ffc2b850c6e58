/* One member alone: lies, limits, and what its user is told (docs/MEMBERSHIP.md). */
#include "member_kit.h"

static void test_too_few_in_reach_are_told_and_so_is_their_return(void **state)
{
    struct nx_member_config config = nx_member_defaults();
    struct bench b;
    nx_time now;

    (void)state;
    config.quorum_wait = 3 * NX_S;
    set_up(&b, 2, &config);
    for (now = 0; now < 8 * NX_S; now += 250 * NX_MS) {
        say(&b, 1, beat(&b), now);
        nx_member_tick(&b.m, now);
        forget(&b);
    }
    assert_int_equal(b.no_quorum, 0);
    for (; now < 20 * NX_S; now += 250 * NX_MS) {
        say(&b, 1, beat(&b), now);
        nx_member_tick(&b.m, now);
        assert_null(sent(&b, NX_MEMBER_PREPARE, 1)); /* what cannot win only disturbs */
        forget(&b);
    }
    assert_int_equal(b.no_quorum, 1);
    assert_int_equal(b.quorum, 0);
    all_beat(&b, WORLD, now);
    nx_member_tick(&b.m, now);
    assert_int_equal(b.quorum, 1);
    assert_int_equal(b.installed, 0);
    tear_down(&b);
}

static void test_one_who_is_too_far_behind_is_out(void **state)
{
    struct bench b;
    struct nx_entry *e[NX_HISTORY + 4];
    struct nx_member_msg *late, *chain;

    (void)state;
    set_up(&b, 0, NULL);
    e[0] = nx_entry_hold(b.first);
    for (uint32_t i = 1; i < NX_HISTORY + 4; i++) {
        struct nx_member_msg *m = message(NX_MEMBER_CHAIN, 0, 0, 0, 0);

        e[i] = nx_entry_next(e[i - 1], &(struct nx_change){.agree = true});
        m->chain[m->n++] = nx_entry_hold(e[i]);
        say(&b, 1, m, NX_S);
    }
    assert_int_equal(b.installed, NX_HISTORY + 3);
    forget(&b);
    late = beat(&b); /* of entry 0 */
    say(&b, 1, late, NX_S);
    chain = nx_member_msg_hold((struct nx_member_msg *)(uintptr_t)sent(&b, NX_MEMBER_CHAIN, 1));
    assert_true(chain->behind);
    assert_int_equal(chain->n, NX_HISTORY);
    tear_down(&b);

    set_up(&b, 1, NULL);
    say(&b, 0, chain, NX_S);
    assert_int_equal(b.m.state, NX_MEMBER_EXCLUDED);
    assert_int_equal(b.installed, 1);
    for (uint32_t i = 0; i < NX_HISTORY + 4; i++)
        nx_entry_drop(e[i]);
    tear_down(&b);
}

static void refuses(struct bench *b, uint32_t from, struct nx_member_msg *m, const char *why)
{
    uint32_t lies = b->lies, commits = b->commits;

    say(b, from, m, NX_S);
    assert_int_equal(b->lies, lies + 1);
    assert_string_equal(b->why, why);
    assert_int_equal(b->commits, commits);
}

static void test_lies(void **state)
{
    struct bench b;
    struct nx_member_msg *m;
    struct nx_entry *far;

    (void)state;
    set_up(&b, 0, NULL);
    m = beat(&b);
    m->digest[3] ^= 1;
    refuses(&b, 1, m, "another list of members for the same epoch");
    refuses(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 2, 0), "a ballot that is not its own");
    refuses(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, WORLD), "a ballot that is not its own");
    refuses(&b, 1, message(NX_MEMBER_PREPARE, 0, 5000, 1, 0), "a round far beyond all others");
    refuses(&b, 1, message(NX_MEMBER_ACCEPT, 0, 1, 0, 2), "the vote of another");
    refuses(&b, 1, message(NX_MEMBER_PROMISE, 0, 1, 0, 2), "the vote of another");
    refuses(&b, 9, message(NX_MEMBER_ACCEPT, 0, 1, 0, 2), "the vote of another"); /* who is no member */
    refuses(&b, 1, message(NX_MEMBER_ACCEPT, 0, 1, 0, UINT32_MAX), "the vote of another");
    m = message(NX_MEMBER_NACK, 0, 1, 0, 0);
    m->other.round = UINT32_MAX;
    refuses(&b, 1, m, "a round far beyond all others");
    refuses(&b, 1, message(NX_MEMBER_PROPOSE, 0, 1, 1, 0), "a proposal that does not follow the entry in force");
    far = without(b.first, 3);
    m = message(NX_MEMBER_PROPOSE, 0, 1, 1, 0);
    m->value = without(far, 3);
    refuses(&b, 1, m, "a proposal that does not follow the entry in force");
    nx_entry_drop(far);
    say(&b, 9, message(NX_MEMBER_PREPARE, 0, 1, 1, 0), NX_S); /* a stranger is not even refused */
    assert_null(sent(&b, NX_MEMBER_PROMISE, 9));
    assert_int_equal(b.installed, 0);
    assert_int_equal(b.m.own.promised.round, 0);
    tear_down(&b);
}

static void test_no_more_candidates_than_there_is_room_for(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, 0, NULL);
    for (uint32_t i = 0; i < NX_CANDIDATES_MAX + 20; i++) {
        struct nx_uid uid = {{200, (uint8_t)i}};
        struct nx_member_msg *m = nx_member_msg_new(NX_MEMBER_JOIN, 0);

        nx_member_said(&b.m, &uid, m, NX_S);
        nx_member_msg_drop(m);
        assert_int_equal(b.n_sent, i < NX_CANDIDATES_MAX); /* who finds no room is not answered, and asks again */
        forget(&b);
    }
    assert_int_equal(b.m.n_candidates, NX_CANDIDATES_MAX);
    tear_down(&b);
}

static uint32_t joined_with(uint32_t limit)
{
    struct nx_member_config config = nx_member_defaults();
    struct bench b;
    uint32_t n;

    config.max_members = limit;
    set_up(&b, 0, &config);
    for (uint32_t i = 0; i < 3; i++)
        say(&b, WORLD + i, nx_member_msg_new(NX_MEMBER_JOIN, 0), NX_S);
    nx_member_call_checkpoint(&b.m, false, NX_S);
    for (uint32_t step = 0; step < 2; step++) {
        for (uint32_t i = 1; i < WORLD; i++) {
            struct nx_member_msg *m = step == 0 ? beat(&b) : message(NX_MEMBER_PROMISE, 0, 1, 0, i);

            m->stands = m->stand.ready = true;
            for (uint32_t k = 0; k < 3; k++)
                assert_true(nx_uids_add(&m->stand.candidates, &b.uid[WORLD + k]));
            say(&b, i, m, NX_S);
        }
        forget(&b);
        nx_member_tick(&b.m, NX_S + (step + 1) * 300 * NX_MS);
    }
    assert_non_null(b.m.attempt.value);
    n = b.m.attempt.value->joined;
    tear_down(&b);
    return n;
}

static void test_e5_the_largest_world_is_honoured(void **state)
{
    (void)state;
    assert_int_equal(joined_with(0), 3);
    assert_int_equal(joined_with(100), 3);
    assert_int_equal(joined_with(7), 2);
    assert_int_equal(joined_with(5), 0);
    assert_int_equal(joined_with(1), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_too_few_in_reach_are_told_and_so_is_their_return),
        cmocka_unit_test(test_one_who_is_too_far_behind_is_out),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_no_more_candidates_than_there_is_room_for),
        cmocka_unit_test(test_e5_the_largest_world_is_honoured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
