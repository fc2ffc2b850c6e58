/* base/json.h - writes JSON into memory of a fixed size.  What does not fit is counted and left out, as with snprintf:
 * write once, and again with more room if nx_json_end_text says so. */
#ifndef NX_BASE_JSON_H
#define NX_BASE_JSON_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NX_JSON_DEPTH 32

struct nx_json {
    char *out;
    size_t cap;    /* of `out`, zero at the end included */
    size_t length; /* of the whole text */
    bool first;    /* nothing has been written in the innermost object or list */
    uint32_t depth;
    char closing[NX_JSON_DEPTH]; /* of what is open, outermost first */
};

/* `out` may be NULL with a cap of 0: the text is only measured. */
void nx_json_begin_text(struct nx_json *json, char *out, size_t cap);

/* Puts the zero at the end and returns the bytes that the whole text needs, zero included. */
size_t nx_json_end_text(struct nx_json *json);

/* `key` is NULL in a list and at the top.  Texts may be any bytes: what is no UTF-8 becomes U+FFFD. */
void nx_json_object(struct nx_json *json, const char *key);
void nx_json_list(struct nx_json *json, const char *key);
void nx_json_close(struct nx_json *json);
void nx_json_text(struct nx_json *json, const char *key, const char *text); /* NULL: null */
void nx_json_uint(struct nx_json *json, const char *key, uint64_t value);
void nx_json_int(struct nx_json *json, const char *key, int64_t value);
void nx_json_bool(struct nx_json *json, const char *key, bool value);
void nx_json_null(struct nx_json *json, const char *key);
/* A span of time as seconds, exactly ("0.5", "0.00005"); NX_NEVER is null. */
void nx_json_seconds(struct nx_json *json, const char *key, nx_time span);

#endif
