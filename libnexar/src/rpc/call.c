/* rpc/call.c - calls that this rank makes: the op, its request, its answer.
 *
 * Owner: any thread, under the lock of struct nx_rpc.  A call ends when its request is no longer in use and an answer
 * has come or none will; what comes later for it finds nobody and goes. */
#include "rpc/rpc.h"

#include "base/mem.h"
#include "base/slab.h"
#include "comm/abort.h"
#include "net/arrive.h"
#include "wire/schema.h"

#include <stdio.h>
#include <string.h>

enum { INLINE_BYTES = 512, PIECES = 2 };

struct nx_call {
    struct nexar_op op;
    struct nx_inflight inflight;
    struct nx_rpc *rpc; /* a reference */
    struct nx_names names;
    uint64_t id;
    uint32_t peer, rank; /* in the world, in the communicator */
    char name[NEXAR_RPC_NAME_MAX + 1];
    uint16_t number;
    struct nx_send_req req;
    nexar_iov pieces[PIECES];
    uint8_t *gathered; /* owned, or NULL */
    /* lock */
    struct nx_hash_node node;
    bool waiting; /* for an answer: in rpc->calls */
    bool sending; /* its request is in use */
    nexar_status status;
    uint8_t code;
    nexar_iov answer; /* owned */
    uint8_t bytes[INLINE_BYTES];
};

static struct nx_slab slab = NX_SLAB_INIT(struct nx_call, 256);

/* ---- the end ---- */

static void describe(const struct nx_call *call, char *text, size_t cap)
{
    char where[48];

    nx_comm_text(call->names.comm, where, sizeof(where));
    if (call->name[0] != '\0')
        snprintf(text, cap, "call of \"%s\" on rank %u%s", call->name, call->rank, where);
    else
        snprintf(text, cap, "call of function %u on rank %u%s", call->number, call->rank, where);
}

/* The answer says that there is none. */
static void word_answer(struct nx_call *call, const char *what, nexar_error *error)
{
    static const char *const text[NX_RPC_CODES] = {[NX_RPC_UNKNOWN] = "there is no such function on that rank",
                                                   [NX_RPC_NO_MEMBER] = "that rank does not have this communicator",
                                                   [NX_RPC_CLOSED] = "the communicator is closed on that rank",
                                                   [NX_RPC_NO_MEMORY] = "that rank has no memory for it",
                                                   [NX_RPC_LATE] = "its time was over before its turn came"};
    const char *said = call->answer.base, *end;
    size_t n = call->answer.nbytes;

    if (call->code != NX_RPC_FAILED) {
        nx_error_set(error, call->code == NX_RPC_LATE ? NEXAR_ETIMEDOUT : NEXAR_EREMOTE, call->rank, "%s: %s", what,
                     text[call->code]);
        if (call->code == NX_RPC_UNKNOWN)
            nx_error_hint(error, "register it before others call it: a barrier after it makes that sure");
        return;
    }
    end = n == 0 ? NULL : memchr(said, '\n', n);
    n = end == NULL ? n : (size_t)(end - said);
    n = n > 320 ? 320 : n;
    while (n != 0 && !nx_utf8_valid(said, n))
        n--; /* not through the middle of a character */
    nx_error_set(error, NEXAR_EREMOTE, call->rank, "%s: %.*s", what, (int)n, n == 0 ? "" : said);
}

static void finish(struct nx_call *call)
{
    nexar_status status = call->status;
    nexar_error error;
    char what[224];

    if (status != NEXAR_OK || call->code != NX_RPC_FINE) {
        describe(call, what, sizeof(what));
        if ((status == NEXAR_ETIMEDOUT || status == NEXAR_ECANCELLED) && nx_op_verdict(&call->op, &error)) {
            status = error.status;
        } else if (status == NEXAR_OK) {
            word_answer(call, what, &error);
            status = error.status;
        } else if (status == NEXAR_ETIMEDOUT) {
            nx_error_set(&error, status, call->rank, "%s: no answer after %.3g s", what,
                         (double)(nx_now() - call->op.begun) / 1e9);
            nx_error_hint(&error, "see whether the function is still at work; or give more time");
        } else if (status == NEXAR_EPEER) {
            nx_peer_fail_as(call->rpc->net->peer[call->peer], call->rank);
            nx_error_set(&error, status, call->rank, "%s: %s", what, nexar_last_error());
        } else {
            nx_error_set(&error, status, NEXAR_NO_RANK, "%s: %s", what, nexar_status_text(status));
        }
        snprintf(error.op, sizeof(error.op), "%s", call->names.call);
        error.comm = call->names.comm;
        error.elapsed_ns = (uint64_t)(nx_now() - call->op.begun);
    }
    nx_net_op_end(call->rpc->net, &call->inflight);
    nx_op_finish(&call->op, status, &error);
}

