/* node/address.c - reads, writes and resolves addresses; asks the system for its interfaces and routes.
 *
 * Owner: none, no state.  nx_resolve may block on a name server; nothing else does.  Which address to use is decided in
 * node/reach.c. */
#include "node/address.h"

#include "base/mem.h"
#include "base/status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct sockaddr_in *v4(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? (struct sockaddr_in *)(uintptr_t)address : NULL;
}

static struct sockaddr_in6 *v6(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? (struct sockaddr_in6 *)(uintptr_t)address : NULL;
}

/* ---- as text ---- */

bool nx_address_parse(const char *text, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)out;
    size_t n = strlen(text), bare;
    char host[NX_HOST_NAME];
    const char *zone;

    memset(out, 0, sizeof(*out));
    if (n >= sizeof(host))
        return false;
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        return true;
    }
    bare = n >= 2 && text[0] == '[' && text[n - 1] == ']' ? n - 2 : n;
    snprintf(host, sizeof(host), "%.*s", (int)bare, text + (bare < n ? 1 : 0));
    zone = strchr(host, '%');
    if (zone != NULL) {
        host[zone++ - host] = '\0';
        six->sin6_scope_id = if_nametoindex(zone);
        if (six->sin6_scope_id == 0)
            return false;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1)
        return false;
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    return true;
}

nexar_status nx_endpoint_parse(const char *text, char host[NX_HOST_NAME], uint16_t *port)
{
    const char *colon = strrchr(text, ':'), *end;
    bool brackets = text[0] == '[';
    unsigned long number;
    size_t n;
    char *rest;

    if (brackets && (colon == NULL || colon[-1] != ']'))
        colon = NULL;
    if (colon == NULL)
        return nx_fail(NEXAR_EINVAL, "\"%.80s\" has no port; write host:port, or [address]:port for IPv6", text);
    if (!brackets && strchr(text, ':') != colon)
        return nx_fail(NEXAR_EINVAL, "\"%.80s\" is ambiguous: IPv6 addresses need brackets, [address]:port", text);
    number = strtoul(colon + 1, &rest, 10);
    if (colon[1] < '0' || colon[1] > '9' || *rest != '\0' || rest - colon > 6 || number > UINT16_MAX)
        return nx_fail(NEXAR_EINVAL, "\"%.80s\": the port is not a number from 0 to 65535", text);
    end = brackets ? colon - 1 : colon;
    n = (size_t)(end - text) - (brackets ? 1 : 0);
    if (n == 0 || n >= NX_HOST_NAME)
        return nx_fail(NEXAR_EINVAL, "\"%.80s\" has %s host", text, n == 0 ? "no" : "too long a name for its");
    memcpy(host, text + (brackets ? 1 : 0), n);
    host[n] = '\0';
    *port = (uint16_t)number;
    return NEXAR_OK;
}

void nx_host_text(const struct sockaddr_storage *address, char out[NX_ADDRESS_TEXT])
{
    const struct sockaddr_in6 *six = v6(address);
    size_t n;

    out[0] = '\0';
    if (v4(address) != NULL)
        inet_ntop(AF_INET, &v4(address)->sin_addr, out, NX_ADDRESS_TEXT);
    if (six == NULL)
        return;
    inet_ntop(AF_INET6, &six->sin6_addr, out, NX_ADDRESS_TEXT);
    n = strlen(out);
    if (six->sin6_scope_id != 0)
        snprintf(out + n, NX_ADDRESS_TEXT - n, "%%%u", (unsigned)six->sin6_scope_id);
}

void nx_endpoint_text(const struct sockaddr_storage *address, char out[NX_ADDRESS_TEXT])
{
    char host[NX_ADDRESS_TEXT];
    unsigned port = v6(address) != NULL ? ntohs(v6(address)->sin6_port) : ntohs(v4(address)->sin_port);

    nx_host_text(address, host);
    snprintf(out, NX_ADDRESS_TEXT, v6(address) != NULL ? "[%.54s]:%u" : "%.54s:%u", host, port);
}

/* ---- what kind of address ---- */

bool nx_address_is_loopback(const struct sockaddr_storage *address)
{
    if (v4(address) != NULL)
        return ntohl(v4(address)->sin_addr.s_addr) >> 24 == 127;
    return v6(address) != NULL && IN6_IS_ADDR_LOOPBACK(&v6(address)->sin6_addr);
}

bool nx_address_is_alias(const struct sockaddr_storage *address)
{
    return v4(address) != NULL && nx_address_is_loopback(address) &&
           ntohl(v4(address)->sin_addr.s_addr) != INADDR_LOOPBACK;
}

bool nx_address_is_link_local(const struct sockaddr_storage *address)
{
    if (v4(address) != NULL)
        return ntohl(v4(address)->sin_addr.s_addr) >> 16 == 0xa9fe; /* 169.254 */
    return v6(address) != NULL && IN6_IS_ADDR_LINKLOCAL(&v6(address)->sin6_addr);
}

bool nx_address_is_any(const struct sockaddr_storage *address)
{
    if (v4(address) != NULL)
        return v4(address)->sin_addr.s_addr == 0;
    return v6(address) != NULL && IN6_IS_ADDR_UNSPECIFIED(&v6(address)->sin6_addr);
}

bool nx_address_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (v4(a) != NULL && v4(b) != NULL)
        return v4(a)->sin_addr.s_addr == v4(b)->sin_addr.s_addr;
    return v6(a) != NULL && v6(b) != NULL && IN6_ARE_ADDR_EQUAL(&v6(a)->sin6_addr, &v6(b)->sin6_addr) &&
           v6(a)->sin6_scope_id == v6(b)->sin6_scope_id;
}

_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "ports apart");

void nx_address_set_port(struct sockaddr_storage *address, uint16_t port)
{
    ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
}

