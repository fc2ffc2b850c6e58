/* coll/sched.c - grows a schedule step by step, then derives what a runner needs from it.
 *
 * Owner: whoever builds it, on one thread; constant and shared after nx_sched_finish.  It neither checks whether a
 * schedule makes sense (sched_check.c) nor runs one. */
#include "coll/sched.h"

#include "base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool grow(struct nx_sched *s)
{
    uint32_t cap = s->cap == 0 ? 32 : 2 * s->cap;
    struct nx_step *steps = nx_realloc(s->steps, cap * sizeof(*steps));

    if (steps == NULL)
        return false;
    s->steps = steps;
    s->cap = cap;
    return true;
}

static int32_t add(struct nx_sched *s, struct nx_step step)
{
    if (s->failure != NULL)
        return NX_NONE;
    assert(step.after[0] < (int32_t)s->count && step.after[1] < (int32_t)s->count);
    if (s->count == NX_STEPS_LIMIT)
        s->failure = "too many steps";
    else if (step.tag >= NX_TAG_LIMIT)
        s->failure = "too many tags";
    else if (s->count == s->cap && !grow(s))
        s->failure = "no memory";
    if (s->failure != NULL)
        return NX_NONE;
    s->steps[s->count] = step;
    return (int32_t)s->count++;
}

static void need_scratch(struct nx_sched *s, struct nx_slice slice)
{
    if (slice.buf == NX_BUF_SCRATCH && slice.off + slice.count > s->scratch)
        s->scratch = slice.off + slice.count;
}

int32_t nx_sched_send(struct nx_sched *s, uint32_t peer, uint32_t tag, struct nx_slice src, int32_t a0, int32_t a1)
{
    need_scratch(s, src);
    return add(s, (struct nx_step){.kind = NX_STEP_SEND,
                                   .src_buf = (uint8_t)src.buf,
                                   .peer = peer,
                                   .tag = tag,
                                   .index = s->sends++,
                                   .after = {a0, a1},
                                   .src = src.off,
                                   .count = src.count,
                                   .src_count = src.count});
}

static int32_t receive(struct nx_sched *s, enum nx_step_kind kind, uint32_t peer, uint32_t tag, struct nx_slice dst,
                       int32_t a0, int32_t a1)
{
    need_scratch(s, dst);
    return add(s, (struct nx_step){.kind = (uint8_t)kind,
                                   .dst_buf = (uint8_t)dst.buf,
                                   .peer = peer,
                                   .tag = tag,
                                   .index = s->recvs++,
                                   .after = {a0, a1},
                                   .dst = dst.off,
                                   .count = dst.count});
}

int32_t nx_sched_recv(struct nx_sched *s, uint32_t peer, uint32_t tag, struct nx_slice dst, int32_t a0, int32_t a1)
{
    return receive(s, NX_STEP_RECV, peer, tag, dst, a0, a1);
}

int32_t nx_sched_recv_reduce(struct nx_sched *s, uint32_t peer, uint32_t tag, struct nx_slice dst, int32_t a0,
                             int32_t a1)
{
    return receive(s, NX_STEP_RECV_REDUCE, peer, tag, dst, a0, a1);
}

static int32_t convert(struct nx_sched *s, enum nx_step_kind kind, struct nx_slice src, uint32_t peer,
                       struct nx_slice dst, int32_t a0, int32_t a1)
{
    need_scratch(s, src);
    need_scratch(s, dst);
    return add(s, (struct nx_step){.kind = (uint8_t)kind,
                                   .src_buf = (uint8_t)src.buf,
                                   .dst_buf = (uint8_t)dst.buf,
                                   .peer = peer,
                                   .after = {a0, a1},
                                   .src = src.off,
                                   .dst = dst.off,
                                   .count = dst.count,
                                   .src_count = src.count});
}

