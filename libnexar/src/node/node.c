/* node/node.c - assembles a node and takes it apart; the only file that knows all layers.
 *
 * Owner: joining runs on the engine; starting, waiting and closing belong to the thread that calls.  Order of the end:
 * operations, farewells, connections, memory; each step waits for the one before. */
#include "node/node.h"

#include "base/call.h"
#include "base/log.h"
#include "base/mem.h"
#include "bulk/bulk.h"
#include "bulk/shm.h"
#include "coll/near.h"
#include "comm/dump.h"
#include "net/way.h"
#include "node/node_parts.h"
#include "rpc/rpc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(NX_HOST_SIZE == NX_ID_SIZE, "a host is the group that a rank joins with");

/* ---- joining: on the engine ---- */

static void finish(struct nx_node *node, const nexar_error *error)
{
    nx_lock(&node->lock);
    if (!node->over) {
        node->over = true;
        if (error != NULL)
            node->error = *error;
        if (node->waiter != NULL)
            nx_waiter_wake(node->waiter);
    }
    nx_unlock(&node->lock);
}

static void close_node(void *owner);

/* Best first. */
static const nexar_module *const own_modules[] = {&nx_shm_module, &nx_tcp_module, NULL};

static nexar_status open_net(struct nx_node *node, uint32_t rank, uint32_t size)
{
    const struct nx_node_options *o = &node->options;
    struct nx_net_config config = {.rank = rank,
                                   .size = size,
                                   .small_bytes = o->small_bytes,
                                   .inflight_bytes = o->mesh.connection_window / 2,
                                   .limits = o->limits};
    nexar_status st = nx_net_init(&node->net, &config, &nx_node_events, node);

    node->net_open = true;
    node->comms = (struct nx_comms){.net = &node->net,
                                    .select = &node->select,
                                    .timeout = o->timeout,
                                    .linger = o->linger,
                                    .last = close_node,
                                    .owner = node};
    memcpy(node->comms.host, o->join.group, sizeof(node->comms.host));
    nx_comms_init(&node->comms);
    if (st == NEXAR_OK)
        st = nx_ways_open(&node->net, &(struct nx_way_options){
                                          .transports = o->transports, .modules = o->modules, .own = own_modules});
    if (st == NEXAR_OK)
        st = nx_kin_open(&node->net, &node->kin);
    if (st == NEXAR_OK)
        st = nx_dump_open(&node->net, o->dump_folder);
    if (st == NEXAR_OK)
        st = nx_rpc_open(&node->net, o->rpc_threads, o->rpc_queue);
    if (st == NEXAR_OK)
        st = nx_comms_open(&node->comms, NX_WORLD_ID, rank, size, NULL, &node->world);
    return st;
}

/* ---- the ways beside QUIC ---- */

static nexar_status identity(void *arg, const uint8_t id[16], nexar_tls_identity *out)
{
    struct nx_node *node = arg;
    const struct nx_pem *pem;
    nexar_status st = nx_mesh_identity(node->mesh, id, &pem, node->peer_name);

    *out = (nexar_tls_identity){
        .size = sizeof(*out), .certificate = pem->leaf, .key = pem->key, .authority = pem->ca, .peer = node->peer_name};
    return st;
}

static void ways_settled(void *arg, const nexar_error *error)
{
    struct nx_node *node = arg;

    node->net.shm = nx_shm_shared(nx_way_self(&node->net, "shm"));
    if (node->net.shm != NULL)
        nx_near_begin(&node->comms);
    nx_node_find_records(node, true);
    if (error == NULL)
        nx_joining_meshed(node->joining);
    else
        nx_joining_mesh_failed(node->joining, error);
}

static nexar_status find_hosts(struct nx_node *node)
{
    uint32_t size = node->net.config.size;

    node->hosts = nx_alloc(size * sizeof(*node->hosts));
    if (node->hosts == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the hosts of %u ranks", size);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t k = 0;

        /* One of those before that is the first of its host, and usually that of the rank just before. */
        if (i != 0 && memcmp(nx_mesh_group(node->mesh, i), nx_mesh_group(node->mesh, i - 1), NX_ID_SIZE) == 0)
            k = node->hosts[i - 1];
        while (k < i && memcmp(nx_mesh_group(node->mesh, i), nx_mesh_group(node->mesh, k), NX_ID_SIZE) != 0)
            k++;
        node->hosts[i] = k;
    }
    node->comms.hosts = node->hosts;
    return nx_comm_place(node->world, node->hosts);
}

static void mesh_complete(void *arg)
{
    static const struct nx_way_events events = {.near = nx_node_is_near, .identity = identity, .settled = ways_settled};
    struct nx_node *node = arg;

    if (find_hosts(node) == NEXAR_OK)
        nx_ways_begin(&node->net, &events, node);
    else
        nx_joining_mesh_failed(node->joining, nx_last_error());
}

