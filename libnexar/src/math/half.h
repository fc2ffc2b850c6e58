/* math/half.h - float16 and bfloat16, as their bits, to float32 and back; one at a time.
 *
 * Back is to the nearest, ties to even, subnormals included; what is too large becomes infinite, and a NaN the one
 * quiet NaN.  Right in the default rounding mode (math/fpenv.h). */
#ifndef NX_MATH_HALF_H
#define NX_MATH_HALF_H

#include <stdint.h>
#include <string.h>

static inline float nx_f32_of_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t nx_bits_of_f32(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline float nx_f32_of_bf16(uint16_t h)
{
    return nx_f32_of_bits((uint32_t)h << 16);
}

static inline uint16_t nx_bf16_of_f32(float f)
{
    uint32_t bits = nx_bits_of_f32(f);

    if ((bits & 0x7fffffff) > 0x7f800000)
        return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); /* the carry may go into the exponent: so it should */
}

static inline float nx_f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t mag = h & 0x7fff;

    if (mag >= 0x7c00) /* infinite, NaN */
        return nx_f32_of_bits(sign | 0x7f800000 | (mag & 0x3ff) << 13);
    if (mag >= 0x0400) /* the exponents' biases are 15 and 127 */
        return nx_f32_of_bits(sign | ((mag << 13) + (112u << 23)));
    return nx_f32_of_bits(sign | nx_bits_of_f32((float)mag * 0x1p-24f));
}

static inline uint16_t nx_f16_of_f32(float f)
{
    uint32_t bits = nx_bits_of_f32(f);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t mag = bits & 0x7fffffff;

    if (mag > 0x7f800000)
        return 0x7e00;
    if (mag >= 0x477ff000) /* half way between the greatest, 65504, and what would be next */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000) { /* below 2^-14: the last bit of 0.5f is that of a subnormal, so the sum is rounded there */
        mag = nx_bits_of_f32(nx_f32_of_bits(mag) + 0.5f) - nx_bits_of_f32(0.5f);
        return (uint16_t)(sign | mag);
    }
    mag += 0xfff + (mag >> 13 & 1);
    return (uint16_t)(sign | (mag - (112u << 23)) >> 13);
}

#endif
