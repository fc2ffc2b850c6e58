/* cluster/seed_grow.c - the seed of a job that grows: who is new waits for the next formation, members
 * come back for it.
 *
 * Owner: the machine's.  A formation is of members that agreed on it elsewhere, and of as many who are new as they have
 * counted; one that fails harms nobody: the members are told, and may try again, the others wait on. */
#include "cluster/seed.h"

#include "base/mem.h"

#include <stdio.h>

enum { WAITING_MAX = 64 };

static struct nx_seed_client *client_at(const struct nx_list *pos)
{
    return nx_container_of(pos, struct nx_seed_client, link);
}

static bool is_new(const struct nx_seed_client *client)
{
    return client->stage == NX_SEED_PROVEN && client->formation <= 1;
}

void nx_seed_take_over(struct nx_seed_machine *m)
{
    m->state = NX_SEED_FORMED;
    m->formation = 2;
}

uint32_t nx_seed_waiting(const struct nx_seed_machine *m)
{
    uint32_t n = 0;

    for (const struct nx_list *pos = m->clients.next; pos != &m->clients; pos = pos->next)
        n += is_new(client_at(pos));
    return n;
}

static uint32_t come_back(const struct nx_seed_machine *m)
{
    uint32_t n = 0;

    for (const struct nx_list *pos = m->clients.next; pos != &m->clients; pos = pos->next)
        n += client_at(pos)->stage == NX_SEED_PROVEN && client_at(pos)->formation == m->formation;
    return n;
}

bool nx_seed_all_proven(const struct nx_seed_machine *m)
{
    if (m->formation == 1)
        return m->proven == m->size;
    return come_back(m) == m->kept && nx_seed_waiting(m) >= m->size - m->kept;
}

const char *nx_seed_no_room(const struct nx_seed_machine *m, const struct nx_seed_client *client,
                            enum nx_abort_code *code, char *text, size_t cap)
{
    const struct nx_seed_client *holder;

    if (!nx_seed_grows(m) || client->formation == 0) {
        *code = m->state == NX_SEED_GATHERING ? NX_ABORT_MISMATCH : NX_ABORT_FULL;
        if (m->state != NX_SEED_GATHERING)
            snprintf(text, cap, "the job has all its %u ranks", m->size);
        else
            snprintf(text, cap, "the job %s, as its seed has it, and this worker has it otherwise (NEXAR_ELASTIC)",
                     nx_seed_grows(m) ? "grows" : "does not grow");
        return text;
    }
    if (client->formation == 1) {
        *code = NX_ABORT_FULL;
        snprintf(text, cap, "%u wait already to join the job", WAITING_MAX);
        return nx_seed_waiting(m) < WAITING_MAX ? NULL : text;
    }
    *code = NX_ABORT_PEER;
    snprintf(text, cap, "the formation of the job that this rank comes back for is over");
    if (client->formation != m->formation || m->state == NX_SEED_MESHING)
        return text;
    *code = NX_ABORT_RANK;
    if (m->state == NX_SEED_GATHERING && client->wanted_rank >= m->kept) {
        snprintf(text, cap, "rank %u is not one of the %u that come back", client->wanted_rank, m->kept);
        return text;
    }
    snprintf(text, cap, "it does not say which rank it comes back as");
    if (client->wanted_rank == NEXAR_NO_RANK)
        return text;
    holder = nx_seed_holder(m, client->wanted_rank);
    snprintf(text, cap, "rank %u is back already", client->wanted_rank);
    return holder != NULL ? text : NULL;
}

bool nx_seed_send_on(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_REDIRECT};

    if (!m->ops->elsewhere(m->arg, &out.join_redirect.addresses))
        return false;
    m->ops->send(m->arg, client, &out);
    m->ops->close(m->arg, client, true);
    nx_seed_leave_place(m, client);
    nx_seed_forget(m, client);
    return true;
}

void nx_seed_moved(struct nx_seed_machine *m)
{
    if (m->state != NX_SEED_FORMED)
        return;
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        if (is_new(client_at(pos)) && !nx_seed_send_on(m, client_at(pos)))
            return;
    }
}

/* The members are told, and who has got a rank; the others wait on. */
static void send_away(struct nx_seed_machine *m, enum nx_abort_code code, uint32_t rank, const char *text)
{
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *client = client_at(pos);

        if (client->stage < NX_SEED_PROVEN || is_new(client))
            continue;
        m->proven--;
        nx_seed_abort_client(m, client, code, rank, text);
    }
}

void nx_seed_fail_again(struct nx_seed_machine *m, enum nx_abort_code code, uint32_t rank, const char *text)
{
    m->state = NX_SEED_FORMED;
    m->deadline = NX_NEVER;
    m->formation++;
    send_away(m, code, rank, text);
}

void nx_seed_pass(struct nx_seed_machine *m, const char *why)
{
    if (m->state == NX_SEED_GATHERING || m->state == NX_SEED_MESHING || m->state == NX_SEED_FORMED)
        nx_seed_fail_again(m, NX_ABORT_PEER, NEXAR_NO_RANK, why);
}

void nx_seed_check_short(struct nx_seed_machine *m)
{
    uint32_t want = m->size - m->kept, have = nx_seed_waiting(m);

    if (m->state == NX_SEED_GATHERING && m->formation > 1 && have < want)
        nx_seed_fail(m, NEXAR_EPEER, NX_ABORT_PEER, NEXAR_NO_RANK, "of %u that were to join the job %u are left", want,
                     have);
}

void nx_seed_expect(struct nx_seed_machine *m, uint32_t size, uint32_t kept, nx_time now)
{
    if (m->state != NX_SEED_FORMED)
        return;
    m->state = NX_SEED_GATHERING;
    m->size = size;
    m->kept = kept;
    m->listening = m->ready = 0;
    m->deadline = nx_after(now, m->timeout);
    nx_free(m->by_rank);
    m->by_rank = NULL;
    nx_list_for_each_safe(pos, tmp, &m->clients)
    {
        struct nx_seed_client *client = client_at(pos);

        /* It came before it could be known who is to. */
        if (client->stage == NX_SEED_PROVEN && !is_new(client) && client->wanted_rank >= kept) {
            m->proven--;
            nx_seed_abort_client(m, client, NX_ABORT_RANK, NEXAR_NO_RANK, "it is none of those that come back");
        }
    }
    nx_seed_check_short(m);
    if (m->state == NX_SEED_GATHERING && nx_seed_all_proven(m))
        nx_seed_start_meshing(m);
}
