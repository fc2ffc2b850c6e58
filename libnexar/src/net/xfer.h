/* net/xfer.h - one message as an op: the sends and receives of nexar/comm.h and nexar/conn.h. */
#ifndef NX_NET_XFER_H
#define NX_NET_XFER_H

#include "base/op.h"
#include "net/send.h"

#define NX_WORLD_ID UINT64_C(1)

/* Where an operation is, for texts: " in comm 0x10000000001"; nothing for the world, and for 0. */
void nx_comm_text(uint64_t comm, char *text, size_t cap);

/* Who the ranks of an op are, for texts and for nexar_recv_info. */
struct nx_names {
    const char *call;      /* "send", "recv_raw", ... */
    uint64_t comm;         /* id, or 0 */
    const uint32_t *world; /* world rank of each rank of the communicator; NULL: the same */
    uint32_t size;
};

struct nx_send_op {
    struct nexar_op op;
    struct nx_inflight inflight;
    struct nx_net *net;
    struct nx_names names;
    struct nx_send_req req;
    nexar_iov pieces[NX_SEND_PIECES]; /* for `req` */
    void *gathered;                   /* owned; a payload that was copied together, or NULL */
    uint8_t prefix[NX_FRAME_HEADER];
};

struct nx_recv_op {
    struct nexar_op op;
    struct nx_inflight inflight;
    struct nx_net *net;
    struct nx_names names;
    struct nx_recv recv;
    nexar_iov *pieces;   /* owned; those of `recv`, or NULL */
    enum nx_lane framed; /* the lane whose archive this must be, or NX_LANE_BY_KIND for raw bytes */
    nexar_status cancelled;
};

/* A new op with names, deadline and place set; fill in `req` or `recv` but for `done`, then start it. */
nexar_status nx_send_op_new(struct nx_net *net, const struct nx_names *names, nx_time deadline,
                            struct nx_send_op **out);
nexar_status nx_recv_op_new(struct nx_net *net, const struct nx_names *names, nx_time deadline,
                            struct nx_recv_op **out);

/* The end of a public call: starts, then blocks or hands the op over. */
nexar_status nx_send_op_run(struct nx_send_op *op, struct nx_peer *peer, nexar_op **op_out);
nexar_status nx_recv_op_run(struct nx_recv_op *op, nexar_recv_info *info, nexar_op **op_out);

/* For a receive with recv.own that is done: gives its memory away, once.  NEXAR_EAGAIN, NEXAR_EINVAL. */
nexar_status nx_recv_op_take(nexar_op *op, nexar_iov *out);

/* now + the timeout of `opts`, or the default. */
nexar_status nx_deadline(const nexar_call_opts *opts, nx_time fallback, nx_time *now, nx_time *deadline);

/* Position of a world rank among the ranks of `names`. */
uint32_t nx_names_rank(const struct nx_names *names, uint32_t world);

#endif
