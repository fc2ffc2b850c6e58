/* net/raw.c - the public calls of nexar/conn.h: arguments checked, then one op each.
 *
 * Owner: any thread.  Everything that moves is in xfer.c and below. */
#include "net/xfer.h"

#include "wire/codec.h"

#include <stdio.h>
#include <string.h>

enum { FALLBACK_S = 600 }; /* these calls belong to no communicator that could have a default */

/* What all calls check.  The connection's peer, or NULL with the reason in *st. */
static struct nx_peer *peer_of(nexar_conn *conn, const char *call, const void *buf, size_t nbytes, bool blocks,
                               nexar_status *st)
{
    struct nx_peer *peer = conn == NULL ? NULL : atomic_load(&conn->peer);

    *st = NEXAR_OK;
    if (peer == NULL)
        *st = nx_fail(NEXAR_EINVAL, "%s: the connection is NULL, or not set up yet", call);
    else if (buf == NULL && nbytes != 0)
        *st = nx_fail(NEXAR_EINVAL, "%s: the buffer is NULL", call);
    else if (blocks)
        *st = nx_engine_may_block();
    return *st == NEXAR_OK ? peer : NULL;
}

static nexar_status raw_send(nexar_conn *conn, const char *call, enum nx_lane lane, uint64_t scope, uint64_t id,
                             const void *buf, size_t nbytes, const uint8_t *prefix, const nexar_call_opts *opts,
                             nexar_op **op_out)
{
    struct nx_names names = {.call = call};
    nexar_status st;
    struct nx_peer *peer = peer_of(conn, call, buf, nbytes, op_out == NULL, &st);
    struct nx_send_op *op;
    nx_time now, deadline;

    if (op_out != NULL)
        *op_out = NULL;
    if (peer == NULL)
        return st;
    st = nx_deadline(opts, FALLBACK_S * NX_S, &now, &deadline);
    if (st == NEXAR_OK)
        st = nx_send_op_new(peer->net, &names, deadline, &op);
    if (st != NEXAR_OK)
        return st;
    op->req.head = (struct nx_head){.lane = (uint8_t)lane, .scope = scope, .id = id};
    op->req.payload = buf;
    op->req.payload_len = nbytes;
    op->req.order = &peer->order[lane];
    if (prefix != NULL) {
        memcpy(op->prefix, prefix, NX_FRAME_HEADER);
        op->req.prefix = op->prefix;
        op->req.prefix_len = NX_FRAME_HEADER;
    }
    return nx_send_op_run(op, peer, op_out);
}

static nexar_status raw_recv(nexar_conn *conn, const char *call, enum nx_lane lane, uint64_t scope, uint64_t id,
                             void *buf, size_t cap, nexar_recv_info *info, const nexar_call_opts *opts,
                             nexar_op **op_out)
{
    struct nx_names names = {.call = call};
    nexar_status st;
    struct nx_peer *peer = peer_of(conn, call, buf, cap, op_out == NULL, &st);
    struct nx_recv_op *op;
    nx_time now, deadline;

    if (op_out != NULL)
        *op_out = NULL;
    if (info != NULL)
        *info = (nexar_recv_info){0};
    if (peer == NULL)
        return st;
    st = nx_deadline(opts, FALLBACK_S * NX_S, &now, &deadline);
    if (st == NEXAR_OK)
        st = nx_recv_op_new(peer->net, &names, deadline, &op);
    if (st != NEXAR_OK)
        return st;
    op->recv.key = (struct nx_key){.peer = peer->rank, .lane = (uint8_t)lane, .scope = scope, .id = id};
    op->recv.dst = buf;
    op->recv.cap = cap;
    if (nx_lane_framed((uint8_t)lane)) {
        op->framed = lane;
        op->recv.skip = NX_FRAME_HEADER;
    }
    return nx_recv_op_run(op, info, op_out);
}

uint32_t nexar_conn_rank(const nexar_conn *conn)
{
    struct nx_peer *peer = conn == NULL ? NULL : atomic_load(&((nexar_conn *)(uintptr_t)conn)->peer);

    return peer == NULL ? NEXAR_NO_RANK : peer->rank;
}

nexar_status nexar_conn_remote_addr(nexar_conn *conn, char *text, size_t cap)
{
    if (conn == NULL || text == NULL || cap == 0)
        return nx_fail(NEXAR_EINVAL, "remote_addr: the connection is NULL, or there is no room for the text");
    nx_conn_address(conn, text, cap);
    return NEXAR_OK;
}