static void mesh_failed(void *arg, const nexar_error *error)
{
    struct nx_node *node = arg;

    nx_joining_mesh_failed(node->joining, error);
}

static void mesh_formed(void *arg)
{
    struct nx_node *node = arg;

    nx_joining_formed(node->joining);
}

static nexar_status welcome(void *arg, uint32_t rank, uint32_t size, const struct sockaddr *seed,
                            struct nx_bundle *bundle, struct nx_trust *trust,
                            char addresses[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count)
{
    struct nx_node *node = arg;
    struct nx_mesh_result result = {
        .complete = mesh_complete, .failed = mesh_failed, .formed = mesh_formed, .arg = node};
    char prefix[16];
    nexar_status st = open_net(node, rank, size);

    nx_lock(&node->lock);
    node->welcomed = true;
    nx_unlock(&node->lock);
    if (st != NEXAR_OK) {
        nx_bundle_free(bundle);
        nx_trust_free(trust);
        return st;
    }
    snprintf(prefix, sizeof(prefix), "[%u] ", rank);
    nx_log_set_prefix(prefix);
    node->options.mesh.settings = node->select.digest;
    st = nx_mesh_open(&node->net, &node->options.mesh, bundle, trust, &result, &node->mesh);
    if (st == NEXAR_OK)
        st = node->options.addresses(node->options.addresses_arg, seed, nx_mesh_port(node->mesh), addresses, count);
    return st;
}

static nexar_status grow(void *arg, const struct nx_trust *trust, struct nx_bytes authority,
                         const struct sockaddr *seed, char lobby[NX_ADDRESSES_MAX][NX_ADDRESS_SIZE], uint32_t *count)
{
    struct nx_lobby_place place;
    nexar_status st = nx_lobby_open(arg, trust, authority, seed, &place);

    if (st == NEXAR_OK) {
        memcpy(lobby, place.address, sizeof(place.address));
        *count = place.count;
    }
    return st;
}

static nexar_status connect_mesh(void *arg, const struct nx_msg_roster *roster)
{
    struct nx_node *node = arg;
    nexar_status st = NEXAR_OK;

    if (node->options.join.formation != 0)
        st = nx_lobby_learn(node, roster);
    return st != NEXAR_OK ? st : nx_mesh_connect(node->mesh, roster, node->options.join.deadline);
}

static void joined(void *arg, const nexar_error *error)
{
    struct nx_node *node = arg;

    if (error == NULL)
        nx_mesh_tell_formed(node->mesh);
    if (error == NULL && nx_node_open_members(node) != NEXAR_OK)
        error = nx_last_error();
    if (error != NULL && error->status == NEXAR_EPEER && nx_joining_may_try_again(node->joining)) {
        nx_lock(&node->lock);
        node->again = true;
        nx_unlock(&node->lock);
    }
    finish(node, error);
}

static const struct nx_join_owner join_owner = {.welcome = welcome, .grow = grow, .mesh = connect_mesh, .done = joined};

static void start(void *arg)
{
    struct nx_node *node = arg;
    nexar_status st;

    node->options.join.deadline = nx_after(nx_now(), node->options.join_timeout);
    if (node->options.alone) {
        st = open_net(node, 0, 1);
        if (st == NEXAR_OK)
            st = nx_node_open_members(node);
    } else {
        st = nx_joining_start(&node->options.join, &join_owner, node, &node->joining);
    }
    if (st != NEXAR_OK || node->options.alone)
        finish(node, st == NEXAR_OK ? NULL : nx_last_error());
}

nexar_status nx_node_start(const struct nx_node_options *options, struct nx_node **out)
{
    struct nx_node *node = nx_calloc(1, sizeof(*node));
    nexar_status st;

    *out = NULL;
    if (node == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a node");
    node->options = *options;
    nx_mutex_init(&node->lock, NX_LOCK_NODE);
    st = nx_select_init(&node->select, options->tune, options->reproducible);
    if (st == NEXAR_OK)
        st = nx_engine_start();
    if (st == NEXAR_OK)
        st = nx_call(start, node);
    if (st != NEXAR_OK) {
        nx_mutex_fini(&node->lock);
        nx_free_secret(node);
        return st;
    }
    *out = node;
    return NEXAR_OK;
}

/* ---- the end ---- */

static void cancel_joining(void *arg)
{
    struct nx_node *node = arg;

    if (node->joining != NULL)
        nx_joining_cancel(node->joining, NEXAR_ECANCELLED, "joining was given up");
}

static void end_near(void *arg)
{
    struct nx_node *node = arg;

    nx_near_end(&node->comms);
}

static void close_ways(void *arg)
{
    struct nx_node *node = arg;

    nx_ways_close(&node->net);
}

static void stop_members(void *arg)
{
    struct nx_node *node = arg;

    nx_members_stop(node->members);
}

static void close_members(void *arg)
{
    struct nx_node *node = arg;

    nx_members_close(node->members);
    nx_kin_close(node->kin);
}

/* After the connections, and after the last op. */
static void free_rest(struct nx_node *node)
{
    nx_dump_close(&node->net);
    if (node->net_open) {
        (void)nx_call(close_members, node);
        (void)nx_call(end_near, node);
        nx_comms_fini(&node->comms);
        nx_rpc_close(&node->net);
        (void)nx_call(close_ways, node);
        nx_net_fini(&node->net);
    }
    for (int i = 0; i < ATTACHED_MAX; i++) {
        if (node->attached[i].object != NULL)
            node->attached[i].end(node->attached[i].object);
    }
    nx_lobby_close(node->lobby);
    nx_free(node->hosts);
    nx_free(node->places);
    nx_mutex_fini(&node->lock);
    nx_free_secret(node); /* the key of the proof is in its options */
}

void nx_node_free(struct nx_node *node)
{
    if (node == NULL)
        return;
    if (nx_call(cancel_joining, node) != NEXAR_OK)
        return;                /* in a forked child: nothing of this is ours */
    nx_mesh_close(node->mesh); /* its events reach for `joining` */
    nx_joining_free(node->joining);
    free_rest(node);
}

/* The last communicator was closed. */
static void close_node(void *owner)
{
    struct nx_node *node = owner;

    nx_net_close_ops(&node->net, 0, NEXAR_ECLOSED);
    (void)nx_call(stop_members, node);
    if (node->mesh != NULL)
        nx_mesh_leave(node->mesh, nx_after(nx_now(), node->options.linger));
    nx_mesh_close(node->mesh); /* its events reach for `joining` */
    nx_net_wait_ops(&node->net, 0, NX_NEVER);
    nx_joining_free(node->joining);
    free_rest(node);
}

/* ---- waiting ---- */

bool nx_node_crowded(uint32_t ranks)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return ranks > (uint32_t)(cores < 1 ? 1 : cores);
}

/* Who polls must not keep a core from who computes. */
static void choose_spinning(struct nx_node *node)
{
    if (nx_node_crowded(nx_node_local_ranks(node)))
        nx_engine_set_spin(NX_MS, true);
}

nexar_status nx_node_wait(struct nx_node *node, nx_time deadline, nexar_comm **comm)
{
    struct nx_waiter waiter;
    nexar_status st = NEXAR_OK;
    bool over;

    *comm = NULL;
    nx_waiter_init(&waiter);
    nx_lock(&node->lock);
    over = node->over;
    node->waiter = &waiter;
    nx_unlock(&node->lock);
    if (!over)
        st = nx_waiter_wait(&waiter, deadline);
    nx_lock(&node->lock);
    node->waiter = NULL;
    over = node->over;
    nx_unlock(&node->lock);
    if (!over)
        return st;
    if (node->error.status != NEXAR_OK)
        return nx_fail_with(&node->error);
    choose_spinning(node);
    *comm = node->world;
    return NEXAR_OK;
}

bool nx_node_welcomed(struct nx_node *node)
{
    bool welcomed;

    nx_lock(&node->lock);
    welcomed = node->welcomed;
    nx_unlock(&node->lock);
    return welcomed;
}

bool nx_node_may_try_again(struct nx_node *node)
{
    bool again;

    nx_lock(&node->lock);
    again = node->again;
    nx_unlock(&node->lock);
    return again;
}

void nx_node_attach(struct nx_node *node, void *object, void (*end)(void *object))
{
    for (int i = 0; i < ATTACHED_MAX; i++) {
        if (node->attached[i].object == NULL) {
            node->attached[i].object = object;
            node->attached[i].end = end;
            return;
        }
    }
}

static void hand_over(void *arg)
{
    struct nx_node *node = ((struct nx_node **)arg)[0], *heir = ((struct nx_node **)arg)[1];

    nx_members_retire(node->members);
    heir->lobby = node->lobby;
    node->lobby = NULL;
    node->heir = NULL;
    nx_lobby_move(heir->lobby, heir);
}

void nx_node_hand_over(struct nx_node *node, struct nx_node *heir)
{
    struct nx_node *both[] = {node, heir};

    for (int i = 0; i < ATTACHED_MAX; i++) {
        if (node->attached[i].object != NULL)
            nx_node_attach(heir, node->attached[i].object, node->attached[i].end);
        node->attached[i].object = NULL;
    }
    (void)nx_call(hand_over, both);
}

struct nx_node *nx_node_of(const nexar_comm *comm)
{
    return comm->comms->owner;
}

struct nx_net *nx_node_net(struct nx_node *node)
{
    return &node->net;
}

uint32_t nx_node_local_ranks(const struct nx_node *node)
{
    uint32_t n = 0;

    if (node->mesh == NULL)
        return 1;
    for (uint32_t i = 0; i < node->net.config.size; i++)
        n += node->hosts[i] == node->hosts[node->net.config.rank];
    return n;
}
