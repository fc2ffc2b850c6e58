/* The seed's machine: who is let in, refused, told; and how formation ends. */
#include "seed_kit.h"

/* ---- all goes well ---- */

static void test_one_rank(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 1);
    seed_bring(&f, 0, NX_SEED_READY);
    seed_did(&f, "0< join_challenge\n"
                 "full\n0< join_welcome 0 of 1\n"
                 "0< roster 0=a0/1\n"
                 "0< join_go\n0 close told\n");
    assert_int_equal(f.m.state, NX_SEED_FORMED);
    seed_shut(&f);
}

static void test_three_ranks(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 3);
    for (int i = 2; i >= 0; i--)
        seed_bring(&f, i, NX_SEED_PROVEN);
    /* Ranks in the order in which they came. */
    seed_did(&f, "2< join_challenge\n1< join_challenge\n0< join_challenge\n"
                 "full\n2< join_welcome 0 of 3\n1< join_welcome 1 of 3\n0< join_welcome 2 of 3\n");
    seed_say_listen(&f, 0);
    seed_say_listen(&f, 2);
    seed_did(&f, "");
    seed_say_listen(&f, 1);
    seed_did(&f, "2< roster 0=a2/3 1=a1/2 2=a0/1\n1< roster 0=a2/3 1=a1/2 2=a0/1\n0< roster 0=a2/3 1=a1/2 2=a0/1\n");
    seed_say_ready(&f, 1);
    seed_say_ready(&f, 0);
    seed_did(&f, "");
    assert_int_equal(f.m.state, NX_SEED_MESHING);
    seed_say_ready(&f, 2);
    seed_did(&f, "2< join_go\n2 close told\n1< join_go\n1 close told\n0< join_go\n0 close told\n");
    assert_int_equal(f.m.state, NX_SEED_FORMED);
    seed_shut(&f);
}

/* ---- what is refused ---- */

static void test_old_version(void **state)
{
    struct fake_seed f;
    struct nx_message hello;

    (void)state;
    seed_open(&f, 2);
    seed_connect(&f, 0);
    hello = seed_hello(&f, 0);
    hello.join_hello.version = NX_JOIN_VERSION + 1;
    seed_say(&f, 0, &hello);
    seed_did(&f, "0< abort 1: the seed speaks version 1 of joining, this worker 2\n0 close told\n");
    assert_null(f.client[0]);
    seed_shut(&f);
}

static void test_hello_without_nonce(void **state)
{
    struct fake_seed f;
    struct nx_message hello;

    (void)state;
    seed_open(&f, 2);
    seed_connect(&f, 0);
    hello = seed_hello(&f, 0);
    hello.join_hello.nonce.len = 0;
    seed_say(&f, 0, &hello);
    seed_did(&f, "0< abort 9: this is not a proper hello\n0 close told\n");
    seed_shut(&f);
}

/* A stranger learns nothing but that he is one; the seed notes why. */
static void test_s2_stranger_learns_nothing(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 2);
    f.who[0].stranger = f.who[1].stranger = true;
    f.who[0].rank_plus_one = 77;
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_did(&f, "0< join_challenge\n0< abort 2: authentication failed\n0 close told\n");
    assert_string_equal(f.m.note[0].what, "refused: the proof is wrong");
    /* Not even when the job has all its ranks, or has failed. */
    seed_bring(&f, 2, NX_SEED_PROVEN);
    seed_bring(&f, 3, NX_SEED_PROVEN);
    text_free(&f.log);
    seed_bring(&f, 1, NX_SEED_CHALLENGED);
    nx_seed_cancel(&f.m);
    assert_non_null(strstr(f.log.data, "\n1 close\n"));
    assert_null(strstr(f.log.data, "1< abort"));
    seed_shut(&f);
}

static void test_wrong_size(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 2);
    f.who[0].size = 3;
    f.who[1].size = 2;
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_did(&f, "0< join_challenge\n0< abort 5: the seed expects 2 ranks, this worker 3\n0 close told\n");
    seed_bring(&f, 1, NX_SEED_PROVEN);
    assert_int_equal(f.m.proven, 1);
    seed_shut(&f);
}

