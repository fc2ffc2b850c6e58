/* math/compress_dense.c - all elements in fewer bits: bfloat16, and bytes with a scale for each block.
 *
 * Owner: nobody, all is pure.  Plain loops that compilers make vectors of.  The caller has set the floating point
 * environment. */
#include "math/compress.h"

#include "base/status.h"
#include "math/fp8.h"
#include "math/reduce.h"

enum {
    INT8_NAN = -128,
    PIECE = 256, /* elements that are decoded at once before they are added */
};

#define INT8_MOST 127.0f
#define FP8_MOST 448.0f

static float load(const uint8_t *p, size_t i)
{
    float f;

    memcpy(&f, p + 4 * i, sizeof(f));
    return f;
}

static void store(uint8_t *p, size_t i, float f)
{
    memcpy(p + 4 * i, &f, sizeof(f));
}

/* ---- bfloat16 ---- */

static void encode_bf16(uint8_t *out, const uint8_t *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t h = nx_bf16_of_f32(load(in, i));

        memcpy(out + 2 * i, &h, sizeof(h));
    }
    if (count % 2 != 0)
        memset(out + 2 * count, 0, 2);
}

static void decode_bf16(uint8_t *out, const uint8_t *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t h;

        memcpy(&h, in + 2 * i, sizeof(h));
        store(out, i, nx_f32_of_bf16(h));
    }
}

/* ---- a byte an element ---- */

/* The greatest finite magnitude, as bits: they are ordered as the floats are. */
static uint32_t greatest(const uint8_t *in, size_t count)
{
    int32_t most = 0;

    for (size_t i = 0; i < count; i++) {
        int32_t mag = (int32_t)(nx_bits_of_f32(load(in, i)) & 0x7fffffff);

        mag = mag < 0x7f800000 ? mag : 0;
        most = mag > most ? mag : most;
    }
    return (uint32_t)most;
}

/* To the nearest by the last bit of a large float; `x` is clamped first, since a scale that is subnormal is coarse. */
static int8_t int8_of(float x)
{
    float y = x > INT8_MOST ? INT8_MOST : x;

    y = y < -INT8_MOST ? -INT8_MOST : y;
    return (int8_t)(int32_t)(nx_bits_of_f32(y + 0x1.8p23f) - nx_bits_of_f32(0x1.8p23f));
}

static void encode_int8(uint8_t *out, const uint8_t *in, size_t count, float divisor)
{
    for (size_t i = 0; i < count; i++) {
        float x = load(in, i);
        int8_t code = int8_of(x / divisor);

        code = (nx_bits_of_f32(x) & 0x7fffffff) >= 0x7f800000 ? INT8_NAN : code;
        out[i] = (uint8_t)code;
    }
}

static void encode_fp8(uint8_t *out, const uint8_t *in, size_t count, float divisor)
{
    for (size_t i = 0; i < count; i++)
        out[i] = nx_fp8_of_f32(load(in, i) / divisor);
}

static void encode_scaled(const struct nx_compress *c, uint8_t *out, const uint8_t *in, size_t count)
{
    bool int8 = c->kind == NEXAR_COMPRESS_INT8;
    size_t blocks = count / c->block + (count % c->block != 0);
    uint8_t *codes = out + 4 * blocks;

    for (size_t b = 0; b < blocks; b++) {
        size_t off = b * c->block;
        size_t n = count - off < c->block ? count - off : c->block;
        float scale = nx_f32_of_bits(greatest(in + 4 * off, n)) / (int8 ? INT8_MOST : FP8_MOST);
        float divisor = scale == 0.0f ? 1.0f : scale;

        store(out, b, scale);
        if (int8)
            encode_int8(codes + off, in + 4 * off, n, divisor);
        else
            encode_fp8(codes + off, in + 4 * off, n, divisor);
    }
    if (count % 4 != 0)
        memset(codes + count, 0, 4 - count % 4);
}

static void decode_block(const struct nx_compress *c, uint8_t *out, const uint8_t *codes, size_t count, float scale)
{
    for (size_t i = 0; i < count && c->kind == NEXAR_COMPRESS_INT8; i++) {
        float x = (float)(int8_t)codes[i] * scale;

        store(out, i, (int8_t)codes[i] == INT8_NAN ? nx_f32_of_bits(0x7fc00000) : x);
    }
    for (size_t i = 0; i < count && c->kind == NEXAR_COMPRESS_FLOAT8; i++)
        store(out, i, nx_f32_of_fp8(codes[i]) * scale);
}

/* ---- both ---- */

void nx_dense_encode(const struct nx_compress *c, void *out, const void *in, size_t count)
{
    if (c->kind == NEXAR_COMPRESS_BFLOAT16)
        encode_bf16(out, in, count);
    else
        encode_scaled(c, out, in, count);
}

/* An encoder makes scales that are finite and not below 0. */
static nexar_status check_scale(float scale, size_t block)
{
    if (nx_bits_of_f32(scale) < 0x7f800000)
        return NEXAR_OK;
    return nx_fail(NEXAR_EPROTO, "%g as the scale of block %zu", (double)scale, block);
}

nexar_status nx_dense_decode(const struct nx_compress *c, void *out, const void *in, size_t count, bool add)
{
    nx_reduce_fn sum = nx_reduce_kernel(NEXAR_SUM, NEXAR_FLOAT32);
    size_t block = c->kind == NEXAR_COMPRESS_BFLOAT16 ? PIECE : c->block;
    const uint8_t *codes = (const uint8_t *)in + 4 * (count / block + (count % block != 0));
    uint8_t piece[4 * PIECE];
    size_t n;

    for (size_t at = 0; at < count; at += n) {
        size_t left = block - at % block;
        uint8_t *to = add ? piece : (uint8_t *)out + 4 * at;

        n = count - at < left ? count - at : left;
        n = n < PIECE ? n : PIECE;
        if (c->kind == NEXAR_COMPRESS_BFLOAT16) {
            decode_bf16(to, (const uint8_t *)in + 2 * at, n);
        } else {
            float scale = load(in, at / block);
            nexar_status st = at % block == 0 ? check_scale(scale, at / block) : NEXAR_OK;

            if (st != NEXAR_OK)
                return st;
            decode_block(c, to, codes + at, n, scale);
        }
        if (add)
            sum((uint8_t *)out + 4 * at, piece, n);
    }
    return NEXAR_OK;
}
