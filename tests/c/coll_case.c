/* coll_case.c - inputs and results of every collective, from their definitions alone. */
#include "coll_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool coll_is_unequal(enum nx_coll coll)
{
    return coll >= NX_COLL_ALL_GATHER_V;
}

bool coll_has_root(enum nx_coll coll)
{
    return coll == NX_COLL_BROADCAST || coll == NX_COLL_REDUCE || coll == NX_COLL_GATHER || coll == NX_COLL_SCATTER ||
           coll == NX_COLL_GATHER_V || coll == NX_COLL_SCATTER_V;
}

bool coll_can_be_in_place(enum nx_coll coll)
{
    return coll != NX_COLL_BROADCAST && coll != NX_COLL_ALL_TO_ALL && coll != NX_COLL_ALL_TO_ALL_V;
}

/* The same with blocks of equal length. */
static enum nx_coll plain(enum nx_coll coll)
{
    switch ((int)coll) {
    case NX_COLL_ALL_GATHER_V:
        return NX_COLL_ALL_GATHER;
    case NX_COLL_REDUCE_SCATTER_V:
        return NX_COLL_REDUCE_SCATTER;
    case NX_COLL_ALL_TO_ALL_V:
        return NX_COLL_ALL_TO_ALL;
    case NX_COLL_GATHER_V:
        return NX_COLL_GATHER;
    case NX_COLL_SCATTER_V:
        return NX_COLL_SCATTER;
    default:
        return coll;
    }
}

/* --- Where blocks lie --------------------------------------------------------------------------------------------- */

/* Lays blocks of these lengths out: one after the other, or in any order with gaps. */
static void lay_out(struct nx_range *blocks, uint32_t n, bool gaps, struct rng *rng)
{
    uint32_t order[MOST_RANKS];
    size_t at = 0;

    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n; gaps && i > 1; i--) {
        size_t k = rng_below(rng, i);
        uint32_t swap = order[k];

        order[k] = order[i - 1];
        order[i - 1] = swap;
    }
    for (uint32_t i = 0; i < n; i++) {
        at += gaps ? rng_below(rng, 3) : 0;
        blocks[order[i]].off = at;
        at += blocks[order[i]].count;
    }
}

/* Lengths that all ranks agree about, a third of them 0. */
static void make_unequal(struct coll_case *c, struct nx_shape shape, struct rng *rng)
{
    enum nx_coll coll = plain(c->algorithm->coll);
    bool gaps = coll != NX_COLL_REDUCE_SCATTER;

    for (uint32_t i = 0; i < shape.n; i++)
        for (uint32_t k = 0; k < shape.n; k++) {
            size_t count = rng_below(rng, 3) == 0 ? 0 : rng_below(rng, 2 * shape.count + 1);

            if (coll == NX_COLL_ALL_TO_ALL) {
                c->send_blocks[i][k].count = c->recv_blocks[k][i].count = count;
            } else { /* block k has the same length for everybody */
                count = i == 0 ? count : c->send_blocks[0][k].count;
                c->send_blocks[i][k].count = c->recv_blocks[i][k].count = count;
            }
        }
    for (uint32_t r = 0; r < shape.n; r++) {
        struct nx_shape *s = &c->shapes[r];

        lay_out(c->send_blocks[r], shape.n, gaps, rng);
        lay_out(c->recv_blocks[r], shape.n, gaps, rng);
        if (coll == NX_COLL_ALL_GATHER || coll == NX_COLL_ALL_TO_ALL || (coll == NX_COLL_GATHER && r == shape.root))
            s->recv_blocks = c->recv_blocks[r];
        if (coll == NX_COLL_REDUCE_SCATTER || coll == NX_COLL_ALL_TO_ALL ||
            (coll == NX_COLL_SCATTER && r == shape.root))
            s->send_blocks = c->send_blocks[r];
        s->count = c->send_blocks[0][r].count;
    }
}

/* Elements up to the end of the last block. */
static size_t extent(struct nx_range (*block)(const struct nx_shape *shape, uint32_t rank),
                     const struct nx_shape *shape)
{
    size_t end = 0;

    for (uint32_t i = 0; i < shape->n; i++) {
        struct nx_range b = block(shape, i);

        end = b.off + b.count > end ? b.off + b.count : end;
    }
    return end;
}

static struct nx_check_sizes sizes_of(enum nx_coll coll, const struct nx_shape *shape)
{
    bool is_root = shape->rank == shape->root;
    struct nx_check_sizes sizes = {.send = shape->count, .recv = shape->count, .in_place = shape->in_place};

