/* comm/p2p.c - messages between two ranks of a communicator: arguments checked, then the lanes.
 *
 * Owner: any thread.  Matching is the lane table's, moving is net/'s. */
#include "comm/comm.h"

#include "base/mem.h"
#include "comm/abort.h"
#include "comm/at_once.h"
#include "comm/iov.h"
#include "net/arrive.h"

#include <stdio.h>
#include <string.h>

/* Where a message lies, or goes: one piece of memory, or a list of them. */
struct place {
    void *buf;
    size_t nbytes;        /* of all */
    const nexar_iov *iov; /* NULL: `buf` */
    size_t n;
};

static struct nx_names names_of(const nexar_comm *comm, const char *call)
{
    return (struct nx_names){.call = call, .comm = comm->id, .world = comm->world, .size = comm->size};
}

static uint64_t id_of(uint32_t tag, const nexar_call_opts *opts)
{
    return (uint64_t)(opts == NULL ? 0 : opts->space) << 32 | tag;
}

static nexar_status check_rank(const nexar_comm *comm, const char *call, const char *what, uint32_t rank, bool any)
{
    if (rank < comm->size || (any && rank == NEXAR_ANY))
        return NEXAR_OK;
    return nx_fail(NEXAR_EINVAL, "%s: %s %u is not one of the %u ranks", call, what, rank, comm->size);
}

static nexar_status check_place(const char *call, const struct place *p)
{
    if (p->iov != NULL || p->buf != NULL || p->nbytes == 0)
        return NEXAR_OK; /* lists have been checked */
    return nx_fail(NEXAR_EINVAL, "%s: the buffer is NULL and should have %zu bytes", call, p->nbytes);
}

/* An op that ends, with this thread's last error, before it has begun. */
static nexar_status refuse(nexar_comm *comm, struct nexar_op *op, struct nx_inflight *inflight, nexar_status st,
                           nexar_op **op_out)
{
    nx_net_op_end(comm->net, inflight);
    nx_op_finish(op, st, nx_last_error());
    return nx_op_return(op, op_out, NULL);
}

/* To oneself: the message goes straight into the lane table, whatever its size. */
static nexar_status send_self(nexar_comm *comm, struct nx_send_op *op, nexar_op **op_out)
{
    nexar_status st;

    op->req.head.len = op->req.payload_len;
    st = nx_arrive_local(&comm->net->lanes, nx_comm_world(comm, comm->rank), &op->req.head, op->req.payload);
    nx_op_record(&op->op, comm->net->recorder, st, comm->rank, op->op.begun);
    nx_net_op_end(comm->net, &op->inflight);
    nx_op_finish(&op->op, st, nx_last_error());
    return nx_op_return(&op->op, op_out, NULL);
}

/* A few large pieces leave from where they lie; else one copy costs less than what each of them does. */
static nexar_status set_payload(struct nx_send_op *op, const struct place *from, bool whole)
{
    op->req.payload = from->buf;
    op->req.payload_len = from->nbytes;
    if (from->iov == NULL || from->nbytes == 0)
        return NEXAR_OK;
    if (!whole && from->nbytes > NX_EAGER_BYTES &&
        nx_iov_pack(from->iov, from->n, op->pieces, NX_SEND_PIECES) <= NX_SEND_PIECES) {
        op->req.pieces = op->pieces;
        return NEXAR_OK;
    }
    op->gathered = nx_alloc(from->nbytes);
    if (op->gathered == NULL)
        return nx_fail(NEXAR_ENOMEM, "%s: no memory to put %zu pieces together", op->names.call, from->n);
    nx_iov_gather(from->iov, from->n, op->gathered);
    op->req.payload = op->gathered;
    return NEXAR_OK;
}

