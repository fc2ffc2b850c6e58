/* sim.c - a runner of schedules that is as nasty as the rules allow.
 *
 * It uses what nx_sched_finish computed and nothing else, as the real runner does: waits, successors, the ready list.
 * A send reads its source at the last moment, a receive that reduces gets its bytes in random pieces. */
#include "sim.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUBBISH 0xa5

static void *must(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "sim: no memory\n");
        abort();
    }
    return p;
}

/* Exactly as large as asked for, so that a sanitizer sees a step too far. */
static unsigned char *rubbish(size_t nbytes)
{
    unsigned char *p = must(malloc(nbytes == 0 ? 1 : nbytes));

    memset(p, RUBBISH, nbytes);
    return p;
}

void sim_init_each(struct sim *sim, nx_build_fn build, const struct nx_shape *shapes,
                   const struct nx_check_sizes *sizes, size_t size)
{
    uint32_t n = shapes[0].n;

    *sim = (struct sim){.n = n, .size = size};
    sim->sizes = must(calloc(n, sizeof(*sim->sizes)));
    sim->scheds = must(calloc(n, sizeof(*sim->scheds)));
    sim->bufs = must(calloc(n, sizeof(*sim->bufs)));
    for (uint32_t r = 0; r < n; r++) {
        struct nx_sched *s = &sim->scheds[r];
        unsigned char **bufs = sim->bufs[r];

        sim->sizes[r] = sizes[r];
        build(s, &shapes[r]);
        bufs[NX_BUF_RECV] = rubbish(sizes[r].recv * size);
        bufs[NX_BUF_SEND] = sizes[r].in_place ? bufs[NX_BUF_RECV] : rubbish(sizes[r].send * size);
        bufs[NX_BUF_SCRATCH] = rubbish(s->scratch * size);
        bufs[NX_BUF_RESIDUAL] = rubbish(sizes[r].send * size);
    }
}

void sim_init(struct sim *sim, nx_build_fn build, struct nx_shape shape, size_t size)
{
    struct nx_shape *shapes = must(calloc(shape.n, sizeof(*shapes)));
    struct nx_check_sizes *sizes = must(calloc(shape.n, sizeof(*sizes)));

    for (uint32_t r = 0; r < shape.n; r++) {
        shapes[r] = shape;
        shapes[r].rank = r;
        sizes[r] = (struct nx_check_sizes){.send = shape.count, .recv = shape.count, .in_place = shape.in_place};
    }
    sim_init_each(sim, build, shapes, sizes, size);
    free(shapes);
    free(sizes);
}

void sim_fini(struct sim *sim)
{
    for (uint32_t r = 0; r < sim->n; r++) {
        nx_sched_fini(&sim->scheds[r]);
        free(sim->bufs[r][NX_BUF_RECV]);
        if (!sim->sizes[r].in_place)
            free(sim->bufs[r][NX_BUF_SEND]);
        free(sim->bufs[r][NX_BUF_SCRATCH]);
        free(sim->bufs[r][NX_BUF_RESIDUAL]);
    }
    free(sim->sizes);
    free(sim->scheds);
    free(sim->bufs);
}

void sim_finish(struct sim *sim)
{
    for (uint32_t r = 0; r < sim->n; r++) {
        struct nx_sched *s = &sim->scheds[r];

        nx_free(s->succ_at);
        s->succ_at = NULL;
        s->nready = 0;
        if (nx_sched_finish(s) != NEXAR_OK) {
            fprintf(stderr, "sim: %s\n", nexar_last_error());
            abort();
        }
    }
}

nexar_status sim_check(const struct sim *sim)
{
    const struct nx_sched **all = must(calloc(sim->n, sizeof(*all)));
    nexar_status st = NEXAR_OK;

    for (uint32_t r = 0; r < sim->n && st == NEXAR_OK; r++) {
        all[r] = &sim->scheds[r];
        st = nx_sched_check(&sim->scheds[r], r, sim->n, &sim->sizes[r]);
    }
    if (st == NEXAR_OK)
        st = nx_sched_check_all(all, sim->n);
    free(all);
    return st;
}

/* --- Running ------------------------------------------------------------------------------------------------------ */

/* A step of some rank. */
struct at {
    uint32_t rank;
    uint32_t step;
};

/* One end of a message. */
struct end {
    uint32_t sender, receiver, tag;
    struct at at;
};

/* What a step has come to. */
struct progress {
    uint8_t left; /* predecessors that are not done */
    bool ready;   /* nothing is missing, unless the other end */
    bool done;
    struct at other;        /* of a message */
    unsigned char *message; /* what a send has sent */
};

