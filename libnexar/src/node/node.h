/* node/node.h - one rank of a job: everything below put together, from joining to leaving. */
#ifndef NX_NODE_NODE_H
#define NX_NODE_NODE_H

#include "cluster/join_io.h"
#include "cluster/member.h"
#include "comm/comm.h"

struct nx_node_options {
    bool alone;                  /* a job of one rank: `join` is not used */
    struct nx_join_options join; /* its deadline is set by nx_node_start */
    nx_time join_timeout;
    struct nx_mesh_options mesh; /* its settings are set by the node */
    uint64_t small_bytes;
    struct nx_lane_limits limits;
    nx_time timeout, linger;
    struct nx_member_config member;
    const char *tune; /* NEXAR_COLL_TUNE, or NULL; borrowed until nx_node_start returns */
    bool reproducible;
    const char *dump_folder;         /* or NULL; borrowed until it has joined, as are these: */
    const char *transports;          /* "auto", or names, best first */
    const char *modules;             /* paths of other modules, or NULL */
    uint32_t rpc_threads, rpc_queue; /* see nexar_config; 0: as many as usual */
    /* Engine.  Where others reach this rank on `port`, best first; `seed` is where the seed was reached. */
    nexar_status (*addresses)(void *arg, const struct sockaddr *seed, uint16_t port,
                              char addresses[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count);
    void *addresses_arg;           /* as long as it joins; of a job that grows: as long as the node */
    uint32_t min_world, max_world; /* of a job that grows; 0: no limit */
    struct nx_lobby *lobby;        /* of a job that grows and has formed before: where it lets others in */
};

struct nx_node;

/* Begins to join; nx_node_wait tells how it ends. */
nexar_status nx_node_start(const struct nx_node_options *options, struct nx_node **node);

/* Waits until the job has formed.  NEXAR_OK: *comm is the world, and closing it ends the node.  NEXAR_EINTR,
 * NEXAR_EAGAIN (`deadline`): call again.  Else it has failed, and is to be freed. */
nexar_status nx_node_wait(struct nx_node *node, nx_time deadline, nexar_comm **comm);

/* The seed has given this node its rank. */
bool nx_node_welcomed(struct nx_node *node);

/* Of one that has failed: the job had formed before, and may take this process in the next time. */
bool nx_node_may_try_again(struct nx_node *node);

/* Ends a node that has given no communicator.  Blocks.  NULL is legal. */
void nx_node_free(struct nx_node *node);

/* Something that goes with the node, last: the seed that rank 0 runs, a file that was published. */
void nx_node_attach(struct nx_node *node, void *object, void (*end)(void *object));
/* The job has formed anew, as `heir`: what goes with the old node now goes with that one, and the old one's votes count
 * no more. */
void nx_node_hand_over(struct nx_node *node, struct nx_node *heir);

/* The node of a communicator. */
struct nx_node *nx_node_of(const nexar_comm *comm);
struct nx_net *nx_node_net(struct nx_node *node);
uint32_t nx_node_local_ranks(const struct nx_node *node); /* ranks on this host, itself included */
/* Any thread.  So many processes on this host are more than it has cores. */
bool nx_node_crowded(uint32_t ranks);

#endif
