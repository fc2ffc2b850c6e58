/* cluster/mesh_io.c - listens, dials, and settles who is who, for the machine of mesh.c.
 *
 * Owner: the engine, but for what the leaving thread waits for, which is under the lock.  A connection counts when
 * three things agree: the node id in the peer's certificate, the roster, and the rank that the peer claims. */
#include "cluster/mesh_io.h"

#include "base/call.h"
#include "base/log.h"
#include "base/mem.h"
#include "identity/verify.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    GREET_WITHIN_S = 10, /* a stranger with a certificate that says nothing */
    DOOMED_MS = 500,     /* time for a refusal to arrive */
    ADDRESS_TEXT = NX_ADDRESS_SIZE,
};

/* A connection that is being settled, or is settled. */
struct link {
    struct nx_list link;
    struct nx_mesh *mesh;
    nexar_conn *conn; /* a reference */
    uint32_t rank;    /* dialled, or claimed and found right; else NEXAR_NO_RANK */
    bool up, doomed, connected;
    bool asked; /* our farewell is said, and not answered */
    nexar_status status;
    bool greeted; /* its hello is below */
    struct nx_msg_mesh_hello hello;
    uint8_t hello_cluster[NX_ID_SIZE];
    struct nx_timer timer;
    char why[160]; /* why we refused it */
};

struct nx_mesh {
    /* const after init */
    struct nx_net *net;
    struct nx_bundle *bundle;
    struct nx_trust *trust;
    struct nx_quic_config *server, *client;
    struct nx_quic_listener *listener;
    struct nx_mesh_result result;
    uint64_t settings, incarnation;
    uint16_t port;
    /* engine */
    struct nx_mesh_machine machine;
    struct nx_list links;
    struct nx_timer timer;
    bool closing;
    /* lock */
    struct nx_mutex lock;
    uint32_t count;   /* links */
    uint32_t leaving; /* peers that have not answered our farewell */
    bool left;        /* farewells are said */
    struct nx_waiter *waiter;
};

static void settle(struct nx_mesh *mesh)
{
    nx_time next = nx_mesh_tick(&mesh->machine, nx_now());

    if (next == NX_NEVER || !mesh->machine.started)
        nx_timer_cancel(&mesh->timer);
    else
        nx_timer_set(&mesh->timer, next);
}

static void tick(struct nx_timer *timer)
{
    settle(nx_container_of(timer, struct nx_mesh, timer));
}

/* ---- one connection ---- */

/* Tells it why, and ends it when that has arrived. */
static void doom(struct link *l, enum nx_abort_code code, const char *format, ...) NX_PRINTF(3, 4);

static void doom(struct link *l, enum nx_abort_code code, const char *format, ...)
{
    struct nx_message out = {.kind = NX_KIND_ABORT};
    char address[ADDRESS_TEXT];
    va_list args;

    if (l->doomed)
        return;
    va_start(args, format);
    vsnprintf(l->why, sizeof(l->why), format, args);
    va_end(args);
    nx_conn_address(l->conn, address, sizeof(address));
    nx_info("%s is not let in: %s", address, l->why);
    l->doomed = true;
    out.abort = (struct nx_msg_abort){.code = (uint16_t)code, .rank = NEXAR_NO_RANK, .reason = nx_text(l->why)};
    if (nx_conn_control(l->conn, &out, false) != NEXAR_OK)
        nx_conn_shutdown(l->conn, NX_CLOSE_REFUSED);
    nx_timer_set(&l->timer, nx_now() + DOOMED_MS * NX_MS);
}

static void link_timer(struct nx_timer *timer)
{
    struct link *l = nx_container_of(timer, struct link, timer);

    nx_conn_shutdown(l->conn, NX_CLOSE_REFUSED);
}

static void go_up(struct link *l)
{
    struct nx_mesh *mesh = l->mesh;
    struct nx_peer *peer = mesh->net->peer[l->rank];
    char address[ADDRESS_TEXT];

    nx_timer_cancel(&l->timer);
    l->up = true;
    nx_conn_address(l->conn, address, sizeof(address));
    nx_debug("connected with rank %u (%s), %s", l->rank, address, l->conn->alpn);
    nx_conn_bind(l->conn, peer);
    nx_mesh_up(&mesh->machine, l->rank);
    settle(mesh);
}

