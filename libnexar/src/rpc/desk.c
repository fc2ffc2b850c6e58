/* rpc/desk.c - the functions of a communicator: registered, found, handled by threads of the library or given to those
 * of the program.
 *
 * Owner: the lock of struct nx_rpc.  How threads wait for calls is queue.c's, those of the library are crew.c's. */
#include "rpc/desk.h"

#include "base/log.h"
#include "base/mem.h"
#include "wire/schema.h"

#include <string.h>

struct nx_desk_function {
    struct nx_list link;
    nexar_function fn;
    void *arg;
    uint64_t cookie;
    uint16_t number, name_len; /* 0: by number */
    char name[NEXAR_RPC_NAME_MAX];
};

void nx_desk_drop(struct nexar_desk *desk)
{
    struct nx_list *pos;

    if (atomic_fetch_sub_explicit(&desk->refs, 1, memory_order_acq_rel) != 1)
        return;
    while ((pos = nx_list_pop(&desk->functions)) != NULL)
        nx_free(nx_container_of(pos, struct nx_desk_function, link));
    nx_rpc_drop(desk->rpc);
    nx_comm_drop(desk->kept);
    nx_free(desk->threads);
    nx_free(desk);
}

static struct nexar_desk *find_desk(struct nx_rpc *rpc, uint64_t comm)
{
    nx_list_for_each_safe(pos, tmp, &rpc->desks)
    {
        struct nexar_desk *desk = nx_container_of(pos, struct nexar_desk, link);

        if (desk->id == comm)
            return desk;
    }
    return NULL;
}

static struct nx_desk_function *find_function(struct nexar_desk *desk, const char *name, size_t name_len,
                                              uint32_t number)
{
    nx_list_for_each_safe(pos, tmp, &desk->functions)
    {
        struct nx_desk_function *f = nx_container_of(pos, struct nx_desk_function, link);

        if (f->name_len == name_len && (name_len == 0 ? f->number == number : memcmp(f->name, name, name_len) == 0))
            return f;
    }
    return NULL;
}

/* With the lock. */
static void account(struct nexar_request *request, bool waits)
{
    struct nx_rpc *rpc = request->rpc;

    rpc->waiting += waits ? 1 : UINT32_MAX;
    rpc->waiting_bytes += waits ? request->len : -request->len;
}

void nx_rpc_unqueue(struct nexar_request *request)
{
    account(request, false);
    nx_list_remove(&request->link);
}

enum nx_rpc_code nx_desk_put(struct nx_rpc *rpc, struct nexar_request *request)
{
    struct nexar_desk *desk = find_desk(rpc, request->comm);
    struct nx_desk_function *f;
    struct nx_desk_queue *queue;

    if (desk == NULL)
        return NX_RPC_NO_MEMBER;
    request->caller = nx_comm_rank_of(desk->comm, request->peer);
    if (request->caller == NEXAR_NO_RANK)
        return NX_RPC_NO_MEMBER;
    f = find_function(desk, (const char *)request->bytes + request->len, request->name_len, request->number);
    if (f == NULL)
        return NX_RPC_UNKNOWN;
    request->fn = f->fn;
    request->arg = f->arg;
    request->cookie = f->cookie;
    queue = &desk->queue[f->fn == NULL ? NX_DESK_THEIRS : NX_DESK_OURS];
    account(request, true);
    nx_list_push_back(&queue->requests, &request->link);
    nx_desk_wake(desk, queue);
    return NX_RPC_FINE;
}

/* ---- registering ---- */

