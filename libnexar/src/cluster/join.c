/* cluster/join.c - the worker as a machine.
 *
 * Owner: whoever calls; it has no thread, no clock and no socket.  Until the worker is welcome it tries again and
 * again, since the seed may not be there yet; afterwards a lost seed is a failure.
 *
 * A job forms as a whole or not at all.  The seed decides, and only when all are ready: before that a worker may fail
 * by itself, afterwards it asks, and believes what the seed or any other rank says of the decision. */
#include "cluster/join.h"

#include "base/plain.h"

#include <stdio.h>
#include <string.h>

static const nx_time PAUSE_FIRST = 20 * NX_MS, PAUSE_MAX = NX_S;
static const nx_time LEAVE_WITHIN = 2 * NX_S;
/* The seed may let the job form until it notices that our connection is gone, and it takes some seconds to. */
static const nx_time ORPHAN_WITHIN = 8 * NX_S;

void nx_join_init(struct nx_join_machine *m, const char *seed, nx_time now, nx_time deadline, bool patient,
                  const struct nx_join_ops *ops, void *arg)
{
    *m = (struct nx_join_machine){.ops = ops,
                                  .arg = arg,
                                  .deadline = deadline,
                                  .patient = patient,
                                  .started = now,
                                  .retry_at = NX_NEVER,
                                  .leave_by = NX_NEVER,
                                  .pause = PAUSE_FIRST,
                                  .rank = NEXAR_NO_RANK};
    snprintf(m->seed, sizeof(m->seed), "%s", seed);
}

static bool over(const struct nx_join_machine *m)
{
    return m->state == NX_JOIN_DONE || m->state == NX_JOIN_FAILED;
}

static void end(struct nx_join_machine *m, enum nx_join_state state, bool told)
{
    m->state = state;
    m->retry_at = NX_NEVER;
    m->ops->disconnect(m->arg, told);
    m->ops->done(m->arg);
}

static void fail(struct nx_join_machine *m, const nexar_error *error, bool told)
{
    if (over(m))
        return;
    m->error = *error;
    end(m, NX_JOIN_FAILED, told);
}

/* The seed is told, so that it can tell the others.  False: it cannot be. */
static bool say_abort(struct nx_join_machine *m, enum nx_abort_code code, const nexar_error *error)
{
    struct nx_message out = {.kind = NX_KIND_ABORT};
    char reason[sizeof(error->text)];

    if (m->state < NX_JOIN_GREETED || m->state >= NX_JOIN_LEAVING)
        return false;
    nx_plain(reason, sizeof(reason), error->text, strlen(error->text));
    out.abort = (struct nx_msg_abort){.code = (uint16_t)code, .rank = m->rank, .reason = nx_text(reason)};
    m->ops->send(m->arg, &out);
    return true;
}

/* Settings that differ are everybody's business; else it is this rank that is missing. */
static enum nx_abort_code code_of(const nexar_error *error)
{
    return error->status == NEXAR_ECONFIG ? NX_ABORT_MISMATCH : NX_ABORT_PEER;
}

static void give_up(struct nx_join_machine *m, const nexar_error *error)
{
    if (!over(m))
        fail(m, error, say_abort(m, code_of(error), error));
}

static void give_up_last(struct nx_join_machine *m)
{
    nexar_error error = *nx_last_error();

    give_up(m, &error);
}

