/* base/status.h - how a call says what went wrong: a status up the stack, a sentence and its fields per thread. */
#ifndef NX_BASE_STATUS_H
#define NX_BASE_STATUS_H

#include "nexar/base.h"

#define NX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Fill this thread's last error and return `status`, so that a failure is one statement: return nx_fail(...). */
nexar_status nx_fail(nexar_status status, const char *format, ...) NX_PRINTF(2, 3);
nexar_status nx_fail_peer(nexar_status status, uint32_t peer, const char *format, ...) NX_PRINTF(3, 4);

/* Fills any error record; NULL is legal. */
void nx_error_set(nexar_error *error, nexar_status status, uint32_t peer, const char *format, ...) NX_PRINTF(4, 5);
void nx_error_hint(nexar_error *error, const char *format, ...) NX_PRINTF(2, 3);

/* This thread's record, to add fields to the last nx_fail. */
nexar_error *nx_last_error(void);

/* Makes `error` this thread's last error and returns its status. */
nexar_status nx_fail_with(const nexar_error *error);

/* Copies as much of an error as the caller's `size` says it knows.  NEXAR_EINVAL if that is less than the first
 * version. */
nexar_status nx_error_copy(nexar_error *to, const nexar_error *from);

#endif
