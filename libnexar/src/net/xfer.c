/* net/xfer.c - sends and receives as ops: deadlines, cancelling, errors in words.
 *
 * Owner: an op belongs to whoever finishes it first; the lane table and the send side see to it that this happens once.
 *  It matches nothing and queues nothing itself. */
#include "net/xfer.h"

#include "base/slab.h"
#include "wire/codec.h"

#include <stdio.h>
#include <string.h>

static struct nx_slab send_slab = NX_SLAB_INIT(struct nx_send_op, 256);
static struct nx_slab recv_slab = NX_SLAB_INIT(struct nx_recv_op, 256);

nexar_status nx_deadline(const nexar_call_opts *opts, nx_time fallback, nx_time *now, nx_time *deadline)
{
    nx_time timeout = fallback;

    if (opts != NULL) {
        if (opts->size < sizeof(*opts))
            return nx_fail(NEXAR_EINVAL, "the options' size is %u; set it to sizeof(nexar_call_opts)", opts->size);
        if (opts->timeout_ns < 0)
            return nx_fail(NEXAR_EINVAL, "a timeout cannot be negative");
        if (opts->timeout_ns != 0)
            timeout = opts->timeout_ns;
    }
    *now = nx_now();
    *deadline = nx_after(*now, timeout);
    return NEXAR_OK;
}

uint32_t nx_names_rank(const struct nx_names *names, uint32_t world)
{
    if (names->world == NULL)
        return world;
    for (uint32_t i = 0; i < names->size; i++) {
        if (names->world[i] == world)
            return i;
    }
    return NEXAR_NO_RANK;
}

/* ---- errors ---- */

static void address_of(struct nx_net *net, uint32_t rank, char *text, size_t cap)
{
    nexar_status st;
    nexar_conn *conn;

    text[0] = '\0';
    if (rank >= net->config.size || net->peer[rank] == NULL)
        return;
    conn = nx_peer_conn(net->peer[rank], &st);
    if (conn != NULL)
        nx_conn_address(conn, text, cap);
    nx_conn_drop(conn);
}

void nx_comm_text(uint64_t comm, char *text, size_t cap)
{
    text[0] = '\0';
    if (comm > NX_WORLD_ID)
        snprintf(text, cap, " in comm %#llx", (unsigned long long)comm);
}

/* "recv from rank 3 (10.0.0.7:41234), tag 5" */
static void describe(struct nx_net *net, const struct nx_names *names, const char *word, const struct nx_key *key,
                     char *text, size_t cap)
{
    char address[64], tag[32] = "", where[40];

    nx_comm_text(names->comm, where, sizeof(where));
    if (key->lane == NX_LANE_P2P && nx_id_any(key->id))
        snprintf(tag, sizeof(tag), ", any tag");
    else if (key->lane == NX_LANE_P2P)
        snprintf(tag, sizeof(tag), ", tag %u", (unsigned)key->id);
    else if (key->lane == NX_LANE_RAW_TAGGED)
        snprintf(tag, sizeof(tag), ", tag %llu", (unsigned long long)key->id);
    if (key->peer == NX_ANY_PEER) {
        snprintf(text, cap, "%s%s %s any rank%s", names->call, where, word, tag);
        return;
    }
    address_of(net, key->peer, address, sizeof(address));
    snprintf(text, cap, "%s%s %s rank %u%s%s%s%s", names->call, where, word, nx_names_rank(names, key->peer),
             address[0] != '\0' ? " (" : "", address, address[0] != '\0' ? ")" : "", tag);
}

