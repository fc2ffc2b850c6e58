/* node/value.c - reads values of settings.
 *
 * Owner: none, no state.  It knows no setting and words no error: the table of settings does (node/config.c). */
#include "node/value.h"

#include <string.h>

struct unit {
    const char *name;
    uint64_t size;
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A whole number; NULL if there is none or it is too large, else what follows it. */
static const char *whole(const char *text, uint64_t *out)
{
    const char *p = text;

    *out = 0;
    while (digit(*p)) {
        if (__builtin_mul_overflow(*out, 10u, out) || __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
            return NULL;
        p++;
    }
    return p == text ? NULL : p;
}

static const struct unit *unit_of(const struct unit *units, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(units[i].name, name) == 0)
            return &units[i];
    }
    return NULL;
}

bool nx_value_count(const char *text, uint64_t *out)
{
    const char *end = whole(text, out);

    return end != NULL && *end == '\0';
}

bool nx_value_bytes(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1},        {"k", 1 << 10},   {"K", 1 << 10}, {"KiB", 1 << 10}, {"m", 1 << 20},
        {"M", 1 << 20}, {"MiB", 1 << 20}, {"g", 1 << 30}, {"G", 1 << 30},   {"GiB", 1 << 30},
    };
    const char *end = whole(text, out);
    const struct unit *unit = end == NULL ? NULL : unit_of(units, sizeof(units) / sizeof(units[0]), end);

    return unit != NULL && !__builtin_mul_overflow(*out, unit->size, out);
}

bool nx_value_span(const char *text, nx_time *out)
{
    static const struct unit units[] = {
        {"", 1000000000},
        {"ns", 1},
        {"us", 1000},
        {"ms", 1000000},
        {"s", 1000000000},
        {"min", UINT64_C(60000000000)},
        {"h", UINT64_C(3600000000000)},
    };
    const char *end, *decimals = NULL;
    const struct unit *unit;
    uint64_t value, place;

    if (strcmp(text, "never") == 0) {
        *out = NX_NEVER;
        return true;
    }
    end = whole(text, &value);
    if (end != NULL && *end == '.') {
        decimals = ++end;
        while (digit(*end))
            end++;
        if (end == decimals)
            return false;
    }
    unit = end == NULL ? NULL : unit_of(units, sizeof(units) / sizeof(units[0]), end);
    if (unit == NULL || __builtin_mul_overflow(value, unit->size, &value))
        return false;
    place = unit->size;
    for (const char *p = decimals; p != NULL && digit(*p); p++) {
        if (place % 10 != 0 && *p != '0')
            return false; /* no whole nanosecond */
        place /= 10;
        if (__builtin_add_overflow(value, place * (uint64_t)(*p - '0'), &value))
            return false;
    }
    if (value >= NX_NEVER)
        return false;
    *out = (nx_time)value;
    return true;
}

enum { WORD = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t nx_word_distance(const char *a, const char *b)
{
    size_t cost[3][WORD + 1]; /* of the first i letters of a and j of b, for the last three i */
    size_t n = strnlen(a, WORD), m = strnlen(b, WORD);

    for (size_t j = 0; j <= m; j++)
        cost[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = cost[i % 3], *before = cost[(i + 2) % 3], *earlier = cost[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(least(before[j], row[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], earlier[j - 2] + 1);
        }
    }
    return cost[n % 3][m];
}