static void test_ranks_that_cannot_be(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 3);
    f.who[0].rank_plus_one = 4;
    f.who[1].rank_plus_one = UINT32_MAX;
    f.who[2].rank_plus_one = f.who[3].rank_plus_one = 2;
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_did(&f, "0< join_challenge\n0< abort 3: rank 3 is not one of the 3 ranks\n0 close told\n");
    seed_bring(&f, 1, NX_SEED_PROVEN);
    seed_did(&f, "1< join_challenge\n1< abort 3: rank 4294967294 is not one of the 3 ranks\n1 close told\n");
    /* Who proves himself first has it, not who says hello first. */
    seed_bring(&f, 2, NX_SEED_CHALLENGED);
    seed_bring(&f, 3, NX_SEED_PROVEN);
    text_free(&f.log);
    seed_say_proof(&f, 2);
    seed_did(&f, "2< abort 3: rank 1 is taken already, by host3\n2 close told\n");
    assert_int_equal(f.m.proven, 1);
    assert_int_equal(f.m.state, NX_SEED_GATHERING);
    seed_shut(&f);
}

static void test_too_many_ranks(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 1);
    seed_bring(&f, 0, NX_SEED_PROVEN);
    text_free(&f.log);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    seed_did(&f, "1< join_challenge\n1< abort 4: the job has all its 1 ranks\n1 close told\n");
    seed_say_listen(&f, 0);
    seed_say_ready(&f, 0);
    text_free(&f.log);
    seed_bring(&f, 2, NX_SEED_PROVEN); /* the job has formed long ago */
    seed_did(&f, "2< join_challenge\n2< abort 4: the job has all its 1 ranks\n2 close told\n");
    assert_int_equal(f.m.state, NX_SEED_FORMED);
    seed_shut(&f);
}

static void test_after_a_failure(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 1);
    nx_seed_cancel(&f.m);
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_did(&f, "0< join_challenge\n0< abort 4: the job has failed to form\n0 close told\n");
    assert_int_equal(f.m.error.status, NEXAR_ECLOSED);
    seed_shut(&f);
}

/* ---- the same worker again ---- */

static void test_worker_that_comes_back(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 2);
    f.who[0].rank_plus_one = f.who[1].rank_plus_one = 2;
    f.who[0].node = f.who[1].node = 99; /* one process, two connections */
    seed_bring(&f, 0, NX_SEED_PROVEN);
    text_free(&f.log);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    seed_did(&f, "1< join_challenge\n0 close\n"); /* it takes the place of the dead one */
    assert_null(f.client[0]);
    assert_int_equal(f.m.proven, 1);
    seed_bring(&f, 2, NX_SEED_PROVEN);
    assert_int_equal(f.rank[1], 1);
    assert_int_equal(f.rank[2], 0);
    seed_shut(&f);
}

static void test_worker_that_comes_back_too_late(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 2);
    f.who[0].node = f.who[2].node = 99;
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    text_free(&f.log);
    seed_bring(&f, 2, NX_SEED_PROVEN);
    seed_did(&f, "2< join_challenge\n2< abort 7: this rank's connection was lost while the job formed\n2 close told\n"
                 "0< abort 7: rank 0 (host0) lost its connection while the job formed\n0 close told\n"
                 "1< abort 7: rank 0 (host0) lost its connection while the job formed\n1 close told\n");
    assert_int_equal(f.m.error.status, NEXAR_EPEER);
    assert_int_equal(f.m.error.peer, 0);
    seed_shut(&f);
}

/* ---- out of place ---- */

static const enum nx_kind all_kinds[] = {
#define XX(name, number, member, lane, fields) NX_KIND_##name,
    NX_MESSAGE_MAP(XX, NX_NO_FIELDS)
#undef XX
};

static bool in_place(enum nx_kind kind, enum nx_seed_stage stage)
{
    return (kind == NX_KIND_ABORT && stage > NX_SEED_SILENT) ||
           (kind == NX_KIND_JOIN_HELLO && stage == NX_SEED_SILENT) ||
           (kind == NX_KIND_JOIN_PROOF && stage == NX_SEED_CHALLENGED) ||
           (kind == NX_KIND_JOIN_LISTEN && stage == NX_SEED_WELCOMED);
}

