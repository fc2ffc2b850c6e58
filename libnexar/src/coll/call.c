/* coll/call.c - a collective call in words.
 *
 * Pure.  The bits may come from a peer: every value gives some text. */
#include "coll/call.h"

#include <stdio.h>

void nx_call_text(uint64_t packed, uint64_t count, bool with_algorithm, char *text, size_t cap)
{
    unsigned coll = packed & 0xff, dtype = packed >> 8 & 0xff, op = packed >> 16 & 0xff,
             algorithm = packed >> 24 & 0xff;
    unsigned root = (unsigned)(packed >> 32);
    char tail[48] = "";

    if (with_algorithm)
        snprintf(tail, sizeof(tail), " by algorithm %s", nx_algorithm_name(algorithm));
    switch (coll) {
    case NX_COLL_ALL_REDUCE:
        snprintf(text, cap, "all_reduce(%llu x %s, %s)%s", (unsigned long long)count,
                 nexar_dtype_name((nexar_dtype)dtype), nexar_reduce_op_name((nexar_reduce_op)op), tail);
        break;
    case NX_COLL_BROADCAST:
        snprintf(text, cap, "broadcast(%llu x %s, root %u)%s", (unsigned long long)count,
                 nexar_dtype_name((nexar_dtype)dtype), root, tail);
        break;
    case NX_COLL_BARRIER:
        snprintf(text, cap, "barrier()%s", tail);
        break;
    default:
        snprintf(text, cap, "an unknown collective %u", coll);
    }
}
