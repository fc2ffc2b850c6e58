/* The seed's machine with many: ranks by wish and by group, floods of strangers, deadlines and what they say. */
#include "seed_kit.h"

#include "cluster/talk.h"
#include "rng.h"

/* ---- ranks ---- */

static const uint8_t groups[4][NX_ID_SIZE] = {{0}, {1}, {2}, {3}};

static void test_requested_ranks(void **state)
{
    static const uint32_t wishes[5] = {4, 0, 1, 0, 0}; /* + 1; 0: none */
    static const uint32_t ranks[5] = {3, 1, 0, 2, 4};
    struct fake_seed f;

    (void)state;
    seed_open(&f, 5);
    for (int i = 0; i < 5; i++) {
        f.who[i].rank_plus_one = wishes[i];
        seed_bring(&f, i, NX_SEED_PROVEN);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(f.rank[i], ranks[i]);
    seed_shut(&f);
}

/* Ranks of one launcher follow each other, in their local order, whenever they come. */
static void test_b5_blocks_by_group(void **state)
{
    static const struct {
        int group;
        uint32_t local_plus_one, rank;
    } who[8] = {{2, 2, 1}, {1, 3, 5}, {2, 1, 0}, {1, 1, 3}, {3, 0, 6}, {2, 3, 2}, {1, 2, 4}, {3, 0, 7}};
    struct fake_seed f;

    (void)state;
    seed_open(&f, 8);
    for (int i = 0; i < 8; i++) {
        f.who[i].group = groups[who[i].group];
        f.who[i].local_rank_plus_one = who[i].local_plus_one;
        seed_bring(&f, i, NX_SEED_PROVEN);
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(f.rank[i], who[i].rank);
    seed_shut(&f);
}

/* Whatever they want and whenever they come: all ranks, each once, wishes heeded, groups in order among the others. */
static void test_b5_any_mixture(void **state)
{
    struct rng rng = {.state = 1};

    (void)state;
    for (int round = 0; round < 3000; round++) {
        uint32_t size = 1 + (uint32_t)rng_below(&rng, 16), order[16], block[4] = {0};
        bool taken[16] = {false}, wish[16] = {false};
        struct fake_seed f;

        seed_open(&f, size);
        for (uint32_t i = 0; i < size; i++) {
            uint32_t want = (uint32_t)rng_below(&rng, size);

            order[i] = i;
            f.who[i].group = groups[rng_below(&rng, 4)];
            f.who[i].local_rank_plus_one = ++block[f.who[i].group[0]];
            if (rng_below(&rng, 3) == 0 && !wish[want]) {
                wish[want] = true;
                f.who[i].rank_plus_one = want + 1;
            }
        }
        for (uint32_t i = size; i > 1; i--) {
            uint32_t k = (uint32_t)rng_below(&rng, i), swap = order[i - 1];

            order[i - 1] = order[k];
            order[k] = swap;
        }
        for (uint32_t i = 0; i < size; i++)
            seed_bring(&f, (int)order[i], NX_SEED_PROVEN);
        for (uint32_t i = 0; i < size; i++) {
            assert_true(f.rank[i] < size);
            assert_false(taken[f.rank[i]]);
            taken[f.rank[i]] = true;
            if (f.who[i].rank_plus_one != 0)
                assert_int_equal(f.rank[i], f.who[i].rank_plus_one - 1);
            for (uint32_t k = 0; k < i; k++) {
                if (f.who[i].group == f.who[k].group && f.who[i].rank_plus_one + f.who[k].rank_plus_one == 0)
                    assert_true(f.rank[k] < f.rank[i]);
            }
        }
        seed_shut(&f);
    }
}

/* ---- many ranks ---- */

static struct {
    struct nx_seed_client *client[NX_RANKS_MAX];
    uint32_t welcomes, rosters, gos;
} crowd;

static nexar_status crowd_admit(void *arg, struct nx_seed_client *client, const struct nx_msg_join_proof *proof)
{
    uint32_t i = (uint32_t)(uintptr_t)client->io;

    (void)arg, (void)proof;
    memcpy(client->node, &i, sizeof(i));
    return NEXAR_OK;
}

static void crowd_send(void *arg, struct nx_seed_client *client, const struct nx_message *message)
{
    (void)arg, (void)client;
    crowd.welcomes += message->kind == NX_KIND_JOIN_WELCOME;
    crowd.gos += message->kind == NX_KIND_JOIN_GO;
    if (message->kind == NX_KIND_ROSTER && crowd.rosters++ == 0) {
        size_t n;

        assert_int_equal(message->roster.addresses.count, NX_RANKS_MAX * NX_ADDRESSES_MAX);
        assert_ok(nx_message_size(message, &n));
        assert_true(n + NX_FRAME_HEADER <= NX_TALK_MEMBER_MAX);
    }
}

static void crowd_close(void *arg, struct nx_seed_client *client, bool told)
{
    (void)arg, (void)client, (void)told;
}

static void crowd_forget(void *arg, struct nx_seed_client *client)
{
    (void)arg;
    crowd.client[(uintptr_t)client->io] = NULL;
}

static void crowd_say(struct fake_seed *f, uint32_t i, const struct nx_message *message)
{
    nx_seed_said(&f->m, crowd.client[i], message, (const uint8_t *)"", 0, f->now);
}

static void test_as_many_as_can_be(void **state)
{
    static const struct nx_seed_ops ops = {.challenge = seed_challenge,
                                           .admit = crowd_admit,
                                           .send = crowd_send,
                                           .close = crowd_close,
                                           .full = seed_full,
                                           .forget = crowd_forget};
    struct nx_message listen = {.kind = NX_KIND_JOIN_LISTEN};
    struct nx_pair pairs[NX_ADDRESSES_MAX];
    char longest[NX_ADDRESS_SIZE] = "";
    struct fake_seed f;

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    seed_open(&f, NX_RANKS_MAX);
    f.m.ops = &ops;
    for (uint32_t i = 0; i < NX_ADDRESSES_MAX; i++)
        pairs[i] = (struct nx_pair){.key = i, .text = nx_text(longest)};
    listen.join_listen.addresses = (struct nx_pairs){.count = NX_ADDRESSES_MAX, .items = pairs};
    for (uint32_t i = 0; i < NX_RANKS_MAX; i++) {
        struct nx_message hello = seed_hello(&f, 0);

        crowd.client[i] = nx_seed_connected(&f.m, (void *)(uintptr_t)i, "host", f.now);
        assert_non_null(crowd.client[i]);
        crowd_say(&f, i, &hello);
        crowd_say(&f, i, &(struct nx_message){.kind = NX_KIND_JOIN_PROOF});
    }
    assert_int_equal(crowd.welcomes, NX_RANKS_MAX);
    for (uint32_t i = 0; i < NX_RANKS_MAX; i++)
        crowd_say(&f, i, &listen);
    assert_int_equal(crowd.rosters, NX_RANKS_MAX);
    for (uint32_t i = 0; i < NX_RANKS_MAX; i++)
        crowd_say(&f, i, &(struct nx_message){.kind = NX_KIND_JOIN_READY});
    assert_int_equal(crowd.gos, NX_RANKS_MAX);
    assert_int_equal(f.m.state, NX_SEED_FORMED);
    seed_shut(&f);
}

/* ---- strangers ---- */

/* 200 that say nothing are in nobody's way; each costs little, and goes after 10 s. */
static void test_b3_silent_strangers(void **state)
{
    struct nx_mem_stats before, after;
    struct fake_seed f;

    (void)state;
    seed_open(&f, 2);
    nx_mem_stats(&before);
    for (int i = 0; i < 200; i++)
        assert_non_null(nx_seed_connected(&f.m, (void *)(intptr_t)(i % SEED_CLIENTS + 1), "stranger", f.now));
    nx_mem_stats(&after);
    assert_true((after.bytes - before.bytes) / 200 < 8192);
    f.now += 9 * NX_S;
    assert_int_equal(nx_seed_tick(&f.m, f.now), f.now + NX_S);
    seed_bring(&f, 0, NX_SEED_PROVEN);
    text_free(&f.log);
    f.now += NX_S;
    assert_int_equal(nx_seed_tick(&f.m, f.now), f.now + 59 * NX_S); /* formation's, from the first that joined */
    assert_int_equal(f.m.strangers, 0);
    nx_mem_stats(&after);
    assert_true(after.bytes - before.bytes < 8192);
    assert_non_null(strstr(f.log.data, "1< abort 9: nothing was heard in time\n1 close told\n"));
    seed_bring(&f, 1, NX_SEED_PROVEN);
    assert_int_equal(f.m.state, NX_SEED_MESHING);
    seed_shut(&f);
}

/* More than the seed cares to know: the oldest silent one makes room, so that those who speak are heard. */
static void test_b3_flood(void **state)
{
    struct fake_seed f;
    uint32_t at_most;

    (void)state;
    seed_open(&f, 2);
    for (int i = 0; i < 5000; i++)
        assert_non_null(nx_seed_connected(&f.m, (void *)(intptr_t)(i % 32 + 3), "stranger", f.now));
    at_most = f.m.strangers;
    assert_int_equal(at_most, 512);
    seed_bring(&f, 0, NX_SEED_CHALLENGED);
    for (int i = 0; i < 5000; i++)
        assert_non_null(nx_seed_connected(&f.m, (void *)(intptr_t)(i % 32 + 3), "stranger", f.now));
    assert_int_equal(f.m.strangers, at_most);
    seed_say_proof(&f, 0);
    assert_int_equal(f.m.proven, 1);
    /* What they did has not driven out what was heard of others. */
    assert_int_equal(f.m.notes, 1);
    assert_int_equal(f.m.note[0].count, 9489);
    seed_shut(&f);
}

/* All have said hello, and none can be told from an honest one: then there is no room until one is too late. */
static void test_b3_flood_of_hellos(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 2);
    for (int i = 0; i < 512; i++) {
        struct nx_message hello = seed_hello(&f, 0);
        struct nx_seed_client *client = nx_seed_connected(&f.m, (void *)(intptr_t)5, "stranger", f.now);

        nx_seed_said(&f.m, client, &hello, (const uint8_t *)"", 0, f.now);
    }
    assert_null(nx_seed_connected(&f.m, (void *)(intptr_t)1, "host", f.now));
    f.now += 10 * NX_S;
    nx_seed_tick(&f.m, f.now);
    assert_string_equal(f.m.note[0].what, "said hello, proved nothing");
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    assert_int_equal(f.m.state, NX_SEED_MESHING);
    seed_shut(&f);
}

/* ---- deadlines ---- */

static void check_text(const struct fake_seed *f, const char *wanted)
{
    assert_int_equal(f->m.error.status, NEXAR_ETIMEDOUT);
    assert_string_equal(f->m.error.text, wanted);
}

static void test_deadline_names_the_missing(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 6);
    f.now += 3600 * NX_S; /* nobody has joined: nobody waits */
    assert_int_equal(nx_seed_tick(&f.m, f.now), NX_NEVER);
    f.who[0].rank_plus_one = 1;
    f.who[1].rank_plus_one = 5;
    f.who[2].rank_plus_one = 5;
    f.who[3].stranger = f.who[4].stranger = true;
    f.who[5].size = 8;
    for (int i = 0; i < 6; i++)
        seed_bring(&f, i, NX_SEED_PROVEN);
    f.now += 60 * NX_S - 1;
    assert_int_equal(nx_seed_tick(&f.m, f.now), f.now + 1);
    text_free(&f.log);
    nx_seed_tick(&f.m, ++f.now);
    check_text(&f, "the job did not form in time: 2 of 6 ranks have joined, missing: ranks 1, 2, 3, 5; heard of "
                   "others: host5: the seed expects 6 ranks, this worker 8; 2 times, last from host4: refused: the "
                   "proof is wrong; host2: rank 4 is taken already, by host1");
    assert_int_equal(f.client[0] == NULL && f.client[1] == NULL, true);
    assert_non_null(strstr(f.log.data, "0< abort 6: the job did not form in time: 2 of 6"));
    seed_shut(&f);
}

