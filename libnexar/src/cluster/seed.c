/* cluster/seed.c - the seed as a machine.
 *
 * Owner: whoever calls; it has no thread, no clock and no socket.  One bad client never harms the others: it is
 * refused, noted, and formation goes on; only a rank that was given and is lost ends it. */
#include "cluster/seed.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    STRANGERS_MAX = 512,
    PROVE_WITHIN_S = 10,
};

void nx_seed_init(struct nx_seed_machine *m, uint32_t size, nx_time timeout, const uint8_t cluster[NX_ID_SIZE],
                  struct nx_bytes ca, const struct nx_seed_ops *ops, void *arg)
{
    *m = (struct nx_seed_machine){
        .size = size, .timeout = timeout, .deadline = NX_NEVER, .ops = ops, .arg = arg, .ca = ca};
    memcpy(m->cluster, cluster, NX_ID_SIZE);
    nx_list_init(&m->clients);
}

static void forget(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    if (client->stage < NX_SEED_PROVEN)
        m->strangers--;
    m->ops->forget(m->arg, client);
    nx_list_remove(&client->link);
    nx_free(client);
}

void nx_seed_fini(struct nx_seed_machine *m)
{
    while (!nx_list_empty(&m->clients))
        forget(m, nx_container_of(m->clients.next, struct nx_seed_client, link));
}

struct nx_seed_client *nx_seed_connected(struct nx_seed_machine *m, void *io, const char *from, nx_time now)
{
    struct nx_seed_client *client;

    if (m->strangers >= STRANGERS_MAX)
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

/* ---- refusing ---- */

static void note(struct nx_seed_machine *m, const struct nx_seed_client *client, const char *what)
{
    snprintf(m->heard[m->heard_count++ % NX_SEED_HEARD], sizeof(m->heard[0]), "%s: %s", client->from, what);
}

static void say_abort(struct nx_seed_machine *m, struct nx_seed_client *client, enum nx_abort_code code, uint32_t rank,
                      const char *reason)
{
    struct nx_message out = {.kind = NX_KIND_ABORT};

    out.abort = (struct nx_msg_abort){.code = (uint16_t)code, .rank = rank, .reason = nx_text(reason)};
    m->ops->send(m->arg, client, &out);
    m->ops->close(m->arg, client);
}

/* Sends one client away; the others go on. */
static void refuse(struct nx_seed_machine *m, struct nx_seed_client *client, enum nx_abort_code code,
                   const char *to_client, const char *to_us)
{
    note(m, client, to_us);
    say_abort(m, client, code, NEXAR_NO_RANK, to_client);
    forget(m, client);
}

/* Ends formation: everybody is told why. */
static void fail(struct nx_seed_machine *m, nexar_status status, enum nx_abort_code code, uint32_t rank,
                 const char *format, ...) NX_PRINTF(5, 6);

static void fail(struct nx_seed_machine *m, nexar_status status, enum nx_abort_code code, uint32_t rank,
                 const char *format, ...)
{
    char text[sizeof(m->error.text)];
    va_list args;

    if (m->state == NX_SEED_FORMED || m->state == NX_SEED_FAILED)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    nx_error_set(&m->error, status, rank, "%s", text);
    m->state = NX_SEED_FAILED;
    while (!nx_list_empty(&m->clients)) {
        struct nx_seed_client *client = nx_container_of(m->clients.next, struct nx_seed_client, link);

        /* Strangers are told nothing. */
        if (client->stage >= NX_SEED_PROVEN)
            say_abort(m, client, code, rank, text);
        else
            m->ops->close(m->arg, client);
        forget(m, client);
    }
}

/* ---- joining ---- */

static void on_hello(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_msg_join_hello *hello,
                     const uint8_t *archive, size_t n)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_CHALLENGE};
    char text[96];

    if (hello->version != NX_JOIN_VERSION) {
        snprintf(text, sizeof(text), "the seed speaks version %u of joining, this worker %u", NX_JOIN_VERSION,
                 hello->version);
        refuse(m, client, NX_ABORT_VERSION, text, "it speaks another version");
        return;
    }
    client->wanted_rank = hello->rank_plus_one == 0 ? NEXAR_NO_RANK : hello->rank_plus_one - 1;
    client->local_rank = hello->local_rank_plus_one == 0 ? NEXAR_NO_RANK : hello->local_rank_plus_one - 1;
    client->local_size = hello->local_size;
    client->size = hello->world_size;
    if (hello->group.len == NX_ID_SIZE)
        memcpy(client->group, hello->group.data, NX_ID_SIZE);
    if (m->ops->challenge(m->arg, client, hello, archive, n, &out.join_challenge) != NEXAR_OK) {
        refuse(m, client, NX_ABORT_PROTOCOL, "this is not a proper hello", nexar_last_error());
        return;
    }
    client->stage = NX_SEED_CHALLENGED;
    m->ops->send(m->arg, client, &out);
}

