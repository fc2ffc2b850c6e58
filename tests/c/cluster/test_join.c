/* The worker's machine: trying again, joining, failing with a sentence, and the last word of the seed. */
#include "cluster/join.h"

#include "check.h"
#include "text.h"

struct fake_join {
    struct nx_join_machine m;
    nx_time now;
    struct text log;
    const char *hello_fails, *prove_fails, *welcome_fails, *mesh_fails;
};

static void connect_seed(void *arg, uint32_t attempt)
{
    struct fake_join *f = arg;

    text_print(&f->log, "connect %u\n", attempt);
}

static void disconnect(void *arg, bool told)
{
    struct fake_join *f = arg;

    text_print(&f->log, "disconnect%s\n", told ? " told" : "");
}

static void send_message(void *arg, const struct nx_message *message)
{
    struct fake_join *f = arg;

    text_print(&f->log, "> %s", nx_message_name(message->kind));
    if (message->kind == NX_KIND_ABORT) {
        text_print(&f->log, " %u: ", message->abort.code);
        text_add(&f->log, message->abort.reason.data, message->abort.reason.len);
    }
    text_print(&f->log, "\n");
}

static nexar_status or_fail(const char *why)
{
    return why == NULL ? NEXAR_OK : nx_fail(NEXAR_EAUTH, "%s", why);
}

static nexar_status hello(void *arg, struct nx_msg_join_hello *out)
{
    (void)out;
    return or_fail(((struct fake_join *)arg)->hello_fails);
}

static nexar_status prove(void *arg, const struct nx_msg_join_challenge *challenge, const uint8_t *archive, size_t n,
                          struct nx_msg_join_proof *out)
{
    (void)challenge, (void)archive, (void)n, (void)out;
    return or_fail(((struct fake_join *)arg)->prove_fails);
}

static nexar_status welcome(void *arg, const struct nx_msg_join_welcome *w, struct nx_msg_join_listen *out)
{
    (void)w, (void)out;
    return or_fail(((struct fake_join *)arg)->welcome_fails);
}

static nexar_status mesh(void *arg, const struct nx_msg_roster *roster)
{
    struct fake_join *f = arg;

    (void)roster;
    text_print(&f->log, "mesh\n");
    return or_fail(f->mesh_fails);
}

static void done(void *arg)
{
    struct fake_join *f = arg;

    text_print(&f->log, "done %s\n", f->m.state == NX_JOIN_DONE ? "" : nexar_status_name(f->m.error.status));
}

static void open_join(struct fake_join *f)
{
    static const struct nx_join_ops ops = {.connect = connect_seed,
                                           .disconnect = disconnect,
                                           .send = send_message,
                                           .hello = hello,
                                           .prove = prove,
                                           .welcome = welcome,
                                           .mesh = mesh,
                                           .done = done};

    memset(f, 0, sizeof(*f));
    f->now = 1000 * NX_S;
    nx_join_init(&f->m, "seed:7000", f->now, f->now + 60 * NX_S, false, &ops, f);
}

static void did(struct fake_join *f, const char *wanted)
{
    assert_string_equal(f->log.data == NULL ? "" : f->log.data, wanted);
    text_free(&f->log);
}

static void say(struct fake_join *f, enum nx_kind kind)
{
    struct nx_message m = {.kind = kind};

    if (kind == NX_KIND_JOIN_WELCOME)
        m.join_welcome = (struct nx_msg_join_welcome){.rank = 1, .world_size = 3};
    nx_join_said(&f->m, &m, (const uint8_t *)"", 0);
}

static void say_abort(struct fake_join *f, enum nx_abort_code code, uint32_t rank, const char *reason)
{
    struct nx_message m = {.kind = NX_KIND_ABORT};

    m.abort = (struct nx_msg_abort){.code = (uint16_t)code, .rank = rank, .reason = nx_text(reason)};
    nx_join_said(&f->m, &m, (const uint8_t *)"", 0);
}

static void bring(struct fake_join *f, enum nx_join_state state)
{
    open_join(f);
    if (state >= NX_JOIN_CONNECTING)
        nx_join_start(&f->m);
    if (state == NX_JOIN_WAITING)
        nx_join_disconnected(&f->m, NEXAR_ESYSTEM, "no host or no process at that address", f->now);
    if (state >= NX_JOIN_GREETED)
        nx_join_connected(&f->m);
    if (state >= NX_JOIN_PROVING)
        say(f, NX_KIND_JOIN_CHALLENGE);
    if (state >= NX_JOIN_LISTENING)
        say(f, NX_KIND_JOIN_WELCOME);
    if (state >= NX_JOIN_MESHING)
        say(f, NX_KIND_ROSTER);
    if (state >= NX_JOIN_READY)
        nx_join_meshed(&f->m);
    assert_int_equal(f->m.state, state);
    text_free(&f->log);
}

static void failed(struct fake_join *f, nexar_status status, const char *text)
{
    assert_int_equal(f->m.state, NX_JOIN_FAILED);
    assert_int_equal(f->m.error.status, status);
    assert_string_equal(f->m.error.text, text);
    assert_int_equal(nx_join_tick(&f->m, f->now), NX_NEVER);
    /* Nothing that comes later matters. */
    text_free(&f->log);
    say(f, NX_KIND_JOIN_GO);
    say_abort(f, NX_ABORT_AUTH, 0, "x");
    nx_join_meshed(&f->m);
    nx_join_formed(&f->m);
    nx_join_connected(&f->m);
    nx_join_babbled(&f->m, "x");
    nx_join_disconnected(&f->m, NEXAR_EPEER, "x", f->now);
    nx_join_mesh_failed(&f->m, &f->m.error, f->now);
    nx_join_cancel(&f->m, NEXAR_ECANCELLED, "x");
    did(f, "");
    assert_string_equal(f->m.error.text, text);
}

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

static const enum nx_kind all_kinds[] = {
#define XX(name, number, member, lane, fields) NX_KIND_##name,
    NX_MESSAGE_MAP(XX, NX_NO_FIELDS)
#undef XX
};

static bool in_place(enum nx_kind kind, enum nx_join_state state)
{
    return kind == NX_KIND_ABORT || (kind == NX_KIND_JOIN_CHALLENGE && state == NX_JOIN_GREETED) ||
           (kind == NX_KIND_JOIN_WELCOME && state == NX_JOIN_PROVING) ||
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

/* ---- the last word ---- */

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
        cmocka_unit_test(test_joining),
        cmocka_unit_test(test_trying_again),
        cmocka_unit_test(test_losing_the_seed),
        cmocka_unit_test(test_s2_another_seed),
        cmocka_unit_test(test_s2_seed_that_proves_nothing),
        cmocka_unit_test(test_own_failures),
        cmocka_unit_test(test_welcome_that_cannot_be),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_messages_out_of_place),
        cmocka_unit_test(test_b3_deadline),
        cmocka_unit_test(test_deadline_and_no_answer),
        cmocka_unit_test(test_b6_ready_and_alone),
        cmocka_unit_test(test_ready_and_a_rank_is_lost),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
