/* algorithms.c - the orders of sums written once more, as simply as can be, and data that tells them apart. */
#include "algorithms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static float by_rank(const struct nx_shape *shape, size_t at, const float *x)
{
    float sum = x[0];

    (void)at;
    for (uint32_t r = 1; r < shape->n; r++)
        sum += x[r];
    return sum;
}

/* Chunk i of a lap begins at rank i and goes round. */
static float round_the_ring(const struct nx_shape *shape, size_t at, const float *x)
{
    size_t width = shape->segment * shape->n;
    size_t lap = at / width;
    size_t length = shape->count - lap * width < width ? shape->count - lap * width : width;
    uint32_t chunk = 0;
    float sum;

    for (struct nx_range c = nx_chunk((struct nx_range){0, length}, shape->n, 0); at - lap * width >= c.off + c.count;)
        c = nx_chunk((struct nx_range){0, length}, shape->n, ++chunk);
    sum = x[chunk];
    for (uint32_t r = 1; r < shape->n; r++)
        sum += x[(chunk + r) % shape->n];
    return sum;
}

/* Idle ranks give to their neighbours; what the workers then have. */
static uint32_t fold(uint32_t n, const float *x, float *out)
{
    uint32_t workers = 1;
    uint32_t idle;

    while (2 * workers <= n)
        workers *= 2;
    idle = n - workers;
    for (uint32_t w = 0; w < workers; w++)
        out[w] = w < idle ? x[2 * w] + x[2 * w + 1] : x[w + idle];
    return workers;
}

static float tree_near_first(const struct nx_shape *shape, size_t at, const float *x)
{
    float v[MOST_RANKS];
    uint32_t workers = fold(shape->n, x, v);

    (void)at;
    for (uint32_t mask = 1; mask < workers; mask *= 2)
        for (uint32_t w = 0; w < workers; w += 2 * mask)
            v[w] += v[w + mask];
    return v[0];
}

static float tree_far_first(const struct nx_shape *shape, size_t at, const float *x)
{
    float v[MOST_RANKS];
    uint32_t workers = fold(shape->n, x, v);

    (void)at;
    for (uint32_t mask = workers / 2; mask > 0; mask /= 2)
        for (uint32_t w = 0; w < mask; w++)
            v[w] += v[w + mask];
    return v[0];
}

const struct algorithm algorithms[ALGORITHMS] = {
    {"flat", nx_build_all_reduce_flat, false, by_rank},        {"direct", nx_build_all_reduce_direct, true, by_rank},
    {"rd", nx_build_all_reduce_rd, false, tree_near_first},    {"ring", nx_build_all_reduce_ring, true, round_the_ring},
    {"rsag", nx_build_all_reduce_rsag, false, tree_far_first}, {"bruck", nx_build_all_reduce_bruck, false, by_rank},
    {"cube", nx_build_all_reduce_cube, false, by_rank},        {"hosts", nx_build_all_reduce_hosts, true, by_rank},
    {"relay", nx_build_all_reduce_relay, true, by_rank},       {"binomial", nx_build_broadcast_binomial, false, NULL},
    {"scatter", nx_build_broadcast_scatter, true, NULL},
};

const struct kind kinds[KINDS] = {
    {NEXAR_FLOAT32, NEXAR_SUM},
    {NEXAR_INT64, NEXAR_SUM},
    {NEXAR_INT32, NEXAR_PROD},
    {NEXAR_FLOAT64, NEXAR_MAX},
};

const char *case_text(const char *name, const struct nx_shape *shape)
{
    static char text[128];

    snprintf(text, sizeof(text), "%s: n %u root %u count %zu segment %zu%s", name, shape->n, shape->root, shape->count,
             shape->segment, shape->in_place ? " in place" : "");
    return text;
}

void fill_elements(struct rng *rng, unsigned char *p, size_t count, nexar_dtype dtype)
{
    static const float scales[] = {1e-3f, 1.0f, 1e3f, 1e7f};

    for (size_t i = 0; i < count; i++) {
        uint64_t bits = rng_next(rng);
        float f = ((float)(bits >> 40) - 8388608.0f) * 1e-6f * scales[bits & 3];

        if (dtype == NEXAR_FLOAT32)
            memcpy(p + i * 4, &f, 4);
        else
            memcpy(p + i * nexar_dtype_size(dtype), &bits, nexar_dtype_size(dtype));
    }
}

/* What every rank must have: exactly, since all but sums of floats are associative, and for those the order is
 * known. */
void expect_result(const struct algorithm *a, const struct nx_shape *shape, struct kind kind, unsigned char *const *in,
                   unsigned char *want)
{
    size_t size = nexar_dtype_size(kind.dtype);
    float x[MOST_RANKS];

    if (shape->count == 0)
        return;
    if (kind.dtype != NEXAR_FLOAT32) {
        memcpy(want, in[0], shape->count * size);
        for (uint32_t r = 1; r < shape->n; r++)
            nx_reduce_kernel(kind.op, kind.dtype)(want, in[r], shape->count);
        return;
    }
    for (size_t i = 0; i < shape->count; i++) {
        float sum;

        for (uint32_t r = 0; r < shape->n; r++)
            memcpy(&x[r], in[r] + i * size, size);
        sum = a->order(shape, i, x);
        memcpy(want + i * size, &sum, size);
    }
}

void compare_result(const char *name, const struct nx_shape *shape, const void *got, const void *want, size_t nbytes)
{
    if (nbytes != 0 && memcmp(got, want, nbytes) != 0)
        fail_msg("%s: wrong result", case_text(name, shape));
}
