/* coll/sched_check.h - proves things about schedules without running them; for tests and for whoever writes an
 * algorithm. */
#ifndef NX_COLL_SCHED_CHECK_H
#define NX_COLL_SCHED_CHECK_H

#include "coll/sched.h"

#include <stdbool.h>

struct nx_check_sizes {
    size_t send; /* elements of the buffers */
    size_t recv;
    bool in_place;
};

/* One rank's schedule alone: every step is well formed, its slices lie within the buffers, nothing writes to SEND; and
 * of two steps that touch the same element, one of them writing, one always comes after the other.  NEXAR_OK,
 * NEXAR_EINVAL with the steps in the text, NEXAR_ENOMEM.  Memory and time are quadratic in the steps. */
nexar_status nx_sched_check(const struct nx_sched *s, uint32_t rank, uint32_t n, const struct nx_check_sizes *sizes);

/* The finished schedules of all ranks together: each send has its receive, of the same length, and the other way round;
 * no tag is used twice from one rank to another; and all of them come to an end even if no message is ever buffered,
 * that is, if a send is done only once its receive was waiting.  As above. */
nexar_status nx_sched_check_all(const struct nx_sched *const *all, uint32_t n);

#endif
