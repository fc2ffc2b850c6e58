/* join_kit.h - the machine of a worker with nobody around it: what it asks for is written down. */
#ifndef NX_TEST_JOIN_KIT_H
#define NX_TEST_JOIN_KIT_H

#include "check.h"
#include "cluster/join.h"
#include "text.h"

struct fake_join {
    struct nx_join_machine m;
    nx_time now;
    struct text log;
    const char *hello_fails, *prove_fails, *welcome_fails, *redirect_fails, *mesh_fails;
};

static inline void connect_seed(void *arg, uint32_t attempt)
{
    struct fake_join *f = arg;

    text_print(&f->log, "connect %u\n", attempt);
}

static inline void disconnect(void *arg, bool told)
{
    struct fake_join *f = arg;

    text_print(&f->log, "disconnect%s\n", told ? " told" : "");
}

static inline void send_message(void *arg, const struct nx_message *message)
{
    struct fake_join *f = arg;

    text_print(&f->log, "> %s", nx_message_name(message->kind));
    if (message->kind == NX_KIND_ABORT) {
        text_print(&f->log, " %u: ", message->abort.code);
        text_add(&f->log, message->abort.reason.data, message->abort.reason.len);
    }
    text_print(&f->log, "\n");
}

static inline nexar_status or_fail(const char *why)
{
    return why == NULL ? NEXAR_OK : nx_fail(NEXAR_EAUTH, "%s", why);
}

static inline nexar_status hello(void *arg, struct nx_msg_join_hello *out)
{
    (void)out;
    return or_fail(((struct fake_join *)arg)->hello_fails);
}

static inline nexar_status prove(void *arg, const struct nx_msg_join_challenge *challenge, const uint8_t *archive,
                                 size_t n, struct nx_msg_join_proof *out)
{
    (void)challenge, (void)archive, (void)n, (void)out;
    return or_fail(((struct fake_join *)arg)->prove_fails);
}

static inline nexar_status welcome(void *arg, const struct nx_msg_join_welcome *w, struct nx_msg_join_listen *out)
{
    (void)w, (void)out;
    return or_fail(((struct fake_join *)arg)->welcome_fails);
}

static inline nexar_status redirect(void *arg, const struct nx_pairs *addresses)
{
    struct fake_join *f = arg;

    text_print(&f->log, "redirect %zu\n", addresses->count);
    return or_fail(f->redirect_fails);
}

static inline nexar_status mesh(void *arg, const struct nx_msg_roster *roster)
{
    struct fake_join *f = arg;

    (void)roster;
    text_print(&f->log, "mesh\n");
    return or_fail(f->mesh_fails);
}

static inline void done(void *arg)
{
    struct fake_join *f = arg;

    text_print(&f->log, "done %s\n", f->m.state == NX_JOIN_DONE ? "" : nexar_status_name(f->m.error.status));
}

static inline void open_join(struct fake_join *f)
{
    static const struct nx_join_ops ops = {.connect = connect_seed,
                                           .disconnect = disconnect,
                                           .send = send_message,
                                           .hello = hello,
                                           .prove = prove,
                                           .welcome = welcome,
                                           .redirect = redirect,
                                           .mesh = mesh,
                                           .done = done};

    memset(f, 0, sizeof(*f));
    f->now = 1000 * NX_S;
    nx_join_init(&f->m, "seed:7000", f->now, f->now + 60 * NX_S, false, &ops, f);
}

static inline void did(struct fake_join *f, const char *wanted)
{
    assert_string_equal(f->log.data == NULL ? "" : f->log.data, wanted);
    text_free(&f->log);
}

static inline void say(struct fake_join *f, enum nx_kind kind)
{
    struct nx_message m = {.kind = kind};

    if (kind == NX_KIND_JOIN_WELCOME)
        m.join_welcome = (struct nx_msg_join_welcome){.rank = 1, .world_size = 3};
    nx_join_said(&f->m, &m, (const uint8_t *)"", 0);
}

static inline void say_abort(struct fake_join *f, enum nx_abort_code code, uint32_t rank, const char *reason)
{
    struct nx_message m = {.kind = NX_KIND_ABORT};

    m.abort = (struct nx_msg_abort){.code = (uint16_t)code, .rank = rank, .reason = nx_text(reason)};
    nx_join_said(&f->m, &m, (const uint8_t *)"", 0);
}

static inline void bring(struct fake_join *f, enum nx_join_state state)
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

static inline void failed(struct fake_join *f, nexar_status status, const char *text)
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

#endif
