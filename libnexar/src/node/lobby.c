/* node/lobby.c - letting others in, member by member: a seed each, which knows who of the job is to take them.
 *
 * Owner: the engine; closing belongs to the thread that closes the node.  It decides nothing about formations: that is
 * elastic.c. */
#include "node/lobby.h"

#include "base/call.h"
#include "base/mem.h"
#include "nexar/elastic.h"
#include "node/node_parts.h"

#include <stdio.h>
#include <string.h>

enum { FORM_WITHIN_S = 60 }; /* all are running and know where to go */

struct nx_lobby {
    struct nx_seed *seed;
    /* engine */
    struct nx_node *node; /* the one whose ranks count */
    struct nx_lobby_place place;
    struct nx_pair pair[NX_ADDRESSES_MAX]; /* of the answer to who is new */
};

/* The lowest rank that is there. */
static uint32_t host_of(const struct nx_node *node)
{
    uint32_t rank = 0, self = node->net.config.rank;

    while (rank < self && (!nx_members_has(node->members, rank) ||
                           nx_lane_peer_status(&((struct nx_node *)(uintptr_t)node)->net.lanes, rank) != NEXAR_OK))
        rank++;
    return rank;
}

static bool elsewhere(void *arg, struct nx_pairs *out)
{
    struct nx_lobby *lobby = arg;
    const struct nx_node *node = lobby->node;
    const struct nx_lobby_place *place;
    uint32_t rank;

    if (node->members == NULL || node->places == NULL)
        return false; /* the job forms: what it becomes is not known */
    rank = host_of(node);
    if (rank == node->net.config.rank)
        return false;
    place = &node->places[rank];
    for (uint32_t i = 0; i < place->count; i++)
        lobby->pair[i] = (struct nx_pair){.key = i, .text = nx_text(place->address[i])};
    *out = (struct nx_pairs){.count = place->count, .items = lobby->pair};
    return true;
}

static nexar_status make(struct nx_node *node, const struct nx_trust *trust, struct nx_bytes authority,
                         struct nx_lobby *lobby)
{
    struct nx_seed_options o = {.listen = node->options.mesh.listen,
                                .size = 1,
                                .timeout = FORM_WITHIN_S * NX_S,
                                .secret = &node->options.join.proof,
                                .grows = true,
                                .keep_alive = node->options.mesh.keep_alive,
                                .disconnect = node->options.mesh.disconnect,
                                .elsewhere = elsewhere,
                                .elsewhere_arg = lobby};
    struct nx_ca *ca;
    nexar_status st = nx_ca_restore(trust, authority.data, authority.len, &ca);

    if (st != NEXAR_OK)
        return st;
    o.ca = ca;
    st = nx_seed_serve(&o, &lobby->seed);
    nx_ca_free(ca);
    return st;
}

nexar_status nx_lobby_open(struct nx_node *node, const struct nx_trust *trust, struct nx_bytes authority,
                           const struct sockaddr *seed, struct nx_lobby_place *place)
{
    struct nx_lobby *lobby = node->options.lobby;
    nexar_status st;

    if (lobby == NULL) {
        lobby = nx_calloc(1, sizeof(*lobby));
        if (lobby == NULL)
            return nx_fail(NEXAR_ENOMEM, "no memory to let others in");
        lobby->node = node;
        st = make(node, trust, authority, lobby);
        if (st != NEXAR_OK) {
            nx_free(lobby);
            return st;
        }
        node->lobby = lobby;
        st = node->options.addresses(node->options.addresses_arg, seed, nx_seed_port(lobby->seed), lobby->place.address,
                                     &lobby->place.count);
        if (st != NEXAR_OK)
            return st;
    }
    *place = lobby->place;
    return NEXAR_OK;
}

