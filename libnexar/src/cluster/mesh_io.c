/* cluster/mesh_io.c - listens, dials and ends, for the machine of mesh.c.
 *
 * Owner: the engine, but for what the leaving thread waits for, which is under the lock.  Whom a connection leads to is
 * settled in mesh_link.c. */
#include "cluster/mesh_io.h"

#include "base/call.h"
#include "base/mem.h"
#include "cluster/mesh_link.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { STRANGERS_MAX = 512 };

void nx_mesh_settle(struct nx_mesh *mesh)
{
    nx_time next = nx_mesh_tick(&mesh->machine, nx_now());

    if (next == NX_NEVER)
        nx_timer_cancel(&mesh->timer);
    else
        nx_timer_set(&mesh->timer, next);
}

static void tick(struct nx_timer *timer)
{
    nx_mesh_settle(nx_container_of(timer, struct nx_mesh, timer));
}

void nx_mesh_wake(struct nx_mesh *mesh)
{
    if (mesh->waiter != NULL && (mesh->closing ? mesh->count == 0 : mesh->left && mesh->leaving == 0))
        nx_waiter_wake(mesh->waiter);
}

static struct nx_quic_config *accept_link(void *arg, struct nx_quic_conn *quic, const char *alpn,
                                          const struct sockaddr *from, const struct nx_quic_conn_events **events,
                                          void **conn_arg)
{
    struct nx_mesh *mesh = arg;
    struct nx_mesh_link *l;

    (void)alpn, (void)from;
    /* Once all are connected, nobody has any business here. */
    if (mesh->closing || mesh->machine.state > NX_MESH_CONNECTING)
        return NULL;
    if (mesh->strangers >= STRANGERS_MAX && !nx_mesh_link_evict(mesh))
        return NULL;
    l = nx_mesh_link_new(mesh, NEXAR_NO_RANK);
    if (l == NULL)
        return NULL;
    if (nx_conn_accept(mesh->net, quic, &nx_mesh_link_events, l, events, &l->conn) != NEXAR_OK) {
        nx_mesh_link_free(l);
        return NULL;
    }
    *conn_arg = l->conn;
    return mesh->server;
}

/* ---- actions of the machine ---- */

static void dial(void *arg, uint32_t rank, const char *address)
{
    struct nx_mesh *mesh = arg;
    struct sockaddr_storage to;
    struct nx_mesh_link *l;

    if (nx_address_of(address, &to) != NEXAR_OK) {
        nx_mesh_dial_failed(&mesh->machine, rank, false, NEXAR_EPROTO, "its address is none", nx_now());
        return;
    }
    l = nx_mesh_link_new(mesh, rank);
    if (l != NULL &&
        nx_conn_dial(mesh->net, mesh->client, (struct sockaddr *)&to, &nx_mesh_link_events, l, &l->conn) == NEXAR_OK)
        return;
    if (l != NULL)
        nx_mesh_link_free(l);
    nx_mesh_dial_failed(&mesh->machine, rank, false, NEXAR_ESYSTEM, nexar_last_error(), nx_now());
}

static void complete(void *arg)
{
    struct nx_mesh *mesh = arg;

    mesh->result.complete(mesh->result.arg);
}

static void failed(void *arg, const nexar_error *error)
{
    struct nx_mesh *mesh = arg;

    mesh->result.failed(mesh->result.arg, error);
}

static const struct nx_mesh_ops mesh_ops = {.dial = dial, .complete = complete, .failed = failed};

/* ---- life ---- */

static nexar_status make_config(struct nx_mesh *mesh, const struct nx_mesh_options *o, bool client,
                                struct nx_quic_config **out)
{
    struct nx_quic_settings s = {.client = client,
                                 .alpn = {NX_ALPN_OWN, NX_ALPN_REFERENCE},
                                 .pkcs12 = mesh->bundle->pkcs12,
                                 .pkcs12_len = mesh->bundle->pkcs12_size,
                                 .want_certificate = true,
                                 .connection_window = o->connection_window,
                                 .stream_window = o->stream_window,
                                 /* One per large message that is on its way, or that nobody has read yet. */
                                 .uni_streams = 4096,
                                 .handshake_timeout = 10 * NX_S,
                                 .idle_timeout = 10 * NX_S > 4 * o->disconnect ? 10 * NX_S : 4 * o->disconnect,
                                 .keep_alive = o->keep_alive,
                                 .disconnect = o->disconnect};

    return nx_quic_config_open(&s, out);
}

static void free_mesh(struct nx_mesh *mesh)
{
    nx_mesh_fini(&mesh->machine);
    nx_quic_config_close(mesh->server);
    nx_quic_config_close(mesh->client);
    nx_bundle_free(mesh->bundle);
    nx_trust_free(mesh->trust);
    nx_pem_free(&mesh->pem);
    nx_mutex_fini(&mesh->lock);
    nx_free(mesh);
}

nexar_status nx_mesh_open(struct nx_net *net, const struct nx_mesh_options *options, struct nx_bundle *bundle,
                          struct nx_trust *trust, const struct nx_mesh_result *result, struct nx_mesh **out)
{
    static const char *const alpn[] = {NX_ALPN_OWN, NX_ALPN_REFERENCE};
    struct nx_mesh *mesh = nx_calloc(1, sizeof(*mesh));
    struct sockaddr_storage bound;
    nexar_status st;