nexar_status nexar_conn_protocol(nexar_conn *conn, char *text, size_t cap)
{
    if (conn == NULL || text == NULL || cap == 0)
        return nx_fail(NEXAR_EINVAL, "protocol: the connection is NULL, or there is no room for the text");
    snprintf(text, cap, "%s", atomic_load(&conn->own) ? "libnexar/1" : "nexar/1");
    return NEXAR_OK;
}

nexar_status nexar_conn_send_message(nexar_conn *conn, nexar_priority priority, const void *archive, size_t nbytes,
                                     const nexar_call_opts *opts, nexar_op **op_out)
{
    struct nx_message message;
    uint8_t header[NX_FRAME_HEADER];

    if (op_out != NULL)
        *op_out = NULL;
    if (archive == NULL || nbytes > NX_ARCHIVE_MAX || priority > NEXAR_PRIORITY_BULK)
        return nx_fail(NEXAR_EINVAL, "send_message: the archive is NULL or too long, or there is no such priority");
    if (nx_message_decode(archive, nbytes, &message) != NEXAR_OK) {
        char why[256];

        snprintf(why, sizeof(why), "%s", nexar_last_error());
        return nx_fail(NEXAR_EINVAL, "send_message: this is not an archive of a message: %s", why);
    }
    if (message.kind >= NX_KIND_OWN || message.kind == NX_KIND_HEARTBEAT)
        return nx_fail(NEXAR_EINVAL, "send_message: %s is for the library itself", nx_message_name(message.kind));
    nx_frame_header_encode(&(struct nx_frame_header){.payload_length = (uint32_t)nbytes, .priority = (uint8_t)priority},
                           header);
    return raw_send(conn, "send_message", nx_message_lane(message.kind), 0, 0, archive, nbytes, header, opts, op_out);
}

nexar_status nexar_conn_recv_message(nexar_conn *conn, nexar_lane lane, void *archive, size_t cap,
                                     nexar_recv_info *info, const nexar_call_opts *opts, nexar_op **op_out)
{
    if ((unsigned)lane > NX_LANE_RELAY || !nx_lane_framed((uint8_t)lane)) {
        if (op_out != NULL)
            *op_out = NULL;
        return nx_fail(NEXAR_EINVAL, "recv_message: lane %d is not one of framed messages", (int)lane);
    }
    return raw_recv(conn, "recv_message", (enum nx_lane)lane, 0, 0, archive, cap, info, opts, op_out);
}

nexar_status nexar_conn_send_raw(nexar_conn *conn, const void *buf, size_t nbytes, const nexar_call_opts *opts,
                                 nexar_op **op_out)
{
    return raw_send(conn, "send_raw", NX_LANE_RAW, 0, 0, buf, nbytes, NULL, opts, op_out);
}

nexar_status nexar_conn_send_raw_comm(nexar_conn *conn, uint64_t comm_id, const void *buf, size_t nbytes,
                                      const nexar_call_opts *opts, nexar_op **op_out)
{
    return raw_send(conn, "send_raw_comm", NX_LANE_RAW_COMM, comm_id, 0, buf, nbytes, NULL, opts, op_out);
}

nexar_status nexar_conn_send_raw_tagged(nexar_conn *conn, uint64_t tag, const void *buf, size_t nbytes,
                                        const nexar_call_opts *opts, nexar_op **op_out)
{
    return raw_send(conn, "send_raw_tagged", NX_LANE_RAW_TAGGED, 0, tag, buf, nbytes, NULL, opts, op_out);
}

nexar_status nexar_conn_recv_raw(nexar_conn *conn, void *buf, size_t cap, nexar_recv_info *info,
                                 const nexar_call_opts *opts, nexar_op **op_out)
{
    return raw_recv(conn, "recv_raw", NX_LANE_RAW, 0, 0, buf, cap, info, opts, op_out);
}

nexar_status nexar_conn_recv_raw_comm(nexar_conn *conn, uint64_t comm_id, void *buf, size_t cap, nexar_recv_info *info,
                                      const nexar_call_opts *opts, nexar_op **op_out)
{
    return raw_recv(conn, "recv_raw_comm", NX_LANE_RAW_COMM, comm_id, 0, buf, cap, info, opts, op_out);
}

nexar_status nexar_conn_recv_raw_tagged(nexar_conn *conn, uint64_t tag, void *buf, size_t cap, nexar_recv_info *info,
                                        const nexar_call_opts *opts, nexar_op **op_out)
{
    return raw_recv(conn, "recv_raw_tagged", NX_LANE_RAW_TAGGED, 0, tag, buf, cap, info, opts, op_out);
}