static nexar_status certificate(void *arg, nexar_conn *conn, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                size_t chain_len)
{
    struct link *l = arg;
    enum nx_refusal why;
    nexar_status st;

    (void)chain, (void)chain_len; /* the cluster's authority is known */
    st = nx_verify_member(l->mesh->trust, leaf, leaf_len, (int64_t)time(NULL), conn->node, &why);
    if (st == NEXAR_OK && l->rank != NEXAR_NO_RANK &&
        memcmp(conn->node, l->mesh->machine.peer[l->rank].node, NX_ID_SIZE) != 0)
        st = nx_fail(NEXAR_EAUTH, "at the address of rank %u there is another member of the job", l->rank);
    if (st != NEXAR_OK) {
        char address[ADDRESS_TEXT];

        snprintf(l->why, sizeof(l->why), "%s", nexar_last_error());
        nx_conn_address(conn, address, sizeof(address));
        nx_info("%s is not let in: %s", address, l->why);
    }
    return st;
}

/* Whom nobody dialled: is he who he says? */
static void judge(struct link *l)
{
    struct nx_mesh *mesh = l->mesh;
    const struct nx_mesh_machine *m = &mesh->machine;
    struct nx_message ack = {.kind = NX_KIND_MESH_ACK};
    bool own = strcmp(l->conn->alpn, NX_ALPN_OWN) == 0;
    uint32_t rank;

    if (!m->started || l->doomed || l->up || !l->connected || (own && !l->greeted))
        return; /* later */
    rank = nx_mesh_rank_of(m, l->conn->node);
    if (rank == NEXAR_NO_RANK || rank == m->rank) {
        doom(l, NX_ABORT_AUTH, "its certificate is not one of a rank of this job");
        return;
    }
    if (own && l->hello.from != rank) {
        doom(l, NX_ABORT_AUTH, "it claims to be rank %u, its certificate is that of rank %u", l->hello.from, rank);
        return;
    }
    if (own && l->hello.to != m->rank) {
        doom(l, NX_ABORT_RANK, "it wants rank %u, this is rank %u", l->hello.to, m->rank);
        return;
    }
    if (own && l->hello.settings != mesh->settings) {
        doom(l, NX_ABORT_MISMATCH, "rank %u and rank %u have different settings (NEXAR_COLL_TUNE, NEXAR_REPRODUCIBLE)",
             rank, m->rank);
        return;
    }
    if (m->peer[rank].up) {
        doom(l, NX_ABORT_RANK, "rank %u is connected already", rank);
        return;
    }
    l->rank = rank;
    ack.mesh_ack = (struct nx_msg_mesh_ack){.rank = m->rank, .incarnation = mesh->incarnation};
    if (nx_conn_control(l->conn, &ack, false) == NEXAR_OK)
        go_up(l);
    else
        nx_conn_shutdown(l->conn, NX_CLOSE_ABORTED);
}

