/* node/reach.c - chooses among the addresses of this host.
 *
 * Owner: none, no state.  All but nx_reach_init are pure functions of a list of interfaces; nothing here asks the
 * system for one. */
#include "node/reach.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* ---- settings ---- */

/* A piece of a list that commas separate; the next one, or NULL after the last. */
static const char *piece(const char *list, char *out, size_t cap)
{
    size_t n = strcspn(list, ",");

    snprintf(out, cap, "%.*s", (int)n, list);
    return list[n] == '\0' ? NULL : list + n + 1;
}

static nexar_status fault_of(const struct nx_config *config, const void *field)
{
    return nx_config_source(config, field) == NX_BY_CALLER ? NEXAR_EINVAL : NEXAR_ECONFIG;
}

static nexar_status check_interfaces(const struct nx_config *config)
{
    const char *text = config->interface_, *rest;
    char name[64];

    if (text == NULL)
        return NEXAR_OK;
    rest = text + (text[0] == '^' ? 1 : 0);
    rest += rest[0] == '=' ? 1 : 0;
    while (rest != NULL) {
        rest = piece(rest, name, sizeof(name));
        if (name[0] == '\0' || strpbrk(name, "^= \t") != NULL)
            return nx_fail(
                fault_of(config, &config->interface_),
                "%s is \"%.80s\"; it can be beginnings of names (eth,ib), exact names (=eth0,eth1), or those "
                "to leave out (^lo,docker, ^=eth0)",
                nx_config_name(config, &config->interface_), text);
    }
    return NEXAR_OK;
}

static nexar_status read_bind(const struct nx_config *config, struct nx_reach *out)
{
    const char *name = nx_config_name(config, &config->bind);

    out->bound = config->bind != NULL;
    if (!out->bound)
        return NEXAR_OK;
    if (!nx_address_parse(config->bind, 0, &out->bind))
        return nx_fail(fault_of(config, &config->bind),
                       "%s is \"%.80s\"; it takes an IPv4 or IPv6 address, without a port", name, config->bind);
    if (nx_address_is_alias(&out->bind))
        return nx_fail(fault_of(config, &config->bind),
                       "%s is %.80s, which no other host reaches; for one host take "
                       "127.0.0.1",
                       name, config->bind);
    return NEXAR_OK;
}

static nexar_status read_advertise(const struct nx_config *config, const struct nx_interfaces *there,
                                   struct nx_reach *out)
{
    const char *rest = config->advertise, *name = nx_config_name(config, &config->advertise);
    nexar_status fault = fault_of(config, &config->advertise);

    while (rest != NULL) {
        char host[NX_HOST_NAME];
        struct nx_resolved found;
        nexar_status status;

        rest = piece(rest, host, sizeof(host));
        if (host[0] == '\0')
            return nx_fail(fault, "%s is \"%.80s\": an address is missing", name, config->advertise);
        status = nx_resolve(host, 0, there, &found);
        if (status == NEXAR_ECONFIG || status == NEXAR_EAGAIN)
            return nx_fail(fault, "%s: \"%.80s\" is neither an address nor the name of a host", name, host);
        if (status != NEXAR_OK)
            return status;
        if (found.here || nx_address_is_any(&found.address[0]))
            return nx_fail(fault, "%s: %.80s is an address that means something on this host alone", name, host);
        if (out->advertised == NX_TELL_MAX)
            return nx_fail(fault, "%s has more than %d addresses", name, NX_TELL_MAX);
        out->advertise[out->advertised++] = found.address[0];
    }
    return NEXAR_OK;
}

nexar_status nx_reach_init(const struct nx_config *config, bool loopback, const struct nx_interfaces *there,
                           struct nx_reach *out)
{
    nexar_status status;

    *out = (struct nx_reach){.interfaces = config->interface_, .loopback = loopback};
    status = check_interfaces(config);
    if (status == NEXAR_OK)
        status = read_bind(config, out);
    return status == NEXAR_OK ? read_advertise(config, there, out) : status;
}

/* ---- which interfaces ---- */

