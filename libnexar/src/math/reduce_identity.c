/* math/reduce_identity.c - the value that changes nothing: op(x, identity) = x.
 *
 * Owner: nobody, it is pure.  -0 + 0 is 0, so the identity of sums is 0 although it changes the sign of a zero. */
#include "math/reduce.h"

#include <string.h>

static bool is_signed(nexar_dtype dtype)
{
    return dtype == NEXAR_INT8 || dtype == NEXAR_INT16 || dtype == NEXAR_INT32 || dtype == NEXAR_INT64;
}

/* The bits of 1 and of infinity. */
static uint64_t one(nexar_dtype dtype)
{
    switch ((int)dtype) {
    case NEXAR_FLOAT16:
        return 0x3c00;
    case NEXAR_BFLOAT16:
        return 0x3f80;
    case NEXAR_FLOAT32:
        return 0x3f800000;
    case NEXAR_FLOAT64:
        return UINT64_C(0x3ff0000000000000);
    default:
        return 1;
    }
}

static uint64_t infinity(nexar_dtype dtype)
{
    switch ((int)dtype) {
    case NEXAR_FLOAT16:
        return 0x7c00;
    case NEXAR_BFLOAT16:
        return 0x7f80;
    case NEXAR_FLOAT32:
        return 0x7f800000;
    case NEXAR_FLOAT64:
        return UINT64_C(0x7ff0000000000000);
    default:
        return 0; /* an integer */
    }
}

static uint64_t greatest(nexar_dtype dtype, uint64_t ones, uint64_t sign)
{
    if (dtype == NEXAR_BOOL)
        return 1;
    if (infinity(dtype) != 0)
        return infinity(dtype);
    return is_signed(dtype) ? ones & ~sign : ones;
}

static uint64_t least(nexar_dtype dtype, uint64_t sign)
{
    if (infinity(dtype) != 0)
        return infinity(dtype) | sign;
    return is_signed(dtype) ? sign : 0;
}

void nx_reduce_identity(nexar_reduce_op op, nexar_dtype dtype, unsigned char out[8])
{
    unsigned bits = 8 * (unsigned)nexar_dtype_size(dtype);
    uint64_t ones = UINT64_MAX >> (64 - bits);
    uint64_t sign = UINT64_C(1) << (bits - 1);
    uint64_t value = 0;

    switch ((int)op) {
    case NEXAR_PROD:
        value = one(dtype);
        break;
    case NEXAR_MIN:
        value = greatest(dtype, ones, sign);
        break;
    case NEXAR_MAX:
        value = least(dtype, sign);
        break;
    case NEXAR_BAND:
        value = dtype == NEXAR_BOOL ? 1 : ones;
        break;
    default: /* sum, avg, bor, bxor */
        break;
    }
    for (unsigned i = 0; i < 8; i++) /* as nx_store64, and as the hosts that we run on have it in memory */
        out[i] = (unsigned char)(value >> 8 * i);
}
