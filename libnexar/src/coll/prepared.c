/* coll/prepared.c - blocking calls whose arguments lie in a struct, messages and collectives alike.
 *
 * Owner: the struct is the caller's; `busy` says which thread has it meanwhile.  It checks nothing that the calls
 * themselves check, and waits for nothing but them. */
#include "nexar/prepared.h"

#include "base/op.h"
#include "base/status.h"
#include "base/thread.h"

#include <string.h>
#include <unistd.h>

/* The structs are those of a binding, which has no atomic types. */
static bool claim(uint32_t *busy)
{
    static _Thread_local uint32_t self;
    uint32_t nobody = 0;

    if (self == 0)
        self = (uint32_t)gettid();
    return __atomic_compare_exchange_n(busy, &nobody, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void let_go(uint32_t *busy)
{
    __atomic_store_n(busy, 0, __ATOMIC_RELEASE);
}

#define SHUTTING 0x80000000U /* in `users`, from then on: the last one to leave wakes those who shut the gate */

/* The gate is not looked at once it is left: who shuts it may free it then. */
static void leave(nexar_gate *gate)
{
    if (__atomic_fetch_sub(&gate->users, 1, __ATOMIC_SEQ_CST) == (SHUTTING | 1))
        nx_futex_wake_all((_Atomic uint32_t *)(void *)&gate->users);
}

/* Either it sees that the gate is shut, or who shuts it sees it inside. */
static nexar_comm *enter(nexar_gate *gate)
{
    nexar_comm *comm;

    __atomic_fetch_add(&gate->users, 1, __ATOMIC_SEQ_CST);
    comm = __atomic_load_n(&gate->comm, __ATOMIC_SEQ_CST);
    if (comm == NULL)
        leave(gate);
    return comm;
}

static bool is_as_it_was(const nexar_prepared *p)
{
    for (uint32_t i = 0; i < p->watches; i++) {
        if (memcmp(p->watch[i].at, p->watch[i].was, p->watch[i].nbytes) != 0)
            return false;
    }
    return true;
}

static nexar_status message(nexar_prepared *p, nexar_comm *comm, nexar_recv_info *info)
{
    if (p->call == NEXAR_PREPARED_SEND)
        return nexar_send(comm, p->send, p->count, p->rank, p->tag, p->opts, NULL);
    return nexar_recv(comm, p->recv, p->count, p->rank, p->tag, info, p->opts);
}

static nexar_status collective(const nexar_prepared *p, nexar_comm *comm)
{
    switch (p->call) {
    case NEXAR_PREPARED_ALL_REDUCE:
        return nexar_all_reduce(comm, p->send, p->recv, p->count, p->dtype, p->op, p->opts, NULL);
    case NEXAR_PREPARED_REDUCE:
        return nexar_reduce(comm, p->send, p->recv, p->count, p->dtype, p->op, p->rank, p->opts, NULL);
    case NEXAR_PREPARED_SCAN:
        return nexar_scan(comm, p->send, p->recv, p->count, p->dtype, p->op, p->opts, NULL);
    case NEXAR_PREPARED_EXCLUSIVE_SCAN:
        return nexar_exclusive_scan(comm, p->send, p->recv, p->count, p->dtype, p->op, p->opts, NULL);
    case NEXAR_PREPARED_BROADCAST:
        return nexar_broadcast(comm, p->recv, p->count, p->dtype, p->rank, p->opts, NULL);
    case NEXAR_PREPARED_ALL_GATHER:
        return nexar_all_gather(comm, p->send, p->recv, p->count, p->dtype, p->opts, NULL);
    case NEXAR_PREPARED_GATHER:
        return nexar_gather(comm, p->send, p->recv, p->count, p->dtype, p->rank, p->opts, NULL);
    case NEXAR_PREPARED_SCATTER:
        return nexar_scatter(comm, p->send, p->recv, p->count, p->dtype, p->rank, p->opts, NULL);
    case NEXAR_PREPARED_REDUCE_SCATTER:
        return nexar_reduce_scatter(comm, p->send, p->recv, p->count, p->dtype, p->op, p->opts, NULL);
    case NEXAR_PREPARED_ALL_TO_ALL:
        return nexar_all_to_all(comm, p->send, p->recv, p->count, p->dtype, p->opts, NULL);
    case NEXAR_PREPARED_BARRIER:
        return nexar_barrier(comm, p->opts, NULL);
    default:
        return nx_fail(NEXAR_EINVAL, "prepared: there is no call %d", (int)p->call);
    }
}

/* True: it is not what the last one got. */
static bool tell(nexar_prepared *p, const nexar_recv_info *info)
{
    if (info->nbytes == p->got && info->source == p->got_source && info->tag == p->got_tag)
        return false;
    p->got = info->nbytes;
    p->got_source = info->source;
    p->got_tag = info->tag;
    return true;
}

int32_t nexar_prepared_run(nexar_prepared *p)
{
    nexar_recv_info info = {0};
    nexar_comm *comm;
    nexar_status st;
    bool told;

    if (p == NULL || p->size < sizeof(*p) || p->gate == NULL || (p->watches != 0 && p->watch == NULL))
        return nx_fail(NEXAR_EINVAL, "prepared: it is NULL, not whole, or has no gate");
    if (!claim(&p->busy))
        return NEXAR_PREPARED_BUSY;
    if (!is_as_it_was(p)) {
        let_go(&p->busy);
        return NEXAR_PREPARED_CHANGED;
    }
    comm = enter(p->gate);
    if (comm == NULL) {
        let_go(&p->busy);
        return NEXAR_PREPARED_SHUT;
    }
    p->running = NULL;
    nx_op_lend(&p->running);
    if (p->call == NEXAR_PREPARED_SEND || p->call == NEXAR_PREPARED_RECV)
        st = message(p, comm, &info);
    else
        st = collective(p, comm);
    nx_op_lend(NULL);
    leave(p->gate);
    told = st == NEXAR_OK && p->call == NEXAR_PREPARED_RECV && tell(p, &info);
    if (!told && st != NEXAR_EAGAIN)
        let_go(&p->busy);
    return told ? NEXAR_PREPARED_TOLD : st;
}

void nexar_gate_shut(nexar_gate *gate)
{
    uint32_t users;

    if (gate == NULL)
        return;
    __atomic_store_n(&gate->comm, NULL, __ATOMIC_SEQ_CST);
    users = __atomic_or_fetch(&gate->users, SHUTTING, __ATOMIC_SEQ_CST);
    while (users != SHUTTING) {
        nx_futex_wait((_Atomic uint32_t *)(void *)&gate->users, users, NX_NEVER);
        users = __atomic_load_n(&gate->users, __ATOMIC_SEQ_CST);
    }
}
