/* wire/schema.h - the table of messages as the codec reads it; nobody else needs it. */
#ifndef NX_WIRE_SCHEMA_H
#define NX_WIRE_SCHEMA_H

#include "wire/message.h"

/* The layout of rkyv 0.8 in its default format, as the reference 0.1.2 uses it. */
#define NX_ROOT_SIZE 48
#define NX_ROOT_ALIGN 8
#define NX_TEXT_INLINE 8 /* a string of at most so many bytes lies in its field */
#define NX_TEXT_MAX (((size_t)1 << 30) - 1)
#define NX_PAIR_SIZE 12 /* u32, string */

enum nx_field_type {
    NX_FIELD_END,
    NX_FIELD_U8,
    NX_FIELD_U16,
    NX_FIELD_U32,
    NX_FIELD_U64,
    NX_FIELD_BYTES,
    NX_FIELD_TEXT,
    NX_FIELD_U32S,
    NX_FIELD_PAIRS,
};

struct nx_field {
    enum nx_field_type type;
    uint32_t offset; /* in struct nx_message */
    const char *name;
};

struct nx_schema {
    const char *name; /* NULL: there is no such kind */
    enum nx_lane lane;
    const struct nx_field *fields; /* until NX_FIELD_END */
};

/* NULL for a number that is no kind. */
const struct nx_schema *nx_schema(unsigned kind);

/* Where a field of `type` lies in the root if the ones before it end at `at`; *end is where it ends. */
uint32_t nx_field_place(enum nx_field_type type, uint32_t at, uint32_t *end);

/* Rounded up to a multiple of `align`, a power of two. */
static inline size_t nx_align(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

/* Whether these bytes are UTF-8 in the strict sense: shortest form, no surrogates, nothing above U+10FFFF. */
bool nx_utf8_valid(const void *bytes, size_t n);

#endif
