/* play.c - runs seeds in the world of memsim.h and prints what happens, for twin.py.
 *
 *   play FIRST COUNT LEAST MOST witnessed|majority [false-close]
 * After the lines of each seed stands one "end FAULT". */
#include "memsim.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
    static struct memsim world;
    struct memsim_options o = {.trace = stdout};
    struct memsim_result r;
    uint64_t first, count;

    if (argc < 6) {
        fprintf(stderr, "play FIRST COUNT LEAST MOST witnessed|majority [false-close]\n");
        return 2;
    }
    first = strtoull(argv[1], NULL, 10);
    count = strtoull(argv[2], NULL, 10);
    o.least = (uint32_t)strtoul(argv[3], NULL, 10);
    o.most = (uint32_t)strtoul(argv[4], NULL, 10);
    o.majority = strcmp(argv[5], "majority") == 0;
    o.false_close = argc > 6;
    for (uint64_t seed = first; seed < first + count; seed++) {
        memsim_scenario(&world, seed, &o, &r);
        for (uint32_t i = 0; i < r.n; i++)
            printf("side %s %lld\n", r.side[i].stopped ? "stopped" : "whole", (long long)r.side[i].after);
        printf("end %s\n", world.fault);
        memsim_fini(&world);
    }
    return 0;
}
