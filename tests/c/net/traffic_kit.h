/* traffic_kit.h - two ranks of a real job on loopback, and what goes on between them while something else is stuck. */
#ifndef NX_TEST_TRAFFIC_KIT_H
#define NX_TEST_TRAFFIC_KIT_H

#include "comm/comm.h"
#include "job.h"
#include "wire/codec.h"

/* The connection of one rank to the other. */
static inline nexar_conn *peer_of(nexar_comm *comm)
{
    nexar_conn *conn;

    must(nexar_comm_peer(comm, 1 - nexar_comm_rank(comm), &conn) == NEXAR_OK);
    return conn;
}

/* A remote call's archive with this number in it; returns its length. */
static inline size_t archive_of(enum nx_kind kind, uint64_t number, uint8_t out[256])
{
    struct nx_message m = {.kind = kind};
    size_t n;

    if (kind == NX_KIND_RPC)
        m.rpc = (struct nx_msg_rpc){.req_id = number, .payload = nx_bytes("question", 8)};
    else if (kind == NX_KIND_RPC_RESPONSE)
        m.rpc_response = (struct nx_msg_rpc_response){.req_id = number, .payload = nx_bytes("answer", 6)};
    else
        m.barrier = (struct nx_msg_barrier){.epoch = number};
    must(nx_message_size(&m, &n) == NEXAR_OK && n <= 256);
    must(nx_message_encode(&m, out, n) == NEXAR_OK);
    return n;
}

static inline uint64_t number_of(const uint8_t *archive, size_t n)
{
    struct nx_message m;

    must(nx_message_decode(archive, n, &m) == NEXAR_OK);
    if (m.kind == NX_KIND_RPC)
        return m.rpc.req_id;
    return m.kind == NX_KIND_RPC_RESPONSE ? m.rpc_response.req_id : m.barrier.epoch;
}

/* One message of every kind there and back, with the number of the turn in it: control, remote calls, raw lanes, tags,
 * a collective.  `large` of them are on streams of their own. */
static inline void all_lanes_work(nexar_comm *comm, uint32_t turn, uint8_t *scratch, size_t large)
{
    static const enum nx_kind kinds[] = {NX_KIND_BARRIER, NX_KIND_RPC, NX_KIND_RPC_RESPONSE};
    static const nexar_lane lanes[] = {NEXAR_LANE_CONTROL, NEXAR_LANE_RPC_REQUEST, NEXAR_LANE_RPC_RESPONSE};
    nexar_conn *conn = peer_of(comm);
    uint32_t other = 1 - nexar_comm_rank(comm), got = 0;
    uint8_t archive[256];
    nexar_recv_info info;
    double x = turn, y = 0;

    for (int i = 0; i < 3; i++) {
        size_t n = archive_of(kinds[i], turn, archive);

        must(nexar_conn_send_message(conn, NEXAR_PRIORITY_CRITICAL, archive, n, NULL, NULL) == NEXAR_OK);
        must(nexar_conn_recv_message(conn, lanes[i], archive, sizeof(archive), &info, NULL, NULL) == NEXAR_OK);
        must(number_of(archive, info.nbytes) == turn);
    }
    must(nexar_conn_send_raw(conn, &turn, sizeof(turn), NULL, NULL) == NEXAR_OK);
    must(nexar_conn_recv_raw(conn, &got, sizeof(got), NULL, NULL, NULL) == NEXAR_OK && got == turn);
    got = 0;
    must(nexar_conn_send_raw_comm(conn, 5, &turn, sizeof(turn), NULL, NULL) == NEXAR_OK);
    must(nexar_conn_recv_raw_comm(conn, 5, &got, sizeof(got), NULL, NULL, NULL) == NEXAR_OK && got == turn);
    got = 0;
    must(nexar_conn_send_raw_tagged(conn, turn % 100, &turn, sizeof(turn), NULL, NULL) == NEXAR_OK);
    must(nexar_conn_recv_raw_tagged(conn, turn % 100, &got, sizeof(got), NULL, NULL, NULL) == NEXAR_OK && got == turn);
    memcpy(scratch, &turn, sizeof(turn));
    must(nexar_sendrecv(comm, scratch, large, other, turn % 50, scratch + large, large, other, turn % 50, &info,
                        NULL) == NEXAR_OK);
    must(info.nbytes == large && memcmp(scratch + large, &turn, sizeof(turn)) == 0);
    must(nexar_all_reduce(comm, &x, &y, 1, NEXAR_FLOAT64, NEXAR_SUM, NULL, NULL) == NEXAR_OK && y == 2 * x);
}

static inline const struct nx_lane_stats *lane_stats(const nexar_comm *comm)
{
    return &comm->net->lanes.stats;
}

#endif
