/* cluster/seed_form.c - forming the job, once all have proven themselves: ranks, the list of them all, the decision.
 *
 * Owner: the machine's.  Whom it takes is decided in seed.c, for a job that grows in seed_grow.c. */
#include "cluster/seed.h"

#include "base/mem.h"
#include "base/plain.h"

#include <string.h>

static void welcome(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    struct nx_message out = {.kind = NX_KIND_JOIN_WELCOME};

    out.join_welcome =
        (struct nx_msg_join_welcome){.rank = client->rank,
                                     .world_size = m->size,
                                     .cluster = nx_bytes(m->cluster, NX_ID_SIZE),
                                     .certificate = nx_bytes(client->certificate, client->certificate_len),
                                     .ca = m->ca,
                                     .authority = m->authority,
                                     .formation = m->formation};
    client->stage = NX_SEED_WELCOMED;
    m->ops->send(m->arg, client, &out);
}

/* All have proven themselves. */
void nx_seed_start_meshing(struct nx_seed_machine *m)
{
    if (nx_seed_give_ranks(m) != NEXAR_OK) {
        nx_seed_fail(m, NEXAR_ENOMEM, NX_ABORT_PEER, NEXAR_NO_RANK, "%s", nexar_last_error());
        return;
    }
    m->state = NX_SEED_MESHING;
    m->ops->full(m->arg);
    for (uint32_t rank = 0; rank < m->size; rank++)
        welcome(m, m->by_rank[rank]);
}

/* Who everybody is and where. */
static void send_roster(struct nx_seed_machine *m)
{
    struct nx_message out = {.kind = NX_KIND_ROSTER};
    size_t pairs_max = (size_t)m->size * NX_ADDRESSES_MAX, pairs = 0, lobbies = 0;
    struct nx_pair *pair = nx_calloc(pairs_max, sizeof(*pair)), *lobby = nx_calloc(pairs_max, sizeof(*lobby));
    uint8_t *nodes = nx_calloc(m->size, NX_ID_SIZE), *groups = nx_calloc(m->size, NX_ID_SIZE);

    if (pair == NULL || lobby == NULL || nodes == NULL || groups == NULL) {
        nx_seed_fail(m, NEXAR_ENOMEM, NX_ABORT_PEER, NEXAR_NO_RANK, "the seed has no memory for the list of ranks");
        goto out;
    }
    for (uint32_t rank = 0; rank < m->size; rank++) {
        const struct nx_seed_client *client = m->by_rank[rank];

        memcpy(nodes + (size_t)rank * NX_ID_SIZE, client->node, NX_ID_SIZE);
        memcpy(groups + (size_t)rank * NX_ID_SIZE, client->group, NX_ID_SIZE);
        for (uint32_t i = 0; i < client->addresses; i++)
            pair[pairs++] = (struct nx_pair){.key = rank, .text = nx_text(client->address[i])};
        for (uint32_t i = 0; i < client->lobbies; i++)
            lobby[lobbies++] = (struct nx_pair){.key = rank, .text = nx_text(client->lobby[i])};
    }
    out.roster = (struct nx_msg_roster){.addresses = {.count = pairs, .items = pair},
                                        .nodes = nx_bytes(nodes, (size_t)m->size * NX_ID_SIZE),
                                        .groups = nx_bytes(groups, (size_t)m->size * NX_ID_SIZE),
                                        .lobbies = {.count = lobbies, .items = lobby}};
    for (uint32_t rank = 0; rank < m->size; rank++)
        m->ops->send(m->arg, m->by_rank[rank], &out);
out:
    nx_free(pair);
    nx_free(lobby);
    nx_free(nodes);
    nx_free(groups);
}

static bool take_addresses(const struct nx_pairs *list, char out[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count)
{
    if (list->count > NX_ADDRESSES_MAX)
        return false;
    for (size_t i = 0; i < list->count; i++) {
        struct nx_text text = nx_pairs_at(list, i).text;

        if (text.len == 0 || text.len >= NX_ADDRESS_SIZE)
            return false;
        nx_plain(out[i], NX_ADDRESS_SIZE, text.data, text.len);
    }
    *count = (uint32_t)list->count;
    return true;
}

bool nx_seed_on_listen(struct nx_seed_machine *m, struct nx_seed_client *client,
                       const struct nx_msg_join_listen *listen)
{
    if (!take_addresses(&listen->addresses, client->address, &client->addresses) || client->addresses == 0 ||
        !take_addresses(&listen->lobby, client->lobby, &client->lobbies) || (client->lobbies != 0) != nx_seed_grows(m))
        return false;
    client->stage = NX_SEED_LISTENING;
    if (++m->listening == m->size)
        send_roster(m);
    return true;
}

void nx_seed_on_ready(struct nx_seed_machine *m, struct nx_seed_client *client)
{
    static const struct nx_message go = {.kind = NX_KIND_JOIN_GO};

    client->stage = NX_SEED_READY;
    if (++m->ready < m->size)
        return;
    m->state = NX_SEED_FORMED;
    m->deadline = NX_NEVER;
    m->formation++;
    if (nx_seed_grows(m))
        m->ops->formed(m->arg);
    for (uint32_t rank = 0; rank < m->size; rank++) {
        client = m->by_rank[rank];
        m->ops->send(m->arg, client, &go);
        m->ops->close(m->arg, client, true);
        nx_seed_forget(m, client);
        m->proven--;
    }
    if (nx_seed_grows(m))
        nx_seed_moved(m);
}
