/* cluster/mesh.h - who dials whom, and when everybody is connected with everybody.
 *
 * A pure machine.  The lower rank dials; a dial that fails is tried again, at the next address, until the deadline. */
#ifndef NX_CLUSTER_MESH_H
#define NX_CLUSTER_MESH_H

#include "cluster/seed.h"

enum nx_mesh_state {
    NX_MESH_IDLE, /* the roster has not come */
    NX_MESH_CONNECTING,
    NX_MESH_COMPLETE,
    NX_MESH_FAILED,
};

struct nx_mesh_ops {
    /* Dials a rank; nx_mesh_up or nx_mesh_dial_failed follows, maybe at once. */
    void (*dial)(void *arg, uint32_t rank, const char *address);
    /* All are up. */
    void (*complete)(void *arg);
    /* Also after `complete`, when one is lost again. */
    void (*failed)(void *arg, const nexar_error *error);
};

struct nx_mesh_peer {
    uint8_t node[NX_ID_SIZE], group[NX_ID_SIZE];
    char address[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE];
    uint32_t addresses, next; /* to dial */
    bool up;
    nx_time retry_at, pause;
    char last[160]; /* why the last dial failed */
};

struct nx_mesh_machine {
    /* const after nx_mesh_start */
    uint32_t rank, size;
    nx_time deadline;
    const struct nx_mesh_ops *ops;
    void *arg;
    struct nx_mesh_peer *peer; /* owned; by rank */
    /* the machine's */
    enum nx_mesh_state state;
    uint32_t missing;
};

void nx_mesh_init(struct nx_mesh_machine *m, nx_time deadline, const struct nx_mesh_ops *ops, void *arg);
void nx_mesh_fini(struct nx_mesh_machine *m);

/* Takes the roster and begins to dial.  NEXAR_EPROTO (it is not consistent), NEXAR_ENOMEM. */
nexar_status nx_mesh_start(struct nx_mesh_machine *m, uint32_t rank, uint32_t size, const struct nx_msg_roster *roster);
/* Nothing more is dialled or told. */
void nx_mesh_stop(struct nx_mesh_machine *m);

/* The rank of a node, NEXAR_NO_RANK if it is not in the roster. */
uint32_t nx_mesh_rank_of(const struct nx_mesh_machine *m, const uint8_t node[NX_ID_SIZE]);

void nx_mesh_up(struct nx_mesh_machine *m, uint32_t rank);
/* `final`: trying again is no use. */
void nx_mesh_dial_failed(struct nx_mesh_machine *m, uint32_t rank, bool final, nexar_status status, const char *why,
                         nx_time now);
/* A connection that was up has ended, not in good order. */
void nx_mesh_lost(struct nx_mesh_machine *m, uint32_t rank, const char *why);
/* Time passes.  Returns when to call again. */
nx_time nx_mesh_tick(struct nx_mesh_machine *m, nx_time now);

#endif