/* With the lock: no answer is waited for any more. */
static void settle(struct nx_call *call, nexar_status status)
{
    nx_hash_remove(&call->rpc->calls, &call->node);
    call->waiting = false;
    call->status = status;
}

/* The other rank need not work on it any more. */
static void tell_cancelled(struct nx_call *call)
{
    struct nx_rpc_tail tail = {.kind = NX_RPC_CANCEL, .id = call->id, .comm = call->names.comm};

    nx_rpc_notice(call->rpc, call->peer, &tail, NULL, 0);
}

static void send_done(struct nx_send_req *req, nexar_status status)
{
    struct nx_call *call = nx_container_of(req, struct nx_call, req);
    bool over, tell;

    nx_lock(&call->rpc->lock);
    call->sending = false;
    if (status != NEXAR_OK && call->waiting)
        settle(call, status);
    over = !call->waiting;
    tell = over && call->status != NEXAR_OK && status == NEXAR_OK; /* it was given up, and has arrived */
    nx_unlock(&call->rpc->lock);
    if (tell)
        tell_cancelled(call);
    if (over)
        finish(call);
}

static void cancel(struct nexar_op *op, nexar_status why)
{
    struct nx_call *call = nx_container_of(op, struct nx_call, op);
    bool waiting, sending;

    nx_lock(&call->rpc->lock);
    waiting = call->waiting;
    sending = call->sending;
    if (waiting)
        settle(call, why);
    nx_unlock(&call->rpc->lock);
    if (!waiting)
        return;
    if (sending) {
        nx_send_cancel(&call->req, why);
        return;
    }
    tell_cancelled(call);
    finish(call);
}

static void describe_op(struct nexar_op *op, char *text, size_t cap)
{
    describe(nx_container_of(op, struct nx_call, op), text, cap);
}

static void release(struct nexar_op *op)
{
    struct nx_call *call = nx_container_of(op, struct nx_call, op);

    nx_free(call->gathered);
    nx_free(call->answer.base);
    nx_rpc_drop(call->rpc);
    nx_slab_put(&slab, call);
}

static const struct nx_op_class call_class = {
    .name = "call", .cancel = cancel, .describe = describe_op, .release = release};

void nx_call_answered(struct nx_rpc *rpc, uint32_t peer, const struct nx_rpc_tail *tail, uint8_t *bytes, size_t n)
{
    struct nx_call *call = NULL;
    bool over = false;

    if (n == 0) {
        nx_free(bytes);
        bytes = NULL;
    }
    nx_lock(&rpc->lock);
    for (struct nx_hash_node *node = nx_hash_first(&rpc->calls, nx_hash_mix(0, tail->id)); node != NULL && call == NULL;
         node = nx_hash_next(node)) {
        struct nx_call *other = nx_container_of(node, struct nx_call, node);

        if (other->id == tail->id && other->peer == peer)
            call = other;
    }
    if (call != NULL) {
        settle(call, NEXAR_OK);
        call->code = tail->code;
        call->answer = (nexar_iov){.base = bytes, .nbytes = n};
        over = !call->sending;
    }
    nx_unlock(&rpc->lock);
    if (call == NULL)
        nx_free(bytes); /* it was given up */
    else if (over)
        finish(call);
}

void nx_calls_peer_gone(struct nx_rpc *rpc, uint32_t peer, nexar_status why)
{
    struct nx_hash_node *node;
    struct nx_call *call;

    (void)why; /* lost, or left in good order: there is no answer */
    do {
        call = NULL;
        nx_lock(&rpc->lock);
        for (node = nx_hash_walk(&rpc->calls, NULL); node != NULL; node = nx_hash_walk(&rpc->calls, node)) {
            struct nx_call *other = nx_container_of(node, struct nx_call, node);

            if (other->peer != peer)
                continue;
            settle(other, NEXAR_EPEER);
            if (!other->sending) { /* else its end follows that of the request */
                call = other;
                break;
            }
            node = NULL; /* the table has changed */
        }
        nx_unlock(&rpc->lock);
        if (call != NULL)
            finish(call);
    } while (call != NULL);
}

