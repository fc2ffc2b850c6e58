/* coll/table.h - inside the choice of algorithms: all there are, and the rules that hold without the user's.  For
 * table.c and select.c. */
#ifndef NX_COLL_TABLE_H
#define NX_COLL_TABLE_H

#include "coll/select.h"

extern const struct nx_algorithm nx_algorithms[];
extern const uint32_t nx_algorithm_count;
extern const uint32_t nx_algorithm_named; /* those before can be chosen by name */

extern const struct nx_rule nx_rules[];
extern const size_t nx_rule_count;

#endif
