/* comm/comm.c - communicators: made, asked, closed.
 *
 * Owner: any thread; fields as comm.h says.  Collectives are in coll/, messages between two ranks in p2p.c. */
#include "comm/comm.h"

#include "base/mem.h"
#include "coll/exec.h"
#include "coll/near.h"
#include "comm/comms.h"
#include "comm/inquiry.h"

enum {
    PLANS = 256,
    PLAN_BYTES = 64 << 20,
};

nexar_status nx_comm_place(nexar_comm *comm, const uint32_t *hosts)
{
    uint32_t *own = nx_alloc(comm->size * sizeof(*own));
    uint32_t *seen = nx_calloc(comm->net->config.size, sizeof(*seen)); /* of a host of the job, its number here + 1 */
    uint32_t count = 0, changes = 0;

    if (own == NULL || seen == NULL) {
        nx_free(own);
        nx_free(seen);
        return nx_fail(NEXAR_ENOMEM, "no memory for the hosts of %u ranks", comm->size);
    }
    for (uint32_t i = 0; i < comm->size; i++) {
        uint32_t host = hosts[nx_comm_world(comm, i)];

        if (seen[host] == 0)
            seen[host] = ++count;
        own[i] = seen[host] - 1;
        changes += i != 0 && own[i] != own[i - 1];
    }
    nx_free(seen);
    if (count == 1 || count == comm->size) {
        nx_free(own);
        return NEXAR_OK;
    }
    comm->hosts = own;
    comm->where = NX_ON_HOSTS | (changes + 1 == count ? NX_IN_A_ROW : 0);
    return NEXAR_OK;
}

nexar_status nx_comm_new(struct nx_net *net, uint64_t id, uint32_t rank, uint32_t size, uint32_t *world,
                         const uint32_t *hosts, nx_time timeout, const struct nx_select *select, nexar_comm **out)
{
    nexar_comm *comm = nx_calloc(1, sizeof(*comm));
    nexar_status st;

    *out = NULL;
    if (comm == NULL) {
        nx_free(world);
        return nx_fail(NEXAR_ENOMEM, "no memory for a communicator");
    }
    comm->net = net;
    comm->id = id;
    comm->root = id;
    comm->rank = rank;
    comm->size = size;
    comm->world = world;
    comm->timeout = timeout;
    comm->select = select;
    atomic_init(&comm->refs, 1);
    nx_mutex_init(&comm->lock, NX_LOCK_COMM);
    nx_plans_init(&comm->plans, PLANS, PLAN_BYTES);
    nx_list_init(&comm->link);
    nx_list_init(&comm->running);
    nx_list_init(&comm->idle);
    nx_list_init(&comm->aborted);
    nx_list_init(&comm->inquiries);
    nx_timer_init(&comm->watch, nx_coll_watch_fire);
    st = hosts == NULL ? NEXAR_OK : nx_comm_place(comm, hosts);
    if (st == NEXAR_OK)
        st = nx_scope_open(&net->lanes, id, comm, &nx_coll_scope_events, &comm->scope);
    if (st != NEXAR_OK) {
        nx_comm_drop(comm);
        return st;
    }
    nx_scope_members(&net->lanes, comm->scope, world, size);
    *out = comm;
    return NEXAR_OK;
}

void nx_comm_detach(nexar_comm *comm)
{
    while (!nx_list_empty(&comm->aborted))
        nx_aborted_free(comm, nx_container_of(comm->aborted.next, struct nx_aborted, link));
    nx_near_detach(comm);
    nx_scope_close(&comm->net->lanes, comm->scope);
    comm->scope = NULL;
    nx_coll_watch_stop(comm);
    nx_inquiries_stop(comm);
}

void nx_comm_hold(nexar_comm *comm)
{
    atomic_fetch_add_explicit(&comm->refs, 1, memory_order_relaxed);
}

void nx_comm_drop(nexar_comm *comm)
{
    if (comm == NULL || atomic_fetch_sub_explicit(&comm->refs, 1, memory_order_acq_rel) != 1)
        return;
    nx_coll_free_idle(comm);
    nx_near_free(comm);
    nx_plans_fini(&comm->plans);
    nx_mutex_fini(&comm->lock);
    nx_free((void *)(uintptr_t)comm->world);
    nx_free((void *)(uintptr_t)comm->hosts);
    nx_free(comm);
}

