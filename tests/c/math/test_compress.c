/* Encoders and decoders of compressed vectors, bit for bit against oracles that search instead of computing. */
#include "math/compress.h"

#include "check.h"
#include "math/fp8.h"
#include "rng.h"

#include <fenv.h>
#include <math.h>
#include <stdlib.h>

enum { MOST = 1500 };

static const float specials[] = {0.0f,       -0.0f,     NAN,      INFINITY,        -INFINITY,        0x1p-149f,
                                 -0x1p-149f, 0x1p-126f, 0x1p127f, 0x1.fffffep127f, -0x1.fffffep127f, 1.0f,
                                 0x1p-120f,  448.0f,    127.0f,   -1e-40f};

/* What every test goes through. */
enum inputs { SMOOTH, WIDE, BITS, SPECIAL, TINY, ZEROS, INPUTS };

static void make(struct rng *rng, float *x, size_t count, enum inputs inputs)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t r = rng_next(rng);
        float smooth = (float)((double)(int64_t)r / 9e18);

        switch (inputs) {
        case SMOOTH:
            x[i] = smooth;
            break;
        case WIDE:
            x[i] = ldexpf(smooth, (int)(r % 60) - 30);
            break;
        case BITS:
            x[i] = nx_f32_of_bits((uint32_t)r);
            break;
        case SPECIAL:
            x[i] = r % 3 == 0 ? smooth : specials[r % (sizeof(specials) / sizeof(specials[0]))];
            break;
        case TINY:
            x[i] = smooth * 0x1p-140f;
            break;
        default:
            x[i] = r % 2 == 0 ? 0.0f : -0.0f;
        }
    }
}

/* ---- float8 ---- */

/* Written out of the format: sign, 4 bits of exponent with bias 7, 3 of fraction. */
static double value_of_fp8(unsigned h)
{
    unsigned e = h >> 3 & 15, m = h & 7;
    double mag = e == 0 ? m * 0x1p-9 : (8 + m) * ldexp(1.0, (int)e - 10);

    return h >= 128 ? -mag : mag;
}

/* The nearest, ties to the even code; by search. */
static unsigned nearest_fp8(float f)
{
    unsigned best = 0;

    if (!isfinite(f))
        return 0x7f;
    for (unsigned h = 0; h < 0x7f; h++) {
        double now = fabs(value_of_fp8(h) - fabs((double)f)), then = fabs(value_of_fp8(best) - fabs((double)f));

        if (now < then || (now == then && h % 2 == 0))
            best = h;
    }
    return best | (signbit(f) ? 0x80 : 0);
}

static void test_float8(void **state)
{
    struct rng rng = {1};

    (void)state;
    for (unsigned h = 0; h < 256; h++) {
        float f = nx_f32_of_fp8((uint8_t)h);

        if ((h & 0x7f) == 0x7f) {
            assert_true(isnan(f));
            continue;
        }
        assert_true(f == value_of_fp8(h) && (signbit(f) != 0) == (h >= 128));
        assert_int_equal(nx_fp8_of_f32(f), h);
    }
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
        assert_int_equal(nx_fp8_of_f32(specials[i]), nearest_fp8(specials[i]));
    for (unsigned h = 0; h < 0x7e; h++) { /* ties, and what is beside them */
        float middle = (float)((value_of_fp8(h) + value_of_fp8(h + 1)) / 2);
        const float near[] = {middle, nextafterf(middle, 0), nextafterf(middle, 1000), -middle};

        for (int i = 0; i < 4; i++)
            assert_int_equal(nx_fp8_of_f32(near[i]), nearest_fp8(near[i]));
    }
    for (int i = 0; i < 20000; i++) {
        float f = i % 2 == 0 ? nx_f32_of_bits((uint32_t)rng_next(&rng)) : (float)(int64_t)rng_next(&rng) * 0x1p-54f;

        assert_int_equal(nx_fp8_of_f32(f), nearest_fp8(f));
    }
}

/* ---- dense ---- */

