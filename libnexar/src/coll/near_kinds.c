/* coll/near_kinds.c - what each collective does with a chunk in shared memory: who writes what, who reads whose.
 *
 * Owner: as near_job.c, which sees to it that all that is read here is there and stays.  All sums are in the order of
 * ranks: ((x0 + x1) + x2) + ... for every size. */
#include "coll/near.h"

#include <string.h>

enum {
    FLAT = 256 << 10,  /* bytes up to which two ranks sum up everything each; more of them soon have less of it */
    PIECE = 512 << 10, /* of a chunk in which there is nothing to sum up; small, so that it stays in the cache */
    BLOCK = 4096,      /* of a sum, so that it stays in the nearest cache */
};

static bool by_root(const struct nx_near_job *job)
{
    return job->coll == NX_COLL_BROADCAST || job->coll == NX_COLL_SCATTER;
}

static bool to_root(const struct nx_near_job *job)
{
    return job->coll == NX_COLL_REDUCE || job->coll == NX_COLL_GATHER;
}

static bool is_scan(const struct nx_near_job *job)
{
    return job->coll == NX_COLL_SCAN || job->coll == NX_COLL_EXCLUSIVE_SCAN;
}

/* A chunk has a block for each rank. */
static bool has_blocks(const struct nx_near_job *job)
{
    return job->coll == NX_COLL_REDUCE_SCATTER || job->coll == NX_COLL_ALL_TO_ALL || job->coll == NX_COLL_SCATTER;
}

static bool is_root(const struct nx_near_job *job)
{
    return job->shape->rank == job->shape->root;
}

void nx_build_near(struct nx_sched *s, const struct nx_shape *shape)
{
    (void)s, (void)shape;
}

void nx_near_cut(struct nx_near_job *job)
{
    size_t element = job->args->element, nbytes = job->shape->count * element, room = job->near->slot, pieces;
    size_t blocks = has_blocks(job) ? job->shape->n : 1, others = job->shape->n - 1;

    job->c = job->q = job->phase = 0;
    job->nbytes = 0;
    job->vain = job->published = job->direct = false;
    job->lent = 0;
    job->done = 0;
    job->since = 0;
    job->sliced = (job->coll == NX_COLL_ALL_REDUCE || job->coll == NX_COLL_REDUCE) && nbytes > FLAT / others / others;
    job->inside = nbytes <= NX_NEAR_INLINE / blocks;
    if (!job->sliced && room > PIECE)
        room = PIECE;
    job->per = (room / blocks & ~(size_t)63) / element;
    pieces = job->shape->count <= job->per ? 1 : (job->shape->count + job->per - 1) / job->per;
    if (!job->sliced && pieces % 2 == 0)
        pieces++;
    job->per = pieces == 1 ? job->shape->count : (job->shape->count + pieces - 1) / pieces;
    job->chunks = (uint32_t)(job->sliced ? 2 * pieces + 1 : pieces);
    nx_near_lend(job);
}

bool nx_near_meets(const struct nx_near_job *job)
{
    return job->direct || (!job->sliced && !by_root(job) && !is_scan(job) && (!to_root(job) || is_root(job)));
}

/* ---- places ---- */

/* The elements of a vector, or block, that the chunk has; of a sum in slices two chunks have them, the last none. */
static struct nx_range part(const struct nx_near_job *job)
{
    size_t piece = job->sliced ? job->c / 2 : job->c;

    return nx_piece((struct nx_range){.count = job->shape->count}, piece * job->per, job->per);
}

static uint8_t *data_at(const struct nx_near_job *job, uint32_t rank, uint32_t c)
{
    uint32_t parity = nx_near_parity(job->k, c);

    if (job->inside)
        return job->near->rank[rank].line[parity].data;
    return job->near->slots + (rank * 2 + parity) * job->near->slot;
}

static uint8_t *data_of(const struct nx_near_job *job, uint32_t rank)
{
    return data_at(job, rank, job->c);
}

/* Block `i` of what has one for each rank, from element `off` of the block on. */
static uint8_t *block_of(const struct nx_near_job *job, const void *all, uint32_t i, size_t off)
{
    return (uint8_t *)(uintptr_t)all + (i * job->shape->count + off) * job->args->element;
}

/* This rank's vector, or block. */
static const uint8_t *own(const struct nx_near_job *job, size_t off)
{
    bool among = job->shape->in_place && (job->coll == NX_COLL_ALL_GATHER || job->coll == NX_COLL_GATHER);

    return block_of(job, job->args->send, among ? job->shape->rank : 0, off);
}

struct nx_range nx_near_slice(const struct nx_near_job *job, uint32_t rank)
{
    struct nx_range p = part(job);
    size_t line = 64 / job->args->element, lines = (p.count + line - 1) / line;
    struct nx_range in_lines = nx_chunk((struct nx_range){.count = lines}, job->shape->n, rank);

