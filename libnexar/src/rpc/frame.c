/* rpc/frame.c - the tail of a message of a call, to bytes and back.
 *
 * Owner: nobody, pure functions.  What the tail says is checked as far as it can be without knowing any call. */
#include "rpc/frame.h"

#include "base/bytes.h"
#include "wire/schema.h"

#include <string.h>

void nx_rpc_tail_encode(const struct nx_rpc_tail *tail, uint8_t out[NX_RPC_TAIL])
{
    out[0] = tail->kind;
    out[1] = tail->code;
    nx_store16(out + 2, tail->name_len);
    nx_store16(out + 4, tail->number);
    nx_store16(out + 6, 0);
    nx_store64(out + 8, tail->id);
    nx_store64(out + 16, tail->comm);
    nx_store64(out + 24, (uint64_t)tail->left_ns);
}

bool nx_rpc_tail_decode(const uint8_t *message, uint64_t len, struct nx_rpc_tail *out)
{
    const uint8_t *at;

    if (len < NX_RPC_TAIL || len > NX_RPC_MOST)
        return false;
    at = message + (len - NX_RPC_TAIL);
    *out = (struct nx_rpc_tail){.kind = at[0],
                                .code = at[1],
                                .name_len = nx_load16(at + 2),
                                .number = nx_load16(at + 4),
                                .id = nx_load64(at + 8),
                                .comm = nx_load64(at + 16),
                                .left_ns = (int64_t)nx_load64(at + 24)};
    if (nx_load16(at + 6) != 0 || out->kind < NX_RPC_REQUEST || out->kind > NX_RPC_CANCEL || out->left_ns < 0)
        return false;
    if (out->kind != NX_RPC_REQUEST)
        return out->name_len == 0 && out->code < NX_RPC_CODES && (out->kind != NX_RPC_CANCEL || len == NX_RPC_TAIL) &&
               len - NX_RPC_TAIL <= NEXAR_RPC_BYTES_MAX;
    if (out->name_len > NEXAR_RPC_NAME_MAX || out->code != 0 || out->name_len > len - NX_RPC_TAIL ||
        len - NX_RPC_TAIL - out->name_len > NEXAR_RPC_BYTES_MAX)
        return false;
    at -= out->name_len;
    return memchr(at, 0, out->name_len) == NULL && nx_utf8_valid(at, out->name_len);
}
