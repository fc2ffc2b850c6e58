/* wire/message.h - every framed message as a struct, and the table from which the codec works.
 *
 * A message is added by one struct and one row of NX_MESSAGE_MAP.  The layout of an archive follows from the struct:
 * fields in the order of the row, each at its own alignment behind the number, in a root of NX_ROOT_SIZE bytes
 * (docs/PROTOCOL.md).  Numbers 0-16 are those of the reference 0.1.2, which has no others; ours begin at NX_KIND_OWN.
 * Another release of the reference numbers the same structs differently: it would be another table beside this one,
 * with its own root size. */
#ifndef NX_WIRE_MESSAGE_H
#define NX_WIRE_MESSAGE_H

#include "wire/lane.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed: of the caller when encoding, of the archive after decoding. */
struct nx_bytes {
    const uint8_t *data;
    size_t len;
};

/* UTF-8, not terminated. */
struct nx_text {
    const char *data;
    size_t len;
};

struct nx_pair {
    uint32_t key;
    struct nx_text text;
};

/* Lists: to encode, `items` is the caller's array and `raw` is NULL; after decoding `raw` is the place in the archive.
 * nx_pairs_at and nx_u32s_at read both. */
struct nx_pairs {
    size_t count;
    const struct nx_pair *items;
    const uint8_t *raw;
};

struct nx_u32s {
    size_t count;
    const uint32_t *items;
    const uint8_t *raw;
};

struct nx_msg_hello {
    uint16_t protocol_version;
    uint64_t capabilities;
    struct nx_bytes cluster_token;
    struct nx_text listen_addr;
};

struct nx_msg_welcome {
    uint32_t rank, world_size;
    struct nx_pairs peers;
    struct nx_bytes ca_cert, node_cert, node_key;
};

struct nx_msg_barrier {
    uint64_t epoch, comm_id;
};

struct nx_msg_barrier_ack {
    uint64_t epoch, comm_id;
};

struct nx_msg_heartbeat {
    uint64_t timestamp_ns; /* since 1970 */
};

struct nx_msg_node_joined {
    uint32_t rank;
    struct nx_text addr;
};

struct nx_msg_node_left {
    uint32_t rank;
};

struct nx_msg_rpc {
    uint64_t req_id;
    uint16_t fn_id;
    struct nx_bytes payload;
};

struct nx_msg_rpc_response {
    uint64_t req_id;
    struct nx_bytes payload;
};

struct nx_msg_data {
    uint32_t tag, src_rank;
    struct nx_bytes payload;
};

struct nx_msg_rdma_endpoint {
    uint16_t lid;
    uint32_t qpn, psn;
    struct nx_bytes gid;
};

struct nx_msg_split_request {
    uint32_t color, key;
};

struct nx_msg_recovery_vote {
    uint64_t epoch;
    struct nx_u32s dead_ranks;
};

struct nx_msg_recovery_agreement {
    uint64_t epoch;
    struct nx_u32s dead_ranks;
};

struct nx_msg_elastic_checkpoint {
    uint64_t epoch;
};

struct nx_msg_elastic_checkpoint_ack {
    uint64_t epoch;
    struct nx_pairs joining;
    struct nx_u32s leaving;
    uint32_t new_world_size;
};

struct nx_msg_relay {
    uint32_t src_rank, final_dest;
    uint64_t tag; /* 0: payload is an archive */
    struct nx_bytes payload;
};

/* Worker to seed: hello, proof, listen, ready; seed to worker: challenge, welcome, roster, go; both: abort. */
struct nx_msg_join_hello {
    uint16_t version;
    uint32_t rank_plus_one; /* 0: any */
    uint32_t world_size;    /* 0: whatever the seed says */
    uint32_t local_rank_plus_one, local_size;
    struct nx_bytes nonce;
    struct nx_bytes group; /* what ranks of one host have in common */
    struct nx_text software;
    /* 0: of a job that does not grow; 1: new to one that does; more: a member of it, back for the formation of this
     * number */
    uint32_t formation;
};