static nexar_status start_send(nexar_comm *comm, const char *call, const struct place *from, uint32_t dest,
                               uint32_t tag, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_names names;
    struct nx_send_op *op;
    nx_time now, deadline;
    nexar_status st = nx_comm_check(comm, call, op_out == NULL);
    uint32_t world;

    if (op_out != NULL)
        *op_out = NULL;
    if (st == NEXAR_OK)
        st = check_rank(comm, call, "dest", dest, false);
    if (st == NEXAR_OK)
        st = check_place(call, from);
    if (st == NEXAR_OK && tag == NEXAR_ANY)
        st = nx_fail(NEXAR_EINVAL, "%s: the tag must be below %u", call, NEXAR_ANY);
    if (st == NEXAR_OK)
        st = nx_comm_stopped(comm, call);
    if (st == NEXAR_OK && op_out == NULL && from->iov == NULL &&
        nx_send_at_once(comm, from->buf, from->nbytes, dest, id_of(tag, opts), opts))
        return NEXAR_OK;
    if (st == NEXAR_OK)
        st = nx_deadline(opts, comm->timeout, &now, &deadline);
    if (st != NEXAR_OK)
        return st;
    names = names_of(comm, call);
    st = nx_send_op_new(comm->net, &names, deadline, &op);
    if (st != NEXAR_OK)
        return st;
    world = nx_comm_world(comm, dest);
    op->req.head = (struct nx_head){.lane = NX_LANE_P2P, .scope = comm->id, .id = id_of(tag, opts)};
    st = set_payload(op, from, dest == comm->rank);
    if (st != NEXAR_OK)
        return refuse(comm, &op->op, &op->inflight, st, op_out);
    op->req.order = &comm->scope->peer[world].send_order;
    nx_op_tell(&op->op, NX_RECORD_SEND, comm->id, op->req.head.id, dest, from->nbytes);
    if (dest == comm->rank)
        return send_self(comm, op, op_out);
    return nx_send_op_run(op, comm->net->peer[world], op_out);
}

/* `own`: into memory of the library, at most so many bytes. */
static nexar_status start_recv(nexar_comm *comm, const char *call, const struct place *to, bool own, uint32_t src,
                               uint32_t tag, nexar_recv_info *info, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_names names;
    struct nx_recv_op *op;
    struct nx_key key;
    nx_time now, deadline;
    nexar_status st = nx_comm_check(comm, call, op_out == NULL);

    if (op_out != NULL)
        *op_out = NULL;
    if (info != NULL)
        *info = (nexar_recv_info){0};
    if (st == NEXAR_OK)
        st = check_rank(comm, call, "src", src, true);
    if (st == NEXAR_OK && !own)
        st = check_place(call, to);
    if (st == NEXAR_OK)
        st = nx_comm_stopped(comm, call);
    if (st != NEXAR_OK)
        return st;
    key = (struct nx_key){.peer = src == NEXAR_ANY ? NX_ANY_PEER : nx_comm_world(comm, src),
                          .lane = NX_LANE_P2P,
                          .scope = comm->id,
                          .id = id_of(tag, opts)};
    if (op_out == NULL && to->iov == NULL && nx_recv_at_once(comm, to->buf, to->nbytes, &key, opts, info))
        return NEXAR_OK;
    st = nx_deadline(opts, comm->timeout, &now, &deadline);
    if (st != NEXAR_OK)
        return st;
    names = names_of(comm, call);
    st = nx_recv_op_new(comm->net, &names, deadline, &op);
    if (st != NEXAR_OK)
        return st;
    op->recv.key = key;
    op->recv.dst = to->buf;
    op->recv.own = own;
    op->recv.cap = to->nbytes;
    if (to->iov != NULL) {
        op->pieces = nx_alloc(to->n * sizeof(*op->pieces));
        if (op->pieces == NULL) {
            st = nx_fail(NEXAR_ENOMEM, "%s: no memory for a list of %zu pieces", call, to->n);
            return refuse(comm, &op->op, &op->inflight, st, op_out);
        }
        memcpy(op->pieces, to->iov, to->n * sizeof(*op->pieces));
        op->recv.pieces = op->pieces;
    }
    nx_op_tell(&op->op, NX_RECORD_RECV, comm->id, op->recv.key.id, src, to->nbytes);
    return nx_recv_op_run(op, info, op_out);
}