    return nx_piece((struct nx_range){.count = p.count}, in_lines.off * line, in_lines.count * line);
}

static void copy(void *to, const void *from, size_t nbytes)
{
    if (nbytes != 0)
        memcpy(to, from, nbytes);
}

/* ---- sums ---- */

struct sum {
    const struct nx_near_job *job;
    uint32_t c;           /* the chunk that has what is summed up */
    size_t off;           /* bytes in it */
    const uint8_t *own;   /* this rank's; may be `to` */
    uint32_t ranks;       /* of the first so many */
    uint8_t *to, *second; /* where the sum goes; `second` may be NULL */
};

static const uint8_t *term(const struct sum *s, uint32_t rank, size_t at)
{
    const struct nx_near_job *job = s->job;

    if (rank == job->shape->rank)
        return s->own + at;
    if ((job->lent >> rank & 1) != 0)
        return job->near->loan[rank].send + part(job).off * job->args->element + s->off + at;
    return data_at(job, rank, s->c) + s->off + at;
}

static void sum_block(const struct sum *s, size_t at, size_t nbytes)
{
    nx_reduce_fn fn = s->job->args->fn;
    size_t count = nbytes / s->job->args->element;
    uint32_t self = s->job->shape->rank;
    uint8_t here[BLOCK], *to = s->to + at, *acc = to;

    if (s->ranks == 2 && self < 2) { /* x + y has the bits of y + x */
        if (to != s->own + at)
            memcpy(to, s->own + at, nbytes);
        fn(to, term(s, 1 - self, at), count);
    } else {
        if (to == s->own + at && self != 0)
            acc = here; /* ours is still needed */
        if (acc != term(s, 0, at))
            memcpy(acc, term(s, 0, at), nbytes);
        for (uint32_t i = 1; i < s->ranks; i++)
            fn(acc, term(s, i, at), count);
        if (acc != to)
            memcpy(to, acc, nbytes);
    }
    if (s->second != NULL)
        memcpy(s->second + at, to, nbytes);
}

static void sum_up(const struct sum *s, size_t count)
{
    size_t nbytes = count * s->job->args->element;

    for (size_t at = 0; at < nbytes; at += BLOCK)
        sum_block(s, at, nbytes - at < BLOCK ? nbytes - at : BLOCK);
}

/* The sum of our slice of the chunk before: to our result, if there is one, and to the others. */
static void sum_slice(const struct nx_near_job *job)
{
    struct nx_range slice = nx_near_slice(job, job->shape->rank), p = part(job);
    size_t element = job->args->element;
    uint8_t *there = data_of(job, job->shape->rank) + slice.off * element;
    bool ours = job->coll == NX_COLL_ALL_REDUCE || is_root(job);
    uint8_t *result = ours ? block_of(job, job->args->recv, 0, p.off + slice.off) : there;
    struct sum s = {.job = job,
                    .c = job->c - 1,
                    .off = slice.off * element,
                    .own = own(job, p.off + slice.off),
                    .ranks = job->shape->n,
                    .to = result,
                    .second = job->coll == NX_COLL_ALL_REDUCE ? there : NULL};

    sum_up(&s, slice.count);
}

/* All but our own slice. */
static void give_slices(const struct nx_near_job *job)
{
    struct nx_range slice = nx_near_slice(job, job->shape->rank), p = part(job);
    size_t element = job->args->element, end = slice.off + slice.count;
    uint8_t *to = data_of(job, job->shape->rank);

    copy(to, own(job, p.off), slice.off * element);
    copy(to + end * element, own(job, p.off + end), (p.count - end) * element);
}

static void take_slices(const struct nx_near_job *job)
{
    size_t element = job->args->element;
    struct nx_range p = part(job);

    for (uint32_t i = 1; i < job->shape->n; i++) {
        uint32_t rank = nx_ring_up(job->shape->rank, job->shape->n, i);
        struct nx_range slice = nx_near_slice(job, rank);

        copy(block_of(job, job->args->recv, 0, p.off + slice.off), data_of(job, rank) + slice.off * element,
             slice.count * element);
    }
}

/* ---- writing ---- */

bool nx_near_writes(const struct nx_near_job *job)
{
    return !by_root(job) || is_root(job);
}

static void write_blocks(const struct nx_near_job *job)
{
    uint8_t *to = data_of(job, job->shape->rank);
    struct nx_range p = part(job);
    size_t element = job->args->element;

    for (uint32_t i = 1; i < job->shape->n; i++) {
        uint32_t rank = nx_ring_up(job->shape->rank, job->shape->n, i);

        copy(to + rank * job->per * element, block_of(job, job->args->send, rank, p.off), p.count * element);
    }
}