struct nx_msg_join_challenge {
    struct nx_bytes nonce, proof;
};

struct nx_msg_join_proof {
    struct nx_bytes proof, csr;
    struct nx_text process; /* which one it is, for those of its host; nothing: it does not know */
};

struct nx_msg_join_welcome {
    uint32_t rank, world_size;
    struct nx_bytes cluster, certificate, ca;
    struct nx_bytes authority; /* of a job that grows: the key of `ca`; a secret of its members */
    uint32_t formation;        /* of the job; 1: its first */
};

struct nx_msg_join_listen {
    struct nx_pairs addresses; /* best first */
    struct nx_pairs lobby;     /* where it lets others in, best first */
};

struct nx_msg_roster {
    struct nx_pairs addresses; /* key: the rank; several each, best first */
    struct nx_bytes nodes;     /* 16 bytes a rank */
    struct nx_bytes groups;    /* 16 bytes a rank */
    struct nx_pairs lobbies;   /* as `addresses` */
};

struct nx_msg_join_redirect {
    struct nx_pairs addresses; /* of seeds that know more, best first */
};

struct nx_msg_join_ready {
    uint32_t rank;
};

struct nx_msg_join_go {
    uint8_t nothing; /* C has no empty structs; not a field of the message */
};

struct nx_msg_abort {
    uint16_t code;
    uint32_t rank; /* to blame, or NEXAR_NO_RANK */
    struct nx_text reason;
};

struct nx_msg_mesh_hello {
    uint16_t version;
    uint32_t from, to;
    uint64_t incarnation;
    uint64_t settings; /* fingerprint of what must be equal on both sides */
    struct nx_bytes cluster;
};

struct nx_msg_mesh_ack {
    uint32_t rank;
    uint64_t incarnation;
};

struct nx_msg_hold {
    uint8_t lane;
    uint64_t scope, id;
};

struct nx_msg_release {
    uint8_t lane;
    uint64_t scope, id;
};

struct nx_msg_bye {
    uint32_t reason;
    uint64_t messages; /* of users and collectives, sent on this connection so far: answered when all are in */
};

struct nx_msg_bye_ack {
    uint8_t nothing;
};

struct nx_msg_op_aborted {
    uint16_t status; /* -nexar_status */
    uint32_t rank;
    uint64_t comm, sequence, call, count;
    struct nx_text reason;
};

/* A message that its sender does not want to be received any more. */
struct nx_msg_recall {
    uint8_t lane;
    uint64_t scope, id;
    uint32_t order;
};

/* "What are you doing?" and the answer, by a rank whose operation has run out of time. */
struct nx_msg_ask {
    uint64_t id;             /* of the question */
    uint64_t comm, sequence; /* of a collective; 0: none */
};

struct nx_msg_tell {
    uint64_t id, comm;
    uint8_t state; /* of that collective there: enum nx_tell_state */
    struct nx_text doing;
};

/* Passed on once by each rank that hears of it, so that nobody who leaves because of it is missed before. */
struct nx_msg_comm_aborted {
    uint64_t comm;
    uint32_t rank; /* in the communicator, who has aborted it */
    struct nx_text reason;
};

/* The ways beside QUIC that this end offers, "shm,tcp"; nothing: none.  Both ends say it, once. */
struct nx_msg_ways {
    struct nx_text names;
};

/* A way is tried again.  The first time that both offer it is generation 1. */
struct nx_msg_way_open {
    struct nx_text way;
    uint32_t generation;
};

/* Between the two halves of a module. */
struct nx_msg_way_tell {
    struct nx_text way;
    uint32_t generation;
    struct nx_bytes bytes;
};

/* A way is broken, or will not be used: what has arrived by it here. */
struct nx_msg_way_lost {
    struct nx_text way;
    uint32_t generation;
    uint8_t useless;      /* it need not be tried again */
    uint64_t begun;       /* messages that have begun to arrive; all are whole but: */
    struct nx_bytes open; /* number and bytes that have come, u64 each */
    struct nx_text why;
};

