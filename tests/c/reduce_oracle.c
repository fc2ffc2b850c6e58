/* reduce_oracle.c - see the header. */
#include "reduce_oracle.h"

#include <math.h>
#include <string.h>

enum kind {
    REAL,
    SIGNED,
    UNSIGNED,
    TRUTH,
};

static const struct {
    enum kind kind;
    size_t size;
    int digits;   /* of a float's significand, that before the point included */
    int exponent; /* of the least normal float */
} types[NX_REDUCE_DTYPES] = {
    [NEXAR_FLOAT16] = {REAL, 2, 11, -14},  [NEXAR_BFLOAT16] = {REAL, 2, 8, -126},
    [NEXAR_FLOAT32] = {REAL, 4, 24, -126}, [NEXAR_FLOAT64] = {REAL, 8, 53, -1022},
    [NEXAR_INT8] = {SIGNED, 1, 0, 0},      [NEXAR_INT16] = {SIGNED, 2, 0, 0},
    [NEXAR_INT32] = {SIGNED, 4, 0, 0},     [NEXAR_INT64] = {SIGNED, 8, 0, 0},
    [NEXAR_UINT8] = {UNSIGNED, 1, 0, 0},   [NEXAR_UINT16] = {UNSIGNED, 2, 0, 0},
    [NEXAR_UINT32] = {UNSIGNED, 4, 0, 0},  [NEXAR_UINT64] = {UNSIGNED, 8, 0, 0},
    [NEXAR_BOOL] = {TRUTH, 1, 0, 0},
};

size_t oracle_size(nexar_dtype dtype)
{
    return types[dtype].size;
}

bool oracle_has(nexar_reduce_op op, nexar_dtype dtype)
{
    bool bitwise = op == NEXAR_BAND || op == NEXAR_BOR || op == NEXAR_BXOR;

    switch (types[dtype].kind) {
    case REAL:
        return !bitwise;
    case TRUTH:
        return op != NEXAR_SUM && op != NEXAR_AVG;
    default:
        return true;
    }
}

static uint64_t mask(nexar_dtype dtype)
{
    return UINT64_MAX >> (64 - 8 * types[dtype].size);
}

/* ---- floats ---- */

/* Of the bits without sign: where infinity is. */
static uint64_t infinity(nexar_dtype dtype)
{
    uint64_t one = UINT64_C(1) << (types[dtype].digits - 1);

    return (mask(dtype) >> 1) & ~(one - 1);
}

bool oracle_is_nan(nexar_dtype dtype, uint64_t bits)
{
    return types[dtype].kind == REAL && (bits & mask(dtype) >> 1) > infinity(dtype);
}

uint64_t oracle_nan(nexar_dtype dtype)
{
    return infinity(dtype) | UINT64_C(1) << (types[dtype].digits - 2);
}

double oracle_double_of_half(nexar_dtype dtype, uint64_t bits)
{
    int digits = types[dtype].digits;
    uint64_t magnitude = bits & mask(dtype) >> 1;
    uint64_t fraction = magnitude & ((UINT64_C(1) << (digits - 1)) - 1);
    int exponent = (int)(magnitude >> (digits - 1));
    double value;

    if (magnitude > infinity(dtype))
        return (double)NAN;
    if (magnitude == infinity(dtype))
        value = (double)INFINITY;
    else if (exponent == 0)
        value = ldexp((double)fraction, types[dtype].exponent - digits + 1);
    else
        value = ldexp((double)(fraction | UINT64_C(1) << (digits - 1)), types[dtype].exponent - digits + exponent);
    return magnitude != bits ? -value : value;
}

/* To a multiple of the last digit, ties to even, by the rounding of doubles to integers. */
uint64_t oracle_half_of_double(nexar_dtype dtype, double value)
{
    int digits = types[dtype].digits;
    uint64_t sign = signbit(value) ? (mask(dtype) >> 1) + 1 : 0;
    int exponent = types[dtype].exponent;
    double digits_of_it;

    if (isnan(value))
        return oracle_nan(dtype);
    if (value == 0)
        return sign;
    if (isinf(value))
        return sign | infinity(dtype);
    if (ilogb(value) > exponent)
        exponent = ilogb(value);
    digits_of_it = nearbyint(ldexp(fabs(value), digits - 1 - exponent));
    /* A significand that was rounded up to 2^digits, or a subnormal up to the least normal, carries by itself. */
    if (exponent == types[dtype].exponent)
        return sign | (uint64_t)digits_of_it;
    value = digits_of_it + ldexp(exponent - types[dtype].exponent, digits - 1);
    return sign | (value < (double)infinity(dtype) ? (uint64_t)value : infinity(dtype));
}