size_t nx_near_write(const struct nx_near_job *job)
{
    struct nx_range p = part(job);
    size_t element = job->args->element, nbytes = p.count * element;
    size_t slice = job->sliced ? nx_near_slice(job, job->shape->rank).count * element : 0;

    if (!nx_near_writes(job) || nbytes == 0)
        return 0;
    if (job->sliced && job->c % 2 == 1) {
        sum_slice(job);
        return slice;
    }
    if (job->lends)
        return 0; /* the others read it where it is */
    if (job->sliced) {
        give_slices(job);
        return nbytes - slice;
    }
    if (has_blocks(job)) {
        write_blocks(job);
        return (job->shape->n - 1) * nbytes;
    }
    if (to_root(job) && is_root(job))
        return 0;
    copy(data_of(job, job->shape->rank),
         job->coll == NX_COLL_BROADCAST ? block_of(job, job->args->recv, 0, p.off) : own(job, p.off), nbytes);
    return nbytes;
}

/* ---- reading ---- */

bool nx_near_needs(const struct nx_near_job *job, uint32_t rank)
{
    bool last = job->c == job->chunks - 1;

    if (job->sliced)
        return !last && (job->coll == NX_COLL_ALL_REDUCE || job->c % 2 == 0 || is_root(job));
    if (by_root(job))
        return rank == job->shape->root;
    if (to_root(job))
        return is_root(job);
    return !is_scan(job) || rank < job->shape->rank;
}

/* The block of ours that each of the others, or the root alone, has written. */
static void take_blocks(const struct nx_near_job *job)
{
    size_t element = job->args->element;
    uint32_t self = job->shape->rank;
    struct nx_range p = part(job);
    size_t at = self * job->per * element, nbytes = p.count * element;

    if (job->coll == NX_COLL_SCATTER && !is_root(job)) {
        copy(block_of(job, job->args->recv, 0, p.off), data_of(job, job->shape->root) + at, nbytes);
        return;
    }
    if (job->coll == NX_COLL_SCATTER) {
        if (!job->shape->in_place)
            copy(block_of(job, job->args->recv, 0, p.off), block_of(job, job->args->send, self, p.off), nbytes);
        return;
    }
    copy(block_of(job, job->args->recv, self, p.off), block_of(job, job->args->send, self, p.off), nbytes);
    for (uint32_t i = 1; i < job->shape->n; i++) {
        uint32_t rank = nx_ring_up(self, job->shape->n, i);

        copy(block_of(job, job->args->recv, rank, p.off), data_of(job, rank) + at, nbytes);
    }
}

static void sum_blocks(const struct nx_near_job *job)
{
    uint32_t self = job->shape->rank;
    struct nx_range p = part(job);
    struct sum s = {.job = job,
                    .c = job->c,
                    .off = self * job->per * job->args->element,
                    .own = block_of(job, job->args->send, self, p.off),
                    .ranks = job->shape->n,
                    .to = block_of(job, job->args->recv, job->shape->in_place ? self : 0, p.off)};

    sum_up(&s, p.count);
}

static void gather(const struct nx_near_job *job)
{
    uint32_t self = job->shape->rank;
    struct nx_range p = part(job);
    size_t nbytes = p.count * job->args->element;

    if (!job->shape->in_place)
        copy(block_of(job, job->args->recv, self, p.off), own(job, p.off), nbytes);
    for (uint32_t i = 1; i < job->shape->n; i++) {
        uint32_t rank = nx_ring_up(self, job->shape->n, i);

        copy(block_of(job, job->args->recv, rank, p.off), data_of(job, rank), nbytes);
    }
}

/* Of all ranks, or of those up to us. */
static void sum_vectors(const struct nx_near_job *job)
{
    uint32_t self = job->shape->rank;
    struct nx_range p = part(job);
    struct sum s = {.job = job,
                    .c = job->c,
                    .own = own(job, p.off),
                    .ranks = !is_scan(job)               ? job->shape->n
                             : job->coll == NX_COLL_SCAN ? self + 1
                                                         : self,
                    .to = block_of(job, job->args->recv, 0, p.off)};

    if (s.ranks != 0) {
        sum_up(&s, p.count);
        return;
    }
    for (size_t i = 0; i < p.count; i++)
        memcpy(s.to + i * job->args->element, job->args->identity, job->args->element);
}

void nx_near_read(const struct nx_near_job *job)
{
    struct nx_range p = part(job);

    if (p.count == 0 || (to_root(job) && !is_root(job)))
        return;
    if (job->sliced) {
        if (job->c % 2 == 1 && !job->direct)
            take_slices(job);
    } else if (job->coll == NX_COLL_REDUCE_SCATTER) {
        sum_blocks(job);
    } else if (has_blocks(job)) {
        take_blocks(job);
    } else if (job->coll == NX_COLL_ALL_GATHER || job->coll == NX_COLL_GATHER) {
        gather(job);
    } else if (job->coll == NX_COLL_BROADCAST) {
        if (!is_root(job))
            copy(block_of(job, job->args->recv, 0, p.off), data_of(job, job->shape->root),
                 p.count * job->args->element);
    } else if (job->coll != NX_COLL_BARRIER) {
        sum_vectors(job);
    }
}
