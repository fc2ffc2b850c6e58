/* base/process.h - which process is meant, beyond its number: numbers are used again. */
#ifndef NX_BASE_PROCESS_H
#define NX_BASE_PROCESS_H

#include "nexar/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct nx_process {
    pid_t pid;
    uint64_t start;     /* clock ticks after the boot */
    uint64_t pid_space; /* the namespace that `pid` is a number of */
    char boot[40];      /* id of the boot */
};

#define NX_PROCESS_TEXT 128

/* The calling process.  NEXAR_ESYSTEM without /proc. */
nexar_status nx_process_self(struct nx_process *out);

/* False only if it is certain that the process has ended: one in another namespace cannot be judged. */
bool nx_process_lives(const struct nx_process *process);

/* "PID START SPACE BOOT" and back. */
void nx_process_text(const struct nx_process *process, char out[NX_PROCESS_TEXT]);
bool nx_process_parse(const char *text, struct nx_process *out);

/* The process that started this job's ranks on this host: the nearest ancestor without `variable` = `value` in its
 * first environment, so that scripts between it and the rank do not count.  variable NULL: the parent.  Writes
 * "PID.START", empty if /proc does not tell. */
void nx_process_starter(const char *variable, const char *value, char *out, size_t cap);

#endif
