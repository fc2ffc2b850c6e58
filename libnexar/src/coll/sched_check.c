/* coll/sched_check.c - reachability and overlap within one schedule; matching and progress between all of them.
 *
 * Owner: the caller's thread.  It finds every race that any order of completions could show, which running a schedule,
 * even many times, does not. */
#include "coll/sched_check.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define STEP_TEXT 96

/* --- One schedule ------------------------------------------------------------------------------------------------- */

struct access {
    uint32_t memory;
    uint32_t step;
    bool writes;
    size_t begin, end;
};

static bool sends(const struct nx_step *t)
{
    return t->kind == NX_STEP_SEND;
}

static bool receives(const struct nx_step *t)
{
    return t->kind == NX_STEP_RECV || t->kind == NX_STEP_RECV_REDUCE;
}

static bool recodes(const struct nx_step *t)
{
    return t->kind == NX_STEP_ENCODE || t->kind == NX_STEP_DECODE || t->kind == NX_STEP_DECODE_ADD;
}

static bool reads_src(const struct nx_step *t)
{
    return t->kind == NX_STEP_SEND || t->kind == NX_STEP_COPY || t->kind == NX_STEP_REDUCE || recodes(t);
}

static bool writes_dst(const struct nx_step *t)
{
    return receives(t) || t->kind == NX_STEP_COPY || t->kind == NX_STEP_REDUCE || t->kind == NX_STEP_FILL || recodes(t);
}

static nexar_status bad(const struct nx_sched *s, uint32_t step, const char *what)
{
    char text[STEP_TEXT];

    nx_sched_describe(s, step, text, sizeof(text));
    return nx_fail(NEXAR_EINVAL, "%s: %s", text, what);
}

static bool inside(const struct nx_sched *s, const struct nx_check_sizes *sizes, uint8_t buf, size_t off, size_t count)
{
    size_t size = buf == NX_BUF_RECV ? sizes->recv : buf == NX_BUF_SCRATCH ? s->scratch : sizes->send;

    return buf < NX_BUFS && off <= size && count <= size - off;
}

static nexar_status check_step(const struct nx_sched *s, uint32_t i, uint32_t rank, uint32_t n,
                               const struct nx_check_sizes *sizes)
{
    const struct nx_step *t = &s->steps[i];

    if (t->kind > NX_STEP_JOIN)
        return nx_fail(NEXAR_EINVAL, "step %u: unknown kind", i);
    for (int k = 0; k < 2; k++)
        if (t->after[k] != NX_NONE && (t->after[k] < 0 || (uint32_t)t->after[k] >= i))
            return bad(s, i, "its predecessor is no earlier step");
    if ((sends(t) || receives(t)) && (t->peer >= n || t->peer == rank))
        return bad(s, i, "no such peer");
    if ((sends(t) || receives(t)) && t->tag >= NX_TAG_LIMIT)
        return bad(s, i, "tag out of range");
    if (!recodes(t) && reads_src(t) && t->src_count != t->count)
        return bad(s, i, "reads another number than it writes");
    if (reads_src(t) && !inside(s, sizes, t->src_buf, t->src, t->src_count))
        return bad(s, i, "reads beyond the buffer");
    if (writes_dst(t) && !inside(s, sizes, t->dst_buf, t->dst, t->count))
        return bad(s, i, "writes beyond the buffer");
    if (writes_dst(t) && (t->dst_buf == NX_BUF_SEND || t->dst_buf == NX_BUF_RESIDUAL))
        return bad(s, i, t->dst_buf == NX_BUF_SEND ? "writes to SEND" : "writes to RESIDUAL");
    return NEXAR_OK;
}

/* The memory that a buffer is: in place, SEND and RECV are one. */
static uint32_t memory_of(uint8_t buf, bool in_place)
{
    return in_place && buf == NX_BUF_SEND ? NX_BUF_RECV : buf;
}

static size_t list_accesses(const struct nx_sched *s, bool in_place, struct access *out)
{
    size_t count = 0;

    for (uint32_t i = 0; i < s->count; i++) {
        const struct nx_step *t = &s->steps[i];

        if (reads_src(t) && t->src_count != 0)
            out[count++] = (struct access){
                .memory = memory_of(t->src_buf, in_place), .step = i, .begin = t->src, .end = t->src + t->src_count};
        if (writes_dst(t) && t->count != 0)
            out[count++] = (struct access){.memory = memory_of(t->dst_buf, in_place),
                                           .step = i,
                                           .writes = true,
                                           .begin = t->dst,
                                           .end = t->dst + t->count};
    }
    return count;
}

