/* text.h - text that grows, for tests that compare what happened as lines. */
#ifndef NX_TEST_TEXT_H
#define NX_TEST_TEXT_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed is empty. */
struct text {
    char *data; /* NULL while empty */
    size_t len, cap;
};

void text_free(struct text *t);
void text_add(struct text *t, const void *bytes, size_t n);
void text_add_hex(struct text *t, const uint8_t *bytes, size_t n);
void text_print(struct text *t, const char *format, ...) NX_PRINTF(2, 3);

#endif
