/* base/log.h - lines for people.  Lower case, "name value" rather than "name=value", ranks as "rank 3".
 * Levels by volume: info once per job, debug once per peer or communicator, trace once per message. */
#ifndef NX_BASE_LOG_H
#define NX_BASE_LOG_H

#include "base/status.h"
#include "nexar/stats.h"

#include <stdatomic.h>
#include <stdbool.h>

extern _Atomic int nx_log_level;

static inline bool nx_log_on(nexar_log_level level)
{
    return (int)level <= atomic_load_explicit(&nx_log_level, memory_order_relaxed);
}

void nx_log_line(nexar_log_level level, const char *format, ...) NX_PRINTF(2, 3);

/* Put before every line ("[3] "); one rank per process is the usual case, so it is process wide. */
void nx_log_set_prefix(const char *prefix);

/* Level from its name; false if there is no such level. */
bool nx_log_level_parse(const char *name, nexar_log_level *level);

#define nx_log(level, ...)                   \
    do {                                     \
        if (nx_log_on(level))                \
            nx_log_line(level, __VA_ARGS__); \
    } while (0)
#define nx_warn(...) nx_log(NEXAR_LOG_WARN, __VA_ARGS__)
#define nx_info(...) nx_log(NEXAR_LOG_INFO, __VA_ARGS__)
#define nx_debug(...) nx_log(NEXAR_LOG_DEBUG, __VA_ARGS__)
#define nx_trace(...) nx_log(NEXAR_LOG_TRACE, __VA_ARGS__)

#endif
