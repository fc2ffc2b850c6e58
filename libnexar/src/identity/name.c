/* identity/name.c - the names in certificates, written and read.
 *
 * Owner: none, pure functions.  Reading is by formatting again: whatever is not spelled exactly as nx_name_format
 * spells it is no name. */
#include "identity/name.h"

#include "identity/encode.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "nexar:"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define ID_LENGTH NX_HEX_LENGTH(NX_CLUSTER_ID_SIZE)

_Static_assert(NX_CLUSTER_ID_SIZE == NX_NODE_ID_SIZE, "one length of ids in the text");
_Static_assert(NX_NAME_SIZE == PREFIX_LENGTH + ID_LENGTH + 1 + ID_LENGTH + 1, "room for a member's name");

void nx_name_format(const struct nx_name *name, char out[NX_NAME_SIZE])
{
    char cluster[ID_LENGTH + 1];
    char node[ID_LENGTH + 1];
    const char *last = node;

    nx_hex(name->cluster_id, NX_CLUSTER_ID_SIZE, cluster);
    nx_hex(name->node_id, NX_NODE_ID_SIZE, node);
    if (name->role == NX_ROLE_CA)
        last = "ca";
    else if (name->role == NX_ROLE_SEED)
        last = "seed";
    snprintf(out, NX_NAME_SIZE, PREFIX "%s:%s", cluster, last);
}

bool nx_name_parse(const char *text, size_t length, struct nx_name *out)
{
    struct nx_name name = {.role = NX_ROLE_MEMBER};
    char again[NX_NAME_SIZE];
    const char *last;
    size_t last_length;

    if (length < PREFIX_LENGTH + ID_LENGTH + 1 || length >= NX_NAME_SIZE)
        return false;
    last = text + PREFIX_LENGTH + ID_LENGTH + 1;
    last_length = (size_t)(text + length - last);
    if (!nx_unhex(text + PREFIX_LENGTH, ID_LENGTH, name.cluster_id, NX_CLUSTER_ID_SIZE))
        return false;
    if (last_length == 2)
        name.role = NX_ROLE_CA;
    else if (last_length == 4)
        name.role = NX_ROLE_SEED;
    else if (!nx_unhex(last, last_length, name.node_id, NX_NODE_ID_SIZE))
        return false;

    nx_name_format(&name, again);
    if (strlen(again) != length || memcmp(again, text, length) != 0)
        return false;
    *out = name;
    return true;
}