    *out = NULL;
    if (mesh == NULL) {
        nx_bundle_free(bundle);
        nx_trust_free(trust);
        return nx_fail(NEXAR_ENOMEM, "no memory for the mesh");
    }
    mesh->net = net;
    mesh->bundle = bundle;
    mesh->trust = trust;
    mesh->result = *result;
    mesh->settings = options->settings;
    nx_mutex_init(&mesh->lock, NX_LOCK_NODE);
    nx_list_init(&mesh->links);
    nx_timer_init(&mesh->timer, tick);
    nx_mesh_init(&mesh->machine, NX_NEVER, &mesh_ops, mesh);
    st = nx_random(&mesh->incarnation, sizeof(mesh->incarnation));
    if (st == NEXAR_OK)
        st = make_config(mesh, options, false, &mesh->server);
    if (st == NEXAR_OK)
        st = make_config(mesh, options, true, &mesh->client);
    if (st == NEXAR_OK)
        st = nx_quic_listen((const struct sockaddr *)&options->listen, alpn, 2, accept_link, mesh, &mesh->listener);
    if (st != NEXAR_OK) {
        free_mesh(mesh);
        return st;
    }
    nx_quic_listener_address(mesh->listener, &bound);
    mesh->port = ntohs(((struct sockaddr_in *)(void *)&bound)->sin_port);
    *out = mesh;
    return NEXAR_OK;
}

uint16_t nx_mesh_port(const struct nx_mesh *mesh)
{
    return mesh->port;
}

nexar_status nx_mesh_connect(struct nx_mesh *mesh, const struct nx_msg_roster *roster, nx_time deadline)
{
    nexar_status st;

    mesh->machine.deadline = deadline;
    st = nx_mesh_start(&mesh->machine, mesh->net->config.rank, mesh->net->config.size, roster);
    if (st != NEXAR_OK)
        return st;
    /* Those that called before the roster came. */
    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct nx_mesh_link *l = nx_container_of(pos, struct nx_mesh_link, link);

        nx_mesh_link_judge(l);
    }
    nx_mesh_settle(mesh);
    return NEXAR_OK;
}

void nx_mesh_tell_formed(struct nx_mesh *mesh)
{
    static const struct nx_message go = {.kind = NX_KIND_JOIN_GO};

    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct nx_mesh_link *l = nx_container_of(pos, struct nx_mesh_link, link);

        if (!l->up || atomic_load(&l->conn->ended))
            continue;
        nx_quic_conn_listen(l->conn->quic);
        (void)nx_conn_control(l->conn, &go, false); /* if it fails, so does the connection */
    }
}

static void say_farewell(void *arg)
{
    struct nx_mesh *mesh = arg;
    uint32_t said = 0;

    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct nx_mesh_link *l = nx_container_of(pos, struct nx_mesh_link, link);

        l->asked =
            l->up && atomic_load(&l->conn->own) && !atomic_load(&l->conn->ended) && nx_conn_bye(l->conn) == NEXAR_OK;
        said += l->asked;
    }
    nx_lock(&mesh->lock);
    mesh->left = true;
    mesh->leaving = said;
    nx_mesh_wake(mesh);
    nx_unlock(&mesh->lock);
}

static void set_waiter(struct nx_mesh *mesh, struct nx_waiter *waiter)
{
    nx_lock(&mesh->lock);
    mesh->waiter = waiter;
    if (waiter != NULL)
        nx_mesh_wake(mesh);
    nx_unlock(&mesh->lock);
}

void nx_mesh_leave(struct nx_mesh *mesh, nx_time deadline)
{
    struct nx_waiter waiter;

    nx_waiter_init(&waiter);
    if (nx_call(say_farewell, mesh) != NEXAR_OK)
        return; /* in a forked child */
    set_waiter(mesh, &waiter);
    while (nx_waiter_wait(&waiter, deadline) == NEXAR_EINTR)
        continue;
    set_waiter(mesh, NULL);
}

static void end_all(void *arg)
{
    struct nx_mesh *mesh = arg;

    mesh->closing = true;
    nx_mesh_stop(&mesh->machine);
    nx_timer_cancel(&mesh->timer);
    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct nx_mesh_link *l = nx_container_of(pos, struct nx_mesh_link, link);

        /* Who has not answered our farewell has not got everything. */
        nx_conn_shutdown(l->conn, l->up && (!mesh->left || l->asked) ? NX_CLOSE_ABORTED : NX_CLOSE_DONE);
    }
}

void nx_mesh_close(struct nx_mesh *mesh)
{
    struct nx_waiter waiter;

    if (mesh == NULL)
        return;
    nx_waiter_init(&waiter);
    nx_quic_listener_close(mesh->listener);
    if (nx_call(end_all, mesh) != NEXAR_OK)
        return; /* in a forked child */
    set_waiter(mesh, &waiter);
    while (nx_waiter_wait(&waiter, NX_NEVER) == NEXAR_EINTR)
        continue;
    set_waiter(mesh, NULL);
    /* When this has run, so has the callback that woke us, to its end. */
    nx_fence();
    free_mesh(mesh);
}

nexar_status nx_mesh_identity(struct nx_mesh *mesh, const uint8_t node[NX_ID_SIZE], const struct nx_pem **own,
                              char *peer)
{
    struct nx_name name = {.role = NX_ROLE_MEMBER};
    nexar_status st = NEXAR_OK;

    memcpy(name.cluster_id, nx_trust_cluster_id(mesh->trust), sizeof(name.cluster_id));
    memcpy(name.node_id, node, sizeof(name.node_id));
    nx_name_format(&name, peer);
    if (mesh->pem.leaf == NULL)
        st = nx_bundle_pem(mesh->bundle, &mesh->pem);
    *own = &mesh->pem;
    return st;
}

const uint8_t *nx_mesh_node(const struct nx_mesh *mesh, uint32_t rank)
{
    return mesh->machine.peer[rank].node;
}

const uint8_t *nx_mesh_group(const struct nx_mesh *mesh, uint32_t rank)
{
    return mesh->machine.peer[rank].group;
}
