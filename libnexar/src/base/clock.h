/* base/clock.h - monotonic time in nanoseconds.  Pure code takes `now` as a parameter and never calls this. */
#ifndef NX_BASE_CLOCK_H
#define NX_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

typedef int64_t nx_time;

#define NX_NEVER INT64_MAX
#define NX_US ((nx_time)1000)
#define NX_MS ((nx_time)1000000)
#define NX_S ((nx_time)1000000000)

static inline nx_time nx_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (nx_time)t.tv_sec * NX_S + t.tv_nsec;
}

/* The same clock as it was some milliseconds ago at most, at a fifth of the cost. */
static inline nx_time nx_now_about(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (nx_time)t.tv_sec * NX_S + t.tv_nsec;
}

/* now + span without overflow; a span of NX_NEVER, or one that is negative, gives NX_NEVER or now. */
static inline nx_time nx_after(nx_time now, nx_time span)
{
    if (span <= 0)
        return now;
    return span > NX_NEVER - now ? NX_NEVER : now + span;
}

#endif
