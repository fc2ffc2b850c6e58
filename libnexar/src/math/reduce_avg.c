/* math/reduce_avg.c - averages of integers: the sum divided by the number of ranks, the fraction dropped.
 *
 * Owner: nobody, they are pure.  Plain loops that compilers make vectors of; floats are averaged beside their sums.
 * Up to 32 bits the division is one of floats, since no processor divides a vector of integers: an integer and a
 * quotient just below it are further apart than the float's last bit, so that rounding does not take one to the
 * other. */
#include "math/fpenv.h"
#include "math/reduce_table.h"

#include <string.h>

#define AVERAGE(type, wide)                                            \
    void nx_reduce_avg_##type(void *acc, size_t count, uint32_t ranks) \
    {                                                                  \
        unsigned char *p = acc;                                        \
        wide n = (wide)ranks;                                          \
        uint64_t fp = nx_fp_enter();                                   \
                                                                       \
        for (size_t i = 0; i < count; i++) {                           \
            type##_t x;                                                \
                                                                       \
            memcpy(&x, p + i * sizeof(x), sizeof(x));                  \
            x = (type##_t)((wide)x / n);                               \
            memcpy(p + i * sizeof(x), &x, sizeof(x));                  \
        }                                                              \
        nx_fp_leave(fp);                                               \
    }

AVERAGE(int8, float)
AVERAGE(int16, float)
AVERAGE(int32, double)
AVERAGE(int64, int64_t)
AVERAGE(uint8, float)
AVERAGE(uint16, float)
AVERAGE(uint32, double)
AVERAGE(uint64, uint64_t)
