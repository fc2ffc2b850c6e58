/* node/reach.h - by which addresses others reach this rank: where it listens, and what it tells them.
 *
 * What is set comes first (NEXAR_ADVERTISE, NEXAR_BIND, NEXAR_INTERFACE).  Ranks that are all on one host use loopback
 * alone.  Else: the address on the way to the seed, then the others of that interface, then those of the other real
 * interfaces, at most one of IPv4 and one of IPv6 of each; those of bridges of containers only if there are no others.
 * Never 127.0.1.1, never an address that means something on one link alone, unless there is no other. */
#ifndef NX_NODE_REACH_H
#define NX_NODE_REACH_H

#include "node/address.h"
#include "node/config.h"

#define NX_TELL_MAX 4

struct nx_reach {
    const char *interfaces; /* borrowed from the configuration; NULL: not set */
    bool loopback;          /* all ranks are on this host */
    bool bound;             /* `bind` is set */
    struct sockaddr_storage bind;
    struct sockaddr_storage advertise[NX_TELL_MAX]; /* port 0 */
    size_t advertised;
};

/* Reads the settings, and resolves names in NEXAR_ADVERTISE (may block on a name server).
 * NEXAR_ECONFIG (NEXAR_EINVAL if the caller gave it), with what is wrong; as nx_resolve. */
nexar_status nx_reach_init(const struct nx_config *config, bool loopback, const struct nx_interfaces *there,
                           struct nx_reach *out);

/* Where to listen, port 0; a family of AF_UNSPEC means all addresses of both families.  NEXAR_ECONFIG. */
nexar_status nx_reach_listen(const struct nx_reach *reach, const struct nx_interfaces *there,
                             struct sockaddr_storage *out);

/* What to tell the others: addresses, best first, with this port.  `near` is this host's address on the way to the seed
 * (nx_route), or NULL.  NEXAR_ECONFIG, with the interfaces that there are. */
nexar_status nx_reach_tell(const struct nx_reach *reach, const struct nx_interfaces *there,
                           const struct sockaddr_storage *near, uint16_t port, char out[NX_TELL_MAX][NX_ADDRESS_TEXT],
                           size_t *count);

#endif
