/* identity/encode.h - bytes as text: hexadecimal and base64url without padding. */
#ifndef NX_IDENTITY_ENCODE_H
#define NX_IDENTITY_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters for n bytes, without the zero at the end. */
#define NX_HEX_LENGTH(n) (2 * (n))
#define NX_BASE64URL_LENGTH(n) (((n)*4 + 2) / 3)

/* Lower case.  `out` has room for NX_HEX_LENGTH(size) + 1. */
void nx_hex(const void *bytes, size_t size, char *out);

/* Either case.  False, with `out` undefined, unless all `length` characters are digits and make `size` bytes. */
bool nx_unhex(const char *text, size_t length, void *out, size_t size);

/* `out` has room for NX_BASE64URL_LENGTH(size) + 1. */
void nx_base64url(const void *bytes, size_t size, char *out);

/* False, with `out` undefined, unless the text is the one that nx_base64url makes of exactly `size` bytes. */
bool nx_unbase64url(const char *text, size_t length, void *out, size_t size);

#endif
