/* edges.h - dependencies between the steps of a schedule, for tests that take one away. */
#ifndef NX_TEST_EDGES_H
#define NX_TEST_EDGES_H

#include "coll/sched.h"

#include <stdbool.h>

/* True if `step` still comes after `before`, by the edges that are there. */
bool edges_imply(const struct nx_sched *s, uint32_t step, int32_t before);

#endif