static int by_place(const void *a, const void *b)
{
    const struct access *x = a;
    const struct access *y = b;

    if (x->memory != y->memory)
        return x->memory < y->memory ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Bit sets: row i has the steps that come before step i in every order. */
static uint64_t *ancestors(const struct nx_sched *s, size_t words)
{
    uint64_t *rows = nx_calloc(s->count * words + 1, sizeof(*rows));

    for (uint32_t i = 0; rows != NULL && i < s->count; i++)
        for (int k = 0; k < 2; k++) {
            int32_t from = s->steps[i].after[k];

            if (from == NX_NONE)
                continue;
            for (size_t w = 0; w < words; w++)
                rows[i * words + w] |= rows[(size_t)from * words + w];
            rows[i * words + (size_t)from / 64] |= UINT64_C(1) << (from % 64);
        }
    return rows;
}

static bool ordered(const uint64_t *rows, size_t words, uint32_t a, uint32_t b)
{
    uint32_t early = a < b ? a : b;
    uint32_t late = a < b ? b : a;

    return (rows[late * words + early / 64] >> (early % 64) & 1) != 0;
}

static nexar_status check_races(const struct nx_sched *s, bool in_place)
{
    size_t words = ((size_t)s->count + 63) / 64;
    uint64_t *rows = ancestors(s, words);
    struct access *list = nx_calloc(2 * (size_t)s->count + 1, sizeof(*list));
    nexar_status st = NEXAR_OK;
    size_t count;

    if (rows == NULL || list == NULL) {
        st = nx_fail(NEXAR_ENOMEM, "no memory to check a schedule of %u steps", s->count);
        goto out;
    }
    count = list_accesses(s, in_place, list);
    qsort(list, count, sizeof(*list), by_place);
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count && list[k].memory == list[i].memory && list[k].begin < list[i].end; k++) {
            char a[STEP_TEXT];
            char b[STEP_TEXT];

            if (!list[i].writes && !list[k].writes)
                continue;
            if (list[i].step != list[k].step && ordered(rows, words, list[i].step, list[k].step))
                continue;
            nx_sched_describe(s, list[i].step, a, sizeof(a));
            nx_sched_describe(s, list[k].step, b, sizeof(b));
            st = nx_fail(NEXAR_EINVAL, "race: %s and %s touch element %zu of the same buffer in any order", a, b,
                         list[k].begin);
            goto out;
        }
out:
    nx_free(rows);
    nx_free(list);
    return st;
}

nexar_status nx_sched_check(const struct nx_sched *s, uint32_t rank, uint32_t n, const struct nx_check_sizes *sizes)
{
    for (uint32_t i = 0; i < s->count; i++) {
        nexar_status st = check_step(s, i, rank, n, sizes);

        if (st != NEXAR_OK)
            return st;
    }
    return check_races(s, sizes->in_place);
}

/* --- All of them -------------------------------------------------------------------------------------------------- */

/* One end of a message. */
struct end {
    uint32_t sender, receiver, tag;
    uint32_t step;
    size_t count;
};

struct all {
    const struct nx_sched *const *scheds;
    uint32_t n;
    size_t *base;      /* per rank, the number of its first step among all steps; one more at the end */
    struct end *sends; /* sorted by message, as are the receives */
    struct end *recvs;
    size_t nsends, nrecvs;
    size_t *partner; /* per step: the other end */
    uint8_t *left;   /* per step: predecessors that are not done */
    size_t *stack;   /* steps that have become ready */
};

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

static void free_all(struct all *c)
{
    nx_free(c->base);
    nx_free(c->sends);
    nx_free(c->recvs);
    nx_free(c->partner);
    nx_free(c->left);
    nx_free(c->stack);
}

static nexar_status list_ends(struct all *c)
{
    size_t total = 0;

    c->base = nx_calloc((size_t)c->n + 1, sizeof(*c->base));
    if (c->base == NULL)
        goto fail;
    for (uint32_t r = 0; r < c->n; r++) {
        c->base[r] = total;
        total += c->scheds[r]->count;
    }
    c->base[c->n] = total;
    c->sends = nx_calloc(total + 1, sizeof(*c->sends));
    c->recvs = nx_calloc(total + 1, sizeof(*c->recvs));
    c->partner = nx_calloc(total + 1, sizeof(*c->partner));
    c->left = nx_calloc(total + 1, sizeof(*c->left));
    c->stack = nx_calloc(total + 1, sizeof(*c->stack));
    if (c->sends == NULL || c->recvs == NULL || c->partner == NULL || c->left == NULL || c->stack == NULL)
        goto fail;
    for (uint32_t r = 0; r < c->n; r++)
        for (uint32_t i = 0; i < c->scheds[r]->count; i++) {
            const struct nx_step *t = &c->scheds[r]->steps[i];

            if (sends(t))
                c->sends[c->nsends++] = (struct end){r, t->peer, t->tag, i, t->count};
            else if (receives(t))
                c->recvs[c->nrecvs++] = (struct end){t->peer, r, t->tag, i, t->count};
        }
    qsort(c->sends, c->nsends, sizeof(*c->sends), by_message);
    qsort(c->recvs, c->nrecvs, sizeof(*c->recvs), by_message);
    return NEXAR_OK;
fail:
    return nx_fail(NEXAR_ENOMEM, "no memory to check %zu steps", total);
}

