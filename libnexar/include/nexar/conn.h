/** nexar/conn.h - the connection to one peer: lanes of messages and slots for extensions.
 *
 *  A lane is a queue of messages that is independent of all others: one that nobody reads holds back its own sender and
 *  nobody else.  Order is kept per (peer, lane, key).  The framed lanes carry the messages of the reference protocol (8
 *  bytes of header and an archive); the raw lanes carry bytes. */
#ifndef NEXAR_CONN_H
#define NEXAR_CONN_H

#include "nexar/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Lanes of framed messages, by the kind of the message. */
typedef enum nexar_lane {
    NEXAR_LANE_CONTROL = 0,
    NEXAR_LANE_DATA = 1,
    NEXAR_LANE_RPC_REQUEST = 2,
    NEXAR_LANE_RPC_RESPONSE = 3,
    NEXAR_LANE_RELAY = 7,
} nexar_lane;

/** Priority written into a framed message's header: informative, as in the reference. */
typedef enum nexar_priority {
    NEXAR_PRIORITY_CRITICAL = 0,
    NEXAR_PRIORITY_REALTIME = 1,
    NEXAR_PRIORITY_BULK = 2,
} nexar_priority;

/** Address of an object; identifies the owner of an extension slot.  Only its address matters. */
typedef struct nexar_ext_key {
    uint32_t size;
    uint32_t reserved;
    const char *name;
} nexar_ext_key;

typedef void (*nexar_ext_free)(void *object);

/** @returns the peer's rank in the world, NEXAR_NO_RANK for NULL.  @threads any */
NEXAR_API uint32_t nexar_conn_rank(const nexar_conn *conn);

/** Writes the peer's address ("10.0.0.7:41234", "[::1]:41234") into `text`, cut at `cap` bytes.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_EPEER.  @threads any */
NEXAR_API nexar_status nexar_conn_remote_addr(nexar_conn *conn, char *text, size_t cap);

/** Writes the application protocol in use ("libnexar/1", "nexar/1") into `text`, cut at `cap` bytes.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_EPEER.  @threads any */
NEXAR_API nexar_status nexar_conn_protocol(nexar_conn *conn, char *text, size_t cap);

/** Sends a framed message: one of the 17 archives of the reference protocol.  Its kind chooses the lane.
 *  @returns NEXAR_OK, NEXAR_EINVAL (not a valid archive of a message that users may send), or as nexar_send.
 *  @threads any */
NEXAR_API nexar_status nexar_conn_send_message(nexar_conn *conn, nexar_priority priority, const void *archive,
                                               size_t nbytes, const nexar_call_opts *opts, nexar_op **op_out);

/** Receives the next framed message of a lane: the archive, without its header.  Heartbeats and the library's own
 *  control messages never appear here.
 *  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_conn_recv_message(nexar_conn *conn, nexar_lane lane, void *archive, size_t cap,
                                               nexar_recv_info *info, const nexar_call_opts *opts, nexar_op **op_out);

/** Sends bytes on the raw lane.  @returns as nexar_send.  @threads any */
NEXAR_API nexar_status nexar_conn_send_raw(nexar_conn *conn, const void *buf, size_t nbytes,
                                           const nexar_call_opts *opts, nexar_op **op_out);

/** Sends bytes on the raw lane of a communicator id.  @returns as nexar_send.  @threads any */
NEXAR_API nexar_status nexar_conn_send_raw_comm(nexar_conn *conn, uint64_t comm_id, const void *buf, size_t nbytes,
                                                const nexar_call_opts *opts, nexar_op **op_out);

/** Sends bytes on the raw lane of a tag.  @returns as nexar_send.  @threads any */
NEXAR_API nexar_status nexar_conn_send_raw_tagged(nexar_conn *conn, uint64_t tag, const void *buf, size_t nbytes,
                                                  const nexar_call_opts *opts, nexar_op **op_out);

/** Receives the next message of the raw lane.  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_conn_recv_raw(nexar_conn *conn, void *buf, size_t cap, nexar_recv_info *info,
                                           const nexar_call_opts *opts, nexar_op **op_out);

/** Receives the next message of the raw lane of a communicator id.  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_conn_recv_raw_comm(nexar_conn *conn, uint64_t comm_id, void *buf, size_t cap,
                                                nexar_recv_info *info, const nexar_call_opts *opts, nexar_op **op_out);

/** Receives the next message of the raw lane of a tag.  @returns as nexar_recv.  @threads any */
NEXAR_API nexar_status nexar_conn_recv_raw_tagged(nexar_conn *conn, uint64_t tag, void *buf, size_t cap,
                                                  nexar_recv_info *info, const nexar_call_opts *opts,
                                                  nexar_op **op_out);

/** Puts `object` into the connection's extension slot of `key`; `free_fn` (may be NULL) is called once, when the object
 *  is replaced or the connection ends.  `object` NULL empties the slot.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ENOMEM.  @threads any; free_fn may run on a thread of the library */
NEXAR_API nexar_status nexar_conn_ext_set(nexar_conn *conn, const nexar_ext_key *key, void *object,
                                          nexar_ext_free free_fn);

/** @returns the object in the slot of `key`, borrowed; NULL if there is none.  @threads any */
NEXAR_API void *nexar_conn_ext_get(nexar_conn *conn, const nexar_ext_key *key);

#ifdef __cplusplus
}
#endif

#endif