static uint64_t of_float(nexar_dtype dtype, float f)
{
    uint32_t bits;

    if (isnan(f))
        return oracle_nan(dtype);
    if (dtype != NEXAR_FLOAT32)
        return oracle_half_of_double(dtype, (double)f);
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static float to_float(nexar_dtype dtype, uint64_t bits)
{
    uint32_t bits32 = (uint32_t)bits;
    float f;

    if (dtype != NEXAR_FLOAT32)
        return (float)oracle_double_of_half(dtype, bits);
    memcpy(&f, &bits32, sizeof(f));
    return f;
}

static double to_double(uint64_t bits)
{
    double d;

    memcpy(&d, &bits, sizeof(d));
    return d;
}

static uint64_t of_double(double d)
{
    uint64_t bits;

    if (isnan(d))
        return oracle_nan(NEXAR_FLOAT64);
    memcpy(&bits, &d, sizeof(bits));
    return bits;
}

/* Integers in the order of the floats; -0 is below +0. */
static int64_t rank_of(nexar_dtype dtype, uint64_t bits)
{
    uint64_t magnitude = bits & mask(dtype) >> 1;

    return magnitude != bits ? -1 - (int64_t)magnitude : (int64_t)magnitude;
}

static uint64_t reduce_real(nexar_reduce_op op, nexar_dtype dtype, uint64_t x, uint64_t y)
{
    bool ordered = rank_of(dtype, x) < rank_of(dtype, y);

    if (oracle_is_nan(dtype, x) || oracle_is_nan(dtype, y))
        return oracle_nan(dtype);
    if (op == NEXAR_MIN)
        return ordered ? x : y;
    if (op == NEXAR_MAX)
        return ordered ? y : x;
    if (dtype == NEXAR_FLOAT64)
        return of_double(op == NEXAR_PROD ? to_double(x) * to_double(y) : to_double(x) + to_double(y));
    return of_float(dtype, op == NEXAR_PROD ? to_float(dtype, x) * to_float(dtype, y)
                                            : to_float(dtype, x) + to_float(dtype, y));
}

/* ---- integers and bools ---- */

__extension__ typedef __int128 wide;

static wide to_wide(nexar_dtype dtype, uint64_t bits)
{
    uint64_t top = (mask(dtype) >> 1) + 1;

    return types[dtype].kind == SIGNED && (bits & top) != 0 ? (wide)bits - 2 * (wide)top : (wide)bits;
}

static uint64_t reduce_integer(nexar_reduce_op op, nexar_dtype dtype, uint64_t x, uint64_t y)
{
    wide a = to_wide(dtype, x);
    wide b = to_wide(dtype, y);

    switch (op) {
    case NEXAR_PROD:
        return (x * y) & mask(dtype);
    case NEXAR_MIN:
        return a < b ? x : y;
    case NEXAR_MAX:
        return a < b ? y : x;
    case NEXAR_BAND:
        return x & y;
    case NEXAR_BOR:
        return x | y;
    case NEXAR_BXOR:
        return x ^ y;
    default:
        return (uint64_t)(a + b) & mask(dtype);
    }
}

static uint64_t reduce_truth(nexar_reduce_op op, bool x, bool y)
{
    switch (op) {
    case NEXAR_MAX:
    case NEXAR_BOR:
        return x || y;
    case NEXAR_BXOR:
        return x != y;
    default:
        return x && y;
    }
}

/* ---- all ---- */

uint64_t oracle_reduce(nexar_reduce_op op, nexar_dtype dtype, uint64_t x, uint64_t y)
{
    if (types[dtype].kind == REAL)
        return reduce_real(op, dtype, x, y);
    if (types[dtype].kind == TRUTH)
        return reduce_truth(op, x != 0, y != 0);
    return reduce_integer(op, dtype, x, y);
}

uint64_t oracle_avg(nexar_dtype dtype, uint64_t x, uint32_t ranks)
{
    if (types[dtype].kind != REAL)
        return (uint64_t)(to_wide(dtype, x) / (wide)ranks) & mask(dtype);
    if (oracle_is_nan(dtype, x))
        return oracle_nan(dtype);
    if (dtype == NEXAR_FLOAT64)
        return of_double(to_double(x) / ranks);
    return of_float(dtype, to_float(dtype, x) / (float)ranks);
}

size_t oracle_edges(nexar_dtype dtype, const uint64_t **out)
{
    static uint64_t edges[24];
    uint64_t all = mask(dtype);
    uint64_t top = (all >> 1) + 1;
    size_t n = 0;

    for (size_t i = 0; i < 3; i++) { /* around zero, the sign, and everything */
        edges[n++] = i;
        edges[n++] = top + i;
        edges[n++] = all - i;
        edges[n++] = top - 1 - i;
    }
    if (types[dtype].kind == REAL) {
        uint64_t inf = infinity(dtype);
        uint64_t least = UINT64_C(1) << (types[dtype].digits - 1); /* normal */

        for (size_t i = 0; i < 2; i++) {
            uint64_t sign = i * top;

            edges[n++] = sign | (inf - 1);
            edges[n++] = sign | inf;
            edges[n++] = sign | (inf + 1);
            edges[n++] = sign | oracle_nan(dtype);
            edges[n++] = sign | (oracle_nan(dtype) + 5);
        }
        edges[n++] = least;
        edges[n++] = top | (least - 1);
    } else {
        edges[n++] = all & 0x5555555555555555;
        edges[n++] = all >> (4 * types[dtype].size);
    }
    *out = edges;
    return n;
}

uint64_t oracle_load(const unsigned char *p, size_t size)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < size; i++)
        bits |= (uint64_t)p[i] << (8 * i);
    return bits;
}

void oracle_store(unsigned char *p, size_t size, uint64_t bits)
{
    for (size_t i = 0; i < size; i++)
        p[i] = (unsigned char)(bits >> (8 * i));
}

void oracle_fill(struct rng *rng, unsigned char *p, size_t count, nexar_dtype dtype)
{
    const uint64_t *edges;
    size_t n = oracle_edges(dtype, &edges);
    size_t size = types[dtype].size;

    for (size_t i = 0; i < count; i++)
        oracle_store(p + i * size, size, rng_below(rng, 3) == 0 ? edges[rng_below(rng, n)] : rng_next(rng));
}
