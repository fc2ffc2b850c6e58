/* coll/call.h - what a rank called, in 64 bits that travel with each message of a collective, so that ranks that called
 * different things find out.
 *
 *      63        32 31      24 23      16 15       8 7        0
 *     +------------+----------+----------+----------+----------+
 *     |    root    | algorithm|    op    |  dtype   |   coll   |
 *     +------------+----------+----------+----------+----------+
 *
 * The number of elements travels beside it.  In place of a root, all_reduce_compressed has the kind (8 bits) and a
 * digest of its parameters (24), all_reduce_bucketed a digest of the list of types and counts. */
#ifndef NX_COLL_CALL_H
#define NX_COLL_CALL_H

#include "coll/select.h"
#include "nexar/coll.h"

struct nx_call {
    enum nx_coll coll;
    nexar_dtype dtype;
    nexar_reduce_op op;
    uint32_t root;
    uint32_t algorithm; /* its place in the table of algorithms */
};

static inline uint64_t nx_call_pack(const struct nx_call *call)
{
    return (uint64_t)call->root << 32 | (uint64_t)(call->algorithm & 0xff) << 24 | (uint64_t)call->op << 16 |
           (uint64_t)call->dtype << 8 | (uint64_t)call->coll;
}

/* "all_reduce of 1024 float32, sum"; the algorithm's name too if `with_algorithm`.  Cut at `cap` bytes; any value is
 * legal. */
void nx_call_text(uint64_t packed, uint64_t count, bool with_algorithm, char *text, size_t cap);

#endif
