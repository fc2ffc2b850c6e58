/* node/node_parts.h - a node, for the files of node/ that it consists of; others see node.h.
 *
 * node.c makes it and takes it apart; events.c is told by connections and by the membership. */
#ifndef NX_NODE_NODE_PARTS_H
#define NX_NODE_NODE_PARTS_H

#include "cluster/member_io.h"
#include "comm/comms.h"
#include "node/kin.h"
#include "node/lobby.h"
#include "node/node.h"

enum { ATTACHED_MAX = 3 };

struct nx_node {
    struct nx_node_options options;
    struct nx_select select;
    /* engine while joining, then const until closed */
    struct nx_net net;
    bool net_open;
    struct nx_joining *joining;
    struct nx_mesh *mesh;
    struct nx_comms comms;
    nexar_comm *world; /* until it is handed out */
    struct nx_kin *kin;
    uint8_t *records;           /* in the segment of this host: those of its ranks, see cluster/record.h; NULL: none */
    struct nx_members *members; /* once the job has formed */
    uint32_t *hosts;            /* owned; of each rank, the lowest rank of its host, once the roster is known */
    struct nx_lobby *lobby;     /* of a job that grows; NULL once another node has taken it over */
    struct nx_lobby_place *places; /* owned; of a job that grows: where each rank lets others in */
    /* engine */
    struct nx_node *heir; /* the node of the job's next formation, while that forms */
    /* lock */
    struct nx_mutex lock;
    bool welcomed;
    bool over;  /* joined or failed */
    bool again; /* failed, but may be tried again */
    nexar_error error;
    struct nx_waiter *waiter;
    char peer_name[NX_NAME_SIZE]; /* engine */
    /* the owner's */
    struct {
        void *object;
        void (*end)(void *object);
    } attached[ATTACHED_MAX];
};

/* ---- elastic.c: engine ---- */

/* A rank was lost, or a communicator given up: a formation that is under way will not be. */
void nx_elastic_disturbed(struct nx_node *node, const nexar_error *error);

/* ---- events.c: engine ---- */

extern const struct nx_net_events nx_node_events;

/* Whether a rank runs on this host; once the roster is known. */
bool nx_node_is_near(void *node, uint32_t rank);
/* After the ways are settled, and again when the job has formed. */
void nx_node_find_records(struct nx_node *node, bool make);
/* The job has formed.  NEXAR_ENOMEM. */
nexar_status nx_node_open_members(struct nx_node *node);

#endif
