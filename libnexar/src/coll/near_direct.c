/* coll/near_direct.c - sums of vectors that lie in the ranks' heaps (bulk/shm_heap.h): nothing is copied.
 *
 * Owner: as near_job.c.  A rank whose vectors lie there lends them: with chunk 0 it says where they are, in place of
 * what it would copy, and the others read them there.  When all do so there is one piece: each adds up its slice and
 * writes it into the results of all.  A rank that fails takes back what it has lent before its call returns; nobody
 * touches anything without having looked whether it is taken back, and says so before and after. */
#include "base/clock.h"
#include "coll/near.h"

#include <sched.h>
#include <string.h>

enum {
    SLICED_ONCE = 3, /* chunks */
    BLOCK = 4096,
    LEAST = 16 << 10,  /* bytes: fewer are copied faster than they are found */
    PORTION = 1 << 20, /* bytes of a slice, after which others have their turn */
};
static const nx_time PATIENCE = 200 * NX_MS;

/* What a rank says in its line, with chunk 0. */
struct offer {
    uint64_t send, recv; /* offset in its heap + 1; 0: it lends nothing */
};

static uint64_t bit(uint32_t rank)
{
    return UINT64_C(1) << rank;
}

static size_t bytes_of(const struct nx_near_job *job)
{
    return job->shape->count * job->args->element;
}

static bool has(const struct nx_near_job *job, const void *p, uint64_t *offset)
{
    return nx_shm_heap_has(job->near->heaps, p, bytes_of(job), offset) && *offset % job->args->element == 0;
}

void nx_near_lend(struct nx_near_job *job)
{
    uint64_t offset;

    job->offers = job->coll == NX_COLL_ALL_REDUCE && bytes_of(job) > LEAST && (job->sliced || job->chunks == 1);
    job->lends = job->offers && job->near->heaps != NULL && has(job, job->args->send, &offset) &&
                 has(job, job->args->recv, &offset);
    if (job->offers && job->chunks == 1)
        job->chunks = SLICED_ONCE; /* till it is known that nobody lends */
}

void nx_near_offer(const struct nx_near_job *job, struct nx_near_line *line)
{
    struct offer offer = {0};

    if (job->lends) {
        (void)has(job, job->args->send, &offer.send);
        (void)has(job, job->args->recv, &offer.recv);
        offer.send++;
        offer.recv++;
    }
    memcpy(line->data, &offer, sizeof(offer));
}

/* False: it makes no sense. */
static bool take_offer(struct nx_near_job *job, uint32_t rank, const struct nx_near_line *line)
{
    const struct nx_shm_heaps *heaps = job->near->heaps;
    struct nx_near_loan *loan = &job->near->loan[rank];
    size_t element = job->args->element;
    struct offer offer;

    memcpy(&offer, line->data, sizeof(offer));
    if (offer.send == 0 && offer.recv == 0)
        return true;
    if (heaps == NULL || (offer.send - 1) % element != 0 || (offer.recv - 1) % element != 0)
        return false;
    loan->send = nx_shm_heap_at(heaps, loan->member, offer.send - 1, bytes_of(job));
    loan->recv = nx_shm_heap_at(heaps, loan->member, offer.recv - 1, bytes_of(job));
    job->lent |= bit(rank);
    return loan->send != NULL && loan->recv != NULL;
}

bool nx_near_take_offers(struct nx_near_job *job)
{
    uint32_t self = job->shape->rank, n = job->shape->n;

    job->lent = job->lends ? bit(self) : 0;
    job->near->loan[self].send = job->args->send;
    job->near->loan[self].recv = job->args->recv;
    for (uint32_t q = 0; q < n; q++) {
        if (q != self && !take_offer(job, q, &job->near->rank[q].line[nx_near_parity(job->k, 0)])) {
            job->peer = q;
            return false;
        }
    }
    job->direct = job->lent == (n == NX_SHM_RANKS ? UINT64_MAX : bit(n) - 1);
    if (job->direct) {
        job->per = job->shape->count;
        job->chunks = SLICED_ONCE;
    }
    if (job->lent != 0)
        job->sliced = true;
    else if (!job->sliced)
        job->chunks = 1;
    return true;
}

