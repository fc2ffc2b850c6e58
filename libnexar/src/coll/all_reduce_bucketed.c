/* coll/all_reduce_bucketed.c - the arrays of each type, end to end, cut into buckets: each is filled, all_reduced, and
 * emptied, while others are under way.
 *
 * Elements are bytes here; NX_WINDOW buckets are under way at once, and there is always one, if empty, so that ranks
 * that disagree meet.  Sums are those of the all_reduce that is chosen for a bucket.
 * Pure; see build.h. */
#include "coll/build.h"

/* The two lengths that a type's buckets have: a whole one, and the rest. */
enum { WHOLE, REST, LENGTHS };

struct bucketed {
    struct nx_sched *s;
    const struct nx_shape *shape;
    size_t bucket;                             /* bytes, a multiple of every type's */
    struct nx_sched reduce[NX_TYPES][LENGTHS]; /* of elements of the type */
    uint32_t tags[NX_TYPES][LENGTHS];
    size_t stride;              /* scratch of a bucket under way */
    int32_t emptied[NX_WINDOW]; /* the last step of what a slot had */
    uint32_t buckets;
    uint32_t tag;
};

static size_t length_of(const struct bucketed *b, int type, int which)
{
    return which == WHOLE ? b->bucket : b->shape->bytes[type] % b->bucket;
}

/* The all_reduces that are needed, once each, and how much scratch the greediest takes. */
static bool build_inner(struct bucketed *b)
{
    size_t most = 0, longest = 0;

    for (int type = 0; type < NX_TYPES; type++) {
        size_t size = nexar_dtype_size((nexar_dtype)type);

        for (int which = 0; which < LENGTHS && size != 0; which++) {
            struct nx_sched *reduce = &b->reduce[type][which];
            size_t length = length_of(b, type, which);
            struct nx_shape inner = {
                .rank = b->shape->rank, .n = b->shape->n, .in_place = true, .hosts = b->shape->hosts};

            if ((which == WHOLE && b->shape->bytes[type] < b->bucket) ||
                (which == REST && length == 0 && (type != 0 || b->shape->count != 0)))
                continue;
            inner.count = length / size;
            inner.segment = b->shape->inner_segment < size ? 1 : b->shape->inner_segment / size;
            b->shape->inner(reduce, &inner);
            if (nx_sched_finish(reduce) != NEXAR_OK) {
                b->s->failure = reduce->failure;
                return false;
            }
            b->tags[type][which] = nx_sched_tags(reduce);
            most = reduce->scratch * size > most ? reduce->scratch * size : most;
            longest = length > longest ? length : longest;
        }
    }
    b->stride = (longest + 63) / 64 * 64 + (most + 63) / 64 * 64;
    return true;
}

static void add_bucket(struct bucketed *b, int type, int which, size_t at)
{
    uint32_t slot = b->buckets % NX_WINDOW;
    size_t length = length_of(b, type, which);
    struct nx_slice list = {.buf = NX_BUF_RECV, .off = at, .count = length};
    struct nx_slice bucket = {.buf = NX_BUF_SCRATCH, .off = slot * b->stride, .count = length};
    size_t scratch = bucket.off + (length + 63) / 64 * 64;
    struct nx_nest nest = {.into = {NX_BUF_SCRATCH, NX_BUF_SCRATCH, NX_BUF_SCRATCH},
                           .offset = {bucket.off, bucket.off, scratch},
                           .scale = nexar_dtype_size((nexar_dtype)type),
                           .tag = b->tag,
                           .type = (uint8_t)type};
    int32_t last = nx_sched_copy(b->s, list, bucket, b->buckets < NX_WINDOW ? NX_NONE : b->emptied[slot], NX_NONE);

    last = nx_sched_nest(b->s, &b->reduce[type][which], &nest, last);
    b->emptied[slot] = nx_sched_copy(b->s, bucket, list, last, NX_NONE);
    b->tag += b->tags[type][which];
    b->buckets++;
}

void nx_build_all_reduce_bucketed(struct nx_sched *s, const struct nx_shape *shape)
{
    struct bucketed b = {.s = s, .shape = shape, .bucket = (shape->segment + 63) / 64 * 64};
    size_t at = 0;

    if (build_inner(&b)) {
        for (int type = 0; type < NX_TYPES; type++) {
            size_t end = at + shape->bytes[type];

            for (; end - at >= b.bucket && s->failure == NULL; at += b.bucket)
                add_bucket(&b, type, WHOLE, at);
            if (at != end && s->failure == NULL)
                add_bucket(&b, type, REST, at);
            at = end;
        }
        if (shape->count == 0)
            add_bucket(&b, 0, REST, 0);
    }
    for (int type = 0; type < NX_TYPES; type++)
        for (int which = 0; which < LENGTHS; which++)
            nx_sched_fini(&b.reduce[type][which]);
}
