/* math/fpenv.h - makes a thread compute as IEEE 754 has it by default, whatever its owner has set.
 *
 * Some libraries switch subnormals off in every thread that loads them (-ffast-math), some programs change the rounding
 * mode or make exceptions trap.  Ranks of one job may differ in that, and must not differ in results. */
#ifndef NX_MATH_FPENV_H
#define NX_MATH_FPENV_H

#include <stdint.h>

/* The clobber keeps loads and stores, and so what is computed between them, on their side of the switch. */
#if defined(__x86_64__)

enum {
    NX_MXCSR_FLAGS = 0x3f, /* exceptions that were */
    NX_MXCSR_DEFAULT = 0x1f80,
};

/* Returns what nx_fp_leave needs. */
static inline uint64_t nx_fp_enter(void)
{
    uint32_t own = __builtin_ia32_stmxcsr();

    if ((own & ~(uint32_t)NX_MXCSR_FLAGS) != NX_MXCSR_DEFAULT)
        __builtin_ia32_ldmxcsr(NX_MXCSR_DEFAULT);
    __asm__ volatile("" ::: "memory");
    return own;
}

static inline void nx_fp_leave(uint64_t own)
{
    __asm__ volatile("" ::: "memory");
    if ((own & ~(uint64_t)NX_MXCSR_FLAGS) != NX_MXCSR_DEFAULT)
        __builtin_ia32_ldmxcsr((uint32_t)own);
}

#elif defined(__aarch64__)

static inline uint64_t nx_fp_enter(void)
{
    uint64_t own;

    __asm__ volatile("mrs %0, fpcr" : "=r"(own));
    if (own != 0)
        __asm__ volatile("msr fpcr, xzr" ::: "memory");
    __asm__ volatile("" ::: "memory");
    return own;
}

static inline void nx_fp_leave(uint64_t own)
{
    __asm__ volatile("" ::: "memory");
    if (own != 0)
        __asm__ volatile("msr fpcr, %0" ::"r"(own) : "memory");
}

#else

static inline uint64_t nx_fp_enter(void)
{
    return 0;
}

static inline void nx_fp_leave(uint64_t own)
{
    (void)own;
}

#endif

#endif