static nexar_status match(struct all *c)
{
    static const char *const words[] = {"nobody receives", "nobody sends"};

    for (size_t i = 0; i < c->nsends || i < c->nrecvs; i++) {
        const struct end *s = &c->sends[i];
        const struct end *r = &c->recvs[i];
        int order = i >= c->nsends ? 1 : i >= c->nrecvs ? -1 : by_message(s, r);
        const struct end *e = order <= 0 ? s : r;

        if (order != 0)
            return nx_fail(NEXAR_EINVAL, "%s what rank %u sends to rank %u with tag %u", words[order > 0], e->sender,
                           e->receiver, e->tag);
        if (s->count != r->count)
            return nx_fail(NEXAR_EINVAL, "rank %u sends %zu elements to rank %u with tag %u, which expects %zu",
                           e->sender, s->count, e->receiver, e->tag, r->count);
        if (i + 1 < c->nsends && by_message(s, s + 1) == 0)
            return nx_fail(NEXAR_EINVAL, "rank %u sends to rank %u with tag %u twice", e->sender, e->receiver, e->tag);
        c->partner[c->base[s->sender] + s->step] = c->base[r->receiver] + r->step;
        c->partner[c->base[r->receiver] + r->step] = c->base[s->sender] + s->step;
    }
    return NEXAR_OK;
}

static uint32_t rank_of(const struct all *c, size_t step)
{
    uint32_t low = 0;
    uint32_t high = c->n;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (c->base[middle] <= step)
            low = middle;
        else
            high = middle;
    }
    return low;
}

#define REACHED 0x80 /* in `left`: nothing is missing any more */

/* Marks a step as done and puts those that became ready on the stack. */
static size_t finish_step(struct all *c, size_t step, size_t depth)
{
    uint32_t rank = rank_of(c, step);
    const struct nx_sched *s = c->scheds[rank];
    size_t i = step - c->base[rank];

    for (uint32_t k = s->succ_at[i]; k < s->succ_at[i + 1]; k++)
        if (--c->left[c->base[rank] + s->succ[k]] == 0)
            c->stack[depth++] = c->base[rank] + s->succ[k];
    return depth;
}

/* No step ever takes away what another needs, so one order tells about all. */
static nexar_status check_progress(struct all *c)
{
    size_t depth = 0;

    for (uint32_t r = 0; r < c->n; r++) {
        memcpy(c->left + c->base[r], c->scheds[r]->waits, c->scheds[r]->count);
        for (uint32_t i = 0; i < c->scheds[r]->nready; i++)
            c->stack[depth++] = c->base[r] + c->scheds[r]->ready[i];
    }
    while (depth > 0) {
        size_t step = c->stack[--depth];
        uint32_t rank = rank_of(c, step);
        const struct nx_step *t = &c->scheds[rank]->steps[step - c->base[rank]];

        c->left[step] = REACHED;
        if (!sends(t) && !receives(t)) {
            depth = finish_step(c, step, depth);
        } else if (c->left[c->partner[step]] == REACHED) {
            depth = finish_step(c, step, depth);
            depth = finish_step(c, c->partner[step], depth);
        }
    }
    for (size_t step = 0; step < c->base[c->n]; step++) {
        uint32_t rank = rank_of(c, step);
        char text[STEP_TEXT];

        if (c->left[step] == REACHED)
            continue;
        nx_sched_describe(c->scheds[rank], (uint32_t)(step - c->base[rank]), text, sizeof(text));
        return nx_fail(NEXAR_EINVAL, "without buffers rank %u never comes to %s", rank, text);
    }
    return NEXAR_OK;
}

nexar_status nx_sched_check_all(const struct nx_sched *const *all, uint32_t n)
{
    struct all c = {.scheds = all, .n = n};
    nexar_status st = list_ends(&c);

    if (st == NEXAR_OK)
        st = match(&c);
    if (st == NEXAR_OK)
        st = check_progress(&c);
    free_all(&c);
    return st;
}
