/* node/hostlist.c - reads Slurm's lists of hosts and of tasks.
 *
 * Owner: none, no state.  It does not expand a list: nobody needs more than its first host. */
#include "node/hostlist.h"

#include <stdlib.h>
#include <string.h>

bool nx_hostlist_first(const char *text, char *out, size_t cap)
{
    bool skipping = false; /* the rest of a bracket, after its first number */
    bool inside = false;
    size_t n = 0;

    for (const char *p = text; *p != '\0' && (inside || *p != ','); p++) {
        if (*p == '[' || *p == ']') {
            if (inside == (*p == '['))
                return false;
            inside = *p == '[';
            skipping = false;
        } else if (inside && (*p == '-' || *p == ',')) {
            skipping = true;
        } else if (!skipping) {
            if (n + 1 >= cap)
                return false;
            out[n++] = *p;
        }
    }
    if (n == 0 || inside)
        return false;
    out[n] = '\0';
    return true;
}

bool nx_tasks_on_node(const char *text, uint32_t node, uint32_t *out)
{
    const char *p = text;

    for (;;) {
        char *end;
        unsigned long tasks = strtoul(p, &end, 10), nodes = 1;

        if (end == p || *p < '0' || *p > '9' || tasks == 0 || tasks > UINT32_MAX)
            return false;
        p = end;
        if (strncmp(p, "(x", 2) == 0) {
            nodes = strtoul(p + 2, &end, 10);
            if (*end != ')' || nodes == 0)
                return false;
            p = end + 1;
        }
        if (node < nodes) {
            *out = (uint32_t)tasks;
            return *p == '\0' || *p == ',';
        }
        node -= (uint32_t)nodes;
        if (*p != ',')
            return false;
        p++;
    }
}
