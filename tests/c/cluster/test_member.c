/* One member alone, told what others say: votes and ballots, where random worlds hardly ever get
 * (docs/MEMBERSHIP.md). */
#include "member_kit.h"

static void propose(struct bench *b, uint32_t from, uint32_t round, uint32_t lost)
{
    struct nx_member_msg *m = message(NX_MEMBER_PROPOSE, 0, round, from, b->m.rank);

    m->value = without(b->first, lost);
    say(b, from, m, NX_S);
}

/* Rank 0 has a ballot: 4 is silent, all others have promised; returns its round. */

static uint32_t to_the_proposal(struct bench *b)
{
    nx_time now = 0;
    const struct nx_member_msg *asked = NULL;

    for (; asked == NULL && now < 20 * NX_S; now += 250 * NX_MS) {
        forget(b);
        all_beat(b, 4, now);
        nx_member_tick(&b->m, now);
        asked = sent(b, NX_MEMBER_PREPARE, 1);
    }
    assert_non_null(asked);
    uint32_t round = asked->ballot.round;
    forget(b);
    for (uint32_t i = 1; i < 4; i++) {
        struct nx_member_msg *m = message(NX_MEMBER_PROMISE, 0, round, 0, i);

        m->stands = true;
        say(b, i, m, now);
    }
    return round;
}

static void test_accepts_count_for_their_ballot_alone(void **state)
{
    struct bench b;
    uint32_t round;

    (void)state;
    set_up(&b, 0, NULL);
    round = to_the_proposal(&b);
    assert_non_null(sent(&b, NX_MEMBER_PROPOSE, 1));
    for (uint32_t i = 1; i < 4; i++) { /* of another round; of another coordinator; of another epoch */
        say(&b, i, message(NX_MEMBER_ACCEPT, 0, round + 1, 0, i), NX_S);
        say(&b, i, message(NX_MEMBER_ACCEPT, 0, round, 1, i), NX_S);
        say(&b, i, message(NX_MEMBER_ACCEPT, 1, round, 0, i), NX_S);
    }
    assert_int_equal(b.installed, 0);
    for (uint32_t i = 0; i < 3; i++) /* one voice, however often it is heard; with my own there are two */
        say(&b, 1, message(NX_MEMBER_ACCEPT, 0, round, 0, 1), NX_S);
    assert_int_equal(b.installed, 0);
    say(&b, 2, message(NX_MEMBER_ACCEPT, 0, round, 0, 2), NX_S);
    assert_int_equal(b.installed, 1);
    assert_non_null(sent(&b, NX_MEMBER_CHAIN, 4)); /* who is excluded is told */
    assert_int_equal(b.lies, 0);
    tear_down(&b);
}

static void test_promises_count_for_their_ballot_alone(void **state)
{
    struct bench b;
    uint32_t round = 0;

    (void)state;
    set_up(&b, 0, NULL);
    for (nx_time now = 0; round == 0 && now < 20 * NX_S; now += 250 * NX_MS) {
        forget(&b);
        all_beat(&b, 4, now);
        nx_member_tick(&b.m, now);
        round = sent(&b, NX_MEMBER_PREPARE, 1) == NULL ? 0 : sent(&b, NX_MEMBER_PREPARE, 1)->ballot.round;
    }
    assert_int_not_equal(round, 0);
    for (uint32_t i = 1; i < 4; i++) {
        struct nx_member_msg *m = message(NX_MEMBER_PROMISE, 0, round + 1, 0, i);

        m->stands = true;
        say(&b, i, m, NX_S);
    }
    assert_null(sent(&b, NX_MEMBER_PROPOSE, 1));
    tear_down(&b);
}

static void test_nothing_below_a_promise(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, 4, NULL);
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 2, 1, 4), NX_S);
    assert_non_null(sent(&b, NX_MEMBER_PROMISE, 1));
    propose(&b, 0, 1, 3);
    assert_null(sent(&b, NX_MEMBER_ACCEPT, 0));
    assert_int_equal(sent(&b, NX_MEMBER_NACK, 0)->other.round, 2);
    propose(&b, 0, 2, 3); /* the same round, of a lower rank */
    assert_null(sent(&b, NX_MEMBER_ACCEPT, 0));
    propose(&b, 2, 2, 3);
    assert_non_null(sent(&b, NX_MEMBER_ACCEPT, 2));
    say(&b, 3, message(NX_MEMBER_PREPARE, 0, 5, 3, 4), NX_S); /* what was accepted is told */
    assert_int_equal(sent(&b, NX_MEMBER_PROMISE, 3)->other.round, 2);
    assert_int_equal(sent(&b, NX_MEMBER_PROMISE, 3)->value->n_gone, 1);
    assert_int_equal(b.commits, 3);
    tear_down(&b);
}