/* ---- what the system knows ---- */

static bool take(const struct ifaddrs *from, struct nx_interface *to)
{
    int family = from->ifa_addr == NULL ? AF_UNSPEC : from->ifa_addr->sa_family;

    if (family != AF_INET && family != AF_INET6)
        return false;
    *to = (struct nx_interface){.up = (from->ifa_flags & IFF_UP) != 0 && (from->ifa_flags & IFF_RUNNING) != 0,
                                .loopback = (from->ifa_flags & IFF_LOOPBACK) != 0};
    snprintf(to->name, sizeof(to->name), "%s", from->ifa_name);
    memcpy(&to->address, from->ifa_addr, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    return true;
}

nexar_status nx_interfaces_get(struct nx_interfaces *out)
{
    struct ifaddrs *list;
    size_t n = 0;

    *out = (struct nx_interfaces){0};
    if (getifaddrs(&list) != 0)
        return nx_fail(NEXAR_ESYSTEM, "the interfaces of this host cannot be listed: %s", strerror(errno));
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
        n++;
    out->item = nx_calloc(n == 0 ? 1 : n, sizeof(*out->item));
    for (const struct ifaddrs *i = list; i != NULL && out->item != NULL; i = i->ifa_next)
        out->count += take(i, &out->item[out->count]);
    freeifaddrs(list);
    return out->item == NULL ? nx_fail(NEXAR_ENOMEM, "no memory for a list of interfaces") : NEXAR_OK;
}

void nx_interfaces_free(struct nx_interfaces *interfaces)
{
    nx_free(interfaces->item);
    *interfaces = (struct nx_interfaces){0};
}

bool nx_route(const struct sockaddr *to, struct sockaddr_storage *from)
{
    socklen_t size = to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    struct sockaddr_storage target = {0};
    bool found = false;
    int fd;

    memset(from, 0, sizeof(*from));
    memcpy(&target, to, size);
    nx_address_set_port(&target, 9); /* any will do, but 0 will not */
    fd = socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)&target, size) == 0) {
        size = sizeof(*from);
        found = getsockname(fd, (struct sockaddr *)from, &size) == 0;
    }
    close(fd);
    nx_address_set_port(from, 0);
    return found && !nx_address_is_any(from);
}

bool nx_route_default(struct sockaddr_storage *from)
{
    static const char *const anywhere[] = {"198.51.100.1", "2001:db8::1"}; /* documentation's; nobody is there */

    for (size_t i = 0; i < sizeof(anywhere) / sizeof(anywhere[0]); i++) {
        struct sockaddr_storage to;

        if (nx_address_parse(anywhere[i], 9, &to) && nx_route((const struct sockaddr *)&to, from) &&
            !nx_address_is_loopback(from))
            return true;
    }
    return false;
}

/* ---- names ---- */

static void add(struct nx_resolved *out, const struct sockaddr_storage *address)
{
    for (size_t i = 0; i < out->count; i++) {
        if (nx_address_same(&out->address[i], address))
            return;
    }
    if (out->count < NX_RESOLVED_LIMIT)
        out->address[out->count++] = *address;
}

/* This host, by all that it listens on. */
static void add_own(struct nx_resolved *out, const struct nx_interfaces *there)
{
    struct sockaddr_storage own;

    nx_address_parse("127.0.0.1", 0, &own);
    add(out, &own);
    for (size_t i = 0; i < there->count; i++) {
        if (there->item[i].up && !there->item[i].loopback && !nx_address_is_link_local(&there->item[i].address))
            add(out, &there->item[i].address);
    }
}

nexar_status nx_resolve_settle(const char *host, const struct sockaddr_storage *found, size_t count,
                               const struct nx_interfaces *there, struct nx_resolved *out)
{
    struct sockaddr_storage literal;
    bool plain = nx_address_parse(host, 0, &literal) || strcmp(host, "localhost") == 0;

    *out = (struct nx_resolved){.loopback = count != 0};
    for (size_t i = 0; i < count; i++) {
        bool loopback = nx_address_is_loopback(&found[i]), alias = nx_address_is_alias(&found[i]);

        if (loopback && (alias || !plain))
            out->here = true;
        else
            add(out, &found[i]);
        if (!loopback || alias || !plain)
            out->loopback = false;
    }
    if (out->here)
        add_own(out, there);
    if (out->count == 0)
        return nx_fail(NEXAR_ECONFIG, "%s: it has no address", host);
    return NEXAR_OK;
}

nexar_status nx_resolve(const char *host, uint16_t port, const struct nx_interfaces *there, struct nx_resolved *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
    struct sockaddr_storage found[2 * NX_RESOLVED_LIMIT] = {{0}};
    nexar_status status;
    size_t n = 0;
    int failed = 0;

    *out = (struct nx_resolved){0};
    if (nx_address_parse(host, 0, &found[0])) {
        n = 1;
    } else {
        failed = getaddrinfo(host, NULL, &hints, &list);
    }
    if (failed != 0)
        return nx_fail(failed == EAI_AGAIN    ? NEXAR_EAGAIN
                       : failed == EAI_MEMORY ? NEXAR_ENOMEM
                                              : NEXAR_ECONFIG,
                       "%.200s: %s", host, failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
    for (const struct addrinfo *i = list; i != NULL && n < sizeof(found) / sizeof(found[0]); i = i->ai_next) {
        if (i->ai_family == AF_INET || i->ai_family == AF_INET6)
            memcpy(&found[n++], i->ai_addr, i->ai_addrlen);
    }
    if (list != NULL)
        freeaddrinfo(list);
    status = nx_resolve_settle(host, found, n, there, out);
    for (size_t i = 0; i < out->count; i++)
        nx_address_set_port(&out->address[i], port);
    return status;
}
