/* identity/encode.c - hexadecimal and base64url.
 *
 * Owner: none, pure functions.  Decoding is strict: no white space, no padding, no spare bits, no other length than
 * the one asked for, so that one value has one spelling (two for the case of hexadecimal digits). */
#include "identity/encode.h"

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void nx_hex(const void *bytes, size_t size, char *out)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < size; i++) {
        *out++ = hex_digits[p[i] >> 4];
        *out++ = hex_digits[p[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool nx_unhex(const char *text, size_t length, void *out, size_t size)
{
    uint8_t *p = out;

    if (length / 2 != size || length % 2 != 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = hex_value(text[2 * i]);
        int low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        p[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void nx_base64url(const void *bytes, size_t size, char *out)
{
    const uint8_t *p = bytes;
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | p[i];
        for (have += 8; have >= 6; have -= 6)
            *out++ = base64_digits[bits >> (have - 6) & 63];
    }
    if (have != 0)
        *out++ = base64_digits[bits << (6 - have) & 63];
    *out = '\0';
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool nx_unbase64url(const char *text, size_t length, void *out, size_t size)
{
    uint8_t *p = out;
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;

    if (size > SIZE_MAX / 4 - 1 || length != NX_BASE64URL_LENGTH(size))
        return false;
    for (size_t i = 0; i < length; i++) {
        int value = base64_value(text[i]);

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            p[at++] = (uint8_t)(bits >> have);
        }
    }
    return (bits & ((1u << have) - 1)) == 0;
}
