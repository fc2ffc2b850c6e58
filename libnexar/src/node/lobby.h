/* node/lobby.h - where a member of a job that grows lets others in.
 *
 * Each member has one, with the authority's key and the job's token, for as long as its process is in the job, through
 * all its formations.  Who is new waits at that of the lowest rank; the others send him there. */
#ifndef NX_NODE_LOBBY_H
#define NX_NODE_LOBBY_H

#include "cluster/seed_io.h"
#include "identity/trust.h"

struct nx_node;
struct nx_lobby;

/* Where a rank lets others in, best first. */
struct nx_lobby_place {
    char address[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE];
    uint32_t count;
};

/* Engine.  Opens that of this node, if it has none from an earlier formation, and says where it is; `seed` is where the
 * seed was reached.  NEXAR_EAUTH (that is no key of the authority), NEXAR_ESYSTEM, NEXAR_ENOMEM. */
nexar_status nx_lobby_open(struct nx_node *node, const struct nx_trust *trust, struct nx_bytes authority,
                           const struct sockaddr *seed, struct nx_lobby_place *place);
/* Engine.  Takes from the list of all ranks where they let others in.  NEXAR_EPROTO, NEXAR_ENOMEM. */
nexar_status nx_lobby_learn(struct nx_node *node, const struct nx_msg_roster *roster);
/* Engine.  The job has formed anew. */
void nx_lobby_move(struct nx_lobby *lobby, struct nx_node *heir);
/* Not on the engine.  NULL is legal. */
void nx_lobby_close(struct nx_lobby *lobby);

struct nx_seed *nx_lobby_seed(struct nx_lobby *lobby);

#endif
