/* One member alone, told what others say: rules of docs/MEMBERSHIP.md that random worlds hardly ever reach, and lies. */
#include "check.h"
#include "cluster/member.h"

enum { WORLD = 5, SENT_MAX = 64 };

struct sent {
    struct nx_uid to;
    struct nx_member_msg *msg;
};

struct bench {
    struct nx_member m;
    struct nx_uid uid[WORLD + 20];
    struct nx_entry *first;
    struct sent sent[SENT_MAX];
    uint32_t n_sent;
    uint32_t installed, agreed, lies, no_quorum, quorum;
    char why[100];
    struct nx_acceptor *dead; /* what `record` gives */
    bool refuse;              /* commit fails */
    uint32_t commits;
};

static void keep(void *arg, const struct nx_uid *to, struct nx_member_msg *msg)
{
    struct bench *b = arg;

    assert_true(b->n_sent < SENT_MAX);
    b->sent[b->n_sent++] = (struct sent){.to = *to, .msg = nx_member_msg_hold(msg)};
}

static struct nx_acceptor *record(void *arg, const struct nx_uid *dead)
{
    (void)dead;
    return ((struct bench *)arg)->dead;
}

static bool commit(void *arg, const struct nx_uid *who, const struct nx_acceptor *r)
{
    struct bench *b = arg;

    (void)who;
    (void)r;
    b->commits++;
    return !b->refuse;
}

static void told(void *arg, const struct nx_member_event *e)
{
    struct bench *b = arg;

    b->installed += e->kind == NX_MEMBER_INSTALLED;
    b->agreed += e->kind == NX_MEMBER_AGREED;
    b->lies += e->kind == NX_MEMBER_LIE;
    b->no_quorum += e->kind == NX_MEMBER_NO_QUORUM;
    b->quorum += e->kind == NX_MEMBER_QUORUM;
    if (e->kind == NX_MEMBER_LIE)
        snprintf(b->why, sizeof(b->why), "%s", e->why);
}

static const struct nx_member_ops ops = {.send = keep, .record = record, .commit = commit, .event = told};

static void forget(struct bench *b)
{
    for (uint32_t i = 0; i < b->n_sent; i++)
        nx_member_msg_drop(b->sent[i].msg);
    b->n_sent = 0;
}

/* The member of `rank` in a world of 5. */
static void set_up(struct bench *b, uint32_t rank, const struct nx_member_config *config)
{
    struct nx_member_config usual = nx_member_defaults();

    *b = (struct bench){0};
    for (uint32_t i = 0; i < WORLD + 20; i++)
        b->uid[i].bytes[0] = (uint8_t)(i + 1);
    b->first = nx_entry_first(b->uid, WORLD);
    assert_non_null(b->first);
    assert_ok(nx_member_init(&b->m, &b->uid[rank], config != NULL ? config : &usual, b->first, 0, &ops, b));
}

static void tear_down(struct bench *b)
{
    forget(b);
    nx_member_fini(&b->m);
    nx_entry_drop(b->first);
}

static struct nx_member_msg *message(enum nx_member_kind kind, uint64_t epoch, uint32_t round, uint32_t rank,
                                     uint32_t who)
{
    struct nx_member_msg *m = nx_member_msg_new(kind, 1);

    assert_non_null(m);
    m->epoch = epoch;
    m->ballot = (struct nx_ballot){.round = round, .rank = rank};
    m->who = who;
    return m;
}

/* Drops the message. */
static void say(struct bench *b, uint32_t from, struct nx_member_msg *m, nx_time now)
{
    nx_member_said(&b->m, &b->uid[from], m, now);
    nx_member_msg_drop(m);
}

static struct nx_member_msg *beat(const struct bench *b)
{
    struct nx_member_msg *m = message(NX_MEMBER_BEAT, 0, 0, 0, 0);

    m->stands = true;
    memcpy(m->digest, b->first->digest, NX_ENTRY_DIGEST);
    return m;
}

static void all_beat(struct bench *b, uint32_t n, nx_time now)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!nx_uid_same(&b->uid[i], &b->m.uid))
            say(b, i, beat(b), now);
    }
}

/* The last message of a kind that was sent to somebody, or NULL. */
static const struct nx_member_msg *sent(const struct bench *b, enum nx_member_kind kind, uint32_t to)
{
    for (uint32_t i = b->n_sent; i > 0; i--) {
        if (b->sent[i - 1].msg->kind == kind && nx_uid_same(&b->sent[i - 1].to, &b->uid[to]))
            return b->sent[i - 1].msg;
    }
    return NULL;
}

static struct nx_entry *without(const struct nx_entry *last, uint32_t rank)
{
    struct nx_gone gone = {.rank = rank};
    struct nx_entry *e = nx_entry_next(last, &(struct nx_change){.n_gone = 1, .gone = &gone});

    assert_non_null(e);
    return e;
}

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
    say(&b, 1, message(NX_MEMBER_PREPARE, 0, 1, 1, 3), NX_S); /* nobody says that 3 is dead */
    assert_int_equal(b.n_sent, 0);
    nx_acceptor_advance(&dead, b.first);
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

/* Told a lie, it names the liar, and nothing of it changes. */
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

/* All five are at the checkpoint, and hear three who want to join; `limit` is the largest world. */
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
        nx_member_tick(&b.m, NX_S + (step + 1) * 600 * NX_MS);
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
        cmocka_unit_test(test_accepts_count_for_their_ballot_alone),
        cmocka_unit_test(test_promises_count_for_their_ballot_alone),
        cmocka_unit_test(test_nothing_below_a_promise),
        cmocka_unit_test(test_a_vote_that_cannot_be_kept_is_not_cast),
        cmocka_unit_test(test_a_witness_votes_with_the_record_of_the_dead),
        cmocka_unit_test(test_who_was_frozen_blames_nobody),
        cmocka_unit_test(test_too_few_in_reach_are_told_and_so_is_their_return),
        cmocka_unit_test(test_one_who_is_too_far_behind_is_out),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_no_more_candidates_than_there_is_room_for),
        cmocka_unit_test(test_e5_the_largest_world_is_honoured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