    switch ((int)coll) {
    case NX_COLL_BROADCAST:
        sizes.in_place = true;
        break;
    case NX_COLL_REDUCE:
        sizes.recv = is_root ? shape->count : 0;
        break;
    case NX_COLL_ALL_GATHER:
        sizes.recv = extent(nx_recv_block, shape);
        break;
    case NX_COLL_GATHER:
        sizes.recv = is_root ? extent(nx_recv_block, shape) : 0;
        break;
    case NX_COLL_REDUCE_SCATTER:
        sizes.send = extent(nx_send_block, shape);
        break;
    case NX_COLL_SCATTER:
        sizes.send = is_root ? extent(nx_send_block, shape) : 0;
        break;
    case NX_COLL_ALL_TO_ALL:
        sizes.send = extent(nx_send_block, shape);
        sizes.recv = extent(nx_recv_block, shape);
        break;
    }
    if (sizes.in_place)
        sizes.send = sizes.recv = sizes.send > sizes.recv ? sizes.send : sizes.recv;
    return sizes;
}

/* --- Contents ----------------------------------------------------------------------------------------------------- */

/* Element i of what rank `from` has for rank `to`. */
static const unsigned char *input(const struct coll_case *c, uint32_t from, uint32_t to, size_t i)
{
    const struct nx_shape *shape = &c->shapes[from];

    switch ((int)plain(c->algorithm->coll)) {
    case NX_COLL_ALL_GATHER:
    case NX_COLL_GATHER:
        i += shape->in_place ? nx_recv_block(shape, from).off : 0;
        break;
    case NX_COLL_REDUCE_SCATTER:
    case NX_COLL_ALL_TO_ALL:
    case NX_COLL_SCATTER:
        i += nx_send_block(shape, to).off;
        break;
    }
    return c->send[from] + i * c->size;
}

/* Element i of the sum of what ranks 0 .. n - 1 have for `rank`. */
static void add_up(const struct coll_case *c, uint32_t n, uint32_t rank, size_t i, unsigned char *out)
{
    float x[MOST_RANKS];
    float sum;

    memcpy(out, c->sim.identity, c->size);
    if (n == 0)
        return;
    if (c->kind.dtype == NEXAR_FLOAT32) {
        for (uint32_t r = 0; r < n; r++)
            memcpy(&x[r], input(c, r, rank, i), c->size);
        sum = c->algorithm->order(n, c->shapes[0].root, rank, x);
        memcpy(out, &sum, c->size);
        return;
    }
    memcpy(out, input(c, 0, rank, i), c->size);
    for (uint32_t r = 1; r < n; r++)
        nx_reduce_kernel(c->kind.op, c->kind.dtype)(out, input(c, r, rank, i), 1);
}

static void want_block(struct coll_case *c, uint32_t rank, uint32_t from, struct nx_range at)
{
    for (size_t i = 0; i < at.count; i++)
        memcpy(c->want[rank] + (at.off + i) * c->size, input(c, from, rank, i), c->size);
}

static void want_sum(struct coll_case *c, uint32_t rank, uint32_t n, struct nx_range at)
{
    for (size_t i = 0; i < at.count; i++)
        add_up(c, n, rank, i, c->want[rank] + (at.off + i) * c->size);
}

/* What RECV is to hold on a rank; it holds what it does before the call now. */
static void make_want(struct coll_case *c, uint32_t rank)
{
    const struct nx_shape *shape = &c->shapes[rank];
    enum nx_coll coll = plain(c->algorithm->coll);
    struct nx_range own = nx_whole(shape);

    switch ((int)coll) {
    case NX_COLL_BROADCAST:
        want_block(c, rank, shape->root, own);
        break;
    case NX_COLL_REDUCE:
        if (rank == shape->root)
            want_sum(c, rank, shape->n, own);
        break;
    case NX_COLL_REDUCE_SCATTER:
        own.off = shape->in_place ? nx_send_block(shape, rank).off : 0;
        want_sum(c, rank, shape->n, own);
        break;
    case NX_COLL_SCAN:
        want_sum(c, rank, rank + 1, own);
        break;
    case NX_COLL_EXCLUSIVE_SCAN:
        want_sum(c, rank, rank, own);
        break;
    case NX_COLL_SCATTER:
        if (!shape->in_place)
            want_block(c, rank, shape->root, own);
        break;
    default: /* the gathers, all_to_all */
        for (uint32_t i = 0; i < shape->n && (coll != NX_COLL_GATHER || rank == shape->root); i++)
            want_block(c, rank, i, nx_recv_block(shape, i));
    }
}