nexar_status nx_lobby_learn(struct nx_node *node, const struct nx_msg_roster *roster)
{
    uint32_t size = node->net.config.size;

    node->places = nx_calloc(size, sizeof(*node->places));
    if (node->places == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the list of %u ranks", size);
    for (size_t i = 0; i < roster->lobbies.count; i++) {
        struct nx_pair pair = nx_pairs_at(&roster->lobbies, i);
        struct nx_lobby_place *place = pair.key < size ? &node->places[pair.key] : NULL;

        if (place == NULL || pair.text.len >= NX_ADDRESS_SIZE)
            return nx_fail(NEXAR_EPROTO, "the seed's list of ranks has an address that cannot be");
        if (place->count < NX_ADDRESSES_MAX)
            snprintf(place->address[place->count++], NX_ADDRESS_SIZE, "%.*s", (int)pair.text.len, pair.text.data);
    }
    for (uint32_t i = 0; i < size; i++) {
        if (node->places[i].count == 0)
            return nx_fail(NEXAR_EPROTO, "the seed's list of ranks does not say where rank %u lets others in", i);
    }
    return NEXAR_OK;
}

void nx_lobby_move(struct nx_lobby *lobby, struct nx_node *heir)
{
    lobby->node = heir;
    nx_seed_moved(nx_seed_machine_of(lobby->seed));
    nx_seed_settle(lobby->seed);
}

void nx_lobby_close(struct nx_lobby *lobby)
{
    if (lobby == NULL)
        return;
    nx_seed_end(lobby->seed);
    nx_free(lobby);
}

struct nx_seed *nx_lobby_seed(struct nx_lobby *lobby)
{
    return lobby->seed;
}

/* ---- the join string of today ---- */

enum { NAMED_RANKS = 3 };

struct naming {
    struct nx_node *node;
    struct nx_join_string join;
};

/* Two addresses each of the lowest three ranks that are there. */
static void name_hosts(void *arg)
{
    struct naming *n = arg;
    struct nx_node *node = n->node;
    struct nx_join_string *join = &n->join;

    for (uint32_t rank = 0, named = 0; rank < node->net.config.size && named < NAMED_RANKS; rank++) {
        if (!nx_members_has(node->members, rank) ||
            (rank != node->net.config.rank && nx_lane_peer_status(&node->net.lanes, rank) != NEXAR_OK))
            continue;
        named++;
        for (uint32_t i = 0; i < node->places[rank].count && i < 2 && join->host_count < NX_JOIN_HOSTS; i++) {
            struct nx_join_host *host = &join->hosts[join->host_count];
            const char *text = node->places[rank].address[i], *colon = strrchr(text, ':');
            size_t from = text[0] == '[', until = (size_t)(colon - text) - from;
            unsigned port = 0;

            (void)sscanf(colon + 1, "%5u", &port);
            snprintf(host->name, sizeof(host->name), "%.*s", (int)(until - from), text + from);
            host->port = (uint16_t)port;
            join->host_count++;
        }
    }
}

nexar_status nexar_comm_join_string(const nexar_comm *comm, char *text, size_t cap)
{
    struct naming n = {.join = {.host_count = 0}};
    nexar_status st = nx_comm_check(comm, "join_string", false);
    char *made = NULL;

    if (st != NEXAR_OK)
        return st;
    if (text == NULL || cap == 0)
        return nx_fail(NEXAR_EINVAL, "join_string: there is no place for it");
    text[0] = '\0';
    n.node = nx_node_of(comm);
    if (n.node->places == NULL)
        return nx_fail(NEXAR_ENOTSUP, "join_string: nobody can join this job (NEXAR_ELASTIC)");
    if (!n.node->options.join.has_token)
        return nx_fail(NEXAR_ENOTSUP, "join_string: the ranks of this job share a secret; by that others join");
    memcpy(n.join.token, n.node->options.join.token, NX_TOKEN_SIZE);
    memcpy(n.join.ca_sha256, n.node->options.join.ca_sha256, NX_SHA256_SIZE);
    st = nx_call(name_hosts, &n);
    if (st == NEXAR_OK)
        st = nx_join_string_format(&n.join, &made);
    explicit_bzero(n.join.token, sizeof(n.join.token));
    if (st != NEXAR_OK)
        return st;
    if (strlen(made) < cap)
        memcpy(text, made, strlen(made) + 1);
    else
        st = nx_fail(NEXAR_EMSGSIZE, "join_string: it has %zu bytes, there is room for %zu", strlen(made) + 1, cap);
    nx_free_secret(made);
    return st;
}