/* Two others are there: one that has proven itself, and the last one, if ranks are to be given. */
static void bring_with_others(struct fake_seed *f, enum nx_seed_stage stage)
{
    bool given = stage >= NX_SEED_WELCOMED;

    seed_open(f, given ? 2 : 3);
    seed_bring(f, 1, NX_SEED_PROVEN);
    seed_bring(f, 0, given ? NX_SEED_PROVEN : stage);
    if (stage >= NX_SEED_LISTENING) {
        seed_say_listen(f, 0);
        if (stage >= NX_SEED_READY)
            seed_say_listen(f, 1);
        if (stage >= NX_SEED_READY)
            seed_say_ready(f, 0);
    }
    assert_int_equal(f->client[0]->stage, stage);
    text_free(&f->log);
}

static void out_of_place(enum nx_kind kind, enum nx_seed_stage stage)
{
    struct fake_seed f;

    bring_with_others(&f, stage);
    seed_say(&f, 0, &(struct nx_message){.kind = kind});
    if (stage >= NX_SEED_WELCOMED) {
        /* A rank that was given: the job cannot form. */
        assert_int_equal(f.m.error.status, NEXAR_EPROTO);
        assert_int_equal(f.m.error.peer, f.rank[0]);
        seed_did(&f, "1< abort 9: rank 1 (host0) broke the protocol: it sent a message out of place\n1 close told\n"
                     "0< abort 9: rank 1 (host0) broke the protocol: it sent a message out of place\n0 close told\n");
    } else {
        seed_did(&f, "0< abort 9: this is not how one joins\n0 close told\n");
        assert_int_equal(f.m.state, NX_SEED_GATHERING);
        assert_int_equal(f.m.proven, 1);
        assert_int_equal(f.m.strangers, 0);
    }
    seed_shut(&f);
}

static void test_b3_messages_out_of_place(void **state)
{
    (void)state;
    for (enum nx_seed_stage stage = NX_SEED_SILENT; stage <= NX_SEED_READY; stage++) {
        for (size_t i = 0; i < sizeof(all_kinds) / sizeof(all_kinds[0]); i++) {
            if (!in_place(all_kinds[i], stage))
                out_of_place(all_kinds[i], stage);
        }
    }
}

static void test_b3_garbage(void **state)
{
    struct fake_seed f;

    (void)state;
    for (enum nx_seed_stage stage = NX_SEED_SILENT; stage <= NX_SEED_READY; stage++) {
        bring_with_others(&f, stage);
        nx_seed_babbled(&f.m, f.client[0], "unknown\x1b[2J kind");
        assert_int_equal(f.m.state, stage < NX_SEED_WELCOMED ? NX_SEED_GATHERING : NX_SEED_FAILED);
        if (stage < NX_SEED_WELCOMED)
            assert_string_equal(f.m.note[0].what, "unknown?[2J kind"); /* nothing that acts on a terminal */
        seed_shut(&f);
    }
}

static void test_listen_with_bad_addresses(void **state)
{
    struct nx_pair pairs[NX_ADDRESSES_MAX + 1];
    char longest[NX_ADDRESS_SIZE + 1];
    static const size_t counts[] = {0, 1, 2, NX_ADDRESSES_MAX + 1};
    struct fake_seed f;

    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[NX_ADDRESS_SIZE] = '\0';
    for (size_t k = 0; k < 4; k++) {
        struct nx_message m = {.kind = NX_KIND_JOIN_LISTEN};

        for (size_t i = 0; i < counts[k]; i++)
            pairs[i] = (struct nx_pair){.text = nx_text(counts[k] == 1 ? "" : counts[k] == 2 ? longest : "a")};
        m.join_listen.addresses = (struct nx_pairs){.count = counts[k], .items = pairs};
        seed_open(&f, 1);
        seed_bring(&f, 0, NX_SEED_PROVEN);
        seed_say(&f, 0, &m);
        assert_int_equal(f.m.error.status, NEXAR_EPROTO);
        seed_shut(&f);
    }
}

/* ---- vanishing ---- */

