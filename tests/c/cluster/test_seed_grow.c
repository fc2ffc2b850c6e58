/* The seed of a job that grows: formations after the first, of members that come back and of those who are new. */
#include "seed_kit.h"

static void grow(struct fake_seed *f, uint32_t size)
{
    seed_open(f, size);
    f->m.authority = nx_bytes("key", 3);
    for (int i = 0; i < SEED_CLIENTS; i++)
        f->who[i].formation = 1;
}

/* A job of two members, 0 and 1, has formed elsewhere; this is the seed that its members use from now on. */
static void grown(struct fake_seed *f)
{
    grow(f, 1);
    nx_seed_take_over(&f->m);
}

/* Client `i` comes back for the next formation, as `rank`. */
static void come_back(struct fake_seed *f, int i, uint32_t rank)
{
    f->who[i].formation = f->m.formation;
    f->who[i].rank_plus_one = rank + 1;
    seed_bring(f, i, NX_SEED_PROVEN);
}

/* Everybody up to the end. */
static void finish(struct fake_seed *f, const int *clients, int n)
{
    for (int i = 0; i < n; i++)
        seed_say_listen(f, clients[i]);
    for (int i = 0; i < n; i++)
        seed_say_ready(f, clients[i]);
    assert_int_equal(f->m.state, NX_SEED_FORMED);
    for (int i = 0; i < n; i++)
        assert_null(f->client[clients[i]]);
    text_free(&f->log);
}

static void test_first_formation_is_as_any(void **state)
{
    struct fake_seed f;

    (void)state;
    grow(&f, 2);
    seed_bring(&f, 0, NX_SEED_PROVEN);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    seed_bring(&f, 2, NX_SEED_PROVEN); /* too late: it waits */
    assert_int_equal(f.m.state, NX_SEED_MESHING);
    assert_int_equal(nx_seed_waiting(&f.m), 1);
    f.elsewhere = true;
    seed_say_listen(&f, 0);
    seed_say_listen(&f, 1);
    seed_say_ready(&f, 0);
    text_free(&f.log);
    seed_say_ready(&f, 1);
    seed_did(&f, "formed 2\n0< join_go\n0 close told\n1< join_go\n1 close told\n2< join_redirect\n2 close told\n");
    assert_int_equal(f.m.formation, 2);
    assert_int_equal(f.m.proven, 0);
    seed_bring(&f, 3, NX_SEED_PROVEN);
    seed_did(&f, "3< join_challenge\n3< join_redirect\n3 close told\n");
    seed_shut(&f);
}

static void test_members_and_new_ones_form_it(void **state)
{
    struct fake_seed f;

    (void)state;
    grown(&f);
    for (int i = 0; i < 3; i++)
        seed_bring(&f, i, NX_SEED_PROVEN); /* new; two of them will do */
    come_back(&f, 10, 1);                  /* before the seed is told to expect it */
    assert_int_equal(nx_seed_waiting(&f.m), 3);
    text_free(&f.log);
    nx_seed_expect(&f.m, 4, 2, f.now);
    seed_did(&f, "");
    come_back(&f, 11, 0);
    seed_did(&f, "11< join_challenge\nfull\n11< join_welcome 0 of 4\n10< join_welcome 1 of 4\n"
                 "0< join_welcome 2 of 4\n1< join_welcome 3 of 4\n");
    finish(&f, (int[]){10, 11, 0, 1}, 4);
    assert_int_equal(nx_seed_waiting(&f.m), 1);
    assert_int_equal(f.m.formation, 3);

    /* And again, smaller: a member leaves, nobody joins. */
    nx_seed_expect(&f.m, 1, 1, f.now);
    come_back(&f, 12, 0);
    finish(&f, (int[]){12}, 1);
    assert_int_equal(nx_seed_waiting(&f.m), 1);
    assert_int_equal(f.m.proven, 1);
    seed_shut(&f);
}

/* Whoever is lost: the members are told, and may come back; those who are new wait on. */
static void test_one_that_fails(void **state)
{
    struct fake_seed f;

    (void)state;
    for (int lost = 0; lost < 4; lost++) {
        grown(&f);
        seed_bring(&f, 0, NX_SEED_PROVEN);
        seed_bring(&f, 1, NX_SEED_PROVEN);
        seed_bring(&f, 2, NX_SEED_PROVEN);
        nx_seed_expect(&f.m, 4, 2, f.now);
        come_back(&f, 10, 0);
        if (lost < 3)
            come_back(&f, 11, 1);
        assert_int_equal(f.m.state, lost < 3 ? NX_SEED_MESHING : NX_SEED_GATHERING);
        if (lost == 0)
            nx_seed_gone(&f.m, f.client[11], "closed"); /* a member */
        else if (lost == 1)
            nx_seed_gone(&f.m, f.client[0], "closed"); /* one who is new, and has got a rank */
        else if (lost == 2)
            nx_seed_pass(&f.m, "the members do not want it");
        else
            nx_seed_tick(&f.m, f.now + 61 * NX_S); /* a member that does not come */
        assert_int_equal(f.m.state, NX_SEED_FORMED);
        assert_int_equal(f.m.formation, 3);
        assert_null(f.client[10]);
        assert_non_null(f.client[2]); /* it had no rank */
        assert_int_equal(nx_seed_waiting(&f.m), lost == 3 ? 3 : 1);
        text_free(&f.log);

        /* One that comes for the one that is over is told so; the next is as good as any. */
        f.who[12].formation = 2;
        f.who[12].rank_plus_one = 1;
        seed_bring(&f, 12, NX_SEED_PROVEN);
        seed_did(&f, "12< join_challenge\n12< abort 7: the formation of the job that this rank comes back for is over\n"
                     "12 close told\n");
        nx_seed_expect(&f.m, 3, 2, f.now);
        come_back(&f, 13, 0);
        come_back(&f, 14, 1);
        finish(&f, (int[]){13, 14, lost == 3 ? 0 : 2}, 3);
        seed_shut(&f);
    }
}

