/* Members in virtual time, one case after the other as docs/MEMBERSHIP.md tells them, and a death or a stop at every
 * position of an agreement.  Each case says who is in the list at the end. */
#include "check.h"
#include "memsim.h"

enum { S = 1000 }; /* times are in milliseconds */

static struct memsim world; /* it is large */
static char case_name[100];

static void begin(uint64_t seed, uint32_t n, uint32_t hosts)
{
    memsim_init(&world, seed, n, &(struct memsim_options){.hosts = hosts, .by_wire = true});
}

static void at(uint32_t ms, enum memsim_call what, uint32_t a, uint32_t b, uint32_t span)
{
    memsim_at(&world, ms * NX_MS, what, a, b, span * NX_MS);
}

static void split(uint32_t ms, uint32_t until, uint64_t side)
{
    bool sides[MEMSIM_SLOTS] = {0};

    for (uint32_t u = 0; u < 64; u++)
        sides[u] = (side >> u & 1) != 0;
    memsim_split_at(&world, ms * NX_MS, until == 0 ? NX_NEVER : until * NX_MS, sides);
}

static void run(uint32_t ms)
{
    memsim_run(&world, ms * NX_MS);
    if (world.fault[0] != '\0')
        fail_msg("%s: %s", case_name, world.fault);
}

/* `u` is a member, and its list is exactly `list`, in this order. */
static void has(uint32_t u, const char *list)
{
    const struct nx_entry *e = nx_acceptor_entry(&world.member[u].m.own);
    char got[300] = "";

    for (uint32_t i = 0; i < e->roll->n; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%u", i == 0 ? "" : " ",
                 world.member[memsim_slot(&world, &e->roll->uid[i])].number);
    if (!world.member[u].alive || world.member[u].m.state != NX_MEMBER_IN || strcmp(got, list) != 0)
        fail_msg("%s: %u is in state %d and has %s, not %s", case_name, u, world.member[u].m.state, got, list);
}

static void is(uint32_t u, enum nx_member_state state, int64_t epoch)
{
    if (world.member[u].m.state != state || memsim_epoch(&world, u) != epoch)
        fail_msg("%s: %u is in state %d of epoch %d, not %d of %d", case_name, u, world.member[u].m.state,
                 (int)memsim_epoch(&world, u), state, (int)epoch);
}

static void end(void)
{
    memsim_fini(&world);
}

static void test_one_of_two_dies(void **state)
{
    (void)state;
    for (uint32_t dead = 0; dead < 2; dead++) { /* on one host: the kernel says it, and the record is there */
        begin(1, 2, 1);
        at(S, MEMSIM_CRASH, dead, 0, 0);
        run(9 * S);
        has(1 - dead, dead == 0 ? "1" : "0");
        end();
    }
    begin(1, 2, 2); /* elsewhere: half with rank 0 is a quorum, the other half is not */
    at(S, MEMSIM_CRASH, 1, 0, 0);
    run(9 * S);
    has(0, "0");
    end();
    begin(1, 2, 2);
    at(S, MEMSIM_CRASH, 0, 0, 0);
    run(9 * S);
    is(1, NX_MEMBER_IN, 0);
    end();
}

static void test_v4_a_partition_makes_no_two_clusters(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin(seed, 4, 4);
        split(S, 20 * S, 3);
        run(12 * S);
        has(0, "0 1");
        has(1, "0 1");
        is(2, NX_MEMBER_IN, 0);
        is(3, NX_MEMBER_IN, 0);
        run(30 * S); /* healed: the others are told */
        is(2, NX_MEMBER_EXCLUDED, 1);
        is(3, NX_MEMBER_EXCLUDED, 1);
        has(1, "0 1");
        end();
    }
}

static void test_seven_of_eight_die_at_once(void **state)
{
    (void)state;
    begin(1, 8, 1);
    for (uint32_t u = 0; u < 7; u++)
        at(S, MEMSIM_CRASH, u, 0, 0);
    run(9 * S);
    has(7, "7");
    end();
}

static void test_everybody_suspects_everybody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin(seed, 6, 6);
        at(S, MEMSIM_STORM, 0, 0, 0);
        at(5 * S, MEMSIM_HEAL_ALL, 0, 0, 0);
        run(12 * S);
        for (uint32_t u = 0; u < 6; u++)
            is(u, NX_MEMBER_IN, 0);
        end();
    }
}

/* All who live and were not told otherwise have one list; returns it by one who has it. */
static uint32_t one_list(void)
{
    uint32_t some = UINT32_MAX;

    for (uint32_t u = 0; u < world.n; u++) {
        const struct memsim_member *m = &world.member[u];

        if (!m->alive || m->m.state != NX_MEMBER_IN)
            continue;
        if (some == UINT32_MAX)
            some = u;
        if (memsim_epoch(&world, u) != memsim_epoch(&world, some))
            fail_msg("%s: %u is in epoch %d, %u in %d", case_name, u, (int)memsim_epoch(&world, u), some,
                     (int)memsim_epoch(&world, some));
    }
    assert_int_not_equal(some, UINT32_MAX);
    for (uint32_t u = 0; u < world.n; u++) {
        const struct memsim_member *m = &world.member[u];
        bool in = nx_entry_rank(nx_acceptor_entry(&world.member[some].m.own), &m->m.uid) != NX_NO_RANK_IN;

        if (in != (m->alive && m->m.state == NX_MEMBER_IN))
            fail_msg("%s: %u is in state %d, and in the list: %d", case_name, u, m->m.state, in);
    }
    return some;
}

/* Rank 5 dies; while that is agreed upon, `u` dies or stops after each of its messages.  Then a new process comes in
 * its place. */