static const struct nx_seed_client *holder_of(const struct nx_seed_machine *m, const struct nx_seed_client *but,
                                              uint32_t rank)
{
    for (const struct nx_list *pos = m->clients.next; pos != &m->clients; pos = pos->next) {
        const struct nx_seed_client *other = nx_container_of(pos, struct nx_seed_client, link);

        if (other != but && other->stage >= NX_SEED_PROVEN && other->wanted_rank == rank)
            return other;
    }
    return NULL;
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
    if (m->state != NX_SEED_GATHERING || m->proven == m->size) {
        snprintf(text, cap, "the job has all its %u ranks", m->size);
        return text;
    }
    *code = NX_ABORT_MISMATCH;
    if (client->size != 0 && client->size != m->size) {
        snprintf(text, cap, "the seed expects %u ranks, this worker %u", m->size, client->size);
        return text;
    }
    *code = NX_ABORT_RANK;
    if (client->wanted_rank != NEXAR_NO_RANK && client->wanted_rank >= m->size) {
        snprintf(text, cap, "rank %u is not one of the %u ranks", client->wanted_rank, m->size);
        return text;
    }
    holder = client->wanted_rank == NEXAR_NO_RANK ? NULL : holder_of(m, client, client->wanted_rank);
    if (holder != NULL) {
        snprintf(text, cap, "rank %u is taken already, by %s", client->wanted_rank, holder->from);
        return text;
    }
    return NULL;
}

/* ---- ranks ---- */

static bool same_group(const struct nx_seed_client *a, const struct nx_seed_client *b)
{
    return memcmp(a->group, b->group, NX_ID_SIZE) == 0;
}

/* When the first of its group came. */
static uint64_t group_number(const struct nx_seed_machine *m, const struct nx_seed_client *client)
{
    uint64_t first = client->number;

    for (const struct nx_list *pos = m->clients.next; pos != &m->clients; pos = pos->next) {
        const struct nx_seed_client *other = nx_container_of(pos, struct nx_seed_client, link);

        if (other->stage >= NX_SEED_PROVEN && same_group(other, client) && other->number < first)
            first = other->number;
    }
    return first;
}

/* Among those without a wish: groups together, in the order in which they came; inside a group by local rank. */
static bool before(const struct nx_seed_machine *m, const struct nx_seed_client *a, const struct nx_seed_client *b)
{
    uint64_t ga = group_number(m, a), gb = group_number(m, b);

    if (ga != gb)
        return ga < gb;
    if (a->local_rank != b->local_rank)
        return a->local_rank < b->local_rank;
    return a->number < b->number;
}

static struct nx_seed_client *next_without_rank(struct nx_seed_machine *m)
{
    struct nx_seed_client *best = NULL;

    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *client = nx_container_of(pos, struct nx_seed_client, link);

