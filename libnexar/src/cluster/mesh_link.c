/* cluster/mesh_link.c - one connection of the mesh: judges the certificate, settles who is who, notices its end.
 *
 * Owner: the engine.  A connection counts when three things agree: the node id in the peer's certificate, the roster,
 * and the rank that the peer claims; and it is the lower rank that calls. */
#include "cluster/mesh_link.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "identity/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    GREET_WITHIN_S = 10, /* a stranger with a certificate that says nothing */
    DOOMED_MS = 500,     /* time for a refusal to arrive */
    ADDRESS_TEXT = NX_ADDRESS_SIZE,
};

/* Tells it why, and ends it when that has arrived. */
static void doom(struct nx_mesh_link *l, enum nx_abort_code code, const char *format, ...) NX_PRINTF(3, 4);

static void doom(struct nx_mesh_link *l, enum nx_abort_code code, const char *format, ...)
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

static void go_up(struct nx_mesh_link *l)
{
    struct nx_mesh *mesh = l->mesh;
    struct nx_peer *peer = mesh->net->peer[l->rank];
    char address[ADDRESS_TEXT];

    nx_timer_cancel(&l->timer);
    l->up = true;
    mesh->strangers -= l->accepted;
    nx_conn_address(l->conn, address, sizeof(address));
    nx_debug("connected with rank %u (%s), %s", l->rank, address, l->conn->alpn);
    nx_conn_bind(l->conn, peer);
    nx_mesh_up(&mesh->machine, l->rank);
    nx_mesh_settle(mesh);
}

