/* node/config.c - resolves settings and checks them.
 *
 * Owner: whoever holds the struct; the environment is a parameter.  It looks at each setting alone, and at those that
 * must fit each other; what a text means is for those who use it. */
#include "node/config.h"

#include "base/mem.h"
#include "base/status.h"
#include "identity/secret.h"
#include "node/config_table.h"
#include "node/value.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    CALLER_LIMIT = 4096, /* a larger nexar_config.size is not believed */
    QUOTED = 80,         /* characters of a wrong value that are repeated */
    RANGE = 32,
};

static void *field_of(struct nx_config *config, const struct nx_setting *row)
{
    return (char *)config + row->at;
}

static bool is_text(const struct nx_setting *row)
{
    return row->kind == NX_SETTING_TEXT || row->kind == NX_SETTING_SECRET || row->kind == NX_SETTING_TRANSPORTS;
}

const char *nx_variable(char *const *environment, const char *name)
{
    size_t n = strlen(name);

    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
            return *environment + n + 1;
    }
    return NULL;
}

/* ---- one value ---- */

/* Ranks are kept as the number + 1; `value` and the range are about the number. */
static bool parse_number(enum nx_setting_kind kind, const char *text, uint64_t *value)
{
    nx_time span;

    switch (kind) {
    case NX_SETTING_BYTES:
        return nx_value_bytes(text, value);
    case NX_SETTING_SPAN:
        if (!nx_value_span(text, &span))
            return false;
        *value = (uint64_t)span;
        return true;
    default:
        return nx_value_count(text, value);
    }
}

static void split_range(const struct nx_setting *row, char least[RANGE], char most[RANGE])
{
    const char *dots = strstr(row->range, "..");

    snprintf(least, RANGE, "%.*s", (int)(dots - row->range), row->range);
    snprintf(most, RANGE, "%s", dots + 2);
}

static bool in_range(const struct nx_setting *row, uint64_t value)
{
    char least[RANGE], most[RANGE];
    uint64_t low = 0, high = 0;

    split_range(row, least, most);
    return parse_number(row->kind, least, &low) && parse_number(row->kind, most, &high) && value >= low &&
           value <= high;
}

static void store_number(struct nx_config *config, const struct nx_setting *row, uint64_t value)
{
    uint32_t narrow = (uint32_t)value + (row->kind == NX_SETTING_RANK ? 1 : 0);

    if (row->kind == NX_SETTING_RANK || row->kind == NX_SETTING_NUMBER || row->kind == NX_SETTING_CHOICE)
        memcpy(field_of(config, row), &narrow, sizeof(narrow));
    else
        memcpy(field_of(config, row), &value, sizeof(value));
}

/* The place of a word in "one|two|three". */
static bool parse_choice(const char *range, const char *text, uint64_t *place)
{
    size_t n = strlen(text);

    for (*place = 0;; (*place)++) {
        size_t length = strcspn(range, "|");

        if (length == n && memcmp(range, text, n) == 0)
            return true;
        if (range[length] == '\0')
            return false;
        range += length + 1;
    }
}

/* `what`: in which form a number is taken. */
static nexar_status wrong(const struct nx_setting *row, const char *name, nexar_status status, const char *value,
                          const char *what)
{
    char least[RANGE], most[RANGE];

    if (strstr(row->range, "..") == NULL)
        return nx_fail(status, "%s is \"%.*s\"; it can be %s", name, QUOTED, value, row->range);
    split_range(row, least, most);
    return nx_fail(status, "%s is \"%.*s\"; it takes %s from %s to %s", name, QUOTED, value, what, least, most);
}

static const char *form_of(enum nx_setting_kind kind)
{
    switch (kind) {
    case NX_SETTING_SPAN:
        return "seconds, or a number with ns, us, ms, s, min or h,";
    case NX_SETTING_BYTES:
        return "bytes, or a number with k, m or g,";
    default:
        return "a whole number";
    }
}

/* Whether they are there is seen when they are opened. */
static nexar_status check_transports(const char *name, const char *text, nexar_status status)
{
    const char *end;

    for (const char *p = text;; p = end + 1) {
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_");

        end = p + n;
        if (n == 0 || n > 15 || (*p >= '0' && *p <= '9') || (*end != ',' && *end != '\0'))
            return nx_fail(status, "%s is \"%.*s\": names of transports are wanted, separated by commas", name, QUOTED,
                           text);
        for (const char *q = text; q < p; q += strcspn(q, ",") + 1) {
            if (strcspn(q, ",") == n && memcmp(q, p, n) == 0)
                return nx_fail(status, "%s is \"%.*s\": %.*s is named twice", name, QUOTED, text, (int)n, p);
        }
        if (n == 4 && memcmp(p, "auto", 4) == 0 && strcmp(text, "auto") != 0)
            return nx_fail(status, "%s is \"%.*s\": auto stands alone", name, QUOTED, text);
        if (*end == '\0')
            return NEXAR_OK;
    }
}