        if (client->stage == NX_SEED_PROVEN && client->rank == NEXAR_NO_RANK &&
            (best == NULL || before(m, client, best)))
            best = client;
    }
    return best;
}

static void welcome(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_WELCOME};

    out.join_welcome =
        (struct nx_msg_join_welcome){.rank = client->rank,
                                     .world_size = m->size,
                                     .cluster = nx_bytes(m->cluster, NX_ID_SIZE),
                                     .certificate = nx_bytes(client->certificate, client->certificate_len),
                                     .ca = m->ca};
    client->stage = NX_SEED_WELCOMED;
    m->ops->send(m->arg, client, &out);
}

/* All have proven themselves: wishes first, then the free ranks in order. */
static void give_ranks(struct nx_seed_machine *m)
{
    struct nx_seed_client *client;
    uint32_t rank = 0;

    m->state = NX_SEED_MESHING;
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        client = nx_container_of(pos, struct nx_seed_client, link);
        client->rank = client->stage == NX_SEED_PROVEN ? client->wanted_rank : NEXAR_NO_RANK;
    }
    while ((client = next_without_rank(m)) != NULL) {
        while (holder_of(m, NULL, rank) != NULL)
            rank++;
        client->rank = client->wanted_rank = rank;
    }
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        client = nx_container_of(pos, struct nx_seed_client, link);
        if (client->stage == NX_SEED_PROVEN)
            welcome(m, client);
    }
}

static void on_proof(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_msg_join_proof *proof,
                     nx_time now)
{
    enum nx_abort_code code;
    char text[160];

    if (m->ops->admit(m->arg, client, proof) != NEXAR_OK) {
        char why[160];

        snprintf(why, sizeof(why), "refused: %s", nexar_last_error());
        refuse(m, client, NX_ABORT_AUTH, "authentication failed", why);
        return;
    }
    if (no_place(m, client, &code, text, sizeof(text)) != NULL) {
        refuse(m, client, code, text, text);
        return;
    }
    m->strangers--;
    client->stage = NX_SEED_PROVEN;
    client->deadline = NX_NEVER;
    if (m->deadline == NX_NEVER)
        m->deadline = nx_after(now, m->timeout);
    if (++m->proven == m->size)
        give_ranks(m);
}

/* ---- the mesh ---- */

static struct nx_seed_client *client_of(struct nx_seed_machine *m, uint32_t rank)
{
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *client = nx_container_of(pos, struct nx_seed_client, link);

        if (client->stage >= NX_SEED_WELCOMED && client->rank == rank)
            return client;
    }
    return NULL;
}

/* Who everybody is and where. */
static void send_roster(struct nx_seed_machine *m)
{
    struct nx_message out = {.kind = NX_KIND_ROSTER};
    size_t pairs_max = (size_t)m->size * NX_ADDRESSES_MAX, pairs = 0;
    struct nx_pair *pair = nx_calloc(pairs_max, sizeof(*pair));
    uint8_t *nodes = nx_calloc(m->size, NX_ID_SIZE), *groups = nx_calloc(m->size, NX_ID_SIZE);

    if (pair == NULL || nodes == NULL || groups == NULL) {
        fail(m, NEXAR_ENOMEM, NX_ABORT_PEER, NEXAR_NO_RANK, "the seed has no memory for the list of ranks");
        goto out;
    }
    for (uint32_t rank = 0; rank < m->size; rank++) {
        struct nx_seed_client *client = client_of(m, rank);

        memcpy(nodes + (size_t)rank * NX_ID_SIZE, client->node, NX_ID_SIZE);
        memcpy(groups + (size_t)rank * NX_ID_SIZE, client->group, NX_ID_SIZE);
        for (uint32_t i = 0; i < client->addresses; i++)
            pair[pairs++] = (struct nx_pair){.key = rank, .text = nx_text(client->address[i])};
    }
    out.roster = (struct nx_msg_roster){.addresses = {.count = pairs, .items = pair},
                                        .nodes = nx_bytes(nodes, (size_t)m->size * NX_ID_SIZE),
                                        .groups = nx_bytes(groups, (size_t)m->size * NX_ID_SIZE)};
    for (uint32_t rank = 0; rank < m->size; rank++)
        m->ops->send(m->arg, client_of(m, rank), &out);
out:
    nx_free(pair);
    nx_free(nodes);
    nx_free(groups);
}