static float greatest(const float *x, size_t n)
{
    float most = 0;

    for (size_t i = 0; i < n; i++)
        most = isfinite(x[i]) && fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

/* What an encoder and a decoder, one after the other, must make of a vector; `x` in blocks from its begin on. */
static void expect_dense(const struct nx_compress *c, float *want, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t begin = c->block == 0 ? 0 : i / c->block * c->block;
        size_t n = count - begin < c->block ? count - begin : c->block;
        float scale = greatest(x + begin, n) / (c->kind == NEXAR_COMPRESS_INT8 ? 127.0f : 448.0f);
        float y = scale == 0 ? x[i] : x[i] / scale;

        if (c->kind == NEXAR_COMPRESS_BFLOAT16) {
            want[i] = nx_f32_of_bf16(nx_bf16_of_f32(x[i]));
        } else if (!isfinite(x[i])) {
            want[i] = NAN;
        } else if (c->kind == NEXAR_COMPRESS_INT8) {
            y = y > 127 ? 127 : y < -127 ? -127 : rintf(y);
            want[i] = y * scale + 0.0f; /* there is no -0 among the codes */
        } else {
            want[i] = (float)value_of_fp8(nearest_fp8(y)) * scale;
            if (signbit(y) && want[i] == 0)
                want[i] = -0.0f;
        }
    }
}

static void same_bits(const float *got, const float *want, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        bool same = memcmp(&got[i], &want[i], 4) == 0 || (isnan(want[i]) && nx_bits_of_f32(got[i]) == 0x7fc00000);

        if (!same)
            fail_msg("%s: element %zu of %zu is %a, not %a", what, i, count, (double)got[i], (double)want[i]);
    }
}

static void dense_case(const struct nx_compress *c, size_t count, enum inputs inputs, struct rng *rng)
{
    static float x[MOST], want[MOST], sum[MOST], both[MOST];
    size_t words = nx_compress_words(c, count);
    /* Of exactly the right size, and not aligned: a sanitizer sees a step too far. */
    uint8_t *encoded = malloc(4 * words + 1), *decoded = malloc(4 * count + 1);

    make(rng, x, count, inputs);
    make(rng, sum, count, SMOOTH);
    memset(encoded, 0xa5, 4 * words + 1);
    nx_compress_encode(c, 0, encoded + 1, x, count);
    assert_ok(nx_compress_decode(c, 0, decoded + 1, encoded + 1, count, false));
    memcpy(both, decoded + 1, 4 * count);
    expect_dense(c, want, x, count);
    same_bits(both, want, count, "decoded");
    for (size_t i = 0; i < count; i++)
        want[i] = sum[i] + want[i];
    assert_ok(nx_compress_decode(c, 0, sum, encoded + 1, count, true));
    same_bits(sum, want, count, "added");
    free(encoded);
    free(decoded);
}

static const struct nx_compress dense[] = {
    {.kind = NEXAR_COMPRESS_BFLOAT16},
    {.kind = NEXAR_COMPRESS_FLOAT8, .block = 4},
    {.kind = NEXAR_COMPRESS_FLOAT8, .block = 256},
    {.kind = NEXAR_COMPRESS_INT8, .block = 12},
    {.kind = NEXAR_COMPRESS_INT8, .block = 256},
    {.kind = NEXAR_COMPRESS_INT8, .block = 1024},
};
enum { DENSE = sizeof(dense) / sizeof(dense[0]) };

static void test_dense_all_tails(void **state)
{
    struct rng rng = {2};

    (void)state;
    for (int k = 0; k < DENSE; k++)
        for (size_t count = 0; count < MOST; count += count < 70 ? 1 : 97)
            for (int inputs = 0; inputs < INPUTS; inputs++)
                dense_case(&dense[k], count, (enum inputs)inputs, &rng);
}

/* What a thread has switched on does not matter, nor where a vector is cut. */
static void test_dense_same_bits_in_every_mode(void **state)
{
    static float x[MOST], one[MOST], other[MOST];
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    static uint8_t words[8 * MOST];
    struct rng rng = {3};

    (void)state;
    for (int k = 0; k < DENSE; k++)
        for (int m = 0; m < 3; m++) {
            size_t unit = nx_compress_unit(&dense[k]), cut = 1200 / unit * unit / 2 / unit * unit;

            make(&rng, x, MOST, m == 0 ? TINY : WIDE);
            nx_compress_encode(&dense[k], 0, words, x, MOST);
            assert_ok(nx_compress_decode(&dense[k], 0, one, words, MOST, false));
            fesetround(modes[m]);
            nx_compress_encode(&dense[k], 0, words, x, cut);
            assert_ok(nx_compress_decode(&dense[k], 0, other, words, cut, false));
            nx_compress_encode(&dense[k], 0, words, x + cut, MOST - cut);
            assert_ok(nx_compress_decode(&dense[k], 0, other + cut, words, MOST - cut, false));
            assert_int_equal(fegetround(), modes[m]);
            fesetround(FE_TONEAREST);
            assert_memory_equal(one, other, sizeof(one));
        }
}

