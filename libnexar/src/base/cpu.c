/* base/cpu.c - asks the processor, through the compiler's own table.
 *
 * Owner: nobody; the table is filled before main and constant afterwards.  It decides nothing: whoever has several
 * versions of a function chooses. */
#include "base/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Clang's table does not know it.  It needs the same registers as AVX2, about which the table has asked the system. */
static int has_f16c(void)
{
    unsigned int eax, ebx, ecx, edx;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0 && __builtin_cpu_supports("avx2");
}

uint32_t nx_cpu_features(void)
{
    uint32_t set = 0;

    set |= __builtin_cpu_supports("avx2") ? NX_CPU_AVX2 : 0;
    set |= has_f16c() ? NX_CPU_F16C : 0;
    set |= __builtin_cpu_supports("avx512f") ? NX_CPU_AVX512F : 0;
    set |= __builtin_cpu_supports("avx512bw") ? NX_CPU_AVX512BW : 0;
    set |= __builtin_cpu_supports("avx512dq") ? NX_CPU_AVX512DQ : 0;
    set |= __builtin_cpu_supports("avx512vl") ? NX_CPU_AVX512VL : 0;
    set |= __builtin_cpu_supports("avx512vbmi2") ? NX_CPU_AVX512VBMI2 : 0;
    return set;
}

#else

uint32_t nx_cpu_features(void)
{
    return 0;
}

#endif
