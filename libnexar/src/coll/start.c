/* coll/start.c - one step of a schedule: what it does to memory, to the lanes, to the network.
 *
 * Owner: the thread that runs the operation; completions come on the engine or on that thread.  Which step is next,
 * exec.c knows. */
#include "coll/op.h"

#include "wire/tag.h"

#include <string.h>

static uint8_t *place(const struct nx_coll_op *op, uint8_t buf, size_t offset)
{
    return op->buf[buf] + offset * op->args.element;
}

/* What a step reduces by, and the bytes of an element. */
static nx_reduce_fn reducer(const struct nx_coll_op *op, const struct nx_step *step, size_t *element)
{
    bool several = op->args.pieces != NULL;

    *element = several ? nexar_dtype_size((nexar_dtype)step->type) : op->args.element;
    return several ? nx_reduce_kernel(op->args.call.op, (nexar_dtype)step->type) : op->args.fn;
}

static uint64_t message_id(const struct nx_coll_op *op, const struct nx_step *step)
{
    uint64_t id;

    /* Neither can be too large: the schedule's tags are checked, and 2^40 operations would take years. */
    nx_tag_make(op->announced.sequence, step->tag, &id);
    return id;
}

static void recv_done(struct nx_recv *recv, nexar_status status)
{
    struct nx_coll_recv *r = nx_container_of(recv, struct nx_coll_recv, recv);
    nexar_error error;

    if (status == NEXAR_OK) {
        nx_coll_step_done(r->op, r->step);
        return;
    }
    if (status == NEXAR_EMISMATCH)
        nx_coll_word_mismatch(r->op, recv->key.peer, recv->their_call, recv->their_count, &error);
    else
        nx_coll_word(r->op, recv->key.peer, status, &error);
    nx_coll_step_failed(r->op, r->step, error.status, &error);
}

static void send_done(struct nx_send_req *req, nexar_status status)
{
    struct nx_coll_send *s = nx_container_of(req, struct nx_coll_send, req);
    nexar_error error;

    if (status == NEXAR_OK) {
        nx_coll_step_done(s->op, s->step);
        return;
    }
    nx_coll_word(s->op, req->peer->rank, status, &error);
    nx_coll_step_failed(s->op, s->step, error.status, &error);
}

static nexar_status start_recv(struct nx_coll_op *op, uint32_t number, const struct nx_step *step)
{
    struct nx_coll_recv *r = &op->recvs[step->index];

    size_t element;
    nx_reduce_fn fn = reducer(op, step, &element);

    r->op = op;
    r->step = number;
    r->recv = (struct nx_recv){
        .key = {.peer = nx_comm_world(op->comm, step->peer),
                .lane = NX_LANE_COLL,
                .scope = op->comm->id,
                .id = message_id(op, step)},
        .dst = place(op, step->dst_buf, step->dst),
        .cap = step->count * op->args.element,
        .call = op->announced.call,
        .count = op->announced.count,
        .fn = step->kind == NX_STEP_RECV_REDUCE ? fn : NULL,
        .element = element,
        .done = recv_done,
    };
    nx_lane_post(&op->comm->net->lanes, &r->recv);
    return NEXAR_EAGAIN;
}

static nexar_status start_send(struct nx_coll_op *op, uint32_t number, const struct nx_step *step)
{
    struct nx_coll_send *s = &op->sends[step->index];
    uint32_t peer = nx_comm_world(op->comm, step->peer);
    nexar_status st;
    nexar_error error;

    s->op = op;
    s->step = number;
    s->req = (struct nx_send_req){
        .head = {.lane = NX_LANE_COLL,
                 .scope = op->comm->id,
                 .id = message_id(op, step),
                 .call = op->announced.call,
                 .count = op->announced.count},
        .payload = place(op, step->src_buf, step->src),
        .payload_len = step->count * op->args.element,
        .done = send_done,
    };
    st = nx_send(op->comm->net->peer[peer], &s->req);
    if (st == NEXAR_OK || st == NEXAR_EAGAIN)
        return st;
    nx_coll_word(op, peer, st, &error);
    return nx_fail_with(&error);
}