static void test_b3_vanishing_at_every_stage(void **state)
{
    struct fake_seed f;

    (void)state;
    for (enum nx_seed_stage stage = NX_SEED_SILENT; stage <= NX_SEED_READY; stage++) {
        bring_with_others(&f, stage);
        nx_seed_gone(&f.m, f.client[0], "it does not answer any more");
        assert_null(f.client[0]);
        if (stage >= NX_SEED_WELCOMED) {
            /* Nothing is said to who is gone. */
            seed_did(&f, "1< abort 7: rank 1 (host0) was lost while the job formed: it does not answer any more\n"
                         "1 close told\n");
            assert_int_equal(f.m.error.peer, 1);
        } else {
            seed_did(&f, "");
            assert_int_equal(f.m.proven, 1);
            /* Its place is free. */
            seed_bring(&f, 2, NX_SEED_PROVEN);
            seed_bring(&f, 3, NX_SEED_PROVEN);
            assert_int_equal(f.m.state, NX_SEED_MESHING);
        }
        seed_shut(&f);
    }
}

static void test_b3_giving_up_at_every_stage(void **state)
{
    struct fake_seed f;

    (void)state;
    for (enum nx_seed_stage stage = NX_SEED_CHALLENGED; stage <= NX_SEED_READY; stage++) {
        bring_with_others(&f, stage);
        seed_say_abort(&f, 0, NX_ABORT_PEER, "Ctrl-C\n");
        assert_null(f.client[0]);
        if (stage >= NX_SEED_WELCOMED)
            seed_did(&f, "1< abort 7: rank 1 (host0) gave up: Ctrl-C?\n1 close told\n"
                         "0< abort 7: rank 1 (host0) gave up: Ctrl-C?\n0 close told\n");
        else if (stage == NX_SEED_PROVEN)
            seed_did(&f, "0< abort 6: the job did not form in time: 2 of 3 ranks have joined\n0 close told\n");
        else
            seed_did(&f, "0 close\n"); /* a stranger: no answer, and it does not stay */
        assert_int_equal(f.m.strangers, 0);
        seed_shut(&f);
    }
}

/* Who runs out of time first is told what the seed knows. */
static void test_time_of_a_worker_is_over(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 4);
    f.who[0].rank_plus_one = 1;
    f.who[1].rank_plus_one = 3;
    f.who[2].rank_plus_one = 3;
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    seed_bring(&f, 2, NX_SEED_PROVEN);
    text_free(&f.log);
    seed_say_abort(&f, 0, NX_ABORT_TIMEOUT, "60 s");
    seed_did(&f, "0< abort 6: the job did not form in time: 2 of 4 ranks have joined, missing: ranks 1, 3; heard of "
                 "others: host2: rank 2 is taken already, by host1\n0 close told\n");
    assert_int_equal(f.m.state, NX_SEED_GATHERING);
    seed_shut(&f);

    bring_with_others(&f, NX_SEED_LISTENING);
    seed_say_abort(&f, 0, NX_ABORT_TIMEOUT, "60 s");
    seed_did(&f, "1< abort 6: the job did not form in time: all 2 ranks have joined, but rank 0 does not listen yet\n"
                 "1 close told\n"
                 "0< abort 6: the job did not form in time: all 2 ranks have joined, but rank 0 does not listen yet\n"
                 "0 close told\n");
    assert_int_equal(f.m.error.status, NEXAR_ETIMEDOUT);
    seed_shut(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_rank),
        cmocka_unit_test(test_three_ranks),
        cmocka_unit_test(test_old_version),
        cmocka_unit_test(test_hello_without_nonce),
        cmocka_unit_test(test_s2_stranger_learns_nothing),
        cmocka_unit_test(test_wrong_size),
        cmocka_unit_test(test_ranks_that_cannot_be),
        cmocka_unit_test(test_too_many_ranks),
        cmocka_unit_test(test_after_a_failure),
        cmocka_unit_test(test_worker_that_comes_back),
        cmocka_unit_test(test_worker_that_comes_back_too_late),
        cmocka_unit_test(test_b3_messages_out_of_place),
        cmocka_unit_test(test_b3_garbage),
        cmocka_unit_test(test_listen_with_bad_addresses),
        cmocka_unit_test(test_b3_vanishing_at_every_stage),
        cmocka_unit_test(test_b3_giving_up_at_every_stage),
        cmocka_unit_test(test_time_of_a_worker_is_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