nexar_status nexar_send(nexar_comm *comm, const void *buf, size_t nbytes, uint32_t dest, uint32_t tag,
                        const nexar_call_opts *opts, nexar_op **op_out)
{
    struct place from = {.buf = (void *)(uintptr_t)buf, .nbytes = nbytes};

    return start_send(comm, "send", &from, dest, tag, opts, op_out);
}

nexar_status nexar_sendv(nexar_comm *comm, const nexar_iov *iov, size_t n, uint32_t dest, uint32_t tag,
                         const nexar_call_opts *opts, nexar_op **op_out)
{
    struct place from = {.iov = n == 0 ? NULL : iov, .n = n};
    nexar_status st = nx_iov_check("sendv", iov, n, &from.nbytes);

    if (st == NEXAR_OK)
        return start_send(comm, "sendv", &from, dest, tag, opts, op_out);
    if (op_out != NULL)
        *op_out = NULL;
    return st;
}

nexar_status nexar_recv(nexar_comm *comm, void *buf, size_t nbytes, uint32_t src, uint32_t tag, nexar_recv_info *info,
                        const nexar_call_opts *opts)
{
    struct place to = {.buf = buf, .nbytes = nbytes};

    return start_recv(comm, "recv", &to, false, src, tag, info, opts, NULL);
}

nexar_status nexar_recv_nb(nexar_comm *comm, void *buf, size_t nbytes, uint32_t src, uint32_t tag,
                           const nexar_call_opts *opts, nexar_op **op_out)
{
    struct place to = {.buf = buf, .nbytes = nbytes};

    if (op_out == NULL)
        return nx_fail(NEXAR_EINVAL, "recv: there is nowhere to put the op; nexar_recv blocks");
    return start_recv(comm, "recv", &to, false, src, tag, NULL, opts, op_out);
}

static nexar_status recvv(nexar_comm *comm, const nexar_iov *iov, size_t n, uint32_t src, uint32_t tag,
                          nexar_recv_info *info, const nexar_call_opts *opts, nexar_op **op_out)
{
    struct place to = {.iov = n == 0 ? NULL : iov, .n = n};
    nexar_status st = nx_iov_check("recvv", iov, n, &to.nbytes);

    if (st == NEXAR_OK)
        st = nx_iov_apart("recvv", iov, n);
    if (st == NEXAR_OK)
        return start_recv(comm, "recvv", &to, false, src, tag, info, opts, op_out);
    if (op_out != NULL)
        *op_out = NULL;
    if (info != NULL)
        *info = (nexar_recv_info){0};
    return st;
}

nexar_status nexar_recvv(nexar_comm *comm, const nexar_iov *iov, size_t n, uint32_t src, uint32_t tag,
                         nexar_recv_info *info, const nexar_call_opts *opts)
{
    return recvv(comm, iov, n, src, tag, info, opts, NULL);
}

nexar_status nexar_recvv_nb(nexar_comm *comm, const nexar_iov *iov, size_t n, uint32_t src, uint32_t tag,
                            const nexar_call_opts *opts, nexar_op **op_out)
{
    if (op_out == NULL)
        return nx_fail(NEXAR_EINVAL, "recvv: there is nowhere to put the op; nexar_recvv blocks");
    return recvv(comm, iov, n, src, tag, NULL, opts, op_out);
}

nexar_status nexar_recv_alloc_nb(nexar_comm *comm, size_t most, uint32_t src, uint32_t tag, const nexar_call_opts *opts,
                                 nexar_op **op_out)
{
    struct place to = {.nbytes = most};

    if (op_out == NULL)
        return nx_fail(NEXAR_EINVAL, "recv: there is nowhere to put the op");
    return start_recv(comm, "recv", &to, true, src, tag, NULL, opts, op_out);
}

nexar_status nexar_recv_take(nexar_op *op, nexar_iov *out)
{
    if (op == NULL || out == NULL)
        return nx_fail(NEXAR_EINVAL, "recv_take: the op is NULL, or there is no place for the answer");
    return nx_recv_op_take(op, out);
}

