/* cluster/mesh_io.h - the connections among the ranks: listening, dialling, and settling who is who. */
#ifndef NX_CLUSTER_MESH_IO_H
#define NX_CLUSTER_MESH_IO_H

#include "cluster/mesh.h"
#include "identity/bundle.h"
#include "identity/trust.h"
#include "net/conn.h"

#define NX_ALPN_OWN "libnexar/1"
#define NX_ALPN_REFERENCE "nexar/1"
#define NX_MESH_VERSION 1

struct nx_mesh;

struct nx_mesh_options {
    struct sockaddr_storage listen;
    uint64_t connection_window, stream_window;
    nx_time keep_alive, disconnect;
    uint64_t settings; /* fingerprint of what must be equal on all ranks */
};

/* What becomes of it.  Engine. */
struct nx_mesh_result {
    void (*complete)(void *arg);
    void (*failed)(void *arg, const nexar_error *error); /* also after `complete`, when a rank is lost */
    /* Another rank says that the job has formed. */
    void (*formed)(void *arg);
    void *arg;
};

/* Begins to listen; connections wait until the roster is known.  Takes over `bundle` and `trust`, also on failure. */
nexar_status nx_mesh_open(struct nx_net *net, const struct nx_mesh_options *options, struct nx_bundle *bundle,
                          struct nx_trust *trust, const struct nx_mesh_result *result, struct nx_mesh **out);
uint16_t nx_mesh_port(const struct nx_mesh *mesh);

/* Engine.  Connects with everybody. */
nexar_status nx_mesh_connect(struct nx_mesh *mesh, const struct nx_msg_roster *roster, nx_time deadline);

/* Engine.  The job has formed: from now on silence counts, and the others are told too, in case the seed cannot any
 * more. */
void nx_mesh_tell_formed(struct nx_mesh *mesh);

/* Says good-bye and waits until all others have what was sent to them, at most until `deadline`. */
void nx_mesh_leave(struct nx_mesh *mesh, nx_time deadline);

/* Ends all connections and frees it.  Blocks.  NULL is legal. */
void nx_mesh_close(struct nx_mesh *mesh);

/* Engine.  This rank's credentials as text, made when they are first asked for, and the name of the node with this id;
 * they last as long as the mesh, `peer` (NX_NAME_SIZE bytes) is the caller's. */
nexar_status nx_mesh_identity(struct nx_mesh *mesh, const uint8_t node[NX_ID_SIZE], const struct nx_pem **own,
                              char *peer);

/* Node id of a rank. */
const uint8_t *nx_mesh_node(const struct nx_mesh *mesh, uint32_t rank);
/* Group of a rank: ranks of one host have the same. */
const uint8_t *nx_mesh_group(const struct nx_mesh *mesh, uint32_t rank);

#endif