/* Gives up, and waits a little for what the seed, or another rank, says to that. */
static void leave(struct nx_join_machine *m, const nexar_error *error, nx_time leave_by)
{
    m->error = *error;
    m->leave_by = leave_by;
    m->state = NX_JOIN_LEAVING;
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

static void abort_error(const struct nx_join_machine *m, const struct nx_msg_abort *abort, nexar_error *error)
{
    static const nexar_status statuses[] = {
        [NX_ABORT_VERSION] = NEXAR_EPROTO, [NX_ABORT_AUTH] = NEXAR_EAUTH,       [NX_ABORT_RANK] = NEXAR_EAUTH,
        [NX_ABORT_FULL] = NEXAR_ECONFIG,   [NX_ABORT_MISMATCH] = NEXAR_ECONFIG, [NX_ABORT_TIMEOUT] = NEXAR_ETIMEDOUT,
        [NX_ABORT_PEER] = NEXAR_EPEER,     [NX_ABORT_CLOSED] = NEXAR_EPEER,     [NX_ABORT_PROTOCOL] = NEXAR_EPROTO,
    };
    nexar_status status = NEXAR_EPROTO;
    char reason[400];

    nx_plain(reason, sizeof(reason), abort->reason.data, abort->reason.len);
    if (abort->code < sizeof(statuses) / sizeof(statuses[0]) && statuses[abort->code] != NEXAR_OK)
        status = statuses[abort->code];
    if (abort->code == NX_ABORT_AUTH) {
        nx_error_set(error, status, NEXAR_NO_RANK,
                     "the seed at %s refused this worker: the token or the secret is not the seed's", m->seed);
        nx_error_hint(error, "take the join string, or NEXAR_SECRET, from the job that is running now");
    } else if (abort->code == NX_ABORT_TIMEOUT) {
        nx_error_set(error, status, abort->rank, "%s (says the seed at %s)", reason, m->seed);
        nx_error_hint(error, "see whether all ranks were started, and what became of those that are missing");
    } else {
        nx_error_set(error, status, abort->rank, "the seed at %s ended joining: %s", m->seed, reason);
    }
}

/* Who leaves knows better why, unless only the time was over. */
static void on_abort(struct nx_join_machine *m, const struct nx_msg_abort *abort)
{
    nexar_error error = m->error;

    if (m->patient && abort->code == NX_ABORT_FULL && m->state < NX_JOIN_LISTENING) {
        m->full = true;
        m->ops->disconnect(m->arg, false); /* nx_join_disconnected follows */
        return;
    }
    if (m->state != NX_JOIN_LEAVING || abort->code == NX_ABORT_TIMEOUT)
        abort_error(m, abort, &error);
    fail(m, &error, false);
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
    m->formation = welcome->formation;
    if (m->size > NX_RANKS_MAX || m->rank >= m->size) {
        nx_fail(NEXAR_EPROTO, "the seed at %s gave rank %u of %u", m->seed, m->rank, m->size);
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

/* The job has formed, and grows: others know more. */
static void on_redirect(struct nx_join_machine *m, const struct nx_msg_join_redirect *redirect)
{
    if (m->ops->redirect(m->arg, &redirect->addresses) != NEXAR_OK) {
        give_up_last(m);
        return;
    }
    m->sent_on = true;
    m->ops->disconnect(m->arg, false); /* nx_join_disconnected follows */
}

/* False: it is out of place. */
static bool take(struct nx_join_machine *m, const struct nx_message *message, const uint8_t *archive, size_t n)
{
    if (message->kind == NX_KIND_ABORT && m->state >= NX_JOIN_GREETED) {
        on_abort(m, &message->abort);
    } else if (message->kind == NX_KIND_JOIN_CHALLENGE && m->state == NX_JOIN_GREETED) {
        on_challenge(m, &message->join_challenge, archive, n);
    } else if (message->kind == NX_KIND_JOIN_WELCOME && m->state == NX_JOIN_PROVING) {
        on_welcome(m, &message->join_welcome);
    } else if (message->kind == NX_KIND_JOIN_REDIRECT && m->state == NX_JOIN_PROVING && !m->sent_on) {
        on_redirect(m, &message->join_redirect);
    } else if (message->kind == NX_KIND_ROSTER && m->state == NX_JOIN_LISTENING) {
        m->state = NX_JOIN_MESHING;
        if (m->ops->mesh(m->arg, &message->roster) != NEXAR_OK)
            give_up_last(m);
    } else if (message->kind == NX_KIND_JOIN_GO && m->ready) {
        end(m, NX_JOIN_DONE, false);
    } else {
        return m->state == NX_JOIN_LEAVING; /* it was on its way when we said that we leave */
    }
    return true;
}

void nx_join_said(struct nx_join_machine *m, const struct nx_message *message, const uint8_t *archive, size_t n)
{
    if (!over(m) && !take(m, message, archive, n))
        nx_join_babbled(m, "it sent a message out of place");
}

void nx_join_babbled(struct nx_join_machine *m, const char *why)
{
    nexar_error error;

    nx_error_set(&error, NEXAR_EPROTO, NEXAR_NO_RANK, "the seed at %s broke the protocol: %s", m->seed, why);
    give_up(m, &error);
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
    snprintf(m->last, sizeof(m->last), "%s",
             m->full      ? "the job there has all its ranks"
             : m->sent_on ? "it knows of others that let in"
                          : why);
    m->full = m->sent_on = false;
    if (m->state == NX_JOIN_LEAVING) {
        error = m->error;
        if (m->ready)
            m->leave_by = nx_after(now, ORPHAN_WITHIN);
        else
            fail(m, &error, false);
    } else if (m->state >= NX_JOIN_LISTENING) {
        nx_error_set(&error, NEXAR_EPEER, NEXAR_NO_RANK, "the seed at %s was lost while the job formed: %s", m->seed,
                     why);
        if (m->ready)
            leave(m, &error, nx_after(now, ORPHAN_WITHIN)); /* the others may know that the job has formed */
        else
            fail(m, &error, false);
    } else if (status == NEXAR_EAUTH && !m->patient) {
        nx_error_set(&error, NEXAR_EAUTH, NEXAR_NO_RANK, "the seed at %s is not the one of the join string: %s",
                     m->seed, why);
        fail(m, &error, false);
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
    m->ready = true;
    out.join_ready = (struct nx_msg_join_ready){.rank = m->rank};
    m->ops->send(m->arg, &out);
}

void nx_join_mesh_failed(struct nx_join_machine *m, const nexar_error *error, nx_time now)
{
    if (m->state == NX_JOIN_READY) {
        say_abort(m, code_of(error), error);
        leave(m, error, nx_after(now, LEAVE_WITHIN));
    } else if (m->state != NX_JOIN_LEAVING) {
        give_up(m, error);
    }
}

void nx_join_formed(struct nx_join_machine *m)
{
    if (m->ready && !over(m))
        end(m, NX_JOIN_DONE, false);
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
        give_up(m, &error);
        return;
    }
    nx_error_set(&error, NEXAR_ETIMEDOUT, NEXAR_NO_RANK,
                 "the job did not form in %.3g s; the seed at %s still waits for other ranks", elapsed, m->seed);
    nx_error_hint(&error, "see whether all ranks were started");
    say_abort(m, NX_ABORT_TIMEOUT, &error);
    leave(m, &error, nx_after(now, LEAVE_WITHIN)); /* the seed knows which */
}

nx_time nx_join_tick(struct nx_join_machine *m, nx_time now)
{
    /* The mesh has the same deadline, and a better sentence. */
    nx_time deadline = m->state == NX_JOIN_MESHING ? NX_NEVER : m->deadline;

    if (over(m))
        return NX_NEVER;
    if (m->state != NX_JOIN_LEAVING && deadline <= now)
        time_out(m, now);
    if (m->state == NX_JOIN_LEAVING) {
        if (m->leave_by <= now) {
            nexar_error error = m->error;

            fail(m, &error, false);
        }
        return over(m) ? NX_NEVER : m->leave_by;
    }
    if (m->state == NX_JOIN_WAITING && m->retry_at <= now) {
        m->retry_at = NX_NEVER;
        nx_join_start(m);
    }
    return over(m) ? NX_NEVER : m->retry_at < deadline ? m->retry_at : deadline;
}
