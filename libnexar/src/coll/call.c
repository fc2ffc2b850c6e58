/* coll/call.c - a collective call in words.
 *
 * Pure.  The bits may come from a peer: every value gives some text. */
#include "coll/call.h"

#include <stdio.h>

static const char *compression_name(unsigned kind)
{
    static const char *const names[] = {
        [NEXAR_COMPRESS_BFLOAT16] = "bfloat16", [NEXAR_COMPRESS_FLOAT8] = "float8",     [NEXAR_COMPRESS_INT8] = "int8",
        [NEXAR_COMPRESS_TOP_K] = "top_k",       [NEXAR_COMPRESS_RANDOM_K] = "random_k",
    };

    return kind < sizeof(names) / sizeof(names[0]) && names[kind] != NULL ? names[kind] : "?";
}

void nx_call_text(uint64_t packed, uint64_t count, bool with_algorithm, char *text, size_t cap)
{
    unsigned coll = packed & 0xff, dtype = packed >> 8 & 0xff, op = packed >> 16 & 0xff;
    const struct nx_algorithm *algorithm = nx_algorithm_at(packed >> 24 & 0xff);
    unsigned root = (unsigned)(packed >> 32);
    unsigned long long elements = count;
    const char *name = coll < NX_CALLS ? nx_coll_name((enum nx_coll)coll) : "";
    const char *type = nexar_dtype_name((nexar_dtype)dtype);
    const char *reduction = nexar_reduce_op_name((nexar_reduce_op)op);
    char tail[48] = "";

    if (with_algorithm)
        snprintf(tail, sizeof(tail), " by algorithm %s", algorithm == NULL ? "?" : algorithm->name);
    switch (coll) {
    case NX_COLL_ALL_REDUCE:
    case NX_COLL_REDUCE_SCATTER:
    case NX_COLL_REDUCE_SCATTER_V:
    case NX_COLL_SCAN:
    case NX_COLL_EXCLUSIVE_SCAN:
        snprintf(text, cap, "%s(%llu x %s, %s)%s", name, elements, type, reduction, tail);
        break;
    case NX_COLL_REDUCE:
        snprintf(text, cap, "%s(%llu x %s, %s, root %u)%s", name, elements, type, reduction, root, tail);
        break;
    case NX_COLL_BROADCAST:
    case NX_COLL_GATHER:
    case NX_COLL_SCATTER:
        snprintf(text, cap, "%s(%llu x %s, root %u)%s", name, elements, type, root, tail);
        break;
    case NX_COLL_ALL_GATHER:
    case NX_COLL_ALL_TO_ALL:
    case NX_COLL_ALL_GATHER_V:
        snprintf(text, cap, "%s(%llu x %s)%s", name, elements, type, tail);
        break;
    case NX_COLL_GATHER_V:
    case NX_COLL_SCATTER_V:
        snprintf(text, cap, "%s(%s, root %u)%s", name, type, root, tail);
        break;
    case NX_COLL_ALL_TO_ALL_V:
        snprintf(text, cap, "%s(%s)%s", name, type, tail);
        break;
    case NX_COLL_ALL_REDUCE_COMPRESSED:
        snprintf(text, cap, "%s(%llu x %s, %s, %s %06x)%s", name, elements, type, reduction,
                 compression_name(root >> 24), root & 0xffffff, tail);
        break;
    case NX_COLL_ALL_REDUCE_BUCKETED:
        snprintf(text, cap, "%s(%llu bytes, list %08x, %s)%s", name, elements, root, reduction, tail);
        break;
    case NX_COLL_BARRIER:
    case NX_COLL_SPLIT:
    case NX_COLL_DUP:
    case NX_COLL_SPLIT_BY_HOST:
        snprintf(text, cap, "%s()%s", name, tail);
        break;
    default:
        snprintf(text, cap, "an unknown collective %u", coll);
    }
}