/* ---- touching, and taking back ----
 *
 * Either a rank that touches sees that something is taken back, or who takes it back sees it touching. */

static uint64_t touching(const struct nx_near_job *job)
{
    return 2 * job->k + 1;
}

void nx_near_untouch(const struct nx_near_job *job)
{
    atomic_store_explicit(&job->near->rank[job->shape->rank].touches, touching(job) + 1, memory_order_release);
}

bool nx_near_touch(struct nx_near_job *job)
{
    atomic_store(&job->near->rank[job->shape->rank].touches, touching(job));
    for (uint32_t q = 0; q < job->shape->n; q++) {
        if ((job->lent & bit(q)) != 0 && q != job->shape->rank && atomic_load(&job->near->rank[q].taken) >= job->k) {
            nx_near_untouch(job);
            job->q = q;
            return false;
        }
    }
    return true;
}

bool nx_near_take_back(struct nx_near_job *job)
{
    uint64_t dead;

    if (!job->lends || !job->published)
        return true;
    dead = nx_shm_dead(job->near->shm);
    atomic_store(&job->near->rank[job->shape->rank].taken, job->k);
    for (uint32_t q = 0; q < job->shape->n; q++) {
        if (q == job->shape->rank || (dead & bit(job->near->loan[q].member)) != 0 ||
            atomic_load(&job->near->rank[q].touches) != touching(job))
            continue;
        if (job->since == 0)
            job->since = nx_now();
        if (nx_now() - job->since < PATIENCE)
            return false;
        /* It has been stopped in the middle of it, or lies: it may go on, but not with our memory. */
        return nx_shm_heap_revoke(job->args->recv, bytes_of(job)) &&
               (job->args->send == job->args->recv || nx_shm_heap_revoke(job->args->send, bytes_of(job)));
    }
    return true;
}

void nx_near_take_back_now(struct nx_near_job *job)
{
    while (!nx_near_take_back(job))
        sched_yield();
}

/* ---- sums ---- */

/* Of both ranks' x + y, which has the bits of y + x. */
static void sum_two(const struct nx_near_job *job, size_t at, size_t nbytes)
{
    const struct nx_near_loan *mine = &job->near->loan[job->shape->rank];
    const struct nx_near_loan *theirs = &job->near->loan[1 - job->shape->rank];

    if (mine->recv != mine->send)
        memcpy(mine->recv + at, mine->send + at, nbytes);
    job->args->fn(mine->recv + at, theirs->send + at, nbytes / job->args->element);
    memcpy(theirs->recv + at, mine->recv + at, nbytes);
}

/* Vectors may be in place, so nothing is written before all is read. */
static void sum_all(const struct nx_near_job *job, size_t at, size_t nbytes)
{
    const struct nx_near_loan *loan = job->near->loan;
    uint8_t sum[BLOCK];

    memcpy(sum, loan[0].send + at, nbytes);
    for (uint32_t q = 1; q < job->shape->n; q++)
        job->args->fn(sum, loan[q].send + at, nbytes / job->args->element);
    for (uint32_t q = 0; q < job->shape->n; q++)
        memcpy(loan[q].recv + at, sum, nbytes);
}

bool nx_near_sum_direct(struct nx_near_job *job, struct nx_range slice)
{
    size_t element = job->args->element, end = (slice.off + slice.count) * element;
    size_t from = slice.off * element + job->done, to = end - from > PORTION ? from + PORTION : end;

    for (size_t at = from; at < to; at += BLOCK) {
        size_t nbytes = to - at < BLOCK ? to - at : BLOCK;

        if (job->shape->n == 2)
            sum_two(job, at, nbytes);
        else
            sum_all(job, at, nbytes);
    }
    job->done += to - from;
    job->nbytes += (to - from) * (job->shape->n - 1);
    return to == end;
}
