/* node/seed.c - the public seed: a job's meeting point without a rank.
 *
 * Owner: the calling thread; it serves on the engine (cluster/seed_io.c). */
#include "base/mem.h"
#include "nexar/node.h"
#include "node/options.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct nexar_seed {
    struct nx_seed *seed;
};

/* The names that the join string has: the address it listens on, or all by which others may reach this host. */
static nexar_status name_hosts(struct nx_setup *setup, struct nx_seed_options *o)
{
    char told[NX_TELL_MAX][NX_ADDRESS_TEXT];
    struct sockaddr_storage near;
    bool routed;
    size_t n = 0;
    nexar_status st;

    if (!nx_address_is_any(&o->listen)) {
        nx_host_text(&o->listen, told[0]);
        n = 1;
    } else {
        st = nx_reach_init(&setup->config, false, &setup->there, &setup->reach);
        routed = nx_route_default(&near);
        if (st == NEXAR_OK)
            st = nx_reach_tell(&setup->reach, &setup->there, routed ? &near : NULL, 0, told, &n);
        if (st != NEXAR_OK)
            return st;
        for (size_t i = 0; i < n; i++) {
            struct sockaddr_storage address;
            char host[NX_HOST_NAME];
            uint16_t port;

            if (nx_endpoint_parse(told[i], host, &port) == NEXAR_OK && nx_address_parse(host, 0, &address))
                nx_host_text(&address, told[i]);
        }
    }
    for (size_t i = 0; i < n && i < NX_JOIN_HOSTS; i++)
        snprintf(o->hosts[o->host_count++].name, sizeof(o->hosts[0].name), "%s", told[i]);
    return NEXAR_OK;
}

nexar_status nexar_seed_open(const char *address, uint32_t world_size, const nexar_config *config, nexar_seed **out)
{
    struct nx_seed_options o = {.size = world_size};
    struct nx_setup setup;
    char host[NX_HOST_NAME];
    uint16_t port;
    nexar_seed *seed;
    nexar_status st;

    if (out == NULL)
        return nx_fail(NEXAR_EINVAL, "seed: there is no place for the seed");
    *out = NULL;
    if (address == NULL || world_size == 0 || world_size > NX_RANKS_LIMIT)
        return nx_fail(NEXAR_EINVAL, "seed: it needs an address and 1 to %u ranks", NX_RANKS_LIMIT);
    st = nx_endpoint_parse(address, host, &port);
    if (st != NEXAR_OK)
        return st;
    if (!nx_address_parse(host, port, &o.listen))
        return nx_fail(NEXAR_EINVAL, "seed: \"%s\" is not an address of this host, such as 0.0.0.0 or 10.0.0.1", host);
    st = nx_setup_load(config, true, &setup);
    o.timeout = setup.config.join_timeout_ns;
    o.grows = setup.config.elastic != 0;
    if (st == NEXAR_OK)
        st = name_hosts(&setup, &o);
    nx_setup_free(&setup);
    if (st != NEXAR_OK)
        return st;
    seed = nx_calloc(1, sizeof(*seed));
    if (seed == NULL)
        return nx_fail(NEXAR_ENOMEM, "seed: no memory");
    st = nx_seed_serve(&o, &seed->seed);
    if (st != NEXAR_OK) {
        nx_free(seed);
        return st;
    }
    *out = seed;
    return NEXAR_OK;
}

nexar_status nexar_seed_join_string(const nexar_seed *seed, char *text, size_t cap)
{
    const char *join;

    if (seed == NULL || text == NULL || cap == 0)
        return nx_fail(NEXAR_EINVAL, "seed: it is NULL, or there is no place for the join string");
    join = nx_seed_text(seed->seed);
    text[0] = '\0';
    if (strlen(join) >= cap)
        return nx_fail(NEXAR_EMSGSIZE, "seed: the join string has %zu bytes, there is room for %zu", strlen(join) + 1,
                       cap);
    snprintf(text, cap, "%s", join);
    return NEXAR_OK;
}

nexar_status nexar_seed_point_to(nexar_seed *seed, const char *join_string)
{
    char addresses[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE];
    struct nx_join_string join;
    uint32_t n = 0;
    nexar_status st;

    if (seed == NULL || join_string == NULL)
        return nx_fail(NEXAR_EINVAL, "seed: it is NULL, or there is no join string");
    st = nx_join_string_parse(join_string, &join);
    if (st != NEXAR_OK)
        return st;
    explicit_bzero(join.token, sizeof(join.token));
    for (size_t i = 0; i < join.host_count && n < NX_ADDRESSES_MAX; i++) {
        struct sockaddr_storage address;

        if (!nx_address_parse(join.hosts[i].name, join.hosts[i].port, &address))
            return nx_fail(NEXAR_EINVAL, "seed: \"%s\" is not an address", join.hosts[i].name);
        nx_endpoint_text(&address, addresses[n++]);
    }
    return nx_seed_point_to(seed->seed, addresses, n);
}

nexar_status nexar_seed_wait(nexar_seed *seed, int64_t timeout_ns)
{
    if (seed == NULL)
        return nx_fail(NEXAR_EINVAL, "seed: it is NULL");
    return nx_seed_wait(seed->seed, nx_after(nx_now(), timeout_ns));
}

void nexar_seed_close(nexar_seed *seed)
{
    if (seed == NULL)
        return;
    nx_seed_end(seed->seed);
    nx_free(seed);
}
