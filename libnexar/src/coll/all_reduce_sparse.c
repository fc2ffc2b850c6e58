/* coll/all_reduce_sparse.c - an all_reduce of k elements of each rank.
 *
 * Those that every rank chooses by itself (top_k) travel with their indices from everybody to everybody, in one round;
 * each rank sends (n - 1) times its k.  Receives are some peers' at once, in the order of ranks, so that memory is
 * bounded.  Those that all choose alike (random_k) are a short vector, of which there is an ordinary all_reduce.  By
 * rank, if that one is.
 * Pure; see build.h. */
#include "coll/build.h"

/* What is sent, encoded; returns the step. */
static int32_t encode(struct nx_sched *s, const struct nx_shape *shape, struct nx_slice encoded)
{
    struct nx_slice all = nx_slice(NX_BUF_SEND, nx_whole(shape));
    int32_t last = NX_NONE;

    if (shape->compress.feedback) {
        all = nx_slice(NX_BUF_SCRATCH, (struct nx_range){.off = NX_SPARSE_ALL, .count = shape->count});
        last = nx_sched_copy(s, nx_slice(NX_BUF_SEND, nx_whole(shape)), all, NX_NONE, NX_NONE);
        last = nx_sched_reduce(s, nx_slice(NX_BUF_RESIDUAL, nx_whole(shape)), all, last, NX_NONE);
    }
    return nx_sched_encode(s, all, encoded, last, NX_NONE);
}

static void top_k(struct nx_sched *s, const struct nx_shape *shape, struct nx_slice own)
{
    uint32_t n = shape->n;
    struct nx_slice sum = nx_slice(NX_BUF_RECV, nx_whole(shape));
    int32_t encoded = encode(s, shape, own);
    int32_t last = nx_sched_fill(s, sum, encoded, NX_NONE); /* in place, what was to be sent lay here */
    int32_t added[NX_PEERS_AT_ONCE];
    uint32_t peers = 0;

    for (uint32_t k = 1; k < n; k++)
        nx_sched_send(s, nx_ring_up(shape->rank, n, k), 0, own, encoded, NX_NONE);
    for (uint32_t i = 0; i < n; i++) {
        struct nx_slice from = own;
        int32_t received = NX_NONE;

        if (i != shape->rank) {
            int32_t free = peers < NX_PEERS_AT_ONCE ? NX_NONE : added[peers % NX_PEERS_AT_ONCE];

            from.off = own.off + (1 + peers % NX_PEERS_AT_ONCE) * own.count;
            received = nx_sched_recv(s, i, 0, from, free, NX_NONE);
        }
        last = nx_sched_decode(s, from, i, sum, true, last, received);
        if (i != shape->rank)
            added[peers++ % NX_PEERS_AT_ONCE] = last;
    }
}

static void random_k(struct nx_sched *s, const struct nx_shape *shape, struct nx_slice own)
{
    struct nx_shape inner = {
        .rank = shape->rank, .n = shape->n, .in_place = true, .count = own.count, .hosts = shape->hosts};
    struct nx_nest nest = {.into = {NX_BUF_SCRATCH, NX_BUF_SCRATCH, NX_BUF_SCRATCH},
                           .offset = {own.off, own.off, own.off + own.count},
                           .scale = 1,
                           .type = NEXAR_FLOAT32};
    struct nx_sched reduce = {0};
    int32_t last = encode(s, shape, own);

    inner.segment = shape->inner_segment == 0 ? 1 : shape->inner_segment / sizeof(float);
    shape->inner(&reduce, &inner);
    if (nx_sched_finish(&reduce) == NEXAR_OK)
        last = nx_sched_nest(s, &reduce, &nest, last);
    else
        s->failure = reduce.failure;
    nx_sched_fini(&reduce);
    nx_sched_decode(s, own, shape->rank, nx_slice(NX_BUF_RECV, nx_whole(shape)), false, last, NX_NONE);
}

void nx_build_all_reduce_sparse(struct nx_sched *s, const struct nx_shape *shape)
{
    struct nx_slice own = {.buf = NX_BUF_SCRATCH,
                           .off = nx_sparse_encoded(shape),
                           .count = nx_compress_words(&shape->compress, shape->count)};

    if (shape->compress.kind == NEXAR_COMPRESS_TOP_K)
        top_k(s, shape, own);
    else
        random_k(s, shape, own);
}