/* Either side may be a list. */
static void copy(const struct nx_coll_op *op, const struct nx_step *step)
{
    const struct nx_pieces *pieces = op->args.pieces;
    size_t nbytes = step->count * op->args.element;

    if (pieces != NULL && step->src_buf == NX_BUF_RECV)
        nx_pieces_gather(pieces, step->src, place(op, step->dst_buf, step->dst), nbytes);
    else if (pieces != NULL && step->dst_buf == NX_BUF_RECV)
        nx_pieces_scatter(pieces, step->dst, place(op, step->src_buf, step->src), nbytes);
    else if (nbytes != 0)
        memcpy(place(op, step->dst_buf, step->dst), place(op, step->src_buf, step->src), nbytes);
}

static void reduce(const struct nx_coll_op *op, const struct nx_step *step)
{
    size_t element;
    nx_reduce_fn fn = reducer(op, step, &element);

    fn(place(op, step->dst_buf, step->dst), place(op, step->src_buf, step->src),
       step->count * op->args.element / element);
}

static nexar_status decode(struct nx_coll_op *op, const struct nx_step *step)
{
    const struct nx_compress *compress = &op->plan->key.shape.compress;
    nexar_error error;

    if (nx_compress_decode(compress, op->args.turn, place(op, step->dst_buf, step->dst),
                           place(op, step->src_buf, step->src), step->count,
                           step->kind == NX_STEP_DECODE_ADD) == NEXAR_OK)
        return NEXAR_OK;
    nx_coll_word_content(op, step->peer, &error);
    return nx_fail_with(&error);
}

nexar_status nx_coll_step_start(struct nx_coll_op *op, uint32_t number)
{
    const struct nx_step *step = &op->plan->sched.steps[number];

    switch (step->kind) {
    case NX_STEP_SEND:
        return start_send(op, number, step);
    case NX_STEP_RECV:
    case NX_STEP_RECV_REDUCE:
        return start_recv(op, number, step);
    case NX_STEP_COPY:
        copy(op, step);
        return NEXAR_OK;
    case NX_STEP_REDUCE:
        reduce(op, step);
        return NEXAR_OK;
    case NX_STEP_ENCODE:
        nx_compress_encode(&op->plan->key.shape.compress, op->args.turn, place(op, step->dst_buf, step->dst),
                           place(op, step->src_buf, step->src), step->src_count);
        return NEXAR_OK;
    case NX_STEP_DECODE:
    case NX_STEP_DECODE_ADD:
        return decode(op, step);
    case NX_STEP_FILL:
        for (size_t i = 0; i < step->count; i++)
            memcpy(place(op, step->dst_buf, step->dst + i), op->args.identity, op->args.element);
        return NEXAR_OK;
    default:
        return NEXAR_OK; /* a join */
    }
}

void nx_coll_complete(struct nx_coll_op *op)
{
    const struct nx_coll_args *args = &op->args;
    const struct nx_shape *shape = &op->plan->key.shape;

    if (args->pieces != NULL)
        nx_pieces_finish(args->pieces, args->call.op, op->comm->size);
    else if (args->finish != NULL)
        args->finish(args->result, args->results, op->comm->size);
    if (args->residual != NULL)
        nx_compress_keep(&shape->compress, args->turn, args->residual, op->scratch + NX_SPARSE_ALL * args->element,
                         op->scratch + nx_sparse_encoded(shape) * args->element, shape->count);
}

void nx_coll_step_cancel(struct nx_coll_op *op, uint32_t number, nexar_status why)
{
    const struct nx_step *step = &op->plan->sched.steps[number];

    if (step->kind == NX_STEP_SEND)
        nx_send_cancel(&op->sends[step->index].req, why);
    else if (step->kind == NX_STEP_RECV || step->kind == NX_STEP_RECV_REDUCE)
        nx_lane_cancel(&op->comm->net->lanes, &op->recvs[step->index].recv, why);
}