struct run {
    const struct sim *sim;
    nx_reduce_fn fn;
    struct rng *rng;
    enum sim_sends sends;
    uint32_t held;
    struct progress **steps; /* per rank and step */
    struct at *runnable;
    size_t nrunnable;
    size_t ndone;
};

static const struct nx_step *step_at(const struct run *run, struct at at)
{
    return &run->sim->scheds[at.rank].steps[at.step];
}

static struct progress *progress_at(const struct run *run, struct at at)
{
    return &run->steps[at.rank][at.step];
}

static bool is_receive(const struct nx_step *t)
{
    return t->kind == NX_STEP_RECV || t->kind == NX_STEP_RECV_REDUCE;
}

static int by_message(const void *a, const void *b)
{
    const struct end *x = a;
    const struct end *y = b;

    if (x->sender != y->sender)
        return x->sender < y->sender ? -1 : 1;
    if (x->receiver != y->receiver)
        return x->receiver < y->receiver ? -1 : 1;
    return (x->tag > y->tag) - (x->tag < y->tag);
}

/* Tells each end of a message where the other is. */
static void match(struct run *run, size_t total)
{
    struct end *sends = must(calloc(total + 1, sizeof(*sends)));
    struct end *recvs = must(calloc(total + 1, sizeof(*recvs)));
    size_t nsends = 0;
    size_t nrecvs = 0;

    for (uint32_t r = 0; r < run->sim->n; r++)
        for (uint32_t i = 0; i < run->sim->scheds[r].count; i++) {
            struct at at = {r, i};
            const struct nx_step *t = step_at(run, at);

            if (t->kind == NX_STEP_SEND)
                sends[nsends++] = (struct end){r, t->peer, t->tag, at};
            else if (is_receive(t))
                recvs[nrecvs++] = (struct end){t->peer, r, t->tag, at};
        }
    qsort(sends, nsends, sizeof(*sends), by_message);
    qsort(recvs, nrecvs, sizeof(*recvs), by_message);
    for (size_t i = 0; i < nsends || i < nrecvs; i++) {
        if (i >= nsends || i >= nrecvs || by_message(&sends[i], &recvs[i]) != 0) {
            fprintf(stderr, "sim: a message without its other end\n");
            abort();
        }
        progress_at(run, sends[i].at)->other = recvs[i].at;
        progress_at(run, recvs[i].at)->other = sends[i].at;
    }
    free(sends);
    free(recvs);
}

static void make_runnable(struct run *run, struct at at)
{
    run->runnable[run->nrunnable++] = at;
}

static void became_ready(struct run *run, struct at at)
{
    const struct nx_step *t = step_at(run, at);
    struct progress *p = progress_at(run, at);
    struct progress *other;

    if (at.rank == run->held)
        return;
    p->ready = true;
    if (t->kind != NX_STEP_SEND && !is_receive(t)) {
        make_runnable(run, at);
        return;
    }
    other = progress_at(run, p->other);
    if (run->sends == SIM_RENDEZVOUS && other->ready)
        make_runnable(run, t->kind == NX_STEP_SEND ? at : p->other); /* the send brings its receive along */
    if (run->sends == SIM_BUFFERED && (t->kind == NX_STEP_SEND || other->message != NULL))
        make_runnable(run, at);
}

static unsigned char *memory(const struct run *run, uint32_t rank, uint8_t buf, size_t off)
{
    return run->sim->bufs[rank][buf] + off * run->sim->size;
}

static void copy(unsigned char *to, const unsigned char *from, size_t n)
{
    if (n != 0)
        memcpy(to, from, n);
}

static void receive(struct run *run, struct at at, const unsigned char *bytes)
{
    const struct nx_step *t = step_at(run, at);
    size_t nbytes = t->count * run->sim->size;
    unsigned char *to = memory(run, at.rank, t->dst_buf, t->dst);
    struct nx_reduce_stream stream;

    if (t->kind == NX_STEP_RECV) {
        copy(to, bytes, nbytes);
        return;
    }
    nx_reduce_stream_init(&stream, run->fn, run->sim->size, to, t->count);
    for (size_t done = 0; done < nbytes;) {
        size_t n = nbytes > 4096 ? nbytes : 1 + rng_below(run->rng, nbytes);

        n = n < nbytes - done ? n : nbytes - done;
        if (!nx_reduce_feed(&stream, bytes + done, n))
            abort();
        done += n;
    }
}

static void finish_step(struct run *run, struct at at)
{
    const struct nx_sched *s = &run->sim->scheds[at.rank];

    progress_at(run, at)->done = true;
    run->ndone++;
    for (uint32_t k = s->succ_at[at.step]; k < s->succ_at[at.step + 1]; k++) {
        struct at next = {at.rank, s->succ[k]};

        if (--progress_at(run, next)->left == 0)
            became_ready(run, next);
    }
}