static void connected(void *arg, nexar_conn *conn)
{
    struct link *l = arg;
    struct nx_mesh *mesh = l->mesh;
    struct nx_message hello = {.kind = NX_KIND_MESH_HELLO};

    l->connected = true;
    if (l->rank == NEXAR_NO_RANK) {
        judge(l);
        return;
    }
    if (!atomic_load(&conn->own)) {
        go_up(l); /* nexar/1 has no greeting; its certificate has said who it is */
        return;
    }
    hello.mesh_hello = (struct nx_msg_mesh_hello){.version = NX_MESH_VERSION,
                                                  .from = mesh->machine.rank,
                                                  .to = l->rank,
                                                  .incarnation = mesh->incarnation,
                                                  .settings = mesh->settings,
                                                  .cluster = nx_bytes(nx_trust_cluster_id(mesh->trust), NX_ID_SIZE)};
    if (nx_conn_control(conn, &hello, false) != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
}

static bool on_hello(struct link *l, const struct nx_msg_mesh_hello *hello)
{
    if (l->rank != NEXAR_NO_RANK || l->greeted)
        return false;
    l->hello = *hello;
    l->hello.cluster = (struct nx_bytes){0}; /* it does not outlive the message */
    l->greeted = true;
    if (hello->version != NX_MESH_VERSION)
        doom(l, NX_ABORT_VERSION, "it speaks version %u of the mesh, this rank %u", hello->version, NX_MESH_VERSION);
    else if (hello->cluster.len != NX_ID_SIZE ||
             memcmp(hello->cluster.data, nx_trust_cluster_id(l->mesh->trust), NX_ID_SIZE) != 0)
        doom(l, NX_ABORT_AUTH, "it belongs to another job");
    else
        judge(l);
    return true;
}

static bool control(void *arg, nexar_conn *conn, const struct nx_message *message)
{
    struct link *l = arg;

    (void)conn;
    switch ((int)message->kind) {
    case NX_KIND_MESH_HELLO:
        return on_hello(l, &message->mesh_hello);
    case NX_KIND_MESH_ACK:
        if (l->rank == NEXAR_NO_RANK || l->up || message->mesh_ack.rank != l->rank)
            return false;
        go_up(l);
        return true;
    case NX_KIND_ABORT:
        snprintf(l->why, sizeof(l->why), "%.*s",
                 (int)(message->abort.reason.len < 150 ? message->abort.reason.len : 150), message->abort.reason.data);
        l->doomed = true; /* it refused us for good */
        l->status = message->abort.code == NX_ABORT_MISMATCH  ? NEXAR_ECONFIG
                    : message->abort.code == NX_ABORT_VERSION ? NEXAR_EPROTO
                                                              : NEXAR_EAUTH;
        nx_conn_shutdown(l->conn, NX_CLOSE_DONE);
        return true;
    default:
        return false;
    }
}

/* With the lock. */
static void wake(struct nx_mesh *mesh)
{
    if (mesh->waiter != NULL && (mesh->closing ? mesh->count == 0 : mesh->left && mesh->leaving == 0))
        nx_waiter_wake(mesh->waiter);
}

/* It has all that we sent, or it is gone. */
static void no_longer_leaving(struct nx_mesh *mesh)
{
    nx_lock(&mesh->lock);
    if (mesh->left && mesh->leaving > 0)
        mesh->leaving--;
    wake(mesh);
    nx_unlock(&mesh->lock);
}

static void farewell(void *arg, nexar_conn *conn)
{
    struct link *l = arg;

    (void)conn;
    if (l->asked)
        no_longer_leaving(l->mesh);
    l->asked = false;
}

static void closed(void *arg, nexar_conn *conn, nexar_status status, uint64_t code, const char *why)
{
    struct link *l = arg;
    struct nx_mesh *mesh = l->mesh;

    (void)status, (void)code;
    nx_timer_cancel(&l->timer);
    if (l->asked)
        no_longer_leaving(mesh);
    nx_list_remove(&l->link);
    if (!l->up && conn->dialled) {
        nx_mesh_dial_failed(&mesh->machine, l->rank, l->doomed, l->status, l->why[0] != '\0' ? l->why : why, nx_now());
        settle(mesh);
    }
    nx_conn_drop(l->conn);
    nx_free(l);
    nx_lock(&mesh->lock);
    mesh->count--;
    wake(mesh);
    nx_unlock(&mesh->lock);
}

static const struct nx_conn_owner conn_owner = {
    .certificate = certificate, .connected = connected, .control = control, .farewell = farewell, .closed = closed};

static struct link *new_link(struct nx_mesh *mesh, uint32_t rank)
{
    struct link *l = nx_calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->mesh = mesh;
    l->rank = rank;
    nx_timer_init(&l->timer, link_timer);
    nx_list_push_back(&mesh->links, &l->link);
    nx_lock(&mesh->lock);
    mesh->count++;
    nx_unlock(&mesh->lock);
    return l;
}

static void free_link(struct link *l)
{
    nx_list_remove(&l->link);
    nx_lock(&l->mesh->lock);
    l->mesh->count--;
    nx_unlock(&l->mesh->lock);
    nx_free(l);
}

static struct nx_quic_config *accept_link(void *arg, struct nx_quic_conn *quic, const char *alpn,
                                          const struct sockaddr *from, const struct nx_quic_conn_events **events,
                                          void **conn_arg)
{
    struct nx_mesh *mesh = arg;
    struct link *l;

    (void)alpn, (void)from;
    if (mesh->closing)
        return NULL;
    l = new_link(mesh, NEXAR_NO_RANK);
    if (l == NULL)
        return NULL;
    if (nx_conn_accept(mesh->net, quic, &conn_owner, l, events, &l->conn) != NEXAR_OK) {
        free_link(l);
        return NULL;
    }
    *conn_arg = l->conn;
    nx_timer_set(&l->timer, nx_now() + GREET_WITHIN_S * NX_S);
    return mesh->server;
}

/* ---- actions of the machine ---- */

static nexar_status parse_address(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)out;
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)out;
    char host[NX_ADDRESS_SIZE];
    const char *colon = strrchr(text, ':');
    unsigned port;
    size_t n;

    memset(out, 0, sizeof(*out));
    if (colon == NULL || sscanf(colon + 1, "%5u", &port) != 1 || port == 0 || port > 65535)
        return NEXAR_EPROTO;
    n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        snprintf(host, sizeof(host), "%.*s", (int)(n - 2), text + 1);
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host, &six->sin6_addr) == 1 ? NEXAR_OK : NEXAR_EPROTO;
    }
    snprintf(host, sizeof(host), "%.*s", (int)n, text);
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &four->sin_addr) == 1 ? NEXAR_OK : NEXAR_EPROTO;
}

