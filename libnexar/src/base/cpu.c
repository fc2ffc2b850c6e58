/* base/cpu.c - asks the processor, through the compiler's own table.
 *
 * Owner: nobody; the table is filled before main and constant afterwards.  It decides nothing: whoever has several
 * versions of a function chooses. */
#include "base/cpu.h"

bool nx_cpu_has(enum nx_cpu_feature feature)
{
#if defined(__x86_64__)
    switch (feature) {
    case NX_CPU_AVX2:
        return __builtin_cpu_supports("avx2") != 0;
    }
#endif
    (void)feature;
    return false;
}