static int32_t local(struct nx_sched *s, enum nx_step_kind kind, struct nx_slice src, struct nx_slice dst, int32_t a0,
                     int32_t a1)
{
    assert(src.count == dst.count);
    return convert(s, kind, src, 0, dst, a0, a1);
}

int32_t nx_sched_copy(struct nx_sched *s, struct nx_slice src, struct nx_slice dst, int32_t a0, int32_t a1)
{
    return local(s, NX_STEP_COPY, src, dst, a0, a1);
}

int32_t nx_sched_reduce(struct nx_sched *s, struct nx_slice src, struct nx_slice dst, int32_t a0, int32_t a1)
{
    return local(s, NX_STEP_REDUCE, src, dst, a0, a1);
}

int32_t nx_sched_fill(struct nx_sched *s, struct nx_slice dst, int32_t a0, int32_t a1)
{
    need_scratch(s, dst);
    return add(
        s,
        (struct nx_step){
            .kind = NX_STEP_FILL, .dst_buf = (uint8_t)dst.buf, .after = {a0, a1}, .dst = dst.off, .count = dst.count});
}

int32_t nx_sched_encode(struct nx_sched *s, struct nx_slice plain, struct nx_slice encoded, int32_t a0, int32_t a1)
{
    return convert(s, NX_STEP_ENCODE, plain, 0, encoded, a0, a1);
}

int32_t nx_sched_decode(struct nx_sched *s, struct nx_slice encoded, uint32_t peer, struct nx_slice plain, bool add,
                        int32_t a0, int32_t a1)
{
    return convert(s, add ? NX_STEP_DECODE_ADD : NX_STEP_DECODE, encoded, peer, plain, a0, a1);
}

int32_t nx_sched_join(struct nx_sched *s, int32_t a0, int32_t a1)
{
    return add(s, (struct nx_step){.kind = NX_STEP_JOIN, .after = {a0, a1}});
}

static struct nx_slice nested(const struct nx_nest *nest, uint8_t buf, size_t off, size_t count)
{
    return (struct nx_slice){
        .buf = nest->into[buf], .off = nest->offset[buf] + off * nest->scale, .count = count * nest->scale};
}

int32_t nx_sched_nest(struct nx_sched *s, const struct nx_sched *inner, const struct nx_nest *nest, int32_t after)
{
    int32_t base = (int32_t)s->count;
    int32_t last = after;

    for (uint32_t i = 0; i < inner->count; i++) {
        struct nx_step t = inner->steps[i];
        struct nx_slice src = nested(nest, t.src_buf, t.src, t.src_count);
        struct nx_slice dst = nested(nest, t.dst_buf, t.dst, t.count);

        t.src_buf = (uint8_t)src.buf;
        t.src = src.off;
        t.src_count = src.count;
        t.dst_buf = (uint8_t)dst.buf;
        t.dst = dst.off;
        t.count = dst.count;
        t.type = nest->type;
        t.tag += nest->tag;
        if (nest->ranks != NULL)
            t.peer = nest->ranks[t.peer];
        t.index = t.kind == NX_STEP_SEND ? s->sends++ : t.kind <= NX_STEP_RECV_REDUCE ? s->recvs++ : 0;
        if (t.after[0] == NX_NONE && t.after[1] == NX_NONE)
            t.after[0] = after;
        else
            for (int k = 0; k < 2; k++)
                t.after[k] += t.after[k] == NX_NONE ? 0 : base;
        need_scratch(s, src);
        need_scratch(s, dst);
        add(s, t);
    }
    for (uint32_t i = 0; i < inner->count; i++) {
        if (inner->succ_at[i] == inner->succ_at[i + 1])
            last = nx_sched_join(s, last, base + (int32_t)i);
    }
    return last;
}

uint32_t nx_sched_tags(const struct nx_sched *s)
{
    uint32_t tags = s->tags;

    for (uint32_t i = 0; i < s->count; i++) {
        if (s->steps[i].kind <= NX_STEP_RECV_REDUCE && s->steps[i].tag >= tags)
            tags = s->steps[i].tag + 1;
    }
    return tags;
}

