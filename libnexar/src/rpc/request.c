/* rpc/request.c - calls that others make: from their coming to their answer.
 *
 * Owner: the lock of struct nx_rpc for the table and what waits; the thread that took a request for the rest of it.
 * Which function it is for, and who runs that, is desk.c's. */
#include "rpc/rpc.h"

#include "base/mem.h"
#include "net/arrive.h"

#include <stdio.h>
#include <string.h>

enum { AT_ONCE = 4096 };

static struct nexar_request *find(struct nx_rpc *rpc, uint32_t peer, uint64_t id)
{
    for (struct nx_hash_node *n = nx_hash_first(&rpc->requests, nx_hash_mix(peer, id)); n != NULL;
         n = nx_hash_next(n)) {
        struct nexar_request *request = nx_container_of(n, struct nexar_request, node);

        if (request->id == id && request->peer == peer)
            return request;
    }
    return NULL;
}

void nx_request_free(struct nexar_request *request)
{
    nx_rpc_drop(request->rpc);
    nx_free(request->bytes);
    nx_free(request);
}

static void tell(struct nx_rpc *rpc, uint32_t peer, uint64_t id, enum nx_rpc_code code)
{
    struct nx_rpc_tail tail = {.kind = NX_RPC_ANSWER, .code = (uint8_t)code, .id = id};

    nx_rpc_notice(rpc, peer, &tail, NULL, 0);
}

void nx_request_refuse(struct nexar_request *request, enum nx_rpc_code code)
{
    tell(request->rpc, request->peer, request->id, code);
    nx_request_free(request);
}

void nx_request_come(struct nx_rpc *rpc, uint32_t peer, const struct nx_rpc_tail *tail, uint8_t *bytes, uint64_t len)
{
    struct nexar_request *request = nx_calloc(1, sizeof(*request));
    enum nx_rpc_code code;

    if (request == NULL) {
        nx_free(bytes);
        tell(rpc, peer, tail->id, NX_RPC_NO_MEMORY);
        return;
    }
    request->rpc = rpc;
    request->peer = peer;
    request->id = tail->id;
    request->comm = tail->comm;
    request->deadline = nx_after(nx_now(), tail->left_ns);
    request->bytes = bytes;
    request->len = len - NX_RPC_TAIL - tail->name_len;
    request->name_len = tail->name_len;
    request->number = tail->number;
    nx_list_init(&request->link);
    nx_rpc_hold(rpc);
    nx_lock(&rpc->lock);
    if (find(rpc, peer, request->id) != NULL) {
        nx_unlock(&rpc->lock);
        nx_request_free(request); /* no caller numbers two calls alike */
        return;
    }
    code = nx_desk_put(rpc, request);
    if (code == NX_RPC_FINE)
        nx_hash_insert(&rpc->requests, &request->node, nx_hash_mix(peer, request->id));
    nx_unlock(&rpc->lock);
    if (code != NX_RPC_FINE)
        nx_request_refuse(request, code);
}

/* With the lock: nobody wants it any more.  True if it is to be freed by the caller. */
static bool unwant(struct nexar_request *request, nexar_status why)
{
    int none = 0;

    atomic_compare_exchange_strong(&request->unwanted, &none, why);
    if (request->state != NX_REQUEST_QUEUED)
        return false;
    nx_rpc_unqueue(request);
    nx_hash_remove(&request->rpc->requests, &request->node);
    return true;
}

void nx_request_cancelled(struct nx_rpc *rpc, uint32_t peer, uint64_t id)
{
    struct nexar_request *request;
    bool gone = false;

    nx_lock(&rpc->lock);
    request = find(rpc, peer, id);
    if (request != NULL)
        gone = unwant(request, NEXAR_ECANCELLED);
    nx_unlock(&rpc->lock);
    if (gone) {
        nx_request_free(request);
        nx_rpc_room(rpc);
    }
}