static void dial(void *arg, uint32_t rank, const char *address)
{
    struct nx_mesh *mesh = arg;
    struct sockaddr_storage to;
    struct link *l;

    if (parse_address(address, &to) != NEXAR_OK) {
        nx_mesh_dial_failed(&mesh->machine, rank, false, NEXAR_EPROTO, "its address is none", nx_now());
        return;
    }
    l = new_link(mesh, rank);
    if (l != NULL &&
        nx_conn_dial(mesh->net, mesh->client, (struct sockaddr *)&to, &conn_owner, l, &l->conn) == NEXAR_OK)
        return;
    if (l != NULL)
        free_link(l);
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
    st = nx_mesh_start(&mesh->machine, mesh->net->config.rank, mesh->net->config.size, roster, nx_now());
    if (st != NEXAR_OK)
        return st;
    /* Those that called before the roster came. */
    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct link *l = nx_container_of(pos, struct link, link);

        if (l->rank == NEXAR_NO_RANK)
            judge(l);
    }
    settle(mesh);
    return NEXAR_OK;
}

static void say_farewell(void *arg)
{
    struct nx_mesh *mesh = arg;
    uint32_t said = 0;

    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct link *l = nx_container_of(pos, struct link, link);

        l->asked =
            l->up && atomic_load(&l->conn->own) && !atomic_load(&l->conn->ended) && nx_conn_bye(l->conn) == NEXAR_OK;
        said += l->asked;
    }
    nx_lock(&mesh->lock);
    mesh->left = true;
    mesh->leaving = said;
    wake(mesh);
    nx_unlock(&mesh->lock);
}

static void set_waiter(struct nx_mesh *mesh, struct nx_waiter *waiter)
{
    nx_lock(&mesh->lock);
    mesh->waiter = waiter;
    if (waiter != NULL)
        wake(mesh);
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
    mesh->machine.over = true;
    nx_timer_cancel(&mesh->timer);
    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct link *l = nx_container_of(pos, struct link, link);

        nx_conn_shutdown(l->conn, l->up && !mesh->left ? NX_CLOSE_ABORTED : NX_CLOSE_DONE);
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

const uint8_t *nx_mesh_group(const struct nx_mesh *mesh, uint32_t rank)
{
    return mesh->machine.peer[rank].group;
}