static void word_error(struct nexar_op *op, struct nx_net *net, const struct nx_names *names, const char *word,
                       const struct nx_key *key, nexar_status status, nexar_error *error)
{
    uint32_t rank = key->peer == NX_ANY_PEER ? NEXAR_NO_RANK : nx_names_rank(names, key->peer);
    double elapsed = (double)(nx_now() - op->begun) / 1e9;
    char what[192];

    describe(net, names, word, key, what, sizeof(what));
    if ((status == NEXAR_ETIMEDOUT || status == NEXAR_ECANCELLED) && nx_op_verdict(op, error)) {
        status = error->status;
    } else if (status == NEXAR_ETIMEDOUT) {
        nx_error_set(error, status, rank, "%s: %s after %.3g s", what,
                     strcmp(word, "to") == 0 ? "not taken" : "nothing", elapsed);
        nx_error_hint(error, "see whether that rank is still at work and makes the matching call; or give more time");
    } else if ((status == NEXAR_EPEER || status == NEXAR_ECLOSED) && key->peer != NX_ANY_PEER &&
               net->peer[key->peer] != NULL && nx_lane_peer_status(&net->lanes, key->peer) != NEXAR_OK) {
        nx_peer_fail_as(net->peer[key->peer], rank);
        nx_error_set(error, NEXAR_EPEER, rank, "%s: %s", what, nexar_last_error());
    } else {
        nx_error_set(error, status, rank, "%s: %s", what, nexar_status_text(status));
    }
    snprintf(error->op, sizeof(error->op), "%s", names->call);
    error->comm = names->comm;
    error->elapsed_ns = (uint64_t)(nx_now() - op->begun);
}

/* Out of time: whether others are asked first what they do. */
static bool ask(struct nexar_op *op, struct nx_net *net, const struct nx_names *names, uint32_t peer)
{
    return op->told.set && peer != NX_ANY_PEER && peer != net->config.rank &&
           net->events.late(net->owner, names->comm, op, peer);
}

/* ---- sends ---- */

static void send_done(struct nx_send_req *req, nexar_status status)
{
    struct nx_send_op *op = nx_container_of(req, struct nx_send_op, req);
    struct nx_key key = {.peer = req->peer->rank, .lane = req->head.lane, .id = req->head.id};
    nexar_error error;

    error.peer = NEXAR_NO_RANK;
    if (status != NEXAR_OK)
        word_error(&op->op, op->net, &op->names, "to", &key, status, &error);
    status = status == NEXAR_OK ? status : error.status;
    nx_op_record(&op->op, op->net->recorder, status, error.peer, nx_now());
    nx_net_op_end(op->net, &op->inflight);
    nx_op_finish(&op->op, status, &error);
}

static void send_cancel(struct nexar_op *base, nexar_status why)
{
    struct nx_send_op *op = nx_container_of(base, struct nx_send_op, op);

    if (why == NEXAR_ETIMEDOUT && ask(base, op->net, &op->names, op->req.peer->rank))
        return;
    /* Its memory is in use until the peer has it, wanted or not. */
    nx_send_cancel(&op->req, why);
}

static void send_describe(struct nexar_op *base, char *text, size_t cap)
{
    struct nx_send_op *op = nx_container_of(base, struct nx_send_op, op);
    struct nx_key key = {.peer = op->req.peer->rank, .lane = op->req.head.lane, .id = op->req.head.id};

    describe(op->net, &op->names, "to", &key, text, cap);
}

static void send_release(struct nexar_op *base)
{
    struct nx_send_op *op = nx_container_of(base, struct nx_send_op, op);

    nx_free(op->gathered);
    nx_slab_put(&send_slab, op);
}

static const struct nx_op_class send_class = {
    .name = "send", .cancel = send_cancel, .describe = send_describe, .release = send_release};

nexar_status nx_send_op_new(struct nx_net *net, const struct nx_names *names, nx_time deadline, struct nx_send_op **out)
{
    struct nx_send_op *op = nx_slab_get(&send_slab);
    nexar_status st;

    *out = NULL;
    if (op == NULL)
        return nx_fail(NEXAR_ENOMEM, "%s: no memory for the operation", names->call);
    op->net = net;
    op->names = *names;
    op->gathered = NULL;
    op->req = (struct nx_send_req){.done = send_done};
    nx_op_init(&op->op, &send_class, net->completions, nx_now(), deadline);
    st = nx_net_op_begin(net, &op->inflight, &op->op, names->comm);
    if (st != NEXAR_OK) {
        nx_op_abandon(&op->op);
        nx_slab_put(&send_slab, op);
        return st;
    }
    *out = op;
    return NEXAR_OK;
}