/* Those of a peer, or of a communicator (not 0), or all. */
static void end_some(struct nx_rpc *rpc, uint32_t peer, uint64_t comm, nexar_status why)
{
    struct nx_list gone;
    struct nx_hash_node *node, *next;
    struct nx_list *pos;
    bool room;

    nx_list_init(&gone);
    nx_lock(&rpc->lock);
    for (node = nx_hash_walk(&rpc->requests, NULL); node != NULL; node = next) {
        struct nexar_request *request = nx_container_of(node, struct nexar_request, node);

        next = nx_hash_walk(&rpc->requests, node);
        if ((peer != NX_ANY_PEER && request->peer != peer) || (comm != 0 && request->comm != comm))
            continue;
        if (unwant(request, why))
            nx_list_push_back(&gone, &request->link);
    }
    nx_unlock(&rpc->lock);
    room = !nx_list_empty(&gone);
    while ((pos = nx_list_pop(&gone)) != NULL) {
        struct nexar_request *request = nx_container_of(pos, struct nexar_request, link);

        if (comm != 0)
            nx_request_refuse(request, NX_RPC_CLOSED);
        else
            nx_request_free(request);
    }
    if (room)
        nx_rpc_room(rpc);
}

void nx_requests_peer_gone(struct nx_rpc *rpc, uint32_t peer)
{
    end_some(rpc, peer, 0, NEXAR_EPEER);
}

/* With the lock: one that a thread has, and that is still wanted. */
static struct nexar_request *first_taken(struct nx_rpc *rpc, uint64_t comm)
{
    for (struct nx_hash_node *n = nx_hash_walk(&rpc->requests, NULL); n != NULL; n = nx_hash_walk(&rpc->requests, n)) {
        struct nexar_request *request = nx_container_of(n, struct nexar_request, node);

        if (request->comm == comm && request->state == NX_REQUEST_TAKEN && atomic_load(&request->unwanted) == 0)
            return request;
    }
    return NULL;
}

/* Those that are at work have no answer any more, and it may be long until they return: their callers are told now. */
static void end_taken(struct nx_rpc *rpc, uint64_t comm)
{
    struct nexar_request *request;
    uint32_t peer = 0;
    uint64_t id = 0;

    do {
        nx_lock(&rpc->lock);
        request = first_taken(rpc, comm);
        if (request != NULL) {
            peer = request->peer;
            id = request->id;
            (void)unwant(request, NEXAR_ECLOSED);
        }
        nx_unlock(&rpc->lock);
        if (request != NULL)
            tell(rpc, peer, id, NX_RPC_CLOSED);
    } while (request != NULL);
}

void nx_requests_end(struct nx_rpc *rpc, uint64_t comm)
{
    if (comm != 0)
        end_taken(rpc, comm);
    end_some(rpc, NX_ANY_PEER, comm, NEXAR_ECLOSED);
}

/* ---- answers ---- */

static nexar_status send_large(struct nexar_request *request, const void *buf, size_t n, uint8_t tail[NX_RPC_TAIL])
{
    struct nx_rpc *rpc = request->rpc;
    struct nx_names names = {.call = "answer", .size = rpc->net->config.size};
    struct nx_send_op *op;
    nexar_status st = nx_send_op_new(rpc->net, &names, request->deadline, &op);

    if (st != NEXAR_OK)
        return st;
    op->req.head = (struct nx_head){.lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = NX_RPC_TO_TELL};
    op->req.payload_len = n + NX_RPC_TAIL;
    op->req.order = &rpc->scope->peer[request->peer].send_order;
    op->pieces[0] = (nexar_iov){(void *)(uintptr_t)buf, n};
    op->pieces[1] = (nexar_iov){tail, NX_RPC_TAIL};
    op->req.pieces = op->pieces;
    if (op->req.payload_len <= NX_EAGER_BYTES) {
        op->gathered = nx_alloc(n + NX_RPC_TAIL);
        if (op->gathered == NULL) {
            nx_net_op_end(rpc->net, &op->inflight);
            nx_fail(NEXAR_ENOMEM, "answer: no memory for %zu bytes", n);
            nx_op_finish(&op->op, NEXAR_ENOMEM, nx_last_error());
            return nx_op_return(&op->op, NULL, NULL);
        }
        memcpy(op->gathered, buf, n);
        memcpy((uint8_t *)op->gathered + n, tail, NX_RPC_TAIL);
        op->req.pieces = NULL;
        op->req.payload = op->gathered;
    }
    return nx_send_op_run(op, rpc->net->peer[request->peer], NULL);
}

static nexar_status send_self(struct nexar_request *request, const void *buf, size_t n, const uint8_t *tail)
{
    struct nx_rpc *rpc = request->rpc;
    struct nx_head head = {.lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = NX_RPC_TO_TELL, .len = n + NX_RPC_TAIL};
    uint8_t *bytes = nx_alloc(n + NX_RPC_TAIL);
    nexar_status st;

    if (bytes == NULL)
        return nx_fail(NEXAR_ENOMEM, "answer: no memory for %zu bytes", n);
    if (n != 0)
        memcpy(bytes, buf, n);
    memcpy(bytes + n, tail, NX_RPC_TAIL);
    st = nx_arrive_local(&rpc->net->lanes, request->peer, &head, bytes);
    nx_free(bytes);
    return st;
}

