/* identity/name.h - who a certificate is for: the text in its subject alternative name.
 *
 *      nexar:<cluster id>:ca              the cluster's certificate authority
 *      nexar:<cluster id>:seed            the seed, before which a joining worker stands
 *      nexar:<cluster id>:<node id>       a member
 *
 *  Ids are 16 bytes as 32 lower-case hexadecimal digits.  A node id is the beginning of the SHA-256 of the node's
 *  public key (SubjectPublicKeyInfo), so it is new for each process and cannot be chosen. */
#ifndef NX_IDENTITY_NAME_H
#define NX_IDENTITY_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NX_CLUSTER_ID_SIZE 16
#define NX_NODE_ID_SIZE 16

/* Room for any name and its zero. */
#define NX_NAME_SIZE 72

enum nx_role {
    NX_ROLE_CA = 1,
    NX_ROLE_SEED = 2,
    NX_ROLE_MEMBER = 3,
};

struct nx_name {
    enum nx_role role;
    uint8_t cluster_id[NX_CLUSTER_ID_SIZE];
    uint8_t node_id[NX_NODE_ID_SIZE]; /* of a member; else zeros */
};

void nx_name_format(const struct nx_name *name, char out[NX_NAME_SIZE]);

/* All `length` characters must be a name; nothing after it, no zero inside it, no other case. */
bool nx_name_parse(const char *text, size_t length, struct nx_name *out);

#endif
