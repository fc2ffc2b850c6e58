/* The worker's machine: trying again, joining, and failing with a sentence. */
#include "join_kit.h"

/* ---- all goes well ---- */

static void test_joining(void **state)
{
    struct fake_join f;

    (void)state;
    open_join(&f);
    nx_join_start(&f.m);
    nx_join_connected(&f.m);
    did(&f, "connect 0\n> join_hello\n");
    say(&f, NX_KIND_JOIN_CHALLENGE);
    say(&f, NX_KIND_JOIN_WELCOME);
    did(&f, "> join_proof\n> join_listen\n");
    assert_int_equal(f.m.rank, 1);
    say(&f, NX_KIND_ROSTER);
    did(&f, "mesh\n");
    nx_join_meshed(&f.m);
    say(&f, NX_KIND_JOIN_GO);
    did(&f, "> join_ready\ndisconnect\ndone \n");
    assert_int_equal(f.m.state, NX_JOIN_DONE);
    nx_join_disconnected(&f.m, NEXAR_ECLOSED, "it closed the connection", f.now);
    did(&f, "");
}

/* Pauses grow to a second; what was tried last is in the text. */
static void test_trying_again(void **state)
{
    nx_time pause = 20 * NX_MS;
    struct fake_join f;

    (void)state;
    open_join(&f);
    nx_join_start(&f.m);
    for (uint32_t i = 1; i < 20; i++) {
        char line[32];

        nx_join_disconnected(&f.m, NEXAR_ESYSTEM, "no host or no process at that address", f.now);
        text_free(&f.log);
        assert_int_equal(nx_join_tick(&f.m, f.now), f.now + pause);
        did(&f, "");
        f.now += pause;
        assert_int_equal(nx_join_tick(&f.m, f.now), f.m.deadline);
        snprintf(line, sizeof(line), "connect %u\n", i);
        did(&f, line);
        pause = 2 * pause < NX_S ? 2 * pause : NX_S;
    }
    f.now = f.m.deadline;
    nx_join_tick(&f.m, f.now);
    did(&f, "disconnect\ndone ETIMEDOUT\n");
    failed(&f, NEXAR_ETIMEDOUT,
           "cannot reach the seed at seed:7000: no host or no process at that address (20 attempts in 60 s)");
}

/* It may begin before the seed does, and lose it until it is welcome. */
static void test_losing_the_seed(void **state)
{
    struct fake_join f;

    (void)state;
    for (enum nx_join_state at = NX_JOIN_CONNECTING; at <= NX_JOIN_MESHING; at++) {
        if (at == NX_JOIN_WAITING)
            continue;
        bring(&f, at);
        nx_join_disconnected(&f.m, NEXAR_EPEER, "it does not answer any more", f.now);
        if (at <= NX_JOIN_PROVING) {
            assert_int_equal(f.m.state, NX_JOIN_WAITING);
            nx_join_tick(&f.m, f.now + NX_S);
            did(&f, "connect 1\n");
        } else {
            failed(&f, NEXAR_EPEER, "the seed at seed:7000 was lost while the job formed: it does not answer any more");
        }
        text_free(&f.log);
    }
}

/* ---- who the seed is ---- */

static void test_s2_another_seed(void **state)
{
    struct fake_join f;

    (void)state;
    bring(&f, NX_JOIN_CONNECTING);
    nx_join_disconnected(&f.m, NEXAR_EAUTH, "no certificate has the fingerprint", f.now);
    did(&f, "disconnect\ndone EAUTH\n"); /* nothing was said */
    failed(&f, NEXAR_EAUTH,
           "the seed at seed:7000 is not the one of the join string: no certificate has the "
           "fingerprint");
    bring(&f, NX_JOIN_CONNECTING);
    f.m.patient = true; /* it is the one of yesterday, and will go */
    nx_join_disconnected(&f.m, NEXAR_EAUTH, "no certificate has the fingerprint", f.now);
    assert_int_equal(f.m.state, NX_JOIN_WAITING);
    text_free(&f.log);
}

