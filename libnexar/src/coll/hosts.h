/* coll/hosts.h - for the algorithms that know which ranks share a host: who is where, and schedules of some of the
 * ranks as parts of a schedule of all.
 *
 * A host's place p is the p-th of its ranks.  Pure; belongs to the builder that made it. */
#ifndef NX_COLL_HOSTS_H
#define NX_COLL_HOSTS_H

#include "coll/build.h"

/* Tags of a part. */
#define NX_HOSTS_TAGS 32

struct nx_hosts {
    struct nx_sched *s;
    const struct nx_shape *shape;
    uint32_t count;   /* of hosts */
    uint32_t own;     /* this rank's host */
    uint32_t place;   /* this rank in it */
    uint32_t least;   /* ranks of the smallest host */
    uint32_t *at;     /* owned; host i has ranks[at[i]] .. ranks[at[i + 1] - 1], in order */
    uint32_t *ranks;  /* in the same memory */
    uint32_t *places; /* the place of each rank */
    uint32_t *group;  /* room for a rank of each host */
    size_t scratch;   /* elements that the builder itself uses; the parts' come behind */
    size_t stride;    /* of a lap's, known when the first lap, which is the longest, is built */
    uint32_t lap;     /* now */
    uint32_t parts;   /* of this lap, so far */
    int32_t ends[NX_WINDOW];
};

/* False: the schedule has failed.  Without `shape->hosts` all ranks share one. */
bool nx_hosts_init(struct nx_hosts *h, struct nx_sched *s, const struct nx_shape *shape);
void nx_hosts_fini(struct nx_hosts *h);

static inline uint32_t nx_hosts_size(const struct nx_hosts *h, uint32_t host)
{
    return h->at[host + 1] - h->at[host];
}

static inline uint32_t nx_hosts_rank(const struct nx_hosts *h, uint32_t host, uint32_t place)
{
    return h->ranks[h->at[host] + place];
}

/* The host of a rank. */
static inline uint32_t nx_hosts_of(const struct nx_hosts *h, uint32_t rank)
{
    return h->shape->hosts == NULL ? 0 : h->shape->hosts[rank];
}

/* Vectors are cut into laps, NX_WINDOW of which are under way at once; a lap has some parts, one after the other, the
 * same number on all ranks.  `begin` returns the step after which the lap begins; `end`: its last step. */
int32_t nx_hosts_lap_begin(struct nx_hosts *h);
void nx_hosts_lap_end(struct nx_hosts *h, int32_t end);

/* Elements of a lap that `width` would be enough for: more where there were too many laps. */
size_t nx_hosts_width(const struct nx_shape *shape, size_t width);

/* The next part of the lap, which this rank takes no part in. */
void nx_hosts_skip(struct nx_hosts *h);
/* The next part: the schedule of the `inner->n` ranks `ranks`.  `nest` says where its SEND and RECV lie.  Returns the
 * step when all of it is done. */
int32_t nx_hosts_part(struct nx_hosts *h, nx_build_fn build, const struct nx_shape *inner, const uint32_t *ranks,
                      struct nx_nest nest, int32_t after);

/* The ranks of this rank's host. */
static inline const uint32_t *nx_hosts_mates(const struct nx_hosts *h)
{
    return h->ranks + h->at[h->own];
}

/* This rank's place among its own, as a shape of `count` elements that are not cut. */
static inline struct nx_shape nx_hosts_inside(const struct nx_hosts *h, size_t count)
{
    return (struct nx_shape){.rank = h->place, .n = nx_hosts_size(h, h->own), .count = count, .segment = count + 1};
}

/* The same of its host among all hosts. */
static inline struct nx_shape nx_hosts_between(const struct nx_hosts *h, size_t count)
{
    return (struct nx_shape){.rank = h->own, .n = h->count, .count = count, .segment = count + 1};
}

#endif
