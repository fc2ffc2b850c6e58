/* coll/hosts.c - see hosts.h.
 *
 * Owner: the builder, on one thread.  It does not know what a part does. */
#include "coll/hosts.h"

#include "base/mem.h"

#include <string.h>

enum {
    LAPS = 1024, /* more would be many steps for what is one lap more of so many */
    PARTS = 3,   /* most of a lap */
};

bool nx_hosts_init(struct nx_hosts *h, struct nx_sched *s, const struct nx_shape *shape)
{
    uint32_t n = shape->n;

    *h = (struct nx_hosts){.s = s, .shape = shape, .count = 1, .least = n};
    for (uint32_t i = 0; i < n; i++)
        h->count = nx_hosts_of(h, i) + 1 > h->count ? nx_hosts_of(h, i) + 1 : h->count;
    h->at = nx_calloc(2 * (size_t)h->count + 1 + 2 * (size_t)n, sizeof(*h->at));
    if (h->at == NULL) {
        s->failure = "no memory";
        return false;
    }
    h->group = h->at + h->count + 1;
    h->ranks = h->group + h->count;
    h->places = h->ranks + n;
    for (uint32_t i = 0; i < n; i++)
        h->places[i] = h->at[nx_hosts_of(h, i) + 1]++;
    for (uint32_t i = 0; i < h->count; i++) {
        h->least = h->at[i + 1] < h->least ? h->at[i + 1] : h->least;
        h->at[i + 1] += h->at[i];
    }
    for (uint32_t i = 0; i < n; i++)
        h->ranks[h->at[nx_hosts_of(h, i)] + h->places[i]] = i;
    h->own = nx_hosts_of(h, shape->rank);
    h->place = h->places[shape->rank];
    for (int i = 0; i < NX_WINDOW; i++)
        h->ends[i] = NX_NONE;
    return true;
}

void nx_hosts_fini(struct nx_hosts *h)
{
    nx_free(h->at);
    h->at = NULL;
}

size_t nx_hosts_width(const struct nx_shape *shape, size_t width)
{
    size_t least = shape->count / LAPS + 1;

    return width > least ? width : least;
}

int32_t nx_hosts_lap_begin(struct nx_hosts *h)
{
    h->parts = 0;
    return h->ends[h->lap % NX_WINDOW];
}

void nx_hosts_lap_end(struct nx_hosts *h, int32_t end)
{
    h->ends[h->lap++ % NX_WINDOW] = end;
    h->s->tags = h->lap * PARTS * NX_HOSTS_TAGS;
}

void nx_hosts_skip(struct nx_hosts *h)
{
    h->parts++;
}

int32_t nx_hosts_part(struct nx_hosts *h, nx_build_fn build, const struct nx_shape *inner, const uint32_t *ranks,
                      struct nx_nest nest, int32_t after)
{
    struct nx_sched part = {0};
    int32_t last = NX_NONE;

    build(&part, inner);
    if (nx_sched_finish(&part) != NEXAR_OK) {
        h->s->failure = part.failure;
    } else if (nx_sched_tags(&part) > NX_HOSTS_TAGS || (h->lap != 0 && part.scratch > h->stride) || h->parts == PARTS) {
        h->s->failure = "a part that does not fit";
    } else {
        h->stride = part.scratch > h->stride ? part.scratch : h->stride;
        nest.into[NX_BUF_SCRATCH] = NX_BUF_SCRATCH;
        nest.offset[NX_BUF_SCRATCH] = h->scratch + h->lap % NX_WINDOW * h->stride;
        nest.scale = 1;
        nest.tag = (h->lap * PARTS + h->parts) * NX_HOSTS_TAGS;
        nest.ranks = ranks;
        last = nx_sched_nest(h->s, &part, &nest, after);
    }
    nx_sched_fini(&part);
    h->parts++;
    return last;
}