/* NCCL's rules.  True if the name is in the list. */
static bool listed(const char *list, bool exact, const char *name)
{
    while (list != NULL) {
        char wanted[64];

        list = piece(list, wanted, sizeof(wanted));
        if (exact ? strcmp(name, wanted) == 0 : strncmp(name, wanted, strlen(wanted)) == 0)
            return true;
    }
    return false;
}

static bool is_wanted(const char *spec, const struct nx_interface *i)
{
    bool without, exact;

    if (spec == NULL)
        return !i->loopback;
    without = spec[0] == '^';
    spec += without;
    exact = spec[0] == '=';
    spec += exact;
    return listed(spec, exact, i->name) ? !without : without && !i->loopback;
}

/* Bridges and ends of cables to containers and virtual machines: other hosts have the same addresses there. */
static bool is_virtual(const char *name)
{
    return listed("docker,br-,veth,virbr,vnet,podman,cni,flannel,cali,lxc,lxd,kube,dummy", false, name);
}

/* How good a candidate is, smaller is better; UNUSABLE if it is none. */
enum { UNUSABLE = 1000 };

static int cost(const struct nx_reach *reach, const struct nx_interfaces *there, const struct sockaddr_storage *near,
                size_t index)
{
    const struct nx_interface *i = &there->item[index];
    int sum = 0;

    if (!i->up || !is_wanted(reach->interfaces, i) || nx_address_is_alias(&i->address))
        return UNUSABLE;
    if (reach->bound && i->address.ss_family != reach->bind.ss_family && reach->bind.ss_family == AF_INET)
        return UNUSABLE; /* listens on 0.0.0.0 */
    if (i->address.ss_family == AF_INET6 && nx_address_is_link_local(&i->address))
        return UNUSABLE; /* the others would need a zone, which each host numbers on its own */
    for (size_t k = 0; k < there->count && near != NULL; k++) {
        if (nx_address_same(&there->item[k].address, near) && strcmp(there->item[k].name, i->name) == 0)
            sum = -500; /* the interface on the way to the seed */
    }
    if (near != NULL && nx_address_same(&i->address, near))
        return -900;
    if (nx_address_is_link_local(&i->address))
        sum += 400;
    if ((reach->interfaces == NULL || reach->interfaces[0] == '^') && is_virtual(i->name))
        sum += 200;
    if (near != NULL && near->ss_family != i->address.ss_family)
        sum += 20;
    if (i->address.ss_family == AF_INET6)
        sum += 10;
    return sum;
}

/* The next best after those that are chosen; false if there is none that adds a way. */
static bool choose_next(const struct nx_reach *reach, const struct nx_interfaces *there,
                        const struct sockaddr_storage *near, size_t chosen[NX_TELL_MAX], size_t *count)
{
    int best = UNUSABLE, first = *count == 0 ? 0 : cost(reach, there, near, chosen[0]);
    size_t at = 0;

    for (size_t i = 0; i < there->count; i++) {
        int c = cost(reach, there, near, i);
        bool more = c < best;

        for (size_t k = 0; k < *count && more; k++) {
            const struct nx_interface *have = &there->item[chosen[k]];

            more = strcmp(have->name, there->item[i].name) != 0 ||
                   have->address.ss_family != there->item[i].address.ss_family;
        }
        /* Doubtful ones only where there are no good ones. */
        if (more && (*count == 0 || c < 200 || first >= 200)) {
            best = c;
            at = i;
        }
    }
    if (best == UNUSABLE)
        return false;
    chosen[(*count)++] = at;
    return true;
}

/* "lo (127.0.0.1), eth0 (10.0.0.5, down)" */
static void describe(const struct nx_interfaces *there, char *out, size_t cap)
{
    size_t n = 0;

    snprintf(out, cap, "none");
    for (size_t i = 0; i < there->count && n < cap; i++) {
        char address[NX_ADDRESS_TEXT];

        nx_host_text(&there->item[i].address, address);
        n += (size_t)snprintf(out + n, cap - n, "%s%s (%s%s)", i == 0 ? "" : ", ", there->item[i].name, address,
                              there->item[i].up ? "" : ", down");
    }
}