/* The different predecessors of a step. */
static uint8_t predecessors(const struct nx_step *step, uint32_t out[2])
{
    uint8_t n = 0;

    for (int k = 0; k < 2; k++)
        if (step->after[k] != NX_NONE && (k == 0 || step->after[1] != step->after[0]))
            out[n++] = (uint32_t)step->after[k];
    return n;
}

/* Counting sort of the edges by their origin. */
static void link_successors(struct nx_sched *s)
{
    uint32_t from[2];
    uint32_t at = 0;

    memset(s->succ_at, 0, ((size_t)s->count + 1) * sizeof(*s->succ_at));
    for (uint32_t i = 0; i < s->count; i++) {
        s->waits[i] = predecessors(&s->steps[i], from);
        for (uint8_t k = 0; k < s->waits[i]; k++)
            s->succ_at[from[k]]++;
        if (s->waits[i] == 0)
            s->ready[s->nready++] = i;
    }
    for (uint32_t i = 0; i <= s->count; i++) {
        at += s->succ_at[i];
        s->succ_at[i] = at; /* the end of i's successors; filling from behind makes it the begin */
    }
    for (uint32_t i = s->count; i-- > 0;)
        for (uint8_t k = predecessors(&s->steps[i], from); k-- > 0;)
            s->succ[--s->succ_at[from[k]]] = i;
}

nexar_status nx_sched_finish(struct nx_sched *s)
{
    size_t n = s->count;
    size_t edges = 0;
    size_t nready = 0;
    uint32_t from[2];
    struct nx_step *fitted;
    uint32_t *words;

    if (s->failure != NULL)
        goto fail;
    fitted = n == 0 ? NULL : nx_realloc(s->steps, n * sizeof(*fitted));
    if (fitted != NULL) {
        s->steps = fitted;
        s->cap = s->count;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t waits = predecessors(&s->steps[i], from);
        edges += waits;
        nready += waits == 0;
    }
    s->nbytes = s->cap * sizeof(*s->steps) + (n + 1 + edges + nready) * sizeof(*words) + n;
    words = nx_alloc((n + 1 + edges + nready) * sizeof(*words) + n);
    if (words == NULL) {
        s->failure = "no memory";
        goto fail;
    }
    s->succ_at = words;
    s->succ = s->succ_at + n + 1;
    s->ready = s->succ + edges;
    s->waits = (uint8_t *)(s->ready + nready);
    link_successors(s);
    return NEXAR_OK;
fail:
    return nx_fail(NEXAR_ENOMEM, "the schedule cannot be built: %s after %u steps", s->failure, s->count);
}

void nx_sched_fini(struct nx_sched *s)
{
    nx_free(s->steps);
    nx_free(s->succ_at);
    *s = (struct nx_sched){0};
}

void nx_sched_describe(const struct nx_sched *s, uint32_t step, char *text, size_t cap)
{
    static const char *const names[] = {
        [NX_STEP_SEND] = "send to",
        [NX_STEP_RECV] = "recv from",
        [NX_STEP_RECV_REDUCE] = "recv and reduce from",
        [NX_STEP_COPY] = "copy",
        [NX_STEP_REDUCE] = "reduce",
        [NX_STEP_FILL] = "fill",
        [NX_STEP_ENCODE] = "encode",
        [NX_STEP_DECODE] = "decode what came from",
        [NX_STEP_DECODE_ADD] = "decode and add what came from",
        [NX_STEP_JOIN] = "join",
    };
    const struct nx_step *t = &s->steps[step];

    if (t->kind <= NX_STEP_RECV_REDUCE)
        snprintf(text, cap, "step %u (%s rank %u, tag %u, %zu elements)", step, names[t->kind], t->peer, t->tag,
                 t->count);
    else
        snprintf(text, cap, "step %u (%s, %zu elements)", step, names[t->kind], t->count);
}