static void test_what_travels(void **state)
{
    static const float x[5] = {-254.0f, 1.0f, 0.0f, NAN, 3.0f};
    static const uint8_t bf16[] = {0x7e, 0xc3, 0x80, 0x3f, 0, 0, 0xc0, 0x7f, 0x40, 0x40, 0, 0};
    static const uint8_t int8[] = {0, 0, 0, 0x40, 0x06, 0x83, 0xc1, 0x3c, 0x81, 0, 0, 0x80, 127, 0, 0, 0};
    static const uint8_t top_k[] = {0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0x7e, 0xc3, 0, 0, 0xc0, 0x7f};
    uint8_t out[16];

    (void)state;
    nx_compress_encode(&(struct nx_compress){.kind = NEXAR_COMPRESS_BFLOAT16}, 0, out, x, 5);
    assert_memory_equal(out, bf16, sizeof(bf16));
    nx_compress_encode(&(struct nx_compress){.kind = NEXAR_COMPRESS_INT8, .block = 4}, 0, out, x, 5);
    assert_memory_equal(out, int8, sizeof(int8));
    nx_compress_encode(&(struct nx_compress){.kind = NEXAR_COMPRESS_TOP_K, .k = 2}, 0, out, x, 5);
    assert_memory_equal(out, top_k, sizeof(top_k));
}

/* ---- sparse ---- */

struct ranked {
    uint32_t mag;
    size_t at;
};

static int by_magnitude(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return x->mag != y->mag ? (x->mag < y->mag ? 1 : -1) : (x->at > y->at) - (x->at < y->at);
}

/* Those that are sent of `x`, by sorting; the others 0. */
static void expect_top_k(float *want, const float *x, size_t count, size_t k)
{
    struct ranked order[MOST];

    for (size_t i = 0; i < count; i++)
        order[i] = (struct ranked){nx_bits_of_f32(x[i]) & 0x7fffffff, i};
    qsort(order, count, sizeof(order[0]), by_magnitude);
    memset(want, 0, count * sizeof(*want));
    for (size_t i = 0; i < k; i++)
        want[order[i].at] = x[order[i].at] + 0.0f;
}

static void sparse_case(struct nx_compress c, size_t count, enum inputs inputs, struct rng *rng)
{
    static float x[MOST], want[MOST], got[MOST], left[MOST];
    uint64_t turn = rng_next(rng);
    uint8_t *encoded = malloc(4 * nx_compress_words(&c, count) + 1);
    size_t sent = 0;

    make(rng, x, count, inputs);
    if (inputs == SMOOTH) /* many are equal */
        for (size_t i = 0; i < count; i++)
            x[i] = rintf(4 * x[i]);
    nx_compress_encode(&c, turn, encoded + 1, x, count);
    assert_ok(nx_compress_decode(&c, turn, got, encoded + 1, count, false));
    nx_compress_keep(&c, turn, left, x, encoded + 1, count);
    if (c.kind == NEXAR_COMPRESS_TOP_K) {
        expect_top_k(want, x, count, c.k);
        same_bits(got, want, count, "top_k");
    }
    for (size_t i = 0; i < count; i++) { /* each element goes, or stays */
        bool stays = memcmp(&left[i], &x[i], 4) == 0;

        assert_true(stays || nx_bits_of_f32(left[i]) == 0);
        assert_true(nx_bits_of_f32(left[i]) == 0 || nx_bits_of_f32(got[i]) == 0);
        sent += !stays || (c.kind == NEXAR_COMPRESS_TOP_K && nx_bits_of_f32(x[i]) == 0 && c.k == count);
    }
    assert_true(sent <= c.k);
    assert_ok(nx_compress_decode(&c, turn, got, encoded + 1, count, true));
    free(encoded);
}

static void test_sparse_all_sizes(void **state)
{
    struct rng rng = {4};

    (void)state;
    for (int kind = NEXAR_COMPRESS_TOP_K; kind <= NEXAR_COMPRESS_RANDOM_K; kind++)
        for (size_t count = 0; count < MOST; count += count < 40 ? 1 : 211)
            for (int inputs = 0; inputs < INPUTS; inputs++) {
                const size_t ks[] = {count != 0, count / 10 + (count != 0), count / 2 + count % 2, count};

                for (int i = 0; i < 4; i++)
                    sparse_case((struct nx_compress){.kind = (nexar_compression_kind)kind, .k = ks[i]}, count,
                                (enum inputs)inputs, &rng);
            }
}