/* Which process the sender is: to ranks of its host. */
struct nx_msg_process {
    struct nx_text process;
};

/* A communicator is given up because a rank of it is lost: those who are left shrink it. */
struct nx_msg_comm_shrinks {
    uint64_t comm;
    uint32_t lost; /* in the communicator */
};

/* A communicator that was shrunk is there, on its rank 0: the others may use it. */
struct nx_msg_shrunk {
    uint64_t comm;
};

/* Who is in the job: docs/MEMBERSHIP.md.  What is in the bytes is in cluster/member_wire.c. */
struct nx_msg_member_beat {
    uint64_t epoch;
    struct nx_bytes digest, stand;
};

struct nx_msg_member_prepare {
    uint64_t epoch;
    uint32_t round, rank, who;
};

struct nx_msg_member_promise {
    uint64_t epoch;
    uint32_t round, rank, who;
    struct nx_bytes accepted; /* nothing: nothing */
    struct nx_bytes stand;    /* nothing: a witness votes */
};

struct nx_msg_member_propose {
    uint64_t epoch;
    uint32_t round, rank, who;
    struct nx_bytes value;
};

struct nx_msg_member_accept {
    uint64_t epoch;
    uint32_t round, rank, who;
};

struct nx_msg_member_nack {
    uint32_t round, rank, promised_round, promised_rank;
};

struct nx_msg_member_chain {
    uint8_t form; /* 0; 1: the first entry is whole; 2: the receiver is too far behind */
    struct nx_bytes entries;
};

struct nx_msg_member_join {
    uint8_t nothing;
};

struct nx_msg_member_joinack {
    struct nx_bytes members; /* 16 bytes each, by rank */
};

