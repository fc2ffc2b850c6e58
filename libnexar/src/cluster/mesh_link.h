/* cluster/mesh_link.h - what the two halves of the mesh's connections share: mesh_link.c settles who is who on each of
 * them, mesh_io.c listens, dials and ends. */
#ifndef NX_CLUSTER_MESH_LINK_H
#define NX_CLUSTER_MESH_LINK_H

#include "base/engine.h"
#include "cluster/mesh_io.h"

/* A connection that is being settled, or is settled. */
struct nx_mesh_link {
    struct nx_list link;
    struct nx_mesh *mesh;
    nexar_conn *conn; /* a reference */
    uint32_t rank;    /* dialled, or claimed and found right; else NEXAR_NO_RANK */
    bool accepted;
    bool up, doomed, connected;
    bool asked; /* our farewell is said, and not answered */
    nexar_status status;
    bool greeted; /* its hello is below */
    struct nx_msg_mesh_hello hello;
    struct nx_timer timer;
    char why[160]; /* why we refused it, or it us */
};

struct nx_mesh {
    /* const after init */
    struct nx_net *net;
    struct nx_bundle *bundle;
    struct nx_trust *trust;
    struct nx_quic_config *server, *client;
    struct nx_quic_listener *listener;
    struct nx_mesh_result result;
    uint64_t settings, incarnation;
    uint16_t port;
    /* engine */
    struct nx_mesh_machine machine;
    struct nx_list links;
    uint32_t strangers; /* links that called, and are not up */
    struct nx_pem pem;  /* once asked for */
    struct nx_timer timer;
    bool closing;
    /* lock */
    struct nx_mutex lock;
    uint32_t count;   /* links */
    uint32_t leaving; /* peers that have not answered our farewell */
    bool left;        /* farewells are said */
    struct nx_waiter *waiter;
};

/* ---- mesh_link.c: engine ---- */

/* The events of its connection; their arg is the link. */
extern const struct nx_conn_owner nx_mesh_link_events;

/* Dialled, or with NEXAR_NO_RANK accepted.  NULL: no memory. */
struct nx_mesh_link *nx_mesh_link_new(struct nx_mesh *mesh, uint32_t rank);
/* One that has no connection, or none any more. */
void nx_mesh_link_free(struct nx_mesh_link *link);
/* Whom nobody dialled: is he who he says?  Does nothing until all is known that it takes to say so. */
void nx_mesh_link_judge(struct nx_mesh_link *link);
/* Ends one that has been silent, to make room.  False: there is none. */
bool nx_mesh_link_evict(struct nx_mesh *mesh);

/* ---- mesh_io.c ---- */

/* Engine.  After anything that the machine did. */
void nx_mesh_settle(struct nx_mesh *mesh);
/* With the lock: whoever waits, if what it waits for is so. */
void nx_mesh_wake(struct nx_mesh *mesh);

#endif
