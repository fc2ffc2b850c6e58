/* The worker's machine: deadlines, lost seeds and ranks, and the last word of the seed. */
#include "join_kit.h"

/* The seed knows who is missing. */
static void test_b3_deadline(void **state)
{
    struct fake_join f;

    (void)state;
    for (enum nx_join_state at = NX_JOIN_PROVING; at <= NX_JOIN_READY; at++) {
        bring(&f, at);
        f.now = f.m.deadline;
        if (at == NX_JOIN_MESHING) { /* the mesh has the same deadline */
            assert_int_equal(nx_join_tick(&f.m, f.now), NX_NEVER);
            did(&f, "");
            continue;
        }
        assert_int_equal(nx_join_tick(&f.m, f.now), f.now + 2 * NX_S);
        did(&f, "> abort 6: the job did not form in 60 s; the seed at seed:7000 still waits for other ranks\n");
        assert_int_equal(f.m.state, NX_JOIN_LEAVING);
        say(&f, NX_KIND_JOIN_WELCOME); /* on its way before the seed heard that */
        say(&f, NX_KIND_ROSTER);
        assert_int_equal(f.m.state, NX_JOIN_LEAVING);
        say_abort(&f, NX_ABORT_TIMEOUT, NEXAR_NO_RANK, "2 of 3 ranks have joined, missing: rank 0");
        did(&f, "disconnect\ndone ETIMEDOUT\n");
        failed(&f, NEXAR_ETIMEDOUT, "2 of 3 ranks have joined, missing: rank 0 (says the seed at seed:7000)");
    }
}

static void test_deadline_and_no_answer(void **state)
{
    static const char text[] = "the job did not form in 60 s; the seed at seed:7000 still waits for other ranks";
    struct fake_join f;

    (void)state;
    for (int way = 0; way < 3; way++) {
        bring(&f, NX_JOIN_PROVING);
        f.now = f.m.deadline;
        nx_join_tick(&f.m, f.now);
        if (way == 0)
            nx_join_disconnected(&f.m, NEXAR_EPEER, "it closed the connection", f.now);
        else if (way == 1)
            say_abort(&f, NX_ABORT_PEER, 1, "rank 1 gave up: the job did not form");
        else
            nx_join_tick(&f.m, f.now + 2 * NX_S);
        failed(&f, NEXAR_ETIMEDOUT, text);
    }
}

/* Who is ready may not fail by himself: the seed may have let the job form. */
static void test_b6_ready_and_alone(void **state)
{
    nexar_error lost;
    struct fake_join f;

    (void)state;
    nx_error_set(&lost, NEXAR_EPEER, 2, "rank 2 was lost");
    for (int way = 0; way < 3; way++) {
        bring(&f, NX_JOIN_READY);
        nx_join_disconnected(&f.m, NEXAR_EPEER, "it does not answer any more", f.now);
        did(&f, "");
        assert_int_equal(nx_join_tick(&f.m, f.now), f.now + 8 * NX_S);
        if (way == 0) {
            nx_join_formed(&f.m);
            did(&f, "disconnect\ndone \n");
            assert_int_equal(f.m.state, NX_JOIN_DONE);
        } else if (way == 1) {
            nx_join_tick(&f.m, f.now + 8 * NX_S);
            did(&f, "disconnect\ndone EPEER\n");
            failed(&f, NEXAR_EPEER, "the seed at seed:7000 was lost while the job formed: it does not answer any more");
        } else {
            nx_join_mesh_failed(&f.m, &lost, f.now); /* as well: no reason to wait less */
            assert_int_equal(nx_join_tick(&f.m, f.now), f.now + 8 * NX_S);
            nx_join_cancel(&f.m, NEXAR_ECANCELLED, "given up"); /* by the user: at once */
            did(&f, "disconnect\ndone ECANCELLED\n");
        }
    }
}

static void test_ready_and_a_rank_is_lost(void **state)
{
    nexar_error lost;
    struct fake_join f;

    (void)state;
    nx_error_set(&lost, NEXAR_EPEER, 2, "rank 2 was lost");
    for (int way = 0; way < 4; way++) {
        bring(&f, NX_JOIN_READY);
        nx_join_mesh_failed(&f.m, &lost, f.now);
        did(&f, "> abort 7: rank 2 was lost\n");
        assert_int_equal(nx_join_tick(&f.m, f.now), f.now + 2 * NX_S);
        if (way == 0) {
            say(&f, NX_KIND_JOIN_GO); /* it was too late: the job has formed, and has lost a rank */
            assert_int_equal(f.m.state, NX_JOIN_DONE);
            text_free(&f.log);
        } else if (way == 1) {
            say_abort(&f, NX_ABORT_PEER, 1, "rank 1 gave up: rank 2 was lost");
            failed(&f, NEXAR_EPEER, "rank 2 was lost"); /* we knew better */
        } else if (way == 2) {
            nx_join_tick(&f.m, f.now + 2 * NX_S);
            failed(&f, NEXAR_EPEER, "rank 2 was lost");
        } else {
            nx_join_disconnected(&f.m, NEXAR_EPEER, "cut", f.now);
            assert_int_equal(nx_join_tick(&f.m, f.now), f.now + 8 * NX_S);
            nx_join_formed(&f.m);
            assert_int_equal(f.m.state, NX_JOIN_DONE);
            text_free(&f.log);
        }
    }
    bring(&f, NX_JOIN_MESHING); /* before that the seed cannot have said anything */
    nx_join_formed(&f.m);
    assert_int_equal(f.m.state, NX_JOIN_MESHING);
    nx_join_mesh_failed(&f.m, &lost, f.now);
    did(&f, "> abort 7: rank 2 was lost\ndisconnect told\ndone EPEER\n");
    failed(&f, NEXAR_EPEER, "rank 2 was lost");
}

static void test_cancel(void **state)
{
    struct fake_join f;

    (void)state;
    for (enum nx_join_state at = NX_JOIN_CONNECTING; at <= NX_JOIN_READY; at++) {
        bring(&f, at);
        nx_join_cancel(&f.m, NEXAR_ECANCELLED, "joining was given up");
        did(&f, at < NX_JOIN_GREETED ? "disconnect\ndone ECANCELLED\n"
                                     : "> abort 7: joining was given up\ndisconnect told\ndone ECANCELLED\n");
        failed(&f, NEXAR_ECANCELLED, "joining was given up");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_b3_deadline),
        cmocka_unit_test(test_deadline_and_no_answer),
        cmocka_unit_test(test_b6_ready_and_alone),
        cmocka_unit_test(test_ready_and_a_rank_is_lost),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
