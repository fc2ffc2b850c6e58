/* identity/digest.h - random bytes, SHA-256, HMAC-SHA-256, and comparison in constant time. */
#ifndef NX_IDENTITY_DIGEST_H
#define NX_IDENTITY_DIGEST_H

#include "nexar/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NX_SHA256_SIZE 32

/* A piece of memory to read. */
struct nx_span {
    const void *data;
    size_t size;
};

/* Fills `out` from the system's generator.  NEXAR_ESYSTEM when it refuses: `out` is then zeros and nothing may be
 * made of it. */
nexar_status nx_random(void *out, size_t size);

nexar_status nx_sha256(const void *data, size_t size, uint8_t out[NX_SHA256_SIZE]);

/* The digest of the pieces, each preceded by its length in 8 bytes: moving a border between two pieces changes it. */
nexar_status nx_sha256_spans(const struct nx_span *spans, size_t count, uint8_t out[NX_SHA256_SIZE]);

nexar_status nx_hmac_sha256(const void *key, size_t key_size, const void *data, size_t size,
                            uint8_t out[NX_SHA256_SIZE]);

/* In a time that depends on `size` alone. */
bool nx_equal(const void *a, const void *b, size_t size);

#endif
