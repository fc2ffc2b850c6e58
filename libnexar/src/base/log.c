/* base/log.c - formats a line and gives it to the sink.
 *
 * Owner: any thread; sink and prefix under the log lock.  It does not buffer, rotate or filter by subject. */
#include "base/log.h"

#include "base/thread.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Atomic int nx_log_level = NEXAR_LOG_WARN;

static struct nx_mutex lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = NX_LOCK_LOG};
static nexar_log_fn sink;
static void *sink_arg;
static char prefix[32];

static const char *const names[] = {"error", "warn", "info", "debug", "trace"};

bool nx_log_level_parse(const char *name, nexar_log_level *level)
{
    for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++) {
        if (strcmp(name, names[i]) == 0) {
            *level = (nexar_log_level)i;
            return true;
        }
    }
    return false;
}

__attribute__((constructor)) static void level_from_environment(void)
{
    const char *name = getenv("NEXAR_LOG");
    nexar_log_level level;

    if (name != NULL && nx_log_level_parse(name, &level))
        nexar_log_set_level(level);
}

void nx_log_line(nexar_log_level level, const char *format, ...)
{
    char line[768];
    int n;
    va_list args;

    nx_lock(&lock);
    n = snprintf(line, sizeof(line), "nexar %s%s: ", prefix, names[level]);
    va_start(args, format);
    vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
    va_end(args);
    if (sink != NULL) {
        sink(sink_arg, level, line);
    } else {
        /* One write, so that lines of several ranks on one terminal do not mix. */
        size_t len = strlen(line);
        line[len] = '\n';
        ssize_t written = write(STDERR_FILENO, line, len + 1);
        (void)written; /* there is nowhere left to complain to */
    }
    nx_unlock(&lock);
}

void nx_log_set_prefix(const char *text)
{
    nx_lock(&lock);
    snprintf(prefix, sizeof(prefix), "%s", text);
    nx_unlock(&lock);
}

void nexar_log_set(nexar_log_fn fn, void *arg)
{
    nx_lock(&lock);
    sink = fn;
    sink_arg = arg;
    nx_unlock(&lock);
}

void nexar_log_set_level(nexar_log_level level)
{
    atomic_store_explicit(&nx_log_level, (int)level, memory_order_relaxed);
}