/* Without wishes nobody knows which rank is missing, only how many. */
static void test_deadline_without_wishes(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 3);
    f.who[0].rank_plus_one = 1;
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    nx_seed_gone(&f.m, f.client[1], "it was killed");
    seed_bring(&f, 1, NX_SEED_PROVEN);
    nx_seed_tick(&f.m, f.now + 60 * NX_S);
    check_text(&f, "the job did not form in time: 2 of 3 ranks have joined; heard of others: host1: joined and went "
                   "away again: it was killed");
    seed_shut(&f);
}

static void test_deadline_of_many(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 1000);
    f.who[0].rank_plus_one = 3;
    seed_bring(&f, 0, NX_SEED_PROVEN);
    nx_seed_tick(&f.m, f.now + 60 * NX_S);
    check_text(&f, "the job did not form in time: 1 of 1000 ranks has joined, missing: ranks 0, 1, 3, 4, 5, 6, 7, 8, "
                   "9, 10, 11, 12, 13, 14, 15, 16, ...");
    seed_shut(&f);
}

static void test_deadline_while_meshing(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 3);
    for (int i = 0; i < 3; i++)
        seed_bring(&f, i, NX_SEED_PROVEN);
    seed_say_listen(&f, 1);
    nx_seed_tick(&f.m, f.now + 60 * NX_S);
    check_text(&f, "the job did not form in time: all 3 ranks have joined, but ranks 0, 2 do not listen yet");
    seed_shut(&f);

    seed_open(&f, 3);
    for (int i = 0; i < 3; i++)
        seed_bring(&f, i, NX_SEED_PROVEN);
    for (int i = 0; i < 3; i++)
        seed_say_listen(&f, i);
    seed_say_ready(&f, 0);
    seed_say_ready(&f, 2);
    nx_seed_tick(&f.m, f.now + 60 * NX_S);
    check_text(&f,
               "the job did not form in time: all 3 ranks have joined, but rank 1 is not connected with all others");
    seed_shut(&f);
}

