/** nexar/stats.h - counters and the log. */
#ifndef NEXAR_STATS_H
#define NEXAR_STATS_H

#include "nexar/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nexar_log_level {
    NEXAR_LOG_ERROR = 0, /**< somebody must act */
    NEXAR_LOG_WARN = 1,  /**< somebody should look */
    NEXAR_LOG_INFO = 2,  /**< once per job */
    NEXAR_LOG_DEBUG = 3, /**< once per peer or communicator */
    NEXAR_LOG_TRACE = 4, /**< once per message */
} nexar_log_level;

typedef void (*nexar_log_fn)(void *arg, nexar_log_level level, const char *line);

/** The counters of a communicator's node as JSON: rank, size, finished collectives by name, bytes and messages by
 *  transport, copies, memory.  A collective that runs directly in shared memory counts what this rank has written there
 *  as sent by "shm", a message for each part.  Cut at `cap` bytes; `*need` is the whole length + 1.
 *  @returns NEXAR_OK, NEXAR_EINVAL, NEXAR_ECLOSED.  @threads any */
NEXAR_API nexar_status nexar_comm_stats(nexar_comm *comm, char *json, size_t cap, size_t *need);

/** Sends log lines to `fn` instead of standard error; NULL: back to standard error.  `fn` may be called from any thread
 *  and must not call the library.
 *  @returns nothing.  @threads any */
NEXAR_API void nexar_log_set(nexar_log_fn fn, void *arg);

/** Lines up to this level are written.  The start value is NEXAR_LOG (error, warn, info, debug, trace), else warn.
 *  @returns nothing.  @threads any */
NEXAR_API void nexar_log_set_level(nexar_log_level level);

#ifdef __cplusplus
}
#endif

#endif
