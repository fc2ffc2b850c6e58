/* base/plain.h - text that came from others, or from a library, made fit to be shown and sent.
 *
 * What a stranger says must not write into a terminal or a log, and a text that is cut anywhere must still be UTF-8. */
#ifndef NX_BASE_PLAIN_H
#define NX_BASE_PLAIN_H

#include <stddef.h>

/* Copies the printable ASCII of `n` bytes and puts a question mark for everything else; cut at `cap` - 1. */
static inline void nx_plain(char *to, size_t cap, const char *from, size_t n)
{
    size_t i;

    for (i = 0; i < n && i + 1 < cap; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[i] = '\0';
}

#endif