static void test_a_vote_that_cannot_be_kept_is_not_cast(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, 4, NULL);
    b.refuse = true;
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, 4), NX_S);
    propose(&b, 1, 1, 3);
    assert_int_equal(b.commits, 2);
    assert_int_equal(b.n_sent, 0);
    tear_down(&b);
}

static void test_a_witness_votes_with_the_record_of_the_dead(void **state)
{
    struct bench b;
    struct nx_acceptor dead = {0};
    struct nx_entry *other;

    (void)state;
    set_up(&b, 4, NULL);
    nx_acceptor_advance(&dead, b.first);
    b.dead = &dead;
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, 3), NX_S); /* nobody says that 3 is dead */
    assert_int_equal(b.n_sent, 0);
    b.dead = NULL;
    other = without(b.first, 2);
    assert_true(nx_acceptor_accept(&dead, (struct nx_ballot){.round = 4, .rank = 2}, other));
    nx_member_died(&b.m, &b.uid[3], NX_S);
    forget(&b);
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, 3), NX_S); /* its record cannot be found: no vote */
    assert_int_equal(b.n_sent, 0);
    b.dead = &dead;
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, 3), NX_S); /* it has promised more */
    assert_int_equal(sent(&b, NX_MEMBER_NACK, 1)->other.round, 4);
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 5, 1, 3), NX_S);
    assert_true(nx_entry_same(sent(&b, NX_MEMBER_PROMISE, 1)->value, other));
    assert_false(sent(&b, NX_MEMBER_PROMISE, 1)->stands);
    nx_entry_drop(other);
    nx_acceptor_fini(&dead);
    tear_down(&b);
}

static void test_who_was_frozen_blames_nobody(void **state)
{
    struct bench b;
    const struct nx_member_msg *m;

    (void)state;
    set_up(&b, 2, NULL);
    all_beat(&b, WORLD, NX_S);
    nx_member_tick(&b.m, NX_S);
    nx_member_tick(&b.m, 61 * NX_S); /* timers before the sockets */
    m = sent(&b, NX_MEMBER_BEAT, 0);
    assert_non_null(m);
    assert_int_equal(m->stand.suspects.n, 0);
    forget(&b);
    for (nx_time now = 61 * NX_S; now < 67 * NX_S; now += 500 * NX_MS)
        nx_member_tick(&b.m, now); /* silence while it is awake is another thing */
    assert_int_equal(sent(&b, NX_MEMBER_BEAT, 0)->stand.suspects.n, WORLD - 1);
    tear_down(&b);
}

/* Told a lie, it names the liar, and nothing of it changes. */

/* All five are at the checkpoint, and hear three who want to join; `limit` is the largest world. */

static void test_s8_a_link_that_works_one_way_is_broken(void **state)
{
    struct bench b;
    struct nx_member_msg *m;

    (void)state;
    set_up(&b, 4, NULL);
    m = beat(&b); /* I hear 1, but 1 does not hear me: as a coordinator it would only disturb */
    assert_true(nx_uids_add(&m->stand.suspects, &b.uid[4]));
    say(&b, 1, m, NX_S);
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, 4), NX_S);
    assert_null(sent(&b, NX_MEMBER_PROMISE, 1));
    assert_null(sent(&b, NX_MEMBER_NACK, 1));
    say(&b, 1, beat(&b), NX_S); /* it hears me again */
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, 4), NX_S);
    assert_non_null(sent(&b, NX_MEMBER_PROMISE, 1));
    tear_down(&b);

    set_up(&b, 0, NULL); /* nor is it asked for its voice */
    m = beat(&b);
    assert_true(nx_uids_add(&m->stand.suspects, &b.uid[0]));
    all_beat(&b, WORLD, 0);
    say(&b, 3, m, 0);
    m = beat(&b); /* 4 is to go */
    assert_true(nx_uids_add(&m->stand.suspects, &b.uid[4]));
    say(&b, 2, m, 0);
    nx_member_tick(&b.m, 0);
    nx_member_tick(&b.m, NX_S);
    assert_non_null(sent(&b, NX_MEMBER_PREPARE, 2));
    assert_null(sent(&b, NX_MEMBER_PREPARE, 3));
    tear_down(&b);
}

static void test_promises_end_with_their_entry(void **state)
{
    struct bench b;
    struct nx_member_msg *m = message(NX_MEMBER_CHAIN, 0, 0, 0, 0);

    (void)state;
    set_up(&b, 3, NULL);
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 7, 1, 3), NX_S);
    m->chain[m->n++] = without(b.first, 4);
    say(&b, 1, m, NX_S);
    assert_int_equal(b.installed, 1);
    say(&b, 2, message(NX_MEMBER_PREPARE, 1, 1, 2, 3), NX_S); /* rounds begin again */
    assert_non_null(sent(&b, NX_MEMBER_PROMISE, 2));
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 8, 1, 3), NX_S); /* who is behind is told */
    assert_int_equal(sent(&b, NX_MEMBER_CHAIN, 1)->n, 1);
    tear_down(&b);
}

