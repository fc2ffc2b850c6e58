/* math/compress.c - the sizes of encoded vectors, and which coder is for which form.
 *
 * Owner: nobody, all is pure.  Sizes do not come from peers here; what an encoded vector says is checked where it is
 * decoded. */
#include "math/compress.h"

#include "math/fpenv.h"

size_t nx_compress_unit(const struct nx_compress *c)
{
    return c->kind == NEXAR_COMPRESS_BFLOAT16 ? 2 : c->block;
}

size_t nx_compress_words(const struct nx_compress *c, size_t count)
{
    switch (c->kind) {
    case NEXAR_COMPRESS_BFLOAT16:
        return count / 2 + count % 2;
    case NEXAR_COMPRESS_FLOAT8:
    case NEXAR_COMPRESS_INT8:
        return count / c->block + (count % c->block != 0) + count / 4 + (count % 4 != 0);
    case NEXAR_COMPRESS_TOP_K:
        return (count > UINT64_C(1) << 32 ? 3 : 2) * c->k;
    default:
        return c->k;
    }
}

/* The finisher of splitmix64: every bit of the result depends on every bit of x. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t nx_compress_turn(uint64_t seed, uint64_t step)
{
    return mix(mix(seed + UINT64_C(0x9e3779b97f4a7c15)) + step);
}

void nx_compress_encode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count)
{
    uint64_t fp = nx_fp_enter();

    if (nx_compress_is_sparse(c))
        nx_sparse_encode(c, turn, out, in, count);
    else
        nx_dense_encode(c, out, in, count);
    nx_fp_leave(fp);
}

nexar_status nx_compress_decode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count,
                                bool add)
{
    uint64_t fp = nx_fp_enter();
    nexar_status st = nx_compress_is_sparse(c) ? nx_sparse_decode(c, turn, out, in, count, add)
                                               : nx_dense_decode(c, out, in, count, add);

    nx_fp_leave(fp);
    return st;
}
