/* node/value.h - values of settings as text: whole numbers, sizes, spans of time.  Strict: one number, at most one
 * unit, nothing before, between or after. */
#ifndef NX_NODE_VALUE_H
#define NX_NODE_VALUE_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits alone. */
bool nx_value_count(const char *text, uint64_t *out);

/* Bytes, or k, m, g (KiB, MiB, GiB) of 1024: "4096", "64k", "16MiB". */
bool nx_value_bytes(const char *text, uint64_t *out);

/* Seconds, or ns, us, ms, s, min, h, with decimals as long as they make whole nanoseconds: "30", "1.5", "250ms".
 * "never" is NX_NEVER. */
bool nx_value_span(const char *text, nx_time *out);

/* Steps between two words if letters are lost, added, exchanged, or swapped with their neighbour; for "did you mean".
 */
size_t nx_word_distance(const char *a, const char *b);

#endif
