/* net/net.c - the networking of one node, put together and taken apart.
 *
 * Owner: made and freed by the node, one thread at a time. */
#include "net/net.h"

#include "base/op.h"
#include "net/conn.h"

/* A thread that waits until a communicator has no ops.  Lives on its stack. */
struct nx_idle {
    struct nx_list link;
    uint64_t comm;
    struct nx_waiter waiter;
};

static void hold(void *owner, const struct nx_key *key, bool on)
{
    struct nx_net *net = owner;
    struct nx_message m = {.kind = on ? NX_KIND_HOLD : NX_KIND_RELEASE};
    struct nx_peer *peer = net->peer[key->peer];
    nexar_conn *conn;
    nexar_status st;

    if (peer == NULL)
        return;
    /* HOLD and RELEASE have the same fields. */
    m.hold = (struct nx_msg_hold){.lane = key->lane, .scope = key->scope, .id = key->id};
    conn = nx_peer_conn(peer, &st);
    if (conn == NULL)
        return;
    if (nx_conn_control(conn, &m, true) != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED); /* a notice that is lost would stop a sender for ever */
    nx_conn_drop(conn);
}

nexar_status nx_net_init(struct nx_net *net, const struct nx_net_config *config, const struct nx_net_events *events,
                         void *owner)
{
    static const struct nx_lane_events lane_events = {.hold = hold};
    nexar_status st;

    *net = (struct nx_net){.config = *config, .events = *events, .owner = owner};
    nx_mutex_init(&net->lock, NX_LOCK_NODE);
    nx_list_init(&net->ops);
    nx_list_init(&net->idle);
    net->completions = nx_completions_new();
    net->recorder = nx_calloc(1, sizeof(*net->recorder));
    if (net->completions == NULL || net->recorder == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a node");
    st = nx_lanes_init(&net->lanes, config->size, &config->limits, &lane_events, net);
    if (st != NEXAR_OK)
        return st;
    net->peer = nx_calloc(config->size, sizeof(struct nx_peer *));
    if (net->peer == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for %u ranks", config->size);
    for (uint32_t i = 0; st == NEXAR_OK && i < config->size; i++) {
        if (i != config->rank)
            st = nx_peer_new(net, i, &net->peer[i]);
    }
    return st;
}

void nx_net_fini(struct nx_net *net)
{
    nx_lanes_fini(&net->lanes);
    for (uint32_t i = 0; net->peer != NULL && i < net->config.size; i++)
        nx_peer_free(net->peer[i]);
    nx_free(net->peer);
    net->peer = NULL;
    nx_completions_drop(net->completions);
    net->completions = NULL;
    nx_free(net->recorder);
    net->recorder = NULL;
    nx_mutex_fini(&net->lock);
}

nexar_status nx_net_op_begin(struct nx_net *net, struct nx_inflight *inflight, struct nexar_op *op, uint64_t comm)
{
    nexar_status st = NEXAR_OK;

    *inflight = (struct nx_inflight){.op = op, .comm = comm};
    nx_list_init(&inflight->link);
    nx_lock(&net->lock);
    if (atomic_load(&net->closed))
        st = NEXAR_ECLOSED;
    else
        nx_list_push_back(&net->ops, &inflight->link);
    nx_unlock(&net->lock);
    return st == NEXAR_OK ? st : nx_fail(st, "the communicator is closed");
}

static bool is_of(const struct nx_inflight *inflight, uint64_t comm)
{
    return comm == 0 || inflight->comm == comm;
}

/* With the lock. */
static bool has_ops(struct nx_net *net, uint64_t comm)
{
    for (const struct nx_list *pos = net->ops.next; pos != &net->ops; pos = pos->next) {
        if (is_of(nx_container_of(pos, const struct nx_inflight, link), comm))
            return true;
    }
    return false;
}

void nx_net_op_end(struct nx_net *net, struct nx_inflight *inflight)
{
    nx_lock(&net->lock);
    nx_list_remove(&inflight->link);
    nx_list_for_each_safe(pos, tmp, &net->idle)
    {
        struct nx_idle *idle = nx_container_of(pos, struct nx_idle, link);

        if (is_of(inflight, idle->comm) && !has_ops(net, idle->comm))
            nx_waiter_wake(&idle->waiter);
    }
    nx_unlock(&net->lock);
}

/* With the lock: one that was not told yet. */
static struct nexar_op *next_to_cancel(struct nx_net *net, uint64_t comm)
{
    nx_list_for_each_safe(pos, tmp, &net->ops)
    {
        struct nx_inflight *inflight = nx_container_of(pos, struct nx_inflight, link);

        if (inflight->cancelled || !is_of(inflight, comm))
            continue;
        inflight->cancelled = true;
        nx_op_hold(inflight->op);
        return inflight->op;
    }
    return NULL;
}

void nx_net_close_ops(struct nx_net *net, uint64_t comm, nexar_status why)
{
    struct nexar_op *op;

    nx_lock(&net->lock);
    if (comm == 0)
        atomic_store(&net->closed, true);
    while ((op = next_to_cancel(net, comm)) != NULL) {
        nx_unlock(&net->lock);
        op->class->cancel(op, why);
        nx_op_drop(op);
        nx_lock(&net->lock);
    }
    nx_unlock(&net->lock);
}

uint32_t nx_net_list_ops(struct nx_net *net, struct nexar_op **ops, uint32_t max)
{
    uint32_t n = 0;

    nx_lock(&net->lock);
    nx_list_for_each_safe(pos, tmp, &net->ops)
    {
        struct nexar_op *op = nx_container_of(pos, struct nx_inflight, link)->op;

        if (!atomic_load(&op->told.set))
            continue;
        if (n < max) {
            nx_op_hold(op);
            ops[n] = op;
        }
        n++;
    }
    nx_unlock(&net->lock);
    return n;
}

/* One that is to be condemned and was not yet, held. */
static struct nexar_op *next_to_condemn(struct nx_net *net, uint64_t comm)
{
    struct nexar_op *found = NULL;

    nx_lock(&net->lock);
    for (struct nx_list *pos = net->ops.next; found == NULL && pos != &net->ops; pos = pos->next) {
        struct nx_inflight *inflight = nx_container_of(pos, struct nx_inflight, link);
        struct nx_record told;

        if (inflight->condemned || !nx_op_told(inflight->op, &told) || told.comm != comm || told.kind == NX_RECORD_COLL)
            continue;
        inflight->condemned = true;
        found = inflight->op;
        nx_op_hold(found);
    }
    nx_unlock(&net->lock);
    return found;
}

void nx_net_condemn_ops(struct nx_net *net, uint64_t comm, const nexar_error *error, nexar_status why)
{
    struct nexar_op *op;

    while ((op = next_to_condemn(net, comm)) != NULL) {
        nx_op_condemn(op, error, why);
        nx_op_drop(op);
    }
}

nexar_status nx_net_wait_ops(struct nx_net *net, uint64_t comm, nx_time deadline)
{
    struct nx_idle idle = {.comm = comm};
    nexar_status st = NEXAR_OK;

    nx_waiter_init(&idle.waiter);
    nx_lock(&net->lock);
    if (has_ops(net, comm))
        st = NEXAR_EINTR;
    nx_list_push_back(&net->idle, &idle.link);
    nx_unlock(&net->lock);
    while (st == NEXAR_EINTR)
        st = nx_waiter_wait(&idle.waiter, deadline);
    nx_lock(&net->lock);
    nx_list_remove(&idle.link);
    nx_unlock(&net->lock);
    return st;
}