/* ---- the beginning ---- */

static nexar_status check(nexar_comm *comm, uint32_t dest, const char *name, uint32_t number, const void *payload,
                          size_t nbytes, nexar_op **op_out)
{
    nexar_status st = nx_comm_check(comm, "call", false);

    if (st != NEXAR_OK)
        return st;
    if (op_out == NULL)
        return nx_fail(NEXAR_EINVAL, "call: there is nowhere to put the op");
    if (dest >= comm->size)
        return nx_fail(NEXAR_EINVAL, "call: dest %u is not one of the %u ranks", dest, comm->size);
    if (name == NULL && number > UINT16_MAX)
        return nx_fail(NEXAR_EINVAL, "call: function %u; numbers are 0 to %u", number, UINT16_MAX);
    if (name != NULL && (name[0] == '\0' || strnlen(name, NEXAR_RPC_NAME_MAX + 1) > NEXAR_RPC_NAME_MAX ||
                         !nx_utf8_valid(name, strlen(name))))
        return nx_fail(NEXAR_EINVAL, "call: the name of a function is 1 to %d bytes of UTF-8", NEXAR_RPC_NAME_MAX);
    if (payload == NULL && nbytes != 0)
        return nx_fail(NEXAR_EINVAL, "call: the payload is NULL and should have %zu bytes", nbytes);
    if (nbytes > NEXAR_RPC_BYTES_MAX)
        return nx_fail(NEXAR_EINVAL, "call: the payload has %zu bytes; %d are allowed", nbytes, NEXAR_RPC_BYTES_MAX);
    return nx_comm_stopped(comm, "call");
}

/* Large payloads leave from where they lie, with the tail as a second piece; others are copied together. */
static nexar_status set_payload(struct nx_call *call, const void *payload, size_t nbytes, nx_time left)
{
    size_t name_len = strlen(call->name), n = name_len + NX_RPC_TAIL;
    struct nx_rpc_tail tail = {.kind = NX_RPC_REQUEST,
                               .name_len = (uint16_t)name_len,
                               .number = call->number,
                               .id = call->id,
                               .comm = call->names.comm,
                               .left_ns = left};
    bool pieces = nbytes + n > NX_EAGER_BYTES && call->peer != call->rpc->net->config.rank;
    uint8_t *at = call->bytes;

    if (!pieces && nbytes + n > sizeof(call->bytes)) {
        at = call->gathered = nx_alloc(nbytes + n);
        if (at == NULL)
            return nx_fail(NEXAR_ENOMEM, "call: no memory for a payload of %zu bytes", nbytes);
    }
    call->req.payload = at;
    call->req.payload_len = nbytes + n;
    if (pieces) {
        call->pieces[0] = (nexar_iov){(void *)(uintptr_t)payload, nbytes};
        call->pieces[1] = (nexar_iov){at, n};
        call->req.pieces = call->pieces;
    } else if (nbytes != 0) {
        memcpy(at, payload, nbytes);
        at += nbytes;
    }
    memcpy(at, call->name, name_len);
    nx_rpc_tail_encode(&tail, at + name_len);
    call->req.head =
        (struct nx_head){.lane = NX_LANE_P2P, .scope = NX_RPC_SCOPE, .id = NX_RPC_TO_ASK, .len = call->req.payload_len};
    call->req.order = &call->rpc->scope->peer[call->peer].send_order;
    return NEXAR_OK;
}

static nexar_status send_request(struct nx_call *call)
{
    nexar_status st;

    if (call->peer == call->rpc->net->config.rank)
        st = nx_arrive_local(&call->rpc->net->lanes, call->peer, &call->req.head, call->req.payload);
    else
        st = nx_send(call->rpc->net->peer[call->peer], &call->req);
    if (st == NEXAR_OK) {
        send_done(&call->req, NEXAR_OK);
    } else if (st != NEXAR_EAGAIN) {
        send_done(&call->req, st);
    } else {
        bool given_up;

        nx_lock(&call->rpc->lock);
        given_up = call->sending && !call->waiting;
        nx_unlock(&call->rpc->lock);
        if (given_up || atomic_load(&call->rpc->net->closed))
            cancel(&call->op, NEXAR_ECLOSED);
        if (given_up)
            nx_send_cancel(&call->req, NEXAR_ECANCELLED);
    }
    if (atomic_load(&call->op.verdict) != NULL)
        cancel(&call->op, NEXAR_ECANCELLED); /* an abort may have come by before it was there */
    return st;
}

