/* cluster/join.c - the worker as a machine.
 *
 * Owner: whoever calls; it has no thread, no clock and no socket.  Until the worker is welcome it tries again and
 * again, since the seed may not be there yet; afterwards a lost seed is a failure. */
#include "cluster/join.h"

#include <stdio.h>
#include <string.h>

static const nx_time PAUSE_FIRST = 20 * NX_MS, PAUSE_MAX = NX_S;

void nx_join_init(struct nx_join_machine *m, const char *seed, nx_time now, nx_time deadline, bool patient,
                  const struct nx_join_ops *ops, void *arg)
{
    *m = (struct nx_join_machine){.ops = ops,
                                  .arg = arg,
                                  .deadline = deadline,
                                  .patient = patient,
                                  .started = now,
                                  .retry_at = NX_NEVER,
                                  .pause = PAUSE_FIRST,
                                  .rank = NEXAR_NO_RANK};
    snprintf(m->seed, sizeof(m->seed), "%s", seed);
}

static bool over(const struct nx_join_machine *m)
{
    return m->state == NX_JOIN_DONE || m->state == NX_JOIN_FAILED;
}

static void fail(struct nx_join_machine *m, const nexar_error *error)
{
    if (over(m))
        return;
    m->error = *error;
    m->state = NX_JOIN_FAILED;
    m->retry_at = NX_NEVER;
    m->ops->disconnect(m->arg);
    m->ops->done(m->arg);
}

/* Our own failure: the seed is told, so that it can tell the others. */
static void give_up(struct nx_join_machine *m, const nexar_error *error)
{
    struct nx_message out = {.kind = NX_KIND_ABORT};
    char reason[sizeof(error->text)];

    if (over(m))
        return;
    if (m->state >= NX_JOIN_GREETED) {
        snprintf(reason, sizeof(reason), "%s", error->text);
        for (char *c = reason; *c != '\0'; c++)
            *c = (unsigned char)*c < 0x80 ? *c : '?';
        out.abort = (struct nx_msg_abort){.code = NX_ABORT_PEER, .rank = m->rank, .reason = nx_text(reason)};
        m->ops->send(m->arg, &out);
    }
    fail(m, error);
}

static void give_up_last(struct nx_join_machine *m)
{
    nexar_error error = *nx_last_error();

    give_up(m, &error);
}

void nx_join_start(struct nx_join_machine *m)
{
    m->state = NX_JOIN_CONNECTING;
    m->ops->connect(m->arg, m->attempt++);
}

void nx_join_connected(struct nx_join_machine *m)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_HELLO};

    if (m->state != NX_JOIN_CONNECTING)
        return;
    if (m->ops->hello(m->arg, &out.join_hello) != NEXAR_OK) {
        give_up_last(m);
        return;
    }
    m->state = NX_JOIN_GREETED;
    m->ops->send(m->arg, &out);
}

/* ---- messages of the seed ---- */

static void on_abort(struct nx_join_machine *m, const struct nx_msg_abort *abort)
{
    static const nexar_status statuses[] = {
        [NX_ABORT_VERSION] = NEXAR_EPROTO, [NX_ABORT_AUTH] = NEXAR_EAUTH,       [NX_ABORT_RANK] = NEXAR_EAUTH,
        [NX_ABORT_FULL] = NEXAR_ECONFIG,   [NX_ABORT_MISMATCH] = NEXAR_ECONFIG, [NX_ABORT_TIMEOUT] = NEXAR_ETIMEDOUT,
        [NX_ABORT_PEER] = NEXAR_EPEER,     [NX_ABORT_CLOSED] = NEXAR_EPEER,     [NX_ABORT_PROTOCOL] = NEXAR_EPROTO,
    };
    nexar_status status = NEXAR_EPROTO;
    nexar_error error;

    if (abort->code < sizeof(statuses) / sizeof(statuses[0]) && statuses[abort->code] != NEXAR_OK)
        status = statuses[abort->code];
    if (status == NEXAR_EAUTH && abort->code == NX_ABORT_AUTH) {
        nx_error_set(&error, status, NEXAR_NO_RANK,
                     "the seed at %s refused this worker: the token or the secret is not the seed's", m->seed);
        nx_error_hint(&error, "take the join string, or NEXAR_SECRET, from the job that is running now");
    } else {
        nx_error_set(&error, status, abort->rank, "the seed at %s ended joining: %.*s", m->seed,
                     (int)(abort->reason.len < 400 ? abort->reason.len : 400), abort->reason.data);
    }
    fail(m, &error);
}

static void on_challenge(struct nx_join_machine *m, const struct nx_msg_join_challenge *challenge,
                         const uint8_t *archive, size_t n)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_PROOF};

    if (m->ops->prove(m->arg, challenge, archive, n, &out.join_proof) != NEXAR_OK) {
        give_up_last(m);
        return;
    }
    m->state = NX_JOIN_PROVING;
    m->ops->send(m->arg, &out);
}

