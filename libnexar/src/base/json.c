/* base/json.c - writes JSON into memory of a fixed size.
 *
 * Owner: whoever holds the struct.  It reads no JSON, and it knows no floating point: a locale could put a comma into a
 * number. */
#include "base/json.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void put(struct nx_json *json, const char *bytes, size_t n)
{
    if (json->length < json->cap) {
        size_t room = json->cap - json->length;

        memcpy(json->out + json->length, bytes, n < room ? n : room);
    }
    json->length += n;
}

static void put_text(struct nx_json *json, const char *text)
{
    put(json, text, strlen(text));
}

/* Bytes of the UTF-8 character at `p`; 0 if there is none. */
static size_t character(const unsigned char *p)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;
    uint32_t code = n <= 1 ? p[0] : p[0] & (0xffu >> (n + 1));

    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    if (n > 1 && (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)))
        return 0;
    return n;
}

static void put_string(struct nx_json *json, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    put(json, "\"", 1);
    while (*p != '\0') {
        size_t n = character(p);

        if (n == 0) {
            put_text(json, "\\ufffd");
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            put(json, (const char[]){'\\', (char)*p}, 2);
        } else if (*p < ' ' || *p == 0x7f) {
            char code[7];

            snprintf(code, sizeof(code), "\\u%04x", *p);
            put_text(json, code);
        } else {
            put(json, (const char *)p, n);
        }
        p += n;
    }
    put(json, "\"", 1);
}

/* What stands before every value. */
static void lead(struct nx_json *json, const char *key)
{
    bool in_object = json->depth > 0 && json->closing[json->depth - 1] == '}';

    assert(in_object == (key != NULL));
    (void)in_object;
    if (!json->first)
        put_text(json, ", ");
    json->first = false;
    if (key != NULL) {
        put_string(json, key);
        put_text(json, ": ");
    }
}

static void open(struct nx_json *json, const char *key, const char *opening, char closing)
{
    lead(json, key);
    assert(json->depth < NX_JSON_DEPTH);
    json->closing[json->depth++] = closing;
    json->first = true;
    put_text(json, opening);
}

void nx_json_begin_text(struct nx_json *json, char *out, size_t cap)
{
    *json = (struct nx_json){.out = out, .cap = cap, .first = true};
}

size_t nx_json_end_text(struct nx_json *json)
{
    assert(json->depth == 0);
    if (json->cap > 0)
        json->out[json->length < json->cap ? json->length : json->cap - 1] = '\0';
    return json->length + 1;
}

void nx_json_object(struct nx_json *json, const char *key)
{
    open(json, key, "{", '}');
}

void nx_json_list(struct nx_json *json, const char *key)
{
    open(json, key, "[", ']');
}

void nx_json_close(struct nx_json *json)
{
    assert(json->depth > 0);
    put(json, &json->closing[--json->depth], 1);
    json->first = false;
}

static void put_raw(struct nx_json *json, const char *key, const char *value)
{
    lead(json, key);
    put_text(json, value);
}

void nx_json_text(struct nx_json *json, const char *key, const char *text)
{
    if (text == NULL) {
        nx_json_null(json, key);
        return;
    }
    lead(json, key);
    put_string(json, text);
}

void nx_json_uint(struct nx_json *json, const char *key, uint64_t value)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    put_raw(json, key, digits);
}

void nx_json_int(struct nx_json *json, const char *key, int64_t value)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%lld", (long long)value);
    put_raw(json, key, digits);
}

void nx_json_bool(struct nx_json *json, const char *key, bool value)
{
    put_raw(json, key, value ? "true" : "false");
}

void nx_json_null(struct nx_json *json, const char *key)
{
    put_raw(json, key, "null");
}

void nx_json_seconds(struct nx_json *json, const char *key, nx_time span)
{
    uint64_t ns = span < 0 ? -(uint64_t)span : (uint64_t)span;
    char digits[40];
    int n;

    if (span == NX_NEVER) {
        nx_json_null(json, key);
        return;
    }
    n = snprintf(digits, sizeof(digits), "%s%llu.%09llu", span < 0 ? "-" : "",
                 (unsigned long long)(ns / (uint64_t)NX_S), (unsigned long long)(ns % (uint64_t)NX_S));
    while (digits[n - 1] == '0')
        n--;
    digits[digits[n - 1] == '.' ? n - 1 : n] = '\0';
    put_raw(json, key, digits);
}