static bool on_listen(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_msg_join_listen *listen)
{
    if (listen->addresses.count == 0 || listen->addresses.count > NX_ADDRESSES_MAX)
        return false;
    for (size_t i = 0; i < listen->addresses.count; i++) {
        struct nx_text text = nx_pairs_at(&listen->addresses, i).text;

        if (text.len == 0 || text.len >= NX_ADDRESS_SIZE)
            return false;
        snprintf(client->address[i], NX_ADDRESS_SIZE, "%.*s", (int)text.len, text.data);
    }
    client->addresses = (uint32_t)listen->addresses.count;
    client->stage = NX_SEED_LISTENING;
    if (++m->listening == m->size)
        send_roster(m);
    return true;
}

static void on_ready(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    static const struct nx_message go = {.kind = NX_KIND_JOIN_GO};

    client->stage = NX_SEED_READY;
    if (++m->ready < m->size)
        return;
    m->state = NX_SEED_FORMED;
    for (uint32_t rank = 0; rank < m->size; rank++) {
        client = client_of(m, rank);
        m->ops->send(m->arg, client, &go);
        m->ops->close(m->arg, client);
        forget(m, client);
    }
}

static void on_abort(struct nx_seed_machine *m, struct nx_seed_client *client, const struct nx_msg_abort *abort)
{
    if (client->stage >= NX_SEED_WELCOMED)
        fail(m, NEXAR_EPEER, NX_ABORT_PEER, client->rank, "rank %u (%s) gave up: %.*s", client->rank, client->from,
             (int)(abort->reason.len < 300 ? abort->reason.len : 300), abort->reason.data);
    else
        nx_seed_gone(m, client, "it gave up");
}

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
        fine = on_listen(m, client, &message->join_listen);
    else if (message->kind == NX_KIND_JOIN_READY && client->stage == NX_SEED_LISTENING && m->listening == m->size)
        on_ready(m, client);
    else
        fine = false;
    if (!fine)
        nx_seed_babbled(m, client, "it sent a message out of place");
}

void nx_seed_babbled(struct nx_seed_machine *m, struct nx_seed_client *client, const char *why)
{
    if (client->stage >= NX_SEED_WELCOMED)
        fail(m, NEXAR_EPROTO, NX_ABORT_PROTOCOL, client->rank, "rank %u (%s) broke the protocol: %s", client->rank,
             client->from, why);
    else if (client->stage == NX_SEED_PROVEN)
        nx_seed_gone(m, client, why);
    else
        refuse(m, client, NX_ABORT_PROTOCOL, "this is not how one joins", why);
}

void nx_seed_gone(struct nx_seed_machine *m, struct nx_seed_client *client, const char *why)
{
    char text[160];

    if (client->stage >= NX_SEED_WELCOMED) {
        fail(m, NEXAR_EPEER, NX_ABORT_PEER, client->rank, "rank %u (%s) was lost while the job formed: %s",
             client->rank, client->from, why);
        return;
    }
    if (client->stage == NX_SEED_PROVEN) {
        /* Nobody knows it yet: its place is free again. */
        m->proven--;
        snprintf(text, sizeof(text), "joined and went away again: %s", why);
    } else {
        snprintf(text, sizeof(text), "connected, did not join: %s", why);
    }
    note(m, client, text);
    forget(m, client);
}

/* ---- time ---- */