static nexar_status add(struct nexar_desk *desk, const char *name, uint32_t number, nexar_function fn, void *arg,
                        uint64_t cookie)
{
    size_t name_len = name == NULL ? 0 : strnlen(name, NEXAR_RPC_NAME_MAX + 1);
    struct nx_desk_function *made, *old;
    nexar_status st = NEXAR_OK;

    if (name != NULL && (name_len == 0 || name_len > NEXAR_RPC_NAME_MAX || !nx_utf8_valid(name, name_len)))
        return nx_fail(NEXAR_EINVAL, "register: the name of a function is 1 to %d bytes of UTF-8", NEXAR_RPC_NAME_MAX);
    if (name == NULL && number > UINT16_MAX)
        return nx_fail(NEXAR_EINVAL, "register: function %u; numbers are 0 to %u", number, UINT16_MAX);
    made = nx_calloc(1, sizeof(*made));
    if (made == NULL)
        return nx_fail(NEXAR_ENOMEM, "register: no memory for a function");
    *made = (struct nx_desk_function){
        .fn = fn, .arg = arg, .cookie = cookie, .number = (uint16_t)number, .name_len = (uint16_t)name_len};
    memcpy(made->name, name == NULL ? "" : name, name_len);
    nx_lock(&desk->rpc->lock);
    if (desk->comm == NULL)
        st = nx_fail(NEXAR_ECLOSED, "register: the communicator is closed");
    if (st == NEXAR_OK && fn != NULL)
        st = nx_crew_start(desk);
    if (st == NEXAR_OK) {
        old = find_function(desk, made->name, name_len, number);
        if (old != NULL) {
            nx_list_remove(&old->link);
            nx_free(old);
        }
        if (fn != NULL || cookie != 0) {
            nx_list_push_back(&desk->functions, &made->link);
            made = NULL;
        }
        if (!desk->work) {
            desk->work = true;
            nx_engine_add_work(1);
        }
    }
    nx_unlock(&desk->rpc->lock);
    nx_free(made);
    return st;
}

static nexar_status find(nexar_comm *comm, struct nexar_desk **desk)
{
    nexar_status st = nx_comm_check(comm, "register", false);
    struct nx_rpc *rpc;

    *desk = NULL;
    if (st != NEXAR_OK)
        return st;
    rpc = comm->net->rpc;
    nx_lock(&rpc->lock);
    *desk = find_desk(rpc, comm->id);
    if (*desk != NULL)
        atomic_fetch_add(&(*desk)->refs, 1);
    nx_unlock(&rpc->lock);
    return *desk != NULL ? NEXAR_OK : nx_fail(NEXAR_ECLOSED, "register: the communicator is closed");
}

static nexar_status add_to(nexar_comm *comm, const char *name, uint32_t number, nexar_function fn, void *arg)
{
    struct nexar_desk *desk;
    nexar_status st = find(comm, &desk);

    if (st != NEXAR_OK)
        return st;
    st = add(desk, name, number, fn, arg, 0);
    nx_desk_drop(desk);
    return st;
}

nexar_status nexar_rpc_register(nexar_comm *comm, const char *name, nexar_function fn, void *arg)
{
    return add_to(comm, name == NULL ? "" : name, 0, fn, arg);
}

nexar_status nexar_rpc_register_number(nexar_comm *comm, uint32_t number, nexar_function fn, void *arg)
{
    return add_to(comm, NULL, number, fn, arg);
}

/* ---- desks of the program ---- */

nexar_status nexar_desk_open(nexar_comm *comm, nexar_desk **desk)
{
    if (desk == NULL)
        return nx_fail(NEXAR_EINVAL, "desk_open: there is no place for the desk");
    return find(comm, desk);
}

uint32_t nexar_desk_threads(const nexar_desk *desk)
{
    return desk == NULL ? 0 : desk->rpc->threads;
}

nexar_status nexar_desk_register(nexar_desk *desk, const char *name, uint32_t number, uint64_t cookie)
{
    if (desk == NULL)
        return nx_fail(NEXAR_EINVAL, "register: the desk is NULL");
    return add(desk, name, number, NULL, NULL, cookie);
}

/* The calls that this thread takes are one after the other: what is between two of them is the time of one. */
static _Thread_local struct {
    const nexar_desk *desk;
    nx_time since;
} taken;

