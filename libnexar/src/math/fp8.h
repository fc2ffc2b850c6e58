/* math/fp8.h - float8 e4m3 (no infinity, 448 is the greatest, 0x7f not a number), as its bits, to float32 and back.
 *
 * Back is to the nearest, ties to even, subnormals included; what is too large becomes 448, and what is not finite
 * 0x7f.  Right in the default rounding mode (math/fpenv.h). */
#ifndef NX_MATH_FP8_H
#define NX_MATH_FP8_H

#include "math/half.h"

static inline float nx_f32_of_fp8(uint8_t h)
{
    uint32_t sign = (uint32_t)(h & 0x80) << 24;
    uint32_t mag = h & 0x7f;

    if (mag == 0x7f)
        return nx_f32_of_bits(0x7fc00000);
    return nx_f32_of_bits(sign | nx_bits_of_f32(nx_f32_of_bits(mag << 20) * 0x1p120f)); /* biases 7 and 127 */
}

static inline uint8_t nx_fp8_of_f32(float f)
{
    uint32_t bits = nx_bits_of_f32(f);
    uint32_t sign = bits >> 24 & 0x80;
    uint32_t mag = bits & 0x7fffffff;

    if (mag >= 0x7f800000)
        return 0x7f;
    if (mag < 0x3c800000) /* below 2^-6: the last bit of 16384 is that of a subnormal, so the sum is rounded there */
        return (uint8_t)(sign | (nx_bits_of_f32(nx_f32_of_bits(mag) + 0x1p14f) - nx_bits_of_f32(0x1p14f)));
    if (mag > 0x43e00000) /* 448 */
        mag = 0x43e00000;
    mag += 0x7ffff + (mag >> 20 & 1);
    return (uint8_t)(sign | (mag - (120u << 23)) >> 20);
}

#endif
