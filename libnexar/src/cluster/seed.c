/* cluster/seed.c - the seed as a machine.
 *
 * Owner: whoever calls; it has no thread, no clock and no socket.  One bad client never harms the others: it is
 * refused, noted, and formation goes on; only a rank that was given and is lost ends it.  Once all are ready the job
 * has formed, whatever happens then. */
#include "cluster/seed.h"

#include "base/mem.h"
#include "base/plain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    STRANGERS_MAX = 512,
    PROVE_WITHIN_S = 10,
};

static struct nx_seed_client *client_at(const struct nx_list *pos)
{
    return nx_container_of(pos, struct nx_seed_client, link);
}

void nx_seed_init(struct nx_seed_machine *m, uint32_t size, nx_time timeout, const uint8_t cluster[NX_ID_SIZE],
                  struct nx_bytes ca, const struct nx_seed_ops *ops, void *arg)
{
    *m = (struct nx_seed_machine){
        .size = size, .timeout = timeout, .deadline = NX_NEVER, .formation = 1, .ops = ops, .arg = arg, .ca = ca};
    memcpy(m->cluster, cluster, NX_ID_SIZE);
    nx_list_init(&m->clients);
}

void nx_seed_forget(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    if (client->stage < NX_SEED_PROVEN)
        m->strangers--;
    if (m->by_rank != NULL && client->rank < m->size && m->by_rank[client->rank] == client)
        m->by_rank[client->rank] = NULL;
    m->ops->forget(m->arg, client);
    nx_list_remove(&client->link);
    nx_free(client);
}

void nx_seed_fini(struct nx_seed_machine *m)
{
    while (!nx_list_empty(&m->clients))
        nx_seed_forget(m, client_at(m->clients.next));
    nx_free(m->by_rank);
    m->by_rank = NULL;
}

/* ---- refusing ---- */

/* Ends its connection without a word. */
static void drop(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    m->ops->close(m->arg, client, false);
    nx_seed_forget(m, client);
}

void nx_seed_abort_client(struct nx_seed_machine *m, struct nx_seed_client *client, enum nx_abort_code code,
                          uint32_t rank, const char *reason)
{
    struct nx_message out = {.kind = NX_KIND_ABORT};
    char plain[sizeof(m->error.text)];

    nx_plain(plain, sizeof(plain), reason, strlen(reason));
    out.abort = (struct nx_msg_abort){.code = (uint16_t)code, .rank = rank, .reason = nx_text(plain)};
    m->ops->send(m->arg, client, &out);
    m->ops->close(m->arg, client, true);
    nx_seed_forget(m, client);
}

/* Sends one client away; the others go on. */
static void refuse(struct nx_seed_machine *m, struct nx_seed_client *client, enum nx_abort_code code,
                   const char *to_client, const char *to_us)
{
    nx_seed_note(m, client, to_us);
    nx_seed_abort_client(m, client, code, NEXAR_NO_RANK, to_client);
}

void nx_seed_fail(struct nx_seed_machine *m, nexar_status status, enum nx_abort_code code, uint32_t rank,
                  const char *format, ...)
{
    char text[sizeof(m->error.text)];
    va_list args;

    if (m->state == NX_SEED_FORMED || m->state == NX_SEED_FAILED)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (m->formation > 1) {
        nx_seed_fail_again(m, code, rank, text);
        return;
    }
    nx_error_set(&m->error, status, rank, "%s", text);
    m->state = NX_SEED_FAILED;
    while (!nx_list_empty(&m->clients)) {
        struct nx_seed_client *client = client_at(m->clients.next);

        /* Strangers are told nothing. */
        if (client->stage >= NX_SEED_PROVEN)
            nx_seed_abort_client(m, client, code, rank, text);
        else
            drop(m, client);
    }
}

static void time_out(struct nx_seed_machine *m)
{
    char text[sizeof(m->error.text)];

    nx_seed_progress(m, text, sizeof(text));
    nx_seed_fail(m, NEXAR_ETIMEDOUT, NX_ABORT_TIMEOUT, NEXAR_NO_RANK, "the job did not form in time: %s", text);
}

/* ---- strangers ---- */

/* Makes room: those that mean to join say so at once. */
static bool evict(struct nx_seed_machine *m)
{
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *client = client_at(pos);

        if (client->stage != NX_SEED_SILENT)
            continue;
        nx_seed_note(m, client, "connected, said nothing, and made room for others");
        drop(m, client);
        return true;
    }
    return false;
}

struct nx_seed_client *nx_seed_connected(struct nx_seed_machine *m, void *io, const char *from, nx_time now)
{
    struct nx_seed_client *client;

    if (m->strangers >= STRANGERS_MAX && !evict(m))
        return NULL;
    client = nx_calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    client->io = io;
    client->number = m->number++;
    client->deadline = nx_after(now, PROVE_WITHIN_S * NX_S);
    client->rank = client->wanted_rank = NEXAR_NO_RANK;
    snprintf(client->from, sizeof(client->from), "%s", from);
    nx_list_push_back(&m->clients, &client->link);
    m->strangers++;
    return client;
}