/* Without an op, if it is small and need not wait. */
static bool send_now(struct nexar_request *request, const void *buf, size_t n, const uint8_t *tail)
{
    struct nx_rpc *rpc = request->rpc;
    uint8_t bytes[AT_ONCE + NX_RPC_TAIL];
    struct nx_send_req req;

    if (n > AT_ONCE || atomic_load_explicit(&rpc->net->closed, memory_order_relaxed))
        return false;
    if (n != 0)
        memcpy(bytes, buf, n);
    memcpy(bytes + n, tail, NX_RPC_TAIL);
    req.head = (struct nx_head){.lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = NX_RPC_TO_TELL};
    req.prefix_len = 0;
    req.payload = bytes;
    req.pieces = NULL;
    req.payload_len = n + NX_RPC_TAIL;
    req.order = &rpc->scope->peer[request->peer].send_order;
    if (!nx_send_now(rpc->net->peer[request->peer], &req))
        return false;
    if (!req.gathered)
        nx_engine_kick(true);
    return true;
}

static nexar_status answer(struct nexar_request *request, enum nx_rpc_code code, const void *buf, size_t n)
{
    struct nx_rpc_tail tail = {.kind = NX_RPC_ANSWER, .code = (uint8_t)code, .id = request->id, .comm = request->comm};
    struct nx_rpc *rpc = request->rpc;
    uint8_t bytes[NX_RPC_TAIL];
    nexar_status st = NEXAR_OK;

    nx_lock(&rpc->lock);
    nx_hash_remove(&rpc->requests, &request->node);
    nx_unlock(&rpc->lock);
    nx_rpc_tail_encode(&tail, bytes);
    if (atomic_load(&request->unwanted) == 0 && nx_rpc_enter(rpc)) {
        if (request->peer == rpc->net->config.rank)
            st = send_self(request, buf, n, bytes);
        else if (!send_now(request, buf, n, bytes))
            st = send_large(request, buf, n, bytes);
        if (st == NEXAR_ENOMEM) { /* rather that than silence */
            tail.code = NX_RPC_NO_MEMORY;
            nx_rpc_notice(rpc, request->peer, &tail, NULL, 0);
        }
        nx_rpc_leave(rpc);
    }
    nx_request_free(request);
    return st;
}

static nexar_status check(const struct nexar_request *request, const void *buf, size_t nbytes)
{
    if (request == NULL)
        return nx_fail(NEXAR_EINVAL, "answer: the request is NULL");
    if (buf == NULL && nbytes != 0)
        return nx_fail(NEXAR_EINVAL, "answer: the buffer is NULL and should have %zu bytes", nbytes);
    return nx_engine_may_block();
}

nexar_status nexar_request_answer(nexar_request *request, const void *buf, size_t nbytes)
{
    nexar_status st = check(request, buf, nbytes);
    char text[96];
    int n;

    if (st != NEXAR_OK)
        return st;
    if (nbytes <= NEXAR_RPC_BYTES_MAX)
        return answer(request, NX_RPC_FINE, buf, nbytes);
    n = snprintf(text, sizeof(text), "the answer has %zu bytes; %d are allowed", nbytes, NEXAR_RPC_BYTES_MAX);
    answer(request, NX_RPC_FAILED, text, (size_t)n);
    return nx_fail(NEXAR_EINVAL, "%s", text);
}

nexar_status nexar_request_fail(nexar_request *request, const char *text, size_t nbytes)
{
    nexar_status st = check(request, text, nbytes);

    if (st != NEXAR_OK)
        return st;
    return answer(request, NX_RPC_FAILED, text, nbytes > NX_EAGER_BYTES ? NX_EAGER_BYTES : nbytes);
}

nexar_status nexar_request_wanted(nexar_request *request)
{
    int why;

    if (request == NULL)
        return nx_fail(NEXAR_EINVAL, "wanted: the request is NULL");
    why = atomic_load(&request->unwanted);
    if (why == 0 && request->deadline != NX_NEVER && nx_now() >= request->deadline)
        why = NEXAR_ETIMEDOUT;
    return (nexar_status)why;
}