static void on_welcome(struct nx_join_machine *m, const struct nx_msg_join_welcome *welcome)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_LISTEN};

    m->rank = welcome->rank;
    m->size = welcome->world_size;
    if (welcome->rank >= welcome->world_size) {
        nx_fail(NEXAR_EPROTO, "the seed at %s gave rank %u of %u", m->seed, welcome->rank, welcome->world_size);
        give_up_last(m);
        return;
    }
    if (m->ops->welcome(m->arg, welcome, &out.join_listen) != NEXAR_OK) {
        give_up_last(m);
        return;
    }
    m->state = NX_JOIN_LISTENING;
    m->ops->send(m->arg, &out);
}

void nx_join_said(struct nx_join_machine *m, const struct nx_message *message, const uint8_t *archive, size_t n)
{
    if (over(m))
        return;
    if (message->kind == NX_KIND_ABORT) {
        on_abort(m, &message->abort);
    } else if (message->kind == NX_KIND_JOIN_CHALLENGE && m->state == NX_JOIN_GREETED) {
        on_challenge(m, &message->join_challenge, archive, n);
    } else if (message->kind == NX_KIND_JOIN_WELCOME && m->state == NX_JOIN_PROVING) {
        on_welcome(m, &message->join_welcome);
    } else if (message->kind == NX_KIND_ROSTER && m->state == NX_JOIN_LISTENING) {
        m->state = NX_JOIN_MESHING;
        if (m->ops->mesh(m->arg, &message->roster) != NEXAR_OK)
            give_up_last(m);
    } else if (message->kind == NX_KIND_JOIN_GO && m->state == NX_JOIN_READY) {
        m->state = NX_JOIN_DONE;
        m->ops->disconnect(m->arg);
        m->ops->done(m->arg);
    } else {
        nx_fail(NEXAR_EPROTO, "the seed at %s sent a message out of place", m->seed);
        give_up_last(m);
    }
}

/* ---- everything else ---- */

static void again(struct nx_join_machine *m, nx_time now)
{
    m->state = NX_JOIN_WAITING;
    m->retry_at = nx_after(now, m->pause);
    m->pause = 2 * m->pause < PAUSE_MAX ? 2 * m->pause : PAUSE_MAX;
}

void nx_join_disconnected(struct nx_join_machine *m, nexar_status status, const char *why, nx_time now)
{
    nexar_error error;

    if (over(m))
        return;
    snprintf(m->last, sizeof(m->last), "%s", why);
    if (m->state >= NX_JOIN_LISTENING) {
        nx_error_set(&error, NEXAR_EPEER, NEXAR_NO_RANK, "the seed at %s was lost while the job formed: %s", m->seed,
                     why);
        fail(m, &error);
    } else if (status == NEXAR_EAUTH && !m->patient) {
        nx_error_set(&error, NEXAR_EAUTH, NEXAR_NO_RANK, "the seed at %s is not the one of the join string: %s",
                     m->seed, why);
        fail(m, &error);
    } else {
        again(m, now);
    }
}

void nx_join_meshed(struct nx_join_machine *m)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_READY};

    if (m->state != NX_JOIN_MESHING)
        return;
    m->state = NX_JOIN_READY;
    out.join_ready = (struct nx_msg_join_ready){.rank = m->rank};
    m->ops->send(m->arg, &out);
}

void nx_join_mesh_failed(struct nx_join_machine *m, const nexar_error *error)
{
    give_up(m, error);
}

void nx_join_cancel(struct nx_join_machine *m, nexar_status status, const char *why)
{
    nexar_error error;

    nx_error_set(&error, status, NEXAR_NO_RANK, "%s", why);
    give_up(m, &error);
}

static void time_out(struct nx_join_machine *m, nx_time now)
{
    double elapsed = (double)(now - m->started) / 1e9;
    nexar_error error;

    if (m->state <= NX_JOIN_GREETED) {
        nx_error_set(&error, NEXAR_ETIMEDOUT, NEXAR_NO_RANK, "cannot reach the seed at %s: %s (%u attempts in %.3g s)",
                     m->seed, m->last[0] == '\0' ? "no answer" : m->last, m->attempt, elapsed);
        nx_error_hint(&error, "see whether the seed runs and its UDP port can be reached from here");
    } else {
        nx_error_set(&error, NEXAR_ETIMEDOUT, NEXAR_NO_RANK,
                     "the job did not form in %.3g s; the seed at %s still waits for other ranks", elapsed, m->seed);
        nx_error_hint(&error, "see whether all ranks were started");
    }
    give_up(m, &error);
}

nx_time nx_join_tick(struct nx_join_machine *m, nx_time now)
{
    if (over(m))
        return NX_NEVER;
    if (m->deadline <= now) {
        time_out(m, now);
        return NX_NEVER;
    }
    if (m->state == NX_JOIN_WAITING && m->retry_at <= now) {
        m->retry_at = NX_NEVER;
        nx_join_start(m);
    }
    return m->retry_at < m->deadline ? m->retry_at : m->deadline;
}
