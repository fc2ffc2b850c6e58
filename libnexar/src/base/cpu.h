/* base/cpu.h - what this processor can do. */
#ifndef NX_BASE_CPU_H
#define NX_BASE_CPU_H

#include <stdint.h>

/* Bits of a set. */
enum nx_cpu_feature {
    NX_CPU_AVX2 = 1 << 0,
    NX_CPU_F16C = 1 << 1,
    NX_CPU_AVX512F = 1 << 2,
    NX_CPU_AVX512BW = 1 << 3,
    NX_CPU_AVX512DQ = 1 << 4,
    NX_CPU_AVX512VL = 1 << 5,
    NX_CPU_AVX512VBMI2 = 1 << 6,
};

/* Those that both the processor and the operating system support.  Any thread. */
uint32_t nx_cpu_features(void);

#endif