void nexar_free(void *buf)
{
    nx_free(buf);
}

nexar_status nexar_sendrecv(nexar_comm *comm, const void *sendbuf, size_t send_nbytes, uint32_t dest, uint32_t sendtag,
                            void *recvbuf, size_t recv_nbytes, uint32_t src, uint32_t recvtag, nexar_recv_info *info,
                            const nexar_call_opts *opts)
{
    struct place from = {.buf = (void *)(uintptr_t)sendbuf, .nbytes = send_nbytes};
    struct place to = {.buf = recvbuf, .nbytes = recv_nbytes};
    nexar_iov both[] = {{from.buf, from.nbytes}, {to.buf, to.nbytes}};
    nexar_op *sent = NULL, *received = NULL;
    nexar_error error;
    nexar_status st = nx_comm_check(comm, "sendrecv", true), second;

    if (st == NEXAR_OK)
        st = nx_iov_apart("sendrecv", both, 2);
    /* The receive first: what comes then needs no buffer. */
    if (st == NEXAR_OK)
        st = start_recv(comm, "sendrecv", &to, false, src, recvtag, info, opts, &received);
    if (st != NEXAR_OK)
        return st;
    st = start_send(comm, "sendrecv", &from, dest, sendtag, opts, &sent);
    if (st != NEXAR_OK) {
        error = *nx_last_error();
        nexar_op_close(received);
        return nx_fail_with(&error);
    }
    do
        st = nexar_op_wait(sent, NEXAR_FOREVER);
    while (st == NEXAR_EINTR);
    error = *nx_last_error();
    if (st != NEXAR_OK)
        nexar_op_cancel(received);
    do
        second = nexar_op_wait(received, NEXAR_FOREVER);
    while (second == NEXAR_EINTR);
    if (st == NEXAR_OK) {
        st = second;
        error = *nx_last_error();
    }
    if (second == NEXAR_OK && info != NULL)
        nexar_op_recv_info(received, info);
    nexar_op_close(sent);
    nexar_op_close(received);
    return st == NEXAR_OK ? st : nx_fail_with(&error);
}

nexar_status nexar_probe(nexar_comm *comm, uint32_t src, uint32_t tag, nexar_recv_info *info,
                         const nexar_call_opts *opts)
{
    struct nx_key key = {.lane = NX_LANE_P2P};
    nexar_status st = nx_comm_check(comm, "probe", true);
    uint32_t from;
    uint64_t id, len;
    nx_time now, deadline;

    if (info != NULL)
        *info = (nexar_recv_info){0};
    if (st == NEXAR_OK)
        st = check_rank(comm, "probe", "src", src, true);
    if (st == NEXAR_OK)
        st = nx_deadline(opts, comm->timeout, &now, &deadline);
    if (st == NEXAR_OK)
        st = nx_comm_stopped(comm, "probe");
    if (st != NEXAR_OK)
        return st;
    key.peer = src == NEXAR_ANY ? NX_ANY_PEER : nx_comm_world(comm, src);
    key.scope = comm->id;
    key.id = id_of(tag, opts);
    st = nx_lane_probe(&comm->net->lanes, &key, deadline, &from, &id, &len);
    if (st == NEXAR_ECLOSED)
        return nx_comm_stopped(comm, "probe") == NEXAR_OK ? nx_fail(st, "probe: the communicator is closed")
                                                          : nx_last_error()->status;
    if (st == NEXAR_EAGAIN)
        return nx_fail(NEXAR_ETIMEDOUT, "probe: no such message after %.3g s", (double)(nx_now() - now) / 1e9);
    if (st == NEXAR_EPEER && src != NEXAR_ANY && src != comm->rank)
        return nx_peer_fail_as(comm->net->peer[key.peer], src);
    if (st == NEXAR_OK && info != NULL)
        *info = (nexar_recv_info){.source = nx_comm_rank_of(comm, from), .tag = (uint32_t)id, .nbytes = len};
    return st;
}