/* Those who were counted have gone again: nobody waits for a time-out. */
static void test_too_few_are_new(void **state)
{
    struct fake_seed f;

    (void)state;
    grown(&f);
    seed_bring(&f, 0, NX_SEED_PROVEN);
    come_back(&f, 10, 0);
    text_free(&f.log);
    nx_seed_expect(&f.m, 3, 1, f.now); /* already */
    assert_int_equal(f.m.state, NX_SEED_FORMED);
    seed_did(&f, "10< abort 7: of 2 that were to join the job 1 are left\n10 close told\n");
    nx_seed_expect(&f.m, 2, 1, f.now);
    assert_int_equal(f.m.state, NX_SEED_GATHERING);
    nx_seed_gone(&f.m, f.client[0], "closed"); /* meanwhile */
    assert_int_equal(f.m.state, NX_SEED_FORMED);
    assert_int_equal(f.m.formation, 4);
    assert_int_equal(f.m.proven, 0);
    seed_bring(&f, 1, NX_SEED_PROVEN);
    nx_seed_expect(&f.m, 2, 1, f.now);
    seed_say_abort(&f, 1, NX_ABORT_PEER, "no patience");
    assert_int_equal(f.m.state, NX_SEED_FORMED);
    seed_shut(&f);
}

static void refused(struct fake_seed *f, uint32_t formation, uint32_t rank_plus_one, const char *why)
{
    f->who[20].formation = formation;
    f->who[20].rank_plus_one = rank_plus_one;
    seed_bring(f, 20, NX_SEED_CHALLENGED);
    text_free(&f->log);
    seed_say_proof(f, 20);
    seed_did(f, why);
    assert_null(f->client[20]);
}

static void test_who_has_no_place(void **state)
{
    struct fake_seed f;

    (void)state;
    grown(&f);
    seed_bring(&f, 0, NX_SEED_PROVEN);
    refused(&f, 0, 0, "20< abort 4: the job has all its 1 ranks\n20 close told\n");
    refused(&f, 7, 1, "20< abort 7: the formation of the job that this rank comes back for is over\n20 close told\n");
    refused(&f, 2, 0, "20< abort 3: it does not say which rank it comes back as\n20 close told\n");
    come_back(&f, 10, 5); /* it may be, as far as is known */
    text_free(&f.log);
    nx_seed_expect(&f.m, 3, 2, f.now);
    seed_did(&f, "10< abort 3: it is none of those that come back\n10 close told\n");
    refused(&f, 2, 3, "20< abort 3: rank 2 is not one of the 2 that come back\n20 close told\n");
    come_back(&f, 11, 1);
    refused(&f, 2, 2, "20< abort 3: rank 1 is back already\n20 close told\n");
    come_back(&f, 12, 0);
    assert_int_equal(f.m.state, NX_SEED_MESHING);
    refused(&f, 2, 1, "20< abort 7: the formation of the job that this rank comes back for is over\n20 close told\n");
    seed_shut(&f);

    grow(&f, 2); /* the first formation: all have it one way */
    refused(&f, 0, 0,
            "20< abort 5: the job grows, as its seed has it, and this worker has it otherwise (NEXAR_ELASTIC)\n"
            "20 close told\n");
    seed_shut(&f);
    seed_open(&f, 2);
    refused(&f, 1, 0,
            "20< abort 5: the job does not grow, as its seed has it, and this worker has it otherwise (NEXAR_ELASTIC)\n"
            "20 close told\n");
    seed_shut(&f);
}

static void test_so_many_may_wait(void **state)
{
    struct fake_seed f;

    (void)state;
    grown(&f);
    for (int i = 0; i < 64; i++)
        seed_bring(&f, i, NX_SEED_PROVEN);
    assert_int_equal(nx_seed_waiting(&f.m), 64);
    text_free(&f.log);
    seed_bring(&f, 64, NX_SEED_PROVEN);
    seed_did(&f, "64< join_challenge\n64< abort 4: 64 wait already to join the job\n64 close told\n");
    nx_seed_gone(&f.m, f.client[7], "closed");
    seed_bring(&f, 65, NX_SEED_PROVEN);
    assert_int_equal(nx_seed_waiting(&f.m), 64);
    nx_seed_moved(&f.m);
    assert_int_equal(nx_seed_waiting(&f.m), 64);
    f.elsewhere = true; /* another member lets them in now */
    nx_seed_moved(&f.m);
    assert_int_equal(nx_seed_waiting(&f.m), 0);
    assert_int_equal(f.m.proven, 0);
    seed_shut(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_formation_is_as_any),
        cmocka_unit_test(test_members_and_new_ones_form_it),
        cmocka_unit_test(test_one_that_fails),
        cmocka_unit_test(test_too_few_are_new),
        cmocka_unit_test(test_who_has_no_place),
        cmocka_unit_test(test_so_many_may_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