static void on_hello(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_msg_join_hello *hello,
                     const uint8_t *archive, size_t n)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_CHALLENGE};
    char text[96];

    if (hello->version != NX_JOIN_VERSION) {
        snprintf(text, sizeof(text), "the seed speaks version %u of joining, this worker %u", NX_JOIN_VERSION,
                 hello->version);
        refuse(m, client, NX_ABORT_VERSION, text, "it speaks another version of joining");
        return;
    }
    client->wanted_rank = hello->rank_plus_one == 0 ? NEXAR_NO_RANK : hello->rank_plus_one - 1;
    client->local_rank = hello->local_rank_plus_one == 0 ? NEXAR_NO_RANK : hello->local_rank_plus_one - 1;
    client->local_size = hello->local_size;
    client->size = hello->world_size;
    client->formation = hello->formation;
    if (hello->group.len == NX_ID_SIZE)
        memcpy(client->group, hello->group.data, NX_ID_SIZE);
    if (m->ops->challenge(m->arg, client, hello, archive, n, &out.join_challenge) != NEXAR_OK) {
        refuse(m, client, NX_ABORT_PROTOCOL, "this is not a proper hello", nexar_last_error());
        return;
    }
    client->stage = NX_SEED_CHALLENGED;
    m->ops->send(m->arg, client, &out);
}

/* NULL, or why a client that has proven itself cannot be taken. */
static const char *no_place(struct nx_seed_machine *m, const struct nx_seed_client *client, enum nx_abort_code *code,
                            char *text, size_t cap)
{
    const struct nx_seed_client *holder;

    *code = NX_ABORT_FULL;
    if (m->state == NX_SEED_FAILED) {
        snprintf(text, cap, "the job has failed to form");
        return text;
    }
    if (client->formation > 1 || (client->formation == 1) != nx_seed_grows(m) ||
        (nx_seed_grows(m) && (m->formation > 1 || m->state != NX_SEED_GATHERING)))
        return nx_seed_no_room(m, client, code, text, cap);
    if (m->state != NX_SEED_GATHERING) {
        snprintf(text, cap, "the job has all its %u ranks", m->size);
        return text;
    }
    *code = NX_ABORT_MISMATCH;
    if (client->size != 0 && client->size != m->size) {
        snprintf(text, cap, "the seed expects %u ranks, this worker %u", m->size, client->size);
        return text;
    }
    if (client->wanted_rank == NEXAR_NO_RANK)
        return NULL;
    *code = NX_ABORT_RANK;
    if (client->wanted_rank >= m->size) {
        snprintf(text, cap, "rank %u is not one of the %u ranks", client->wanted_rank, m->size);
        return text;
    }
    holder = nx_seed_holder(m, client->wanted_rank);
    if (holder != NULL) {
        snprintf(text, cap, "rank %u is taken already, by %s", client->wanted_rank, holder->from);
        return text;
    }
    return NULL;
}

void nx_seed_leave_place(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    m->proven--;
    client->stage = NX_SEED_CHALLENGED;
    m->strangers++;
    nx_seed_check_short(m);
}

/* The same worker again, since its connection broke and it noticed first: the new connection takes over.  False: that
 * is too late, and formation has failed. */
static bool replace(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *old = client_at(pos);
        uint32_t rank = old->rank;

        if (old == client || old->stage < NX_SEED_PROVEN || memcmp(old->node, client->node, NX_ID_SIZE) != 0)
            continue;
        if (old->stage == NX_SEED_PROVEN) {
            nx_seed_leave_place(m, old);
            drop(m, old);
            return true;
        }
        nx_seed_abort_client(m, client, NX_ABORT_PEER, rank, "this rank's connection was lost while the job formed");
        nx_seed_fail(m, NEXAR_EPEER, NX_ABORT_PEER, rank, "rank %u (%s) lost its connection while the job formed", rank,
                     old->from);
        return false;
    }
    return true;
}

/* ---- members ---- */

static void on_proof(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_msg_join_proof *proof,
                     nx_time now)
{
    enum nx_abort_code code;
    char text[160];

    if (m->ops->admit(m->arg, client, proof) != NEXAR_OK) {
        snprintf(text, sizeof(text), "refused: %s", nexar_last_error());
        refuse(m, client, NX_ABORT_AUTH, "authentication failed", text);
        return;
    }
    if (!replace(m, client))
        return;
    if (client->formation == 1 && (m->formation > 1 || m->state != NX_SEED_GATHERING))
        client->wanted_rank = NEXAR_NO_RANK; /* the ranks follow those that there are */
    if (no_place(m, client, &code, text, sizeof(text)) != NULL) {
        refuse(m, client, code, text, text);
        return;
    }
    m->strangers--;
    client->stage = NX_SEED_PROVEN;
    client->deadline = NX_NEVER;
    m->proven++;
    if (client->formation == 1 && m->state == NX_SEED_FORMED && nx_seed_send_on(m, client))
        return;
    if (m->state != NX_SEED_GATHERING)
        return; /* of a job that grows: it waits */
    if (m->deadline == NX_NEVER)
        m->deadline = nx_after(now, m->timeout);
    if (nx_seed_all_proven(m))
        nx_seed_start_meshing(m);
}

