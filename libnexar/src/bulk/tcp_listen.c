/* bulk/tcp_listen.c - where this node can be dialled, and strangers before they have named an offer.
 *
 * Owner: the engine.  It listens only at addresses that the connections of this job have anyway.  It lets everybody in
 * for a moment; tcp_dial.c sends away who knows no token. */
#include "bulk/tcp.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 256, ACCEPTS = 32 };

struct listener {
    struct nx_list link; /* self->listeners */
    struct nx_tcp *self;
    struct sockaddr_storage address; /* with its port */
    int fd;
    nexar_watch *watch;
};

/* ---- addresses as text ---- */

bool nx_tcp_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *size)
{
    static const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    const char *colon = strrchr(text, ':');
    size_t n = colon == NULL ? 0 : (size_t)(colon - text);
    bool bracket = text[0] == '[';
    char host[NX_TCP_ADDRESS];
    struct addrinfo *found;

    if (n <= 2 || n >= sizeof(host) || (bracket && text[n - 1] != ']'))
        return false;
    memcpy(host, text + bracket, n - 2 * (size_t)bracket);
    host[n - 2 * (size_t)bracket] = '\0';
    if (getaddrinfo(host, colon + 1, &numeric, &found) != 0)
        return false;
    memset(out, 0, sizeof(*out));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

bool nx_tcp_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)a, *b4 = (const struct sockaddr_in *)b;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a, *b6 = (const struct sockaddr_in6 *)b;

    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return a->ss_family == AF_INET6 && memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

void nx_tcp_address_text(const struct sockaddr_storage *address, char *text, size_t cap)
{
    char host[NX_TCP_ADDRESS - 10] = "?", port[8] = "?";
    socklen_t size = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    (void)getnameinfo((const struct sockaddr *)address, size, host, sizeof(host), port, sizeof(port),
                      NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, cap, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)a, *b4 = (const struct sockaddr_in *)b;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a, *b6 = (const struct sockaddr_in6 *)b;

    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0 && a6->sin6_scope_id == b6->sin6_scope_id;
}

static void set_port(struct sockaddr_storage *a, uint16_t port)
{
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_port = port;
    else
        ((struct sockaddr_in *)a)->sin_port = port;
}

/* ---- listening ---- */

static void accept_some(void *arg, uint32_t events)
{
    struct listener *l = arg;

    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            return; /* nobody, or somebody who has gone, or no descriptors: epoll tells again */
        nx_tcp_knock(l->self, fd);
    }
}

static void close_listener(struct listener *l)
{
    nx_list_remove(&l->link);
    l->self->host->unwatch(l->watch);
    if (l->fd >= 0)
        close(l->fd);
    nx_free(l);
}

static nexar_status listen_at(struct nx_tcp *self, const struct sockaddr_storage *at, socklen_t size,
                              struct listener **out)
{
    struct listener *l = nx_calloc(1, sizeof(*l));
    nexar_status st = NEXAR_OK;

    *out = l;
    if (l == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to listen");
    l->self = self;
    nx_list_push_back(&self->listeners, &l->link);
    l->fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(&l->address, at, sizeof(*at));
    set_port(&l->address, 0);
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&l->address, size) != 0 || listen(l->fd, BACKLOG) != 0 ||
        getsockname(l->fd, (struct sockaddr *)&l->address, &size) != 0)
        st = nx_fail(NEXAR_ESYSTEM, "cannot listen by TCP: %s", strerror(errno));
    if (st == NEXAR_OK)
        st = self->host->watch_fd(self->node, l->fd, EPOLLIN, accept_some, l, &l->watch);
    if (st != NEXAR_OK)
        close_listener(l);
    return st;
}

static nexar_status listen_for(struct nx_tcp *self, const struct sockaddr_storage *at, socklen_t size,
                               struct listener **out)
{
    nx_list_for_each_safe(pos, tmp, &self->listeners)
    {
        *out = nx_container_of(pos, struct listener, link);
        if (same_host(&(*out)->address, at))
            return NEXAR_OK;
    }
    return listen_at(self, at, size, out);
}

/* Whether NEXAR_INTERFACE has this name: beginnings of names, exact ones (=eth0,eth1), or those to leave out (^lo). */
bool nx_tcp_interface_listed(const char *list, const char *name)
{
    bool all_but = list[0] == '^', exact, found = false;

    list += all_but;
    exact = list[0] == '=';
    list += exact;
    for (;;) {
        size_t n = strcspn(list, ",");

        found = found || (n > 0 && strncmp(name, list, n) == 0 && (!exact || name[n] == '\0'));
        if (list[n] == '\0')
            return found != all_but;
        list += n + 1;
    }
}

static nexar_status offer_at(struct nx_tcp_half *h, const struct sockaddr_storage *at, socklen_t size)
{
    struct nx_tcp_words *offer = &h->offer;
    struct listener *l;
    nexar_status st = listen_for(h->self, at, size, &l);

    if (st == NEXAR_OK)
        nx_tcp_address_text(&l->address, offer->address[offer->addresses++], NX_TCP_ADDRESS);
    return st;
}

/* Several connections may take several ways: addresses of the other interfaces that are listed, of the same family. */
static void offer_interfaces(struct nx_tcp_half *h, const struct sockaddr_storage *first)
{
    const char *list = h->self->host->setting("NEXAR_INTERFACE");
    struct ifaddrs *all = NULL;

    if (list == NULL || list[0] == '\0' || h->streams == 1 || getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *i = all; i != NULL && h->offer.addresses < NX_TCP_ADDRESSES; i = i->ifa_next) {
        struct sockaddr_storage at = {0};
        socklen_t size = first->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != first->ss_family || (i->ifa_flags & IFF_UP) == 0 ||
            !nx_tcp_interface_listed(list, i->ifa_name))
            continue;
        memcpy(&at, i->ifa_addr, size);
        if (!same_host(&at, first))
            (void)offer_at(h, &at, size); /* the first is enough */
    }
    freeifaddrs(all);
}

nexar_status nx_tcp_listen(struct nx_tcp_half *h)
{
    char own[NX_TCP_ADDRESS], peer[NX_TCP_ADDRESS];
    struct sockaddr_storage at;
    socklen_t size;
    nexar_status st;

    h->self->host->link_addresses(h->host_link, own, peer, sizeof(own));
    if (!nx_tcp_address_parse(own, &at, &size))
        return nx_fail(NEXAR_ESYSTEM, "the connection has no address to listen at: \"%s\"", own);
    st = offer_at(h, &at, size);
    if (st == NEXAR_OK)
        offer_interfaces(h, &at);
    return st;
}

void nx_tcp_listen_end(struct nx_tcp *self)
{
    nx_list_for_each_safe(pos, tmp, &self->listeners)
    {
        close_listener(nx_container_of(pos, struct listener, link));
    }
}
