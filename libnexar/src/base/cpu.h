/* base/cpu.h - what this processor can do. */
#ifndef NX_BASE_CPU_H
#define NX_BASE_CPU_H

#include <stdbool.h>

enum nx_cpu_feature {
    NX_CPU_AVX2,
};

/* True if both the processor and the operating system support it.  Any thread. */
bool nx_cpu_has(enum nx_cpu_feature feature);

#endif