static void run_send(struct run *run, struct at at)
{
    const struct nx_step *t = step_at(run, at);
    struct progress *p = progress_at(run, at);
    size_t nbytes = t->count * run->sim->size;
    const unsigned char *from = memory(run, at.rank, t->src_buf, t->src);

    if (run->sends == SIM_RENDEZVOUS) {
        receive(run, p->other, from);
        finish_step(run, p->other);
    } else {
        p->message = must(malloc(nbytes == 0 ? 1 : nbytes));
        copy(p->message, from, nbytes);
        if (progress_at(run, p->other)->ready)
            make_runnable(run, p->other);
    }
    finish_step(run, at);
}

static void run_step(struct run *run, struct at at)
{
    const struct nx_step *t = step_at(run, at);

    switch ((enum nx_step_kind)t->kind) {
    case NX_STEP_SEND:
        run_send(run, at);
        return;
    case NX_STEP_RECV:
    case NX_STEP_RECV_REDUCE:
        receive(run, at, progress_at(run, progress_at(run, at)->other)->message);
        break;
    case NX_STEP_COPY:
        copy(memory(run, at.rank, t->dst_buf, t->dst), memory(run, at.rank, t->src_buf, t->src),
             t->count * run->sim->size);
        break;
    case NX_STEP_REDUCE:
        run->fn(memory(run, at.rank, t->dst_buf, t->dst), memory(run, at.rank, t->src_buf, t->src), t->count);
        break;
    case NX_STEP_FILL:
        for (size_t i = 0; i < t->count; i++)
            memcpy(memory(run, at.rank, t->dst_buf, t->dst + i), run->sim->identity, run->sim->size);
        break;
    case NX_STEP_ENCODE:
        nx_compress_encode(&run->sim->compress, run->sim->turn, memory(run, at.rank, t->dst_buf, t->dst),
                           memory(run, at.rank, t->src_buf, t->src), t->src_count);
        break;
    case NX_STEP_DECODE:
    case NX_STEP_DECODE_ADD:
        if (nx_compress_decode(&run->sim->compress, run->sim->turn, memory(run, at.rank, t->dst_buf, t->dst),
                               memory(run, at.rank, t->src_buf, t->src), t->count,
                               t->kind == NX_STEP_DECODE_ADD) != NEXAR_OK) {
            fprintf(stderr, "sim: rank %u: %s\n", t->peer, nexar_last_error());
            abort();
        }
        break;
    case NX_STEP_JOIN:
        break;
    }
    finish_step(run, at);
}

static size_t begin(struct run *run)
{
    const struct sim *sim = run->sim;
    size_t total = 0;

    run->steps = must(calloc(sim->n, sizeof(*run->steps)));
    for (uint32_t r = 0; r < sim->n; r++) {
        const struct nx_sched *s = &sim->scheds[r];

        total += s->count;
        run->steps[r] = must(calloc((size_t)s->count + 1, sizeof(**run->steps)));
        for (uint32_t i = 0; i < s->count; i++)
            run->steps[r][i].left = s->waits[i];
    }
    run->runnable = must(calloc(total + 1, sizeof(*run->runnable)));
    match(run, total);
    for (uint32_t r = 0; r < sim->n; r++)
        for (uint32_t i = 0; i < sim->scheds[r].nready; i++)
            became_ready(run, (struct at){r, sim->scheds[r].ready[i]});
    return total;
}

static void end(struct run *run, uint32_t *done)
{
    for (uint32_t r = 0; r < run->sim->n; r++) {
        uint32_t count = 0;

        for (uint32_t i = 0; i < run->sim->scheds[r].count; i++) {
            count += run->steps[r][i].done;
            free(run->steps[r][i].message);
        }
        if (done != NULL)
            done[r] = count;
        free(run->steps[r]);
    }
    free(run->steps);
    free(run->runnable);
}

bool sim_run(const struct sim *sim, nx_reduce_fn fn, struct rng *rng, enum sim_sends sends, uint32_t held,
             uint32_t *done)
{
    struct run run = {.sim = sim, .fn = fn, .rng = rng, .sends = sends, .held = held};
    size_t total = begin(&run);

    while (run.nrunnable > 0) {
        size_t i = rng_below(rng, run.nrunnable);
        struct at at = run.runnable[i];

        run.runnable[i] = run.runnable[--run.nrunnable];
        run_step(&run, at);
    }
    end(&run, done);
    return run.ndone == total;
}
