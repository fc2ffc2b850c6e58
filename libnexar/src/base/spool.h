/* base/spool.h - writes texts into files in the background, since the engine must not wait for a disk. */
#ifndef NX_BASE_SPOOL_H
#define NX_BASE_SPOOL_H

#include "base/clock.h"
#include "base/status.h"

#include <stddef.h>

/* Writes `n` bytes into a new file beside `path` and puts it in the place of `path`: a reader never sees half of it.
 * NEXAR_ESYSTEM, NEXAR_ENOMEM; blocks. */
nexar_status nx_spool_write(const char *path, const char *text, size_t n);

/* The same in the background, in order; takes `text` over (nx_alloc).  What fails is a warning in the log; what is too
 * much at once is left out.  Any thread. */
void nx_spool_post(const char *path, char *text, size_t n);

/* Waits until what was posted before is written, at most so long.  Not on the engine. */
void nx_spool_wait(nx_time most);

#endif
