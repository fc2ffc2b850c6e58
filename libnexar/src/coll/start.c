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
        .fn = step->kind == NX_STEP_RECV_REDUCE ? op->args.fn : NULL,
        .element = op->args.element,
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
        if (step->count != 0)
            memcpy(place(op, step->dst_buf, step->dst), place(op, step->src_buf, step->src),
                   step->count * op->args.element);
        return NEXAR_OK;
    case NX_STEP_REDUCE:
        op->args.fn(place(op, step->dst_buf, step->dst), place(op, step->src_buf, step->src), step->count);
        return NEXAR_OK;
    case NX_STEP_FILL:
        for (size_t i = 0; i < step->count; i++)
            memcpy(place(op, step->dst_buf, step->dst + i), op->args.identity, op->args.element);
        return NEXAR_OK;
    default:
        return NEXAR_OK; /* a join */
    }
}

void nx_coll_step_cancel(struct nx_coll_op *op, uint32_t number, nexar_status why)
{
    const struct nx_step *step = &op->plan->sched.steps[number];

    if (step->kind == NX_STEP_SEND)
        nx_send_cancel(&op->sends[step->index].req, why);
    else if (step->kind == NX_STEP_RECV || step->kind == NX_STEP_RECV_REDUCE)
        nx_lane_cancel(&op->comm->net->lanes, &op->recvs[step->index].recv, why);
}
