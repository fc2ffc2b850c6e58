/* vectors.h - reader of the files under tests/vectors/, which the C and the Python tests share.
 *
 * A case is a line `case NAME` and lines `key = value` until the next one.  Keys may repeat.  `#` begins a comment
 * line. */
#ifndef NX_TEST_VECTORS_H
#define NX_TEST_VECTORS_H

#include <stddef.h>
#include <stdint.h>

struct vector_line {
    char *key;
    char *value;
};

struct vector {
    char *name;
    struct vector_line *lines;
    size_t n;
};

struct vectors {
    char *text;
    struct vector_line *lines;
    struct vector *cases;
    size_t n;
};

/* Reads tests/vectors/<name>; ends the program with a message if it cannot, so there is always at least one case. */
struct vectors vectors_load(const char *name);
void vectors_free(struct vectors *v);

/* The first value of a key, or NULL. */
const char *vector_get(const struct vector *v, const char *key);

/* A value in hex as bytes, in memory of its own (exactly as large, so that a sanitizer sees a read too far). */
uint8_t *vector_hex(const char *hex, size_t *n);

#endif