static nexar_status start(nexar_comm *comm, uint32_t dest, const char *name, uint32_t number, const void *payload,
                          size_t nbytes, const nexar_call_opts *opts, nexar_op **op_out)
{
    nexar_status st = check(comm, dest, name, number, payload, nbytes, op_out);
    nx_time now, deadline;
    struct nx_call *call;
    struct nx_rpc *rpc;

    if (op_out != NULL)
        *op_out = NULL;
    if (st == NEXAR_OK)
        st = nx_deadline(opts, comm->timeout, &now, &deadline);
    if (st != NEXAR_OK)
        return st;
    rpc = comm->net->rpc;
    call = nx_slab_get(&slab);
    if (call == NULL)
        return nx_fail(NEXAR_ENOMEM, "call: no memory for the operation");
    memset(call, 0, offsetof(struct nx_call, bytes));
    call->rpc = rpc;
    call->names = (struct nx_names){.call = "call", .comm = comm->id, .world = comm->world, .size = comm->size};
    call->rank = dest;
    call->peer = nx_comm_world(comm, dest);
    call->number = (uint16_t)number;
    if (name != NULL)
        memcpy(call->name, name, strlen(name));
    call->req.done = send_done;
    nx_op_init(&call->op, &call_class, comm->net->completions, now, deadline);
    st = nx_net_op_begin(comm->net, &call->inflight, &call->op, comm->id);
    if (st != NEXAR_OK) {
        nx_op_abandon(&call->op);
        nx_slab_put(&slab, call);
        return st;
    }
    nx_rpc_hold(rpc);
    nx_lock(&rpc->lock);
    call->id = ++rpc->next_id;
    nx_unlock(&rpc->lock);
    st = set_payload(call, payload, nbytes, deadline == NX_NEVER ? NX_NEVER : deadline - now);
    if (st != NEXAR_OK) {
        nx_net_op_end(comm->net, &call->inflight);
        nx_op_finish(&call->op, st, nx_last_error());
        return nx_op_return(&call->op, op_out, NULL);
    }
    nx_lock(&rpc->lock);
    nx_hash_insert(&rpc->calls, &call->node, nx_hash_mix(0, call->id));
    call->waiting = true;
    call->sending = true;
    nx_unlock(&rpc->lock);
    nx_op_tell(&call->op, NX_RECORD_SEND, comm->id, (uint64_t)UINT32_MAX << 32 | call->number, dest, nbytes);
    nx_op_hold(&call->op);
    (void)send_request(call);
    nx_op_drop(&call->op);
    return nx_op_return(&call->op, op_out, NULL);
}

nexar_status nexar_rpc_call(nexar_comm *comm, uint32_t dest, const char *name, const void *payload, size_t nbytes,
                            const nexar_call_opts *opts, nexar_op **op_out)
{
    return start(comm, dest, name == NULL ? "" : name, 0, payload, nbytes, opts, op_out);
}

nexar_status nexar_rpc_call_number(nexar_comm *comm, uint32_t dest, uint32_t number, const void *payload, size_t nbytes,
                                   const nexar_call_opts *opts, nexar_op **op_out)
{
    return start(comm, dest, NULL, number, payload, nbytes, opts, op_out);
}

nexar_status nexar_rpc_take(nexar_op *op, nexar_iov *out)
{
    struct nx_call *call = op != NULL && op->class == &call_class ? nx_container_of(op, struct nx_call, op) : NULL;

    if (call == NULL || out == NULL)
        return nx_fail(NEXAR_EINVAL, "rpc_take: the op is no call, or there is no place for the answer");
    *out = (nexar_iov){0};
    if (!nx_op_done(op))
        return NEXAR_EAGAIN;
    if (op->status != NEXAR_OK && op->status != NEXAR_EREMOTE)
        return nx_fail(NEXAR_EINVAL, "rpc_take: the call failed, and nothing came");
    nx_lock(&op->lock);
    *out = call->answer;
    call->answer = (nexar_iov){0};
    nx_unlock(&op->lock);
    return NEXAR_OK;
}