struct nx_aborted *nx_aborted_find(nexar_comm *comm, uint64_t sequence)
{
    nx_list_for_each_safe(pos, tmp, &comm->aborted)
    {
        struct nx_aborted *aborted = nx_container_of(pos, struct nx_aborted, link);

        if (aborted->error.sequence == sequence)
            return aborted;
    }
    return NULL;
}

void nx_aborted_free(nexar_comm *comm, struct nx_aborted *aborted)
{
    nx_scope_undrop(&comm->net->lanes, &aborted->call);
    nx_list_remove(&aborted->link);
    comm->aborted_count--;
    nx_free(aborted);
}

uint32_t nx_comm_rank_of(const nexar_comm *comm, uint32_t world)
{
    if (comm->world == NULL)
        return world < comm->size ? world : NEXAR_NO_RANK;
    for (uint32_t i = 0; i < comm->size; i++) {
        if (comm->world[i] == world)
            return i;
    }
    return NEXAR_NO_RANK;
}

nexar_status nx_comm_check(const nexar_comm *comm, const char *call, bool blocks)
{
    if (comm == NULL)
        return nx_fail(NEXAR_EINVAL, "%s: the communicator is NULL", call);
    if (atomic_load_explicit(&((nexar_comm *)(uintptr_t)comm)->closed, memory_order_relaxed))
        return nx_fail(NEXAR_ECLOSED, "%s: the communicator is closed", call);
    return blocks ? nx_engine_may_block() : nx_engine_alive();
}

uint32_t nexar_comm_rank(const nexar_comm *comm)
{
    return comm == NULL ? 0 : comm->rank;
}

uint32_t nexar_comm_size(const nexar_comm *comm)
{
    return comm == NULL ? 0 : comm->size;
}

uint64_t nexar_comm_id(const nexar_comm *comm)
{
    return comm == NULL ? 0 : comm->id;
}

nexar_status nexar_comm_peer(nexar_comm *comm, uint32_t rank, nexar_conn **conn)
{
    nexar_status st = nx_comm_check(comm, "peer", false);
    struct nx_peer *peer;

    if (conn == NULL)
        return nx_fail(NEXAR_EINVAL, "peer: there is no place for the connection");
    *conn = NULL;
    if (st != NEXAR_OK)
        return st;
    if (rank >= comm->size || rank == comm->rank)
        return nx_fail(NEXAR_EINVAL, "peer: rank %u is %s; the communicator has %u ranks", rank,
                       rank == comm->rank ? "this rank itself" : "not there", comm->size);
    peer = comm->net->peer[nx_comm_world(comm, rank)];
    *conn = nx_peer_conn(peer, &st);
    /* The peer keeps its connection until the communicator is closed: the borrowed pointer stays good. */
    nx_conn_drop(*conn);
    return st;
}

void nexar_comm_close(nexar_comm *comm)
{
    if (comm == NULL || atomic_exchange(&comm->closed, true))
        return;
    nx_near_quiesce(comm);
    nx_comms_close(comm);
}

nexar_status nexar_completion_fd(nexar_comm *comm, int32_t *fd)
{
    nexar_status st = nx_comm_check(comm, "completion_fd", false);

    if (fd == NULL)
        return nx_fail(NEXAR_EINVAL, "completion_fd: there is no place for the descriptor");
    *fd = -1;
    return st == NEXAR_OK ? nx_completion_fd(comm->net->completions, fd) : st;
}

nexar_status nexar_completion_next(nexar_comm *comm, uint64_t *cookie)
{
    nexar_status st = nx_comm_check(comm, "completion_next", false);

    if (cookie == NULL)
        return nx_fail(NEXAR_EINVAL, "completion_next: there is no place for the cookie");
    *cookie = 0;
    if (st != NEXAR_OK)
        return st;
    return nx_completion_pop(comm->net->completions, cookie) ? NEXAR_OK : NEXAR_EAGAIN;
}
