/* edges.c - what the dependencies of a schedule say together. */
#include "edges.h"

#include <stdlib.h>

bool edges_imply(const struct nx_sched *s, uint32_t step, int32_t before)
{
    bool *reached = calloc(s->count, sizeof(*reached));
    bool result;

    reached[step] = true;
    for (uint32_t i = step + 1; i-- > 0;)
        for (int k = 0; k < 2 && reached[i]; k++)
            if (s->steps[i].after[k] != NX_NONE)
                reached[s->steps[i].after[k]] = true;
    result = reached[before];
    free(reached);
    return result;
}