static void test_s2_seed_that_proves_nothing(void **state)
{
    struct fake_join f;

    (void)state;
    bring(&f, NX_JOIN_GREETED);
    f.prove_fails = "whoever answers does not know the secret\xc3\xbc";
    say(&f, NX_KIND_JOIN_CHALLENGE);
    did(&f, "> abort 7: whoever answers does not know the secret??\ndisconnect told\ndone EAUTH\n"); /* and no proof */
    failed(&f, NEXAR_EAUTH, f.prove_fails);
}

/* ---- what goes wrong here ---- */

static void test_own_failures(void **state)
{
    struct fake_join f;

    (void)state;
    bring(&f, NX_JOIN_CONNECTING);
    f.hello_fails = "no random bytes";
    nx_join_connected(&f.m);
    did(&f, "disconnect\ndone EAUTH\n");
    failed(&f, NEXAR_EAUTH, "no random bytes");

    bring(&f, NX_JOIN_PROVING);
    f.welcome_fails = "no port";
    say(&f, NX_KIND_JOIN_WELCOME);
    did(&f, "> abort 7: no port\ndisconnect told\ndone EAUTH\n");
    failed(&f, NEXAR_EAUTH, "no port");

    bring(&f, NX_JOIN_LISTENING);
    f.mesh_fails = "no list";
    say(&f, NX_KIND_ROSTER);
    did(&f, "mesh\n> abort 7: no list\ndisconnect told\ndone EAUTH\n");
    failed(&f, NEXAR_EAUTH, "no list");
}

static void test_welcome_that_cannot_be(void **state)
{
    static const uint32_t bad[][2] = {{3, 3}, {0, 0}, {0, NX_RANKS_MAX + 1}, {UINT32_MAX, UINT32_MAX}};
    struct fake_join f;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct nx_message m = {.kind = NX_KIND_JOIN_WELCOME};
        char text[128];

        bring(&f, NX_JOIN_PROVING);
        m.join_welcome = (struct nx_msg_join_welcome){.rank = bad[i][0], .world_size = bad[i][1]};
        nx_join_said(&f.m, &m, (const uint8_t *)"", 0);
        snprintf(text, sizeof(text), "the seed at seed:7000 gave rank %u of %u", bad[i][0], bad[i][1]);
        failed(&f, NEXAR_EPROTO, text);
    }
}

/* ---- what the seed says ---- */

static void test_refusals(void **state)
{
    static const struct {
        enum nx_abort_code code;
        nexar_status status;
        const char *text;
    } refusals[] = {
        {NX_ABORT_VERSION, NEXAR_EPROTO, "the seed at seed:7000 ended joining: because?"},
        {NX_ABORT_AUTH, NEXAR_EAUTH,
         "the seed at seed:7000 refused this worker: the token or the secret is not the seed's"},
        {NX_ABORT_RANK, NEXAR_EAUTH, "the seed at seed:7000 ended joining: because?"},
        {NX_ABORT_FULL, NEXAR_ECONFIG, "the seed at seed:7000 ended joining: because?"},
        {NX_ABORT_MISMATCH, NEXAR_ECONFIG, "the seed at seed:7000 ended joining: because?"},
        {NX_ABORT_TIMEOUT, NEXAR_ETIMEDOUT, "because? (says the seed at seed:7000)"},
        {NX_ABORT_PEER, NEXAR_EPEER, "the seed at seed:7000 ended joining: because?"},
        {NX_ABORT_CLOSED, NEXAR_EPEER, "the seed at seed:7000 ended joining: because?"},
        {NX_ABORT_PROTOCOL, NEXAR_EPROTO, "the seed at seed:7000 ended joining: because?"},
        {0, NEXAR_EPROTO, "the seed at seed:7000 ended joining: because?"},
        {10, NEXAR_EPROTO, "the seed at seed:7000 ended joining: because?"},
        {65535, NEXAR_EPROTO, "the seed at seed:7000 ended joining: because?"},
    };
    struct fake_join f;

    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        for (enum nx_join_state at = NX_JOIN_GREETED; at <= NX_JOIN_READY; at++) {
            bring(&f, at);
            say_abort(&f, refusals[i].code, 2, "because\n");
            assert_int_equal(f.m.error.peer, refusals[i].code == NX_ABORT_AUTH ? NEXAR_NO_RANK : 2);
            assert_string_equal(strstr(f.log.data, "disconnect"), /* at once: there is nothing to say */
                                refusals[i].status == NEXAR_EPROTO      ? "disconnect\ndone EPROTO\n"
                                : refusals[i].status == NEXAR_EAUTH     ? "disconnect\ndone EAUTH\n"
                                : refusals[i].status == NEXAR_ECONFIG   ? "disconnect\ndone ECONFIG\n"
                                : refusals[i].status == NEXAR_ETIMEDOUT ? "disconnect\ndone ETIMEDOUT\n"
                                                                        : "disconnect\ndone EPEER\n");
            failed(&f, refusals[i].status, refusals[i].text);
        }
    }
}