static void test_closed_early(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 3);
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_bring(&f, 1, NX_SEED_SILENT);
    text_free(&f.log);
    nx_seed_cancel(&f.m);
    seed_did(&f, "0< abort 8: the seed was closed before the job had formed\n0 close told\n1 close\n");
    assert_int_equal(f.m.error.status, NEXAR_ECLOSED);
    assert_int_equal(nx_seed_tick(&f.m, f.now), NX_NEVER);
    seed_shut(&f);
}

/* ---- memory ---- */

static void test_no_memory(void **state)
{
    struct fake_seed f;

    (void)state;
    seed_open(&f, 2);
    nx_mem_fail_at(1);
    assert_null(nx_seed_connected(&f.m, (void *)(intptr_t)1, "host", f.now));
    for (uint64_t nth = 1; nth <= 2; nth++) { /* ranks */
        seed_bring(&f, 0, NX_SEED_PROVEN);
        seed_bring(&f, 1, NX_SEED_CHALLENGED);
        nx_mem_fail_at(nth);
        seed_say_proof(&f, 1);
        assert_int_equal(f.m.error.status, NEXAR_ENOMEM);
        seed_shut(&f);
        seed_open(&f, 2);
    }
    for (uint64_t nth = 1; nth <= 3; nth++) { /* roster */
        seed_bring(&f, 0, NX_SEED_PROVEN);
        seed_bring(&f, 1, NX_SEED_PROVEN);
        seed_say_listen(&f, 0);
        nx_mem_fail_at(nth);
        seed_say_listen(&f, 1);
        assert_int_equal(f.m.error.status, NEXAR_ENOMEM);
        seed_shut(&f);
        seed_open(&f, 2);
    }
    nx_mem_fail_at(0);
    seed_shut(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requested_ranks),
        cmocka_unit_test(test_b5_blocks_by_group),
        cmocka_unit_test(test_b5_any_mixture),
        cmocka_unit_test(test_as_many_as_can_be),
        cmocka_unit_test(test_b3_silent_strangers),
        cmocka_unit_test(test_b3_flood),
        cmocka_unit_test(test_b3_flood_of_hellos),
        cmocka_unit_test(test_deadline_names_the_missing),
        cmocka_unit_test(test_deadline_without_wishes),
        cmocka_unit_test(test_deadline_of_many),
        cmocka_unit_test(test_deadline_while_meshing),
        cmocka_unit_test(test_closed_early),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