/* XX(NAME, number, struct and member, lane, fields in the order of the layout) */
#define NX_MESSAGE_MAP(XX, F)                                                                                          \
    XX(HELLO, 0, hello, CONTROL,                                                                                       \
       F(hello, protocol_version) F(hello, capabilities) F(hello, cluster_token) F(hello, listen_addr))                \
    XX(WELCOME, 1, welcome, CONTROL,                                                                                   \
       F(welcome, rank) F(welcome, world_size) F(welcome, peers) F(welcome, ca_cert) F(welcome, node_cert)             \
           F(welcome, node_key))                                                                                       \
    XX(BARRIER, 2, barrier, CONTROL, F(barrier, epoch) F(barrier, comm_id))                                            \
    XX(BARRIER_ACK, 3, barrier_ack, CONTROL, F(barrier_ack, epoch) F(barrier_ack, comm_id))                            \
    XX(HEARTBEAT, 4, heartbeat, CONTROL, F(heartbeat, timestamp_ns))                                                   \
    XX(NODE_JOINED, 5, node_joined, CONTROL, F(node_joined, rank) F(node_joined, addr))                                \
    XX(NODE_LEFT, 6, node_left, CONTROL, F(node_left, rank))                                                           \
    XX(RPC, 7, rpc, RPC_REQUEST, F(rpc, req_id) F(rpc, fn_id) F(rpc, payload))                                         \
    XX(RPC_RESPONSE, 8, rpc_response, RPC_RESPONSE, F(rpc_response, req_id) F(rpc_response, payload))                  \
    XX(DATA, 9, data, DATA, F(data, tag) F(data, src_rank) F(data, payload))                                           \
    XX(RDMA_ENDPOINT, 10, rdma_endpoint, CONTROL,                                                                      \
       F(rdma_endpoint, lid) F(rdma_endpoint, qpn) F(rdma_endpoint, psn) F(rdma_endpoint, gid))                        \
    XX(SPLIT_REQUEST, 11, split_request, CONTROL, F(split_request, color) F(split_request, key))                       \
    XX(RECOVERY_VOTE, 12, recovery_vote, CONTROL, F(recovery_vote, epoch) F(recovery_vote, dead_ranks))                \
    XX(RECOVERY_AGREEMENT, 13, recovery_agreement, CONTROL,                                                            \
       F(recovery_agreement, epoch) F(recovery_agreement, dead_ranks))                                                 \
    XX(ELASTIC_CHECKPOINT, 14, elastic_checkpoint, CONTROL, F(elastic_checkpoint, epoch))                              \
    XX(ELASTIC_CHECKPOINT_ACK, 15, elastic_checkpoint_ack, CONTROL,                                                    \
       F(elastic_checkpoint_ack, epoch) F(elastic_checkpoint_ack, joining) F(elastic_checkpoint_ack, leaving)          \
           F(elastic_checkpoint_ack, new_world_size))                                                                  \
    XX(RELAY, 16, relay, RELAY, F(relay, src_rank) F(relay, final_dest) F(relay, tag) F(relay, payload))               \
    XX(JOIN_HELLO, 64, join_hello, CONTROL,                                                                            \
       F(join_hello, version) F(join_hello, rank_plus_one) F(join_hello, world_size)                                   \
           F(join_hello, local_rank_plus_one) F(join_hello, local_size) F(join_hello, nonce) F(join_hello, group)      \
               F(join_hello, software) F(join_hello, formation))                                                       \
    XX(JOIN_CHALLENGE, 65, join_challenge, CONTROL, F(join_challenge, nonce) F(join_challenge, proof))                 \
    XX(JOIN_PROOF, 66, join_proof, CONTROL, F(join_proof, proof) F(join_proof, csr) F(join_proof, process))            \
    XX(JOIN_WELCOME, 67, join_welcome, CONTROL,                                                                        \
       F(join_welcome, rank) F(join_welcome, world_size) F(join_welcome, cluster) F(join_welcome, certificate)         \
           F(join_welcome, ca) F(join_welcome, authority) F(join_welcome, formation))                                  \
    XX(JOIN_LISTEN, 68, join_listen, CONTROL, F(join_listen, addresses) F(join_listen, lobby))                         \
    XX(ROSTER, 69, roster, CONTROL, F(roster, addresses) F(roster, nodes) F(roster, groups) F(roster, lobbies))        \
    XX(JOIN_READY, 70, join_ready, CONTROL, F(join_ready, rank))                                                       \
    XX(JOIN_GO, 71, join_go, CONTROL, )                                                                                \
    XX(ABORT, 72, abort, CONTROL, F(abort, code) F(abort, rank) F(abort, reason))                                      \
    XX(MESH_HELLO, 73, mesh_hello, CONTROL,                                                                            \
       F(mesh_hello, version) F(mesh_hello, from) F(mesh_hello, to) F(mesh_hello, incarnation) F(mesh_hello, settings) \
           F(mesh_hello, cluster))                                                                                     \
    XX(MESH_ACK, 74, mesh_ack, CONTROL, F(mesh_ack, rank) F(mesh_ack, incarnation))                                    \
    XX(HOLD, 75, hold, CONTROL, F(hold, lane) F(hold, scope) F(hold, id))                                              \
    XX(RELEASE, 76, release, CONTROL, F(release, lane) F(release, scope) F(release, id))                               \
    XX(BYE, 77, bye, CONTROL, F(bye, reason) F(bye, messages))                                                         \
    XX(BYE_ACK, 78, bye_ack, CONTROL, )                                                                                \
    XX(OP_ABORTED, 79, op_aborted, CONTROL,                                                                            \
       F(op_aborted, status) F(op_aborted, rank) F(op_aborted, comm) F(op_aborted, sequence) F(op_aborted, call)       \
           F(op_aborted, count) F(op_aborted, reason))                                                                 \
    XX(RECALL, 80, recall, CONTROL, F(recall, lane) F(recall, scope) F(recall, id) F(recall, order))                   \
    XX(ASK, 81, ask, CONTROL, F(ask, id) F(ask, comm) F(ask, sequence))                                                \
    XX(TELL, 82, tell, CONTROL, F(tell, id) F(tell, comm) F(tell, state) F(tell, doing))                               \
    XX(COMM_ABORTED, 83, comm_aborted, CONTROL, F(comm_aborted, comm) F(comm_aborted, rank) F(comm_aborted, reason))   \
    XX(WAYS, 84, ways, CONTROL, F(ways, names))                                                                        \
    XX(WAY_OPEN, 85, way_open, CONTROL, F(way_open, way) F(way_open, generation))                                      \
    XX(WAY_TELL, 86, way_tell, CONTROL, F(way_tell, way) F(way_tell, generation) F(way_tell, bytes))                   \
    XX(WAY_LOST, 87, way_lost, CONTROL,                                                                                \
       F(way_lost, way) F(way_lost, generation) F(way_lost, useless) F(way_lost, begun) F(way_lost, open)              \
           F(way_lost, why))                                                                                           \
    XX(PROCESS, 88, process, CONTROL, F(process, process))                                                             \
    XX(SHRUNK, 89, shrunk, CONTROL, F(shrunk, comm))                                                                   \
    XX(COMM_SHRINKS, 90, comm_shrinks, CONTROL, F(comm_shrinks, comm) F(comm_shrinks, lost))                           \
    XX(JOIN_REDIRECT, 91, join_redirect, CONTROL, F(join_redirect, addresses))                                         \
    XX(MEMBER_BEAT, 96, member_beat, CONTROL, F(member_beat, epoch) F(member_beat, digest) F(member_beat, stand))      \
    XX(MEMBER_PREPARE, 97, member_prepare, CONTROL,                                                                    \
       F(member_prepare, epoch) F(member_prepare, round) F(member_prepare, rank) F(member_prepare, who))               \
    XX(MEMBER_PROMISE, 98, member_promise, CONTROL,                                                                    \
       F(member_promise, epoch) F(member_promise, round) F(member_promise, rank) F(member_promise, who)                \
           F(member_promise, accepted) F(member_promise, stand))                                                       \
    XX(MEMBER_PROPOSE, 99, member_propose, CONTROL,                                                                    \
       F(member_propose, epoch) F(member_propose, round) F(member_propose, rank) F(member_propose, who)                \
           F(member_propose, value))                                                                                   \
    XX(MEMBER_ACCEPT, 100, member_accept, CONTROL,                                                                     \
       F(member_accept, epoch) F(member_accept, round) F(member_accept, rank) F(member_accept, who))                   \
    XX(MEMBER_NACK, 101, member_nack, CONTROL,                                                                         \
       F(member_nack, round) F(member_nack, rank) F(member_nack, promised_round) F(member_nack, promised_rank))        \
    XX(MEMBER_CHAIN, 102, member_chain, CONTROL, F(member_chain, form) F(member_chain, entries))                       \
    XX(MEMBER_JOIN, 103, member_join, CONTROL, )                                                                       \
    XX(MEMBER_JOINACK, 104, member_joinack, CONTROL, F(member_joinack, members))

#define NX_NO_FIELDS(member, field)

enum nx_kind {
#define XX(name, number, member, lane, fields) NX_KIND_##name = number,
    NX_MESSAGE_MAP(XX, NX_NO_FIELDS)
#undef XX
        NX_KIND_OWN = 64, /* the first that the reference does not have */
};

struct nx_message {
    enum nx_kind kind;
    union {
#define XX(name, number, member, lane, fields) struct nx_msg_##member member;
        NX_MESSAGE_MAP(XX, NX_NO_FIELDS)
#undef XX
    };
};

static inline struct nx_bytes nx_bytes(const void *data, size_t len)
{
    return (struct nx_bytes){.data = data, .len = len};
}

static inline struct nx_text nx_text(const char *text)
{
    return (struct nx_text){.data = text, .len = strlen(text)};
}

/* The lane of a kind of message, and its name ("join_hello"); NX_LANE_BY_KIND and "?" for a number that is no kind. */
enum nx_lane nx_message_lane(enum nx_kind kind);
const char *nx_message_name(enum nx_kind kind);

/* Item `i` < count of a list. */
struct nx_pair nx_pairs_at(const struct nx_pairs *list, size_t i);
uint32_t nx_u32s_at(const struct nx_u32s *list, size_t i);

#endif
