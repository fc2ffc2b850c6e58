/* node/address.h - addresses as text, names as addresses, and the interfaces of this host. */
#ifndef NX_NODE_ADDRESS_H
#define NX_NODE_ADDRESS_H

#include "nexar/base.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NX_HOST_NAME 256    /* a name, or an address with a zone, with its zero */
#define NX_ADDRESS_TEXT 64  /* "[...]:65535" */
#define NX_RESOLVED_LIMIT 8 /* addresses of one name that are tried */

/* One address of one interface. */
struct nx_interface {
    char name[IF_NAMESIZE];
    bool up, loopback;
    struct sockaddr_storage address; /* port 0 */
};

struct nx_interfaces {
    struct nx_interface *item; /* owned */
    size_t count;
};

/* NEXAR_ESYSTEM, NEXAR_ENOMEM.  Free with nx_interfaces_free. */
nexar_status nx_interfaces_get(struct nx_interfaces *out);
void nx_interfaces_free(struct nx_interfaces *interfaces);

/* "10.0.0.1", "2001:db8::1", "[2001:db8::1]", "fe80::1%eth0".  False if it is no address. */
bool nx_address_parse(const char *text, uint16_t port, struct sockaddr_storage *out);

/* "host:port", "10.0.0.1:7000", "[::1]:0": brackets are taken off.  NEXAR_EINVAL with what is wrong. */
nexar_status nx_endpoint_parse(const char *text, char host[NX_HOST_NAME], uint16_t *port);

/* "10.0.0.1:7000", "[::1]:7000"; without the port, "10.0.0.1", "::1". */
void nx_endpoint_text(const struct sockaddr_storage *address, char out[NX_ADDRESS_TEXT]);
void nx_host_text(const struct sockaddr_storage *address, char out[NX_ADDRESS_TEXT]);

bool nx_address_is_loopback(const struct sockaddr_storage *address);
/* 127.0.1.1 and its like: how /etc/hosts often names this host.  No other host reaches them, nothing listens there. */
bool nx_address_is_alias(const struct sockaddr_storage *address);
bool nx_address_is_link_local(const struct sockaddr_storage *address);
bool nx_address_is_any(const struct sockaddr_storage *address);                           /* 0.0.0.0, :: */
bool nx_address_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b); /* ports apart */
/* Of any family, AF_UNSPEC too. */
void nx_address_set_port(struct sockaddr_storage *address, uint16_t port);

/* Where a host is, best first. */
struct nx_resolved {
    struct sockaddr_storage address[NX_RESOLVED_LIMIT];
    size_t count;
    bool here;     /* a name, or an alias, that means this host, though others know it by other addresses */
    bool loopback; /* all are loopback, and that is what was asked for: "localhost", "127.0.0.1", "::1" */
};

/* Addresses of a host, name or address.  In the place of an alias (127.0.1.1) come 127.0.0.1 and the addresses of the
 * interfaces.
 * NEXAR_EAGAIN: no answer from a name server, try again; NEXAR_ECONFIG: there is no such host; NEXAR_ENOMEM. */
nexar_status nx_resolve(const char *host, uint16_t port, const struct nx_interfaces *there, struct nx_resolved *out);

/* The part of it that decides: from what a resolver gave for a name, to what is tried. */
nexar_status nx_resolve_settle(const char *host, const struct sockaddr_storage *found, size_t count,
                               const struct nx_interfaces *there, struct nx_resolved *out);

/* This host's address on the way to another one, port 0; nothing is sent.  False if there is no way. */
bool nx_route(const struct sockaddr *to, struct sockaddr_storage *from);

/* As if it were somewhere on the Internet: the address that most others know this host by. */
bool nx_route_default(struct sockaddr_storage *from);

#endif