static nexar_status certificate(void *arg, nexar_conn *conn, const uint8_t *leaf, size_t leaf_len, const uint8_t *chain,
                                size_t chain_len)
{
    struct nx_mesh_link *l = arg;
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

void nx_mesh_link_judge(struct nx_mesh_link *l)
{
    struct nx_mesh *mesh = l->mesh;
    const struct nx_mesh_machine *m = &mesh->machine;
    struct nx_message ack = {.kind = NX_KIND_MESH_ACK};
    bool own = strcmp(l->conn->alpn, NX_ALPN_OWN) == 0;
    uint32_t rank;

    if (!l->accepted || l->doomed || l->up || !l->connected || (own && !l->greeted))
        return;
    if (m->state == NX_MESH_IDLE) {
        nx_timer_cancel(&l->timer); /* it has done its part; the roster is late */
        return;
    }
    rank = nx_mesh_rank_of(m, l->conn->node);
    if (rank == NEXAR_NO_RANK || rank == m->rank)
        doom(l, NX_ABORT_AUTH, "its certificate is not one of a rank of this job");
    else if (own && l->hello.from != rank)
        doom(l, NX_ABORT_AUTH, "it claims to be rank %u, its certificate is that of rank %u", l->hello.from, rank);
    else if (own && l->hello.to != m->rank)
        doom(l, NX_ABORT_RANK, "it wants rank %u, this is rank %u", l->hello.to, m->rank);
    else if (own && l->hello.settings != mesh->settings)
        doom(l, NX_ABORT_MISMATCH, "rank %u and rank %u have different settings (NEXAR_COLL_TUNE, NEXAR_REPRODUCIBLE)",
             rank, m->rank);
    else if (rank > m->rank)
        doom(l, NX_ABORT_PROTOCOL, "rank %u calls rank %u, which is to call it", rank, m->rank);
    else if (m->peer[rank].up)
        doom(l, NX_ABORT_RANK, "rank %u is connected already", rank);
    if (l->doomed)
        return;
    l->rank = rank;
    ack.mesh_ack = (struct nx_msg_mesh_ack){.rank = m->rank, .incarnation = mesh->incarnation};
    if (nx_conn_control(l->conn, &ack, false) == NEXAR_OK)
        go_up(l);
    else
        nx_conn_shutdown(l->conn, NX_CLOSE_ABORTED);
}

static void connected(void *arg, nexar_conn *conn)
{
    struct nx_mesh_link *l = arg;
    struct nx_mesh *mesh = l->mesh;
    struct nx_message hello = {.kind = NX_KIND_MESH_HELLO};

    l->connected = true;
    if (l->accepted) {
        nx_mesh_link_judge(l);
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

static bool on_hello(struct nx_mesh_link *l, const struct nx_msg_mesh_hello *hello)
{
    if (!l->accepted || l->greeted)
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
        nx_mesh_link_judge(l);
    return true;
}

static bool control(void *arg, nexar_conn *conn, const struct nx_message *message)
{
    struct nx_mesh_link *l = arg;

    (void)conn;
    switch ((int)message->kind) {
    case NX_KIND_MESH_HELLO:
        return on_hello(l, &message->mesh_hello);
    case NX_KIND_MESH_ACK:
        if (l->accepted || l->up || message->mesh_ack.rank != l->rank)
            return false;
        go_up(l);
        return true;
    case NX_KIND_JOIN_GO:
        if (!l->up)
            return false;
        l->mesh->result.formed(l->mesh->result.arg);
        return true;
    case NX_KIND_ABORT:
        if (l->up)
            return false;
        nx_plain(l->why, sizeof(l->why), message->abort.reason.data, message->abort.reason.len);
        l->doomed = true; /* it refused us for good */
        l->status = message->abort.code == NX_ABORT_MISMATCH ? NEXAR_ECONFIG
                    : message->abort.code == NX_ABORT_VERSION || message->abort.code == NX_ABORT_PROTOCOL ? NEXAR_EPROTO
                                                                                                          : NEXAR_EAUTH;
        nx_conn_shutdown(l->conn, NX_CLOSE_DONE);
        return true;
    default:
        return false;
    }
}

/* It has all that we sent, or it is gone. */
static void no_longer_leaving(struct nx_mesh *mesh)
{
    nx_lock(&mesh->lock);
    if (mesh->left && mesh->leaving > 0)
        mesh->leaving--;
    nx_mesh_wake(mesh);
    nx_unlock(&mesh->lock);
}

static void farewell(void *arg, nexar_conn *conn)
{
    struct nx_mesh_link *l = arg;

    (void)conn;
    if (l->asked)
        no_longer_leaving(l->mesh);
    l->asked = false;
}

static void closed(void *arg, nexar_conn *conn, nexar_status status, uint64_t code, const char *why)
{
    struct nx_mesh_link *l = arg;
    struct nx_mesh *mesh = l->mesh;

    (void)status, (void)code;
    nx_timer_cancel(&l->timer);
    if (l->asked)
        no_longer_leaving(mesh);
    if (l->accepted && !l->up && l->why[0] == '\0') {
        char address[ADDRESS_TEXT];

        nx_conn_address(conn, address, sizeof(address));
        nx_info("%s called and was not let in: %s", address, why);
    }
    if (l->up && !conn->bye_received)
        nx_mesh_lost(&mesh->machine, l->rank, l->why[0] != '\0' ? l->why : why);
    if (!l->up && !l->accepted) {
        nx_mesh_dial_failed(&mesh->machine, l->rank, l->doomed, l->status, l->why[0] != '\0' ? l->why : why, nx_now());
        nx_mesh_settle(mesh);
    }
    nx_conn_drop(l->conn);
    nx_mesh_link_free(l);
}

const struct nx_conn_owner nx_mesh_link_events = {
    .certificate = certificate, .connected = connected, .control = control, .farewell = farewell, .closed = closed};

/* ---- life ---- */

static void link_timer(struct nx_timer *timer)
{
    struct nx_mesh_link *l = nx_container_of(timer, struct nx_mesh_link, timer);

    nx_conn_shutdown(l->conn, NX_CLOSE_REFUSED);
}

struct nx_mesh_link *nx_mesh_link_new(struct nx_mesh *mesh, uint32_t rank)
{
    struct nx_mesh_link *l = nx_calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->mesh = mesh;
    l->rank = rank;
    l->accepted = rank == NEXAR_NO_RANK;
    nx_timer_init(&l->timer, link_timer);
    if (l->accepted)
        nx_timer_set(&l->timer, nx_now() + GREET_WITHIN_S * NX_S);
    mesh->strangers += l->accepted;
    nx_list_push_back(&mesh->links, &l->link);
    nx_lock(&mesh->lock);
    mesh->count++;
    nx_unlock(&mesh->lock);
    return l;
}

void nx_mesh_link_free(struct nx_mesh_link *l)
{
    struct nx_mesh *mesh = l->mesh;

    nx_timer_cancel(&l->timer);
    nx_list_remove(&l->link);
    mesh->strangers -= l->accepted && !l->up;
    nx_free(l);
    nx_lock(&mesh->lock);
    mesh->count--;
    nx_mesh_wake(mesh);
    nx_unlock(&mesh->lock);
}

bool nx_mesh_link_evict(struct nx_mesh *mesh)
{
    nx_list_for_each_safe(pos, tmp, &mesh->links)
    {
        struct nx_mesh_link *l = nx_container_of(pos, struct nx_mesh_link, link);

        if (!l->accepted || l->connected || l->doomed)
            continue;
        l->doomed = true;
        nx_conn_shutdown(l->conn, NX_CLOSE_REFUSED);
        return true;
    }
    return false;
}
