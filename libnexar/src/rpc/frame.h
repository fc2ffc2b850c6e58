/* rpc/frame.h - what is behind the payload of each message of a call: who asks for what, or what became of it.
 *
 * A message of lane P2P in the scope NX_RPC_SCOPE: the payload, then the name of the function, then NX_RPC_TAIL bytes:
 * kind u8, code u8, name length u16, number u16, 0 u16, id u64, communicator u64, nanoseconds left i64 (little endian).
 * At the end it lets the payload be received where it stays. */
#ifndef NX_RPC_FRAME_H
#define NX_RPC_FRAME_H

#include "nexar/rpc.h"

#include <stdbool.h>

/* No communicator has this id: calls never meet messages of users. */
#define NX_RPC_SCOPE UINT64_MAX

enum {
    NX_RPC_TAIL = 32,
    NX_RPC_MOST = NEXAR_RPC_BYTES_MAX + NEXAR_RPC_NAME_MAX + NX_RPC_TAIL,
};

/* Flows of messages: requests may be held back, answers and cancellations never are. */
enum { NX_RPC_TO_ASK, NX_RPC_TO_TELL, NX_RPC_FLOWS };

enum nx_rpc_kind { NX_RPC_REQUEST = 1, NX_RPC_ANSWER, NX_RPC_CANCEL };

/* Of an answer. */
enum nx_rpc_code {
    NX_RPC_FINE,
    NX_RPC_FAILED,    /* the payload says how */
    NX_RPC_UNKNOWN,   /* there is no such function */
    NX_RPC_NO_MEMBER, /* there is no such communicator */
    NX_RPC_CLOSED,    /* it is closed there */
    NX_RPC_NO_MEMORY,
    NX_RPC_LATE, /* its time was over before its turn came */
    NX_RPC_CODES,
};

struct nx_rpc_tail {
    uint8_t kind, code;
    uint16_t name_len; /* 0: by number */
    uint16_t number;
    uint64_t id, comm;
    int64_t left_ns;
};

void nx_rpc_tail_encode(const struct nx_rpc_tail *tail, uint8_t out[NX_RPC_TAIL]);
/* False if it is none, or does not fit the `len` bytes of the message that it ends. */
bool nx_rpc_tail_decode(const uint8_t *message, uint64_t len, struct nx_rpc_tail *out);

#endif