static nexar_status set_text(struct nx_config *config, const struct nx_setting *row, const char *name, const char *text,
                             nexar_status status)
{
    char **field = field_of(config, row), *copy;

    if (text[0] == '\0')
        return nx_fail(status, "%s is empty; leave it out if it is not meant", name);
    if (row->kind == NX_SETTING_TRANSPORTS) {
        nexar_status st = check_transports(name, text, status);

        if (st != NEXAR_OK)
            return st;
    }
    copy = nx_strdup(text);
    if (copy == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for %s", name);
    nx_free_secret(*field);
    *field = copy;
    return NEXAR_OK;
}

/* A value as it stands in the environment, or as a default. */
static nexar_status set(struct nx_config *config, const struct nx_setting *row, const char *text)
{
    uint64_t value;

    if (is_text(row))
        return set_text(config, row, row->variable, text, NEXAR_ECONFIG);
    if (row->kind == NX_SETTING_CHOICE || row->kind == NX_SETTING_ELSEWHERE) {
        bool chosen = strchr(row->range, '|') == NULL || parse_choice(row->range, text, &value);

        if (!chosen)
            return wrong(row, row->variable, NEXAR_ECONFIG, text, form_of(row->kind));
        if (row->kind == NX_SETTING_CHOICE)
            store_number(config, row, value);
        return NEXAR_OK;
    }
    if (!parse_number(row->kind, text, &value) || !in_range(row, value))
        return wrong(row, row->variable, NEXAR_ECONFIG, text, form_of(row->kind));
    store_number(config, row, value);
    return NEXAR_OK;
}

/* ---- the caller's struct ---- */

/* Copies what the caller's version knows; the rest is zero, which is "not set". */
static nexar_status read_caller(const nexar_config *caller, nexar_config *out)
{
    const unsigned char *bytes = (const unsigned char *)caller;
    size_t size = caller->size, known = size < sizeof(*out) ? size : sizeof(*out);
    bool whole = size >= sizeof(*out);

    *out = (nexar_config){0};
    for (size_t i = 0; i < nx_setting_count && !whole; i++)
        whole = nx_settings[i].name[0] != '\0' && nx_settings[i].caller_at == size;
    if (!whole || size > CALLER_LIMIT)
        return nx_fail(NEXAR_EINVAL, "config.size is %zu; set it to sizeof(nexar_config), which is %zu in this version",
                       size, sizeof(*out));
    memcpy(out, caller, known);
    for (size_t i = known; i < size; i++) {
        if (bytes[i] != 0)
            return nx_fail(NEXAR_EINVAL,
                           "config has a setting beyond byte %zu that this version (%s) does not know; it must be zero",
                           known, nexar_version());
    }
    if (out->reserved != 0)
        return nx_fail(NEXAR_EINVAL, "config.reserved is %u; it must be zero", (unsigned)out->reserved);
    return NEXAR_OK;
}

/* *given: the caller has set it. */
static nexar_status set_from_caller(struct nx_config *config, const struct nx_setting *row, const nexar_config *caller,
                                    bool *given)
{
    const void *at = (const char *)caller + row->caller_at;
    char digits[24];
    const char *text;
    uint32_t narrow;
    uint64_t value;

    if (is_text(row)) {
        memcpy(&text, at, sizeof(text));
        *given = text != NULL;
        return *given ? set_text(config, row, row->name, text, NEXAR_EINVAL) : NEXAR_OK;
    }
    if (row->kind == NX_SETTING_RANK || row->kind == NX_SETTING_NUMBER) {
        memcpy(&narrow, at, sizeof(narrow));
        value = narrow;
    } else {
        memcpy(&value, at, sizeof(value));
    }
    *given = value != 0;
    if (!*given)
        return NEXAR_OK;
    snprintf(digits, sizeof(digits), "%lld", (long long)value);
    if (row->kind == NX_SETTING_RANK)
        value--;
    if (!in_range(row, value))
        return wrong(row, row->name, NEXAR_EINVAL, digits,
                     row->kind == NX_SETTING_SPAN   ? "nanoseconds"
                     : row->kind == NX_SETTING_RANK ? "one more than a rank"
                                                    : form_of(row->kind));
    store_number(config, row, value);
    return NEXAR_OK;
}

/* ---- settings that must fit each other ---- */

enum { LEAST_WINDOWS = 8, USUAL_WINDOWS = 16 };

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static nexar_status check_sizes(struct nx_config *c)
{
    nexar_status status = NEXAR_ECONFIG;
    const uint64_t *const sizes[] = {&c->lane_bytes, &c->unread_bytes, &c->stream_window, &c->connection_window};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (nx_config_source(c, sizes[i]) == NX_BY_CALLER)
            status = NEXAR_EINVAL;
    }
    if (nx_config_source(c, &c->unread_bytes) == NX_BY_DEFAULT)
        c->unread_bytes = larger(c->unread_bytes, 3 * c->lane_bytes);
    if (nx_config_source(c, &c->connection_window) == NX_BY_DEFAULT)
        c->connection_window = larger(c->connection_window, c->unread_bytes + USUAL_WINDOWS * c->stream_window);
    if ((c->stream_window & (c->stream_window - 1)) != 0)
        return nx_fail(status, "%s is %llu; it must be a power of two", nx_config_name(c, &c->stream_window),
                       (unsigned long long)c->stream_window);
    if (c->unread_bytes < c->lane_bytes)
        return nx_fail(status, "%s is %llu, less than %s, which is %llu: one full lane would hold back all others",
                       nx_config_name(c, &c->unread_bytes), (unsigned long long)c->unread_bytes,
                       nx_config_name(c, &c->lane_bytes), (unsigned long long)c->lane_bytes);
    if (c->connection_window < c->unread_bytes + LEAST_WINDOWS * c->stream_window)
        return nx_fail(status,
                       "%s is %llu, less than %s and %d times %s, which are %llu: unread data would hold back control "
                       "messages",
                       nx_config_name(c, &c->connection_window), (unsigned long long)c->connection_window,
                       nx_config_name(c, &c->unread_bytes), LEAST_WINDOWS, nx_config_name(c, &c->stream_window),
                       (unsigned long long)(c->unread_bytes + LEAST_WINDOWS * c->stream_window));
    if (c->connection_window > UINT32_MAX)
        return nx_fail(status, "%s and %s need a connection window of %llu bytes; QUIC has at most %u",
                       nx_config_name(c, &c->lane_bytes), nx_config_name(c, &c->unread_bytes),
                       (unsigned long long)c->connection_window, UINT32_MAX);
    return NEXAR_OK;
}