static unsigned char *copy_of(const unsigned char *bytes, size_t n)
{
    unsigned char *copy = malloc(n + 1);

    assert_non_null(copy);
    memcpy(copy, bytes, n);
    return copy;
}

/* --- The case ----------------------------------------------------------------------------------------------------- */

void coll_case_init(struct coll_case *c, const struct coll_algorithm *algorithm, struct nx_shape shape,
                    enum coll_in_place in_place, struct kind kind, struct rng *rng)
{
    struct nx_check_sizes sizes[MOST_RANKS];

    *c = (struct coll_case){.algorithm = algorithm, .kind = kind, .size = nexar_dtype_size(kind.dtype)};
    snprintf(c->text, sizeof(c->text), "%s:%s: n %u root %u count %zu segment %zu%s", nx_coll_name(algorithm->coll),
             algorithm->name, shape.n, shape.root, shape.count, shape.segment,
             in_place == NOT_IN_PLACE ? ""
             : in_place == IN_PLACE   ? " in place"
                                      : " in place on some");
    for (uint32_t r = 0; r < shape.n; r++) {
        shape.rank = r;
        shape.in_place = in_place == IN_PLACE || (in_place == SOME_IN_PLACE && rng_below(rng, 2) == 0);
        if (!coll_can_be_in_place(algorithm->coll) || (coll_has_root(algorithm->coll) && r != shape.root))
            shape.in_place = false;
        c->shapes[r] = shape;
    }
    if (coll_is_unequal(algorithm->coll))
        make_unequal(c, shape, rng);
    for (uint32_t r = 0; r < shape.n; r++)
        sizes[r] = sizes_of(plain(algorithm->coll), &c->shapes[r]);
    sim_init_each(&c->sim, algorithm->build, c->shapes, sizes, c->size);
    memset(c->sim.identity, 0x3c, sizeof(c->sim.identity));
    sim_finish(&c->sim);
    for (uint32_t r = 0; r < shape.n; r++) {
        unsigned char **bufs = c->sim.bufs[r];

        fill_elements(rng, bufs[NX_BUF_SEND], sizes[r].send, kind.dtype);
        c->send[r] = copy_of(bufs[NX_BUF_SEND], sizes[r].send * c->size);
        c->recv[r] = copy_of(bufs[NX_BUF_RECV], sizes[r].recv * c->size);
        c->want[r] = copy_of(bufs[NX_BUF_RECV], sizes[r].recv * c->size);
    }
    for (uint32_t r = 0; r < shape.n; r++)
        make_want(c, r);
}

void coll_case_fini(struct coll_case *c)
{
    for (uint32_t r = 0; r < c->sim.n; r++) {
        free(c->send[r]);
        free(c->recv[r]);
        free(c->want[r]);
    }
    sim_fini(&c->sim);
}

const char *coll_case_try(struct coll_case *c, enum sim_sends sends, struct rng *rng)
{
    nx_reduce_fn fn = c->algorithm->order == NULL ? NULL : nx_reduce_kernel(c->kind.op, c->kind.dtype);

    for (uint32_t r = 0; r < c->sim.n; r++) {
        memcpy(c->sim.bufs[r][NX_BUF_SEND], c->send[r], c->sim.sizes[r].send * c->size);
        memcpy(c->sim.bufs[r][NX_BUF_RECV], c->recv[r], c->sim.sizes[r].recv * c->size);
        memset(c->sim.bufs[r][NX_BUF_SCRATCH], (int)rng_below(rng, 256), c->sim.scheds[r].scratch * c->size);
    }
    if (!sim_run(&c->sim, fn, rng, sends, c->sim.n, NULL))
        return "does not end";
    for (uint32_t r = 0; r < c->sim.n; r++) {
        if (memcmp(c->sim.bufs[r][NX_BUF_RECV], c->want[r], c->sim.sizes[r].recv * c->size) != 0)
            return "a wrong result";
        if (!c->sim.sizes[r].in_place &&
            memcmp(c->sim.bufs[r][NX_BUF_SEND], c->send[r], c->sim.sizes[r].send * c->size) != 0)
            return "another input afterwards";
    }
    return NULL;
}

void coll_case_run(struct coll_case *c, enum sim_sends sends, struct rng *rng)
{
    const char *wrong = coll_case_try(c, sends, rng);

    if (wrong != NULL)
        fail_msg("%s: %s", c->text, wrong);
}