static void every_position(uint32_t u, uint32_t hosts, uint32_t freeze)
{
    for (uint32_t k = 0; k <= 40; k++) {
        snprintf(case_name, sizeof(case_name), "%u %s after message %u, %u hosts", u, freeze ? "stops" : "dies", k,
                 hosts);
        begin(k + 1, 6, hosts);
        at(900, MEMSIM_BOMB, u, k, freeze);
        at(S, MEMSIM_CRASH, 5, 0, 0);
        run(13 * S);
        world.member[u].bomb = false; /* it has not sent that many */
        at(13 * S, MEMSIM_JOIN, 0, 0, 0);
        at(15 * S, MEMSIM_WAVE_CHECKPOINT, 0, 0, 0);
        run(22 * S);
        assert_int_equal(world.n, 7);
        is(6, NX_MEMBER_IN, memsim_epoch(&world, one_list()));
        assert_false(world.member[5].alive);
        end();
    }
}

static void test_v5_death_at_every_position(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < 5; u++) {
        every_position(u, 6, 0);
        every_position(u, 2, 0);
        every_position(u, 1, 0);
    }
}

static void test_stop_at_every_position(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < 3; u++) {
        every_position(u, 6, 600);
        every_position(u, 6, 2400);
        every_position(u, 1, 4000);
    }
}

static void test_partition_heals_in_mid_agreement(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(case_name, sizeof(case_name), "healed after %u ms", 1600 + i * 50);
        begin(50 + i, 5, 5);
        split(S, S + 1600 + i * 50, 3);
        run(14 * S);
        one_list();
        end();
    }
}

static void test_e2_grow_from_2_to_6_and_back(void **state)
{
    (void)state;
    begin(3, 2, 2);
    for (uint32_t i = 0; i < 4; i++)
        at(S, MEMSIM_JOIN, 0, 0, 0);
    at(3 * S, MEMSIM_WAVE_CHECKPOINT, 0, 0, 0); /* as many as there are, not more */
    run(5 * S);
    has(0, "0 1 1000 1001");
    at(5 * S, MEMSIM_WAVE_CHECKPOINT, 0, 0, 0);
    run(8 * S);
    for (uint32_t u = 0; u < 6; u++)
        has(u, "0 1 1000 1001 1002 1003");
    for (uint32_t u = 0; u < 6; u++) /* E4: rank 0 leaves too, with three others */
        at(8 * S, MEMSIM_CHECKPOINT, u, u == 0 || u >= 3, 0);
    run(12 * S);
    has(1, "1 1000");
    has(2, "1 1000");
    is(0, NX_MEMBER_GONE, memsim_epoch(&world, 1));
    is(5, NX_MEMBER_GONE, memsim_epoch(&world, 1));
    assert_true(nx_member_may_go(&world.member[0].m, memsim_local(&world, 0)));
    at(12 * S, MEMSIM_WAVE_CHECKPOINT, 0, 1000, 0); /* all want to leave: the first of them stays */
    run(15 * S);
    has(1, "1");
    is(2, NX_MEMBER_GONE, memsim_epoch(&world, 1));
    end();
}

static void test_all_joiners_are_cut_off_at_once(void **state)
{
    (void)state;
    begin(4, 2, 2);
    at(S, MEMSIM_JOIN, 0, 0, 0);
    at(S, MEMSIM_JOIN, 0, 0, 0);
    at(3 * S, MEMSIM_WAVE_CHECKPOINT, 0, 0, 0);
    for (uint32_t ms = 3000; world.member[0].m.own.n < 2 && ms < 5000; ms += 5)
        run(ms);
    has(0, "0 1 1000 1001");
    split((uint32_t)(world.now / NX_MS), 0, 3);
    run(14 * S);
    has(0, "0 1");
    has(1, "0 1");
    end();
}

static void test_who_was_frozen_too_long_is_told(void **state)
{
    (void)state;
    begin(1, 4, 4);
    at(S, MEMSIM_FREEZE, 2, 0, 4000);
    run(9 * S);
    has(0, "0 1 3");
    is(2, NX_MEMBER_EXCLUDED, 1);
    end();
    begin(1, 4, 4); /* a short stop costs nothing */
    at(S, MEMSIM_FREEZE, 2, 0, 900);
    run(9 * S);
    for (uint32_t u = 0; u < 4; u++)
        is(u, NX_MEMBER_IN, 0);
    end();
}

static void test_h3_silence_is_noticed(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < 5; u++) { /* also of the one that would coordinate */
        begin(u + 7, 5, 5);
        split(S, 0, UINT64_C(1) << u);
        run(9 * S);
        has((u + 1) % 5, (const char *[]){"1 2 3 4", "0 2 3 4", "0 1 3 4", "0 1 2 4", "0 1 2 3"}[u]);
        is(u, NX_MEMBER_IN, 0);
        end();
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_of_two_dies),
        cmocka_unit_test(test_v4_a_partition_makes_no_two_clusters),
        cmocka_unit_test(test_seven_of_eight_die_at_once),
        cmocka_unit_test(test_everybody_suspects_everybody),
        cmocka_unit_test(test_v5_death_at_every_position),
        cmocka_unit_test(test_stop_at_every_position),
        cmocka_unit_test(test_partition_heals_in_mid_agreement),
        cmocka_unit_test(test_e2_grow_from_2_to_6_and_back),
        cmocka_unit_test(test_all_joiners_are_cut_off_at_once),
        cmocka_unit_test(test_who_was_frozen_too_long_is_told),
        cmocka_unit_test(test_h3_silence_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