/* "ranks 1, 2, 5" or "3 ranks" of those that are missing. */
static void missing_text(const struct nx_seed_machine *m, char *text, size_t cap)
{
    uint32_t wishes = 0, listed = 0;
    size_t at;

    for (uint32_t rank = 0; rank < m->size; rank++)
        wishes += holder_of(m, NULL, rank) != NULL;
    if (wishes != m->proven || m->proven == 0) {
        snprintf(text, cap, "%u of them", m->size - m->proven);
        return;
    }
    at = (size_t)snprintf(text, cap, "rank%s", m->size - m->proven == 1 ? "" : "s");
    for (uint32_t rank = 0; rank < m->size && at + 24 < cap; rank++) {
        if (holder_of(m, NULL, rank) != NULL)
            continue;
        if (++listed > 16) {
            snprintf(text + at, cap - at, ", ...");
            return;
        }
        at += (size_t)snprintf(text + at, cap - at, "%s %u", listed == 1 ? "" : ",", rank);
    }
}

static void stage_text(const struct nx_seed_machine *m, char *text, size_t cap)
{
    const char *what = m->listening < m->size ? "do not listen yet" : "are not connected with all others";
    enum nx_seed_stage least = m->listening < m->size ? NX_SEED_LISTENING : NX_SEED_READY;
    size_t at = 0;

    for (const struct nx_list *pos = m->clients.next; pos != &m->clients && at + 24 < cap; pos = pos->next) {
        const struct nx_seed_client *client = nx_container_of(pos, struct nx_seed_client, link);

        if (client->stage >= NX_SEED_WELCOMED && client->stage < least)
            at += (size_t)snprintf(text + at, cap - at, "%s%u", at == 0 ? "ranks " : ", ", client->rank);
    }
    snprintf(text + at, cap - at, " %s", what);
}

static void time_out(struct nx_seed_machine *m)
{
    char missing[160], heard[220] = "";
    size_t at = 0;
    uint32_t first = m->heard_count > NX_SEED_HEARD ? m->heard_count - NX_SEED_HEARD : 0;

    if (m->state == NX_SEED_MESHING) {
        stage_text(m, missing, sizeof(missing));
        fail(m, NEXAR_ETIMEDOUT, NX_ABORT_TIMEOUT, NEXAR_NO_RANK,
             "the job did not form in time: all %u ranks have joined, but %s", m->size, missing);
        return;
    }
    missing_text(m, missing, sizeof(missing));
    for (uint32_t i = first; i < m->heard_count && at + 1 < sizeof(heard); i++)
        at +=
            (size_t)snprintf(heard + at, sizeof(heard) - at, "%s%s", at == 0 ? "" : "; ", m->heard[i % NX_SEED_HEARD]);
    fail(m, NEXAR_ETIMEDOUT, NX_ABORT_TIMEOUT, NEXAR_NO_RANK,
         "the job did not form in time: %u of %u ranks have joined, %s missing: %s; others heard of: %s", m->proven,
         m->size, m->size - m->proven == 1 ? "is" : "are", missing, heard[0] == '\0' ? "none" : heard);
}

nx_time nx_seed_tick(struct nx_seed_machine *m, nx_time now)
{
    nx_time next = m->state < NX_SEED_FORMED ? m->deadline : NX_NEVER;

    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *client = nx_container_of(pos, struct nx_seed_client, link);

        if (client->deadline <= now)
            refuse(m, client, NX_ABORT_PROTOCOL, "nothing was heard in time", "said nothing for 10 s");
        else if (client->deadline < next)
            next = client->deadline;
    }
    if (m->state < NX_SEED_FORMED && m->deadline <= now) {
        time_out(m);
        return nx_seed_tick(m, now);
    }
    return next;
}

void nx_seed_cancel(struct nx_seed_machine *m)
{
    fail(m, NEXAR_ECLOSED, NX_ABORT_CLOSED, NEXAR_NO_RANK, "the seed was closed before the job had formed");
}