static nexar_status check_secrets(const struct nx_config *c)
{
    if (c->secret_file != NULL && nx_config_source(c, &c->secret) == NX_BY_ENVIRONMENT)
        return nx_fail(NEXAR_ECONFIG, "both NEXAR_SECRET and NEXAR_SECRET_FILE are set; one of them is enough");
    if (nx_config_source(c, &c->secret) == NX_BY_CALLER && nx_config_source(c, &c->join) == NX_BY_CALLER)
        return nx_fail(NEXAR_EINVAL, "both config.join and config.secret are set; one of them is enough");
    return NEXAR_OK;
}

/* ---- all of them ---- */

static nexar_status load_row(struct nx_config *config, size_t i, const nexar_config *caller, char *const *environment)
{
    const struct nx_setting *row = &nx_settings[i];
    nexar_status status = NEXAR_OK;
    const char *text = nx_variable(environment, row->variable);
    bool given = false;

    config->source[i] = NX_BY_DEFAULT;
    if (row->fallback[0] != '\0')
        status = set(config, row, row->fallback);
    if (status == NEXAR_OK && row->name[0] != '\0')
        status = set_from_caller(config, row, caller, &given);
    if (given)
        config->source[i] = NX_BY_CALLER;
    if (status != NEXAR_OK || given || text == NULL)
        return status;
    status = set(config, row, text);
    config->source[i] = status == NEXAR_OK ? NX_BY_ENVIRONMENT : NX_BY_MISTAKE;
    return status;
}

nexar_status nx_config_load(const nexar_config *caller, char *const *environment, struct nx_config *out)
{
    nexar_config given = {0};
    nexar_error first = {.status = NEXAR_OK};
    nexar_status status = caller == NULL ? NEXAR_OK : read_caller(caller, &given);

    memset(out, 0, sizeof(*out));
    if (status != NEXAR_OK)
        first = *nx_last_error();
    for (size_t i = 0; i < nx_setting_count; i++) {
        status = load_row(out, i, &given, environment);
        if (status != NEXAR_OK && first.status == NEXAR_OK)
            first = *nx_last_error();
    }
    if (first.status == NEXAR_OK && (check_sizes(out) != NEXAR_OK || check_secrets(out) != NEXAR_OK))
        first = *nx_last_error();
    return first.status == NEXAR_OK ? NEXAR_OK : nx_fail_with(&first);
}

void nx_config_free(struct nx_config *config)
{
    for (size_t i = 0; i < nx_setting_count; i++) {
        if (is_text(&nx_settings[i])) {
            char **field = field_of(config, &nx_settings[i]);

            nx_free_secret(*field);
            *field = NULL;
        }
    }
}

static size_t row_of(const struct nx_config *config, const void *field)
{
    size_t at = (size_t)((const char *)field - (const char *)config), i = 0;

    while (i < nx_setting_count && (nx_settings[i].at != at || nx_settings[i].kind == NX_SETTING_ELSEWHERE))
        i++;
    assert(i < nx_setting_count);
    return i;
}

enum nx_source nx_config_source(const struct nx_config *config, const void *field)
{
    return (enum nx_source)config->source[row_of(config, field)];
}

const char *nx_config_name(const struct nx_config *config, const void *field)
{
    size_t i = row_of(config, field);

    return config->source[i] == NX_BY_CALLER ? nx_settings[i].name : nx_settings[i].variable;
}

nexar_status nx_config_secret(const struct nx_config *config, struct nx_proof_key *key, bool *have)
{
    *have = config->secret != NULL || config->secret_file != NULL;
    if (config->secret != NULL)
        return nx_secret_from_bytes(nx_config_name(config, &config->secret), config->secret, strlen(config->secret),
                                    key);
    memset(key, 0, sizeof(*key));
    return *have ? nx_secret_from_file(config->secret_file, key) : NEXAR_OK;
}