/* Each of random_k's elements is another one of its stretch; over many turns each comes about as often. */
static void test_random_k_is_fair(void **state)
{
    enum { COUNT = 50, K = 7, TURNS = 20000 };
    const struct nx_compress c = {.kind = NEXAR_COMPRESS_RANDOM_K, .k = K};
    float x[COUNT], values[K];
    unsigned hits[COUNT] = {0};

    (void)state;
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)i;
    for (uint64_t step = 0; step < TURNS; step++) {
        nx_compress_encode(&c, nx_compress_turn(9, step), values, x, COUNT);
        for (int j = 0; j < K; j++) {
            int at = (int)values[j];

            assert_in_range(at, j * COUNT / K, (j + 1) * COUNT / K - 1);
            hits[at]++;
        }
    }
    for (int i = 0; i < COUNT; i++) /* 1 of 7 or 8: six sigma are 300 */
        assert_in_range(hits[i], TURNS / 8 - 400, TURNS / 7 + 400);
    assert_true(nx_compress_turn(1, 2) != nx_compress_turn(2, 1));
    assert_true(nx_compress_turn(1, 2) != nx_compress_turn(1, 3));
}

/* ---- what no encoder makes ---- */

static void refuse(const struct nx_compress *c, const void *bytes, size_t count, const char *words)
{
    float out[16] = {0};

    for (int add = 0; add < 2; add++) {
        assert_status(nx_compress_decode(c, 0, out, bytes, count, add != 0), NEXAR_EPROTO);
        assert_non_null(strstr(nexar_last_error(), words));
    }
}

static void test_hostile_bytes_are_refused(void **state)
{
    static const struct {
        uint32_t index[3];
        const char *words;
    } lists[] = {
        {{0, 1, 10}, "index 10 as number 2 of 3, for a vector of 10 elements"},
        {{UINT32_MAX, 1, 2}, "index 4294967295 as number 0"},
        {{0x80000000, 0x80000001, 0x80000002}, "index 2147483648"},
        {{4, 4, 5}, "index 4 as number 1 of 3, for a vector of 10 elements, out of order"},
        {{5, 4, 6}, "out of order"},
    };
    static const float scales[] = {NAN, INFINITY, -1.0f, -0.0f, -INFINITY};
    struct nx_compress c = {.kind = NEXAR_COMPRESS_TOP_K, .k = 3};
    uint32_t words[16] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        memcpy(words, lists[i].index, sizeof(lists[i].index));
        refuse(&c, words, 10, lists[i].words);
    }
    for (int kind = NEXAR_COMPRESS_FLOAT8; kind <= NEXAR_COMPRESS_INT8; kind++)
        for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++) {
            c = (struct nx_compress){.kind = (nexar_compression_kind)kind, .block = 4};
            memset(words, 0, sizeof(words));
            memcpy(&words[1], &scales[i], 4);
            refuse(&c, words, 6, "as the scale of block 1");
        }
}

/* Any bytes at all are decoded or refused, and nothing else is touched. */
static void test_any_bytes(void **state)
{
    struct rng rng = {5};
    float out[33];

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct nx_compress c =
            round % 2 == 0 ? dense[round / 2 % DENSE] : (struct nx_compress){.kind = NEXAR_COMPRESS_TOP_K, .k = 5};
        size_t count = 5 + rng_below(&rng, 28), words = nx_compress_words(&c, count);
        uint32_t *bytes = malloc(4 * words);

        for (size_t i = 0; i < words; i++)
            bytes[i] = (uint32_t)(rng_next(&rng) >> rng_below(&rng, 64));
        memset(out, 0, sizeof(out));
        nx_compress_decode(&c, 0, out, bytes, count, round % 4 < 2);
        for (size_t i = count; i < 33; i++)
            assert_true(nx_bits_of_f32(out[i]) == 0);
        free(bytes);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float8),
        cmocka_unit_test(test_dense_all_tails),
        cmocka_unit_test(test_dense_same_bits_in_every_mode),
        cmocka_unit_test(test_what_travels),
        cmocka_unit_test(test_sparse_all_sizes),
        cmocka_unit_test(test_random_k_is_fair),
        cmocka_unit_test(test_hostile_bytes_are_refused),
        cmocka_unit_test(test_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