/* It gives up.  One whose time is over is told how far the job was: it has somebody to tell. */
static void on_abort(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_msg_abort *abort)
{
    bool differs = abort->code == NX_ABORT_MISMATCH; /* settings of two ranks */
    char reason[300], progress[400], text[sizeof(m->error.text)];

    nx_plain(reason, sizeof(reason), abort->reason.data, abort->reason.len);
    if (client->stage >= NX_SEED_WELCOMED) {
        if (abort->code == NX_ABORT_TIMEOUT)
            time_out(m);
        else
            nx_seed_fail(m, differs ? NEXAR_ECONFIG : NEXAR_EPEER, differs ? NX_ABORT_MISMATCH : NX_ABORT_PEER,
                         client->rank, "rank %u (%s) gave up: %s", client->rank, client->from, reason);
        return;
    }
    nx_seed_progress(m, progress, sizeof(progress));
    snprintf(text, sizeof(text), "gave up: %s", reason);
    nx_seed_note(m, client, text);
    if (client->stage < NX_SEED_PROVEN) {
        drop(m, client);
        return;
    }
    nx_seed_leave_place(m, client);
    snprintf(text, sizeof(text), "the job did not form in time: %s", progress);
    nx_seed_abort_client(m, client, NX_ABORT_TIMEOUT, NEXAR_NO_RANK, text);
}

/* ---- what happens ---- */

void nx_seed_said(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_message *message,
                  const uint8_t *archive, size_t n, nx_time now)
{
    bool fine = true;

    if (message->kind == NX_KIND_ABORT && client->stage > NX_SEED_SILENT)
        on_abort(m, client, &message->abort);
    else if (message->kind == NX_KIND_JOIN_HELLO && client->stage == NX_SEED_SILENT)
        on_hello(m, client, &message->join_hello, archive, n);
    else if (message->kind == NX_KIND_JOIN_PROOF && client->stage == NX_SEED_CHALLENGED)
        on_proof(m, client, &message->join_proof, now);
    else if (message->kind == NX_KIND_JOIN_LISTEN && client->stage == NX_SEED_WELCOMED)
        fine = nx_seed_on_listen(m, client, &message->join_listen);
    else if (message->kind == NX_KIND_JOIN_READY && client->stage == NX_SEED_LISTENING && m->listening == m->size)
        nx_seed_on_ready(m, client);
    else
        fine = false;
    if (!fine)
        nx_seed_babbled(m, client, "it sent a message out of place");
}

void nx_seed_babbled(struct nx_seed_machine *m, struct nx_seed_client *client, const char *why)
{
    if (client->stage >= NX_SEED_WELCOMED) {
        nx_seed_fail(m, NEXAR_EPROTO, NX_ABORT_PROTOCOL, client->rank, "rank %u (%s) broke the protocol: %s",
                     client->rank, client->from, why);
        return;
    }
    if (client->stage == NX_SEED_PROVEN)
        nx_seed_leave_place(m, client);
    refuse(m, client, NX_ABORT_PROTOCOL, "this is not how one joins", why);
}

void nx_seed_gone(struct nx_seed_machine *m, struct nx_seed_client *client, const char *why)
{
    uint32_t rank = client->rank;
    char text[160], from[NX_ADDRESS_SIZE];
    bool failed = client->stage >= NX_SEED_WELCOMED;

    memcpy(from, client->from, sizeof(from));
    if (!failed) {
        bool proven = client->stage == NX_SEED_PROVEN;

        /* Nobody knows it yet: its place is free again. */
        if (proven)
            nx_seed_leave_place(m, client);
        snprintf(text, sizeof(text), proven ? "joined and went away again: %s" : "connected, did not join: %s", why);
        nx_seed_note(m, client, text);
    }
    nx_seed_forget(m, client);
    if (failed)
        nx_seed_fail(m, NEXAR_EPEER, NX_ABORT_PEER, rank, "rank %u (%s) was lost while the job formed: %s", rank, from,
                     why);
}

nx_time nx_seed_tick(struct nx_seed_machine *m, nx_time now)
{
    nx_time next;

    if (m->state < NX_SEED_FORMED && m->deadline <= now)
        time_out(m);
    next = m->state < NX_SEED_FORMED ? m->deadline : NX_NEVER;
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *client = client_at(pos);

        if (client->deadline <= now)
            refuse(m, client, NX_ABORT_PROTOCOL, "nothing was heard in time",
                   client->stage == NX_SEED_SILENT ? "connected, said nothing" : "said hello, proved nothing");
        else if (client->deadline < next)
            next = client->deadline;
    }
    return next;
}

void nx_seed_cancel(struct nx_seed_machine *m)
{
    nx_seed_fail(m, NEXAR_ECLOSED, NX_ABORT_CLOSED, NEXAR_NO_RANK, "the seed was closed before the job had formed");
}