/* This thread's last error, with the message that it is about. */
static void word_refusal(struct nx_send_op *op, struct nx_peer *peer, nexar_error *error)
{
    struct nx_key key = {.peer = peer->rank, .lane = op->req.head.lane, .id = op->req.head.id};
    uint32_t rank = nx_names_rank(&op->names, peer->rank);
    char what[192];

    if (nx_last_error()->status == NEXAR_EPEER)
        nx_peer_fail_as(peer, rank);
    describe(op->net, &op->names, "to", &key, what, sizeof(what));
    nx_error_set(error, nx_last_error()->status, rank, "%s: %s", what, nexar_last_error());
    snprintf(error->op, sizeof(error->op), "%s", op->names.call);
    error->comm = op->names.comm;
}

nexar_status nx_send_op_run(struct nx_send_op *op, struct nx_peer *peer, nexar_op **op_out)
{
    nexar_status st = nx_send(peer, &op->req);
    bool hurry;

    if (st != NEXAR_EAGAIN) {
        /* Done already: sent from a copy, or refused. */
        nexar_error error;

        error.peer = NEXAR_NO_RANK;
        if (st != NEXAR_OK)
            word_refusal(op, peer, &error);
        nx_op_record(&op->op, op->net->recorder, st, error.peer, op->op.begun); /* which took no time */
        nx_net_op_end(op->net, &op->inflight);
        hurry = st == NEXAR_OK && op_out == NULL && !op->req.gathered;
        nx_op_finish(&op->op, st, &error);
        if (hurry)
            nx_engine_kick(true);
    } else if (atomic_load(&op->net->closed)) {
        send_cancel(&op->op, NEXAR_ECLOSED); /* closing may have come by before it was sent */
    } else if (atomic_load(&op->op.verdict) != NULL) {
        send_cancel(&op->op, NEXAR_ECANCELLED); /* so may an abort */
    }
    return nx_op_return(&op->op, op_out, NULL);
}

/* ---- receives ---- */

/* A framed message: its header and archive must be what they say. */
static nexar_status check_frame(struct nx_recv_op *op)
{
    struct nx_frame_header header;
    struct nx_message message;
    nexar_status st = nx_frame_header_decode(op->recv.prefix, op->recv.len + NX_FRAME_HEADER, &header);

    if (st == NEXAR_OK)
        st = nx_message_decode(op->recv.dst, header.payload_length, &message);
    if (st == NEXAR_OK && nx_message_lane(message.kind) != op->framed)
        st = nx_fail(NEXAR_EPROTO, "a %s on another lane than its own", nx_message_name(message.kind));
    if (st == NEXAR_OK)
        op->recv.len = header.payload_length;
    return st;
}

/* With what came, not with what was asked for. */
static void record_recv(struct nx_recv_op *op, nexar_status status, uint32_t peer)
{
    struct nx_record r;

    if (!nx_op_told(&op->op, &r))
        return;
    if (status == NEXAR_OK) {
        r.call = op->op.info.source;
        r.id = (r.id & ~(uint64_t)UINT32_MAX) | op->op.info.tag;
        r.count = op->op.info.nbytes;
    }
    r.ended = nx_now();
    r.peer = status == NEXAR_OK ? NEXAR_NO_RANK : peer;
    r.status = (uint8_t)-status;
    nx_record_put(op->net->recorder, &r);
}

static void recv_done(struct nx_recv *recv, nexar_status status)
{
    struct nx_recv_op *op = nx_container_of(recv, struct nx_recv_op, recv);
    struct nx_key key = op->recv.key;
    char what[192], why[192] = "";
    nexar_error error;

    error.peer = NEXAR_NO_RANK;
    if (status == NEXAR_EMSGSIZE)
        snprintf(why, sizeof(why), "the message has %llu bytes, the buffer %zu; it can still be received",
                 (unsigned long long)recv->len, recv->cap);
    if (status == NEXAR_OK && op->framed != NX_LANE_BY_KIND) {
        status = check_frame(op);
        if (status != NEXAR_OK)
            snprintf(why, sizeof(why), "what came is no message: %s", nexar_last_error());
    }
    if (why[0] != '\0') {
        key.peer = recv->from;
        describe(op->net, &op->names, "from", &key, what, sizeof(what));
        nx_error_set(&error, status, nx_names_rank(&op->names, recv->from), "%s: %s", what, why);
        snprintf(error.op, sizeof(error.op), "%s", op->names.call);
        error.comm = op->names.comm;
    } else if (status != NEXAR_OK) {
        if (recv->key.peer == NX_ANY_PEER && status == NEXAR_EPEER)
            key.peer = recv->from; /* the one that was lost */
        word_error(&op->op, op->net, &op->names, "from", &key, status, &error);
        status = error.status;
    } else {
        op->op.info = (nexar_recv_info){
            .source = nx_names_rank(&op->names, recv->from), .tag = (uint32_t)recv->id, .nbytes = recv->len};
    }
    record_recv(op, status, error.peer);
    nx_net_op_end(op->net, &op->inflight);
    nx_op_finish(&op->op, status, &error);
}