/* All but rank 4 are heard until `until`; returns when the member first asks for votes, or NX_NEVER.  *since: when it
 * first suspects 4. */
static nx_time first_ballot(struct bench *b, nx_time until, nx_time *since)
{
    *since = NX_NEVER;
    for (nx_time now = 0; now < until; now += 50 * NX_MS) {
        forget(b);
        all_beat(b, 4, now);
        nx_member_tick(&b->m, now);
        if (*since == NX_NEVER && b->m.mate[4].suspected)
            *since = now;
        if (sent(b, NX_MEMBER_PREPARE, b->m.rank == 0 ? 1 : 0) != NULL)
            return now;
    }
    return NX_NEVER;
}

static void test_each_waits_for_those_of_lower_rank(void **state)
{
    struct nx_member_config c = nx_member_defaults();
    struct bench b;

    (void)state;
    for (uint32_t rank = 0; rank < 4; rank++) {
        nx_time since, least, at;

        set_up(&b, rank, NULL);
        at = first_ballot(&b, 20 * NX_S, &since);
        least = since + c.settle + rank * c.takeover;
        assert_in_range(at, least, least + 50 * NX_MS);
        tear_down(&b);
    }
}

static void test_one_who_does_not_answer_is_not_waited_for(void **state)
{
    struct nx_member_config c = nx_member_defaults();
    struct bench b;
    nx_time since, at;

    (void)state;
    set_up(&b, 0, NULL);
    at = first_ballot(&b, 20 * NX_S, &since);
    assert_int_not_equal(at, NX_NEVER);
    for (uint32_t i = 1; i < 3; i++) { /* with my own a quorum; 3 was asked, too */
        struct nx_member_msg *m = message(NX_MEMBER_PROMISE, 0, 1, 0, i);

        m->stands = true;
        say(&b, i, m, at);
    }
    nx_member_tick(&b.m, at + c.phase1 - NX_MS);
    assert_null(sent(&b, NX_MEMBER_PROPOSE, 1));
    nx_member_tick(&b.m, at + c.phase1);
    assert_non_null(sent(&b, NX_MEMBER_PROPOSE, 1));
    assert_non_null(sent(&b, NX_MEMBER_PROPOSE, 3));
    tear_down(&b);
}

static void test_what_was_accepted_is_brought_to_an_end(void **state)
{
    struct bench b;
    const struct nx_member_msg *asked = NULL;

    (void)state;
    set_up(&b, 1, NULL);
    propose(&b, 0, 1, 4);
    for (nx_time now = NX_S; asked == NULL && now < 20 * NX_S; now += 250 * NX_MS) {
        forget(&b);
        all_beat(&b, WORLD, now); /* nobody is suspected of anything */
        nx_member_tick(&b.m, now);
        asked = sent(&b, NX_MEMBER_PREPARE, 0);
    }
    assert_non_null(asked);
    assert_int_equal(asked->ballot.round, 2);
    tear_down(&b);
}

static void test_one_who_joined_and_was_not_told_is_told(void **state)
{
    struct bench b;
    struct nx_member_msg *m = message(NX_MEMBER_CHAIN, 0, 0, 0, 0);

    (void)state;
    set_up(&b, 0, NULL);
    m->chain[m->n++] =
        nx_entry_next(b.first, &(struct nx_change){.n_joined = 1, .joined = &b.uid[WORLD], .checkpoint = true});
    say(&b, 1, m, NX_S);
    assert_int_equal(b.installed, 1);
    say(&b, WORLD, nx_member_msg_new(NX_MEMBER_JOIN, 0), NX_S);
    assert_int_equal(b.m.n_candidates, 0);
    assert_true(sent(&b, NX_MEMBER_CHAIN, WORLD)->whole);
    assert_true(nx_entry_admits(sent(&b, NX_MEMBER_CHAIN, WORLD)->chain[0], &b.uid[WORLD]));
    tear_down(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_count_for_their_ballot_alone),
        cmocka_unit_test(test_promises_count_for_their_ballot_alone),
        cmocka_unit_test(test_nothing_below_a_promise),
        cmocka_unit_test(test_a_vote_that_cannot_be_kept_is_not_cast),
        cmocka_unit_test(test_a_witness_votes_with_the_record_of_the_dead),
        cmocka_unit_test(test_who_was_frozen_blames_nobody),
        cmocka_unit_test(test_s8_a_link_that_works_one_way_is_broken),
        cmocka_unit_test(test_promises_end_with_their_entry),
        cmocka_unit_test(test_each_waits_for_those_of_lower_rank),
        cmocka_unit_test(test_one_who_does_not_answer_is_not_waited_for),
        cmocka_unit_test(test_what_was_accepted_is_brought_to_an_end),
        cmocka_unit_test(test_one_who_joined_and_was_not_told_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
