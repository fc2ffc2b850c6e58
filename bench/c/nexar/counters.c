/* counters.c - what the library counted, read from the text of nexar_comm_stats.
 *
 * Owner: the main thread.  It knows just as much of JSON as that text needs: objects of objects of numbers, no string
 * values. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *stats(nexar_comm *comm)
{
    static char text[16384];
    size_t need;

    bench_must(nexar_comm_stats(comm, text, sizeof(text), &need));
    if (need <= sizeof(text))
        return text;
    fprintf(stderr, "nexar-bench: counters of %zu bytes\n", need);
    exit(1);
}

/* What follows `"name":` in text[0..n); NULL if it is not there. */
static const char *find(const char *text, size_t n, const char *name)
{
    size_t length = strlen(name);

    for (const char *p = text; (size_t)(p - text) + length + 3 <= n; p++)
        if (p[0] == '"' && strncmp(p + 1, name, length) == 0 && p[length + 1] == '"')
            return p + length + 2 + strspn(p + length + 2, ": \n");
    return NULL;
}

uint64_t bench_counter(nexar_comm *comm, const char *name)
{
    const char *text = stats(comm);
    const char *value = find(text, strlen(text), name);

    if (value != NULL)
        return strtoull(value, NULL, 10);
    fprintf(stderr, "nexar-bench: the library counts no %s\n", name);
    exit(1);
}

void bench_transports(nexar_comm *comm, char *text, size_t cap)
{
    const char *p = stats(comm);

    text[0] = '\0';
    p = find(p, strlen(p), "transports");
    for (p = p != NULL ? strchr(p, '"') : NULL; p != NULL && *p == '"';) {
        const char *name = p + 1;
        const char *end = strchr(p, '}');
        const char *sent = end != NULL ? find(p, (size_t)(end - p), "messages_sent") : NULL;
        size_t used = strlen(text);

        if (sent != NULL && *sent != '0')
            snprintf(text + used, cap - used, "%s%.*s", used != 0 ? "+" : "", (int)strcspn(name, "\""), name);
        p = end != NULL ? end + 1 + strspn(end + 1, ", \n") : NULL;
    }
    if (text[0] == '\0')
        snprintf(text, cap, "none");
}