static nexar_status choose(const struct nx_reach *reach, const struct nx_interfaces *there,
                           const struct sockaddr_storage *near, size_t chosen[NX_TELL_MAX], size_t *count)
{
    char list[256];

    *count = 0;
    while (*count < NX_TELL_MAX && choose_next(reach, there, near, chosen, count))
        ;
    if (*count != 0)
        return NEXAR_OK;
    describe(there, list, sizeof(list));
    if (reach->interfaces != NULL)
        return nx_fail(NEXAR_ECONFIG,
                       "interface \"%.80s\": none that is up matches and has an address for others; there are %s",
                       reach->interfaces, list);
    return nx_fail(NEXAR_ECONFIG,
                   "no interface that is up has an address for others (NEXAR_ADVERTISE can name one); there "
                   "are %s",
                   list);
}

static nexar_status find_loopback(const struct nx_interfaces *there, const struct sockaddr_storage *near,
                                  struct sockaddr_storage *out)
{
    static const char *const names[] = {"127.0.0.1", "::1"};
    bool six_first = near != NULL && near->ss_family == AF_INET6 && nx_address_is_loopback(near);
    char list[256];

    for (size_t k = 0; k < 2; k++) {
        nx_address_parse(names[six_first ? 1 - k : k], 0, out);
        for (size_t i = 0; i < there->count; i++) {
            if (there->item[i].up && nx_address_same(&there->item[i].address, out))
                return NEXAR_OK;
        }
    }
    describe(there, list, sizeof(list));
    return nx_fail(NEXAR_ECONFIG,
                   "all ranks are on this host, which has no loopback interface that is up; there are %s", list);
}

/* ---- the answers ---- */

static nexar_status check_bound(const struct nx_reach *reach, const struct nx_interfaces *there)
{
    char address[NX_ADDRESS_TEXT], list[256];

    if (nx_address_is_any(&reach->bind))
        return NEXAR_OK;
    for (size_t i = 0; i < there->count; i++) {
        if (there->item[i].up && nx_address_same(&there->item[i].address, &reach->bind))
            return NEXAR_OK;
    }
    nx_host_text(&reach->bind, address);
    describe(there, list, sizeof(list));
    return nx_fail(NEXAR_ECONFIG, "bind: %s is not an address of this host; there are %s", address, list);
}

nexar_status nx_reach_listen(const struct nx_reach *reach, const struct nx_interfaces *there,
                             struct sockaddr_storage *out)
{
    size_t chosen[NX_TELL_MAX], count;
    nexar_status status;

    memset(out, 0, sizeof(*out)); /* AF_UNSPEC: everywhere */
    if (reach->bound) {
        if (!nx_address_is_any(&reach->bind) || reach->bind.ss_family == AF_INET)
            *out = reach->bind;
        return check_bound(reach, there);
    }
    if (reach->loopback)
        return find_loopback(there, NULL, out);
    if (reach->interfaces == NULL)
        return NEXAR_OK;
    status = choose(reach, there, NULL, chosen, &count);
    if (status == NEXAR_OK && count == 1)
        *out = there->item[chosen[0]].address;
    return status;
}

nexar_status nx_reach_tell(const struct nx_reach *reach, const struct nx_interfaces *there,
                           const struct sockaddr_storage *near, uint16_t port, char out[NX_TELL_MAX][NX_ADDRESS_TEXT],
                           size_t *count)
{
    struct sockaddr_storage tell[NX_TELL_MAX];
    size_t chosen[NX_TELL_MAX], n = 0;
    nexar_status status = NEXAR_OK;

    *count = 0;
    if (reach->advertised != 0) {
        n = reach->advertised;
        memcpy(tell, reach->advertise, sizeof(tell));
    } else if (reach->bound && !nx_address_is_any(&reach->bind)) {
        tell[n++] = reach->bind;
    } else if (reach->loopback) {
        status = find_loopback(there, near, &tell[n++]);
    } else {
        status = choose(reach, there, near, chosen, &n);
        for (size_t i = 0; i < n; i++)
            tell[i] = there->item[chosen[i]].address;
    }
    if (status != NEXAR_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        nx_address_set_port(&tell[i], port);
        nx_endpoint_text(&tell[i], out[i]);
    }
    *count = n;
    return NEXAR_OK;
}