static void recv_cancel(struct nexar_op *base, nexar_status why)
{
    struct nx_recv_op *op = nx_container_of(base, struct nx_recv_op, op);

    if (why != NEXAR_ETIMEDOUT || !ask(base, op->net, &op->names, op->recv.key.peer))
        nx_lane_cancel(&op->net->lanes, &op->recv, why);
}

static void recv_describe(struct nexar_op *base, char *text, size_t cap)
{
    struct nx_recv_op *op = nx_container_of(base, struct nx_recv_op, op);

    describe(op->net, &op->names, "from", &op->recv.key, text, cap);
}

static void recv_release(struct nexar_op *base)
{
    struct nx_recv_op *op = nx_container_of(base, struct nx_recv_op, op);

    if (op->recv.own)
        nx_free(op->recv.dst);
    nx_free(op->pieces);
    nx_slab_put(&recv_slab, op);
}

static const struct nx_op_class recv_class = {
    .name = "recv", .cancel = recv_cancel, .describe = recv_describe, .release = recv_release};

nexar_status nx_recv_op_new(struct nx_net *net, const struct nx_names *names, nx_time deadline, struct nx_recv_op **out)
{
    struct nx_recv_op *op = nx_slab_get(&recv_slab);
    nexar_status st;

    *out = NULL;
    if (op == NULL)
        return nx_fail(NEXAR_ENOMEM, "%s: no memory for the operation", names->call);
    op->net = net;
    op->names = *names;
    op->framed = NX_LANE_BY_KIND;
    op->pieces = NULL;
    op->recv = (struct nx_recv){.done = recv_done};
    nx_op_init(&op->op, &recv_class, net->completions, nx_now(), deadline);
    op->op.receives = true;
    st = nx_net_op_begin(net, &op->inflight, &op->op, names->comm);
    if (st != NEXAR_OK) {
        nx_op_abandon(&op->op);
        nx_slab_put(&recv_slab, op);
        return st;
    }
    *out = op;
    return NEXAR_OK;
}

nexar_status nx_recv_op_run(struct nx_recv_op *op, nexar_recv_info *info, nexar_op **op_out)
{
    nx_lane_post(&op->net->lanes, &op->recv);
    if (atomic_load(&op->net->closed))
        recv_cancel(&op->op, NEXAR_ECLOSED); /* closing may have come by before it was posted */
    else if (atomic_load(&op->op.verdict) != NULL)
        recv_cancel(&op->op, NEXAR_ECANCELLED); /* so may an abort */
    return nx_op_return(&op->op, op_out, info);
}

nexar_status nx_recv_op_take(nexar_op *base, nexar_iov *out)
{
    struct nx_recv_op *op = base->class == &recv_class ? nx_container_of(base, struct nx_recv_op, op) : NULL;

    *out = (nexar_iov){0};
    if (op == NULL || !op->recv.own)
        return nx_fail(NEXAR_EINVAL, "recv_take: the op is not a receive into the library's memory");
    if (!nx_op_done(base))
        return NEXAR_EAGAIN;
    if (base->status != NEXAR_OK)
        return nx_fail(NEXAR_EINVAL, "recv_take: the receive failed, and nothing came");
    nx_lock(&base->lock);
    out->base = op->recv.dst;
    op->recv.dst = NULL;
    nx_unlock(&base->lock);
    if (out->base != NULL)
        out->nbytes = base->info.nbytes;
    return out->nbytes == base->info.nbytes ? NEXAR_OK : nx_fail(NEXAR_EINVAL, "recv_take: it was taken already");
}