/* The job has formed, and grows: the way leads on to one of its members, again and again if need be. */
static void test_sent_on(void **state)
{
    struct fake_join f;

    (void)state;
    bring(&f, NX_JOIN_PROVING);
    for (uint32_t i = 1; i <= 3; i++) {
        say(&f, NX_KIND_JOIN_REDIRECT);
        did(&f, "redirect 0\ndisconnect\n");
        say(&f, NX_KIND_JOIN_WELCOME); /* it was on its way: the connection is given up already */
        f.m.state = NX_JOIN_PROVING;
        text_free(&f.log);
        nx_join_disconnected(&f.m, NEXAR_EPEER, "closed", f.now);
        assert_int_equal(f.m.state, NX_JOIN_WAITING);
        assert_string_equal(f.m.last, "it knows of others that let in");
        f.now += NX_S;
        nx_join_tick(&f.m, f.now);
        nx_join_connected(&f.m);
        say(&f, NX_KIND_JOIN_CHALLENGE);
        assert_int_equal(f.m.state, NX_JOIN_PROVING);
        text_free(&f.log);
    }
    f.redirect_fails = "nowhere";
    say(&f, NX_KIND_JOIN_REDIRECT);
    failed(&f, NEXAR_EAUTH, "nowhere");
}

static const enum nx_kind all_kinds[] = {
#define XX(name, number, member, lane, fields) NX_KIND_##name,
    NX_MESSAGE_MAP(XX, NX_NO_FIELDS)
#undef XX
};

static bool in_place(enum nx_kind kind, enum nx_join_state state)
{
    return kind == NX_KIND_ABORT || (kind == NX_KIND_JOIN_CHALLENGE && state == NX_JOIN_GREETED) ||
           ((kind == NX_KIND_JOIN_WELCOME || kind == NX_KIND_JOIN_REDIRECT) && state == NX_JOIN_PROVING) ||
           (kind == NX_KIND_ROSTER && state == NX_JOIN_LISTENING) ||
           (kind == NX_KIND_JOIN_GO && state == NX_JOIN_READY);
}

static void test_messages_out_of_place(void **state)
{
    struct fake_join f;

    (void)state;
    for (enum nx_join_state at = NX_JOIN_GREETED; at <= NX_JOIN_READY; at++) {
        for (size_t i = 0; i < sizeof(all_kinds) / sizeof(all_kinds[0]); i++) {
            if (in_place(all_kinds[i], at))
                continue;
            bring(&f, at);
            say(&f, all_kinds[i]);
            failed(&f, NEXAR_EPROTO, "the seed at seed:7000 broke the protocol: it sent a message out of place");
        }
        bring(&f, at);
        nx_join_babbled(&f.m, "unknown kind");
        failed(&f, NEXAR_EPROTO, "the seed at seed:7000 broke the protocol: unknown kind");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joining),
        cmocka_unit_test(test_trying_again),
        cmocka_unit_test(test_losing_the_seed),
        cmocka_unit_test(test_s2_another_seed),
        cmocka_unit_test(test_s2_seed_that_proves_nothing),
        cmocka_unit_test(test_own_failures),
        cmocka_unit_test(test_welcome_that_cannot_be),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_sent_on),
        cmocka_unit_test(test_messages_out_of_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
