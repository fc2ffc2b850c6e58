/* wire/utf8.c - is this UTF-8?
 *
 * Owner: nobody, it is pure.  It follows table 3-7 of the Unicode standard; it does not decode. */
#include "wire/schema.h"

/* Bytes of the well-formed sequence that begins at p, of at most `n` > 0 bytes; 0: there is none. */
static size_t sequence(const uint8_t *p, size_t n)
{
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    size_t len;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (p[0] == 0xE0)
        low = 0xA0; /* shorter forms exist below */
    else if (p[0] == 0xED)
        high = 0x9F; /* surrogates follow */
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F; /* U+10FFFF */
    if (n < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return len;
}

bool nx_utf8_valid(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    for (size_t i = 0, step; i < n; i += step) {
        step = sequence(p + i, n - i);
        if (step == 0)
            return false;
    }
    return true;
}