nexar_status nexar_desk_next(nexar_desk *desk, int64_t timeout_ns, nexar_request_info *out)
{
    nexar_status st = nx_engine_may_block();
    struct nexar_request *request;
    nx_time now;

    if (desk == NULL || out == NULL || out->size < sizeof(*out) || timeout_ns < 0)
        return nx_fail(NEXAR_EINVAL,
                       "desk_next: the desk or its answer is NULL or of a wrong size, or the time below 0");
    if (st != NEXAR_OK)
        return st;
    now = nx_now();
    if (taken.desk == desk)
        nx_desk_handled(desk, &desk->queue[NX_DESK_THEIRS], now - taken.since);
    taken.desk = NULL;
    st = nx_desk_take(desk, &desk->queue[NX_DESK_THEIRS], nx_after(now, timeout_ns), &request);
    if (st == NEXAR_ECLOSED)
        return nx_fail(st, "desk_next: the communicator is closed");
    if (st != NEXAR_OK)
        return st;
    now = nx_now();
    taken.desk = desk;
    taken.since = now;
    *out = (nexar_request_info){.size = out->size,
                                .caller = request->caller,
                                .payload = request->bytes,
                                .nbytes = (size_t)request->len,
                                .cookie = request->cookie,
                                .left_ns = request->deadline == NX_NEVER ? NEXAR_FOREVER : request->deadline - now,
                                .request = request};
    return NEXAR_OK;
}

void nexar_desk_close(nexar_desk *desk)
{
    if (desk != NULL)
        nx_desk_drop(desk);
}

/* ---- communicators ---- */

nexar_status nx_rpc_comm_open(nexar_comm *comm)
{
    struct nx_rpc *rpc = comm->net->rpc;
    struct nexar_desk *desk;

    if (rpc == NULL)
        return NEXAR_OK; /* a communicator of a test, without a node */
    desk = nx_calloc(1, sizeof(*desk));
    if (desk == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a communicator's calls");
    desk->rpc = rpc;
    nx_rpc_hold(rpc);
    atomic_init(&desk->refs, 1);
    desk->comm = comm;
    desk->id = comm->id;
    nx_list_init(&desk->functions);
    nx_desk_queue_init(desk);
    nx_lock(&rpc->lock);
    nx_list_push_back(&rpc->desks, &desk->link);
    nx_unlock(&rpc->lock);
    return NEXAR_OK;
}

/* `comm` NULL: it is gone. */
static void end(struct nexar_desk *desk, nexar_comm *comm, nx_time deadline)
{
    struct nx_rpc *rpc = desk->rpc;
    uint32_t left;

    nx_lock(&rpc->lock);
    nx_list_remove(&desk->link);
    desk->comm = NULL;
    for (int i = 0; i < NX_DESK_QUEUES; i++)
        nx_desk_wake_all(&desk->queue[i]);
    nx_unlock(&rpc->lock);
    nx_requests_end(rpc, desk->id);
    if (comm != NULL && desk->thread_count != 0) { /* a function that is left behind may still ask it */
        nx_comm_hold(comm);
        desk->kept = comm;
    }
    left = nx_crew_end(desk, deadline);
    if (left == 0 && desk->kept != NULL && !nx_crew_is_here(desk)) {
        nx_comm_drop(desk->kept);
        desk->kept = NULL;
    }
    if (left != 0)
        nx_log(NEXAR_LOG_WARN, "communicator %#llx is closed while %u of its functions still run",
               (unsigned long long)desk->id, left);
    if (desk->work)
        nx_engine_add_work(-1);
    nx_desk_drop(desk);
}

void nx_desks_end(struct nx_rpc *rpc)
{
    struct nexar_desk *desk;

    do {
        desk = NULL;
        nx_lock(&rpc->lock);
        if (!nx_list_empty(&rpc->desks))
            desk = nx_container_of(rpc->desks.next, struct nexar_desk, link);
        nx_unlock(&rpc->lock);
        if (desk != NULL)
            end(desk, NULL, nx_now()); /* no function was ever registered: nobody had the communicator */
    } while (desk != NULL);
}

void nx_rpc_comm_close(nexar_comm *comm, nx_time deadline)
{
    struct nexar_desk *desk;

    if (comm->net->rpc == NULL)
        return;
    nx_lock(&comm->net->rpc->lock);
    desk = find_desk(comm->net->rpc, comm->id);
    nx_unlock(&comm->net->rpc->lock);
    if (desk != NULL)
        end(desk, comm, deadline);
}
