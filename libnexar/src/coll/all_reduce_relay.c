/* coll/all_reduce_relay.c - sums by rank over several hosts: each continues the partial sums of the one before, and the
 * last sends the result back.
 *
 * A "leg" here is a run of consecutive ranks on one host.  As many slices as the shortest leg has ranks; within a leg
 * the owner of a slice collects the others' parts of it.  h legs: 2 (h - 1) rounds between hosts, each of which sends
 * and receives at most S each way; for long vectors, cut into laps that follow each other.  By rank.
 * Pure; see build.h. */
#include "coll/hosts.h"

#include "base/mem.h"

struct relay {
    struct nx_sched *s;
    const struct nx_shape *shape;
    uint32_t legs;
    uint32_t slices;
    uint32_t own;        /* leg of this rank */
    uint32_t *first;     /* owned; of each leg, and the number of ranks behind the last one */
    int32_t *gave;       /* owned; per slice of this lap, the step that sent it to its owner */
    uint32_t tag;        /* of this lap */
    struct nx_range lap; /* now */
    size_t slot;         /* in scratch: of this lap, for our own part where the sum grows in its place */
    int32_t before;      /* the end of the lap whose slot this one has */
};

enum { GIVE, PASS, RETURN, SPREAD, TAGS };

static bool same_leg(const struct nx_shape *shape, uint32_t rank)
{
    return shape->hosts == NULL || shape->hosts[rank - 1] == shape->hosts[rank];
}

/* False: the schedule has failed. */
static bool begin(struct relay *r)
{
    uint32_t n = r->shape->n;

    r->first = nx_calloc((size_t)n + 1, sizeof(*r->first));
    r->gave = nx_calloc(n, sizeof(*r->gave));
    if (r->first == NULL || r->gave == NULL) {
        r->s->failure = "no memory";
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || !same_leg(r->shape, i))
            r->first[r->legs++] = i;
        if (i == r->shape->rank)
            r->own = r->legs - 1;
    }
    r->first[r->legs] = n;
    r->slices = n;
    for (uint32_t i = 0; i < r->legs; i++)
        r->slices = r->first[i + 1] - r->first[i] < r->slices ? r->first[i + 1] - r->first[i] : r->slices;
    return true;
}

static struct nx_slice slice(const struct relay *r, enum nx_buf buf, uint32_t j)
{
    return nx_slice(buf, nx_chunk(r->lap, r->slices, j));
}

/* RECV = what the legs before have, and this one's parts by rank, of slice j, which is ours. */
static int32_t sum(const struct relay *r, uint32_t j)
{
    const struct nx_shape *shape = r->shape;
    uint32_t first = r->first[r->own];
    struct nx_slice result = slice(r, NX_BUF_RECV, j);
    struct nx_slice own = slice(r, NX_BUF_SEND, j);
    bool grows = r->own == 0 && j == 0; /* the sum begins with our own part */
    int32_t last = r->before;
    bool begun = false;

    if (shape->in_place && !grows) {
        own = (struct nx_slice){.buf = NX_BUF_SCRATCH, .off = r->slot, .count = result.count};
        last = nx_sched_copy(r->s, result, own, last, NX_NONE);
    }
    if (r->own != 0) {
        last = nx_sched_recv(r->s, r->first[r->own - 1] + j, r->tag + PASS, result, last, NX_NONE);
        begun = true;
    }
    for (uint32_t i = first; i < r->first[r->own + 1]; i++) {
        if (i != shape->rank)
            last = begun ? nx_sched_recv_reduce(r->s, i, r->tag + GIVE, result, last, NX_NONE)
                         : nx_sched_recv(r->s, i, r->tag + GIVE, result, last, NX_NONE);
        else if (begun)
            last = nx_sched_reduce(r->s, own, result, last, NX_NONE);
        else if (!shape->in_place)
            last = nx_sched_copy(r->s, own, result, last, NX_NONE);
        begun = true;
    }
    return last;
}

/* Slice j goes on to the next leg, and its sum comes back from there and goes on to the one before. */
static int32_t pass(const struct relay *r, uint32_t j, int32_t last)
{
    struct nx_slice result = slice(r, NX_BUF_RECV, j);

    if (r->own + 1 < r->legs) {
        uint32_t next = r->first[r->own + 1] + j;

        last = nx_sched_send(r->s, next, r->tag + PASS, result, last, NX_NONE);
        last = nx_sched_recv(r->s, next, r->tag + RETURN, result, last, NX_NONE);
    }
    if (r->own != 0)
        nx_sched_send(r->s, r->first[r->own - 1] + j, r->tag + RETURN, result, last, NX_NONE);
    return last;
}

static int32_t add_lap(const struct relay *r)
{
    uint32_t first = r->first[r->own];
    uint32_t end = r->first[r->own + 1];
    uint32_t place = r->shape->rank - first;
    int32_t last = r->before;
    int32_t got = NX_NONE;

    for (uint32_t j = 0; j < r->slices; j++)
        r->gave[j] = j == place
                         ? NX_NONE
                         : nx_sched_send(r->s, first + j, r->tag + GIVE, slice(r, NX_BUF_SEND, j), r->before, NX_NONE);
    if (place < r->slices) {
        last = pass(r, place, sum(r, place));
        for (uint32_t i = first; i < end; i++)
            if (i != r->shape->rank)
                nx_sched_send(r->s, i, r->tag + SPREAD, slice(r, NX_BUF_RECV, place), last, NX_NONE);
    }
    for (uint32_t j = 0; j < r->slices; j++)
        if (j != place)
            got = nx_sched_recv(r->s, first + j, r->tag + SPREAD, slice(r, NX_BUF_RECV, j), r->gave[j], NX_NONE);
    return nx_sched_join(r->s, last, got);
}

void nx_build_all_reduce_relay(struct nx_sched *s, const struct nx_shape *shape)
{
    struct relay r = {.s = s, .shape = shape};
    int32_t ends[NX_WINDOW] = {NX_NONE, NX_NONE, NX_NONE, NX_NONE};
    size_t at = 0, width;
    uint32_t lap = 0;

    if (begin(&r)) {
        width = nx_hosts_width(shape, nx_mul_capped(shape->segment, r.slices));
        do {
            r.lap = nx_piece(nx_whole(shape), at, width);
            r.tag = lap * TAGS;
            r.before = ends[lap % NX_WINDOW];
            r.slot = lap % NX_WINDOW * (width < shape->count ? width / r.slices + 1 : shape->count);
            ends[lap++ % NX_WINDOW] = add_lap(&r);
            s->tags = lap * TAGS;
            at += r.lap.count;
        } while (at < shape->count && s->failure == NULL);
    }
    nx_free(r.first);
    nx_free(r.gave);
}
