/* cluster/seed_rank.c - who gets which rank.
 *
 * Owner: the machine's.  Wishes come first.  The others are put in order by group, so that the ranks of one launcher
 * follow each other, and inside a group by local rank; they get the ranks that are left.  Wishes that cannot be are not
 * seen here: they are refused when they come. */
#include "cluster/seed.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static struct nx_seed_client *client_at(const struct nx_list *pos)
{
    return nx_container_of(pos, struct nx_seed_client, link);
}

struct nx_seed_client *nx_seed_holder(const struct nx_seed_machine *m, uint32_t rank)
{
    for (const struct nx_list *pos = m->clients.next; pos != &m->clients; pos = pos->next) {
        struct nx_seed_client *client = client_at(pos);

        if (client->stage >= NX_SEED_PROVEN && client->wanted_rank == rank)
            return client;
    }
    return NULL;
}

static int order(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_group(const void *x, const void *y)
{
    const struct nx_seed_client *a = *(struct nx_seed_client *const *)x, *b = *(struct nx_seed_client *const *)y;
    int groups = memcmp(a->group, b->group, NX_ID_SIZE);

    return groups != 0 ? groups : order(a->number, b->number);
}

/* NEXAR_NO_RANK, of those that have no local rank, is the largest. */
static int by_turn(const void *x, const void *y)
{
    const struct nx_seed_client *a = *(struct nx_seed_client *const *)x, *b = *(struct nx_seed_client *const *)y;

    if (a->group_number != b->group_number)
        return order(a->group_number, b->group_number);
    if (a->local_rank != b->local_rank)
        return order(a->local_rank, b->local_rank);
    return order(a->number, b->number);
}

nexar_status nx_seed_give_ranks(struct nx_seed_machine *m)
{
    uint32_t n = 0, rank = 0, others = m->size, all = nx_seed_waiting(m) + m->kept;
    struct nx_seed_client **turn = nx_calloc(all, sizeof(struct nx_seed_client *));

    m->by_rank = nx_calloc(m->size, sizeof(struct nx_seed_client *));
    if (turn == NULL || m->by_rank == NULL) {
        nx_free(turn);
        return nx_fail(NEXAR_ENOMEM, "the seed has no memory for %u ranks", m->size);
    }
    for (const struct nx_list *pos = m->clients.next; pos != &m->clients && n < all; pos = pos->next) {
        struct nx_seed_client *client = client_at(pos);

        if (client->stage != NX_SEED_PROVEN)
            continue;
        turn[n++] = client;
        if (client->wanted_rank == NEXAR_NO_RANK)
            continue;
        m->by_rank[client->wanted_rank] = client;
        others--;
    }
    qsort(turn, n, sizeof(turn[0]), by_group);
    for (uint32_t i = 0; i < n; i++) {
        bool same = i > 0 && memcmp(turn[i]->group, turn[i - 1]->group, NX_ID_SIZE) == 0;

        turn[i]->group_number = same ? turn[i - 1]->group_number : turn[i]->number;
    }
    qsort(turn, n, sizeof(turn[0]), by_turn);
    for (uint32_t i = 0; i < n; i++) {
        if (turn[i]->wanted_rank == NEXAR_NO_RANK) {
            if (others-- == 0)
                break; /* of a job that grows: it waits for the next time */
            while (m->by_rank[rank] != NULL)
                rank++;
            m->by_rank[rank] = turn[i];
        }
    }
    for (rank = 0; rank < m->size; rank++)
        m->by_rank[rank]->rank = m->by_rank[rank]->wanted_rank = rank;
    nx_free(turn);
    return NEXAR_OK;
}
