/* coll/near_job.c - takes an operation in shared memory through its chunks; see near.h.
 *
 * Owner: one thread at a time, whose turn in the communicator it is.  It never waits: it says what for.  What other
 * ranks have written are numbers to compare and bytes to copy, never lengths or places. */
#include "coll/near.h"

#include <string.h>

enum phase {
    ENTERING, /* until all have ended the operation before */
    WRITING,  /* until we may write the chunk */
    READING,  /* until those whose chunk we need have published it */
};

static uint64_t number_of(const struct nx_near_job *job, uint32_t c)
{
    return nx_near_number(job->k, c == job->chunks - 1 ? NX_NEAR_LAST : c);
}

static const struct nx_near_line *line_of(const struct nx_near_job *job, uint32_t rank, uint64_t k, uint64_t c)
{
    return &job->near->rank[rank].line[nx_near_parity(k, c)];
}

/* Everything that is waited for is one of these: of rank q. */
static void want_of(const struct nx_near_job *job, uint32_t q, struct nx_near_want *w)
{
    *w = (struct nx_near_want){.rank = q};
    switch ((enum phase)job->phase) {
    case ENTERING:
        w->line = &line_of(job, q, job->k - 1, 0)->seq;
        w->number = nx_near_number(job->k - 1, NX_NEAR_LAST);
        w->failed = &job->near->rank[q].failed;
        w->k = job->k - 1;
        return;
    case WRITING:
        w->line = &line_of(job, q, job->k, job->c - 1)->seq;
        w->number = job->vain ? UINT64_MAX : number_of(job, job->c - 1);
        w->takes = true;
        return;
    case READING:
        w->line = &line_of(job, q, job->k, job->c)->seq;
        w->number = job->vain ? UINT64_MAX : number_of(job, job->c);
    }
}

void nx_near_job_want(const struct nx_near_job *job, struct nx_near_want *w)
{
    want_of(job, job->q, w);
}

bool nx_near_job_lacks(const struct nx_near_job *job, uint64_t ranks, uint32_t *rank)
{
    struct nx_near_want w;

    for (uint32_t q = job->q; q < job->shape->n && ranks >> q != 0; q++) {
        if ((ranks >> q & 1) == 0 || (job->phase == READING && !nx_near_needs(job, q)))
            continue;
        want_of(job, q, &w);
        *rank = q;
        if (!nx_near_there(&w))
            return true;
    }
    return false;
}

static bool is_there(const struct nx_near_job *job)
{
    struct nx_near_want w;

    want_of(job, job->q, &w);
    return nx_near_there(&w);
}

/* What rank q has called as the operation of this line, if it is not what we did. */
static bool differs(struct nx_near_job *job, const struct nx_near_line *line, uint64_t call, uint64_t count,
                    uint64_t sequence)
{
    if (line->call == call && line->count == count && line->sequence == sequence)
        return false;
    job->peer = job->q;
    job->their_call = line->call;
    job->their_count = line->count;
    job->their_sequence = line->sequence;
    return true;
}

static void publish(struct nx_near_job *job)
{
    struct nx_near_line *line = &job->near->rank[job->shape->rank].line[nx_near_parity(job->k, job->c)];

    if (job->c == 0) {
        line->call = job->call;
        line->count = job->args->count;
        line->sequence = job->sequence;
        job->published = true;
    }
    if (job->c == 0 && job->offers)
        nx_near_offer(job, line);
    atomic_store_explicit(&line->seq, number_of(job, job->c), memory_order_release);
    nx_shm_wake(job->near->shm, job->near->others);
}

/* That was the last chunk, as who has failed in it must see; it was not published as such. */
static void publish_end(const struct nx_near_job *job)
{
    struct nx_near_line *line = &job->near->rank[job->shape->rank].line[nx_near_parity(job->k, 0)];

    atomic_store_explicit(&line->seq, nx_near_number(job->k, NX_NEAR_LAST), memory_order_release);
    nx_shm_wake(job->near->shm, job->near->others);
}

/* Those that another one was needed by, as the root of a broadcast is, may find out here that they called something
 * else. */
static enum nx_near_state enter(struct nx_near_job *job)
{
    const struct nx_near_past *last = &job->near->last;

    for (; job->q < job->shape->n && !last->met; job->q++) {
        const struct nx_near_line *line = line_of(job, job->q, job->k - 1, 0);

        if (job->q == job->shape->rank)
            continue;
        if (!is_there(job))
            return NX_NEAR_WAITS;
        if (last->well &&
            atomic_load_explicit(&line->seq, memory_order_relaxed) == nx_near_number(job->k - 1, NX_NEAR_LAST) &&
            differs(job, line, last->call, last->count, last->sequence))
            return NX_NEAR_MISFIT;
    }
    return NX_NEAR_MORE;
}

static enum nx_near_state may_write(struct nx_near_job *job)
{
    for (; job->c > 0 && job->q < job->shape->n && nx_near_writes(job); job->q++) {
        if (job->q != job->shape->rank && !is_there(job))
            return NX_NEAR_WAITS;
    }
    return NX_NEAR_MORE;
}

static enum nx_near_state may_read(struct nx_near_job *job)
{
    for (; job->q < job->shape->n; job->q++) {
        if (job->q == job->shape->rank || !nx_near_needs(job, job->q))
            continue;
        if (!is_there(job))
            return NX_NEAR_WAITS;
        if (job->c == 0 && differs(job, line_of(job, job->q, job->k, 0), job->call, job->args->count, job->sequence)) {
            job->vain = atomic_load_explicit(&job->near->rank[job->q].failed, memory_order_acquire) >= job->k;
            return job->vain ? NX_NEAR_WAITS : NX_NEAR_MISFIT;
        }
    }
    return NX_NEAR_MORE;
}

static void next(struct nx_near_job *job, enum phase phase)
{
    job->phase = (uint8_t)phase;
    job->q = 0;
}

/* A chunk of sums of what others have lent, or some of it. */
static enum nx_near_state sum_lent(struct nx_near_job *job)
{
    bool whole = true;

    job->vain = !nx_near_touch(job);
    if (job->vain)
        return NX_NEAR_WAITS;
    if (job->direct)
        whole = nx_near_sum_direct(job, nx_near_slice(job, job->shape->rank));
    else
        job->nbytes += nx_near_write(job);
    nx_near_untouch(job);
    return whole ? NX_NEAR_DONE : NX_NEAR_MORE;
}

enum nx_near_state nx_near_job_step(struct nx_near_job *job)
{
    enum nx_near_state st;

    if (job->phase == ENTERING) {
        st = enter(job);
        if (st != NX_NEAR_MORE)
            return st;
        next(job, WRITING);
    }
    if (job->phase == WRITING) {
        st = may_write(job);
        if (st != NX_NEAR_MORE)
            return st;
        if (job->lent == 0 || job->c % 2 == 0)
            job->nbytes += nx_near_write(job);
        else if ((st = sum_lent(job)) != NX_NEAR_DONE)
            return st;
        publish(job);
        next(job, READING);
    }
    st = may_read(job);
    if (st != NX_NEAR_MORE)
        return st;
    if (job->c == 0 && job->offers && !nx_near_take_offers(job))
        return NX_NEAR_NONSENSE;
    nx_near_read(job);
    if (job->offers && job->chunks == 1)
        publish_end(job);
    job->c++;
    next(job, WRITING);
    return job->c == job->chunks ? NX_NEAR_DONE : NX_NEAR_MORE;
}
