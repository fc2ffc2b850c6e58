/* math/compress_sparse.c - k elements of a vector, and which: the greatest, or those that a number chooses.
 *
 * Owner: nobody, all is pure.  The greatest are found without sorting, in four passes whatever k is.  The caller has
 * set the floating point environment. */
#include "math/compress.h"

#include "base/status.h"
#include "math/half.h"

static uint32_t bits_at(const uint8_t *p, size_t i)
{
    uint32_t bits;

    memcpy(&bits, p + 4 * i, sizeof(bits));
    return bits;
}

static void copy_element(uint8_t *to, size_t i, const uint8_t *from, size_t k)
{
    memcpy(to + 4 * i, from + 4 * k, 4);
}

/* As the kernels add: a sum that is no number is always the one quiet NaN. */
static void add_element(uint8_t *to, size_t i, const uint8_t *from, size_t k)
{
    float sum = nx_f32_of_bits(bits_at(to, i)) + nx_f32_of_bits(bits_at(from, k));
    uint32_t bits = sum != sum ? 0x7fc00000 : nx_bits_of_f32(sum);

    memcpy(to + 4 * i, &bits, sizeof(bits));
}

/* ---- the greatest ---- */

/* Indices are as wide as the vector needs. */
static bool is_long(size_t count)
{
    return count > UINT64_C(1) << 32;
}

static void put_index(uint8_t *p, size_t i, size_t index, bool wide)
{
    uint32_t narrow = (uint32_t)index;
    uint64_t all = index;

    if (wide)
        memcpy(p + 8 * i, &all, 8);
    else
        memcpy(p + 4 * i, &narrow, 4);
}

static uint64_t get_index(const uint8_t *p, size_t i, bool wide)
{
    uint64_t all;

    if (!wide)
        return bits_at(p, i);
    memcpy(&all, p + 8 * i, 8);
    return all;
}

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* Among the magnitudes whose bits above shift + DIGIT_BITS are those of `prefix`, finds the digit at `shift` that the
 * `*rank`-th greatest has, and makes `*rank` its place among those that share it.  Returns prefix and digit. */
static uint32_t find_digit(const uint8_t *in, size_t count, uint32_t prefix, unsigned shift, size_t *rank)
{
    uint32_t above = shift + DIGIT_BITS >= 31 ? 0 : UINT32_MAX << (shift + DIGIT_BITS);
    size_t have[DIGITS] = {0};
    uint32_t digit = DIGITS - 1;

    for (size_t i = 0; i < count; i++) {
        uint32_t mag = bits_at(in, i) & 0x7fffffff;

        if ((mag & above) == prefix)
            have[mag >> shift & (DIGITS - 1)]++;
    }
    for (; *rank > have[digit] && digit > 0; digit--)
        *rank -= have[digit];
    return prefix | digit << shift;
}

static void encode_top_k(size_t k, uint8_t *out, const uint8_t *in, size_t count)
{
    bool wide = is_long(count);
    uint8_t *values = out + (wide ? 8 : 4) * k;
    size_t equals = k; /* to be taken of those that are as great as the least */
    uint32_t least = 0;
    size_t done = 0;

    if (k == 0)
        return;
    for (unsigned shift = 22;; shift -= 11) {
        least = find_digit(in, count, least, shift, &equals);
        if (shift == 0)
            break;
    }
    for (size_t i = 0; i < count && done < k; i++) {
        uint32_t mag = bits_at(in, i) & 0x7fffffff;

        if (mag < least || (mag == least && equals == 0))
            continue;
        equals -= mag == least;
        put_index(out, done, i, wide);
        copy_element(values, done++, in, i);
    }
}

static nexar_status add_top_k(size_t k, uint8_t *out, const uint8_t *in, size_t count)
{
    bool wide = is_long(count);
    const uint8_t *values = in + (wide ? 8 : 4) * k;
    uint64_t next = 0;

    for (size_t i = 0; i < k; i++) {
        uint64_t index = get_index(in, i, wide);

        if (index >= count || index < next)
            return nx_fail(NEXAR_EPROTO, "index %llu as number %zu of %zu, for a vector of %zu elements%s",
                           (unsigned long long)index, i, k, count, index < count ? ", out of order" : "");
        add_element(out, (size_t)index, values, i);
        next = index + 1;
    }
    return NEXAR_OK;
}

/* ---- those that a number chooses ---- */

/* floor(i * count / k), for i <= k. */
static size_t border(size_t i, size_t count, size_t k)
{
    return (size_t)((unsigned __int128)i * count / k);
}

/* Element number `i` of k. */
static size_t chosen(uint64_t turn, size_t i, size_t count, size_t k)
{
    size_t begin = border(i, count, k);
    size_t length = border(i + 1, count, k) - begin;
    uint64_t random = nx_compress_turn(turn, i);

    return begin + (size_t)((unsigned __int128)random * length >> 64);
}

void nx_sparse_encode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count)
{
    if (c->kind == NEXAR_COMPRESS_TOP_K) {
        encode_top_k(c->k, out, in, count);
        return;
    }
    for (size_t i = 0; i < c->k; i++)
        copy_element(out, i, in, chosen(turn, i, count, c->k));
}

nexar_status nx_sparse_decode(const struct nx_compress *c, uint64_t turn, void *out, const void *in, size_t count,
                              bool add)
{
    if (!add && count != 0)
        memset(out, 0, 4 * count);
    if (c->kind == NEXAR_COMPRESS_TOP_K)
        return add_top_k(c->k, out, in, count);
    for (size_t i = 0; i < c->k; i++)
        add_element(out, chosen(turn, i, count, c->k), in, i);
    return NEXAR_OK;
}

/* ---- what is left behind ---- */

void nx_compress_keep(const struct nx_compress *c, uint64_t turn, void *residual, const void *all, const void *encoded,
                      size_t count)
{
    bool wide = is_long(count);

    if (count != 0)
        memcpy(residual, all, 4 * count);
    for (size_t i = 0; i < c->k; i++) {
        size_t index =
            c->kind == NEXAR_COMPRESS_TOP_K ? (size_t)get_index(encoded, i, wide) : chosen(turn, i, count, c->k);

        memset((uint8_t *)residual + 4 * index, 0, 4);
    }
}
